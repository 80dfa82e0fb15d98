"""
Rows that are read twice: once for what has to be known of all of them first, and once for themselves.

Counting rows before they are numbered, sampling keys before rows are sorted, a mean before rows are compared with it.
Where a partition comes straight from files or frames it is read again, and only the columns that are needed are, unless
filters leave so little of it that keeping costs nothing; otherwise it is computed once and kept, since to compute it again
could mean another shuffle, and other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.config import Options
from dask_polars.dsl.leaves import SOURCE, decode_with_sources
from dask_polars.dsl.nodes import Node
from dask_polars.errors import PlanDecodeError
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import find_region, simplify
from dask_polars.plan.sources import source_stage
from dask_polars.plan.stages import FrameStage, Input, MapStage, ProduceStage, ScanStage, Stage, walk_stages


def is_cheap(stage: Stage) -> bool:
    """Say whether partitions come straight from files or frames, row by row."""
    if isinstance(stage, MapStage):
        return len(stage.sources) == 1 and stage.sources[0].scalars is None and is_cheap(stage.sources[0].stage)
    return isinstance(stage, (ScanStage, FrameStage)) or (isinstance(stage, ProduceStage) and stage.again)


# What is kept of what was read from files is at most this part of it.
_MOST_KEPT = 0.5


def reads_again(planner: Planner, stage: Stage) -> bool:
    """
    Say whether what several want of a stage is read again for each, and not computed once and kept.

    Parameters
    ----------
    planner
        The planner.
    stage
        The stage.

    Returns
    -------
    bool
    """
    if not is_cheap(stage):
        return False
    scanned = sum(below.size.bytes for below in walk_stages([stage]) if isinstance(below, ScanStage))
    return not (planner.is_small(stage.size) and stage.size.bytes <= _MOST_KEPT * scanned)


def cut_of(stage: Stage) -> Any:
    """Say how what a stage reads is cut into partitions."""
    if isinstance(stage, MapStage):
        return cut_of(stage.sources[0].stage)
    return stage.parts if isinstance(stage, ScanStage) else stage.token


def leaf_kind(lf: pl.LazyFrame) -> str | None:
    """
    Name the kind of leaf that a query reads row by row, in the order of its rows.

    Parameters
    ----------
    lf
        The query.

    Returns
    -------
    str, or None
        The kind of node, as ``"Scan"``; None if the query does more than that, or if it is not known what it does.
    """
    try:
        root = decode_with_sources(lf)
    except (PlanDecodeError, pl.exceptions.ComputeError):
        return None
    planner = Planner(Options.current())
    core = find_region(simplify(root, planner.schema), planner.schema).core
    return None if core.inputs else core.kind


@dataclass(frozen=True)
class StageSource:
    """A stage as a leaf of a plan: what is planned on top of it reads this very stage."""

    stage: Stage

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        return self.stage.schema

    @property
    def token(self) -> str:
        return f"stage-{self.stage.token}"

    def lazy(self) -> pl.LazyFrame:
        return pl.LazyFrame(schema=self.stage.schema)


@source_stage.register
def _stage_of(source: StageSource, planner: Planner) -> Stage:
    return source.stage


def kept(planner: Planner, node: Node) -> Node:
    """
    Give rows in such a way that several can read them.

    Parameters
    ----------
    planner
        The planner.
    node
        The rows.

    Returns
    -------
    Node
        The node itself where reading its rows again is cheap, otherwise a leaf over the stage that computes them.
    """
    stage = planner.lower(node)
    return node if reads_again(planner, stage) else Node(SOURCE, {"source": StageSource(stage)})


def per_partition(
    planner: Planner,
    operation: str,
    build: Callable[[Sequence[Node]], Node],
    node: Node,
    rows: Stage,
    **facts: Any,
) -> Stage:
    """
    Compute something of each partition of rows that are read otherwise too.

    Parameters
    ----------
    planner
        The planner.
    operation
        The name of the tasks.
    build
        Builds the fragment over the rows.
    node
        The rows, as a plan.
    rows
        The stage of this plan.
    **facts
        What is known of the outcome.

    Returns
    -------
    Stage
        With as many partitions as the rows have.
    """
    schema = planner.schema(node)
    if is_cheap(rows):
        (needed,) = planner.push_down(build, [node])
        again = planner.lower(needed)
        if cut_of(again) == cut_of(rows):
            rows = again
    return planner.fragment(operation, build, [Input(rows)], [schema], **facts)
