"""The shuffle made of tasks, on every scheduler."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import dask
import dask.threaded
import polars as pl
import pytest
from dask._task_spec import Task, TaskRef
from polars.testing import assert_frame_equal

from dask_polars.shuffle.frames import PARTITION_COLUMN, ShuffleError
from dask_polars.shuffle.tasks import Split, gather_partition, shuffle_layer, split_partition
from tests.shuffle.test_frames import EVERY_DTYPE, with_partition

SCHEMA = {"i": pl.Int64(), "row": pl.Int64(), "text": pl.String()}


def produce(i: int, height: int, npartitions: int) -> pl.DataFrame:
    """An input; its rows say where they come from."""
    row = pl.int_range(height, eager=True).alias("row")
    partition = (row * 7 + i) % npartitions
    return pl.DataFrame(
        [
            pl.repeat(i, height, dtype=pl.Int64, eager=True).alias("i"),
            row,
            pl.select(pl.format("text of row {}", row)).to_series().alias("text"),
            partition.cast(pl.UInt32).alias(PARTITION_COLUMN),
        ]
    )


def expected_outputs(frames: list[pl.DataFrame], npartitions: int) -> list[pl.DataFrame]:
    """What a shuffle must give, by filters."""
    everything = pl.concat(frames)
    return [everything.filter(pl.col(PARTITION_COLUMN) == j).drop(PARTITION_COLUMN) for j in range(npartitions)]


def assert_outputs(found: Any, frames: list[pl.DataFrame], npartitions: int) -> None:
    """Compare all outputs."""
    assert len(found) == npartitions
    for one, expected in zip(found, expected_outputs(frames, npartitions), strict=True):
        assert_frame_equal(one, expected, categorical_as_str=True)


@pytest.mark.parametrize("get", [dask.get, dask.threaded.get])
@pytest.mark.parametrize(("heights", "npartitions"), [([50, 0, 30], 4), ([0, 0], 3), ([3], 20), ([10] * 12, 1)])
def test_right_rows_in_order(get: Any, heights: list[int], npartitions: int) -> None:
    inputs = [Task(None, produce, i, height, npartitions) for i, height in enumerate(heights)]
    graph, keys = shuffle_layer("s", inputs, npartitions, SCHEMA)
    assert len(graph) == len(heights) + npartitions
    frames = [produce(i, height, npartitions) for i, height in enumerate(heights)]
    assert_outputs(get(graph, keys), frames, npartitions)


def test_inputs_by_key_and_reference() -> None:
    graph, keys = shuffle_layer("s", [("in", 0), TaskRef(("in", 1))], 3, SCHEMA)
    for i in range(2):
        graph["in", i] = Task(("in", i), produce, i, 20, 3)
    assert_outputs(dask.get(graph, keys), [produce(i, 20, 3) for i in range(2)], 3)


def test_every_dtype_and_zero_width() -> None:
    frames = [with_partition(EVERY_DTYPE, [1, 0, 1, 2]), with_partition(EVERY_DTYPE, [0, 0, 2, 2])]
    graph, keys = shuffle_layer("s", ["a", "b"], 4, EVERY_DTYPE.schema)
    for key, frame in zip("ab", frames, strict=True):
        graph[key] = Task(key, pl.DataFrame.clone, frame)
    assert_outputs(dask.get(graph, keys), frames, 4)

    narrow = with_partition(pl.DataFrame(height=3), [1, 0, 1])
    graph, keys = shuffle_layer("s", [Task(None, pl.DataFrame.clone, narrow)] * 2, 3, {})
    assert [frame.shape for frame in dask.get(graph, keys)] == [(2, 0), (4, 0), (0, 0)]


@pytest.mark.parametrize(("ninputs", "npartitions"), [(0, 3), (3, 0)])
def test_nothing_to_shuffle(ninputs: int, npartitions: int) -> None:
    with pytest.raises(ValueError, match="needs inputs and outputs"):
        shuffle_layer("s", ["x"] * ninputs, npartitions, SCHEMA)


def test_lost_rows_are_an_error() -> None:
    part = split_partition(produce(0, 20, 2), "s", 0, 2, SCHEMA)
    cut = Split({**part.frames, 1: part.frames[1][:-1]}, part.heights)
    gather_partition("s", 0, SCHEMA, part, cut)
    with pytest.raises(ShuffleError, match="shuffle 's', output partition 1: 20 rows in, 19 rows out"):
        gather_partition("s", 1, SCHEMA, part, cut)
    with pytest.raises(ShuffleError, match="shuffle 's', input partition 5: a row goes to output partition 1"):
        split_partition(produce(0, 20, 2), "s", 5, 1, SCHEMA)


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_split_pickles_and_has_a_size(protocol: int) -> None:
    part = split_partition(produce(0, 2000, 2), "s", 0, 2, SCHEMA)
    assert sys.getsizeof(part) > 2000 * 16
    found = pickle.loads(pickle.dumps(part, protocol))
    assert found.heights == part.heights
    for j in range(2):
        assert_frame_equal(found.frame(j), part.frame(j))


@pytest.mark.cluster
def test_a_split_is_bytes_on_a_worker(client: Any) -> None:
    """Polars must not run on the event loop of a worker, which pickles what is sent."""
    part = client.submit(lambda: split_partition(produce(0, 20, 2), "s", 0, 2, SCHEMA)).result()
    assert all(isinstance(rows, bytes) for rows in part.frames.values())
    assert sys.getsizeof(part) > sum(map(len, part.frames.values()))


@pytest.mark.cluster
def test_on_a_cluster(client: Any) -> None:
    inputs = [Task(None, produce, i, 100, 6) for i in range(5)]
    graph, keys = shuffle_layer("tasks-on-cluster", inputs, 6, SCHEMA)
    assert_outputs(client.get(graph, keys), [produce(i, 100, 6) for i in range(5)], 6)
