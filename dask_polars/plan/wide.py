"""
Expressions that give a value for each row, and need other rows for it: cumulative functions, windows, ranks, ….

Each one is taken out of the expression that it is part of and becomes a column of the same rows, of which the rest is
computed row by row::

    filter(a.cum_sum() / 2 > b)  ->  filter(w0 / 2 > b) over rows with the column w0 = a.cum_sum()

The innermost ones come first, so that the input of each is computed row by row from columns that are there. How a
column is computed is the matter of a *mechanism*: a module with a function that is registered for the kinds of
expressions that it computes (:func:`computes`), or a way to write one kind with others (:func:`means`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    children,
    column,
    function_name,
    kind_of,
    map_children,
    named_like,
    operation_traits,
    shape,
)
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, schema_over, select_node, with_columns_node
from dask_polars.plan.lineage import renames
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.row_numbers import row_numbers
from dask_polars.plan.scalars import Extraction, first_free
from dask_polars.plan.stages import SchemaDict, Stage

WITH_WIDE = "WithWide"  # a node of ours: rows with more columns (`exprs`), each of which needs other rows
WIDE = "__dp_wide_"
KEY = "__dp_key_"


@dataclass(frozen=True)
class Item:
    """
    A column that needs other rows.

    Parameters
    ----------
    name
        Its name.
    tree
        The expression, over columns of the rows.
    dtype
        The type that Polars gives it.
    """

    name: str
    tree: Expression
    dtype: pl.DataType


@dataclass(frozen=True)
class Rows:
    """
    The rows that columns are computed for.

    Parameters
    ----------
    node
        As a plan, for what has to be known of all of them first.
    stage
        The stage of this plan.
    schema
        The columns that expressions were written for; the stage may have fewer.
    """

    node: Node
    stage: Stage
    schema: SchemaDict


Lowering = Callable[[Planner, Rows, Stage, Sequence[Item]], Stage]
Refusal = Callable[[Expression, SchemaDict], str | None]


@dataclass(frozen=True)
class Mechanism:
    """
    A way to compute columns that need other rows.

    Parameters
    ----------
    lower
        Gets the planner, the rows, a stage with these rows and perhaps more columns, and what to compute. It gives the
        same rows with one more column for each item.
    refuses
        Says why it cannot compute an expression; None where it can.
    moves_rows
        Whether rows are in other partitions on the way. Such come last, as what the others know of the rows before
        each partition would no longer be true.
    """

    lower: Lowering
    refuses: Refusal
    moves_rows: bool


MECHANISMS: dict[str, Mechanism] = {}
MEANINGS: dict[str, Callable[[Expression, SchemaDict], Expression | None]] = {}

# Functions whose further inputs are numbers and the like, not columns of the rows.
_MOVING = ("Shift", "ShiftAndFill", "Diff", "PctChange")
_PARAMETERS = (*_MOVING, "Range")


def computes(*kinds: str, refuses: Refusal, moves_rows: bool = False) -> Callable[[Lowering], Lowering]:
    """Register a function as the one that computes expressions of these kinds."""

    def register(lower: Lowering) -> Lowering:
        MECHANISMS.update(dict.fromkeys(kinds, Mechanism(lower, refuses, moves_rows)))
        return lower

    return register


Meaning = Callable[[Expression, SchemaDict], Expression | None]


def means(*kinds: str) -> Callable[[Meaning], Meaning]:
    """Register a function that writes expressions of these kinds with others; None where it cannot."""

    def register(write: Meaning) -> Meaning:
        MEANINGS.update(dict.fromkeys(kinds, write))
        return write

    return register


def wide_kind(tree: Expression) -> str:
    """Name the kind of an expression that mechanisms are registered for."""
    return function_name(tree) or kind_of(tree)


def is_wide(tree: Expression) -> bool:
    """Say whether an expression needs other rows, in a way that is known here."""
    kind = wide_kind(tree)
    if kind == "Over" and tree["Over"]["mapping"] == "Explode":
        return False  # it has rows of its own, in the order of the groups
    return (kind == "Range" and row_numbers(tree) is not None) or (
        kind != "Range" and (kind in MECHANISMS or kind in MEANINGS)
    )


def is_moving(tree: Expression) -> bool:
    """Say whether an expression looks back by a number of rows that is known, at rows that are all of one input."""
    parameters = tree["Function"]["input"][1:] if wide_kind(tree) in _MOVING and kind_of(tree) == "Function" else ()
    return bool(parameters) and all(shape(item) is Shape.LITERAL for item in parameters)


def as_long_as_rows(tree: Expression) -> bool:
    """Say whether an expression surely gives as many values as there are rows, be it in another order."""
    if shape(tree) in (Shape.ROW, Shape.MIXED):
        return True
    kind = kind_of(tree)
    turned = kind in ("Sort", "SortBy") or function_name(tree) == "Reverse"
    if kind == "Over" or not (turned or is_moving(tree) or operation_traits(tree)[2]):
        return False
    inputs = [child for child in children(tree) or () if shape(child) not in (Shape.LITERAL, Shape.SCALAR)]
    return bool(inputs) and all(map(as_long_as_rows, inputs))


def row_inputs(tree: Expression) -> list[Expression]:
    """Give the inputs of an expression that are computed on the rows of the frame."""
    found: list[Expression] = []

    def collect(child: Expression) -> Expression:
        found.append(child)
        return child

    _map_row_inputs(tree, collect)
    return found


def _map_row_inputs(tree: Expression, apply: Callable[[Expression], Expression]) -> Expression:
    """Rebuild an expression over other inputs, but leave alone what is computed in groups, and parameters."""
    if kind_of(tree) == "Over":
        value = tree["Over"]
        keys = [apply(key) for key in value["partition_by"]]
        order = value["order_by"] and [_map_order(value["order_by"][0], apply), *value["order_by"][1:]]
        return {"Over": {**value, "partition_by": keys, "order_by": order}}
    if kind_of(tree) == "Rolling":
        return {"Rolling": {**tree["Rolling"], "index_column": apply(tree["Rolling"]["index_column"])}}
    if wide_kind(tree) in _PARAMETERS and kind_of(tree) == "Function":
        count = 0 if wide_kind(tree) == "Range" else 1
        inputs = tree["Function"]["input"]
        changed = [apply(item) if place < count else item for place, item in enumerate(inputs)]
        return {"Function": {**tree["Function"], "input": changed}}
    return map_children(tree, apply) or tree


def _map_order(tree: Expression, apply: Callable[[Expression], Expression]) -> Expression:
    """Several expressions to order by are one, which encodes them: Polars does not call it row by row."""
    if function_name(tree) == "RowEncode":
        return map_children(tree, apply)
    return apply(tree)


@dataclass
class WideExtraction:
    """
    Takes out of expressions what needs other rows and whose inputs are computed row by row.

    Parameters
    ----------
    schema
        The columns of the rows.
    """

    schema: SchemaDict
    items: dict[str, Expression]
    reason: str | None = None

    def rewrite(self, tree: Expression) -> Expression:
        known = is_wide(tree)
        if known and shape(tree) is Shape.ROW:
            return tree  # `fill_null(strategy="zero")` is called like the others, and needs no other rows
        shapes = {shape(item) for item in row_inputs(tree)}
        # Of nothing but literals it is one value, for all rows.
        if known and shapes <= {Shape.ROW, Shape.LITERAL} and shapes != {Shape.LITERAL}:
            return self._take(wide_kind(tree), tree)
        return _map_row_inputs(tree, lambda child: named_like(self.rewrite(child), child))

    def _take(self, kind: str, tree: Expression) -> Expression:
        if kind in MEANINGS:
            written = MEANINGS[kind](tree, self.schema)
            if written is not None:
                return self.rewrite(written)
        refusal = f"`{kind}`" if kind not in MECHANISMS else MECHANISMS[kind].refuses(tree, self.schema)
        if refusal is not None:
            self.reason = self.reason or refusal
            return tree
        key = repr(tree)
        if key not in self.items:
            self.items[key] = alias(tree, f"{WIDE}{first_free(WIDE, self.schema) + len(self.items)}")
        return column(self.items[key]["Alias"][1])


@dataclass(frozen=True)
class Outcome:
    """
    Expressions of which what needs other rows was made columns.

    Parameters
    ----------
    trees
        The expressions, over ``rows``.
    rows
        The rows, with these columns.
    reason
        Why something could not be made a column.
    """

    trees: list[Expression]
    rows: Node
    reason: str | None = None


def with_columns_of_other_rows(
    planner: Planner, rows: Node, trees: Sequence[Expression], *, named: bool = True
) -> Outcome | None:
    """
    Make columns of all that needs other rows.

    Parameters
    ----------
    planner
        The planner.
    rows
        The rows.
    trees
        Expressions over them, without selectors.
    named
        Whether the names of the expressions are to be kept.

    Returns
    -------
    Outcome or None
        None where there is nothing of the kind.
    """
    found, start = list(trees), rows
    while True:
        extraction = WideExtraction(planner.schema(rows), {})
        changed = _rewritten(extraction.rewrite, found, named)
        if extraction.reason is not None:
            return Outcome(list(trees), start, extraction.reason)
        found = changed
        if extraction.items:
            rows = Node(WITH_WIDE, {"exprs": list(extraction.items.values())}, (rows,))
            continue
        scalars = Extraction(planner.schema(rows))
        changed = _rewritten(partial(_scalars_inside, scalars), found, named)
        if not scalars.scalars:
            break
        found, rows = changed, scalars.beside(rows)
    return None if rows is start and found == list(trees) else Outcome(found, rows)


def _rewritten(rewrite: Callable[[Expression], Expression], trees: list[Expression], named: bool) -> list[Expression]:
    return [named_like(rewrite(tree), tree) if named else rewrite(tree) for tree in trees]


def _scalars_inside(extraction: Extraction, tree: Expression) -> Expression:
    """Take out aggregations that are in the inputs of what needs other rows, as in ``(a - a.mean()).cum_sum()``."""
    apply = extraction.rewrite if is_wide(tree) else partial(_scalars_inside, extraction)
    return _map_row_inputs(tree, lambda child: named_like(apply(child), child))


# ---------------------------------------------------------------- lowering


def _schema(node: Node, schemas: Sequence[SchemaDict]) -> SchemaDict:
    return schema_over(with_columns_node(node.fields["exprs"], node.input), schemas)


OUR_SCHEMAS[WITH_WIDE] = _schema


@lowers(WITH_WIDE)
def lower_wide(planner: Planner, region: Region) -> Stage:
    """Lower rows with columns that need other rows."""
    core = region.core
    schema, below = planner.schema(core), planner.schema(core.input)
    (demand,) = planner.demands(lambda leaves: region.over(leaves[0]), [schema])
    items, kept = [], []
    for tree in core.fields["exprs"]:
        name = tree["Alias"][1]
        if demand.columns is None or name in demand.columns:
            items.append(Item(name, tree["Alias"][0], schema[name]))
            kept.append(tree)
        else:
            kept.append(alias(decode_expr(pl.lit(None, dtype=schema[name])), name))
    node = with_columns_node(kept, core.input)

    def build(leaves: Sequence[Node]) -> Node:
        return region.over(node.with_inputs(leaves))

    (source,) = planner.push_down(build, [core.input])
    stage = planner.lower(source)
    if stage.npartitions == 1 or not items:
        return planner.fragment("wide", build, [stage], [below], distinct=stage.distinct)
    rows = Rows(source, stage, below)
    for mechanism in sorted({id(m): m for m in map(_mechanism, items)}.values(), key=lambda m: m.moves_rows):
        stage = mechanism.lower(planner, rows, stage, [item for item in items if _mechanism(item) is mechanism])
    placement = stage.placement.renamed(renames(planner, region)) if stage.placement is not None else None
    return planner.fragment(
        "wide",
        lambda leaves: region.over(leaves[0]),
        [stage],
        [schema],
        placement=placement,
        distinct=stage.distinct,
    )


def _mechanism(item: Item) -> Mechanism:
    return MECHANISMS[wide_kind(item.tree)]


def dtype_of(tree: Expression, schema: SchemaDict) -> pl.DataType:
    """Give the type of an expression over columns."""
    return expression_dtypes([tree], schema)[0]


def with_key_columns(rows: Node, keys: Sequence[Expression]) -> tuple[Node, list[str]]:
    """Make columns of keys that are not computed row by row: give the rows with these, and their names."""
    names = [f"{KEY}{index}" for index in range(len(keys))]
    return with_columns_node([alias(key, name) for key, name in zip(keys, names, strict=True)], rows), names


def without_columns(planner: Planner, core: Node, node: Node) -> Node:
    """Drop what was added beside the rows, and is not part of what the user sees."""
    return select_node(None, [column(name) for name in planner.schema(core)], node, keep_height=True)
