"""What the queries read, and the sizes that they are planned for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from dask_polars.config import Options
from dask_polars.io.scans import from_polars, scan_parquet

__all__ = ["NPARTITIONS", "Tables", "small_and_large", "tables"]

NPARTITIONS = 20  # more than `split-every`, so that trees have levels
NFILES = 4
_SETTINGS: dict[str, Any] = {
    "fallback": "silent",
    "max_rows_per_partition": None,
    "shuffle_method": "auto",
    "split_every": 8,
    "overwrite": False,
}


@dataclass(frozen=True)
class Tables:
    """
    What the queries of the table read.

    Parameters
    ----------
    a, b
        Frames of many partitions.
    typed
        A frame of many partitions with a column of each type that has methods of its own.
    files
        A directory of Parquet files, and one file of each other kind.
    """

    a: Any  # collections, whose methods are made by rule: a type checker does not know them
    b: Any
    typed: Any
    files: Path

    def scan(self) -> Any:
        """Scan the Parquet files."""
        return scan_parquet(self.files / "*.parquet")

    def new(self) -> Path:
        """Name a directory that is not there yet."""
        return self.files / uuid4().hex

    def lazy_sink(self, name: str) -> pl.LazyFrame:
        """Write a frame, once it is asked for."""
        sink: pl.LazyFrame = self.a.sink_csv(self.new() / name, lazy=True, mkdir=True).to_polars()
        return sink


def _frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    height = 1000
    start = datetime(2024, 1, 1)
    a = pl.DataFrame(
        {
            "k": [i % 7 for i in range(height)],
            "g": [str(i % 3) for i in range(height)],
            "v": [float(i * 37 % 1000) for i in range(height)],
            "t": [start + timedelta(minutes=i) for i in range(height)],
        }
    )
    b = a.head(height // 2).select("k", "t", w=pl.col("v") + 1)
    return a, b


def _typed(a: pl.DataFrame) -> pl.DataFrame:
    k, v = pl.col("k"), pl.col("v")
    return a.select(
        "k",
        "v",
        "t",
        f=v / 2,
        s=k.cast(pl.String),
        b=v > 10,
        d=pl.col("t").dt.date(),
        l=pl.concat_list(k, k + 1),
        st=pl.struct(x=k, y=v),
    )


@contextlib.contextmanager
def tables() -> Iterator[Tables]:
    """Make what the queries read; the files are there for as long as the block runs."""
    a, b = _frames()
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        for number, part in enumerate(a.iter_slices(a.height // NFILES)):
            part.write_parquet(files / f"{number}.parquet", row_group_size=50)
        b.write_csv(files / "one.csv")
        b.write_ndjson(files / "one.ndjson")
        b.write_ipc(files / "one.arrow", record_batch_size=50)
        first, second, typed = (from_polars(frame, npartitions=NPARTITIONS) for frame in (a, b, _typed(a)))
        yield Tables(first, second, typed, files)


def small_and_large() -> tuple[Options, Options]:
    """Give options under which the frames of :func:`tables` are small, and such under which they are large."""
    small = Options.current(partition_size="128 MiB", broadcast_limit="64 MiB", **_SETTINGS)
    return small, Options.current(partition_size="1 kiB", broadcast_limit=0, **_SETTINGS)
