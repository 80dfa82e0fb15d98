"""The distributed plan, for people."""

from __future__ import annotations

import io
from collections.abc import Iterator

import polars as pl
from dask.utils import format_bytes

from dask_polars.plan import Plan
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    HeadStage,
    KeyStage,
    MapStage,
    ProduceStage,
    ReduceStage,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Size,
    Stage,
)
from dask_polars.stage_graph import StageGraph


def explain_plan(plan: Plan, *, fragments: bool = True) -> str:
    """
    Write a plan down.

    Parameters
    ----------
    plan
        The plan.
    fragments
        Whether to show what Polars runs in each stage.

    Returns
    -------
    str
        Stages from the result down, with their partitions and estimated sizes; exchanges with what moves and why; and
        what is gathered to one partition.
    """
    graph = StageGraph(plan.roots)
    seen: set[str] = set()
    lines: list[str] = []
    for root in plan.roots:
        lines.extend(_stage_lines(root, 0, graph, seen, fragments))
    return "\n".join([*lines, *_notes(plan, graph)])


def explain_tree(plan: Plan, graph: StageGraph | None = None) -> str:
    """
    Write a plan down as a tree, without what Polars runs in each stage.

    Parameters
    ----------
    plan
        The plan.
    graph
        What has run, where it is more than the plan: the steps before it, too.

    Returns
    -------
    str
    """
    graph = graph or StageGraph(plan.roots)
    seen: set[str] = set()
    lines: list[str] = []

    def visit(stage: Stage, how: str, first: str, rest: str) -> None:
        lead = f"{first}{how + ': ' if how else ''}[{graph.numbers[stage.token]}] "
        if stage.token in seen:
            lines.append(f"{lead}{stage.operation} (as above)")
            return
        seen.add(stage.token)
        lines.append(f"{lead}{title(stage)}  {partitions_text(stage)}")
        below = list(graph.inputs(stage))
        for place, (item, item_how) in enumerate(below, start=1):
            last = place == len(below)
            visit(item, item_how, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    for root in graph.roots:
        visit(graph.origin(root), "", "", "")
    return "\n".join([*lines, *_notes(plan, graph)])


def _notes(plan: Plan, graph: StageGraph) -> Iterator[str]:
    if plan.questions:
        yield ""
        yield "Decided again when it runs on the cluster:"
        yield from (f"  - {item.about}: [{graph.numbers[item.stage.token]}] runs first" for item in plan.questions)
    if plan.fallbacks:
        yield ""
        yield "Gathered to one partition:"
        yield from (f"  - {item}" for item in plan.fallbacks)


def _stage_lines(stage: Stage, depth: int, graph: StageGraph, seen: set[str], fragments: bool) -> Iterator[str]:
    pad, number = "  " * depth, graph.numbers[stage.token]
    if stage.token in seen:
        yield f"{pad}[{number}] {stage.operation} (as above)"
        return
    seen.add(stage.token)
    yield f"{pad}[{number}] {title(stage)}  {partitions_text(stage)}"
    if isinstance(stage, MapStage) and fragments:
        for line in fragment_text(stage).splitlines():
            yield f"{pad}    | {line}"
    for below, how in graph.inputs(stage):
        if how:
            yield f"{pad}  {how}:"
        yield from _stage_lines(below, depth + (2 if how else 1), graph, seen, fragments)


def partitions_text(stage: Stage) -> str:
    """Say how many partitions a stage has, and what they are thought to hold."""
    noun = "partition" if stage.npartitions == 1 else "partitions"
    return f"{stage.npartitions} {noun}, {size_text(stage.size)}"


def size_text(size: Size) -> str:
    """Write a size: exact, or as the estimate that it is."""
    about = "" if size.exact else "~"
    return f"{about}{round(size.rows):,} rows, ~{format_bytes(int(size.bytes))}"


def title(stage: Stage) -> str:
    """Say what a stage does."""
    if isinstance(stage, ShuffleStage):
        return f"SHUFFLE ({stage.kind}) by {', '.join(stage.keys)}  {stage.operation}"
    if isinstance(stage, RegroupStage):
        gathers = len(stage.groups) == 1 and len(stage.groups[0]) > 1
        return "GATHER" if gathers else stage.operation.upper()
    if isinstance(stage, HeadStage):
        return f"HEAD {stage.rows}  as few partitions as it takes"
    if isinstance(stage, ScanStage):
        what = stage.note or f"{stage.nfiles} file{'s' * (stage.nfiles != 1)}"
        if stage.placement is not None:
            what += f", cut at values of {stage.placement.columns[0]}"
        return f"SCAN {stage.operation.removeprefix('scan-')}  {what}"
    if isinstance(stage, FrameStage):
        return "FRAME in memory"
    if isinstance(stage, ProduceStage):
        return f"CALL {stage.operation}"
    if isinstance(stage, KeyStage):
        return "PARTITIONS of another graph"
    if isinstance(stage, MapStage) and stage.fallback:
        return f"{stage.operation}  (not distributed: {stage.fallback})"
    if isinstance(stage, ReduceStage):
        return f"{stage.operation}  unless nearly each row has keys of its own"
    if isinstance(stage, CallStage) and stage.note:
        return f"{stage.operation}  {stage.note}"
    return stage.operation


def fragment_text(stage: MapStage) -> str:
    """Give Polars' own account of what runs on a partition."""
    plan = pl.LazyFrame.deserialize(io.BytesIO(stage.template)).explain(engine="in-memory")
    return plan
