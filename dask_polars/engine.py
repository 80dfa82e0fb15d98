"""``DaskEngine``: unchanged Polars code on a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import polars as pl
from polars.lazyframe.engine import Engine
from polars.lazyframe.opt_flags import QueryOptFlags

from dask_polars.collection import LazyFrame
from dask_polars.config import Options
from dask_polars.execution import LOCAL_ENGINE, Target, choose_target, run_queries
from dask_polars.plan import plan_queries


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
    ) -> None:
        self.client = client
        self._overrides = {
            "fallback": fallback,
            "partition_size": partition_size,
            "max_rows_per_partition": max_rows_per_partition,
            "broadcast_limit": broadcast_limit,
            "shuffle_method": shuffle_method,
        }
        Options.current(**self._overrides)  # a wrong value fails here

    @property
    def name(self) -> str:
        """The name of the engine."""
        return "dask"

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self._overrides.items() if value is not None]
        client = [] if self.client is None else ["client"]
        return f"DaskEngine({', '.join([*client, *given])})"

    def _options(self) -> Options:
        return Options.current(**self._overrides)

    def _target(self) -> Target:
        return choose_target(self.client)

    def collect(  # type: ignore[override]
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
            Not used.

        Returns
        -------
        polars.DataFrame, or BackgroundQuery
        """
        target = self._target()
        if background:
            return BackgroundQuery(lambda: self._collect(lf, target, optimizations))
        return self._collect(lf, target, optimizations)

    def _collect(self, lf: pl.LazyFrame, target: Target, optimizations: QueryOptFlags | None) -> pl.DataFrame:
        if target.get is None:
            flags = {} if optimizations is None else {"optimizations": optimizations}
            return lf.collect(engine=LOCAL_ENGINE, **flags)
        (frame,) = run_queries([lf], target, self._options())
        return frame

    def execute(self, lf: pl.LazyFrame, *, optimizations: QueryOptFlags | None = None) -> DaskQueryResult:
        """
        Run a query; its result stays where it was computed.

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
            return DaskQueryResult(LazyFrame(self._collect(lf, target, optimizations)))
        import dask

        scheduler = self.client if self.client is not None else None
        (kept,) = dask.persist(LazyFrame(lf), scheduler=scheduler)
        if target.client is not None:
            from distributed import wait

            wait(kept)
        return DaskQueryResult(kept)

    def collect_all(
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: QueryOptFlags | None = None
    ) -> list[pl.DataFrame]:
        """Run several queries, which share their common parts."""
        return run_queries(list(lfs), self._target(), self._options())

    def collect_batches(  # type: ignore[override]
        self,
        lf: pl.LazyFrame,
        *,
        optimizations: QueryOptFlags | None = None,
        maintain_order: bool = True,
        chunk_size: int | None = None,
        lazy: bool = False,
    ) -> Iterator[pl.DataFrame]:
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
        """
        target = self._target()
        if target.get is None:
            return iter(
                lf.collect_batches(engine=LOCAL_ENGINE, maintain_order=maintain_order, chunk_size=chunk_size, lazy=lazy)
            )
        batches = _batches(lf, target, self._options(), chunk_size)
        return batches if lazy else _started(batches)

    def collect_async(  # type: ignore[override]
        self, lf: pl.LazyFrame, *, optimizations: QueryOptFlags | None = None, gevent: bool = False
    ) -> Any:
        """Run a query; the result is awaited."""
        return _in_background(lambda: self._collect(lf, self._target(), optimizations), gevent)

    def collect_all_async(  # type: ignore[override]
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: QueryOptFlags | None = None, gevent: bool = False
    ) -> Any:
        """Run several queries; the results are awaited."""
        queries = list(lfs)
        return _in_background(lambda: self.collect_all(queries), gevent)


def _sink(name: str) -> Any:
    def sink(self: DaskEngine, lf: pl.LazyFrame, *args: Any, optimizations: Any = None, **kwargs: Any) -> None:
        plan = getattr(lf, name)(*args, lazy=True, **{key: value for key, value in kwargs.items() if value is not None})
        self._collect(plan, self._target(), optimizations)

    sink.__name__ = sink.__qualname__ = name
    sink.__doc__ = f"Write a result; see :meth:`polars.LazyFrame.{name}`. It is written by one task."
    return sink


for _name in ("sink_parquet", "sink_ipc", "sink_csv", "sink_ndjson", "sink_batches"):
    setattr(DaskEngine, _name, _sink(_name))


class DaskQueryResult:
    """
    The result of a query, where it was computed.

    Parameters
    ----------
    frame : LazyFrame
        A persisted collection.
    """

    def __init__(self, frame: LazyFrame) -> None:
        self._frame = frame

    @property
    def head(self) -> pl.DataFrame:
        """The first rows."""
        return self._frame.head().collect()

    @property
    def n_rows_total(self) -> int:
        """The number of rows."""
        return self._frame.select(pl.len()).collect().item()

    def lazy(self) -> pl.LazyFrame:
        """Give the result as a lazy frame of Polars, whose data stays on the cluster until a query needs it here."""
        return self._frame.to_polars()

    def collection(self) -> LazyFrame:
        """Give the result as a collection."""
        return self._frame

    def __repr__(self) -> str:
        return f"DaskQueryResult({self._frame.npartitions} partitions; head:\n{self.head})"


class BackgroundQuery:
    """
    A query that runs in the background.

    Parameters
    ----------
    run
        Runs it.
    """

    def __init__(self, run: Any) -> None:
        self._future: Future[pl.DataFrame] = Future()
        self._cancelled = False
        threading.Thread(target=self._work, args=(run,), daemon=True, name="dask-polars-query").start()

    def _work(self, run: Any) -> None:
        try:
            self._future.set_result(run())
        except BaseException as error:
            self._future.set_exception(error)

    def cancel(self) -> None:
        """Stop waiting for the query."""
        self._cancelled = True

    def fetch(self) -> pl.DataFrame | None:
        """Give the result if it is there, None if not."""
        return self._future.result() if self._future.done() else None

    def fetch_blocking(self) -> pl.DataFrame:
        """Wait for the result."""
        if self._cancelled:
            raise pl.exceptions.ComputeError("the query was cancelled")
        return self._future.result()


def _in_background(run: Any, gevent: bool) -> Any:
    if gevent:
        raise NotImplementedError("DaskEngine knows asyncio, not gevent")
    import asyncio

    return asyncio.get_running_loop().run_in_executor(None, run)


def _batches(lf: pl.LazyFrame, target: Target, options: Options, chunk_size: int | None) -> Iterator[pl.DataFrame]:
    from dask_polars.graph.expr import PartsExpr

    plan = plan_queries([lf], options)
    plan.announce()
    expr = PartsExpr(plan.roots, plan.options.shuffle_method)
    keys = expr.__dask_keys__()
    assert target.get is not None
    if target.client is None:
        parts: Iterable[Any] = target.get(expr.__dask_graph__(), keys)
    else:
        futures = target.get(expr, keys, sync=False)
        parts = _fetched(futures)
    for part in parts:
        yield from part.iter_slices(chunk_size) if chunk_size else [part]


def _fetched(futures: list[Any]) -> Iterator[pl.DataFrame]:
    """Fetch results one by one; a partition is let go of on the cluster once it is here."""
    futures.reverse()
    while futures:
        yield futures.pop().result()


def _started(batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    import itertools

    try:
        first = next(batches)
    except StopIteration:
        return iter(())
    return itertools.chain([first], batches)
