"""What a run took, by stage."""

from __future__ import annotations

import statistics
from datetime import timedelta
from typing import Any

import polars as pl

from dask_polars.explain import numbered
from dask_polars.measure import Record
from dask_polars.observe import Reporter, Run
from dask_polars.plan.stages import ScanStage

#: The columns of a profile.
SCHEMA: dict[str, Any] = {
    "stage": pl.UInt32,
    "operation": pl.String,
    "fused": pl.List(pl.String),
    "partitions": pl.UInt32,
    "tasks": pl.UInt32,
    "rows_in": pl.UInt64,
    "rows_out": pl.UInt64,
    "rows_estimated": pl.UInt64,
    "bytes_out": pl.UInt64,
    "bytes_estimated": pl.UInt64,
    "files": pl.UInt32,
    "bytes_read": pl.UInt64,
    "bytes_shuffled": pl.UInt64,
    "bytes_spilled": pl.UInt64,
    "wall": pl.Duration("us"),
    "wall_max": pl.Duration("us"),
    "cpu": pl.Duration("us"),
    "skew": pl.Float64,
    "skew_wall": pl.Float64,
}


def profile_of(run: Run) -> pl.DataFrame:
    """
    Say what a run took.

    Parameters
    ----------
    run
        A run that is over.

    Returns
    -------
    polars.DataFrame
        A row for each stage that runs by itself, from the sources up; those that are part of it are in ``fused``.
    """
    numbers = numbered(run.roots)
    records = run.records()
    rows = [_row(item, numbers, records[token]) for token, item in run.reporters.items()]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _row(item: Reporter, numbers: dict[str, int], records: list[Record]) -> tuple[Any, ...]:
    stage = item.stage
    outputs = [record for record in records if "rows_out" in record]
    rows = sorted(record["rows_out"] for record in outputs)
    walls = sorted(record["wall"] for record in records)
    ran = bool(records)
    return (
        numbers[stage.token],
        stage.operation,
        [f"[{numbers[part.token]}] {part.operation}" for part in item.fused],
        stage.npartitions,
        len(records),
        _rows_in(item, records) if ran else None,
        sum(rows) if outputs else None,
        max(round(stage.size.rows), 0),
        sum(record["bytes_out"] for record in outputs) if outputs else None,
        max(round(stage.size.bytes), 0),
        _total(records, "files"),
        _total(records, "bytes_read"),
        _total(records, "shuffled"),
        _total(records, "spilled"),
        timedelta(seconds=sum(walls)) if ran else None,
        timedelta(seconds=walls[-1]) if ran else None,
        timedelta(seconds=sum(record["cpu"] for record in records)) if ran else None,
        _skew(rows),
        _skew(walls),
    )


def _total(records: list[Record], name: str) -> int:
    return sum(record.get(name, 0) for record in records)


def _rows_in(item: Reporter, records: list[Record]) -> int | None:
    """Give the rows of what was read: those of files only where the plan knows them, and all of them were read."""
    scans = [part for part in (item.stage, *item.fused) if isinstance(part, ScanStage)]
    if not all(scan.size.exact for scan in scans) or (scans and len(records) < item.expected):
        return None
    return _total(records, "rows_in") + sum(round(scan.size.rows) for scan in scans)


def _skew(values: list[Any]) -> float | None:
    """Give the largest by the median: 1 where all are equal."""
    middle = statistics.median(values) if values else 0
    return float(values[-1] / middle) if middle else None
