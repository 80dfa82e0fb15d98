"""
head, tail, slice and top-k.

A small head takes partitions in waves of growing width, as many as it needs; a small tail, and a small number of the
first rows of a sort, take so many rows of each partition. Of files whose footers tell their rows, anything larger takes
those that have rows of it. Otherwise the rows of partitions are counted, of a head in waves, and each partition gives
what falls to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import polars as pl

from dask_polars.dsl.expressions import Shape, shape
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node, slice_node, width_of
from dask_polars.io.leading import files_of_slice
from dask_polars.kernels import count_rows_before, slice_partition
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region, find_region, keeps_rows, simplify
from dask_polars.plan.reread import is_cheap, per_partition
from dask_polars.plan.sources import on_source, scan_stage
from dask_polars.plan.stages import (
    CallStage,
    HeadStage,
    Input,
    Mode,
    Size,
    Stage,
)

ALL = 2**32 - 1  # Polars' way to say "to the end"


@lowers("Slice")
def lower_slice(planner: Planner, region: Region) -> Stage:
    """Lower a slice."""
    core = region.core
    offset, length = core.fields["offset"], core.fields["len"]
    below = simplify(core.input, planner.schema)
    core = core.with_inputs((below,))
    wanted = -offset if offset < 0 else offset + length
    small = wanted * width_of(planner.schema(core.input)) <= planner.options.partition_size
    if small and below.kind == "Sort" and all(shape(key) is Shape.ROW for key in below.fields["by_column"]):
        return _top(planner, region, core, below, offset, length)
    (source,) = planner.push_down(lambda leaves: region.over(core.with_inputs(leaves)), [below])
    return slice_rows(planner, region, core, source, small=small)


def slice_rows(planner: Planner, region: Region, core: Node, source: Node, *, small: bool) -> Stage:
    """Take a slice of the rows of a plan."""
    offset, length = core.fields["offset"], core.fields["len"]
    schema = planner.schema(core.input)
    if small and offset >= 0:
        source = _limited(planner, source, offset + length)
    rows = planner.lower(source)
    if rows.npartitions == 1:
        size = Size.guess(min(length, rows.size.rows), rows.schema)
        return planner.fragment("slice", _build(region, core), [rows], [schema], size=size)
    if not small:
        first = _of_files(planner, source, offset, length)
        if first is not None and not region.chain:
            return first
        if first is not None:
            return planner.fragment("slice", lambda leaves: region.over(leaves[0]), [first], [schema])
        return _by_counts(planner, region, core, source, rows)
    if offset >= 0:
        wanted = offset + length
        local = planner.fragment(
            "head-partial",
            lambda leaves: slice_node(0, wanted, leaves[0]),
            [rows],
            [rows.schema],
            size=Size.guess(min(wanted * rows.npartitions, rows.size.rows), rows.schema),
        )
        first = _in_waves(planner, local, wanted) if is_cheap(rows) else planner.gather(local)
    else:
        local = planner.fragment(
            "tail-partial",
            lambda leaves: slice_node(offset, ALL, leaves[0]),
            [rows],
            [rows.schema],
            size=Size.guess(min(-offset * rows.npartitions, rows.size.rows), rows.schema),
        )
        first = planner.gather(local)
    size = Size.guess(min(length, rows.size.rows), schema)
    return planner.fragment("slice", _build(region, core), [first], [schema], size=size)


def _build(region: Region, core: Node) -> Callable[[Sequence[Node]], Node]:
    return lambda leaves: region.over(core.with_inputs(leaves))


def _limited(planner: Planner, source: Node, rows: int) -> Node:
    """Ask the inputs of a node for no more rows than its first ones need, where Polars says how many that is."""
    region = find_region(simplify(source, planner.schema), planner.schema)
    inputs = region.core.inputs
    if region.core.kind not in ("Join", "Union"):
        return source
    schemas = [planner.schema(node) for node in inputs]
    demands = planner.demands(lambda leaves: slice_node(0, rows, region.build(leaves)), schemas)
    if all(demand.limit is None for demand in demands):
        return source
    return region.build(
        [
            node if demand.limit is None else slice_node(0, demand.limit, node)
            for node, demand in zip(inputs, demands, strict=True)
        ]
    )


def _in_waves(planner: Planner, local: Stage, rows: int) -> Stage:
    return HeadStage(
        operation="head",
        schema=local.schema,
        npartitions=1,
        size=Size.guess(rows, local.schema),
        source=local,
        rows=rows,
    )


def _top(planner: Planner, region: Region, core: Node, sort: Node, offset: int, length: int) -> Stage:
    schema = planner.schema(sort.input)
    span = (0, offset + length) if offset >= 0 else (offset, ALL)

    def top(leaf: Node) -> Node:
        return slice_node(*span, sort.with_inputs((leaf,)))

    def whole(leaves: Sequence[Node]) -> Node:
        return region.over(core.with_inputs((sort.with_inputs(leaves),)))

    (source,) = planner.push_down(whole, [sort.input])
    rows = planner.lower(source)
    if rows.npartitions == 1:
        return planner.fragment("top-k", whole, [rows], [schema])
    wanted = abs(span[0]) + (span[1] if offset >= 0 else 0)
    size = Size.guess(min(wanted * rows.npartitions, rows.size.rows), rows.schema)
    local = planner.fragment("top-k-partial", lambda leaves: top(leaves[0]), [rows], [schema], size=size)
    combined = planner.tree("top-k-combine", local, top)
    return planner.fragment("top-k", whole, [combined], [schema], size=Size.guess(wanted, schema))


# ---------------------------------------------------------------- by counting


def rows_before(planner: Planner, node: Node, rows: Stage, wanted: int | None = None) -> Stage:
    """Count, for each partition of rows, those before it and those in it; no more of them than are wanted."""
    if wanted is not None and is_cheap(rows):
        return _summed_up(rows, _counted_in_waves(planner, node, rows, wanted))
    length = per_partition(
        planner,
        "count-rows",
        lambda leaves: select_node(None, ["Len"], leaves[0]),
        node,
        rows,
        size=Size.guess(rows.npartitions, {"len": pl.UInt32()}, exact=True),
    )
    return _summed_up(rows, planner.gather(length))


def _summed_up(rows: Stage, lengths: Stage) -> Stage:
    schema = {"before": pl.UInt64(), "rows": pl.UInt64()}
    return CallStage(
        operation="count-rows-before",
        schema=schema,
        npartitions=1,
        size=Size.guess(rows.npartitions, schema, exact=True),
        function=count_rows_before,
        sources=(Input(lengths),),
    )


def _of_files(planner: Planner, source: Node, offset: int, length: int) -> Stage | None:
    """Take those files that have rows of a slice; None where it is not known which these are."""
    region = find_region(simplify(source, planner.schema), planner.schema)
    if offset < 0 or length == ALL or region.core.kind != "Scan" or not all(map(keeps_rows, region.chain)):
        return None
    files = planner.files_of(region)
    found = None if files is None else files_of_slice(files, offset, offset + length)
    return None if found is None else on_source(planner, region, scan_stage(planner, region.core, found))


def _counted_in_waves(planner: Planner, node: Node, rows: Stage, wanted: int) -> Stage:
    """Count the rows of partitions, until there are enough; of those behind it is said that they have none."""
    counted = per_partition(
        planner,
        "count-rows",
        lambda leaves: select_node(None, ["Len"], slice_node(0, wanted, leaves[0])),
        node,
        rows,
        size=Size.guess(rows.npartitions, {"len": pl.UInt32()}, exact=True),
    )
    # As many at first as are thought to be enough.
    width = math.ceil(rows.npartitions * wanted / max(rows.size.rows, 1.0))
    return HeadStage(
        operation="count-rows-in-waves",
        schema=counted.schema,
        npartitions=1,
        size=counted.size,
        source=counted,
        rows=wanted,
        width=min(width, rows.npartitions),
        counts=True,
    )


def _by_counts(planner: Planner, region: Region, core: Node, source: Node, rows: Stage) -> Stage:
    offset, length = core.fields["offset"], core.fields["len"]
    schema = planner.schema(core.input)
    counts = rows_before(planner, source, rows, offset + length if offset >= 0 and length != ALL else None)
    size = Size.guess(min(length, rows.size.rows), rows.schema)
    sliced = CallStage(
        operation="slice",
        schema=rows.schema,
        npartitions=rows.npartitions,
        size=size,
        function=slice_partition,
        sources=(Input(rows), Input(counts, Mode.BROADCAST)),
        arguments=(offset, None if length == ALL else length),
        indexed=True,
        lazy=True,
        placement=rows.placement,
    )
    return planner.fragment("slice", lambda leaves: region.over(leaves[0]), [sliced], [schema])
