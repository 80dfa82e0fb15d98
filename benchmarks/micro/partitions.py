"""A plan with as many partitions as there are files, made and not run."""

from __future__ import annotations

from typing import Any

import dask
import polars as pl

from benchmarks.micro.graphs import Made, plan_dask_dataframe, plan_polars
from benchmarks.micro.measuring import ROWS_PER_FILE, Row, Setting
from benchmarks.micro.planning import rows_of

NAME = "partitions"


def measure(setting: Setting) -> list[Row]:
    """Plan two queries, one that reduces and one that shuffles all rows.

    Without a cluster dask.dataframe shuffles by tasks or on disk when it plans, so it is told to plan for P2P.
    """
    directory = str(setting.many_files)

    def scan() -> pl.LazyFrame:
        return pl.scan_parquet(f"{directory}/*.parquet")

    def read() -> Any:
        import dask.dataframe as dd

        return dd.read_parquet(directory, filesystem="arrow")

    queries = {
        "group_by": (
            lambda: scan().filter(pl.col("v") > 1).group_by("k").agg(pl.col("v").sum()),
            lambda: (frame := read())[frame.v > 1].groupby("k").v.sum(),
        ),
        "group_by, median": (
            lambda: scan().group_by("k").agg(pl.col("v").median()),
            lambda: read().groupby("k").v.median(),
        ),
    }
    rows = []
    # A file is a partition: none are put together for being small.
    one_file = {"dask-polars.max-rows-per-partition": ROWS_PER_FILE, "dataframe.parquet.minimum-partition-size": 1}
    with dask.config.set({**one_file, "dataframe.shuffle.method": "p2p"}):
        for case, (ours, theirs) in queries.items():
            made: list[tuple[Made, Made]] = []
            for _ in range(min(setting.repeat, 3)):
                made.append((plan_polars(ours), plan_dask_dataframe(theirs)))
            rows += rows_of(NAME, case, "dask_polars", [one for one, _ in made])
            rows += rows_of(NAME, case, "dask.dataframe", [other for _, other in made])
    return rows
