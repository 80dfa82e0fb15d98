"""Rows that functions, files and other collections give in pieces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b", None], "v": [1, 2, 3, 4, None, 6]})


def noted(path: Path, number: int, *, lazy: bool = False) -> Any:
    """Give a partition, and leave a file behind that says so."""
    Path(path, f"{number}-{len(os.listdir(path))}").touch()
    part = DATA.slice(2 * number, 2)
    return part.lazy() if lazy else part


def scattered(directory: Path) -> list[Path]:
    paths = [directory / f"{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        DATA.slice(2 * number, 2).write_parquet(path)
    return paths
