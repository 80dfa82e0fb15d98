"""
over: windows of rows with equal keys.

A window that is one aggregation, which can be computed in parts, is a group_by whose groups are few enough to be sent to
every partition, where they are joined with the rows::

    a.sum().over(k)  ->  rows joined with group_by(k).agg(a.sum()), on k

For all else the rows are shuffled by their keys, so that every window is in one partition, with its rows in order.
There Polars computes the expression as it was written, and the rows are brought back into their order. Windows with the
same keys share the exchange; no rows are shuffled that are known to be where they belong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from dask_polars.dsl.codec import to_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    aggregation_of,
    alias,
    column,
    function_name,
    kind_of,
    shape,
    walk_expression,
)
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import (
    empty_leaf,
    expression_dtypes,
    group_by_node,
    select_node,
    sort_node,
    with_columns_node,
)
from dask_polars.plan.decompose import Decomposition
from dask_polars.plan.group_by import is_placed
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import StageSource, kept
from dask_polars.plan.shuffling import POSITION, hash_shuffle, restore_order, with_position
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, Size, Stage
from dask_polars.plan.true_types import another_type
from dask_polars.plan.wide import Item, Rows, computes
from dask_polars.wide_kernels import join_groups

KEY = "__dp_window_key_"


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why a window is not distributed; None where it is."""
    window = tree["Over"]
    if any(has_rows_of_its_own(item) for item in walk_expression(window["function"])):
        return "a literal series inside of `over`"
    if window["mapping"] != "GroupsToRows" and _is_whole(tree):
        return "a list of all rows beside each row"
    if any(function_name(item) in ("LowerBound", "UpperBound") for item in walk_expression(window["function"])):
        return "the bound of a type inside of `over`"
    return another_type(select_node(None, [tree], empty_leaf(schema)), [tree], schema)


def has_rows_of_its_own(tree: Expression) -> bool:
    """Say whether an expression is a series among literals: its rows are those of no window."""
    return kind_of(tree) == "Literal" and ("Series" in tree["Literal"] or "Range" in tree["Literal"])


def _is_whole(tree: Expression) -> bool:
    """Say whether there is one window, of all rows."""
    return all(shape(key) is Shape.LITERAL for key in tree["Over"]["partition_by"])


@dataclass
class Alike:
    """Windows with the same keys."""

    keys: list[Expression]
    items: list[Item] = field(default_factory=list)


def _alike(items: Sequence[Item]) -> list[Alike]:
    found: dict[str, Alike] = {}
    for item in items:
        keys = item.tree["Over"]["partition_by"]
        found.setdefault(repr(keys), Alike(keys)).items.append(item)
    return list(found.values())


@computes("Over", refuses=refuses, moves_rows=True)
def lower_windows(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute windows."""
    left: list[Item] = []
    for windows in _alike(items):
        joined = _joined_back(planner, rows, stage, windows)
        if joined is None:
            left += windows.items
        else:
            stage, rest = joined
            left += rest
    if not left:
        return stage
    whole = [item for item in left if _is_whole(item.tree)]
    keyed = [item for item in left if not _is_whole(item.tree)]
    in_place = [item for item in keyed if is_placed(stage.placement, item.tree["Over"]["partition_by"])]
    if in_place:
        stage = _computed(planner, rows, stage, in_place, sort=False)
    moved = [item for item in keyed if item not in in_place]
    if not moved and not whole:
        return stage
    order = InOrder(planner, stage)
    for windows in _alike(moved):
        outputs = max(2, planner.partitions_for(order.stage.size, order.stage.npartitions))
        shuffled = hash_shuffle(planner, "window-shuffle", order.stage, windows.keys, outputs)
        # The first shuffle keeps the order of rows; what was shuffled before is not in order.
        order.move(_computed(planner, rows, shuffled, windows.items, sort=order.moved))
    for item in whole:
        order.move(planner.lower(_over_all_rows(order.leaf(), item)))
    return order.restored()


@dataclass
class InOrder:
    """
    Rows that are moved about, and will be brought back into their order.

    Parameters
    ----------
    planner
        The planner.
    stage
        The rows; each gets its position.
    """

    planner: Planner
    stage: Stage
    moved: bool = False

    def __post_init__(self) -> None:
        self._npartitions = self.stage.npartitions
        self.stage = with_position(self.stage)

    def move(self, stage: Stage) -> None:
        """Go on with a stage of the same rows in another order, and with more columns."""
        self.stage, self.moved = stage, True

    def leaf(self) -> Node:
        """Give the rows as a leaf, to plan on top of."""
        return Node(SOURCE, {"source": StageSource(self.stage)})

    def restored(self) -> Stage:
        """Give the rows in order."""
        schema = {name: dtype for name, dtype in self.stage.schema.items() if name != POSITION}
        leaf = self.leaf()
        return restore_order(self.planner, "in-order", self.stage, self._npartitions, Region((), leaf), schema)


def _computed(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item], *, sort: bool) -> Stage:
    """Compute windows where all their rows are in one partition."""
    named = [alias(item.tree, item.name) for item in items]

    def build(leaves: Sequence[Node]) -> Node:
        leaf = leaves[0]
        return with_columns_node(named, sort_node([column(POSITION)], leaf) if sort else leaf)

    # Columns that were pruned below are not read by any window, and are not made again.
    return planner.fragment("window", build, [stage], [stage.schema], placement=stage.placement)


def _over_all_rows(leaf: Node, item: Item) -> Node:
    """Write a window of all rows as an expression over all rows, sorted where it says so."""
    window = item.tree["Over"]
    keys, descending, nulls_last = order_of(window)
    descending, nulls_last = [*descending, False], [*nulls_last, False]
    node = sort_node([*keys, column(POSITION)], leaf, descending=descending, nulls_last=nulls_last)
    return with_columns_node([alias(window["function"], item.name)], node)


def order_of(window: Mapping[str, Any]) -> tuple[list[Expression], list[bool], list[bool]]:
    """Give the keys that a window is sorted by, and for each whether it is descending, and has its nulls last."""
    if window["order_by"] is None:
        return [], [], []
    by, options = window["order_by"][:2]
    if function_name(by) != "RowEncode":
        return [by], [options["descending"]], [options["nulls_last"]]
    flags, keys = by["Function"]["function"]["RowEncode"]["Ordered"], by["Function"]["input"]
    descending, nulls_last = (
        list(given) if len(given) == len(keys) else list(given) * len(keys)
        for given in (flags["descending"], flags["nulls_last"])
    )
    return keys, descending, nulls_last


# ---------------------------------------------------------------- joined back


def _joined_back(planner: Planner, rows: Rows, stage: Stage, windows: Alike) -> tuple[Stage, list[Item]] | None:
    """
    Join the rows with their groups, where these are few.

    Returns
    -------
    tuple, or None
        The rows with columns, and the windows that are not aggregations in parts. None where there are no others.
    """
    aggregating = [item for item in windows.items if _is_aggregation(item, rows.schema)]
    dtypes = expression_dtypes(windows.keys, rows.schema)
    if not aggregating or any(dtype.is_nested() or dtype == pl.Null for dtype in dtypes):
        return None
    names = [f"{KEY}{index}" for index in range(len(windows.keys))]
    keys = [alias(key, name) for key, name in zip(windows.keys, names, strict=True)]
    aggregated = [alias(item.tree["Over"]["function"], item.name) for item in aggregating]
    node = group_by_node(keys, aggregated, kept(planner, rows.node))
    (needed,) = planner.push_down(node.with_inputs, [node.input])
    groups = planner.lower(node.with_inputs((needed,)))
    if not planner.fits(groups.size, planner.options.broadcast_limit):
        return None
    schema = {**stage.schema, **{item.name: item.dtype for item in aggregating}}
    joined = CallStage(
        operation="window-join",
        schema=schema,
        npartitions=stage.npartitions,
        size=Size.guess(stage.size.rows, schema, exact=stage.size.exact, doubt=stage.size.doubt),
        placement=stage.placement,
        distinct=stage.distinct,
        function=join_groups,
        sources=(Input(stage), Input(planner.gather(groups), Mode.BROADCAST)),
        arguments=(tuple(to_expr(key).meta.serialize() for key in keys),),
        lazy=True,
    )
    return joined, [item for item in windows.items if item not in aggregating]


def _is_aggregation(item: Item, schema: SchemaDict) -> bool:
    """Say whether a window is an aggregation that is computed in parts."""
    window = item.tree["Over"]
    if window["mapping"] != "GroupsToRows" or window["order_by"] is not None:
        return False
    if shape(window["function"]) is not Shape.SCALAR or _is_whole(item.tree):
        return False
    inside = list(walk_expression(window["function"]))
    # Of no values, and of some types, these give in windows what they do not give in groups.
    if any(function_name(tree) in ("Correlation", "Bitwise") for tree in inside):
        return False
    if item.dtype.is_nested() and any((aggregation_of(tree) or ("",))[0] in ("Min", "Max") for tree in inside):
        return False
    taken = Decomposition(lambda tree: expression_dtypes([tree], schema)[0], whole=False)
    return taken.finals([alias(window["function"], item.name)]) is not None
