"""A peer-to-peer shuffle of Polars frames on the shuffle service of `distributed`.

What runs where, for every input partition ``i``, worker ``w`` and output partition ``j``::

    transfer i ── one payload per w ──► w appends each shard to the file of its j ──► barrier ──► unpack j
                                                                                      (all transfers are done)

The payload of (i, w) is ``(i, announced, shards)``: ints and bytes only, because `distributed` measures and pickles it.
`announced` holds the rows that go to each output of `w`, zeros too; `shards` the frames of those that have any, as bytes
of `encoding.join_bytes`. Each input sends a payload to each worker, even without rows: so an unpack knows that it has
seen every input, and that it reads from disk just the rows that the inputs have announced.

The sender encodes each shard once, the receiver moves bytes only and never decodes them. A worker of the same machine that
sees the files of the sender gets no bytes, but is told in which file of the sender they are (`handover`).

**Two shuffles in one task** (a join) want that task on the worker that has its partition, and these may be two
workers: the workers are picked when a shuffle starts, and another set of them may have been there. `distributed` would
then move the task to and fro forever. Here the first shuffle of a task decides where it runs, and the partitions of the
others are read from the workers that have them. `pick_worker` gives the same worker to the same partition as long as
the workers do not change, so that this stays the exception.

**Where outputs run** is told to the scheduler by the barrier. `distributed` has each output run anywhere, and move if that was the
wrong worker: there it waits behind outputs that are at their place already, while the right worker has nothing to do.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import polars as pl
from dask._task_spec import GraphNode, Task, TaskRef
from dask.typing import Key
from distributed import get_worker
from distributed.metrics import context_meter
from distributed.shuffle._core import (
    P2PBarrierTask,
    ShuffleId,
    ShuffleSpec,
    barrier_key,
    get_worker_plugin,
    handle_transfer_errors,
    handle_unpack_errors,
    p2p_barrier,
)
from distributed.utils import sync

from dask_polars.measure import Seen, measured
from dask_polars.shuffle.encoding import Compression
from dask_polars.shuffle.frames import SchemaLike, ShuffleError
from dask_polars.shuffle.run import PolarsShuffleRun, result_of

Graph: TypeAlias = dict[Key, GraphNode]
#: Output partition in the tables of the scheduler. The id of the shuffle keeps the scheduler from aligning shuffles
#: that share tasks: it fails when three of them are in conflict, and here they need not be aligned.
PartitionId: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class PolarsShuffleSpec(ShuffleSpec[PartitionId]):
    """What the scheduler must know of a shuffle; see `distributed.shuffle._core.ShuffleSpec`.

    Attributes
    ----------
    npartitions
        Number of output partitions.
    ninputs
        Number of input partitions.
    schema
        Of the frames without the partition column.
    compression
        Of the shards.
    """

    npartitions: int
    ninputs: int
    schema: SchemaLike
    compression: Compression = "lz4"

    @property
    def output_partitions(self) -> Generator[PartitionId]:  # type: ignore[type-var,misc,unused-ignore]
        """Ids of the output partitions."""
        for j in range(self.npartitions):
            yield (self.id, j)

    def pick_worker(self, partition: PartitionId, workers: Sequence[str]) -> str:
        """Pick the worker of an output partition, in contiguous ranges.

        Parameters
        ----------
        partition
            Id of the output partition.
        workers
            Addresses in any order: the scheduler rotates them from one shuffle to the next.

        Returns
        -------
        str
            Depends on the number of the partition, their count, and the set of workers only.
        """
        return sorted(workers)[len(workers) * partition[1] // self.npartitions]

    def create_run_on_worker(
        self, run_id: int, span_id: str | None, worker_for: dict[PartitionId, str], plugin: Any
    ) -> PolarsShuffleRun:
        """Create the run of a worker; on its event loop, so nothing heavy here."""
        worker = plugin.worker
        return PolarsShuffleRun(
            spec=self,
            worker_for={j: address for (_, j), address in worker_for.items()},
            id=self.id,
            run_id=run_id,
            span_id=span_id,
            local_address=worker.address,
            directory=os.path.join(worker.local_directory, f"shuffle-{self.id}-{run_id}"),
            executor=plugin._executor,
            rpc=worker.rpc,
            digest_metric=worker.digest_metric,
            scheduler=worker.scheduler,
            memory_limiter_disk=plugin.memory_limiter_disk,
            memory_limiter_comms=plugin.memory_limiter_comms,
            disk=self.disk,
            loop=worker.loop,
        )


def shuffle_layer(
    name: str,
    token: str,
    inputs: Sequence[TaskRef | Task],
    npartitions: int,
    schema: SchemaLike,
    *,
    compression: Compression = "lz4",
) -> tuple[Graph, list[Key]]:
    """Tasks that shuffle frames by their partition column, with one unpack task per output.

    Parameters
    ----------
    name
        Name of the outputs.
    token
        Identifies the shuffle on the cluster: unique for these inputs.
    inputs
        Per input partition a reference, or a nested `Task` that is then run inside the transfer task. What it gives is
        a frame with the partition column.
    npartitions
        Number of output partitions.
    schema
        Of the frames without the partition column.
    compression
        Of the shards, on the network and on disk.

    Returns
    -------
    tuple
        The tasks, and the keys `(f"{name}-{token}", j)` of the outputs. Rows of an output are in the order of (input
        partition, row of the input).

    Raises
    ------
    ValueError
        If there are no inputs or no outputs.
    """
    graph, barrier = transfer_layer(name, token, inputs, npartitions, schema, compression=compression)
    outputs: list[Key] = [(f"{name}-{token}", j) for j in range(npartitions)]
    for j, key in enumerate(outputs):
        graph[key] = unpack_task(key, token, j, barrier)
    return graph, outputs


def transfer_layer(
    name: str,
    token: str,
    inputs: Sequence[TaskRef | Task],
    npartitions: int,
    schema: SchemaLike,
    *,
    compression: Compression = "lz4",
) -> tuple[Graph, TaskRef]:
    """The tasks of a shuffle up to its barrier, for a caller that puts `unpack_task` into tasks of its own.

    Parameters
    ----------
    name, token, inputs, npartitions, schema, compression
        As in `shuffle_layer`.

    Returns
    -------
    tuple
        The tasks, and the reference to the barrier. The key of the barrier must stay what it is.

    Raises
    ------
    ValueError
        If there are no inputs or no outputs.
    """
    if not inputs or npartitions < 1:
        raise ValueError(f"P2P shuffle {name!r} needs inputs and outputs, got {len(inputs)} and {npartitions}")
    shuffle_id = ShuffleId(token)
    graph: Graph = {}
    for i, source in enumerate(inputs):
        key: Key = (f"{name}-transfer-{token}", i)
        reads = isinstance(source, Task) and source.data_producer
        graph[key] = Task(key, transfer, source, shuffle_id, i, _data_producer=reads)
    refs = [TaskRef(key) for key in graph]
    # Shards are always on disk: from memory they could be read only once, and a task that runs again would lose rows.
    spec = PolarsShuffleSpec(
        id=shuffle_id,
        disk=True,
        npartitions=npartitions,
        ninputs=len(inputs),
        schema=dict(schema),
        compression=compression,
    )
    barrier = P2PBarrierTask(barrier_key(shuffle_id), reach_barrier, shuffle_id, *refs, spec=spec)
    graph[barrier.key] = barrier
    return graph, TaskRef(barrier.key)


def unpack_task(key: Key | None, token: str, j: int, barrier: TaskRef) -> Task:
    """The task that reads an output partition.

    Parameters
    ----------
    key
        None for a task that is nested as an argument of another task, which may nest unpacks of several shuffles.
    token
        The shuffle.
    j
        Output partition.
    barrier
        From `transfer_layer`.

    Returns
    -------
    Task
    """
    return Task(key, unpack, ShuffleId(token), j, barrier)


def transfer(frame: pl.DataFrame, shuffle_id: ShuffleId, input_partition: int) -> int:
    """Task: send the rows of an input to the workers of their output partitions.

    Parameters
    ----------
    frame
        Input with the partition column.
    shuffle_id
        The shuffle.
    input_partition
        Number of the input.

    Returns
    -------
    int
        Id of the run, for the barrier.
    """
    with measured(shuffle_id, input_partition, part="in") as seen, handle_transfer_errors(shuffle_id):
        try:
            with context_meter.add_callback(partial(_note_sent, seen)):
                seen.note(rows_in=frame.height)
                return get_worker_plugin().add_partition(frame, input_partition, shuffle_id)
        except (ShuffleError, TypeError) as error:
            failure = error
    # Out of reach of the handler, which hides what went wrong in a RuntimeError.
    raise failure


def _note_sent(seen: Seen, label: Hashable, value: float, unit: str) -> None:
    if label == "p2p-shards" and unit == "bytes":
        seen.note(shuffled=int(value))


def reach_barrier(shuffle_id: ShuffleId, *run_ids: int) -> int:
    """Task: wait until all that was sent has arrived, and settle where the outputs run.

    Parameters
    ----------
    shuffle_id
        The shuffle.
    *run_ids
        Results of the transfers.

    Returns
    -------
    int
        Id of the run, for the unpacks.
    """
    run_id = p2p_barrier(shuffle_id, *run_ids)
    worker = get_worker()
    call = partial(
        worker.scheduler.run_function,
        function=pickle.dumps(_settle_outputs),
        args=pickle.dumps((shuffle_id, run_id)),
        wait=True,
    )
    result_of(sync(worker.loop, call))
    return run_id


def _settle_outputs(shuffle_id: ShuffleId, run_id: int, dask_scheduler: Any) -> None:
    """Runs on the scheduler: what reads an output runs on the worker of that output."""
    plugin = dask_scheduler.plugins["shuffle"]
    state = plugin.active_shuffles.get(shuffle_id)
    if state is None or state.run_id != run_id:  # it starts again, or nobody wants it any more
        return
    for task in dask_scheduler.tasks[barrier_key(shuffle_id)].dependents:
        j = _unpacked(task.run_spec, shuffle_id)
        if j is not None:
            plugin.restrict_task(shuffle_id, run_id, task.key, state.run_spec.worker_for[shuffle_id, j])


def _unpacked(node: Any, shuffle_id: ShuffleId) -> int | None:
    """Find the output that a task reads, be it in a task inside of it; one of them, if it reads several."""
    stack = [node]
    while stack:
        task = stack.pop()
        if not isinstance(task, Task):
            continue
        if task.func is unpack and task.args[0] == shuffle_id:
            output: int = task.args[1]
            return output
        stack += [*task.args, *task.kwargs.values()]
    return None


def unpack(shuffle_id: ShuffleId, output_partition: int, run_id: int) -> pl.DataFrame:
    """Task: read an output partition, after the barrier.

    Parameters
    ----------
    shuffle_id
        The shuffle.
    output_partition
        Number of the output.
    run_id
        Result of the barrier.

    Returns
    -------
    pl.DataFrame
    """
    with measured(shuffle_id, output_partition, part="out") as seen, handle_unpack_errors(shuffle_id):
        try:
            return seen.gave(get_worker_plugin().get_output_partition(shuffle_id, run_id, output_partition))
        except ShuffleError as error:
            failure = error
    raise failure
