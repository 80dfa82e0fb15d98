"""with_row_index: the rows of all partitions before are counted first."""

from __future__ import annotations

from dask_polars.kernels import add_row_index
from dask_polars.plan.fallback import lower_fallback
from dask_polars.plan.lineage import renames
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region, function_of
from dask_polars.plan.slice import rows_before
from dask_polars.plan.stages import CallStage, Input, Mode, Stage


@lowers("MapFunction")
def lower_function(planner: Planner, region: Region) -> Stage:
    """Lower a function on frames that is not row by row."""
    if function_of(region.core) == "RowIndex":
        return lower_row_index(planner, region)
    return lower_fallback(planner, region)


def lower_row_index(planner: Planner, region: Region) -> Stage:
    """Lower a with_row_index."""
    core = region.core
    schema = planner.schema(core.input)
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    if rows.npartitions == 1:
        return planner.fragment("row-index", region.build, [rows], [schema])
    arguments = core.fields["function"]["RowIndex"]
    out = planner.schema(core)
    name = arguments["name"]
    indexed = CallStage(
        operation="row-index",
        schema={name: out[name], **{key: dtype for key, dtype in rows.schema.items() if key != name}},
        npartitions=rows.npartitions,
        size=rows.size,
        placement=rows.placement,
        distinct=rows.distinct,
        function=add_row_index,
        sources=(Input(rows), Input(rows_before(planner, source, rows), Mode.BROADCAST)),
        arguments=(name, arguments["offset"] or 0),
        lazy=True,
        indexed=True,
    )
    if not region.chain and list(indexed.schema) == list(out):
        return indexed
    placement = rows.placement.renamed(renames(planner, region)) if rows.placement is not None else None
    return planner.fragment("row-index", lambda leaves: region.over(leaves[0]), [indexed], [out], placement=placement)
