"""Scans of Arrow IPC: whatever the arguments and the files, the answer is that of Polars."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.io.ipc import read_footer
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ScanStage, walk_stages
from tests.test_scan import typed

DATA = pl.DataFrame({"a": range(40), "b": [f"s{i % 7}" for i in range(40)], "c": [i * 0.5 for i in range(40)]})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ipc")

    def write(name: str, frame: pl.DataFrame = DATA, **options: Any) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_ipc(path, **options)

    write("one.ipc")
    write("batches.ipc", record_batch_size=4)
    write("zstd.ipc", record_batch_size=4, compression="zstd")
    for index in range(6):
        piece = DATA[index * 6 : index * 6 + 6]
        write(f"many/p{index}.ipc", piece, record_batch_size=2)
        write(f"hive/year=2020/k=v{index}/p.ipc", piece)
    for name, other in {
        "string": DATA.with_columns(pl.col("a").cast(pl.String)),
        "narrow": DATA.with_columns(pl.col("a").cast(pl.Int32)),
        "missing": DATA.drop("c"),
        "extra": DATA.with_columns(z=1),
        "order": DATA.select("c", "a", "b"),
    }.items():
        write(f"{name}/a.ipc", record_batch_size=3)
        write(f"{name}/b.ipc", other)
    for name, content in {"corrupt": b"garbage" * 100, "zero": b"", "text": b"hello"}.items():
        write(f"{name}/a.ipc")
        (root / name / "b.ipc").write_bytes(content)
    write("empty/a.ipc", DATA[:0])
    write("empty/b.ipc", DATA[:5])
    write("types/a.ipc", typed())
    write("types/b.ipc", typed())
    write("wide.ipc", pl.DataFrame({"i": pl.Series([1, 2, 3], dtype=pl.Int128)}))
    DATA.write_ipc_stream(root / "stream.ipc")
    (root / "none").mkdir()
    return root


Case = tuple[Callable[[Path], Any], dict[str, Any]]


def case(source: Any, **options: Any) -> Case:
    return (source if callable(source) else lambda root: root / source), options


CASES: dict[str, Case] = {
    "file": case("one.ipc"),
    "batches": case("batches.ipc"),
    "zstd": case("zstd.ipc"),
    "list": case(lambda d: [d / "one.ipc", d / "batches.ipc", d / "one.ipc"]),
    "glob": case("many/*.ipc"),
    "directory": case("many"),
    "relative": case(lambda d: "many/*.ipc"),
    "url": case(lambda d: f"file://{d}/one.ipc"),
    "no-glob": case("batches.ipc", glob=False),
    "not-there": case("nope.ipc"),
    "one-not-there": case(lambda d: [d / "one.ipc", d / "nope.ipc"]),
    "no-files": case("none"),
    "hive": case("hive"),
    "hive-off": case("hive", hive_partitioning=False),
    "hive-glob": case("hive/**/*.ipc", hive_partitioning=True),
    "hive-schema": case("hive", hive_schema={"year": pl.Int16, "k": pl.String}),
    "rows": case("many", n_rows=10),
    "no-rows": case("many", n_rows=0),
    "row-index": case("many", row_index_name="i", row_index_offset=2),
    "row-index-batches": case("batches.ipc", row_index_name="i", n_rows=9),
    "paths": case("many", include_file_paths="p"),
    "paths-batches": case("batches.ipc", include_file_paths="p", row_index_name="i"),
    "string-column": case("string"),
    "narrow-column": case("narrow"),
    "missing-column": case("missing"),
    "extra-column": case("extra"),
    "corrupt": case("corrupt"),
    "zero-bytes": case("zero"),
    "text": case("text"),
    "empty": case("empty"),
    "types": case("types"),
    "wide-integers": case("wide.ipc"),
    "stream": case("stream.ipc"),
    "bytes": case(lambda d: (d / "one.ipc").read_bytes()),
    "buffer": case(lambda d: io.BytesIO((d / "one.ipc").read_bytes())),
    "storage-options": case("many", storage_options={}),
}
QUERIES: dict[str, Callable[[Any], Any]] = {
    "all": lambda lf: lf,
    "first": lambda lf: lf.select(pl.first()),
    "len": lambda lf: lf.select(pl.len()),
    "aggregated": lambda lf: lf.filter(pl.first().is_not_null()).group_by(pl.last()).len().sort(pl.all()),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "rows": {"dask-polars.max-rows-per-partition": 3},
    "bytes": {"dask-polars.partition-size": 200},
    "whole": {},
}


@pytest.fixture
def here(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(files)
    with dask.config.set({"scheduler": "sync", "dask-polars.fallback": "silent"}):
        yield files


def outcome(run: Callable[[], pl.DataFrame]) -> Any:
    try:
        return run()
    except Exception as error:
        return type(error), str(error).splitlines()[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_scan(here: Path, name: str, layout: str) -> None:
    source, options = CASES[name]
    for title, query in QUERIES.items():
        wanted = outcome(lambda query=query: query(pl.scan_ipc(source(here), **options)).collect())
        with dask.config.set(LAYOUTS[layout]):
            found = outcome(lambda query=query: query(dp.scan_ipc(source(here), **options)).collect())
            through = outcome(
                lambda query=query: query(pl.scan_ipc(source(here), **options)).collect(engine=dp.DaskEngine())
            )
        for frame in (found, through):
            if isinstance(wanted, pl.DataFrame) and isinstance(frame, pl.DataFrame):
                assert_frame_equal(frame, wanted)
            else:
                assert not isinstance(frame, pl.DataFrame), (title, wanted)
                assert not isinstance(wanted, pl.DataFrame), (title, frame)
                assert frame == wanted, title


def test_columns_in_another_order(here: Path) -> None:
    for layout in LAYOUTS.values():
        with dask.config.set(layout):
            found = dp.scan_ipc(here / "order").collect(engine="streaming")
        assert_frame_equal(found, pl.concat([DATA, DATA]))


def scan_of(lf: Any, **options: Any) -> ScanStage:
    plan = plan_queries([lf.to_polars()], Options.current(**options))
    (scan,) = (stage for stage in walk_stages(plan.roots) if isinstance(stage, ScanStage))
    return scan


def test_small_files_are_grouped(here: Path) -> None:
    lf = dp.scan_ipc(here / "many")
    assert scan_of(lf).npartitions == 1
    paths = [part.paths for part in scan_of(lf, partition_size=2000).parts]
    assert 1 < len(paths) < 6
    assert [path for group in paths for path in group] == sorted(str(path) for path in (here / "many").iterdir())


def test_large_files_are_split_where_batches_start(here: Path) -> None:
    scan = scan_of(dp.scan_ipc(here / "batches.ipc"), partition_size=200)
    assert scan.npartitions > 2
    assert all(part.rows is not None and part.rows[0][0] % 4 == 0 for part in scan.parts)
    assert sum(height for part in scan.parts for _, height in part.rows or ()) == 40
    assert (scan.size.rows, scan.size.exact) == (40, True)


class Counted(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_rows_of_batches_are_read_without_the_batches(compression: Any) -> None:
    frame = pl.DataFrame({"a": range(100_000), "b": [f"text {i}" for i in range(100_000)]})
    target = io.BytesIO()
    frame.write_ipc(target, record_batch_size=30_000, compression=compression)
    content = target.getvalue()
    opened = Counted(content)
    footer = read_footer(opened, len(content))
    reader = pa.ipc.open_file(content)
    assert footer.batches == tuple(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
    assert sum(footer.batches) == 100_000
    assert opened.taken < 10_000


def test_footers_of_pyarrow_are_read() -> None:
    table = pa.table({"a": list(range(10)), "d": pa.array(["x", "y"] * 5).dictionary_encode()})
    for batches, rows in (([4, 6], (4, 6)), ([], ())):
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            start = 0
            for count in batches:
                writer.write_table(table.slice(start, count))
                start += count
        assert read_footer(io.BytesIO(sink.getvalue()), len(sink.getvalue())).batches == rows


def test_what_is_no_ipc_file() -> None:
    for content in (b"", b"hello", b"garbage" * 100):
        with pytest.raises(ValueError, match="not a file of Arrow IPC"):
            read_footer(io.BytesIO(content), len(content))


def test_columns_in_another_order_are_those_of_the_first_file(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}).write_ipc(tmp_path / "0.arrow")
    pl.DataFrame({"b": ["z"], "a": [3]}).write_ipc(tmp_path / "1.arrow")
    wanted = pl.scan_ipc(tmp_path).collect()
    with dask.config.set({"dask-polars.max-rows-per-partition": 2}):
        found = dp.scan_ipc(tmp_path)
        assert found.npartitions == 2
        assert_frame_equal(found.collect(scheduler="sync"), wanted)
