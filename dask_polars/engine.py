"""``DaskEngine``: unchanged Polars code on a Dask cluster."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import polars as pl
from dask.threaded import get as threaded_get
from polars.lazyframe.engine import Engine
from polars.lazyframe.opt_flags import QueryOptFlags

from dask_polars.background import BackgroundQuery, ClusterQuery
from dask_polars.batches import Batches, batches_of
from dask_polars.collection import LazyFrame
from dask_polars.config import Options
from dask_polars.dsl.schemas import schema_of
from dask_polars.errors import PlanSendError
from dask_polars.execution import (
    Target,
    choose_target,
    here,
    local_engine,
    profile_plan,
    run_queries,
    writes,
)
from dask_polars.file_sinks import sink_files
from dask_polars.futures import submit
from dask_polars.plan import Plan, plan_queries
from dask_polars.profile import Journal
from dask_polars.progress import watched
from dask_polars.results import DaskQueryResult, kept_partitions
from dask_polars.steps import settled
from dask_polars.table_sinks import write_delta, write_iceberg


class DaskEngine(Engine):
    """
    An engine of Polars that runs queries on a Dask cluster.

    Parameters
    ----------
    client : distributed.Client, optional
        The cluster. If it is not given, the current client, or the scheduler that Dask is configured with; if there is
        none, Polars runs the query in this process.
    fallback : {"warn", "raise", "silent"}, optional
        What to do with a part of a query that is not distributed. This and the following are configured under
        ``dask-polars`` where they are not given.
    partition_size : int or str, optional
        Bytes in memory that a partition should have.
    max_rows_per_partition : int, optional
        Rows that a partition of a source has at most.
    broadcast_limit : int or str, optional
        Bytes up to which a side of a join is sent to every partition of the other.
    shuffle_method : {"auto", "p2p", "tasks"}, optional
        How rows are shuffled.
    adaptive : bool, optional
        Whether a query on a cluster may run in steps, to decide again what was decided on a guess.
    overwrite : bool, optional
        Whether sinks replace a file, or a directory with all that is in it, that is there already.
    progress : bool or "auto", optional
        Whether to show a bar for each stage while a query runs.

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> lf = pl.LazyFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    >>> lf.group_by("k").agg(pl.col("v").sum()).sort("k").collect(engine=dp.DaskEngine()).rows()
    [('a', 4), ('b', 2)]
    """

    def __init__(
        self,
        client: Any = None,
        *,
        fallback: str | None = None,
        partition_size: int | str | None = None,
        max_rows_per_partition: int | None = None,
        broadcast_limit: int | str | None = None,
        shuffle_method: str | None = None,
        adaptive: bool | None = None,
        overwrite: bool | None = None,
        progress: bool | Literal["auto"] | None = None,
    ) -> None:
        if client is not None and not (hasattr(client, "scheduler_info") and hasattr(client, "get")):
            raise TypeError(f"DaskEngine takes a distributed.Client, not a {type(client).__name__}")
        if getattr(client, "asynchronous", False):
            raise ValueError("DaskEngine needs a client that is not asynchronous")
        self.client = client
        self._overrides = {
            "fallback": fallback,
            "partition_size": partition_size,
            "max_rows_per_partition": max_rows_per_partition,
            "broadcast_limit": broadcast_limit,
            "shuffle_method": shuffle_method,
            "adaptive": adaptive,
            "overwrite": overwrite,
            "progress": progress,
        }
        Options.current(**self._overrides)  # a wrong value fails here

    @property
    def name(self) -> str:
        """The name of the engine."""
        return "dask"

    @property
    def plan_engine(self) -> str:
        """The engine of Polars that runs the fragments, as whose plans Polars shows a query."""
        return "streaming"

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self._overrides.items() if value is not None]
        client = [] if self.client is None else ["client"]
        return f"DaskEngine({', '.join([*client, *given])})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A client is of one process: in another one the engine uses the client that is the current one there.
        return (_rebuild_engine, (self._overrides,))

    def __dask_tokenize__(self) -> Any:
        client = None if self.client is None else self.client.id
        return ("DaskEngine", client, sorted(self._overrides.items(), key=str))

    def _options(self) -> Options:
        return Options.current(**self._overrides)

    def _target(self) -> Target:
        return choose_target(self.client)

    def _plan(self, lf: pl.LazyFrame) -> Plan:
        plan = plan_queries([lf], self._options(), self.client)
        plan.announce()
        return plan

    def collect(
        self,
        lf: pl.LazyFrame,
        *,
        optimizations: QueryOptFlags | None = None,
        background: bool = False,
        post_opt_callback: Any = None,
    ) -> Any:
        """
        Run a query.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.
        optimizations
            Passed on where Polars runs the query in this process; fragments are always optimized.
        background : bool
            Give a handle of the running query.
        post_opt_callback
            Passed on where Polars runs the query in this process.

        Returns
        -------
        polars.DataFrame, or polars.InProcessQuery

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> dp.DaskEngine().collect(pl.LazyFrame({"v": [1, 2]}).select(pl.col("v").sum())).item()
        3
        """
        return self._run(lf, self._target(), optimizations, background, post_opt_callback)

    def _run(
        self,
        lf: pl.LazyFrame,
        target: Target,
        optimizations: QueryOptFlags | None = None,
        background: bool = False,
        post_opt_callback: Any = None,
    ) -> Any:
        options = self._options()
        if target.get is not None and write_iceberg(lf, target, options):
            return pl.DataFrame()
        if target.get is None and writes(lf):
            target, options = here(options)
        if target.get is None:
            return _run_here(lf, optimizations, background=background, post_opt_callback=post_opt_callback)
        if not background:
            (frame,) = run_queries([lf], target, options)
            return frame
        if target.client is None:
            schema_of(lf)  # a wrong query fails here, as it would with Polars
            return BackgroundQuery(lambda: run_queries([lf], target, options)[0])
        plan = self._plan(lf)
        return ClusterQuery(target.client, submit(plan, target), plan)

    def execute(self, lf: pl.LazyFrame, *, optimizations: QueryOptFlags | None = None) -> DaskQueryResult:
        """
        Run a query, in steps as :meth:`collect` does; its result stays where it was computed.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.
        optimizations
            As for :meth:`collect`.

        Returns
        -------
        DaskQueryResult
        """
        target = self._target()
        if target.get is None:
            return DaskQueryResult(LazyFrame(self._run(lf, target, optimizations)), self)
        journal, plan = Journal(), self._plan(lf)
        with (
            settled(plan, target, journal) as last,
            last.running(),
            watched(target, last, profile=True) as (there, run),
        ):
            kept = kept_partitions(_said(lf, last), there)
        return DaskQueryResult(kept, self, last, journal.profile(last, run))

    def profile(self, lf: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """
        Run a query, and say what its stages took.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.

        Returns
        -------
        tuple of polars.DataFrame
            The result, and a row for each stage: see :meth:`dask_polars.LazyFrame.profile`.
        """
        return self._profile(lf, self._target())

    def _profile(self, lf: pl.LazyFrame, target: Target) -> tuple[pl.DataFrame, pl.DataFrame]:
        # Polars by itself says nothing of stages: where it would run the query, its plan runs in threads.
        there = Target(threaded_get) if target.get is None else target
        plan = plan_queries([lf], self._options(), there.client)
        plan.announce()
        (result,), profile = profile_plan(plan, there)
        return result, profile

    def collect_all(
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: QueryOptFlags | None = None
    ) -> list[pl.DataFrame]:
        """
        Run several queries, which share their common parts.

        Parameters
        ----------
        lfs : iterable of polars.LazyFrame
            The queries.
        optimizations
            As for :meth:`collect`.

        Returns
        -------
        list of polars.DataFrame
        """
        return self._run_all(list(lfs), self._target(), self._options(), optimizations)

    def _run_all(
        self, lfs: list[pl.LazyFrame], target: Target, options: Options, optimizations: QueryOptFlags | None
    ) -> list[pl.DataFrame]:
        if target.get is None and optimizations is not None and not any(map(writes, lfs)):
            return pl.collect_all(lfs, engine=local_engine(), optimizations=optimizations)
        return run_queries(lfs, target, options)

    def collect_batches(
        self,
        lf: pl.LazyFrame,
        *,
        optimizations: QueryOptFlags | None = None,
        maintain_order: bool = True,
        chunk_size: int | None = None,
        lazy: bool = False,
    ) -> Any:
        """
        Run a query, and give its result in batches: partition by partition, each of which is let go of in turn.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.
        optimizations
            As for :meth:`collect`.
        maintain_order : bool
            Whether batches come in the order of the rows.
        chunk_size : int, optional
            Rows of a batch.
        lazy : bool
            Start only when the first batch is asked for.

        Returns
        -------
        iterator of polars.DataFrame
            It is a stream of Arrow, too.

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> [batch.height for batch in dp.DaskEngine().collect_batches(pl.LazyFrame({"v": range(5)}), chunk_size=2)]
        [2, 2, 1]
        """
        target = self._target()
        if target.get is not None:
            try:
                plan = self._plan(lf)
            except PlanSendError:
                frame = self._run(lf, target, optimizations)  # says so, and runs it here
                return Batches(frame.iter_slices(chunk_size or max(frame.height, 1)), frame.schema)
            return batches_of(plan, target, chunk_size=chunk_size, in_order=maintain_order, lazy=lazy)
        return lf.collect_batches(
            engine=local_engine(),
            maintain_order=maintain_order,
            chunk_size=chunk_size,
            lazy=lazy,
            **_given(optimizations),
        )

    def collect_async(
        self, lf: pl.LazyFrame, *, optimizations: QueryOptFlags | None = None, gevent: bool = False
    ) -> Any:
        """
        Run a query; the result is awaited.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.
        optimizations
            As for :meth:`collect`.
        gevent : bool
            Not supported.

        Returns
        -------
        awaitable of polars.DataFrame

        Raises
        ------
        NotImplementedError
            With ``gevent=True``.
        """
        target, options = self._target(), self._options()
        return _awaitable(lambda: self._run_all([lf], target, options, optimizations)[0], gevent)

    def collect_all_async(
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: QueryOptFlags | None = None, gevent: bool = False
    ) -> Any:
        """
        Run several queries; the results are awaited.

        Parameters
        ----------
        lfs : iterable of polars.LazyFrame
            The queries.
        optimizations
            As for :meth:`collect`.
        gevent : bool
            Not supported.

        Returns
        -------
        awaitable of list of polars.DataFrame

        Raises
        ------
        NotImplementedError
            With ``gevent=True``.
        """
        queries, target, options = list(lfs), self._target(), self._options()
        return _awaitable(lambda: self._run_all(queries, target, options, optimizations), gevent)

    def sink_batches(
        self,
        lf: pl.LazyFrame,
        function: Callable[[pl.DataFrame], bool | None],
        *,
        chunk_size: int | None = None,
        maintain_order: bool = True,
        optimizations: QueryOptFlags | None = None,
    ) -> None:
        """
        Call a function in this process with each batch of a result, until it gives True.

        Parameters
        ----------
        lf : polars.LazyFrame
            The query.
        function
            Called with each batch.
        chunk_size : int, optional
            Rows of a batch.
        maintain_order : bool
            Whether batches come in the order of the rows.
        optimizations
            As for :meth:`collect`.
        """
        batches = self.collect_batches(
            lf, optimizations=optimizations, maintain_order=maintain_order, chunk_size=chunk_size
        )
        for batch in batches:
            if function(batch):
                break

    def sink_delta(
        self, lf: pl.LazyFrame, target: Any, *, optimizations: QueryOptFlags | None = None, **options: Any
    ) -> Any:
        """
        Write a Delta Lake table: partitions write its files, and this process commits them.

        Where that would not give what ``deltalake`` gives, rows are streamed to it through this process, and a
        :class:`~dask_polars.FallbackWarning` says why; so they are where ``lf.sink_delta(…, engine=engine)`` is called.

        Parameters
        ----------
        lf : polars.LazyFrame
            The rows.
        target : str, Path or deltalake.DeltaTable
            The table.
        optimizations
            As for :meth:`collect`.
        **options
            As :meth:`polars.LazyFrame.sink_delta` takes them.

        Returns
        -------
        None, or deltalake.table.TableMerger
            The latter with ``mode="merge"``.
        """

        def stream() -> Any:
            return lf.sink_delta(target, engine=self, **_given(optimizations), **options)

        return write_delta(lf, target, self._target(), self._options(), stream, **options)


def _rebuild_engine(options: dict[str, Any]) -> DaskEngine:
    return DaskEngine(**options)


def _said(lf: pl.LazyFrame, plan: Plan) -> LazyFrame:
    """Give a query as a collection with its plan, of which there is nothing to be said any more."""
    return LazyFrame(lf)._planned_with(plan.options, replace(plan, fallbacks=()))


def _given(optimizations: QueryOptFlags | None) -> dict[str, Any]:
    return {} if optimizations is None else {"optimizations": optimizations}


def _run_here(lf: pl.LazyFrame, optimizations: QueryOptFlags | None, **options: Any) -> Any:
    """Have Polars run a query in this process."""
    return lf.collect(engine=local_engine(), **options, **_given(optimizations))


def _awaitable(run: Callable[[], Any], gevent: bool) -> Any:
    """Run something in a thread, as a future of asyncio."""
    if gevent:
        raise NotImplementedError("DaskEngine knows asyncio, not gevent")
    context = contextvars.copy_context()
    return asyncio.get_event_loop().run_in_executor(None, context.run, run)


def _sink(name: str) -> Any:
    def sink(self: DaskEngine, lf: pl.LazyFrame, path: Any, *, optimizations: Any = None, **options: Any) -> None:
        given = _given(optimizations)
        sink_files(name, lf, path, self._target(), self._options(), self.collect_batches, given, **options)

    sink.__name__ = name
    sink.__qualname__ = f"DaskEngine.{name}"
    sink.__doc__ = f"""
        Write a result, each partition by its own task; see :meth:`polars.LazyFrame.{name}` for the arguments.

        Files appear together when all of them are written, or not at all. A directory (a path that ends with a slash, or
        that is there already) gets one file for each partition.

        Raises
        ------
        FileExistsError
            If there is a file, or a directory that is not empty, and the option ``overwrite`` is not set.
        """
    return sink


for _name in ("sink_parquet", "sink_ipc", "sink_csv", "sink_ndjson"):
    setattr(DaskEngine, _name, _sink(_name))
