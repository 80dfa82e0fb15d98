"""
A group_by of a join, of which one side is aggregated before the join.

Where aggregations read one side only, that side may be aggregated by the keys of the join first. Its partial results are joined in
place of its rows, and combined::

    (customers join orders on k).group_by(g).agg(o.count())
        ->  (customers join orders.group_by(k).agg(o.count()) on k).group_by(g).agg(sum of the counts)

That is the eager aggregation of Yan and Larson, *Eager Aggregation and Lazy Aggregation*, 1995. The keys of neither side need be unique: a
partial result is there as often as its rows were. It is done where rows of that side would be shuffled, and where bounds of the
values of its keys say that there are far fewer of them than rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from dask_polars.dsl.expressions import Expression, aggregation_of, column, columns_of, kind_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict, expression_dtypes, group_by_node, select_node
from dask_polars.plan.decompose import PREFIX, Decomposition, Partial, inner_of
from dask_polars.plan.join import asks_for_sizes, moves_both
from dask_polars.plan.join_sides import Sides
from dask_polars.plan.lineage import bound_of, equal_keys, input_of_join, keeps_rows, names_below
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region, find_region, simplify
from dask_polars.plan.reread import is_cheap
from dask_polars.plan.select import finished_groups
from dask_polars.plan.semi_filters import never_fails

# How many rows each key must have on average.
_ROWS_PER_KEY = 3
# What is computed of these of partial results that are there several times, or are null, is what it is of the rows.
_COMBINED = ("Sum", "Count", "Min", "Max")


def aggregated_first(planner: Planner, region: Region) -> Node | None:
    """
    Aggregate a side of a join before it is joined.

    Parameters
    ----------
    planner
        The planner.
    region
        A region over a group_by, whose selectors are expanded, without windows or a slice.

    Returns
    -------
    Node or None
        What gives the same groups as the group_by; None where that cannot be, or does not pay.
    """
    core = region.core
    if core.fields["maintain_order"] or core.fields["apply"] is not None or core.fields["predicates"]:
        return None
    join = _join_below(planner, core)
    if join is None or join.digest in planner.reused:
        return None
    taken = Decomposition(lambda tree: expression_dtypes([tree], planner.schema(core.input))[0], whole=False)
    finals = taken.finals(core.fields["aggs"])
    if finals is None:
        return None
    how = join.fields["options"]["args"]["how"]
    partials = list(taken.partials.values())
    for index in _SIDES.get(how, ()):
        if not _is_of_side(planner, join, core, index):
            continue
        schema = planner.schema(join.inputs[index])
        combined = all(_is_combined(item.aggregation, how, schema) for item in partials)
        if combined and _pays(planner, join, region, index):
            return _rewritten(planner, join, core, index, partials, finals)
    return None


# The sides that may be aggregated first: of a left join only the one whose rows are not there without a match.
_SIDES = {"Inner": (0, 1), "Left": (1,)}


def _join_below(planner: Planner, core: Node) -> Node | None:
    """Find the join that gives the rows of a group_by, with the columns that this reads under their own names."""
    region = find_region(simplify(core.input, planner.schema), planner.schema)
    join = region.core
    if join.kind != "Join" or equal_keys(join) is None or join.fields["options"]["args"]["maintain_order"] != "None":
        return None
    read = _columns_of_all([*core.fields["keys"], *core.fields["aggs"]])
    for node in region.chain:
        below = names_below(planner, node)
        if not keeps_rows(node) or any(below.get(name) != name for name in read):
            return None
    # The partial results have names of ours.
    taken = any(name.startswith(PREFIX) for node in join.inputs for name in planner.schema(node))
    return None if taken else join


def _columns_of_all(trees: Iterable[Expression]) -> set[str]:
    return {name for tree in trees for name in columns_of(tree)}


def _is_of_side(planner: Planner, join: Node, core: Node, index: int) -> bool:
    """Say whether all aggregations read columns of an input of a join, and the keys of the groups those of the other one."""
    sides = ((core.fields["aggs"], index), (core.fields["keys"], 1 - index))
    return all(input_of_join(planner, join, name) == side for trees, side in sides for name in _columns_of_all(trees))


def _is_combined(aggregation: Expression, how: str, schema: SchemaDict) -> bool:
    """
    Say whether partial results of keys can be combined as those of partitions are, whatever they are joined with.

    They are computed of rows that match nothing, too, so nothing may fail. A row of a left join without a match has null in place of a
    partial result: that has to be what would come of a row of nulls, so nothing may make a value of these, as `is_null` does, or `len`.
    """
    if aggregation == "Len":
        return how == "Inner"
    name, arguments = aggregation_of(aggregation) or ("", None)
    value = inner_of(aggregation)
    if name not in _COMBINED or value is None or not never_fails([value], schema):
        return False
    if how == "Inner":
        return True
    counts_nulls = name == "Count" and arguments is not None and arguments["include_nulls"]
    return kind_of(value) == "Column" and not counts_nulls


def _pays(planner: Planner, join: Node, region: Region, index: int) -> bool:
    """Say whether a side is rows of files that would be shuffled, and are many for each key."""
    (demand,) = planner.demands(region.build, [planner.schema(region.core.input)])
    if demand.filters:
        return False  # what these leave is not what would be looked at here
    read = set(planner.schema(join) if demand.columns is None else demand.columns)
    side = _read_of(planner, join, read, index)
    rows = planner.lower(side)
    different = math.prod(bound_of(key, rows.distinct or {}) for key in _keys_of(join, index))
    if not is_cheap(rows) or rows.npartitions == 1 or rows.size.rows < _ROWS_PER_KEY * different:
        return False
    other = _read_of(planner, join, read, 1 - index)
    nodes = (other, side) if index else (side, other)
    left_on, right_on = (tuple(map(column, names)) for names in zip(*equal_keys(join) or (), strict=True))
    left, right = (planner.lower(node) for node in nodes)
    schemas = (planner.schema(join.inputs[0]), planner.schema(join.inputs[1]))
    sides = Sides(join, left, right, left_on, right_on, schemas)
    # Where the other side may turn out to be small enough to be sent, this one need not move, and would be aggregated in vain.
    return moves_both(planner, sides, nodes) and not asks_for_sizes(planner, sides, of=1 - index)


def _keys_of(join: Node, index: int) -> list[Expression]:
    pairs = equal_keys(join) or []
    return [column(name) for name in dict.fromkeys(pair[index] for pair in pairs)]


def _read_of(planner: Planner, join: Node, read: Collection[str], index: int) -> Node:
    """Give an input of a join with its keys, and those of some columns of the join that are its own."""
    node = join.inputs[index]
    schema = planner.schema(node)
    own = {name for name in read if input_of_join(planner, join, name) == index} | _columns_of_all(
        _keys_of(join, index)
    )
    names = [column(name) for name in schema if name in own]
    return node if len(names) == len(schema) else select_node(None, names, node, keep_height=True)


def _rewritten(
    planner: Planner, join: Node, core: Node, index: int, partials: Sequence[Partial], finals: Sequence[Expression]
) -> Node:
    inputs = list(join.inputs)
    inputs[index] = group_by_node(_keys_of(join, index), [item.expression for item in partials], inputs[index])
    groups = group_by_node(core.fields["keys"], [item.combine for item in partials], join.with_inputs(inputs))
    return finished_groups(planner, core, groups, finals)
