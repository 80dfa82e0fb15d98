"""
join_asof.

Without groups, both sides are sorted by their keys, partition after partition. The left side stays where it is; a left
partition gets the right rows within its bounds, and those next to them that the strategy asks for::

    join_asof  ->  join_asof per partition <- left, shuffle of the right rows in reach <- bounds of both sides

With ``by``, rows are shuffled by these columns, and brought back into the order of the left side. A right side that is
small is broadcast in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.expressions import Expression, Shape, alias, column, shape
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, with_columns_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.lineage import renames
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.select import cast
from dask_polars.plan.shuffling import (
    POSITION,
    Nulls,
    common_dtypes,
    hash_shuffle,
    hashable,
    restore_order,
    with_position,
)
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, Size, Stage
from dask_polars.plan.time_windows import bounds_of, send_rows
from dask_polars.series_kernels import KEY, asof_reach, checked_right, send_to_asof


@dataclass(frozen=True)
class _Asof:
    """
    What is joined.

    Parameters
    ----------
    region
        With the join as its core.
    sources, stages
        The two sides, as plans and as the stages of these.
    keys
        What is compared, for each side.
    """

    region: Region
    sources: tuple[Node, Node]
    stages: tuple[Stage, Stage]
    keys: tuple[Expression, Expression]
    schemas: tuple[SchemaDict, SchemaDict]

    @property
    def options(self) -> Mapping[str, Any]:
        return self.region.core.fields["options"]["args"]["how"]["AsOf"]


def lower_asof(planner: Planner, region: Region) -> Stage:
    """Lower a join_asof."""
    core = region.core
    condition = core.fields["condition"]["Equi"]
    (left_on,), (right_on,) = condition["left_on"], condition["right_on"]
    schemas = [planner.schema(node) for node in core.inputs]
    dtype = _common_key(left_on, right_on, schemas[0], schemas[1])
    reason = _not_distributed(core, (left_on, right_on), dtype)
    if reason is not None or dtype is None:
        return gather_and_run(planner, region, "join_asof", reason or "keys of types that do not compare")
    sources = planner.push_down(region.build, core.inputs)
    left, right = (planner.lower(node) for node in sources)
    asof = _Asof(region, (sources[0], sources[1]), (left, right), (left_on, right_on), (schemas[0], schemas[1]))
    if left.npartitions == right.npartitions == 1:
        return _join(planner, asof, Input(left), Input(right))
    broadcast = planner.fits(right.size, planner.options.broadcast_limit)
    if asof.options["left_by"]:
        if broadcast:
            return _join(planner, asof, Input(left), Input(planner.gather(right), Mode.BROADCAST))
        return _by_groups(planner, asof)
    return _by_bounds(planner, asof, dtype, broadcast=broadcast)


def _not_distributed(core: Node, keys: tuple[Expression, Expression], dtype: pl.DataType | None) -> str | None:
    if core.fields["options"]["args"]["slice"] is not None:
        return "a join of which only a slice is wanted"
    if not all(shape(key) is Shape.ROW for key in keys):
        return "keys that are not computed row by row"
    if dtype is not None and (dtype.is_nested() or isinstance(dtype, (pl.Categorical, pl.Enum, pl.Boolean))):
        return f"keys of type {dtype}"
    return None


def _common_key(left: Expression, right: Expression, left_schema: SchemaDict, right_schema: SchemaDict) -> Any:
    """Give the type that keys are compared in; None where there is none, and Polars will say so."""
    common = common_dtypes(expression_dtypes([left], left_schema), expression_dtypes([right], right_schema))
    return None if common is None else common[0]


def _join(planner: Planner, asof: _Asof, left: Input, right: Input) -> Stage:
    placement = left.stage.placement
    return planner.fragment(
        "join-asof",
        asof.region.build,
        [left, right],
        asof.schemas,
        size=left.stage.size,
        placement=placement.renamed(renames(planner, asof.region)) if placement is not None else None,
    )


# ---------------------------------------------------------------- by the bounds of partitions


def _by_bounds(planner: Planner, asof: _Asof, dtype: pl.DataType, *, broadcast: bool) -> Stage:
    left, right = asof.stages
    keys = [alias(cast(key, dtype), KEY) for key in asof.keys]
    bounds = [
        bounds_of(planner, f"join-asof-{side}", source, stage, key, dtype)
        for side, source, stage, key in zip(("left", "right"), asof.sources, asof.stages, keys, strict=True)
    ]
    if broadcast:
        gathered = planner.gather(right)
        checked = CallStage(
            operation="join-asof-check",
            schema=gathered.schema,
            npartitions=1,
            size=gathered.size,
            function=checked_right,
            sources=(Input(gathered), Input(bounds[0]), Input(bounds[1])),
        )
        return _join(planner, asof, Input(left), Input(checked, Mode.BROADCAST))
    schema = {"number": pl.UInt32(), "first": dtype, "last": dtype, "side": pl.String()}
    reach = CallStage(
        operation="join-asof-reach",
        schema=schema,
        npartitions=1,
        size=Size.guess(left.npartitions + right.npartitions, schema, exact=True),
        function=asof_reach,
        sources=(Input(bounds[0]), Input(bounds[1])),
    )
    with_key = planner.fragment(
        "join-asof-key", lambda leaves: with_columns_node([keys[1]], leaves[0]), [right], [asof.schemas[1]]
    )
    context = send_rows(
        planner,
        "join-asof",
        send_to_asof,
        [Input(with_key), Input(reach, Mode.BROADCAST)],
        {name: dtype for name, dtype in with_key.schema.items() if name != KEY},
        (asof.options["strategy"],),
        left.npartitions,
    )
    return _join(planner, asof, Input(left), Input(context))


# ---------------------------------------------------------------- by groups


def _by_groups(planner: Planner, asof: _Asof) -> Stage:
    left, right = asof.stages
    by = [[column(name) for name in asof.options[side]] for side in ("left_by", "right_by")]
    dtypes = [expression_dtypes(names, schema) for names, schema in zip(by, asof.schemas, strict=True)]
    common = [hashable(dtype) for dtype in common_dtypes(*dtypes) or dtypes[0]]
    most = max(left.npartitions, right.npartitions)
    npartitions = max(2, planner.partitions_for(left.size + right.size, most))
    # Null groups match nothing.
    placed = hash_shuffle(
        planner, "join-asof-shuffle-left", with_position(left), by[0], npartitions, common, Nulls.SPREAD
    )
    other = hash_shuffle(planner, "join-asof-shuffle-right", right, by[1], npartitions, common, Nulls.DROPPED)
    core = asof.region.core
    schemas = [{**asof.schemas[0], POSITION: pl.UInt64()}, asof.schemas[1]]
    joined = planner.fragment("join-asof", core.with_inputs, [placed, other], schemas, size=left.size)
    return restore_order(planner, "join-asof-order", joined, left.npartitions, asof.region, planner.schema(core))
