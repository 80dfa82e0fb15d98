"""Sources of ours: leaves of plans that come in partitions already."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
from dask.tokenize import tokenize
from polars.io.plugins import register_io_source

from dask_polars.dsl.leaves import Source, decode_with_sources
from dask_polars.kernels import split_piece
from dask_polars.plan.planner import Planner, split_evenly
from dask_polars.plan.sources import frame_stage, source_stage
from dask_polars.plan.stages import CallStage, Input, KeyStage, ProduceStage, RegroupStage, Size, Stage, walk_stages

SchemaDict = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class FrameSource:
    """
    A frame of this process, cut into partitions.

    Parameters
    ----------
    frame
        The frame.
    npartitions
        How many; None for as many as the configured size of partitions makes.
    partition_size
        Bytes of a partition, in place of the configured size.
    """

    frame: pl.DataFrame = field(repr=False)
    npartitions: int | None = None
    partition_size: int | None = None

    @cached_property
    def schema(self) -> SchemaDict:
        return dict(self.frame.schema)

    @cached_property
    def token(self) -> str:
        return tokenize(self.frame, self.npartitions, self.partition_size)

    def lazy(self) -> pl.LazyFrame:
        return self.frame.lazy()


@source_stage.register
def _frame_source_stage(source: FrameSource, planner: Planner) -> Stage:
    size = Size(source.frame.height, source.frame.estimated_size(), True)
    count = source.npartitions
    if count is None:
        most = max(source.frame.height, 1)
        count = planner.partitions_for(size, most)
        if source.partition_size is not None:
            count = max(1, min(math.ceil(size.bytes / source.partition_size), most))
    elif planner.options.max_rows_per_partition is not None:
        count = max(count, math.ceil(size.rows / planner.options.max_rows_per_partition))
    return frame_stage(source.frame, count, source.token)


@dataclass(frozen=True)
class GraphSource:
    """
    Partitions that are the results of tasks: of a persisted collection, of delayed values, of futures.

    Parameters
    ----------
    keys
        The keys of the partitions, in order.
    graph
        The tasks, results or futures of these keys.
    columns
        Names and types of the columns.
    size
        What the partitions are thought to hold.
    """

    keys: tuple[Any, ...]
    graph: Mapping[Any, Any] = field(repr=False)
    columns: tuple[tuple[str, pl.DataType], ...]
    size: Size

    @cached_property
    def schema(self) -> SchemaDict:
        return dict(self.columns)

    @cached_property
    def token(self) -> str:
        return tokenize(self.keys, [str(dtype) for dtype in self.schema.values()])

    def lazy(self) -> pl.LazyFrame:
        return computed_when_read(self)


@source_stage.register
def _graph_source_stage(source: GraphSource, planner: Planner) -> Stage:
    return KeyStage(
        operation="from-graph",
        schema=source.schema,
        npartitions=len(source.keys),
        size=source.size,
        graph=source.graph,
        keys=source.keys,
    )


@dataclass(frozen=True)
class DerivedSource:
    """
    Partitions made of those of another collection, by what Polars' plans cannot say.

    Parameters
    ----------
    parent
        The plan of the other collection.
    columns
        Names and types of the columns.
    derive
        Makes the stage from that of the parent.
    identity
        What, with the parent, decides the content.
    """

    parent: pl.LazyFrame = field(repr=False)
    columns: tuple[tuple[str, pl.DataType], ...]
    derive: Callable[[Stage, Planner], Stage]
    identity: tuple[Any, ...]

    @cached_property
    def schema(self) -> SchemaDict:
        return dict(self.columns)

    @cached_property
    def token(self) -> str:
        return tokenize(decode_with_sources(self.parent).digest, self.identity)

    def lazy(self) -> pl.LazyFrame:
        return computed_when_read(self)


@source_stage.register
def _derived_source_stage(source: DerivedSource, planner: Planner) -> Stage:
    return source.derive(planner.lower(decode_with_sources(source.parent)), planner)


def computed_when_read(source: Source) -> pl.LazyFrame:
    """Give a source for Polars to read in this process: it is computed by Dask when a query over it runs, not before."""
    schema = source.schema

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = compute_source(source).head(rows) if rows is not None else compute_source(source)
        frame = frame if predicate is None else frame.filter(predicate)
        yield frame if columns is None else frame.select(columns)

    return register_io_source(read, schema=schema, is_pure=True)


def compute_source(source: Source) -> pl.DataFrame:
    """Compute a source: on the cluster that holds parts of it, or else with the current scheduler."""
    from dask_polars.config import Options
    from dask_polars.execution import choose_target, run_plan
    from dask_polars.plan.query import Plan

    options = Options.current()
    stage = source_stage(source, Planner(options))
    target = choose_target(_client_of(stage))
    if target.get is None:
        target = choose_target(scheduler="sync")
    return run_plan(Plan((stage,), options, ()), target)[0]


def _client_of(root: Stage) -> Any:
    """Find the client of the futures that a stage reads, if it reads any."""
    for stage in walk_stages([root]):
        if isinstance(stage, (KeyStage, ProduceStage)):
            for value in stage.graph.values():
                if hasattr(value, "client") and hasattr(value, "key"):
                    return value.client
    return None


# ---------------------------------------------------------------- what is derived


@dataclass(frozen=True)
class PickPartitions:
    """Some of the partitions."""

    numbers: tuple[int, ...]

    def __call__(self, stage: Stage, planner: Planner) -> Stage:
        share = len(self.numbers) / stage.npartitions
        return RegroupStage(
            operation="partitions",
            schema=stage.schema,
            npartitions=len(self.numbers),
            size=stage.size.scaled(share),
            placement=None,
            distinct=stage.distinct,
            sources=(stage,),
            groups=tuple(((0, number),) for number in self.numbers),
        )


@dataclass(frozen=True)
class MapPartitions:
    """A function of the user's, called with each partition."""

    function: Callable[..., Any]
    columns: tuple[tuple[str, pl.DataType], ...]
    token: str

    def __call__(self, stage: Stage, planner: Planner) -> Stage:
        return CallStage(
            operation="map-partitions",
            schema=dict(self.columns),
            npartitions=stage.npartitions,
            size=stage.size,
            function=self.function,
            sources=(Input(stage),),
            content=self.token,
        )


@dataclass(frozen=True)
class Repartition:
    """The same rows in another number of partitions, in the same order."""

    npartitions: int | None
    partition_size: int | None

    def __call__(self, stage: Stage, planner: Planner) -> Stage:
        count = self.npartitions
        if count is None:
            assert self.partition_size is not None
            count = max(1, math.ceil(stage.size.bytes / self.partition_size))
        if count > stage.npartitions:
            return self._split(stage, count)
        groups = split_evenly(stage.npartitions, count)
        return stage if count == stage.npartitions else planner.regroup(stage, groups, "repartition")

    def _split(self, stage: Stage, count: int) -> Stage:
        pieces = split_evenly(count, stage.npartitions)
        spots = [(part, place, len(group)) for part, group in enumerate(pieces) for place in range(len(group))]
        repeated = RegroupStage(
            operation="repartition",
            schema=stage.schema,
            npartitions=count,
            size=stage.size,
            distinct=stage.distinct,
            sources=(stage,),
            groups=tuple(((0, part),) for part, _, _ in spots),
        )
        return CallStage(
            operation="repartition",
            schema=stage.schema,
            npartitions=count,
            size=stage.size,
            distinct=stage.distinct,
            function=split_piece,
            sources=(Input(repeated),),
            arguments=(tuple((place, of) for _, place, of in spots),),
            indexed=True,
        )
