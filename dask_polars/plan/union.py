"""Vertical and diagonal concatenation: the partitions of the inputs, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import empty_leaf
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import RegroupStage, SchemaDict, Size, Stage


@lowers("Union")
def lower_union(planner: Planner, region: Region) -> Stage:
    """
    Lower a concatenation.

    Each input runs through the whole region by itself. Where its columns are not those of the outcome, it does so beside
    an empty frame that has these, so that types and columns come out as Polars makes them.
    """
    core = region.core
    schemas = [planner.schema(node) for node in core.inputs]
    stages = [planner.lower(node) for node in planner.push_down(region.build, core.inputs)]
    parts = [_one_input(planner, region, schemas, index, stage) for index, stage in enumerate(stages)]
    groups = tuple(((index, part),) for index, stage in enumerate(parts) for part in range(stage.npartitions))
    distinct = {
        name: sum((stage.distinct or {})[name] for stage in parts)
        for name in planner.schema(region.root)
        if all(name in (stage.distinct or {}) for stage in parts)
    }
    return RegroupStage(
        operation="concat",
        schema=planner.schema(region.root),
        npartitions=len(groups),
        size=sum((stage.size for stage in parts), Size(0, 0, True)),
        distinct=distinct,
        sources=tuple(parts),
        groups=groups,
    )


def _one_input(planner: Planner, region: Region, schemas: Sequence[SchemaDict], index: int, stage: Stage) -> Stage:
    outcome = planner.schema(region.core)
    if not region.chain and list(stage.schema.items()) == list(outcome.items()):
        return stage

    def build(leaves: Sequence[Node]) -> Node:
        if list(schemas[index].items()) == list(outcome.items()):
            return region.over(leaves[0])
        return region.build([empty_leaf(outcome), leaves[0]])

    return planner.fragment("concat-input", build, [stage], [schemas[index]], distinct=stage.distinct)
