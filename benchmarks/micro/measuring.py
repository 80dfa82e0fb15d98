"""What the micro-benchmarks share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.datasets import make

Row = dict[str, Any]
ROWS_PER_FILE = 100
"""Rows of each of the many small files."""


@dataclass(frozen=True)
class Setting:
    """What a micro-benchmark runs on.

    Attributes
    ----------
    tpch, h2o, many_files
        Directories of data sets.
    repeat
        How often something is measured.
    client
        Of the cluster, where there is one.
    shuffled
        Bytes of the table that is shuffled, at least.
    """

    tpch: Path
    h2o: Path
    many_files: Path
    repeat: int
    client: Any
    shuffled: float = 0.0


def row(name: str, case: str, measure: str, api: str, values: list[float], unit: str = "") -> Row:
    """Make a row of results: the median of some values."""
    value = statistics.median(values)
    return {
        "name": name,
        "case": case,
        "measure": measure,
        "api": api,
        "value": value,
        "unit": unit,
        "runs": values,
    }


def take_turns(apis: Mapping[str, Callable[[], Any]], repeat: int) -> dict[str, list[float]]:
    """Call functions in turns, and give the seconds that each took each time."""
    took: dict[str, list[float]] = {api: [] for api in apis}
    for _ in range(repeat):
        for api, call in apis.items():
            start = time.perf_counter()
            call()
            took[api].append(time.perf_counter() - start)
    return took


def make_files(directory: Path, files: int) -> Path:
    """Make many small files of a key `k` and a value `v`, unless they are there; give the directory that has nothing else."""

    def write(scratch: Path, made: Path) -> None:
        (made / "table").mkdir()
        for i in range(files):
            numbers = range(i * ROWS_PER_FILE, (i + 1) * ROWS_PER_FILE)
            frame = pl.DataFrame({"k": [number % 97 for number in numbers], "v": [float(number) for number in numbers]})
            frame.write_parquet(made / "table" / f"part-{i:06}.parquet")

    return make(directory, "files.json", {"files": files, "rows": ROWS_PER_FILE}, write) / "table"
