"""
From stages to Dask tasks.

A stage that is read once, partition by partition, has no tasks of its own: it becomes part of the tasks that read it.
What is read by several, or as a whole, is computed once under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import getitem
from typing import Any

from dask._task_spec import DataNode, GraphNode, Task, TaskRef
from dask.tokenize import tokenize

from dask_polars.graph import worker
from dask_polars.graph.foreign import with_dependencies
from dask_polars.graph.names import Names, is_read_again
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    HeadStage,
    Input,
    KeyStage,
    MapStage,
    Mode,
    ProduceStage,
    ReduceStage,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Stage,
)
from dask_polars.shuffle import p2p, tasks

Key = Any
Operand = Any  # a reference to a task, or a task to be made part of another


def build_graph(roots: Sequence[Stage], *, p2p_shuffle: bool) -> tuple[dict[Key, Any], list[list[Key]]]:
    """
    Make the tasks of some stages.

    Parameters
    ----------
    roots
        The stages whose partitions are wanted.
    p2p_shuffle
        Whether rows are shuffled from worker to worker, which needs a distributed cluster, or by tasks.

    Returns
    -------
    tuple
        The graph, and for each root the keys of its partitions.
    """
    builder = Builder(p2p_shuffle, Names(roots))
    keys = [[builder.key(stage, index) for index in range(stage.npartitions)] for stage in roots]
    return builder.graph, keys


@dataclass
class Builder:
    """Makes tasks, those of a stage when they are first asked for."""

    p2p_shuffle: bool
    names: Names
    graph: dict[Key, Any] = field(default_factory=dict)
    _operands: dict[tuple[str, int], Operand] = field(default_factory=dict)
    _shuffles: dict[str, list[Operand]] = field(default_factory=dict)
    _places: dict[Key, Mapping[str, int]] = field(default_factory=dict)
    _reader: tuple[str, Stage, Stage] | None = None

    # ------------------------------------------------------------ what other tasks refer to

    def key(self, stage: Stage, index: int) -> Key:
        """Give the key of a task that computes a partition."""
        operand = self.frame(stage, index)
        if isinstance(operand, TaskRef):
            return operand.key
        key = (self.names.of(stage), index)
        self.graph[key] = _renamed(_task(worker.run, stage.name, index, operand), key)
        return key

    def frame(self, stage: Stage, index: int) -> Operand:
        """Give what computes a partition, under its own name where the stage has one."""
        if not self.names.has_tasks(stage) or isinstance(stage, (FrameStage, KeyStage)):
            return self.inline(stage, index, run=True)
        spot = (stage.token, index)
        if spot not in self._operands:
            key = (self.names.of(stage), index)
            with self.tasks_of(stage.operation, stage, stage):
                node = self.inline(stage, index, run=True)
            if isinstance(node, Task):
                self.graph[key] = _renamed(node, key)
                node = TaskRef(key)
            self._operands[spot] = node
        return self._operands[spot]

    def operand(self, stage: Stage, index: int) -> Operand:
        """Give what stands for a partition in a fragment; it need not have run."""
        if is_read_again(stage) or not self.names.has_tasks(stage):
            return self.inline(stage, index, run=False)
        return self.frame(stage, index)

    def inline(self, stage: Stage, index: int, *, run: bool) -> Operand:
        """Make the task of a partition, to be part of another or to be given a key."""
        return _EMIT[type(stage)](self, stage, index, run)

    # ------------------------------------------------------------ one method for each kind of stage

    def emit_scan(self, stage: ScanStage, index: int, run: bool) -> Operand:
        part = stage.parts[index]
        scan = self.shared(stage)
        cloud = self._cloud(stage)
        if stage.starts is None or part.share is None:
            task = Task(None, worker.scan_part, scan, part, *cloud, _data_producer=True)
        else:
            starts = self.frame(stage.starts, 0)
            task = Task(None, worker.scan_part, scan, part, *(cloud or (None,)), starts, _data_producer=True)
        return _task(worker.run, stage.name, index, task) if run else task

    def emit_frame(self, stage: FrameStage, index: int, run: bool) -> Operand:
        key = (self.names.of(stage), index)
        self.graph[key] = DataNode(key, stage.frames[index])
        return TaskRef(key)

    def emit_keys(self, stage: KeyStage, index: int, run: bool) -> Operand:
        self.graph.update(stage.graph)
        return TaskRef(stage.keys[index])

    def emit_produce(self, stage: ProduceStage, index: int, run: bool) -> Operand:
        item = stage.items[index]
        taken = [value.key for value in item if isinstance(value, TaskRef) and value.key not in self.graph]
        self.graph.update(with_dependencies(stage.graph, taken))
        function = self.shared(stage)
        of_others = any(isinstance(value, TaskRef) for value in item)
        task = Task(None, worker.produce, stage.name, index, function, *item, _data_producer=not of_others)
        return _task(worker.run, stage.name, index, task) if run else task

    def emit_map(self, stage: MapStage, index: int, run: bool) -> Operand:
        template = self.shared(stage)
        frames = [self.source(item, index) for item in stage.sources]
        if run:
            return _task(worker.run_fragment, stage.name, index, template, *frames)
        return _task(worker.bind_fragment, template, *frames)

    def emit_reduce(self, stage: ReduceStage, index: int, run: bool) -> Operand:
        (item,) = stage.sources
        return _task(worker.reduce, stage.name, index, self.shared(stage), self.source(item, index))

    def emit_call(self, stage: CallStage, index: int, run: bool) -> Operand:
        arguments = (index, *stage.arguments) if stage.indexed else stage.arguments
        frames = [self.source(item, index) for item in stage.sources]
        if stage.lazy:
            task = _task(worker.call_lazily, stage.function, arguments, *frames)
            return _task(worker.run, stage.name, index, task) if run else task
        if stage.streams:
            return _task(worker.call_streaming, stage.name, index, stage.function, arguments, *frames)
        return _task(worker.call, stage.name, index, stage.function, arguments, *frames)

    def emit_regroup(self, stage: RegroupStage, index: int, run: bool) -> Operand:
        group = stage.groups[index]
        if len(group) == 1:
            ((source, part),) = group
            below = stage.sources[source]
            return self.frame(below, part) if run else self.operand(below, part)
        frames = [self.frame(stage.sources[source], part) for source, part in group]
        if run:
            return Task(None, worker.put_together, stage.name, index, *frames)
        return Task(None, worker.concat, *frames)

    def emit_shuffle(self, stage: ShuffleStage, index: int, run: bool) -> Operand:
        if stage.token not in self._shuffles:
            self._shuffles[stage.token] = self._shuffle(stage)
        return self._shuffles[stage.token][index]

    def emit_head(self, stage: HeadStage, index: int, run: bool) -> Operand:
        before: list[Operand] = []
        done, width, wave = 0, stage.width, 0
        wanted = stage.source.npartitions if stage.counts else stage.rows
        while done < stage.source.npartitions:
            parts = range(done, min(done + width, stage.source.npartitions))
            refs = [self._head_part(stage, part, before) for part in parts]
            task = Task(None, worker.head_of, wanted, *before, *refs)
            # What was thought to be enough was not, but may be nearly so.
            done, width = parts.stop, max(1, width // 4) if wave == 0 and width > 1 else width * 2
            if done == stage.source.npartitions:
                return task
            key = (f"{stage.operation}-wave-{self.names.id(stage)}", wave)
            self.graph[key] = _renamed(task, key)
            before, wave = [TaskRef(key)], wave + 1
        raise AssertionError("a stage has at least one partition")

    def _head_part(self, stage: HeadStage, part: int, before: Sequence[Operand]) -> Operand:
        key = (f"{stage.operation}-part-{self.names.id(stage)}", part)
        with self.tasks_of(f"{stage.operation}-part", stage, stage.source):
            operand = self.operand(stage.source, part)
        work = worker.count_part if stage.counts else worker.head_part
        self.graph[key] = _renamed(_task(work, stage.name, part, stage.rows, operand, *before), key)
        return TaskRef(key)

    # ------------------------------------------------------------ parts of tasks

    def source(self, item: Input, index: int) -> Operand:
        """Give what stands for an input in the task of a partition."""
        operand = self.operand(item.stage, index if item.mode is Mode.ALIGNED else 0)
        if item.scalars is None:
            return operand
        return _task(worker.beside_scalars, operand, self.frame(item.scalars, 0))

    @contextmanager
    def tasks_of(self, name: str, stage: Stage, top: Stage) -> Iterator[None]:
        """
        Make tasks that are called after a stage: what they share is theirs.

        Parameters
        ----------
        name
            Begins the names of these tasks.
        stage
            The stage that they are called after.
        top
            What they compute: that stage, or what is below it.
        """
        before, self._reader = self._reader, (name, stage, top)
        try:
            yield
        finally:
            self._reader = before

    def shared(self, stage: Stage) -> Operand:
        """Give what all tasks of a stage share: it travels once to each worker, not once with each task."""
        value = _SHARED[type(stage)](stage)
        if not _is_shared(stage):
            return value
        assert self._reader is not None
        name, reader, top = self._reader
        # Of one prefix, which is one line on the dashboard, where one for each stage would hide those of the work.
        key = f"fragments-{tokenize(name, self.names.id(reader))[:20]}"
        if key not in self._places:
            # All of it, whichever partitions are wanted: equal keys stand for equal values.
            found = [item for item in self.names.inlined(top) if _is_shared(item)]
            self.graph[key] = DataNode(key, tuple(_SHARED[type(item)](item) for item in found))
            self._places[key] = {item.token: place for place, item in enumerate(found)}
        return Task(None, getitem, TaskRef(key), self._places[key][stage.token])

    def _cloud(self, stage: ScanStage) -> tuple[Operand, ...]:
        """Give how an object store is reached: once for all scans that reach it in the same way."""
        if stage.cloud is None:
            return ()
        key = f"object-store-{stage.cloud.token}"
        self.graph[key] = DataNode(key, stage.cloud)
        return (TaskRef(key),)

    def _shuffle(self, stage: ShuffleStage) -> list[Operand]:
        with self.tasks_of(f"{stage.operation}-transfer", stage, stage.source):
            sent = [self.frame(stage.source, index) for index in range(stage.source.npartitions)]
        count = stage.npartitions
        if not self.p2p_shuffle:
            layer, keys = tasks.shuffle_layer(self.names.of(stage), sent, count, stage.schema)
            self.graph.update(layer)
            return [TaskRef(key) for key in keys]
        shuffle_id = self.names.id(stage)
        layer, barrier = p2p.transfer_layer(stage.operation, shuffle_id, sent, count, stage.schema)
        self.graph.update(layer)
        return [p2p.unpack_task(None, shuffle_id, index, barrier) for index in range(count)]


_EMIT: Mapping[type[Stage], Callable[..., Operand]] = {
    ScanStage: Builder.emit_scan,
    FrameStage: Builder.emit_frame,
    KeyStage: Builder.emit_keys,
    ProduceStage: Builder.emit_produce,
    MapStage: Builder.emit_map,
    ReduceStage: Builder.emit_reduce,
    CallStage: Builder.emit_call,
    RegroupStage: Builder.emit_regroup,
    ShuffleStage: Builder.emit_shuffle,
    HeadStage: Builder.emit_head,
}


# What the tasks of a stage share.
_SHARED: Mapping[type[Stage], Callable[..., Any]] = {
    ScanStage: lambda stage: stage.scan,
    ProduceStage: lambda stage: stage.function,
    MapStage: lambda stage: stage.template,
    ReduceStage: lambda stage: (stage.template, stage.each, stage.keys, stage.read),
}


# Up to so many tasks have what they share in themselves: a task that only holds it would cost more than a second copy.
_FEW = 2


def _is_shared(stage: Stage) -> bool:
    """Say whether the tasks of a stage share something that is a task of its own."""
    return type(stage) in _SHARED and stage.npartitions > _FEW


def _task(function: Callable[..., Any], *arguments: Any) -> Task:
    """
    Make a task that has no key yet.

    Where files are read in it, or a function gives what no other task does, it runs on whichever worker has the least to
    do. Dask would otherwise look for the workers that hold some of its inputs; these are templates and what is broadcast, so
    that all tasks would go to one worker.
    """
    reads = any(isinstance(item, Task) and item.data_producer for item in arguments)
    return Task(None, function, *arguments, _data_producer=reads)


def _renamed(node: GraphNode, key: Key) -> GraphNode:
    """Give a task its key."""
    assert isinstance(node, Task)
    return Task(key, node.func, *node.args, _data_producer=node.data_producer, **node.kwargs)
