"""Files and row groups that statistics leave out, and of how many files footers are read."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from itertools import cycle
from pathlib import Path

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io import footers as io_footers
from dask_polars.io import parquet as io_parquet
from tests.scans import scan_of


def test_only_a_sample_of_footers_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(50):
        pl.DataFrame({"a": [index]}).write_parquet(tmp_path / f"{index:02}.parquet")
    read: list[str] = []
    original = io_footers.footer
    monkeypatch.setattr(io_footers, "footer", lambda file: read.append(file.path) or original(file))
    scan = scan_of(dp.scan_parquet(tmp_path))
    assert 1 <= len(read) <= 10
    assert not scan.size.exact
    assert scan.size.rows == pytest.approx(50, rel=0.2)


DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(40)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty files in four directories, of ten row groups each, sorted."""
    path = tmp_path_factory.mktemp("lake")
    for index, day in enumerate(DAYS):
        (path / f"year={2000 + index // 10}").mkdir(exist_ok=True)
        values = range(100 * index, 100 * index + 100)
        frame = pl.DataFrame({"a": values, "s": [f"k{index:02}"] * 100, "day": [day] * 100})
        frame = frame.with_columns(
            ns=pl.col("day").cast(pl.Datetime("ns")),
            tz=pl.col("day").cast(pl.Datetime("ms", "UTC")).dt.convert_time_zone("Europe/Berlin"),
            x=pl.when(pl.col("a") % 50 == 0).then(float("nan")).otherwise(pl.col("a").cast(pl.Float64)),
            dec=pl.col("a").cast(pl.Decimal(12, 2)),
            n=pl.when(index % 2 == 0).then(None).otherwise(pl.col("a")),
        )
        frame.write_parquet(path / f"year={2000 + index // 10}" / f"{index:02}.parquet", row_group_size=10)
    return path


# Coarser than for files of few rows: partitions of 25 rows still end within row groups, those by bytes hold a few of these.
CUTS = {"rows": {"dask-polars.max-rows-per-partition": 25}, "bytes": {"dask-polars.partition-size": 1500}, "whole": {}}
PRUNED: dict[str, tuple[pl.Expr, str]] = {
    "hive": (pl.col("year") == 2001, "10 of 40 files"),
    "hive-list": (pl.col("year").is_in([2000, 2003]), "20 of 40 files"),
    "integers": (pl.col("a") < 250, "3 of 40 files, 25 of 400 row groups"),
    "one-group": (pl.col("a") == 1234, "1 of 40 files, 1 of 400 row groups"),
    "dates": (pl.col("day") > date(2024, 2, 5), "4 of 40 files"),
    "nanoseconds": (pl.col("ns") > datetime(2024, 2, 5), "4 of 40 files"),
    "time-zones": (pl.col("tz") > pl.lit(datetime(2024, 2, 5)).dt.replace_time_zone("Europe/Berlin"), "5 of 40 files"),
    "decimals": (pl.col("dec") < 250, "3 of 40 files"),
    "text": (pl.col("s") == "k07", "1 of 40 files"),
    "nan-is-large": (pl.col("x") > 3800, "40 files"),
    "below-nan": (pl.col("x") < 250, "3 of 40 files"),
    "nulls": (pl.col("n").is_not_null(), "20 of 40 files"),
    "both": ((pl.col("a") < 250) & (pl.col("year") == 2000), "3 of 40 files"),
    "either": ((pl.col("a") < 250) | (pl.col("s") == "k30"), "4 of 40 files"),
    "nothing": (pl.col("a") < 0, "0 of 40 files"),
    "no-year": (pl.col("year") == 1999, "0 of 40 files"),
    "computed": (pl.col("a") + 1 < 250, "3 of 40 files"),
    "python": (pl.col("a").map_elements(lambda a: a < 250, return_dtype=pl.Boolean), "40 files"),
}


@pytest.mark.parametrize(("name", "layout"), list(zip(PRUNED, cycle(CUTS), strict=False)))
@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_what_predicates_leave_out(lake: Path, name: str, layout: str) -> None:
    predicate, said = PRUNED[name]
    with dask.config.set(CUTS[layout]):
        query = dp.scan_parquet(lake).filter(predicate)
        assert f"SCAN parquet  {said}" in query.explain()
        wanted = pl.scan_parquet(lake).filter(predicate)
        assert_frame_equal(query.collect(scheduler="sync"), wanted.collect())
        numbered = query.with_row_index().filter(pl.col("index") % 7 == 0)
        assert_frame_equal(
            numbered.collect(scheduler="sync"), wanted.with_row_index().filter(pl.col("index") % 7 == 0).collect()
        )


def test_all_footers_are_read_only_where_it_pays(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = io_footers.read_footer
    monkeypatch.setattr(io_footers, "read_footer", lambda file: read.append(file.path) or original(file))
    io_footers.footer.cache_clear()
    io_parquet._cut_before.clear()
    scan_of(dp.scan_parquet(lake).filter(pl.col("x") > 10))
    assert len(read) <= 10
    scan_of(dp.scan_parquet(lake).filter(pl.col("a") < 250))
    assert len(read) == 40


def test_sizes_are_those_of_the_columns_that_are_read(lake: Path) -> None:
    whole = scan_of(dp.scan_parquet(lake)).size
    narrow = scan_of(dp.scan_parquet(lake).select("a")).size
    assert narrow.rows == whole.rows == pytest.approx(4000, rel=0.01)
    assert narrow.bytes == pytest.approx(8 * 4000, rel=0.01)
    assert whole.bytes > 5 * narrow.bytes


@pytest.mark.parametrize("drift", ["extra", "missing", "type"])
def test_a_file_that_does_not_fit_is_not_left_out(tmp_path: Path, drift: str) -> None:
    """Polars looks at all files, also at those whose statistics say that no row of theirs is wanted."""
    frame = pl.DataFrame({"a": range(100), "b": range(100)})
    others = {
        "extra": lambda part: part.with_columns(x=1),
        "missing": lambda part: part.drop("b"),
        "type": lambda part: part.cast({"b": pl.String}),
    }
    for number, part in enumerate(frame.iter_slices(10)):
        (others[drift](part) if number == 7 else part).write_parquet(tmp_path / f"{number}.parquet")
    query = pl.scan_parquet(tmp_path).filter(pl.col("a") < 5)
    with pytest.raises(pl.exceptions.PolarsError) as expected:
        query.collect()
    with pytest.raises(type(expected.value), match=re.escape(str(expected.value))) as found:
        dp.LazyFrame(query).collect(scheduler="sync")
    assert "7.parquet" in "".join(found.value.__notes__)
    # What the query does not read may differ, and the file be left out.
    narrow = query.select("a")
    if drift != "extra":
        assert "1 of 10 files" in dp.LazyFrame(narrow).explain()
        assert_frame_equal(dp.LazyFrame(narrow).collect(scheduler="sync"), narrow.collect())
    allowed = pl.scan_parquet(tmp_path, extra_columns="ignore", missing_columns="insert").filter(pl.col("a") < 5)
    if drift != "type":
        assert "1 of 10 files" in dp.LazyFrame(allowed).explain()
        assert_frame_equal(dp.LazyFrame(allowed).collect(scheduler="sync"), allowed.collect())
