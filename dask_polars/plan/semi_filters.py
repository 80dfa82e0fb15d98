"""
Semi-join filters: rows of a join that can match nothing are left out before they are shuffled.

The keys of a small table that was filtered say which rows of other tables can be in the outcome, also of those that meet it only
through other tables::

    (part join lines on part) join stock on part  ->  (part join lines on part) join (stock semi join part) on part

A side that is left with few rows may be small enough to be broadcast, so that the other one need not move either. Such filters
are known as magic sets or sideways information passing (Beeri and Ramakrishnan, 1991), as semi-join reducers of distributed
queries (Bernstein and Chiu, 1981). Here they are set where a side is or would be shuffled, where the keys come from files or
frames, row by row, or are there already, and where numbers of rows and of different keys say that it pays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dask_polars.dsl.expressions import (
    Expression,
    aggregation_of,
    column,
    columns_of,
    expand,
    kind_of,
    walk_expression,
)
from dask_polars.dsl.leaves import SOURCE, decode_with_sources, in_place_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, select_node
from dask_polars.plan.colocated import JoinSide
from dask_polars.plan.lineage import equal_keys, input_of_join, names_below
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import find_region, is_row_wise, simplify
from dask_polars.plan.reread import StageSource, is_cheap
from dask_polars.plan.stages import KeyStage

# The rows that are left have to be at most this share of those that there are.
_MOST_LEFT = 0.5
# Of these no expression raises an error for some of the values: rows may be left out before it is computed.
_NEVER_FAILS = ("Column", "Alias", "Literal", "Len", "Agg", "BinaryExpr", "Ternary")
# The types on which arithmetic and comparisons raise errors for some values.
_MAY_FAIL = (pl.Decimal, pl.Enum, pl.Categorical)
# The sides of a join whose rows are only in the outcome as often as they match, or not at all: leaving out all rows
# with some values of a column leaves out just those rows of the outcome.
_MAY_LOSE_ROWS = {"Inner": (0, 1), "Left": (0,), "Semi": (0,), "Anti": (0,), "Right": (1,)}


@dataclass(frozen=True)
class _Filter:
    """A plan of keys, in its only column, that has all values that a column of a side needs to have."""

    column: str
    keys: Node
    share: float


def semi_filtered(planner: Planner, side: JoinSide, other: JoinSide, *, sent: bool) -> Node | None:
    """
    Leave out rows of a side of a join that match nothing of the other side, as far as that pays.

    Parameters
    ----------
    planner
        The planner.
    side
        The side, whose rows without a match have no part in the outcome.
    other
        The other side.
    sent
        Whether the other side is small enough to be sent to this one. The join itself is as good a filter then: only rows that
        something below moves are worth to be left out before.

    Returns
    -------
    Node or None
        The rows of the side that are left, in their order; None where nothing is to be gained.
    """
    if side.stage.size.bytes < planner.options.broadcast_limit:
        return None
    if isinstance(side.stage, KeyStage):
        return None  # it is there
    found = [
        item
        for key, other_key in zip(side.keys, other.keys, strict=True)
        if kind_of(key) == "Column" and kind_of(other_key) == "Column"
        for item in _filters(planner, side, key["Column"], other, other_key["Column"])
    ]
    if not found:
        return None
    best = min(found, key=lambda item: item.share)
    new = _pushed(planner, side.node, best.column, best.keys)
    core = find_region(simplify(new, planner.schema), planner.schema).core
    # A filter that is set on top of what is filtered by it already would be set again and again.
    in_vain = new.digest == side.node.digest or (sent and _is_filter(core, best.keys))
    return None if in_vain else new


def _filters(planner: Planner, side: JoinSide, name: str, other: JoinSide, other_name: str) -> Iterator[_Filter]:
    different = (side.stage.distinct or {}).get(name)
    if different is None:
        return
    different = max(min(different, side.stage.size.rows), 1.0)
    limit = planner.options.broadcast_limit
    dtype = planner.schema(side.node)[name]
    for rows, key in _origins(planner, other, other_name):
        if planner.schema(rows)[key] != dtype:
            continue
        keys = select_node(None, [column(key)], rows)
        stage = planner.lower(keys)
        share = stage.size.rows / different
        spared = side.stage.size.bytes * (1 - share)
        if share <= _MOST_LEFT and spared >= limit and planner.fits(stage.size, limit):
            yield _Filter(name, keys, share)


# ---------------------------------------------------------------- where keys come from


def _origins(planner: Planner, side: JoinSide, name: str) -> Iterator[tuple[Node, str]]:
    """Find columns with all values that a column of a side has, whose rows cost nothing but reading."""
    if isinstance(side.stage, KeyStage):
        yield Node(SOURCE, {"source": StageSource(side.stage)}), name
    yield from _origins_below(planner, side.node, name)


def _origins_below(planner: Planner, node: Node, name: str) -> Iterator[tuple[Node, str]]:
    node = simplify(node, planner.schema)
    region = find_region(node, planner.schema)
    if not region.core.inputs:
        if is_cheap(planner.lower(node)):
            yield node, name
        return
    for item in region.chain:  # not by recursion: chains may be thousands of nodes long
        below = names_below(planner, item).get(name)
        if below is None:
            return
        name = below
    node = region.core
    if node.kind == "GroupBy":
        if _groups_by(node, name):
            yield from _origins_below(planner, node.input, name)
    elif equal_keys(node) is not None:
        for index, below in _sources_in_join(planner, node, name):
            yield from _origins_below(planner, node.inputs[index], below)


def _sources_in_join(planner: Planner, node: Node, name: str) -> Iterator[tuple[int, str]]:
    """Find columns of the inputs of a join that have all values that a column of its outcome has."""
    index = input_of_join(planner, node, name)
    how = node.fields["options"]["args"]["how"]
    if index not in _MAY_LOSE_ROWS.get(how, ()):
        return
    yield index, name
    pairs = equal_keys(node)
    if how not in ("Inner", "Semi") or pairs is None or node.fields["options"]["args"]["nulls_equal"]:
        return
    schemas = [planner.schema(child) for child in node.inputs]
    for pair in pairs:
        if pair[index] == name and schemas[0][pair[0]] == schemas[1][pair[1]]:
            yield 1 - index, pair[1 - index]


def _groups_by(node: Node, name: str) -> bool:
    """Say whether a group has one value of a column, which is that of its rows."""
    options = node.fields["options"]
    plain = all(options[item] is None for item in ("dynamic", "rolling", "slice")) and node.fields["apply"] is None
    return plain and any(key == column(name) for key in node.fields["keys"])


# ---------------------------------------------------------------- where rows are left out


def _pushed(planner: Planner, node: Node, name: str, keys: Node) -> Node:
    """Leave out rows as far below as it makes no difference to others, nor to whether there is an error."""
    above: list[Node] = []
    node = simplify(node, planner.schema)
    while is_row_wise(node) and _never_fails(planner, node):
        below = names_below(planner, node).get(name)
        if below is None:
            break
        above.append(node)
        node, name = simplify(node.input, planner.schema), below
    node = _pushed_below(planner, node, name, keys)
    for item in reversed(above):
        node = item.with_inputs((node,))
    return node


def _pushed_below(planner: Planner, node: Node, name: str, keys: Node) -> Node:
    if _is_filter(node, keys) and node.fields["condition"]["Equi"]["left_on"] == [column(name)]:
        return node
    if node.kind == "GroupBy" and _groups_by(node, name) and _never_fails(planner, node):
        return node.with_inputs((_pushed(planner, node.input, name, keys),))
    if equal_keys(node) is not None:
        index = input_of_join(planner, node, name)
        if index in _MAY_LOSE_ROWS.get(node.fields["options"]["args"]["how"], ()):
            inputs = list(node.inputs)
            inputs[index] = _pushed(planner, inputs[index], name, keys)
            return node.with_inputs(tuple(inputs))
    return _semi_join(planner, node, name, keys)


def _never_fails(planner: Planner, node: Node) -> bool:
    trees: Sequence[Expression] = ()
    if node.kind == "Filter":
        trees = [node.fields["predicate"]]
    elif node.kind in ("Select", "HStack"):
        trees = node.fields["expr" if node.kind == "Select" else "exprs"]
    elif node.kind == "GroupBy":
        trees = [*node.fields["keys"], *node.fields["aggs"], *node.fields["predicates"]]
    try:
        return never_fails(expand(trees, planner.schema(node.input)), planner.schema(node.input))
    except ValueError:
        return False


def never_fails(trees: Sequence[Expression], schema: Mapping[str, pl.DataType]) -> bool:
    """Say whether expressions without selectors give a value for all rows that there could be."""
    return all(_may_not_fail(item, schema) for tree in trees for item in walk_expression(tree))


def _may_not_fail(tree: Expression, schema: Mapping[str, pl.DataType]) -> bool:
    """Say whether the operation at the top of an expression gives a value for all values of its inputs."""
    kind = kind_of(tree)
    if kind == "BinaryExpr":
        # Decimals overflow and are not divided by zero, lists may be of different lengths, and a text no category of an enum.
        types = [*(schema[name] for name in columns_of(tree)), *expression_dtypes([tree], schema)]
        return not any(dtype.is_nested() or dtype.base_type() in _MAY_FAIL for dtype in types)
    found = aggregation_of(tree)
    return kind in _NEVER_FAILS and (found is None or found[0] != "Item")


def _is_filter(node: Node, keys: Node) -> bool:
    """Say whether a node leaves out the rows that do not match some keys, and does nothing else."""
    semi = equal_keys(node) is not None and node.fields["options"]["args"]["how"] == "Semi"
    return semi and node.inputs[1].digest == keys.digest


def _semi_join(planner: Planner, node: Node, name: str, keys: Node) -> Node:
    (rows, wanted), fill = in_place_of([node, keys], [planner.schema(node), planner.schema(keys)])
    (key,) = planner.schema(keys)
    left = rows.join(wanted, left_on=name, right_on=key, how="semi", maintain_order="left")
    return fill(decode_with_sources(left))
