"""
What is measured of tasks while they run, and how it gets to the client.

Nothing is measured unless somebody asked: a task finds out by its *channel*. On a cluster that is an annotation of the
task, and what was measured travels with the messages that the worker sends anyway. In this process it is a variable of
the context that the task runs in.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from dask._task_spec import GraphNode, Task

#: The topic of the log of a scheduler, and the annotation of tasks, which says for which run it is measured.
TOPIC = "dask-polars"

Record = dict[str, Any]


class Channel(Protocol):
    """Takes what was measured."""

    def send(self, record: Record) -> None:
        """Send what was measured to the client."""


# ---------------------------------------------------------------- channels


@dataclass(frozen=True)
class LocalChannel:
    """
    To a run in this process, from its threads or from processes that it has started.

    Parameters
    ----------
    run
        The id of the run.
    process
        The process of the client.
    directory
        Where other processes leave what they measure.
    """

    run: str
    process: int
    directory: str

    def send(self, record: Record) -> None:
        if os.getpid() != self.process:
            with Path(self.directory, f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
        elif (take := takers.get(self.run)) is not None:
            take(record)


@dataclass(frozen=True)
class WorkerChannel:
    """From a worker of a cluster, through the log of its scheduler."""

    run: str
    worker: Any

    def send(self, record: Record) -> None:
        self.worker.log_event(TOPIC, {"run": self.run, **record})


#: What takes the records of the runs of this process, by their ids.
takers: dict[str, Callable[[Record], None]] = {}

_local: ContextVar[LocalChannel | None] = ContextVar("dask_polars_channel", default=None)


class InRun(GraphNode):
    """
    A task of a graph that is measured.

    Parameters
    ----------
    node
        The task.
    channel
        Where to.
    """

    __slots__ = ("channel", "node")

    def __init__(self, node: GraphNode, channel: LocalChannel) -> None:
        self.key, self._dependencies = node.key, node.dependencies
        self.node, self.channel = node, channel

    def __call__(self, values: Any = ()) -> Any:
        token = _local.set(self.channel)
        try:
            return self.node(values)
        finally:
            _local.reset(token)

    def __reduce__(self) -> tuple[Any, ...]:
        return (InRun, (self.node, self.channel))


def _worker() -> Any:
    """Give the worker of a cluster that the running task is on; None where there is none."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def on_worker() -> bool:
    """Say whether this runs in a task on a worker of a cluster."""
    return _worker() is not None


def _channel() -> Channel | None:
    local = _local.get()
    if local is not None:
        return local
    worker = _worker()
    if worker is None:
        return None
    task = worker.state.tasks.get(worker.get_current_task())
    run = ((task.annotations if task is not None else None) or {}).get(TOPIC)
    return None if run is None else WorkerChannel(run, worker)


# ---------------------------------------------------------------- counters of the process


class Shares:
    """
    A counter of the whole process, spread equally over those who run at the same time.

    Parameters
    ----------
    read
        Gives the counter.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._running, self._last, self._share = 0, 0.0, 0.0

    def begin(self) -> float:
        """Give where the share of one who begins to run starts."""
        return self._moved(1)

    def end(self) -> float:
        """Give where it ends: the difference is his share."""
        return self._moved(-1)

    def _moved(self, change: int) -> float:
        with self._lock:
            now = self._read()
            if self._running:
                self._share += (now - self._last) / self._running
            self._last = now
            self._running += change
            return self._share


def _bytes_read() -> float:
    """Give the bytes that this process has read from files; 0 where the system does not count them."""
    try:
        with open("/proc/self/io", "rb") as file:
            return float(file.readline().split()[1])  # rchar: what was asked for, be it in the cache of the system
    except OSError:
        return 0.0


_cpu = Shares(time.process_time)
_reads = Shares(_bytes_read)

# What each worker had written to its disk when it was last asked, for the runs it was asked for.
_spilled: weakref.WeakKeyDictionary[Any, dict[str, float]] = weakref.WeakKeyDictionary()


def _newly_spilled(channel: Channel) -> float:
    """Give the bytes that a worker has spilled since it was last asked in this run."""
    if not isinstance(channel, WorkerChannel):
        return 0.0
    written = getattr(channel.worker.data, "cumulative_metrics", {}).get(("disk-write", "bytes"), 0.0)
    before = _spilled.setdefault(channel.worker, {})
    new = written - before.pop(channel.run, written)
    before[channel.run] = written
    if len(before) > 16:
        before.pop(next(iter(before)))
    return new


# ---------------------------------------------------------------- measuring


class Seen:
    """What is seen of a task while it is measured."""

    def __init__(self) -> None:
        self.record: Record = {}

    def note(self, **values: Any) -> None:
        """Note numbers."""
        self.record.update(values)

    def gave(self, out: Any) -> Any:
        """Note the size of what a task gives, and give it."""
        if isinstance(out, pl.DataFrame):
            self.note(rows_out=out.height, bytes_out=int(out.estimated_size()))
        return out


class _Blind(Seen):
    """Sees nothing."""

    def note(self, **values: Any) -> None:
        pass

    def gave(self, out: Any) -> Any:
        return out


_BLIND = _Blind()


@contextmanager
def measured(label: str, index: int, *, part: str = "", reads: bool = False) -> Iterator[Seen]:
    """
    Measure a part of a task, where it was asked for.

    Parameters
    ----------
    label
        The name of the tasks of a stage; its last word, a hash, says which stage it is.
    index
        The number of the partition.
    part
        Which of several parts of the work on a partition it is.
    reads
        Whether it reads files.

    Yields
    ------
    Seen
        Takes what else there is to be said.
    """
    channel = _channel()
    if channel is None:
        yield _BLIND
        return
    seen = Seen()
    spilled = _newly_spilled(channel)
    read = _reads.begin() if reads else 0.0
    cpu, start = _cpu.begin(), time.perf_counter()
    try:
        yield seen
    finally:
        wall, cpu = time.perf_counter() - start, _cpu.end() - cpu
        read = _reads.end() - read if reads else 0.0
    spilled += _newly_spilled(channel)
    record = {"stage": label.rpartition("-")[2], "index": index, "part": part, "wall": wall, "cpu": cpu}
    channel.send({**record, "spilled": int(spilled), "bytes_read": int(read), **seen.record})


def in_run(graph: Mapping[Any, Any], channel: LocalChannel) -> dict[Any, Any]:
    """
    Have the tasks of a graph measured.

    Parameters
    ----------
    graph
        A graph.
    channel
        Where to.

    Returns
    -------
    dict
    """
    return {key: InRun(node, channel) if isinstance(node, Task) else node for key, node in graph.items()}
