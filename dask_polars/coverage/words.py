"""From plans to words: what the stages of a plan do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from dask_polars.plan import Plan
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    HeadStage,
    Input,
    MapStage,
    Mode,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Stage,
    walk_stages,
)

__all__ = ["steps"]

_SHUFFLES = {
    "hash": "hash shuffle",
    "range": "range shuffle",
    "order": "shuffle back into row order",
    "context": "rows that other partitions need, sent there",
}
# What stages of these operations do, in words. The rest only prepares an exchange or finishes after one.
_STEPS = {
    "record-starts": "quotes counted",
    "sort-sample": "sample of the keys",
    "quantile-sample": "sample of the values",
    "count-rows": "row counts",
    "with-position": "row positions",
    "map-partitions": "in each partition",
    "quantile-pick": "values of the range of a rank",
    "write": "each partition written",
    "commit": "files put into place",
    "stage": "each partition staged",
    "merge": "streamed into one file",
    "repeat": "partitions of both sides in pairs",
    "carry-summary": "summary of each partition",
    "edges": "edges of each partition",
}


def _inputs(stage: Stage) -> Sequence[Input]:
    return stage.sources if isinstance(stage, (MapStage, CallStage)) else ()


def _step_of(stage: Stage) -> Iterator[str]:
    """Say what moves into a stage, and what it does that the user should know of."""
    if isinstance(stage, ScanStage):
        yield _scan_text(stage)
    elif isinstance(stage, ShuffleStage):
        yield _SHUFFLES[stage.kind]
    elif isinstance(stage, HeadStage):
        yield "as few partitions as it takes"
    elif isinstance(stage, RegroupStage):
        yield from _regroup_text(stage)
    elif isinstance(stage, MapStage) and not stage.sources and stage.operation != "literal":
        yield "read by one task"
    for item in _inputs(stage):
        if item.scalars is not None:
            yield "broadcast of one row"
        if item.mode is Mode.BROADCAST and stage.npartitions > 1 and stage.operation not in ("write", "stage"):
            yield "broadcast of the smaller side" if stage.operation in ("join-broadcast", "join-asof") else "broadcast"
    if isinstance(stage, MapStage) and stage.fallback:
        yield "**one partition**"
    elif stage.operation.endswith("-partial"):
        yield "partial result of each partition"
    elif stage.operation in _STEPS:
        yield _STEPS[stage.operation]


def _scan_text(stage: ScanStage) -> str:
    if stage.npartitions < stage.nfiles:
        return "small files grouped"
    if stage.npartitions == stage.nfiles:
        return "a partition for each file"
    cuts = {"scan-parquet": "by row groups", "scan-ipc": "by record batches"}
    return f"files split {cuts.get(stage.operation, 'at line ends')}"


def _regroup_text(stage: RegroupStage) -> Iterator[str]:
    if stage.operation == "reports":
        return  # of a few bytes
    joined = any(len(group) > 1 for group in stage.groups)
    below = {source.operation.rsplit("-", 1)[-1] for source in stage.sources}
    if joined and below <= {"partial", "combine"}:
        yield "tree"
    elif joined:
        yield "gather" if stage.npartitions == 1 else "neighbours together"
    elif len(stage.sources) > 1:
        yield "partitions side by side"


def steps(plan: Plan) -> str:
    """
    Say in words how a plan runs.

    Parameters
    ----------
    plan
        A plan.

    Returns
    -------
    str
        Its exchanges in the order in which they run.
    """
    if isinstance(plan.roots[0], FrameStage):
        return "slices of the frame"
    found: Iterable[str] = (text for stage in walk_stages(plan.roots) for text in _step_of(stage))
    out: list[str] = []
    for text, run in itertools.groupby(found):
        if text.startswith("broadcast") and out and out[-1] == "gather":
            out.pop()  # what is broadcast is gathered first
        count = len(list(run))
        out.append(f"{text} of both sides" if "shuffle" in text and count == 2 else text)
    return " → ".join(out) or "in each partition"
