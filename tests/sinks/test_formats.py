"""What sinks write reads as what Polars writes, in every format and through every front door."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.io.partition import FileProviderArgs
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.dsl.sinks import SinkPayload
from dask_polars.io.writing import _numbered_keys, _pack_keys
from tests.every_type import TYPES
from tests.helpers import RAISED
from tests.sinks.outputs import PARTITIONS, READ, ROWS, files_in, read_all, sink

pytestmark = pytest.mark.usefixtures("nothing_falls_back")


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


def test_equal_keys_may_be_other_bytes() -> None:
    """What is in a buffer beside its values is not decided by these, as in a view of a short text."""
    one, other = io.BytesIO(), io.BytesIO()
    keys = pl.DataFrame({"k": ["a"], "x": [float("nan")], "d": [None]})
    keys.write_ipc(one)
    keys.write_ipc(other, compression="zstd")
    another = pl.DataFrame({"k": ["b"], "x": [float("nan")], "d": [None]})
    packed = pl.Series([one.getvalue(), _pack_keys(another), other.getvalue(), one.getvalue()])
    assert packed[0] != packed[2]
    assert _numbered_keys(packed).to_list() == [0, 1, 0, 0]
    assert _numbered_keys(pl.Series([None, None], dtype=pl.Binary)).to_list() == [0, 0]
    assert _numbered_keys(pl.Series([_pack_keys(pl.DataFrame(height=1))] * 2)).to_list() == [0, 0]


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
