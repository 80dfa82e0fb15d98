"""Results that stay where they were computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dask
import polars as pl

from dask_polars.collection import LazyFrame
from dask_polars.diagram import show_plan
from dask_polars.execution import Target
from dask_polars.futures import abandon, aside
from dask_polars.plan import Plan
from dask_polars.profile import SCHEMA

if TYPE_CHECKING:
    from dask_polars.engine import DaskEngine


class DaskQueryResult:
    """
    The result of a query, where it was computed.

    Parameters
    ----------
    frame : LazyFrame
        A persisted collection.
    engine : DaskEngine
        What computed it.
    plan : Plan, optional
        What ran; None where Polars ran the query by itself.
    profile : polars.DataFrame, optional
        What its stages took.
    """

    def __init__(
        self, frame: LazyFrame, engine: DaskEngine, plan: Plan | None = None, profile: pl.DataFrame | None = None
    ) -> None:
        self._frame, self._engine, self._plan, self._profile = frame, engine, plan, profile
        self._head: pl.DataFrame | None = None
        self._rows: int | None = None

    # Not `cached_property`, whose lock (until Python 3.12) is one for all results.

    @property
    def head(self) -> pl.DataFrame:
        """The first rows."""
        if self._head is None:
            self._head = self._engine.collect(self._frame.to_polars().head())
        return self._head

    @property
    def n_rows_total(self) -> int:
        """The number of rows."""
        if self._rows is None:
            self._rows = self._engine.collect(self._frame.to_polars().select(pl.len())).item()
        return self._rows

    def profile(self) -> pl.DataFrame:
        """
        Say what the stages took.

        Returns
        -------
        polars.DataFrame
            A row for each stage: see :meth:`dask_polars.LazyFrame.profile`; no rows where Polars ran the query by itself.
        """
        return pl.DataFrame(schema=SCHEMA) if self._profile is None else self._profile

    def show_graph(
        self, *, show: bool = True, output_path: str | Path | None = None, raw_output: bool = False
    ) -> str | None:
        """
        Show the stages of the plan as a diagram, with what they took.

        Parameters
        ----------
        show, output_path, raw_output
            As for :meth:`dask_polars.LazyFrame.show_graph`.

        Returns
        -------
        str, optional
            With ``raw_output``.

        Raises
        ------
        ValueError
            For a file of another kind, and where Polars ran the query by itself.
        """
        if self._plan is None:
            raise ValueError("Polars ran the query by itself: there are no stages")
        return show_plan(self._plan, self._profile, show=show, output_path=output_path, raw_output=raw_output)

    def lazy(self) -> pl.LazyFrame:
        """
        Give the result as a lazy frame of Polars, whose data stays on the cluster until a query needs it here.

        Returns
        -------
        polars.LazyFrame
        """
        return self._frame.to_polars()

    def collection(self) -> LazyFrame:
        """
        Give the result as a collection.

        Returns
        -------
        LazyFrame
        """
        return self._frame

    def __repr__(self) -> str:
        return f"DaskQueryResult({self._frame.npartitions} partitions; head:\n{self.head})"


def kept_partitions(frame: LazyFrame, target: Target) -> LazyFrame:
    """Compute the partitions of a collection, and wait until they are kept where they were computed."""
    if target.client is None:
        (kept,) = dask.persist(frame, scheduler=target.get)
        return kept
    from distributed import futures_of

    kept = target.client.persist(frame)
    futures = futures_of(kept)
    try:
        with aside():
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error
    except BaseException:  # Ctrl-C, too
        abandon(futures)
        raise
    return kept
