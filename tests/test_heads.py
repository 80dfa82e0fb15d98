"""Heads and slices that are larger than a partition: what they give, and that they read no more files than it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp

ROWS, FILES = 24, 20
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "parquet": lambda frame, path: frame.write_parquet(path, row_group_size=5),
    "ipc": lambda frame, path: frame.write_ipc(path, record_batch_size=5),
    "csv": lambda frame, path: frame.write_csv(path),
}
SMALL = {"dask-polars.partition-size": 400}  # the rows of a file
CUTS = {
    "files": SMALL,
    "rows": {**SMALL, "dask-polars.max-rows-per-partition": 3},
    "row-groups": {"dask-polars.partition-size": 30},
    "many-files": {"dask-polars.partition-size": 1500},
}
a = pl.col("a")
QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "head": lambda lf: lf.head(100),
    "slice": lambda lf: lf.slice(50, 100),
    "select": lambda lf: lf.select(b=a + 1).rename({"b": "c"}).head(130),
    "filter": lambda lf: lf.filter(a % 3 == 0).head(100),
    "filter-drops-most": lambda lf: lf.filter(a >= 300).head(100),
    "ends-behind": lambda lf: lf.slice(470, 100),
    "is-behind": lambda lf: lf.slice(500, 100),
    "of-a-file-without-rows": lambda lf: lf.filter(a < 0).head(100),
    "count": lambda lf: lf.slice(30, 200).select(pl.len()),
    "group-by": lambda lf: lf.head(111).group_by(a % 3).agg(pl.col("s").count()).sort("a"),
    "read-twice": lambda lf: lf.head(100).with_columns(b=a - a.mean()),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads")
    for name, write in WRITERS.items():
        (out / name).mkdir()
        for number in range(FILES):
            first = number * ROWS
            frame = pl.DataFrame({"a": range(first, first + ROWS)}).with_columns(s=pl.lit("row ") + a.cast(pl.String))
            write(frame, out / name / f"{number:02}.{name}")
    return out


def scan(files: Path, name: str) -> pl.LazyFrame:
    return getattr(pl, f"scan_{name}")(files / name)


@pytest.mark.parametrize(
    ("name", "cut"), [*(("parquet", cut) for cut in CUTS), ("ipc", "files"), ("ipc", "row-groups"), ("csv", "files")]
)
def test_large_heads(files: Path, name: str, cut: str) -> None:
    lf = scan(files, name)
    with dask.config.set(CUTS[cut]):
        for title, query in QUERIES.items():
            wanted = query(lf)
            got = dp.LazyFrame(wanted).collect(scheduler="sync")
            assert got.equals(wanted.collect()), title
            assert got.schema == wanted.collect_schema(), title


@pytest.mark.parametrize("name", WRITERS)
def test_files_behind_a_head_are_not_read(files: Path, tmp_path: Path, name: str) -> None:
    """Of 20 files those behind the first seven cannot be read; a head of 100 rows needs the first five."""
    broken = {"csv": lambda content: content + b"1,2,3,4\n"}.get(name, lambda content: b" " * len(content))
    for number, path in enumerate(sorted((files / name).iterdir())):
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content if number < 7 else broken(content))
    options = {"infer_schema_length": 2} if name == "csv" else {}
    lf = getattr(pl, f"scan_{name}")(tmp_path, **options)
    with pytest.raises(pl.exceptions.PolarsError):
        lf.collect()
    for query in (lf.head(100), lf.filter(a % 2 == 0).head(50), lf.slice(70, 40).select(a + 1)):
        with dask.config.set(SMALL):
            distributed = dp.LazyFrame(query)
            assert distributed.npartitions > 1
            got = distributed.collect(scheduler="sync")
        assert_frame_equal(got, query.collect())


def test_a_head_of_files_is_planned_by_footers(files: Path) -> None:
    with dask.config.set(SMALL):
        query = dp.scan_parquet(files / "parquet").head(100)
        assert query.npartitions == 5
        assert "5 of 20 files" in query.explain()
        # In waves, where it is not known how many rows pass.
        passed = dp.scan_parquet(files / "parquet").filter(a % 2 == 0).head(100)
        assert "HEAD 100  as few partitions as it takes" in passed.explain()
