"""
Decisions that are made again when a query runs, once it is known how much there is of something.

While a query is planned, a stage whose size is a guess, and a bad one would lead to another plan, becomes a *question*; the plan
goes on with the guess. Where a query can run in steps (:mod:`dask_polars.steps`), such stages run first, what they give is
kept, and the query is planned again with what is known of it then::

    join <- shuffle <- filter <- scan         becomes   join <- broadcast <- partitions that are there already
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.kernels import size_of
from dask_polars.plan.planner import DOUBT_ALLOWED, Planner
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    Input,
    KeyStage,
    MapStage,
    Mode,
    ScanStage,
    Size,
    Stage,
    walk_stages,
)

# How many times above a limit something could be thought to be, and be below it in truth.
PLAUSIBLE = 100

SIZES: Mapping[str, pl.DataType] = {"rows": pl.UInt64(), "bytes": pl.UInt64()}


@dataclass(frozen=True)
class Question:
    """
    What would be known if a stage had run.

    Parameters
    ----------
    stage
        The stage.
    about
        What is to be decided, for people.
    """

    stage: Stage
    about: str


def is_guess(stage: Stage) -> bool:
    """Say whether it is a guess how many rows a stage gives: it filters, joins or groups, or is a function of the user's."""
    if isinstance(stage, KeyStage):
        return not stage.size.exact
    if isinstance(stage, MapStage) and len(stage.sources) == 1 and stage.sources[0].mode is Mode.ALIGNED:
        source = stage.sources[0].stage
        return stage.size.rows != source.size.rows or is_guess(source)
    return not isinstance(stage, (ScanStage, FrameStage))


def could_be_below(size: Size, limit: float) -> bool:
    """Say whether something that is thought to be above a limit, or may be far above it, could well be below it."""
    above = size.bytes > limit or size.most > DOUBT_ALLOWED * limit
    return above and size.bytes <= PLAUSIBLE * limit


def open_questions(roots: Sequence[Stage], asked: Sequence[Question]) -> tuple[Question, ...]:
    """
    Give those of some questions that are about a part of a plan.

    Parameters
    ----------
    roots
        The stages that give the results of the plan.
    asked
        What was asked while it was made: some of it for plans that were not taken.

    Returns
    -------
    tuple of Question
        One for each stage; those of a result are none, as there is nothing to decide above it.
    """
    found = {question.stage.token: question for question in asked}
    results = {root.token for root in roots}
    inside = [stage.token for stage in walk_stages(roots) if stage.token not in results]
    return tuple(found[token] for token in inside if token in found)


def first_of(questions: Sequence[Question]) -> list[Stage]:
    """Give the stages that do not depend on the outcome of another question."""
    asked = {question.stage.token for question in questions}
    return [
        question.stage
        for question in questions
        if sum(stage.token in asked for stage in walk_stages([question.stage])) == 1
    ]


def sizes_of(planner: Planner, stage: Stage) -> Stage:
    """Give a stage of one partition, with a row for each partition of another: how much there is in it."""
    sizes = CallStage(
        operation="sizes",
        schema=SIZES,
        npartitions=stage.npartitions,
        size=Size.guess(stage.npartitions, SIZES, exact=True),
        function=size_of,
        sources=(Input(stage),),
    )
    return planner.gather(sizes)


def kept_stage(stage: Stage, sizes: pl.DataFrame, graph: Mapping[Any, Any], keys: Sequence[Any]) -> KeyStage:
    """
    Give a stage that has run.

    Parameters
    ----------
    stage
        The stage as it was planned.
    sizes
        How much there is in each of its partitions.
    graph
        What holds the partitions.
    keys
        Their keys.

    Returns
    -------
    KeyStage
        With its true size. What is known of where its rows are is still true.
    """
    rows, size = sizes["rows"].sum(), sizes["bytes"].sum()
    return KeyStage(
        operation=stage.operation,
        schema=stage.schema,
        npartitions=stage.npartitions,
        size=Size(float(rows), float(size), exact=True),
        placement=stage.placement,
        distinct=stage.distinct,
        graph=graph,
        keys=tuple(keys),
    )
