"""What is known of the number of different values: from footers, and along the plan."""

from __future__ import annotations

from pathlib import Path

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.plan import plan_queries


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    for index in range(4):
        rows = pl.int_range(5_000, eager=True) + index * 5_000
        frame = pl.DataFrame({"id": rows}).with_columns(
            flag=pl.format("flag{}", rows % 7),
            own=pl.format("of file {} {}", pl.lit(index), rows % 50),
            date=pl.date(2020, 1, 1) + pl.duration(days=rows % 300),
        )
        frame.write_parquet(root / f"{index}.parquet")
    return root


def distinct(lf: dp.LazyFrame) -> dict[str, float]:
    return dict(plan_queries([lf.to_polars()], Options.current()).roots[0].distinct or {})


def test_texts_in_dictionaries(lake: Path) -> None:
    found = distinct(dp.scan_parquet(lake))
    assert 7 <= found["flag"] <= 200  # the same in all files
    assert found["own"] >= 4 * 50  # each has values of its own
    assert 300 <= found["date"] <= 2_000
    assert found["id"] >= 20_000


def test_no_more_than_rows(tmp_path: Path) -> None:
    pl.DataFrame({"name": [f"a long name that is there once {i}" for i in range(25)]}).write_parquet(
        tmp_path / "x.parquet"
    )
    assert distinct(dp.scan_parquet(tmp_path / "x.parquet")) == {"name": 26}


def test_what_is_computed_row_by_row(lake: Path) -> None:
    lf = dp.scan_parquet(lake)
    before = distinct(lf)
    after = distinct(
        lf.with_columns(
            next=pl.col("date").dt.offset_by("1d"), one=pl.lit(1), both=pl.col("flag") + pl.col("own")
        ).select("next", "one", "both", pl.col("date").dt.month().alias("month"), pl.col("date").alias("day"))
    )
    assert after["next"] == after["day"] == before["date"]
    assert after["month"] == 13  # and null
    assert after["one"] == 1
    assert after["both"] == before["flag"] * before["own"]


def test_few_groups_take_a_tree(lake: Path) -> None:
    lf = dp.scan_parquet(lake)
    for key in (pl.col("flag"), pl.col("date").dt.month()):
        groups = lf.group_by(key.alias("key")).agg(pl.col("id").sum())
        with dask.config.set({"dask-polars.partition-size": "100 kB"}):
            assert "SHUFFLE" not in groups.explain()
            found = groups.collect(scheduler="sync")
        assert found.sort("key").equals(groups.to_polars().collect().sort("key"))
