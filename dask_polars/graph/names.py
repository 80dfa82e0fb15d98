"""
Which stages have tasks of their own, and what their tasks are called.

Graphs of different queries meet on a cluster, and what one still holds the other may take. So a task may only be called
the same as another if it is the same: it computes the same, from the same, and the same is part of it. A stage that is
read once is part of the tasks that read it, which depends on the whole query: so names depend on it too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dask_polars.plan.stages import (
    CallStage,
    HeadStage,
    MapStage,
    Mode,
    ProduceStage,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Stage,
    walk_stages,
)

Key = Any


# What is broadcast is put together by each of its readers, where it is in up to so many pieces, or these are read by so few tasks
# that there are up to so many edges: a task for it alone would have all of them wait for one more round of messages.
_FEW = 4
_FEW_EDGES = 64


class Names:
    """
    The names of the tasks of a graph.

    Parameters
    ----------
    roots
        The stages whose partitions are wanted.
    """

    def __init__(self, roots: Sequence[Stage]) -> None:
        self._with_tasks = _stages_with_tasks(roots)
        self._ids: dict[str, str] = {}
        for stage in walk_stages(roots):
            self._ids[stage.token] = self._hash(stage)

    def has_tasks(self, stage: Stage) -> bool:
        """Say whether a stage is computed under its own name, and not as a part of other tasks."""
        return stage.token in self._with_tasks

    def id(self, stage: Stage) -> str:
        """Give the hash that is in the names of all tasks of a stage."""
        return self._ids[stage.token]

    def of(self, stage: Stage) -> str:
        """Give the name of the tasks of a stage."""
        return f"{stage.operation}-{self.id(stage)}"

    def keys(self, stage: Stage) -> list[Key]:
        """Give the keys of the partitions of a stage."""
        name = self.of(stage)
        return [(name, index) for index in range(stage.npartitions)]

    def inlined(self, top: Stage) -> list[Stage]:
        """
        List the stages that may be part of the tasks that compute a stage, each once.

        Parameters
        ----------
        top
            The stage, which is among them.

        Returns
        -------
        list of Stage
            In an order that depends on nothing but these stages.
        """
        found: dict[str, Stage] = {}
        waiting = [top]
        while waiting:
            stage = waiting.pop()
            if stage.token in found:
                continue
            found[stage.token] = stage
            # Rows that are shuffled, and those of a head, are computed by tasks of other names.
            if not isinstance(stage, (ShuffleStage, HeadStage)):
                waiting.extend(item for item in stage.inputs if is_read_again(item) or not self.has_tasks(item))
        return list(found.values())

    def _hash(self, stage: Stage) -> str:
        inputs = [(self.has_tasks(item), self.id(item)) for item in stage.inputs]
        text = repr((stage.token, stage.operation, inputs))
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:20]


def is_read_again(stage: Stage) -> bool:
    """Say whether a stage is read from its files by each of its readers, so that each reads only what it needs."""
    return isinstance(stage, ScanStage) or (isinstance(stage, ProduceStage) and stage.again)


def partition_keys(stage: Stage) -> list[Key]:
    """Give the keys of the partitions of a stage, where these are what a graph is for."""
    return Names([stage]).keys(stage)


def _stages_with_tasks(roots: Sequence[Stage]) -> set[str]:
    readers: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    named, gathers = set[str](), dict[str, int]()
    for stage in walk_stages(roots):
        # What is of one piece is no gather: its source may be part of it, and is to be computed once.
        if isinstance(stage, RegroupStage) and stage.npartitions == 1 and len(stage.groups[0]) > 1:
            gathers[stage.token] = len(stage.groups[0])
        for source, alone in _reads(stage):
            readers[source.token] += 1
            tasks[source.token] += stage.npartitions
            if not alone:
                named.add(source.token)
    named |= {token for token, count in readers.items() if count > 1}
    direct = {token for token, pieces in gathers.items() if pieces <= _FEW or pieces * tasks[token] <= _FEW_EDGES}
    return named - direct | {stage.token for stage in roots}


def _reads(stage: Stage) -> list[tuple[Stage, bool]]:
    """List the stages that a stage reads, and whether each of its partitions reads one partition, that no other reads."""
    if isinstance(stage, (MapStage, CallStage)):
        out = []
        for item in stage.sources:
            out.append((item.stage, item.mode is Mode.ALIGNED or stage.npartitions == 1))
            if item.scalars is not None:
                out.append((item.scalars, False))
        return out
    if isinstance(stage, RegroupStage):
        return [(source, _reads_alone(stage, number)) for number, source in enumerate(stage.sources)]
    # Where records begin is one frame, which all parts of a scan read.
    return [(source, not isinstance(stage, ScanStage)) for source in stage.inputs]


def _reads_alone(stage: RegroupStage, number: int) -> bool:
    """
    Say whether partitions of an input are passed on one by one, each once.

    What is put together is computed in parallel first, and what is passed on twice is computed once.
    """
    groups = [group for group in stage.groups if any(source == number for source, _ in group)]
    return all(len(group) == 1 for group in groups) and len(set(groups)) == len(groups)
