"""
Frames beside each other: `concat(how="horizontal")`, and the outputs of a select that have rows of their own.

The rows of all frames but one are sent to where the rows of the same number of that one are: the rows of all partitions
are counted, and a row goes by its number. What has a single row stands beside every row of the others, where Polars
says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import slice_node
from dask_polars.kernels import number_partitions, put_beside
from dask_polars.plan.lineage import keeps_rows
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region, simplify
from dask_polars.plan.slice import rows_before
from dask_polars.plan.stages import CallStage, Input, MapStage, Mode, ShuffleStage, Size, Stage
from dask_polars.shuffle.frames import PARTITION_COLUMN


def beside_node(inputs: Sequence[Node]) -> Node:
    """Put frames beside each other, as a select does with its outputs: what has one row is there for every row."""
    options = {"parallel": True, "strict": True, "broadcast_unit_length": True}
    return Node("HConcat", {"inputs": None, "options": options}, tuple(inputs))


@lowers("HConcat")
def lower_hconcat(planner: Planner, region: Region) -> Stage:
    """Lower frames beside each other."""
    core = region.core
    schemas = [planner.schema(node) for node in core.inputs]
    inputs = planner.push_down(region.build, core.inputs)
    stages = [planner.lower(node) for node in inputs]
    if all(stage.npartitions == 1 for stage in stages):
        return planner.fragment("beside", region.build, stages, schemas)
    if _same_rows(planner, inputs, stages):
        size = Size.guess(stages[0].size.rows, planner.schema(core), doubt=stages[0].size.doubt)
        return planner.fragment("beside", region.build, stages, schemas, size=size)
    beside = _by_number(planner, core, inputs, stages)
    return planner.fragment("beside", lambda leaves: region.over(leaves[0]), [beside], [planner.schema(core)])


def _same_rows(planner: Planner, inputs: Sequence[Node], stages: Sequence[Stage]) -> bool:
    """Say whether the partitions of all inputs hold the same rows, which were read from the same place."""
    if len({_bottom(stage).token for stage in stages}) > 1:
        return False
    return len({_source_of(planner, node).digest for node in inputs}) == 1


def _bottom(stage: Stage) -> Stage:
    """Give what the partitions of a stage are made of, each of the one of the same number."""
    while isinstance(stage, MapStage) and len(stage.sources) == 1 and stage.sources[0].mode is Mode.ALIGNED:
        stage = stage.sources[0].stage
    return stage


def _source_of(planner: Planner, node: Node) -> Node:
    """Give what a frame was made of, value by value."""
    node = simplify(node, planner.schema)
    while keeps_rows(node):
        node = simplify(node.input, planner.schema)
    return node


def _by_number(planner: Planner, core: Node, inputs: Sequence[Node], stages: Sequence[Stage]) -> Stage:
    options = core.fields["options"]
    counts = [rows_before(planner, node, stage) for node, stage in zip(inputs, stages, strict=True)]
    # The largest stays where it is.
    order = sorted(range(len(stages)), key=lambda index: (stages[index].npartitions, stages[index].size.bytes))
    base = order[-1]
    out = stages[base].npartitions
    aligned = [
        stage if index == base else _sent(planner, stage, counts[index], counts[base], out)
        for index, stage in enumerate(stages)
    ]
    firsts = [_first_row(planner, stage) for stage in stages] if options["broadcast_unit_length"] else []
    known: dict[str, pl.DataType] = {}
    for stage in stages:
        known.update(stage.schema)
    # Columns that nothing needs were not asked for.
    schema = {name: dtype for name, dtype in planner.schema(core).items() if name in known}
    return CallStage(
        operation="beside",
        schema=schema,
        npartitions=out,
        size=Size.guess(max(stage.size.rows for stage in stages), schema, doubt=stages[base].size.doubt),
        function=put_beside,
        sources=(
            *(Input(stage) for stage in aligned),
            *(Input(stage, Mode.BROADCAST) for stage in (*counts, *firsts)),
        ),
        arguments=(len(stages), bool(options["strict"])),
        indexed=True,
    )


def _sent(planner: Planner, rows: Stage, before: Stage, base_before: Stage, npartitions: int) -> Stage:
    """Send rows to where the rows of the same number of another frame are."""
    numbered = CallStage(
        operation="beside-partition",
        schema={**rows.schema, PARTITION_COLUMN: pl.UInt32()},
        npartitions=rows.npartitions,
        size=rows.size,
        function=number_partitions,
        sources=(Input(rows), Input(before, Mode.BROADCAST), Input(base_before, Mode.BROADCAST)),
        indexed=True,
    )
    if npartitions == 1:
        return planner.gather(rows)
    return ShuffleStage(
        operation="beside-shuffle",
        schema=rows.schema,
        npartitions=npartitions,
        size=rows.size,
        source=numbered,
        keys=("row number",),
        kind="order",
        method=planner.options.shuffle_method,
    )


def _first_row(planner: Planner, rows: Stage) -> Stage:
    """Give the first row, should it be the only one."""
    size = Size.guess(rows.npartitions, rows.schema)
    heads = planner.fragment(
        "beside-first", lambda leaves: slice_node(0, 1, leaves[0]), [rows], [rows.schema], size=size
    )
    return planner.fragment(
        "beside-first", lambda leaves: slice_node(0, 1, leaves[0]), [planner.gather(heads)], [rows.schema]
    )
