"""An engine that runs nothing: it tells the distributed plan of each query that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from dask_polars.background import BackgroundQuery
from dask_polars.batches import Batches
from dask_polars.collection import LazyFrame
from dask_polars.engine import DaskEngine
from dask_polars.errors import PlanSendError
from dask_polars.explain import explain_plan
from dask_polars.plan import plan_queries
from dask_polars.results import DaskQueryResult


class ExplainingEngine(DaskEngine):
    """
    An engine of Polars that explains queries in place of running them.

    Each gives a frame with the columns of its result and no rows. Sinks write nothing.

    Parameters
    ----------
    say : callable
        Called with the plan of each query, as text.
    client : distributed.Client, optional
        The cluster that plans are for.

    Examples
    --------
    >>> import polars as pl
    >>> from dask_polars.trial import ExplainingEngine
    >>> plans = []
    >>> pl.LazyFrame({"v": [1, 2]}).select(pl.col("v").sum()).collect(engine=ExplainingEngine(plans.append)).height
    0
    >>> print(plans[0].splitlines()[0])
    query 1
    """

    def __init__(self, say: Callable[[str], Any], client: Any = None) -> None:
        super().__init__(client, fallback="silent")
        self._say = say
        self.count = 0

    def _explained(self, lf: pl.LazyFrame) -> pl.DataFrame:
        empty = pl.DataFrame(schema=lf.collect_schema())  # a wrong query fails as it would with Polars
        self.count += 1
        try:
            text = explain_plan(plan_queries([lf], self._options(), self.client))
        except PlanSendError as error:
            text = f"It would run in this process: {error}"
        self._say(f"query {self.count}\n{text}\n")
        return empty

    def collect(self, lf: pl.LazyFrame, **_options: Any) -> Any:
        """Explain a query."""
        empty = self._explained(lf)
        return BackgroundQuery(lambda: empty) if _options.get("background") else empty

    def execute(self, lf: pl.LazyFrame, **_options: Any) -> DaskQueryResult:
        """Explain a query."""
        return DaskQueryResult(LazyFrame(self._explained(lf)), DaskEngine())

    def collect_all(self, lfs: Iterable[pl.LazyFrame], **_options: Any) -> list[pl.DataFrame]:
        """Explain queries, each by itself."""
        return [self._explained(lf) for lf in lfs]

    def collect_batches(self, lf: pl.LazyFrame, **_options: Any) -> Any:
        """Explain a query; there are no batches."""
        empty = self._explained(lf)
        return Batches(iter(()), empty.schema)

    def collect_async(self, lf: pl.LazyFrame, **_options: Any) -> Any:
        """Explain a query."""
        return _done(self._explained(lf))

    def collect_all_async(self, lfs: Iterable[pl.LazyFrame], **_options: Any) -> Any:
        """Explain queries, each by itself."""
        return _done(self.collect_all(lfs))


def _done(result: Any) -> Any:
    future = asyncio.get_event_loop().create_future()
    future.set_result(result)
    return future


def _sink(name: str) -> Any:
    def sink(self: ExplainingEngine, lf: pl.LazyFrame, path: Any, *, optimizations: Any = None, **options: Any) -> None:
        self._explained(getattr(lf, name)(path, **options, lazy=True))

    sink.__name__ = name
    sink.__doc__ = "Explain a sink; nothing is written."
    return sink


for _name in ("sink_parquet", "sink_ipc", "sink_csv", "sink_ndjson"):
    setattr(ExplainingEngine, _name, _sink(_name))
