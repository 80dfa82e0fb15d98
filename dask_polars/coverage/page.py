"""
The page with every public method of Polars, and how it runs.

Each example of ``methods.py`` is planned over many partitions, for sizes at which nothing fits into one; how it runs is read
off the stages of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from dask_polars.coverage.methods import NOT_OPERATIONS, Method, operations
from dask_polars.coverage.reasons import FALLBACKS
from dask_polars.coverage.tables import NPARTITIONS, Tables, small_and_large, tables
from dask_polars.coverage.words import steps
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.stages import (
    CallStage,
    HeadStage,
    Input,
    MapStage,
    Mode,
    RegroupStage,
    ShuffleStage,
    Stage,
    walk_stages,
)

__all__ = ["Classified", "classes", "classify", "fallbacks", "page"]

# Operations of stages whose results are a few rows for each partition, which all the others may need.
_CARRIED = ("carry-summary", "count-rows")
_WRITTEN = ("write", "stage")
_FINISHING = {"partial", "combine"}

_INTRODUCTION = """\
# How each method runs

This page is made by the code (`python -m dask_polars.coverage docs/coverage.md`), and a test compares it with the code. For each
public method of the installed Polars ({version}) an example is planned over {npartitions} partitions, for sizes at which nothing
fits into one partition, and what the plan does is read off its stages. Arguments can make a difference: the
[table in the README](../README.md#what-is-distributed-and-how) has more cases. Any expression may be used in `group_by(…).agg(…)`
and with `over(…)`: what does not run in parts there runs behind a shuffle by the keys, as a whole for each group.

| | |
|---|---|
| fragment | in each partition by itself, as a part of Polars' plan |
| tree | a partial result of each partition, and these put together |
| shuffle | rows move between partitions: by the hash of keys, by ranges of keys, or back into their order |
| broadcast | something small goes to all partitions: the smaller side of a join, samples, or a value beside every row |
| carried | a few values of each partition, as sums or numbers of rows, are carried over to the others |
| overlap | partitions get rows of their neighbours |
| head | as few partitions as it takes are computed |
| pairs | partitions of two sides meet in pairs |
| written | each partition is written where it is |
| gathered | a part of the work that is small, or that has to be done at once, is done in one partition |
| fallback | all rows are gathered to one partition, and there is a warning; the reasons are [below](#fallbacks) |
| — | no operation on rows |
"""


@dataclass(frozen=True)
class Classified:
    """
    How a method runs.

    Parameters
    ----------
    method
        Which.
    large, small
        Its classes where much data is moved, and where little is.
    steps
        What its plan does, in words, where much data is moved.
    reasons
        Why it is gathered to one partition; empty where it is distributed.
    """

    method: Method
    large: tuple[str, ...]
    small: tuple[str, ...]
    steps: str
    reasons: tuple[str, ...]


def classes(plan: Plan) -> tuple[str, ...]:
    """
    Say how a plan runs, by the kinds of its exchanges.

    Parameters
    ----------
    plan
        A plan.

    Returns
    -------
    tuple of str
        Each kind once, in the order in which they run; only ``"fallback"`` where something is gathered with a warning.
    """
    if plan.fallbacks:
        return ("fallback",)
    found = dict.fromkeys(kind for stage in walk_stages(plan.roots) for kind in _kinds(stage))
    # What is gathered for these are parts of a few rows.
    if found.keys() & {"tree", "carried", "overlap", "broadcast", "written", "shuffle"}:
        found.pop("gathered", None)
    if found.keys() & {"carried", "overlap", "shuffle"}:
        found.pop("broadcast", None)
    return tuple(found) or ("fragment",)


def _kinds(stage: Stage) -> Iterator[str]:
    if isinstance(stage, ShuffleStage):
        yield "overlap" if stage.kind == "context" else "shuffle"
    elif isinstance(stage, HeadStage):
        if not stage.counts:
            yield "head"
    elif isinstance(stage, RegroupStage):
        yield from _kinds_of_regroup(stage)
    elif stage.operation in _CARRIED:
        yield "carried"
    elif stage.operation == "edges":
        yield "overlap"
    elif stage.operation in _WRITTEN:
        yield "written"
    elif isinstance(stage, (MapStage, CallStage)) and stage.npartitions > 1 and any(map(_is_broadcast, stage.sources)):
        yield "broadcast"


def _is_broadcast(item: Input) -> bool:
    return item.mode is Mode.BROADCAST or item.scalars is not None


def _kinds_of_regroup(stage: RegroupStage) -> Iterator[str]:
    below = {source.operation.rsplit("-", 1)[-1] for source in stage.sources}
    if stage.operation == "repeat":
        yield "pairs"
    elif any(len(group) > 1 for group in stage.groups) and stage.operation != "reports":
        yield "tree" if below <= _FINISHING else "gathered"


def classify() -> list[Classified]:
    """
    Plan the example of each method, and say how it runs.

    Returns
    -------
    list of Classified
    """
    with tables() as inputs:
        return [_classified(method, inputs) for method in operations()]


def _classified(method: Method, inputs: Tables) -> Classified:
    query = method.query(inputs).to_polars()
    few, many = small_and_large()
    large = plan_queries([query], many)
    # An expression has one input, of which nothing is small enough to be treated otherwise.
    small = large if method.owner == "Expr" else plan_queries([query], few)
    reasons = tuple(dict.fromkeys(item.reason for item in large.fallbacks))
    return Classified(method, classes(large), classes(small), steps(large), reasons)


def fallbacks(found: Sequence[Classified]) -> list[Classified]:
    """Pick what is gathered to one partition."""
    return [item for item in found if item.reasons]


def page(found: Sequence[Classified] | None = None) -> str:
    """
    Write the page.

    Parameters
    ----------
    found
        What :func:`classify` gave; by default it is asked.

    Returns
    -------
    str
        Markdown.
    """
    found = classify() if found is None else found
    parts = [_INTRODUCTION.format(version=pl.__version__, npartitions=NPARTITIONS)]
    parts += [_section(owner, found) for owner in ("LazyFrame", "LazyGroupBy", "Expr")]
    return "\n".join([*parts, _reasons(found)])


def _section(owner: str, found: Sequence[Classified]) -> str:
    rows = {item.method.name: _row(item) for item in found if item.method.owner == owner}
    rows |= {name: f"| `{name}` | — | {text} |" for name, text in NOT_OPERATIONS[owner].items()}
    names = sorted(rows, key=lambda name: ("." in name, name))
    title = "LazyGroupBy" if owner == "LazyGroupBy" else f"pl.{owner}"
    lines = [f"## {title}", "", "| method | how it runs | what its plan does |", "|---|---|---|"]
    return "\n".join([*lines, *(rows[name] for name in names), ""])


def _row(item: Classified) -> str:
    name, how = item.method.name, ", ".join(item.large)
    if item.large == ("fallback",):
        return f"| `{name}` | [fallback](#fallbacks) | {'; '.join(item.reasons)} |"
    if item.small != item.large:
        how += f"; with little data: {', '.join(item.small)}"
    return f"| `{name}` | {how} | {item.steps} |"


def _reasons(found: Sequence[Classified]) -> str:
    grouped: dict[str, list[str]] = {}
    for item in fallbacks(found):
        name = f"{item.method.owner}.{item.method.name}"
        grouped.setdefault(FALLBACKS[name], []).append(f"`{name}`")
    lines = ["## Fallbacks", "", "All rows are gathered to one partition for:", "", "| methods | why |", "|---|---|"]
    return "\n".join([*lines, *(f"| {', '.join(names)} | {why} |" for why, names in grouped.items()), ""])
