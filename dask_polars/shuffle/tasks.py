"""A shuffle made of ordinary tasks, for any Dask scheduler.

One split task per input and one gather task per output: O(inputs + outputs) tasks, as a gather task picks its own part
out of every split itself. So every output depends on every split, and on a distributed cluster a worker fetches whole
split results to read a part of them, which costs up to (inputs x workers) transfers of a split and keeps all of them
in memory. With more than about 32 inputs, or with data that does not fit in memory, use `dask_polars.shuffle.p2p` there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl
from dask._task_spec import GraphNode, Task, TaskRef
from dask.typing import Key
from distributed import get_worker

from dask_polars.measure import measured
from dask_polars.shuffle.encoding import from_bytes, iter_chunks, join_bytes, to_bytes
from dask_polars.shuffle.frames import SchemaLike, ShuffleError, as_planned, concat, group, validate

Graph: TypeAlias = dict[Key, GraphNode]


@dataclass(frozen=True)
class Split:
    """One input, split.

    Attributes
    ----------
    frames
        Output partition to its rows; only the outputs that have rows. On a worker of a cluster the rows are bytes
        already: what is sent is pickled on the event loop, where Polars must not run. With a pool of one thread it and
        a task that used Polars too were seen to wait for each other forever.
    heights
        Output partition to its number of rows, counted when the input was split.
    """

    frames: Mapping[int, pl.DataFrame | bytes]
    heights: Mapping[int, int]

    def __sizeof__(self) -> int:
        # Dask asks `sys.getsizeof` for objects that it does not know, and would see a few bytes.
        return object.__sizeof__(self) + sum(
            len(part) if isinstance(part, bytes) else int(part.estimated_size()) for part in self.frames.values()
        )

    def packed(self) -> Split:
        """Give the same with all rows as bytes."""
        return Split(
            {j: part if isinstance(part, bytes) else to_bytes(part) for j, part in self.frames.items()}, self.heights
        )

    def frame(self, j: int) -> pl.DataFrame:
        """Give the rows of an output partition that has some."""
        part = self.frames[j]
        return from_bytes(part) if isinstance(part, bytes) else part

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The parts are slices of one frame. Pickle of Polars writes some slices with all the buffers behind them.
        return Split, (dict(self.packed().frames), dict(self.heights))


def _on_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


def shuffle_layer(
    name: str, inputs: Sequence[Key | GraphNode | TaskRef], npartitions: int, schema: SchemaLike
) -> tuple[Graph, list[Key]]:
    """Tasks that shuffle frames by their partition column.

    Parameters
    ----------
    name
        Name of the outputs. Must be unique for these inputs.
    inputs
        Per input partition a key or a reference to a task, or a nested `Task`, which is then run inside the split task.
        What it gives is a frame with the partition column.
    npartitions
        Number of output partitions.
    schema
        Of the frames without the partition column.

    Returns
    -------
    tuple
        The tasks, and the keys `(name, j)` of the outputs. Rows of an output are in the order of (input partition,
        row of the input).

    Raises
    ------
    ValueError
        If there are no inputs or no outputs.
    """
    if not inputs or npartitions < 1:
        raise ValueError(f"shuffle {name!r} needs inputs and outputs, got {len(inputs)} and {npartitions}")
    columns = dict(schema)
    graph: Graph = {}
    for i, source in enumerate(inputs):
        frame = source if isinstance(source, GraphNode | TaskRef) else TaskRef(source)
        key: Key = (f"{name}-split", i)
        graph[key] = Task(key, split_partition, frame, name, i, npartitions, columns)
    refs = [TaskRef(key) for key in graph]
    outputs: list[Key] = [(name, j) for j in range(npartitions)]
    for j, key in enumerate(outputs):
        graph[key] = Task(key, gather_partition, name, j, columns, *refs)
    return graph, outputs


def split_partition(frame: pl.DataFrame, name: str, i: int, npartitions: int, schema: SchemaLike) -> Split:
    """Task: split an input.

    Parameters
    ----------
    frame
        Input with the partition column.
    name, i
        Name of the shuffle and number of the input, for messages.
    npartitions, schema
        As in `shuffle_layer`.

    Returns
    -------
    Split
    """
    with measured(name, i, part="in") as seen:
        out = _split_partition(frame, name, i, npartitions, schema)
        seen.note(rows_in=frame.height, shuffled=sys.getsizeof(out))
        return out


def _split_partition(frame: pl.DataFrame, name: str, i: int, npartitions: int, schema: SchemaLike) -> Split:
    frame = as_planned(frame, schema)
    validate(frame, schema, npartitions, f"shuffle {name!r}, input partition {i}")
    grouped = group(frame)
    heights = dict(grouped.heights)
    if sum(heights.values()) != frame.height:
        raise ShuffleError(
            f"shuffle {name!r}, input partition {i}: {frame.height} rows in, {sum(heights.values())} rows split"
        )
    if not _on_worker():
        return Split(grouped.parts(), heights)
    chunks = iter_chunks(memoryview(join_bytes(grouped.rows, list(heights.values()))))
    return Split({j: bytes(chunk) for j, chunk in zip(heights, chunks, strict=True)}, heights)


def gather_partition(name: str, j: int, schema: SchemaLike, *splits: Split) -> pl.DataFrame:
    """Task: put an output together from its part of every split.

    Parameters
    ----------
    name, j
        Name of the shuffle and number of the output.
    schema
        Of the output.
    *splits
        All inputs in their order.

    Returns
    -------
    pl.DataFrame

    Raises
    ------
    ShuffleError
        If rows are missing or are too many.
    """
    expected = sum(part.heights.get(j, 0) for part in splits)
    with measured(name, j, part="out") as seen:
        frame = concat([part.frame(j) for part in splits if j in part.frames], schema)
        if frame.height != expected:
            raise ShuffleError(f"shuffle {name!r}, output partition {j}: {expected} rows in, {frame.height} rows out")
        return seen.gave(frame)
