"""An aggregation over many small files: on the cluster with both APIs, and with Polars."""

from __future__ import annotations

from typing import Any

import polars as pl

from benchmarks.micro.measuring import Row, Setting, row, take_turns

NAME = "files"


def measure(setting: Setting) -> list[Row]:
    """Aggregate in turns, and check that all agree."""
    import dask.dataframe as dd

    import dask_polars as dp

    directory = str(setting.many_files)
    answers: dict[str, float] = {}

    def polars(scan: Any) -> float:
        return scan(f"{directory}/*.parquet").group_by("k").agg(pl.col("v").sum()).collect()["v"].sum()

    def pandas() -> float:
        return dd.read_parquet(directory, filesystem="arrow").groupby("k").v.sum().compute().sum()

    calls = {
        "dask_polars": lambda: answers.update({"dask_polars": polars(dp.scan_parquet)}),
        "dask.dataframe": lambda: answers.update({"dask.dataframe": pandas()}),
        "polars": lambda: answers.update({"polars": polars(pl.scan_parquet)}),
    }
    took = take_turns(calls, setting.repeat)
    if max(answers.values()) - min(answers.values()) > 1e-6 * max(answers.values()):
        raise AssertionError(f"the answers differ: {answers}")
    case = f"{len(list(setting.many_files.glob('*.parquet')))} files"
    return [row(NAME, case, "aggregation", api, seconds, "s") for api, seconds in took.items()]
