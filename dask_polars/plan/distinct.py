"""
unique.

What is unique in a partition is found first; the rest is decided by a tree where there is little of it, or else after a
shuffle by the columns that decide. ``keep="none"`` has to see all rows of a value.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.expressions import Expression, Shape, column, expand, shape
from dask_polars.dsl.leaves import slot
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.group_by import is_placed, size_of_groups
from dask_polars.plan.lineage import renames
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.shuffling import POSITION, hash_shuffle, restore_order, with_position
from dask_polars.plan.stages import SchemaDict, Stage
from dask_polars.plan.wide import with_key_columns


@lowers("Distinct")
def lower_distinct(planner: Planner, region: Region) -> Stage:
    """Lower a unique."""
    core = region.core
    schema = planner.schema(core.input)
    options = core.fields["options"]
    try:
        keys = [column(name) for name in schema] if options["subset"] is None else expand(options["subset"], schema)
    except ValueError:
        return gather_and_run(planner, region, "unique", "its selectors are not understood")
    if any(shape(key) is Shape.MIXED for key in keys) and all(shape(key) in (Shape.ROW, Shape.MIXED) for key in keys):
        return planner.lower(region.over(_over_columns(planner, core, keys)))
    if not keys or not all(shape(key) is Shape.ROW for key in keys):
        return gather_and_run(planner, region, "unique", "columns that are not computed row by row")
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    ordered, keep = options["maintain_order"], options["keep_strategy"]
    if rows.npartitions == 1 or (is_placed(rows.placement, keys)):
        return _finish(planner, region, rows)
    if keep == "None":
        return _shuffled(planner, region, source, rows, keys)
    size = size_of_groups(rows, keys, rows.schema, times=rows.npartitions)
    if planner.is_small(size):
        local = core.with_fields(options={**options, "maintain_order": ordered or keep in ("First", "Last")})
        partial = planner.fragment("unique-partial", local.with_inputs, [rows], [schema], size=size)
        combined = planner.tree("unique-combine", partial, lambda leaf: local.with_inputs((leaf,)))
        return _finish(planner, region, combined)
    return _shuffled(planner, region, source, rows, keys)


def _over_columns(planner: Planner, core: Node, keys: Sequence[Expression]) -> Node:
    """Make columns of what compares rows with aggregations, as in ``unique([v > v.mean()])``."""
    beside, names = with_key_columns(core.input, keys)
    options = {**core.fields["options"], "subset": [column(name) for name in names]}
    distinct = core.with_inputs((beside,)).with_fields(options=options)
    return select_node(None, [column(name) for name in planner.schema(core)], distinct, keep_height=True)


def _finish(planner: Planner, region: Region, rows: Stage) -> Stage:
    placement = rows.placement.renamed(renames(planner, region)) if rows.placement is not None else None
    schema = planner.schema(region.core.input)
    return planner.fragment("unique", region.build, [rows], [schema], placement=placement, distinct=rows.distinct)


def _shuffled(planner: Planner, region: Region, source: Node, rows: Stage, keys: Sequence[Expression]) -> Stage:
    core = region.core
    schema = planner.schema(core.input)
    options = core.fields["options"]
    outputs = max(2, planner.partitions_for(rows.size, rows.npartitions))
    if not options["maintain_order"]:
        local = rows
        if options["keep_strategy"] != "None":
            # Shuffled rows of a partition stay in order, and so do partitions: the first of the firsts is the first.
            kept = core.with_fields(options={**options, "maintain_order": options["keep_strategy"] != "Any"})
            local = _first_in_parts(planner, kept, source, rows, schema, keys)
        return _finish(planner, region, hash_shuffle(planner, "unique-shuffle", local, keys, outputs))
    # The position must not decide what is equal.
    subset = keys if options["subset"] is None else options["subset"]
    node = core.with_fields(options={**options, "subset": list(subset)})
    positioned = with_position(rows)
    wide = {**schema, POSITION: pl.UInt64()}
    if options["keep_strategy"] != "None":
        positioned = _first_in_parts(planner, node, source, positioned, wide, keys)
    shuffled = hash_shuffle(planner, "unique-shuffle", positioned, keys, outputs)

    def build(leaves: Sequence[Node]) -> Node:
        return node.with_inputs(leaves)

    unique = planner.fragment("unique", build, [shuffled], [wide])
    return restore_order(planner, "unique-order", unique, rows.npartitions, region, schema)


def _first_in_parts(
    planner: Planner, kept: Node, source: Node, rows: Stage, schema: SchemaDict, keys: Sequence[Expression]
) -> Stage:
    """Leave out what is there more than once in a partition, unless nearly nothing is."""
    local = planner.fragment("unique-partial", kept.with_inputs, [rows], [schema], distinct=rows.distinct)
    leaf = slot(0, schema)
    return planner.reduction(local, source, leaf, leaf, keys)
