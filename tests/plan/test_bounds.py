"""What is known of nulls and of numbers of values while planning, and that finding it out reads and cuts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.io import parquet
from dask_polars.plan import plan_queries, planner
from dask_polars.plan.stages import ScanStage, ShuffleStage, Stage, walk_stages

SHUFFLED = {"broadcast_limit": 0, "partition_size": 2000}


@pytest.fixture
def days(tmp_path: Path) -> dp.LazyFrame:
    """Forty files, of a day each; the keys of the fourth have nulls."""
    for day in range(40):
        keys = [None if day == 3 and i % 2 else i % 50 for i in range(100)]
        frame = pl.DataFrame({"day": [day] * 100, "k": keys, "v": range(100)}, schema_overrides={"k": pl.Int64})
        frame.with_columns(pl.lit(1.5).alias(f"w{i}") for i in range(10)).write_parquet(tmp_path / f"{day:02}.parquet")
    return dp.scan_parquet(tmp_path / "*.parquet")


@pytest.fixture
def few() -> dp.LazyFrame:
    return dp.from_polars(pl.DataFrame({"k": range(50), "a": range(50)}), npartitions=3)


def stages(query: dp.LazyFrame, **options: Any) -> list[Stage]:
    return list(walk_stages(plan_queries([query.to_polars()], Options.current(**options)).roots))


def test_nothing_is_cut_or_read_for_a_bound(
    days: dp.LazyFrame, few: dp.LazyFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, read = [], []

    def file_set(core: Any, wanted: Any) -> Any:
        cut.append(wanted.columns)
        return planner_file_set(core, wanted)

    def footers(files: Any) -> Any:
        read.extend(file.path for file in files)
        return parquet_footers(files)

    planner_file_set, parquet_footers = planner.file_set, parquet.footers
    monkeypatch.setattr(planner, "file_set", file_set)
    monkeypatch.setattr(parquet, "footers", footers)
    groups = days.join(few, on="k", how="left").filter(pl.col("day") == 5).group_by("day", "k")
    stages(groups.agg(pl.col("v").n_unique()), **SHUFFLED)
    assert cut
    assert all(set(columns) <= {"day", "k", "v"} for columns in cut)
    one = len(read)
    cut.clear()
    again = groups.agg(pl.col("v").n_unique()).join(days.group_by("k").agg(pl.col("v").max().alias("m")), on="k")
    found = stages(again, **SHUFFLED)
    assert all(set(columns) <= {"day", "k", "v"} for columns in cut)
    assert len(cut) == 2
    assert len(read) <= 3 * one
    plain = max((stage for stage in found if isinstance(stage, ScanStage)), key=lambda stage: stage.npartitions)
    assert plain.size.bytes == pytest.approx(40 * 100 * 16, rel=0.3)


def test_rows_that_were_spread_for_their_nulls_stay(days: dp.LazyFrame, few: dp.LazyFrame) -> None:
    """Whether there are nulls may be thought otherwise above, where a filter does not leave out the same files."""
    twice = days.join(few, on="k", how="left").join(few.rename({"a": "b"}), on="k", how="left")
    query = twice.filter(pl.col("day").is_between(1, 5)).select("k", "v", "a", "b")
    moved = [
        stage for stage in stages(query, broadcast_limit=0, partition_size=20000) if isinstance(stage, ShuffleStage)
    ]
    assert [stage.operation for stage in moved].count("join-left-shuffle") == 1


@pytest.mark.parametrize("how", ["right", "full"])
@pytest.mark.parametrize("keys", [["k"], ["k", "a"]])
def test_keys_of_both_sides_have_the_values_of_both(tmp_path: Path, how: Any, keys: list[str]) -> None:
    pl.DataFrame({"k": range(5), "a": range(5)}).write_parquet(tmp_path / "few.parquet")
    pl.DataFrame({"k": range(1000), "v": range(1000)}).write_parquet(tmp_path / "many.parquet")
    few, many = dp.scan_parquet(tmp_path / "few.parquet"), dp.scan_parquet(tmp_path / "many.parquet")
    query = few.join(many, on="k", how=how, coalesce=True).group_by(keys).agg(pl.col("v").n_unique())
    (groups,) = (stage for stage in stages(query) if stage.operation == "groupby")
    assert groups.size.rows * groups.size.doubt >= 1000


def test_one_partition_of_a_function_is_computed_once(tmp_path: Path) -> None:
    rows = pl.DataFrame({"k": [i % 5 for i in range(40)], "v": range(40)})

    def marked(frame: pl.DataFrame) -> pl.DataFrame:
        (tmp_path / f"{len(list(tmp_path.iterdir()))}.called").touch()
        return frame

    small = dp.from_polars(rows.head(5), npartitions=2).map_partitions(marked, schema=rows.schema)
    query = dp.from_polars(rows, npartitions=10).join(small.partitions[1], on="k", how="left")
    expected = rows.join(rows.head(5).tail(3), on="k", how="left")
    out = query.collect(scheduler="sync")
    assert out.sort("v").rows() == expected.sort("v").rows()
    assert len(list(tmp_path.iterdir())) == 1
