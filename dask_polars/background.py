"""Queries that run in the background."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import polars as pl
from polars.lazyframe.in_process import InProcessQuery

from dask_polars.execution import put_together
from dask_polars.futures import abandon, aside
from dask_polars.plan import Plan


class BackgroundQuery(InProcessQuery):
    """
    A query that runs in a thread of this process.

    Parameters
    ----------
    run
        Runs it.
    """

    def __init__(self, run: Callable[[], pl.DataFrame]) -> None:
        self._future: Future[pl.DataFrame] = Future()
        self._cancelled = False
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work, run), daemon=True, name="dask-polars-query").start()

    def _work(self, run: Callable[[], pl.DataFrame]) -> None:
        try:
            self._future.set_result(run())
        except BaseException as error:
            self._future.set_exception(error)

    def cancel(self) -> None:
        """Give up on the query; what runs of it in this process runs to its end."""
        self._cancelled = True

    def fetch(self) -> pl.DataFrame | None:
        """
        Give the result if it is there.

        Returns
        -------
        polars.DataFrame, or None
            None while the query runs.
        """
        return self.fetch_blocking() if self._future.done() else None

    def fetch_blocking(self) -> pl.DataFrame:
        """
        Wait for the result.

        Returns
        -------
        polars.DataFrame

        Raises
        ------
        polars.exceptions.ComputeError
            Where the query was cancelled.
        """
        if self._cancelled:
            raise _cancelled()
        return self._future.result()


class ClusterQuery(InProcessQuery):
    """
    A query that runs on a cluster.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster.
    futures : list of distributed.Future
        The partitions of the result.
    plan : Plan
        What is run.
    """

    def __init__(self, client: Any, futures: list[Any], plan: Plan) -> None:
        self._client, self._futures, self._plan = client, futures, plan
        self._result: pl.DataFrame | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel the query: tasks that have not started, and that nobody else wants, never will."""
        if self._result is None:
            self._cancelled = True
            abandon(self._futures)
            self._plan.clean()

    def fetch(self) -> pl.DataFrame | None:
        """
        Give the result if it is there.

        Returns
        -------
        polars.DataFrame, or None
            None while the query runs.
        """
        running = self._result is None and not all(future.done() for future in self._futures)
        failed = any(future.status in ("error", "cancelled") for future in self._futures)
        return None if running and not failed else self.fetch_blocking()

    def fetch_blocking(self) -> pl.DataFrame:
        """
        Wait for the result.

        Returns
        -------
        polars.DataFrame

        Raises
        ------
        polars.exceptions.ComputeError
            Where the query was cancelled.
        """
        from concurrent.futures import CancelledError

        if self._result is None:
            if self._cancelled or any(future.cancelled() for future in self._futures):
                raise _cancelled()
            try:
                with self._plan.running(), aside():
                    self._result = put_together(self._client.gather(self._futures))
            except CancelledError:
                raise _cancelled() from None
            self._futures = []  # let go of on the cluster
        return self._result


def _cancelled() -> pl.exceptions.ComputeError:
    return pl.exceptions.ComputeError("the query was cancelled")
