"""What the tests of sinks write, where, and reading it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import dask_polars as dp
from tests.helpers import empties

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
TARGETS: dict[str, Callable[[Path], Any]] = {
    "file": lambda path: path / "out",
    "directory": lambda path: f"{path}/out/",
    "parts": lambda path: pl.PartitionBy(path / "out", key="k"),
}


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


def occupy(path: Path, target: str) -> None:
    if target == "file":
        (path / "out").write_text("old")
    else:
        (path / "out" / "deep").mkdir(parents=True)
        (path / "out" / "deep" / "old").write_text("old")
