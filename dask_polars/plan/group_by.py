"""
group_by.

Aggregations that can be computed in parts are, and the parts are combined in a tree where there are few of them, or
else shuffled by key::

    group_by(k).agg(v.mean())  ->  final <- tree | shuffle by k <- [group_by(k).agg(v.sum(), v.count())] per partition

Any other aggregation sees whole groups: the rows are shuffled by key, and the query runs as it was written::

    group_by(k).agg(v.median())  ->  group_by(k).agg(v.median()) <- shuffle by k <- rows
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    as_condition,
    column,
    expand,
    kind_of,
    output_name,
    shape,
)
from dask_polars.dsl.groups import with_positions
from dask_polars.dsl.leaves import slot
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import (
    expression_dtypes,
    filter_node,
    group_by_node,
    select_node,
    slice_node,
    with_columns_node,
)
from dask_polars.plan.colocated import cut_for_groups
from dask_polars.plan.decompose import Decomposition, DtypeOf, Partial
from dask_polars.plan.eager import aggregated_first
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.lineage import bound_of, distinct_after, most_combinations
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.select import cast, finished_groups, key_names
from dask_polars.plan.shuffling import POSITION, hash_shuffle, restore_order, with_position
from dask_polars.plan.stages import KeyStage, Placement, SchemaDict, Size, Stage
from dask_polars.plan.steps import Question, could_be_below
from dask_polars.plan.time_windows import HAVING, lower_windows, window_kind, windows_of
from dask_polars.plan.true_types import another_type
from dask_polars.plan.wide import as_long_as_rows, with_columns_of_other_rows, with_key_columns


@lowers("GroupBy")
def lower_group_by(planner: Planner, region: Region) -> Stage:
    """Lower a group_by."""
    core = _expanded(planner, region.core)
    if core is None:
        return gather_and_run(planner, region, "group_by", "its selectors are not understood")
    region = Region(region.chain, core)
    if core.fields["options"]["slice"] is not None:
        offset, length = core.fields["options"]["slice"]
        groups = core.with_fields(options={**core.fields["options"], "slice": None})
        return planner.lower(region.over(slice_node(offset, length, groups)))
    if window_kind(core) is not None:
        return lower_windows(planner, region)
    if not all(shape(key) in (Shape.ROW, Shape.LITERAL) for key in core.fields["keys"]):
        computed = _by_other_rows(planner, region) or _by_columns(planner, region)
        return computed or gather_and_run(planner, region, "group_by", "keys that are not computed row by row")
    before = aggregated_first(planner, region)
    if before is not None:
        return planner.lower(region.over(before))
    if core.fields["apply"] is None:
        # Of a literal Polars makes a group even where there are no rows.
        taken = Decomposition(_dtypes_over(planner, core), whole=_is_one_group(core))
        finals = taken.finals(core.fields["aggs"])
        having = taken.finals([alias(tree, f"having_{i}") for i, tree in enumerate(core.fields["predicates"])])
        if finals is not None and having is not None:
            return _lower_in_parts(planner, region, taken, finals, having)
    return _lower_whole_groups(planner, region)


def _is_one_group(core: Node) -> bool:
    """Say whether all keys are literals."""
    return all(shape(key) is Shape.LITERAL for key in core.fields["keys"])


def _by_other_rows(planner: Planner, region: Region) -> Stage | None:
    """Make columns of keys that need other rows, as in ``group_by(pl.len().over("k"))``; None where there are none."""
    core = region.core
    found = with_columns_of_other_rows(planner, core.input, core.fields["keys"])
    # A function of whole groups would be given these columns, too.
    if found is None or found.reason is not None or core.fields["apply"] is not None:
        return None
    if not all(shape(key) in (Shape.ROW, Shape.LITERAL) for key in found.trees):
        return None
    return planner.lower(region.over(core.with_inputs((found.rows,)).with_fields(keys=found.trees)))


def _by_columns(planner: Planner, region: Region) -> Stage | None:
    """Make columns of keys that are not computed row by row, as in ``group_by(v > v.mean())``."""
    core = region.core
    trees = core.fields["keys"]
    one_per_row = all(shape(key) is Shape.LITERAL or as_long_as_rows(key) for key in trees)
    if core.fields["apply"] is not None or not one_per_row:
        return None
    rows, names = with_key_columns(core.input, trees)
    keys = [alias(column(name), output_name(key)) for key, name in zip(trees, names, strict=True)]
    changed = core.with_inputs((rows,)).with_fields(keys=keys)
    same = list(planner.schema(changed).items()) == list(planner.schema(core).items())
    return planner.lower(region.over(changed)) if same else None


def _dtypes_over(planner: Planner, core: Node) -> DtypeOf:
    schema = planner.schema(core.input)
    return lambda tree: expression_dtypes([tree], schema)[0]


def _expanded(planner: Planner, core: Node) -> Node | None:
    """Expand the selectors; None where the outcome is not what Polars makes of them."""
    schema = planner.schema(core.input)
    try:
        keys = expand(core.fields["keys"], schema)
        names = [output_name(key) for key in keys]
        if window_kind(core) is not None:
            names.append(windows_of(core)["index_column"])
        aggs = expand(core.fields["aggs"], schema, names)
    except ValueError:
        return None
    changed = core.with_fields(keys=keys, aggs=aggs)
    return changed if list(planner.schema(changed).items()) == list(planner.schema(core).items()) else None


def is_placed(placement: Placement | None, keys: Sequence[Expression]) -> bool:
    """Say whether all rows of a group are known to be in the same partition."""
    columns = {key["Column"] for key in keys if kind_of(key) == "Column"}
    return placement is not None and not placement.nulls_anywhere and set(placement.columns) <= columns


def groups_bound(stage: Stage, keys: Sequence[Expression]) -> float:
    """Bound the number of groups, by the number of rows and by what is known of the values of the key columns."""
    return min(_product_of_values(stage, keys), stage.size.rows)


def _product_of_values(stage: Stage, keys: Sequence[Expression]) -> float:
    """Bound the number of groups by what is known of the values of the key columns; infinite where that is nothing."""
    return math.prod(bound_of(key, stage.distinct or {}) for key in keys)


def size_of_groups(
    rows: Stage, keys: Sequence[Expression], schema: SchemaDict, times: int = 1, most: float = math.inf
) -> Size:
    """
    Guess how large groups are.

    Parameters
    ----------
    rows
        Their rows.
    keys
        What they are grouped by.
    schema
        What there is of each group.
    times
        How often a group may be there: once for each partition, before they are put together.
    most
        What else bounds their number.

    Returns
    -------
    Size
        However wrong a guess of the rows is, there are no more groups than values have combinations.
    """
    combinations = min(_product_of_values(rows, keys) * times, most)
    thought = min(combinations, rows.size.rows)
    doubt = min(rows.size.doubt, max(combinations / thought, 1.0)) if thought else rows.size.doubt
    return Size.guess(thought, schema, doubt=doubt)


def _size_of_all_groups(planner: Planner, core: Node, rows: Stage) -> Size:
    """Guess how large the outcome of a group by is: there are no more groups than the table has rows that all keys come from."""
    keys = core.fields["keys"]
    names = _columns(keys)
    most = most_combinations(planner, core.input, names) if len(names) == len(keys) else math.inf
    return size_of_groups(rows, keys, planner.schema(core), most=most)


# ---------------------------------------------------------------- in parts


def _lower_in_parts(
    planner: Planner,
    region: Region,
    taken: Decomposition,
    finals: list[Expression],
    having: list[Expression],
) -> Stage:
    core = region.core
    ordered = core.fields["maintain_order"]
    keys, names = core.fields["keys"], key_names(core)
    partials = list(taken.partials.values())
    partial = group_by_node(keys, [item.expression for item in partials], core.input, maintain_order=ordered)
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    schema = planner.schema(core.input)
    if rows.npartitions == 1 or (is_placed(rows.placement, keys) and not ordered):
        return _run_placed(planner, region, rows)
    groups = groups_bound(rows, keys)
    if not ordered and not planner.is_small(Size.guess(groups, planner.schema(partial))):
        rows = cut_for_groups(planner, source, rows, keys)
        if is_placed(rows.placement, keys):
            return _run_placed(planner, region, rows)
    size = size_of_groups(rows, keys, planner.schema(partial), times=rows.npartitions)
    partly = planner.fragment(
        "groupby-partial", partial.with_inputs, [rows], [schema], size=size, distinct=_kept(rows, names)
    )
    if not ordered and not planner.is_small(size) and not _is_one_group(core):
        leaf = slot(0, schema)
        partly = planner.reduction(partly, source, leaf, _of_each_row(keys, partials, partly.schema, leaf), keys)

    def combine(leaf: Node) -> Node:
        return group_by_node(
            [column(name) for name in names], [item.combine for item in partials], leaf, maintain_order=ordered
        )

    def finish(leaves: Sequence[Node]) -> Node:
        node = combine(leaves[0])
        if having:
            flags = [f"{HAVING}{index}" for index in range(len(having))]
            node = with_columns_node([alias(tree, name) for tree, name in zip(having, flags, strict=True)], node)
            for name in flags:
                node = filter_node(as_condition(name), node)
        return region.over(finished_groups(planner, core, node, finals))

    parts = planner.as_known(partly)
    ran = isinstance(parts, KeyStage)
    size = parts.size if ran else size
    doubtful = math.isinf(_product_of_values(rows, keys)) and could_be_below(size, planner.options.partition_size)
    if planner.asks and doubtful and not (ordered or ran):
        planner.questions.append(Question(parts, "group_by: whether there are few groups"))
    if ran:
        out = Size.guess(min(groups, size.rows), planner.schema(core), doubt=size.doubt)
    else:
        out = _size_of_all_groups(planner, core, rows)
    distinct = distinct_after(planner, region, _kept(rows, _columns(keys)))
    # Order is kept by a tree that combines neighbours.
    if ordered or planner.is_small(size):
        combined = planner.tree("groupby-combine", parts, combine)
        return planner.fragment("groupby", finish, [combined], [parts.schema], size=out, distinct=distinct)
    shuffled = hash_shuffle(
        planner, "groupby-shuffle", parts, [column(name) for name in names], _outputs(planner, parts)
    )
    placement = shuffled.placement if _keeps(planner, region, names) else None
    facts = {"placement": placement, "distinct": distinct}
    return planner.fragment("groupby", finish, [shuffled], [parts.schema], size=out, **facts)


def _of_each_row(
    keys: Sequence[Expression], partials: Sequence[Partial], schema: SchemaDict, rows: Node
) -> Node | None:
    """Give the partial results of groups of one row each; None where they are not simply the values of the rows."""
    found = [item.of_one_row() for item in partials]
    values = [
        alias(cast(tree, schema[item.name]), item.name) for tree, item in zip(found, partials, strict=True) if tree
    ]
    return select_node(None, [*keys, *values], rows) if len(values) == len(partials) else None


def _keeps(planner: Planner, region: Region, names: Sequence[str]) -> bool:
    """Say whether the columns are still there, unchanged, on top of a region's chain."""
    from dask_polars.plan.lineage import renames

    kept = renames(planner, region)
    return all(kept.get(name) == name for name in names)


def _columns(keys: Sequence[Expression]) -> list[str]:
    """Name the keys that are columns as they are."""
    return [key["Column"] for key in keys if kind_of(key) == "Column"]


def _kept(stage: Stage, names: Sequence[str]) -> Mapping[str, float]:
    known = stage.distinct or {}
    return {name: known[name] for name in names if name in known}


def _outputs(planner: Planner, parts: Stage) -> int:
    return max(2, planner.partitions_for(parts.size, parts.npartitions))


# ---------------------------------------------------------------- whole groups


def _run_placed(planner: Planner, region: Region, rows: Stage) -> Stage:
    core = region.core
    names = _columns(core.fields["keys"])
    placement = rows.placement if rows.placement is not None and _keeps(planner, region, names) else None
    out = _size_of_all_groups(planner, core, rows)
    facts = {"placement": placement, "distinct": distinct_after(planner, region, _kept(rows, names))}
    return planner.fragment("groupby", region.build, [rows], [planner.schema(core.input)], size=out, **facts)


def _lower_whole_groups(planner: Planner, region: Region) -> Stage:
    core = region.core
    keys = core.fields["keys"]
    if _is_one_group(core):
        return gather_and_run(planner, region, "group_by", "keys that are the same for all rows")
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    ordered = core.fields["maintain_order"]
    if not ordered:
        rows = cut_for_groups(planner, source, rows, keys)
    if rows.npartitions == 1 or (is_placed(rows.placement, keys) and not ordered):
        return _run_placed(planner, region, rows)
    outputs = max(2, planner.partitions_for(rows.size, rows.npartitions))
    if not ordered:
        return _run_placed(planner, region, hash_shuffle(planner, "groupby-shuffle", rows, keys, outputs))
    return _whole_groups_in_order(planner, region, rows, outputs)


def _whole_groups_in_order(planner: Planner, region: Region, rows: Stage, outputs: int) -> Stage:
    """Groups in the order of their first rows: by the position of these."""
    core = region.core
    mistaken = another_type(core, core.fields["aggs"], planner.schema(core.input))
    if mistaken is not None:
        return gather_and_run(planner, region, "group_by", mistaken)
    shuffled = hash_shuffle(planner, "groupby-shuffle", with_position(rows), core.fields["keys"], outputs)
    if core.fields["apply"] is not None:
        node = with_positions(core, POSITION, planner.schema(core))
    else:
        node = core.with_fields(aggs=[*core.fields["aggs"], {"Agg": {"First": column(POSITION)}}])
    schema = {**planner.schema(core.input), POSITION: shuffled.schema[POSITION]}
    out = Size.guess(groups_bound(rows, core.fields["keys"]), planner.schema(core))
    groups = planner.fragment("groupby", node.with_inputs, [shuffled], [schema], size=out)
    return restore_order(planner, "groupby-order", groups, rows.npartitions, region, planner.schema(core))
