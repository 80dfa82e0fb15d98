"""How many rows a filter of a scan is thought to leave."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.dsl.codec import decode_expr
from dask_polars.plan import plan_queries
from dask_polars.plan.lineage import bound_of
from dask_polars.plan.stages import ScanStage, ShuffleStage, Size, walk_stages

DAY = datetime.date(2020, 1, 1)
ROWS = 1000
FRAME = pl.DataFrame(
    {
        "number": range(ROWS),
        "small": [index * 7 % 50 + 1 for index in range(ROWS)],
        "float": [index * 387 % ROWS / ROWS for index in range(ROWS)],
        "day": [DAY + datetime.timedelta(days=index * 381 % 1000) for index in range(ROWS)],
        "gaps": [None if index % 4 == 0 else index * 3 % 100 for index in range(ROWS)],
        "text": [f"t{index % 10}" for index in range(ROWS)],
    }
).with_columns(moment=pl.col("day").cast(pl.Datetime("us", "UTC")), count=pl.col("number").cast(pl.UInt64) + 2**63)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of several row groups each, in the order of `number` only."""
    directory = tmp_path_factory.mktemp("files")
    for index in range(4):
        FRAME.slice(index * 250, 250).write_parquet(directory / f"{index}.parquet", row_group_size=100)
    return directory


def size_of(lf: pl.LazyFrame, **options: Any) -> Size:
    return plan_queries([lf], Options.current(**options)).roots[0].size


KNOWN = {
    "range of integers": pl.col("small") <= 10,
    "strict range": (pl.col("small") > 10) & (pl.col("small") < 21),
    "range of floats": pl.col("float").is_between(0.25, 0.5, closed="left"),
    "range of dates": pl.col("day").is_between(datetime.date(2020, 2, 1), datetime.date(2020, 5, 10)),
    "date and a computed one": pl.col("day") >= pl.lit(datetime.date(2022, 1, 1)) + datetime.timedelta(days=31),
    "datetime of another unit": pl.col("moment") < pl.lit(datetime.datetime(2020, 7, 19), pl.Datetime("ms", "UTC")),
    "constant first": pl.lit(26) > pl.col("small"),
    "in order": pl.col("number") < 333,
    "two filters in one": pl.all_horizontal(pl.col("small") <= 10, pl.col("float") < 0.5),
    "no nulls": pl.col("gaps").is_not_null(),
    "nulls": pl.col("gaps").is_null(),
    "range of what has nulls": pl.col("gaps") < 50,
    "numbers of another type": pl.col("small") < 10.5,
}


@pytest.mark.parametrize("predicate", KNOWN.values(), ids=KNOWN)
def test_what_passes_is_estimated_from_the_values_in_files(files: Path, predicate: pl.Expr) -> None:
    scan = pl.scan_parquet(files / "*.parquet")
    true = FRAME.filter(predicate).height
    assert size_of(scan.filter(predicate)).rows == pytest.approx(true, rel=0.1, abs=20)
    # Also under other names, and after other columns were made.
    renamed = scan.rename({"text": "other"}).with_columns(more=pl.col("number") * 2).filter(predicate)
    assert size_of(renamed).rows == pytest.approx(true, rel=0.1, abs=20)


UNKNOWN = {
    "text": pl.col("text") == "t1",
    "pattern": pl.col("text").str.ends_with("1"),
    "two columns": pl.col("number") < pl.col("small"),
    "either": (pl.col("small") < 3) | (pl.col("small") > 48),
    "computed": pl.col("number") % 2 == 0,
    "null": pl.col("small") < pl.lit(None, dtype=pl.Int64),
    "function of the user's": pl.col("number").map_elements(lambda value: value < 3, return_dtype=pl.Boolean),
}


@pytest.mark.parametrize("predicate", UNKNOWN.values(), ids=UNKNOWN)
def test_of_others_a_third_is_thought_to_pass(files: Path, predicate: pl.Expr) -> None:
    found = size_of(pl.scan_parquet(files / "*.parquet").filter(predicate))
    assert found.rows == pytest.approx(ROWS / 3)
    assert found.most / found.bytes == pytest.approx(3)


def test_a_value_is_not_thought_to_be_rarer_than_a_tenth(files: Path) -> None:
    scan = pl.scan_parquet(files / "*.parquet")
    assert size_of(scan.filter(pl.col("small") == 7)).rows == pytest.approx(ROWS / 10)
    assert size_of(scan.filter(pl.col("small").is_in([7, 8]))).rows == pytest.approx(ROWS / 10)
    assert size_of(scan.filter(pl.col("small").is_in(range(1, 26)))).rows == pytest.approx(ROWS / 2, rel=0.05)


def test_guesses_and_estimates_are_multiplied(files: Path) -> None:
    scan = pl.scan_parquet(files / "*.parquet")
    both = scan.filter(pl.col("small") <= 10, pl.col("text") == "t1")
    assert size_of(both).rows == pytest.approx(ROWS / 5 / 3, rel=0.05)
    far = scan.filter(pl.col("small") <= 10).filter(pl.col("text") == "t1").with_columns(text=pl.lit("x"))
    assert size_of(far.filter(pl.col("text") == "x", pl.col("float") < 0.5)).rows == pytest.approx(
        ROWS / 5 / 9 / 2, rel=0.05
    )


def test_there_is_less_doubt_of_what_is_in_row_groups_of_its_own(files: Path) -> None:
    scan = pl.scan_parquet(files / "*.parquet")
    # Row groups begin at 0, 100, 200, 250, 350: no row of the others passes, whatever is in them.
    some = size_of(scan.filter(pl.col("number") < 210))
    assert some.rows == pytest.approx(210)
    assert some.most / some.bytes == pytest.approx(250 / 210)
    # Of others nothing is known but that they are somewhere in between: there may be a year that has most of them.
    for predicate in (pl.col("float") < 0.1, pl.col("day") < DAY + datetime.timedelta(days=100)):
        found = size_of(scan.filter(predicate))
        assert found.rows == pytest.approx(100, abs=20)
        assert found.most / found.bytes == pytest.approx(ROWS / found.rows)


def test_what_files_do_not_say_is_in_doubt(tmp_path: Path) -> None:
    nothing = pl.DataFrame(
        {"list": [None] * ROWS, "number": [None] * ROWS}, schema={"list": pl.List(pl.Int8), "number": pl.Int8}
    )
    nothing.write_parquet(tmp_path / "said.parquet")
    nothing.write_parquet(tmp_path / "unsaid.parquet", statistics=False)
    for name, column, rows in (("said", "number", ROWS), ("said", "list", ROWS / 3), ("unsaid", "number", ROWS / 3)):
        found = size_of(pl.scan_parquet(tmp_path / f"{name}.parquet").filter(pl.col(column).is_null()))
        assert found.rows == pytest.approx(rows)
        assert found.rows * found.doubt == pytest.approx(ROWS)


def test_functions_of_the_user_are_not_called_for_an_estimate(files: Path) -> None:
    called = []

    def threshold(value: int) -> int:
        called.append(value)
        raise KeyError(value)

    computed = pl.lit(300).map_elements(threshold, return_dtype=pl.Int64)
    found = size_of(pl.scan_parquet(files / "*.parquet").filter(pl.col("number") < computed))
    assert found.rows == pytest.approx(ROWS / 3)
    assert not called


def test_what_directories_say_is_known(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for year in (2020, 2021):
            path = tmp_path / f"name={name}/year={year}/x.parquet"
            path.parent.mkdir(parents=True)
            FRAME.head(100).write_parquet(path)
    scan = pl.scan_parquet(tmp_path, hive_partitioning=True)
    for predicate, rows in ((pl.col("name") == "a", 200), ((pl.col("name") == "b") & (pl.col("year") > 2020), 100)):
        found = size_of(scan.filter(predicate))
        assert (found.rows, found.doubt) == (rows, 1)
        ours = dp.scan_parquet(tmp_path, hive_partitioning=True).filter(predicate).collect(scheduler="sync")
        assert_frame_equal(ours, scan.filter(predicate).collect())


ODD = {
    "null": pl.col("day") < pl.lit(None),
    "not a number": pl.col("float") < float("nan"),
    "of no column's type": pl.col("small") > "a",
    "date and text": pl.col("day") > "2020-03-01",
    "naive and not": pl.col("moment") > datetime.datetime(2020, 3, 1),
    "far": pl.col("small") < 10**30,
    "no values": pl.col("small").is_in([]),
    "nulls among values": pl.col("small").is_in([None, 3]),
    "values of a column": pl.col("small").is_in(pl.col("number").implode()),
    "several values": pl.col("small") < pl.Series([3, 4]),
    "the other way round": pl.col("small").is_between(9, 3),
    "nothing": pl.lit(False),
    "boolean": (pl.col("small") > 3) == True,  # noqa: E712
    "negative of unsigned": pl.col("count") > -1,
    "infinite": pl.col("float") < float("inf"),
    "struct": pl.col("number") == pl.struct(pl.lit(1)),
    "beyond the type": pl.col("moment") < pl.lit(2**62).cast(pl.Datetime("ms", "UTC")),
}


@pytest.mark.parametrize("predicate", ODD.values(), ids=ODD)
def test_odd_conditions_are_left_to_polars(files: Path, predicate: pl.Expr) -> None:
    """Planning neither fails on them nor changes the answer."""
    query = pl.scan_parquet(files / "*.parquet").filter(predicate).group_by("text").agg(pl.len())
    try:
        expected = query.collect()
    except pl.exceptions.PolarsError as error:
        with pytest.raises(type(error)):
            query.collect(engine=dp.DaskEngine(partition_size=2000))
        return
    ours = query.collect(engine=dp.DaskEngine(partition_size=2000))
    assert_frame_equal(ours, expected, check_row_order=False)


def test_estimates_decide_what_is_broadcast(files: Path) -> None:
    """A join with a side that is filtered by dates needs no shuffle where few of them are left."""
    scan = pl.scan_parquet(files / "*.parquet")
    few = scan.filter(pl.col("day") < DAY + datetime.timedelta(days=20)).select("number", "day")
    most = scan.filter(pl.col("day") >= DAY + datetime.timedelta(days=20)).select("number", "day")
    options = {"partition_size": 3000, "broadcast_limit": 4000}
    for side, expected in ((few, False), (most, True)):
        joined = scan.select("small", "text").join(side, left_on="small", right_on="number")
        plan = plan_queries([joined], Options.current(**options))
        assert any(isinstance(stage, ShuffleStage) for stage in walk_stages(plan.roots)) == expected


def test_rows_that_filters_leave_few_of_are_not_read_twice(files: Path) -> None:
    scan = pl.scan_parquet(files / "*.parquet")
    above = pl.col("float") > pl.col("float").mean()
    few = scan.filter(pl.col("small") <= 5).filter(above).select("number")
    # Of what is not filtered, only what is needed is read for the mean.
    for query, readers in ((few, 1), (scan.filter(above).select("number"), 2)):
        plan = plan_queries([query], Options.current(partition_size=5000))
        reading = [
            stage for stage in walk_stages(plan.roots) if any(isinstance(item, ScanStage) for item in stage.inputs)
        ]
        assert len(reading) == readers
        assert_frame_equal(query.collect(engine=dp.DaskEngine(partition_size=5000)), query.collect())


def test_parts_of_times_have_few_values() -> None:
    bounds = {"day": 4000.0, "moment": 1e9}
    day, moment = pl.col("day").dt, pl.col("moment").dt
    expected: list[tuple[pl.Expr, float]] = [
        (day.month().alias("m"), 13),
        (day.weekday().cast(pl.Int64), 8),
        (day.year(), 100),
        (moment.year(), 1e9 / 365),
        (moment.hour(), 25),
        (pl.col("moment") > pl.col("day"), 3),
        (pl.col("day").is_in([DAY]), 3),
        (pl.col("day") + pl.duration(days=1), 4000),
        (moment.date(), 1e9),
        (pl.col("day") & 0xFF, 4000),
        (~pl.col("day"), 4000),
    ]
    assert [bound_of(decode_expr(expr), bounds) for expr, _ in expected] == [bound for _, bound in expected]


def test_few_values_need_no_shuffle_however_many_rows_there_may_be(files: Path) -> None:
    rows = pl.scan_parquet(files / "*.parquet").filter(pl.col("float") < 0.001)
    for query in (rows.select(pl.col("day").dt.month()).unique(), rows.group_by(pl.col("day").dt.month()).len()):
        plan = plan_queries([query], Options.current(partition_size=1500))
        assert plan.roots[0].npartitions == 1
        assert not any(isinstance(stage, ShuffleStage) for stage in walk_stages(plan.roots))
        ours = query.collect(engine=dp.DaskEngine(partition_size=1500))
        assert_frame_equal(ours, query.collect(), check_row_order=False)
