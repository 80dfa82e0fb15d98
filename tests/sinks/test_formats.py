"""Sinks write every row once, all files or none, and what they write reads as what Polars writes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.io.partition import FileProviderArgs
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.dsl.sinks import SinkPayload
from dask_polars.io import commit as commits
from dask_polars.io.targets import Target, Written
from tests.every_type import TYPES
from tests.helpers import RAISED, assert_empty_soon, empties

ROWS = pl.DataFrame(
    {"k": ["a", "b", None, "a", "b", "c/ d", "a"], "v": range(7), "x": [0.5, None, 2.0, 3.5, 4.0, 5.0, 6.25]},
    schema={"k": pl.String, "v": pl.Int64, "x": pl.Float64},
)
READ: dict[str, Callable[..., pl.LazyFrame]] = {
    "parquet": pl.scan_parquet,
    "ipc": pl.scan_ipc,
    "csv": lambda path, **options: pl.scan_csv(path, schema=ROWS.schema),
    "ndjson": lambda path, **options: pl.scan_ndjson(path, schema=ROWS.schema),
}
PARTITIONS: dict[str, Callable[[], Any]] = {
    "1": lambda: dp.from_polars(ROWS, npartitions=1),
    "3": lambda: dp.from_polars(ROWS, npartitions=3),
    "more than rows": lambda: dp.from_polars(ROWS, npartitions=9),
    "empty ones": lambda: empties(ROWS),
    "all empty": lambda: empties(ROWS.clear()),
}


@pytest.fixture(autouse=True)
def nothing_falls_back() -> Iterator[None]:
    with dask.config.set({"dask-polars.fallback": "raise"}):
        yield


@pytest.fixture(params=["here", "sync", "threads"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[None]:
    """No scheduler at all, and those of Dask in this process."""
    with dask.config.set({} if request.param == "here" else {"scheduler": request.param}):
        yield


@pytest.fixture
def threads() -> Iterator[None]:
    with dask.config.set(scheduler="threads"):
        yield


def sink(lf: Any, kind: str, path: Any, **options: Any) -> Any:
    return getattr(lf, f"sink_{kind}")(path, **options)


def files_in(path: Path) -> list[str]:
    """All files below a directory, hidden ones too, in the order of their names."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def read_all(kind: str, path: Path) -> pl.DataFrame:
    """All files below a directory, in the order of their names."""
    names = files_in(path)
    # A file of JSON lines without rows is a file without bytes.
    return pl.concat(
        [READ[kind](path / name).collect() for name in names if (path / name).stat().st_size] or [ROWS.clear()]
    )


# ---------------------------------------------------------------- formats, targets, partitions


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", READ)
def test_one_file(kind: str, partitions: str, threads: None, tmp_path: Path) -> None:
    lf = PARTITIONS[partitions]()
    expected = tmp_path / f"expected.{kind}"
    sink(lf.collect().lazy(), kind, expected, engine="streaming")
    sink(lf, kind, tmp_path / f"out.{kind}")
    assert files_in(tmp_path) == sorted([f"expected.{kind}", f"out.{kind}"])
    if kind in ("csv", "ndjson"):
        assert (tmp_path / f"out.{kind}").read_bytes() == expected.read_bytes()
    else:
        assert_frame_equal(READ[kind](tmp_path / f"out.{kind}").collect(), lf.collect())


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", READ)
def test_a_directory(kind: str, partitions: str, threads: None, tmp_path: Path) -> None:
    lf = PARTITIONS[partitions]()
    sink(lf, kind, f"{tmp_path}/out/")
    assert os.listdir(tmp_path) == ["out"]
    names = files_in(tmp_path / "out")
    if kind in ("parquet", "ipc"):
        assert names == [f"part-{index:05}.{kind}" for index in range(lf.npartitions)]
    assert_frame_equal(read_all(kind, tmp_path / "out"), lf.collect())


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", READ)
def test_files_by_key(kind: str, partitions: str, threads: None, tmp_path: Path) -> None:
    lf = PARTITIONS[partitions]()
    sink(lf.collect().lazy(), kind, pl.PartitionBy(tmp_path / "expected", key="k"), mkdir=True, engine="streaming")
    sink(lf, kind, pl.PartitionBy(tmp_path / "deep" / "out", key="k"))
    (tmp_path / "expected").mkdir(exist_ok=True)
    assert sorted(os.listdir(tmp_path / "deep" / "out")) == sorted(os.listdir(tmp_path / "expected"))
    assert os.listdir(tmp_path / "deep") == ["out"]
    for name in os.listdir(tmp_path / "expected"):
        found = read_all(kind, tmp_path / "deep" / "out" / name)
        assert_frame_equal(found, read_all(kind, tmp_path / "expected" / name))


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("partitions", PARTITIONS)
def test_files_by_size(kind: str, partitions: str, threads: None, tmp_path: Path) -> None:
    lf = PARTITIONS[partitions]()
    sink(lf, kind, pl.PartitionBy(tmp_path / "out", max_rows_per_file=2))
    names = files_in(tmp_path / "out")
    assert [name.partition(".")[0] for name in names] == [f"{index:08}" for index in range(len(names))]
    assert len(names) >= max(1, lf.collect().height / 2)
    assert_frame_equal(read_all(kind, tmp_path / "out"), lf.collect())


def test_files_by_key_and_size_keep_the_order(threads: None, tmp_path: Path) -> None:
    rows = pl.DataFrame({"k": [index % 2 for index in range(40)], "j": [0] * 40, "v": range(40)})
    lf = dp.from_polars(rows, npartitions=3)
    lf.sink_parquet(
        pl.PartitionBy(tmp_path / "out", key=["k", pl.col("j") + 1], max_rows_per_file=3, include_key=False)
    )
    for key in (0, 1):
        found = read_all("parquet", tmp_path / "out" / f"k={key}" / "j=1")
        assert found["v"].to_list() == list(range(key, 40, 2))
    assert_frame_equal(pl.scan_parquet(tmp_path / "out").collect().sort("v").select("v"), rows.select("v"))


def test_files_with_names_of_the_user(threads: None, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)

    def name(args: FileProviderArgs) -> str:
        key = args.partition_keys.item() or "none"
        return f"{key[0]}/{key[0]}-{args.index_in_partition}.bin"

    lf.sink_parquet(pl.PartitionBy(tmp_path / "out", key="k", max_rows_per_file=1, file_path_provider=name))
    expected = ["a/a-0.bin", "a/a-1.bin", "a/a-2.bin", "b/b-0.bin", "b/b-1.bin", "c/c-0.bin", "n/n-0.bin"]
    assert files_in(tmp_path / "out") == expected
    assert pl.read_parquet(tmp_path / "out" / "a" / "*.bin")["v"].to_list() == [0, 3, 6]

    numbered = pl.PartitionBy(
        tmp_path / "n", max_rows_per_file=1, file_path_provider=lambda args: Path(f"{args.index_in_partition}.csv")
    )
    lf.sink_csv(numbered)
    assert files_in(tmp_path / "n") == [f"{index}.csv" for index in range(7)]


@pytest.mark.parametrize(
    ("name", "error"),
    [(lambda args: "same", ValueError), (lambda args: "../x", ValueError), (lambda args: io.BytesIO(), TypeError)],
    ids=["same", "outside", "file object"],
)
def test_names_that_cannot_be(name: Any, error: type[Exception], threads: None, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    with pytest.raises(error, match="file_path_provider"):
        lf.sink_parquet(pl.PartitionBy(tmp_path / "out", key="k", file_path_provider=name))
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- types


def writable(kind: str, directory: Path) -> list[str]:
    """The columns of types that Polars can write in a format."""
    out = []
    for column in TYPES.columns:
        try:
            sink(TYPES.lazy().select(column), kind, directory / f"{kind}-{column}", engine="streaming")
        except RAISED:
            continue
        out.append(column)
    return out


@pytest.mark.parametrize("target", ["file", "directory", "parts"])
@pytest.mark.parametrize("kind", READ)
def test_every_type_is_written_as_polars_writes_it(kind: str, target: str, threads: None, tmp_path: Path) -> None:
    (tmp_path / "tried").mkdir()
    rows = TYPES.select(writable(kind, tmp_path / "tried"))
    assert rows.width > (20 if kind in ("csv", "ndjson") else TYPES.width - 1)
    out, expected = tmp_path / "out", tmp_path / "expected"
    sink(rows.lazy(), kind, expected, engine="streaming")
    path = {"file": out, "directory": f"{out}/", "parts": pl.PartitionBy(out, max_rows_per_file=1)}[target]
    sink(dp.from_polars(rows, npartitions=3), kind, path)
    names = [out / name for name in files_in(out)] if target != "file" else [out]
    if kind in ("csv", "ndjson"):
        texts = [name.read_text() for name in names]
        start = texts[0].partition("\n")[0] + "\n" if kind == "csv" else ""
        assert start + "".join(text.removeprefix(start) for text in texts) == expected.read_text()
    else:
        found = pl.concat([READ[kind](name).collect() for name in names])
        assert_frame_equal(found, READ[kind](expected).collect())
        assert_frame_equal(found, rows)


def test_a_type_that_cannot_be_written_is_the_error_of_polars(threads: None, tmp_path: Path) -> None:
    rows = TYPES.select("list")
    with pytest.raises(RAISED) as expected:
        rows.lazy().sink_csv(tmp_path / "x", engine="streaming")
    (tmp_path / "x").unlink(missing_ok=True)
    for path in (tmp_path / "x", f"{tmp_path}/x/"):
        with pytest.raises(expected.type, match=re.escape(str(expected.value).splitlines()[0])):
            dp.from_polars(rows, npartitions=3).sink_csv(path)
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- what is there already


TARGETS: dict[str, Callable[[Path], Any]] = {
    "file": lambda path: path / "out",
    "directory": lambda path: f"{path}/out/",
    "parts": lambda path: pl.PartitionBy(path / "out", key="k"),
}


def occupy(path: Path, target: str) -> None:
    if target == "file":
        (path / "out").write_text("old")
    else:
        (path / "out" / "deep").mkdir(parents=True)
        (path / "out" / "deep" / "old").write_text("old")


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_not_replaced(target: str, scheduler: None, tmp_path: Path) -> None:
    occupy(tmp_path, target)
    before = files_in(tmp_path)
    seen: list[int] = []
    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(lambda part: (seen.append(1), part)[1], schema=ROWS.schema)
    for attempt in (
        lambda: lf.sink_parquet(TARGETS[target](tmp_path)),
        lambda: lf.sink_parquet(TARGETS[target](tmp_path), lazy=True).collect(),
        lambda: lf.sink_parquet(TARGETS[target](tmp_path), lazy=True).compute(),
    ):
        with pytest.raises(FileExistsError, match="overwrite"):
            attempt()
    assert not seen
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_replaced_as_a_whole(target: str, scheduler: None, tmp_path: Path) -> None:
    occupy(tmp_path, target)
    lf = dp.from_polars(ROWS, npartitions=3)
    lf.to_polars().sink_parquet(TARGETS[target](tmp_path), engine=dp.DaskEngine(overwrite=True))
    assert os.listdir(tmp_path) == ["out"]
    assert not (tmp_path / "out" / "deep").exists()
    assert_frame_equal(pl.read_parquet(tmp_path / "out").sort("v"), ROWS, check_column_order=False)
    lf.head(2).sink_parquet(TARGETS[target](tmp_path), lazy=True).collect(overwrite=True)
    assert pl.read_parquet(tmp_path / "out").height == 2


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_what_fails_leaves_what_was_there(target: str, overwrite: bool, scheduler: None, tmp_path: Path) -> None:
    if overwrite:
        occupy(tmp_path, target)
    before = files_in(tmp_path)

    def fail(part: pl.DataFrame) -> pl.DataFrame:
        if 6 in part["v"]:
            raise ZeroDivisionError("a bad partition")
        return part

    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(fail, schema=ROWS.schema)
    with (
        dask.config.set({"dask-polars.overwrite": overwrite}),
        pytest.raises(ZeroDivisionError, match="a bad partition"),
    ):
        lf.sink_csv(TARGETS[target](tmp_path))
    assert files_in(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if overwrite else [])


@pytest.mark.parametrize("target", TARGETS)
def test_a_failure_is_told_when_nothing_is_written_any_more(target: str, tmp_path: Path) -> None:
    started, ended, out = tmp_path / "started", tmp_path / "ended", tmp_path / "out"
    out.mkdir()

    def fail(part: pl.Series) -> pl.Series:
        if 6 in part:
            while not started.exists():
                time.sleep(0.01)
            raise ZeroDivisionError("a bad partition")
        if 0 in part:
            started.touch()
            time.sleep(0.3)
            ended.touch()
        return part

    lf = dp.from_polars(ROWS, npartitions=3).with_columns(
        pl.col("v").map_batches(fail, return_dtype=pl.Int64, is_elementwise=True)
    )
    with dask.config.set(scheduler="threads", num_workers=3), pytest.raises(Exception, match="a bad partition"):
        lf.sink_csv(TARGETS[target](out))
    assert ended.exists()
    assert not os.listdir(out)


def test_an_empty_directory_is_a_target(threads: None, tmp_path: Path) -> None:
    dp.from_polars(ROWS, npartitions=2).sink_ipc(tmp_path)
    assert files_in(tmp_path) == ["part-00000.ipc", "part-00001.ipc"]


def test_missing_directories(threads: None, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=2)
    for target in (tmp_path / "no" / "x.csv", f"{tmp_path}/no/x/"):
        with pytest.raises(FileNotFoundError, match="No such file or directory"):
            lf.sink_csv(target)
    assert not os.listdir(tmp_path)
    lf.sink_csv(tmp_path / "one" / "x.csv", mkdir=True, sync_on_close="all")
    lf.sink_csv(f"{tmp_path}/two/x/", mkdir=True, sync_on_close="data", maintain_order=False)
    assert files_in(tmp_path) == ["one/x.csv", "two/x/part-00000.csv", "two/x/part-00001.csv"]


def test_compressed_text(threads: None, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=2)
    lf.sink_csv(tmp_path / "x.csv.gz", compression="gzip")
    lf.sink_csv(f"{tmp_path}/parts/", compression="zstd")
    assert_frame_equal(pl.read_csv(tmp_path / "x.csv.gz", schema=ROWS.schema), ROWS)
    assert files_in(tmp_path / "parts") == ["part-00000.csv.zst", "part-00001.csv.zst"]
    with pytest.raises(pl.exceptions.PolarsError, match="suffix"):
        lf.sink_csv(tmp_path / "y.csv", compression="gzip")
    assert sorted(os.listdir(tmp_path)) == ["parts", "x.csv.gz"]


# ---------------------------------------------------------------- front doors


def test_a_query_is_written_in_one_go(threads: None, tmp_path: Path) -> None:
    for index in range(3):
        ROWS.write_parquet(tmp_path / f"{index}.parquet")
    lf = dp.scan_parquet(tmp_path / "*.parquet").filter(pl.col("v") > 1).with_columns(w=pl.col("v") * 2)
    with dask.config.set({"dask-polars.max-rows-per-partition": 3}):
        text = lf.sink_parquet(f"{tmp_path}/out/", lazy=True).explain()
        lf.sink_parquet(f"{tmp_path}/out/")
        expected = lf.collect()
    assert f"{tmp_path}/out/part-00000.parquet to " in text
    assert "write  as Parquet" in text
    assert "Gathered" not in text
    assert_frame_equal(pl.read_parquet(tmp_path / "out"), expected)
    assert "one file: " in lf.sink_csv(tmp_path / "x.csv", lazy=True).explain()


def test_lazy_sinks_write_each_time(scheduler: None, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    query = dp.from_polars(ROWS, npartitions=3).sink_parquet(path, lazy=True)
    assert isinstance(query, dp.LazyFrame)
    assert not path.exists()
    for run in (query.collect, query.compute, query.persist, query.collect):
        run()
        assert_frame_equal(pl.read_parquet(path), ROWS)
        path.unlink()
    assert query.collect().shape == (0, 0)
    assert os.listdir(tmp_path) == ["x.parquet"]


def test_several_sinks_share_what_they_have_in_common(scheduler: None, tmp_path: Path) -> None:
    seen: list[int] = []
    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(lambda part: (seen.append(1), part)[1], schema=ROWS.schema)
    one, other = lf.sink_parquet(tmp_path / "x", lazy=True), lf.sink_csv(f"{tmp_path}/parts/", lazy=True)
    outcome = dp.collect_all([one, other, lf.select(pl.len())])
    assert [frame.shape for frame in outcome] == [(0, 0), (0, 0), (1, 1)]
    assert len(seen) == 3
    assert sorted(os.listdir(tmp_path)) == ["parts", "x"]
    assert_frame_equal(pl.read_parquet(tmp_path / "x"), read_all("csv", tmp_path / "parts"))


def test_sinks_of_collect_all_of_polars(scheduler: None, tmp_path: Path) -> None:
    sinks = [ROWS.lazy().sink_csv(tmp_path / name, lazy=True) for name in ("x", "y")]
    pl.collect_all(sinks, engine=dp.DaskEngine(max_rows_per_partition=3))
    assert (tmp_path / "x").read_text() == (tmp_path / "y").read_text() == ROWS.write_csv()
    both = pl.collect_all([ROWS.lazy().sink_csv(tmp_path / name, lazy=True) for name in ("1", "2")], lazy=True)
    both.collect(engine=dp.DaskEngine(max_rows_per_partition=3))
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "x", "y"]


def test_dask_computes_sinks(tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    lazy = [lf.sink_csv(tmp_path / "x.csv", lazy=True), lf.sink_csv(f"{tmp_path}/parts/", lazy=True)]
    dask.compute(*lazy, scheduler="threads")
    assert sorted(os.listdir(tmp_path)) == ["parts", "x.csv"]


def test_functions_are_told_what_was_written(scheduler: None, tmp_path: Path) -> None:
    told: list[Any] = []
    lf = dp.from_polars(ROWS, npartitions=3)
    lf.sink_parquet(tmp_path / "x.parquet", sinked_paths_callback=told.append)
    lf.sink_parquet(pl.PartitionBy(tmp_path / "parts", key="k"), sinked_paths_callback=told.append)
    lf.to_polars().sink_ipc(f"{tmp_path}/d/", sinked_paths_callback=told.append, engine=dp.DaskEngine())
    (one,) = told[0].paths
    assert (one.path, one.num_rows, one.num_bytes) == (
        str(tmp_path / "x.parquet"),
        7,
        (tmp_path / "x.parquet").stat().st_size,
    )
    for args, name in ((told[1], "parts"), (told[2], "d")):
        assert sorted(os.path.relpath(item.path, tmp_path / name) for item in args.paths) == files_in(tmp_path / name)
        assert sum(item.num_rows for item in args.paths) == 7


def test_file_objects_and_functions_get_a_stream(scheduler: None) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    for kind in READ:
        buffer = io.BytesIO()
        sink(lf, kind, buffer)
        buffer.seek(0)
        assert_frame_equal(READ[kind](buffer).collect(), ROWS)
    got: list[pl.DataFrame] = []
    lf.sink_batches(got.append, chunk_size=2)
    assert [batch.height for batch in got] == [2, 2, 2, 1]
    assert_frame_equal(pl.concat(got), ROWS)


def test_batches_come_one_by_one(threads: None) -> None:
    """The next partition is computed when the function is done with the one before."""
    events: list[str] = []

    def compute(part: pl.DataFrame) -> pl.DataFrame:
        events.append("computed")
        return part

    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(compute, schema=ROWS.schema)
    lf.sink_batches(lambda batch: events.append("taken"))
    assert events == ["computed", "taken"] * 3
    events.clear()
    lf.sink_batches(lambda batch: events.append("taken") or True)
    assert events == ["computed", "taken"]


def test_delta(scheduler: None, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    lf = dp.from_polars(ROWS, npartitions=3)
    lf.sink_delta(tmp_path / "t")
    lf.to_polars().sink_delta(tmp_path / "t", mode="append", engine=dp.DaskEngine(max_rows_per_partition=3))
    assert deltalake.DeltaTable(tmp_path / "t").version() == 1
    assert_frame_equal(pl.read_delta(str(tmp_path / "t")).sort("v"), pl.concat([ROWS, ROWS]).sort("v"))
    with pytest.raises(Exception, match="exists"):
        lf.sink_delta(tmp_path / "t")
    changed = lf.with_columns(pl.col("k").str.to_integer())
    # The columns are not those of the table: rows are streamed, and the error of the query arrives.
    with (
        dask.config.set({"dask-polars.fallback": "silent"}),
        pytest.raises(Exception, match="strict integer parsing failed"),
    ):
        changed.sink_delta(tmp_path / "t", mode="overwrite")
    assert deltalake.DeltaTable(tmp_path / "t").version() == 1


def test_iceberg(scheduler: None, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    catalog = pytest.importorskip("pyiceberg.catalog.sql").SqlCatalog(
        "c", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/tables"
    )
    catalog.create_namespace("n")
    lf = dp.from_polars(ROWS, npartitions=3)
    done = lf.sink_iceberg("n.t", mode="append", catalog=catalog, create_if_not_exists=True)
    assert done.columns == ["metadata_path"]
    lf.head(2).sink_iceberg("n.t", mode="append", catalog=catalog)
    table = catalog.load_table("n.t")
    assert_frame_equal(pl.from_arrow(table.scan().to_arrow()).sort("v"), pl.concat([ROWS, ROWS.head(2)]).sort("v"))
    with pytest.raises(pl.exceptions.ComputeError, match="strict integer parsing failed"):
        lf.with_columns(pl.col("v").cast(pl.String) + "x").with_columns(pl.col("v").str.to_integer()).sink_iceberg(
            "n.t", mode="append", catalog=catalog
        )
    assert len(catalog.load_table("n.t").snapshots()) == 2


def test_errors_reach_file_objects_as_they_are(threads: None) -> None:
    lf = dp.from_polars(ROWS, npartitions=3).with_columns(pl.col("k").str.to_integer())
    with pytest.raises(pl.exceptions.ComputeError, match="strict integer parsing failed"):
        lf.sink_csv(io.BytesIO())


def test_relative_paths_and_links(threads: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lf = dp.from_polars(ROWS, npartitions=2)
    lf.sink_csv("x.csv")
    lf.sink_csv("parts/")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    lf.sink_csv("link")
    lf.sink_csv(f"file://{tmp_path}/y.csv")
    names = [
        "parts/part-00000.csv",
        "parts/part-00001.csv",
        "real/part-00000.csv",
        "real/part-00001.csv",
        "x.csv",
        "y.csv",
    ]
    assert [name for name in files_in(tmp_path) if not name.startswith("link")] == names


def test_no_columns(threads: None, tmp_path: Path) -> None:
    dp.from_polars(ROWS, npartitions=3).select([]).sink_parquet(tmp_path / "x")
    assert pl.read_parquet(tmp_path / "x").width == 0


def test_payloads_are_read_as_polars_writes_them() -> None:
    from dask_polars.dsl.codec import decode

    lf = ROWS.lazy()
    payload = SinkPayload.of(decode(lf.sink_csv("a/x.csv", lazy=True, mkdir=True)))
    assert payload is not None
    assert (payload.path, payload.format, payload.extension, payload.mkdir) == ("a/x.csv", "Csv", "csv", True)
    assert (payload.partitioned, payload.provider, payload.callback) == (False, None, None)
    parts = pl.PartitionBy("a", key="k", file_path_provider=len)
    payload = SinkPayload.of(decode(lf.sink_ipc(parts, lazy=True, sinked_paths_callback=print)))
    assert payload is not None
    assert (payload.path, payload.format, payload.partitioned) == ("a", "Ipc", True)
    assert (payload.provider, payload.callback) == (len, print)
    assert SinkPayload.of(decode(lf.sink_batches(print, lazy=True))) is None


# ---------------------------------------------------------------- the protocol


def staged(target: Target, names: dict[str, str]) -> list[tuple[Written, str]]:
    out = []
    for name, to in names.items():
        path = target.staged(name)
        Path(path).write_text(name)
        out.append((Written(path, 1, len(name)), to))
    return out


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_may_run_twice(overwrite: bool, tmp_path: Path) -> None:
    if overwrite:
        occupy(tmp_path, "directory")
    target = Target(f"{tmp_path}/out", directory=True, run="r", overwrite=overwrite)
    commits.begin(target)
    files = staged(target, {"a": "1", "b": "deep/2"})
    assert commits.committed(target) is None
    done = commits.commit(target, files)
    assert commits.committed(target) == done
    assert files_in(tmp_path / "out") == ["1", "deep/2"]
    commits.clean(target)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_commit_may_be_killed_anywhere(
    step: int, overwrite: bool, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a commit does to the file system, until it is killed; then it runs again, or all is cleaned up."""
    if overwrite:
        occupy(tmp_path, "directory")
    before = files_in(tmp_path)
    target = Target(f"{tmp_path}/out", directory=True, run="r", overwrite=overwrite)
    commits.begin(target)
    files = staged(target, {"a": "1", "b": "deep/2"})
    calls: list[str] = []

    class Killed(BaseException):
        pass

    def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
        def stop(*args: Any, **options: Any) -> Any:
            if len(calls) >= step:
                raise Killed  # and whatever is tried afterwards does not happen either
            calls.append(args[0])
            return real(*args, **options)

        return stop

    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace", "makedirs"):
            patch.setattr(os, name, stopping(getattr(os, name)))
        with contextlib.suppress(Killed):
            commits.commit(target, files)
    if again:
        if commits.committed(target) is None:
            commits.commit(target, files)
        commits.clean(target)
        assert files_in(tmp_path) == ["out/1", "out/deep/2"]
    else:
        commits.clean(target)
        assert files_in(tmp_path) in (["out/1", "out/deep/2"], before)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_tasks_of_a_run_that_is_over_write_nothing(threads: None, tmp_path: Path) -> None:
    """A task that is still running while the others failed comes too late."""
    started = threading.Event()

    def work(part: pl.DataFrame) -> pl.DataFrame:
        if 0 in part["v"]:
            started.wait(10)
            raise ZeroDivisionError
        started.set()
        time.sleep(0.5)
        return part

    lf = dp.from_polars(ROWS, npartitions=2).map_partitions(work, schema=ROWS.schema)
    with dask.config.set(num_workers=2), pytest.raises(ZeroDivisionError):
        lf.sink_csv(f"{tmp_path}/out/")
    time.sleep(1)
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- clusters


@pytest.mark.cluster
@pytest.mark.parametrize("target", TARGETS)
def test_on_a_cluster(target: str, client: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    told: list[Any] = []
    lf.sink_parquet(TARGETS[target](tmp_path), sinked_paths_callback=told.append)
    assert_frame_equal(pl.read_parquet(tmp_path / "out").sort("v"), ROWS, check_column_order=False)
    assert sum(item.num_rows for item in told[0].paths) == 7
    with pytest.raises(FileExistsError):
        lf.sink_parquet(TARGETS[target](tmp_path))
    query = lf.head(3).sink_parquet(TARGETS[target](tmp_path), lazy=True)
    query.collect(overwrite=True)
    assert pl.read_parquet(tmp_path / "out").height == 3
    dask.compute(lf.sink_csv(tmp_path / "x.csv", lazy=True))
    assert (tmp_path / "x.csv").read_text() == ROWS.write_csv()
    assert sorted(os.listdir(tmp_path)) == ["out", "x.csv"]


@pytest.mark.cluster
def test_what_fails_on_a_cluster_leaves_nothing(client: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3).with_columns(pl.col("k").str.to_integer())
    for target in TARGETS.values():
        for run in (
            lambda target=target: lf.sink_csv(target(tmp_path)),
            lambda target=target: lf.sink_csv(target(tmp_path), lazy=True).compute(),
            lambda target=target: lf.sink_csv(target(tmp_path), lazy=True).collect(background=True).fetch_blocking(),
        ):
            with pytest.raises(pl.exceptions.ComputeError, match="strict integer parsing failed"):
                run()
    assert_empty_soon(tmp_path)


MANY = pl.DataFrame({"k": [index % 5 for index in range(2000)], "v": range(2000)})


def kill_this_worker_once(mark: Path) -> None:
    """Kill the process, the first time."""
    try:
        os.mkdir(mark)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.cluster
def test_a_killed_worker_writes_each_row_once(tmp_path: Path) -> None:
    """Killed while it writes, after others are written; and when the files are in place, before the scheduler knows."""
    from distributed import Client, LocalCluster

    def die(part: pl.DataFrame, mark: Path) -> pl.DataFrame:
        if 1500 in part["v"]:
            kill_this_worker_once(mark)
        return part

    settings = {"distributed.deploy.lost-worker-timeout": "60s", "distributed.scheduler.allowed-failures": 10}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        rows = dp.from_polars(MANY, npartitions=8)
        assert rows.select(pl.len()).collect().item() == 2000  # the workers are set up
        for name, target in TARGETS.items():
            writing, ending = tmp_path / f"{name}-writing", tmp_path / f"{name}-ending"
            for mark, lf in ((writing, rows.map_partitions(die, writing, schema=MANY.schema)), (ending, rows)):
                client.wait_for_workers(2, timeout=60)
                path = tmp_path / f"{mark.name}-out"
                path.mkdir()
                told = (lambda args: None) if mark == writing else lambda args, mark=mark: kill_this_worker_once(mark)
                lf.sink_parquet(target(path), lazy=True, sinked_paths_callback=told).collect()
                assert mark.is_dir()
                assert os.listdir(path) == ["out"]
                found = pl.read_parquet(path / "out")
                in_order = name != "parts"
                assert_frame_equal(found if in_order else found.sort("v"), MANY, check_column_order=False)
