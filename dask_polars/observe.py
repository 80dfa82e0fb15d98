"""A run as the client sees it: which stages report, what they have reported, and how that gets here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dask

from dask_polars import measure
from dask_polars.graph.build import is_read_again
from dask_polars.graph.names import Names
from dask_polars.measure import LocalChannel, Record
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
    Stage,
)
from dask_polars.stage_graph import StageGraph


@dataclass
class Reporter:
    """
    A stage that runs by itself, with the stages that are part of what it runs.

    Parameters
    ----------
    stage
        The stage.
    expected
        How many records it sends, if all of it runs.
    fused
        The stages that are part of it, from the top down.
    """

    stage: Stage
    expected: int
    fused: list[Stage] = field(default_factory=list)


def reporters(roots: Sequence[Stage]) -> dict[str, Reporter]:
    """
    Say which stages of a plan run by themselves: the others are part of what their readers run.

    Parameters
    ----------
    roots
        The stages whose partitions are wanted.

    Returns
    -------
    dict
        By the tokens of the stages, sources first.
    """
    names = Names(roots)
    found: dict[str, Reporter] = {}
    seen: set[tuple[str, str | None]] = set()

    def visit(stage: Stage, reader: Reporter | None) -> None:
        """Visit what is read: by a reader that makes it a part of what it runs, if that can be."""
        part = reader is not None and (is_read_again(stage) or not names.has_tasks(stage))
        if not part:
            reader = None
        spot = (stage.token, reader.stage.token if reader is not None else None)
        if spot in seen:
            return
        seen.add(spot)
        if not _passes_on(stage) and not (reader is not None and _waits(stage)):
            reader = Reporter(stage, _expected(stage))
            own: Reporter | None = reader
        else:
            own = None
            if reader is not None and not _passes_on(stage):
                reader.fused.append(stage)
        for below, as_part in _below(stage):
            visit(below, reader if as_part else None)
        if own is not None and own.expected:
            found.setdefault(stage.token, own)

    for root in roots:
        visit(root, None)
    return found


def _waits(stage: Stage) -> bool:
    """Say whether it can be a part of what its reader runs."""
    if isinstance(stage, ReduceStage):
        return False
    return isinstance(stage, (ScanStage, ProduceStage, MapStage, RegroupStage)) or (
        isinstance(stage, CallStage) and stage.lazy
    )


def _passes_on(stage: Stage) -> bool:
    """Say whether partitions go through it as they are."""
    return isinstance(stage, RegroupStage) and all(len(group) == 1 for group in stage.groups)


def _expected(stage: Stage) -> int:
    if isinstance(stage, (FrameStage, KeyStage)):
        return 0
    if isinstance(stage, ShuffleStage):
        return stage.source.npartitions + stage.npartitions
    if isinstance(stage, HeadStage):
        return stage.source.npartitions
    if isinstance(stage, RegroupStage):
        return sum(len(group) > 1 for group in stage.groups)
    return stage.npartitions


def _below(stage: Stage) -> Iterator[tuple[Stage, bool]]:
    """List what a stage reads, and whether that can be a part of what it runs."""
    if isinstance(stage, (MapStage, CallStage)):
        for item in stage.sources:
            yield item.stage, True
            if item.scalars is not None:
                yield item.scalars, False
    else:
        for below in stage.inputs:
            yield below, isinstance(stage, HeadStage) or _passes_on(stage)


class Run:
    """
    A run of some stages.

    Parameters
    ----------
    roots
        The stages whose partitions are wanted.
    within
        The results of the plan that they are a part of, where they run before the rest: they have the numbers of that.
    """

    def __init__(self, roots: Sequence[Stage], within: Sequence[Stage] = ()) -> None:
        self.id = uuid.uuid4().hex
        self.roots = tuple(roots)
        self.numbers = StageGraph(within or roots).numbers
        self.reporters = reporters(roots)
        self.started = time.perf_counter()
        self.directory = ""
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str, int], Record] = {}
        names = Names(roots)
        self._tokens: dict[str, str] = {names.id(item.stage): token for token, item in self.reporters.items()}

    def take(self, record: Record) -> None:
        """Take what a task reports; of a task that runs again, the last counts."""
        stage: str = record["stage"]
        token = self._tokens.get(stage, stage)
        with self._lock:
            self._records[token, record["part"], record["index"]] = record

    def records(self) -> dict[str, list[Record]]:
        """
        Give what was reported up to now.

        Returns
        -------
        dict
            By the tokens of the stages.
        """
        out: dict[str, list[Record]] = {token: [] for token in self.reporters}
        with self._lock:
            for (token, _, _), record in self._records.items():
                out.setdefault(token, []).append(record)
        return out

    def read_files(self) -> None:
        """Take what other processes of a local scheduler have left."""
        for path in Path(self.directory).glob("*.jsonl") if self.directory else ():
            whole, _, _ = path.read_text().rpartition("\n")
            for line in whole.splitlines():
                self.take(json.loads(line))


# ---------------------------------------------------------------- where reports come from

_RUNS: weakref.WeakKeyDictionary[Any, dict[str, Run]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def on_cluster(client: Any, run: Run) -> Iterator[None]:
    """Have the tasks that are submitted in this block measured, and take what they report."""
    runs = _RUNS.setdefault(client, {})
    runs[run.id] = run
    client.subscribe_topic(measure.TOPIC, functools.partial(_handle, weakref.ref(client)))
    try:
        with dask.annotate(**{measure.TOPIC: run.id}):
            yield
    finally:
        del runs[run.id]
        if not runs:
            client.unsubscribe_topic(measure.TOPIC)


def _handle(client: Any, event: tuple[float, Mapping[str, Any]]) -> None:
    _, message = event
    run = _RUNS.get(client(), {}).get(message.get("run", ""))
    if run is not None:
        run.take({key: value for key, value in message.items() if key != "run"})


@contextlib.contextmanager
def in_process(get: Any, run: Run) -> Iterator[Any]:
    """Give a function that runs a graph as another one does, with its tasks measured."""
    run.directory = tempfile.mkdtemp(prefix="dask-polars-run-")
    channel = LocalChannel(run.id, os.getpid(), run.directory)
    measure.takers[run.id] = run.take

    def measured_get(graph: Any, keys: Any, **options: Any) -> Any:
        tasks = graph if isinstance(graph, Mapping) else graph.__dask_graph__()
        return get(measure.in_run(tasks, channel), keys, **options)

    try:
        yield measured_get
        run.read_files()
    finally:
        del measure.takers[run.id]
        shutil.rmtree(run.directory, ignore_errors=True)
        run.directory = ""


@contextlib.contextmanager
def observed(target: Any, roots: Sequence[Stage], within: Sequence[Stage] = ()) -> Iterator[tuple[Any, Run]]:
    """
    Observe what runs in this block.

    Parameters
    ----------
    target : Target
        Where it runs; not Polars alone.
    roots, within
        The stages whose partitions are wanted, and the results of the plan that they are a part of.

    Yields
    ------
    tuple
        The target to run it on, and the run.
    """
    run = Run(roots, within)
    if target.client is not None:
        with on_cluster(target.client, run):
            yield target, run
    else:
        with in_process(target.get, run) as get:
            yield replace(target, get=get), run
