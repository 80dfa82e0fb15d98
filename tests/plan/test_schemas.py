"""Schemas while planning: those of files are kept until the files change, and what is wrong is said by Polars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import dask_polars as dp


@pytest.mark.parametrize("name", ["f.parquet", "f.ipc", "f.csv", "f.ndjson"])
def test_schema_of_files_that_were_written_anew(tmp_path: Path, name: str) -> None:
    kind = name.split(".")[1]
    scan: Callable[..., Any] = getattr(pl, f"scan_{kind}")
    ours: Callable[..., Any] = getattr(dp, f"scan_{kind}")
    path = tmp_path / name
    for frame in (pl.DataFrame({"a": [1, 2, 3]}), pl.DataFrame({"a": ["x", "yy"], "b": [1.5, None]})):
        getattr(frame, f"write_{kind}")(path)
        expected = scan(path).with_columns(c=pl.col("a").cast(pl.String)).collect()
        for _ in range(2):
            actual = ours(path).with_columns(c=pl.col("a").cast(pl.String)).collect(scheduler="sync")
            assert actual.equals(expected)
            assert actual.schema == expected.schema


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lf: lf.filter(pl.col("b") > 1).select("a"),
        lambda lf: lf.join(lf.select(z="a"), on="a"),
        lambda lf: lf.group_by("a").agg(pl.col("x").sum()).sort("a"),
        lambda lf: lf.select(pl.col("a").list.get(0)),
        lambda lf: lf.select("a", pl.lit(1).alias("a")),
    ],
)
def test_error_of_a_wrong_query_is_that_of_polars(tmp_path: Path, wrong: Callable[[Any], Any]) -> None:
    path = tmp_path / "f.parquet"
    pl.DataFrame({"a": [1, 2, 3]}).write_parquet(path)
    with pytest.raises(pl.exceptions.PolarsError) as expected:
        wrong(pl.scan_parquet(path)).collect_schema()
    with pytest.raises(type(expected.value)) as actual:
        wrong(dp.scan_parquet(path)).collect(scheduler="sync")
    assert str(actual.value) == str(expected.value)
