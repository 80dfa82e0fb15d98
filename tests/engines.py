"""The query that the tests of the engine run, and the engine."""

from __future__ import annotations

from typing import Any

import polars as pl

import dask_polars as dp

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5]})
SUMS = [("a", 4), ("b", 7), ("c", 4)]


def engine(client: Any = None, **options: Any) -> dp.DaskEngine:
    return dp.DaskEngine(client, **{"max_rows_per_partition": 2, "fallback": "silent", **options})


def sums() -> pl.LazyFrame:
    return DATA.lazy().group_by("k").agg(pl.col("v").sum()).sort("k")


async def awaited(lf: pl.LazyFrame, with_engine: dp.DaskEngine) -> pl.DataFrame:
    return await lf.collect_async(engine=with_engine)
