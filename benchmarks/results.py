"""Results of a run: the file, and the numbers that are read off it."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""A record of `benchmarks.harness.race`, or of a micro-benchmark, as JSON has it."""


def save(results: dict[str, Any], path: Path) -> None:
    """Write a file of results; there is a complete one at any time."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


def load(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read files of results."""
    return [json.loads(path.read_text()) for path in paths]


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    """Give the values of a key in the order in which they come."""
    return list(dict.fromkeys(row[key] for row in rows))


def pick(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Give the rows that have some values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def median_of(rows: Iterable[Row], number: Callable[[Row], float | None]) -> float | None:
    """Give the median of a number of the rows that have it."""
    found = [value for row in rows if (value := number(row)) is not None]
    return statistics.median(found) if found else None


def seconds(rows: Iterable[Row]) -> float | None:
    """Give the median of the seconds, if all runs were successful."""
    rows = list(rows)
    if not rows or any(row["status"] != "ok" for row in rows):
        return None
    return median_of(rows, lambda row: row["seconds"])


def peak(rows: Iterable[Row]) -> float | None:
    """Give the median of the largest peak of a process, in bytes."""
    return median_of(rows, lambda row: max(row["peaks"]) if row["peaks"] else None)


def ratios(rows: Sequence[Row], engine: str, base: str) -> dict[str, float]:
    """Give the ratio of the medians of two engines for each query that both have answered."""
    found = {}
    for query in distinct(rows, "query"):
        of_query = pick(rows, query=query)
        mine, theirs = seconds(pick(of_query, engine=engine)), seconds(pick(of_query, engine=base))
        if mine is not None and theirs:
            found[query] = mine / theirs
    return found


def geometric_mean(values: Iterable[float]) -> float | None:
    """Give the geometric mean, if there are values."""
    values = list(values)
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def failure(rows: Iterable[Row]) -> str | None:
    """Give how a query failed, if it did."""
    return next((row["status"] for row in rows if row["status"] != "ok"), None)


def wrong(rows: Iterable[Row]) -> bool:
    """Tell whether the answer to a query was not the expected one."""
    return any(row["answer"].startswith("different") for row in rows)
