"""The distributed plan, for people."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import polars as pl
from dask.utils import format_bytes

from dask_polars.plan import Plan
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    HeadStage,
    KeyStage,
    MapStage,
    Mode,
    ProduceStage,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Size,
    Stage,
)


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
    numbers: dict[str, int] = {}
    lines: list[str] = []
    for root in plan.roots:
        lines.extend(_stage_lines(root, 0, numbers, fragments))
    return "\n".join([*lines, *_notes(plan)])


def explain_tree(plan: Plan) -> str:
    """
    Write a plan down as a tree, without what Polars runs in each stage.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    str
    """
    numbers = numbered(plan.roots)
    seen: set[str] = set()
    lines: list[str] = []

    def visit(stage: Stage, how: str, first: str, rest: str) -> None:
        lead = f"{first}{how + ': ' if how else ''}[{numbers[stage.token]}] "
        if stage.token in seen:
            lines.append(f"{lead}{stage.operation} (as above)")
            return
        seen.add(stage.token)
        lines.append(f"{lead}{title(stage)}  {partitions_text(stage)}")
        below = list(inputs_of(stage))
        for place, (item, item_how) in enumerate(below, start=1):
            last = place == len(below)
            visit(item, item_how, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    for root in plan.roots:
        visit(root, "", "", "")
    return "\n".join([*lines, *_notes(plan)])


def _notes(plan: Plan) -> Iterator[str]:
    if plan.questions:
        yield ""
        yield "Decided again when it runs on the cluster:"
        numbers = numbered(plan.roots)
        yield from (f"  - {item.about}: [{numbers[item.stage.token]}] runs first" for item in plan.questions)
    if plan.fallbacks:
        yield ""
        yield "Gathered to one partition:"
        yield from (f"  - {item}" for item in plan.fallbacks)


def numbered(roots: Sequence[Stage]) -> dict[str, int]:
    """
    Number the stages of a plan, as they are numbered where it is shown.

    Parameters
    ----------
    roots
        The stages that give the results.

    Returns
    -------
    dict
        By the tokens of the stages.
    """
    numbers: dict[str, int] = {}

    def visit(stage: Stage) -> None:
        if stage.token not in numbers:
            numbers[stage.token] = len(numbers) + 1
            for below, _ in inputs_of(stage):
                visit(below)

    for root in roots:
        visit(root)
    return numbers


def _stage_lines(stage: Stage, depth: int, numbers: dict[str, int], fragments: bool) -> Iterator[str]:
    pad = "  " * depth
    if stage.token in numbers:
        yield f"{pad}[{numbers[stage.token]}] {stage.operation} (as above)"
        return
    numbers[stage.token] = len(numbers) + 1
    yield f"{pad}[{numbers[stage.token]}] {title(stage)}  {partitions_text(stage)}"
    if isinstance(stage, MapStage) and fragments:
        for line in fragment_text(stage).splitlines():
            yield f"{pad}    | {line}"
    for below, how in inputs_of(stage):
        if how:
            yield f"{pad}  {how}:"
        yield from _stage_lines(below, depth + (2 if how else 1), numbers, fragments)


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
        what = stage.note or f"{stage.nfiles} files"
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
    if isinstance(stage, CallStage) and stage.note:
        return f"{stage.operation}  {stage.note}"
    return stage.operation


def inputs_of(stage: Stage) -> Iterator[tuple[Stage, str]]:
    """List what a stage reads, and how it gets there, where it is not partition by partition."""
    if isinstance(stage, (MapStage, CallStage)):
        for item in stage.sources:
            yield item.stage, "broadcast" if item.mode is Mode.BROADCAST and stage.npartitions > 1 else ""
            if item.scalars is not None:
                yield item.scalars, "broadcast, one row"
    else:
        for below in stage.inputs:
            yield below, ""


def fragment_text(stage: MapStage) -> str:
    """Give Polars' own account of what runs on a partition."""
    plan = pl.LazyFrame.deserialize(io.BytesIO(stage.template)).explain(engine="in-memory")
    return plan
