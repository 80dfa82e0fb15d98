"""Sinks to tables are written by their partitions and committed once, with the rows that Polars would write."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io import table_files
from tests.helpers import empties

deltalake = pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")
pytest.importorskip("sqlalchemy")

ROWS = pl.DataFrame(
    {
        "k": ["a b", "c/d", "e=f", None, "ü%", "a b", "z", ""],
        "n": pl.Series([1, 2, 3, 4, 5, 6, None, 8], dtype=pl.Int32),
        "f": [1.5, float("nan"), None, -0.0, 4.0, 5.0, 6.0, float("inf")],
        "t": [dt.datetime(1969, 12, 31, 23, 59, 59, 999_999 - i) for i in range(8)],
        "z": pl.Series([dt.datetime(2020, 1, 1)] * 8, dtype=pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin"),
        "d": [dt.date(2020, 1, 1 + i) for i in range(8)],
        "l": [[1, None], [], None, [2], [3], [4], [5], [6]],
        "s": [{"x": i, "y": "q"} for i in range(8)],
        "b": [b"x", b"", None, b"y", b"y", b"y", b"y", b"y"],
        "m": pl.Series(["1.25"] * 8).cast(pl.Decimal(10, 2)),
        "bo": [True, False, None, True, True, True, True, True],
    }
)
PARTITIONS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "1": lambda rows: dp.from_polars(rows, npartitions=1),
    "3": lambda rows: dp.from_polars(rows, npartitions=3),
    "empty ones": empties,
    "all empty": lambda rows: empties(rows.clear()),
}
KEYS: dict[str, list[str]] = {"none": [], "text": ["k"], "many": ["bo", "k", "d", "n"]}


@pytest.fixture(autouse=True)
def in_parts() -> Iterator[None]:
    with dask.config.set({"scheduler": "threads", "dask-polars.fallback": "raise"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Iceberg scan planning")
        yield


def parquet_in(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*.parquet")}


def same_rows(got: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(got.sort("t", "k"), expected.sort("t", "k"))


# ---------------------------------------------------------------- Delta Lake


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("partitions", PARTITIONS)
def test_delta_is_what_deltalake_writes(partitions: str, keys: str, tmp_path: Path) -> None:
    options = {"partition_by": KEYS[keys]} if KEYS[keys] else {}
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    lf = PARTITIONS[partitions](ROWS)
    for mode in ("error", "append", "overwrite", "ignore"):
        lf.sink_delta(ours, mode=mode, delta_write_options=options)
        lf.collect().write_delta(theirs, mode=mode, delta_write_options=options)
        expected = pl.read_delta(theirs)
        same_rows(pl.read_delta(ours), expected)
        ours_table, their_table = deltalake.DeltaTable(ours), deltalake.DeltaTable(theirs)
        same_rows(pl.DataFrame(ours_table.to_pyarrow_table()), pl.DataFrame(their_table.to_pyarrow_table()))
        assert ours_table.schema() == their_table.schema()
        assert ours_table.metadata().partition_columns == their_table.metadata().partition_columns
        assert ours_table.version() == their_table.version()
        assert {ours_table.protocol().min_writer_version} == {their_table.protocol().min_writer_version}


@pytest.mark.parametrize("keys", KEYS)
def test_statistics_leave_out_no_row(keys: str, tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    dp.from_polars(ROWS, npartitions=4).sink_delta(path, delta_write_options={"partition_by": KEYS[keys]})
    rows = pl.read_delta(path)
    predicates = [
        pl.col("f") > 100,
        pl.col("f").is_null(),
        pl.col("f") == 0.0,
        pl.col("t") >= dt.datetime(1969, 12, 31, 23, 59, 59, 999_996),
        pl.col("t") == dt.datetime(1969, 12, 31, 23, 59, 59, 999_995),
        pl.col("z") > dt.datetime(2019, 12, 31, tzinfo=dt.UTC),
        pl.col("k") == "a b",
        pl.col("k").is_null(),
        pl.col("n") > 5,
        pl.col("m") == 1.25,
        pl.col("d") == dt.date(2020, 1, 3),
        ~pl.col("bo"),
    ]
    for predicate in predicates:
        same_rows(pl.scan_delta(path).filter(predicate).collect(), rows.filter(predicate))
    for engine in (dp.DaskEngine(), dp.DaskEngine(max_rows_per_partition=1)):
        for predicate in predicates:
            same_rows(pl.scan_delta(path).filter(predicate).collect(engine=engine), rows.filter(predicate))
    actions = pl.DataFrame(deltalake.DeltaTable(path).get_add_actions(flatten=True))
    assert actions["num_records"].sum() == ROWS.height
    if keys == "none":
        assert actions["null_count.n"].sum() == 1
        assert actions["max.n"].max() == 8


def test_delta_is_written_by_partitions(tmp_path: Path) -> None:
    path = tmp_path / "t"
    dp.from_polars(ROWS, npartitions=4).sink_delta(path)
    assert sorted(name[:10] for name in parquet_in(path)) == [f"part-{i:05}" for i in range(4)]
    assert deltalake.DeltaTable(path).version() == 0
    dp.DaskEngine(max_rows_per_partition=2).sink_delta(ROWS.lazy(), deltalake.DeltaTable(path), mode="append")
    assert len(parquet_in(path)) == 8
    assert deltalake.DeltaTable(path).version() == 1


STREAMED: dict[str, tuple[dict[str, Any], str]] = {
    "merge": (
        {"mode": "merge", "delta_merge_options": {"predicate": "s.n = t.n", "source_alias": "s", "target_alias": "t"}},
        "needs the rows",
    ),
    "predicate": ({"mode": "overwrite", "delta_write_options": {"predicate": "n = 1"}}, "'predicate'"),
    "size": ({"mode": "append", "delta_write_options": {"target_file_size": 1000}}, "'target_file_size'"),
    "keys": ({"mode": "append", "delta_write_options": {"partition_by": ["k"]}}, "partition_by differs"),
}


@pytest.mark.parametrize("case", STREAMED)
def test_what_deltalake_has_to_do_is_said(case: str, tmp_path: Path) -> None:
    options, reason = STREAMED[case]
    path = str(tmp_path / "t")
    lf = dp.from_polars(ROWS, npartitions=3)
    lf.sink_delta(path)
    with pytest.raises(dp.FallbackError, match=reason):
        lf.sink_delta(path, **options)


def test_other_columns_are_streamed(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    lf = dp.from_polars(ROWS, npartitions=3).select("k", "n")
    lf.sink_delta(path)
    with dask.config.set({"dask-polars.fallback": "warn"}):
        with (
            pytest.warns(dp.FallbackWarning, match="not those of the table"),
            pytest.raises(deltalake.exceptions.SchemaMismatchError, match="number of fields"),
        ):
            lf.with_columns(new=1).sink_delta(path, mode="append")
        with pytest.warns(dp.FallbackWarning, match="not those of the table"):
            lf.with_columns(new=1).sink_delta(path, mode="append", delta_write_options={"schema_mode": "merge"})
        with pytest.warns(dp.FallbackWarning, match="is converted by deltalake"):
            lf.select(pl.col("n").cast(pl.UInt8)).sink_delta(tmp_path / "u")
    assert pl.read_delta(path).height == 16
    assert pl.read_delta(path)["new"].null_count() == 8


def test_tables_with_rules_are_left_to_deltalake(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    lf = dp.from_polars(ROWS, npartitions=3).select("n")
    lf.head(6).filter(pl.col("n") < 7).sink_delta(path)
    table = deltalake.DeltaTable(path)
    table.alter.add_constraint({"small": "n < 7"})
    with (
        dask.config.set({"dask-polars.fallback": "warn"}),
        pytest.warns(dp.FallbackWarning, match="sink_delta streams"),
        pytest.raises(deltalake.exceptions.DeltaError),
    ):
        lf.sink_delta(path, mode="append")
    assert pl.read_delta(path).height == 6


def fail_late(part: pl.DataFrame) -> pl.DataFrame:
    if 6 in part["n"]:
        raise RuntimeError("a partition that fails")
    return part


@pytest.mark.parametrize("keys", KEYS)
def test_a_run_that_fails_leaves_no_file(keys: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    options = {"partition_by": KEYS[keys]}
    lf = dp.from_polars(ROWS, npartitions=4)
    lf.sink_delta(path, delta_write_options=options)
    before = parquet_in(path)
    with dask.config.set(scheduler="sync"), pytest.raises(RuntimeError, match="a partition that fails"):
        lf.map_partitions(fail_late, schema=ROWS.schema).sink_delta(path, mode="append", delta_write_options=options)
    assert parquet_in(path) == before
    assert deltalake.DeltaTable(path).version() == 0


def test_a_task_that_ends_after_its_run_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    lf = dp.from_polars(ROWS, npartitions=2)
    lf.sink_delta(path)
    before = parquet_in(path)
    started, cleaned, ended = threading.Event(), threading.Event(), threading.Event()
    late: list[BaseException] = []

    def one_late(rows: Any, index: int, request: Any) -> pl.DataFrame:
        if index == 0:
            assert started.wait(30)
            raise RuntimeError("a partition that fails")
        started.set()
        assert cleaned.wait(30)
        try:
            return write(rows, index, request)
        except BaseException as error:
            late.append(error)
            raise
        finally:
            ended.set()

    def clean(request: Any) -> None:
        remove(request)
        cleaned.set()

    write, remove = table_files.write_files, table_files.remove_run
    monkeypatch.setattr("dask_polars.plan.sink.write_files", one_late)
    monkeypatch.setattr("dask_polars.table_sinks.remove_run", clean)
    with (
        dask.config.set(scheduler="threads", num_workers=2),
        pytest.raises(RuntimeError, match="a partition that fails"),
    ):
        lf.sink_delta(path, mode="append")
    assert ended.wait(30)
    assert [str(error).split(" or ")[0] for error in late] == [f"the run that writes files to {path}/ is over,"]
    assert parquet_in(path) == before
    assert not list(path.glob(".*"))


def test_a_commit_that_is_refused_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    lf = dp.from_polars(ROWS, npartitions=4)
    lf.sink_delta(path)
    before = parquet_in(path)

    def overtaken(rows: Any, index: int, request: Any) -> pl.DataFrame:
        """Write, while somebody else replaces the table."""
        out = write(rows, index, request)
        if index == 3:
            ROWS.write_delta(path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
            deltalake.DeltaTable(path).alter.add_constraint({"some": "n IS NULL OR n < 100"})
        return out

    write = table_files.write_files
    monkeypatch.setattr("dask_polars.plan.sink.write_files", overtaken)
    with dask.config.set(scheduler="sync"), pytest.raises(deltalake.exceptions.CommitFailedError):
        lf.sink_delta(path, mode="append")
    assert len(parquet_in(path) - before) == 1
    assert pl.read_delta(str(path)).height == 8


# ---------------------------------------------------------------- Iceberg


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    from pyiceberg.catalog.sql import SqlCatalog

    made = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/tables")
    made.create_namespace("n")
    return made


def rows_of(catalog: Any, name: str) -> pl.DataFrame:
    return pl.DataFrame(catalog.load_table(name).scan().to_arrow())


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("of", ["collection", "engine"])
def test_iceberg_is_what_polars_writes(partitions: str, of: str, catalog: Any) -> None:
    lf = PARTITIONS[partitions](ROWS)
    for mode in ("append", "append", "overwrite"):
        options: dict[str, Any] = {"mode": mode, "catalog": catalog, "create_if_not_exists": True}
        if of == "collection":
            done = lf.sink_iceberg("n.ours", **options)
        else:
            done = lf.to_polars().sink_iceberg("n.ours", engine=dp.DaskEngine(), **options)
        lf.collect().lazy().sink_iceberg("n.theirs", engine="streaming", **options)
        ours, theirs = catalog.load_table("n.ours"), catalog.load_table("n.theirs")
        assert done.rows() == [(ours.metadata_location,)]
        same_rows(rows_of(catalog, "n.ours"), rows_of(catalog, "n.theirs"))
        assert ours.schema() == theirs.schema()
        if partitions != "all empty":  # Polars writes a file of no rows
            assert len(ours.snapshots()) == len(theirs.snapshots())


def test_iceberg_is_written_by_partitions(catalog: Any) -> None:
    dp.from_polars(ROWS, npartitions=4).sink_iceberg(
        "n.t", mode="append", catalog=catalog, create_if_not_exists=True, snapshot_properties={"by": "us"}
    )
    table = catalog.load_table("n.t")
    assert table.inspect.files().num_rows == 4
    assert table.current_snapshot().summary["by"] == "us"


def test_iceberg_partitions_and_filters(catalog: Any) -> None:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import BucketTransform, IdentityTransform
    from pyiceberg.types import LongType, NestedField, StringType

    schema = Schema(NestedField(1, "k", StringType()), NestedField(2, "v", LongType()))
    spec = PartitionSpec(
        PartitionField(1, 1000, IdentityTransform(), "k"), PartitionField(2, 1001, BucketTransform(3), "v_bucket")
    )
    rows = ROWS.select("k", v=pl.int_range(pl.len()))
    for name in ("n.ours", "n.theirs"):
        catalog.create_table(name, schema=schema, partition_spec=spec)
        for filtered in (None, pl.col("k") == "a b"):
            mode: Any = "append" if filtered is None else "overwrite"
            lf = dp.from_polars(rows, npartitions=3) if name == "n.ours" else rows.lazy()
            lf.sink_iceberg(name, mode=mode, catalog=catalog, overwrite_filter=filtered)
    assert_frame_equal(rows_of(catalog, "n.ours").sort("v", "k"), rows_of(catalog, "n.theirs").sort("v", "k"))
    partitions = [
        pl.DataFrame(catalog.load_table(name).inspect.partitions())["partition"].to_list()
        for name in ("n.ours", "n.theirs")
    ]
    assert sorted(partitions[0], key=str) == sorted(partitions[1], key=str)


def test_an_iceberg_run_that_fails_leaves_no_file(catalog: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=4)
    lf.sink_iceberg("n.t", mode="append", catalog=catalog, create_if_not_exists=True)
    before = parquet_in(tmp_path)
    with dask.config.set(scheduler="sync"), pytest.raises(RuntimeError, match="a partition that fails"):
        lf.map_partitions(fail_late, schema=ROWS.schema).sink_iceberg(
            "n.t", mode="append", catalog=catalog, create_if_not_exists=True
        )
    assert parquet_in(tmp_path) == before
    assert len(catalog.load_table("n.t").snapshots()) == 1


def test_a_query_within_a_sink_is_itself(catalog: Any) -> None:
    """Functions that run while a table is written run queries of their own."""

    def ask(part: pl.DataFrame) -> pl.DataFrame:
        assert part.lazy().select(pl.len()).collect(engine=dp.DaskEngine()).item() == part.height
        return part

    lf = dp.from_polars(ROWS, npartitions=2).map_partitions(ask, schema=ROWS.schema)
    with dask.config.set(scheduler="sync"):
        lf.sink_iceberg("n.t", mode="append", catalog=catalog, create_if_not_exists=True)
    assert rows_of(catalog, "n.t").height == 8


# ---------------------------------------------------------------- killed workers


def killing(mark: Path, part: pl.DataFrame) -> pl.DataFrame:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return part
    os.kill(os.getpid(), signal.SIGKILL)
    return part


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_a_killed_worker_writes_each_row_once(catalog: Any, killable: Any, tmp_path: Path) -> None:
    from functools import partial

    lf = dp.from_polars(ROWS, npartitions=6)
    for kind in ("delta", "iceberg"):
        function = partial(killing, tmp_path / f"killed-{kind}")
        killed = lf.map_partitions(function, schema=ROWS.schema)
        if kind == "delta":
            killed.sink_delta(tmp_path / "t")
        else:
            killed.sink_iceberg("n.t", mode="append", catalog=catalog, create_if_not_exists=True)
        assert (tmp_path / f"killed-{kind}").exists()
    assert pl.read_delta(str(tmp_path / "t"))["d"].sort().to_list() == ROWS["d"].to_list()
    assert deltalake.DeltaTable(tmp_path / "t").version() == 0
    assert rows_of(catalog, "n.t")["d"].sort().to_list() == ROWS["d"].to_list()
    assert len(catalog.load_table("n.t").snapshots()) == 1
