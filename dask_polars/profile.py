"""What a run took, by stage."""

from __future__ import annotations

import statistics
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl

from dask_polars.measure import Record
from dask_polars.observe import Reporter, Run
from dask_polars.plan import Plan
from dask_polars.plan.stages import KeyStage, ScanStage, Stage
from dask_polars.stage_graph import StageGraph

#: The columns of a profile.
SCHEMA: dict[str, Any] = {
    "step": pl.UInt32,
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


@dataclass(frozen=True, eq=False)
class Ran:
    """
    What has run.

    Parameters
    ----------
    plan
        The plan of the last step.
    graph
        Its stages, on those of the steps before.
    steps
        How many steps there were.
    """

    plan: Plan
    graph: StageGraph
    steps: int = 1


@dataclass
class Journal:
    """
    What is written down of a query while it runs, in steps or not.

    Parameters
    ----------
    runs
        The runs of its steps.
    origins
        What gave the partitions that were kept of a step, by the tokens of the stages that stand for them.
    """

    runs: list[Run] = field(default_factory=list)
    origins: dict[str, Stage] = field(default_factory=dict)

    def note(self, run: Run | None, kept: Mapping[str, KeyStage]) -> None:
        """Note a step that is over, and the stages that stand for what it gave."""
        assert run is not None
        self.runs.append(run)
        given = {stage.token: stage for stage in run.roots}
        self.origins.update({stage.token: given[token] for token, stage in kept.items()})

    def profile(self, plan: Plan, run: Run | None) -> pl.DataFrame:
        """
        Say what the query took.

        Parameters
        ----------
        plan
            The plan of the last step.
        run
            Its run, which is over.

        Returns
        -------
        polars.DataFrame
            For each step a row for each stage that ran by itself, from the sources up; those that were part of it are in
            ``fused``.
        """
        assert run is not None
        runs = [*self.runs, run]
        graph = StageGraph(run.roots, self.origins)
        for stage in (stage for item in reversed(self.runs) for stage in item.roots):
            if stage.token not in graph.numbers:  # it led to a plan that does not read it, and stands by itself
                graph = StageGraph([*graph.roots, stage], self.origins)
        rows = [
            _row(step, item, graph.numbers, records[token])
            for step, part in enumerate(runs, start=1)
            for records in [part.records()]
            for token, item in part.reporters.items()
        ]
        profile = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        _remember(profile, Ran(plan, graph, len(runs)))
        return profile


# What has run, by the ids of profiles, as long as these are there.
_ran: dict[int, Ran] = {}


def _remember(profile: pl.DataFrame, ran: Ran) -> None:
    _ran[id(profile)] = ran
    weakref.finalize(profile, _ran.pop, id(profile), None).atexit = False


def ran_of(profile: pl.DataFrame) -> Ran | None:
    """
    Say what has run, by a profile of it.

    Parameters
    ----------
    profile
        A profile, or a frame that was made of one.

    Returns
    -------
    Ran, optional
        None where nothing but what is in the frame is known.

    Raises
    ------
    ValueError
        Where the frame was made of a profile of several steps: of their plans nothing is known then.
    """
    if id(profile) not in _ran and profile["step"].n_unique() > 1:
        raise ValueError("the query ran in steps: show_graph needs the frame that profile() gave, as it is")
    return _ran.get(id(profile))


def _row(step: int, item: Reporter, numbers: Mapping[str, int], records: list[Record]) -> tuple[Any, ...]:
    stage = item.stage
    outputs = [record for record in records if "rows_out" in record]
    rows = sorted(record["rows_out"] for record in outputs)
    walls = sorted(record["wall"] for record in records)
    ran = bool(records)
    return (
        step,
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
