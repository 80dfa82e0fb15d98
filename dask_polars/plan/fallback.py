"""Whatever is not distributed: gathered to one partition, and run there by Polars."""

from __future__ import annotations

from uuid import uuid4

from dask_polars.dsl.expressions import Shape, shape
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region, describe, function_of
from dask_polars.plan.stages import Stage

_REASONS = {
    "PipeWithSchema": "a Python function gets the whole frame",
    "SQL": "a statement in SQL that is no query",
    "Sink": "output is written by one task",
    "SinkMultiple": "output is written by one task",
    "Gather": "rows are picked by their number",
}


@lowers("Fallback")
def lower_fallback(planner: Planner, region: Region) -> Stage:
    """Gather the inputs of a node and run it as it is."""
    return gather_and_run(planner, region, operation_of(region), reason_for(region))


def gather_and_run(planner: Planner, region: Region, operation: str, reason: str, label: str = "fallback") -> Stage:
    """
    Gather the inputs of a region to one partition each, and run the region there.

    Parameters
    ----------
    planner
        The planner, which takes note of it.
    region
        What is run.
    operation
        What the user called.
    reason
        Why it is not distributed.
    label
        The name of the task.

    Returns
    -------
    Stage
        Of one partition.
    """
    inputs = region.core.inputs
    schemas = [planner.schema(node) for node in inputs]
    stages = [planner.lower(node) for node in planner.push_down(region.build, inputs)]
    planner.fall_back(operation, reason, stages)
    gathered = [planner.gather(stage) for stage in stages]
    fallback = reason if any(stage.npartitions > 1 for stage in stages) else None
    # What is written is written each time, even while the result of the first time is held.
    salt = uuid4().hex if region.core.kind in ("Sink", "SinkMultiple") else ""
    return planner.fragment(label, region.build, gathered, schemas, fallback=fallback, salt=salt)


def operation_of(region: Region) -> str:
    """Name the operation at the core of a region, for people."""
    node = region.core
    names = {"HStack": "with_columns", "GroupBy": "group_by", "HConcat": "concat(how='horizontal')"}
    if node.kind == "MapFunction":
        return (
            f"map_batches ({function_of(node)})" if function_of(node) == "OpaquePython" else function_of(node).lower()
        )
    if node.kind == "Sink":
        return "sink"
    return names.get(node.kind, node.kind.lower())


def reason_for(region: Region) -> str:
    """Say why the core of a region is not distributed."""
    node = region.core
    for name in ("expr", "exprs", "by_column"):
        for tree in node.fields.get(name) or ():
            if shape(tree) is Shape.OTHER:
                return f"{describe(tree)} needs more than the rows of one partition"
    if node.kind == "Filter":
        return f"{describe(node.fields['predicate'])} needs more than the rows of one partition"
    if node.kind == "MapFunction" and function_of(node) == "OpaquePython":
        return "a Python function gets the whole frame"
    return _REASONS.get(node.kind, f"{node.kind} is not distributed")
