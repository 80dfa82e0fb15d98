"""The peer-to-peer shuffle on a cluster of two workers."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from dask._task_spec import Task, TaskRef
from dask.sizeof import sizeof
from distributed.shuffle._core import P2PBarrierTask, ShuffleId, _mean_shard_size

from dask_polars.shuffle import handover
from dask_polars.shuffle import run as shuffle_run
from dask_polars.shuffle.encoding import iter_bytes, to_bytes
from dask_polars.shuffle.frames import PARTITION_COLUMN, ShuffleError
from dask_polars.shuffle.p2p import PolarsShuffleSpec, shuffle_layer, transfer_layer, unpack_task
from dask_polars.shuffle.run import PolarsShuffleRun, Stored
from tests.shuffle.test_frames import EVERY_DTYPE, with_partition
from tests.shuffle.test_tasks import SCHEMA, assert_outputs, produce

_count = itertools.count()


def token() -> str:
    """A new id of a shuffle."""
    return f"test-{os.getpid()}-{next(_count)}"


def inputs_of(heights: Sequence[int], npartitions: int, first: int = 0) -> list[Task]:
    """Producers that are run inside the transfer tasks."""
    return [Task(None, produce, first + i, height, npartitions) for i, height in enumerate(heights)]


def frames_of(heights: Sequence[int], npartitions: int, first: int = 0) -> list[pl.DataFrame]:
    """What these producers give."""
    return [produce(first + i, height, npartitions) for i, height in enumerate(heights)]


# Without a cluster


def test_graph() -> None:
    graph, keys = shuffle_layer("s", "t", [TaskRef("a"), Task(None, produce, 0, 1, 1)], 3, SCHEMA)
    assert keys == [("s-t", 0), ("s-t", 1), ("s-t", 2)]
    assert set(graph) == {("s-transfer-t", 0), ("s-transfer-t", 1), "shuffle-barrier-t", *keys}
    assert graph["s-transfer-t", 0].dependencies == {"a"}
    assert graph["s-transfer-t", 1].dependencies == frozenset()
    barrier = graph["shuffle-barrier-t"]
    assert isinstance(barrier, P2PBarrierTask)
    assert barrier.dependencies == {("s-transfer-t", 0), ("s-transfer-t", 1)}
    assert pickle.loads(pickle.dumps(barrier)).spec == barrier.spec
    assert all(graph[key].dependencies == {"shuffle-barrier-t"} for key in keys)


@pytest.mark.parametrize(("ninputs", "npartitions"), [(0, 3), (3, 0)])
def test_nothing_to_shuffle(ninputs: int, npartitions: int) -> None:
    with pytest.raises(ValueError, match="needs inputs and outputs"):
        shuffle_layer("s", "t", [TaskRef("a")] * ninputs, npartitions, SCHEMA)


def spec_of(npartitions: int = 4, ninputs: int = 1) -> PolarsShuffleSpec:
    return PolarsShuffleSpec(
        id=ShuffleId("t"), disk=True, npartitions=npartitions, ninputs=ninputs, schema={"a": pl.Int64()}
    )


def test_workers_are_picked_by_their_set_only() -> None:
    spec = spec_of(npartitions=5)
    picked = [[spec.pick_worker(p, w) for p in spec.output_partitions] for w in (["x", "y"], ["y", "x"])]
    assert picked == [["x", "x", "x", "y", "y"]] * 2


def sender(npartitions: int, worker_for: dict[int, str]) -> PolarsShuffleRun:
    """As much of a run as sending needs, on a machine x, whose files nobody else sees."""
    run = PolarsShuffleRun.__new__(PolarsShuffleRun)
    run.spec, run.id = spec_of(npartitions), ShuffleId("t")
    run.outputs_of = {w: [j for j in worker_for if worker_for[j] == w] for w in set(worker_for.values())}
    run._host, run.local_address = "x", "tcp://x:9"
    run._sees_files = lambda address: False  # type: ignore[method-assign]
    return run


X, Y = "tcp://x:1", "tcp://y:2"


def test_only_what_leaves_the_machine_is_compressed() -> None:
    run = sender(2, {0: X, 1: Y})
    payloads = run._shard_partition(with_partition(pl.DataFrame({"a": [0] * 10_000}), [0, 1] * 5_000), 0)
    assert len(payloads[X][2]) > 5_000 * 8 > len(payloads[Y][2])
    for _, _, shards in payloads.values():
        (shard,) = iter_bytes(memoryview(shards))
        assert shard.frame["a"].to_list() == [0] * 5_000


def test_payloads() -> None:
    run = sender(4, {0: X, 1: X, 2: Y, 3: Y})
    frame = with_partition(pl.DataFrame({"a": range(5)}), [1, 0, 1, 0, 1])
    payloads = run._shard_partition(frame, 7)
    assert set(payloads) == {X, Y}
    i, announced, shards = payloads[X]
    assert (i, pickle.loads(announced)) == (7, ([2, 3], None))
    assert [(shard.tag, shard.frame["a"].to_list()) for shard in iter_bytes(shards)] == [(7, [1, 3]), (7, [0, 2, 4])]
    assert (payloads[Y][0], pickle.loads(payloads[Y][1])) == (7, ([0, 0], None))
    assert not len(payloads[Y][2])
    # What distributed does with a payload: both of these see its real size.
    assert _mean_shard_size([payloads[X]]) * 2 == pytest.approx(len(announced) + len(shards), abs=2)
    assert sizeof(payloads[X]) >= len(announced) + len(shards)
    groups = shuffle_run._group_by_output([payloads[X], payloads[X]], [0, 1])
    heights = {j: [s.frame.height for piece in pieces for s in iter_bytes(piece)] for j, pieces in groups.items()}
    assert heights == {0: [2, 2], 1: [3, 3]}


def test_unpack_checks_what_it_reads() -> None:
    run = SimpleNamespace(spec=spec_of(ninputs=2), id="t", raise_if_closed=lambda: None)
    first, second = (to_bytes(pl.DataFrame({"a": [i, i]}), tag=i) for i in range(2))

    def assemble(ninputs: int, height: int, data: bytes) -> pl.DataFrame:
        return PolarsShuffleRun._assemble(run, 3, Stored(ninputs, height, [data[:0], data]))  # type: ignore[arg-type]

    assert assemble(2, 4, second + first)["a"].to_list() == [0, 0, 1, 1]
    for stored, message in (
        ((1, 2, first), "1 of 2 input partitions have arrived"),
        ((2, 4, first), "4 rows in, 2 rows out in 1 shards"),
        ((2, 0, first), "0 rows in, 2 rows out in 1 shards"),
        ((2, 4, first + first), "4 rows in, 4 rows out in 2 shards"),
        ((2, 4, first + second[:-1]), "a shard is cut off"),
    ):
        with pytest.raises(ShuffleError, match=f"P2P shuffle t, output partition 3: {message}"):
            assemble(*stored)


# On the cluster


def look_apart(apart: bool) -> None:
    """Let this worker see no files of others, as on another machine, or see them again."""

    async def never(*args: Any) -> bool:
        return False

    shuffle_run.sees_files = never if apart else handover.sees_files


@pytest.fixture(params=["near", "apart"])
def distance(request: pytest.FixtureRequest, client: Any) -> Iterator[str]:
    """Workers hand their shards over in files, or send them."""
    client.run(look_apart, request.param == "apart")
    yield request.param
    client.run(look_apart, False)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("heights", "npartitions"), [([50, 0, 30, 7], 4), ([0, 0], 3), ([3], 20), ([10] * 12, 1), ([500] * 3, 200)]
)
def test_right_rows_in_order(client: Any, distance: str, heights: list[int], npartitions: int) -> None:
    graph, keys = shuffle_layer("s", token(), inputs_of(heights, npartitions), npartitions, SCHEMA)
    assert_outputs(client.get(graph, keys), frames_of(heights, npartitions), npartitions)


@pytest.mark.cluster
@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_large_payloads_and_inputs_by_reference(client: Any, distance: str, compression: Any) -> None:
    # Above 64 KiB a payload is sent as buffers, below it is pickled.
    heights = [20_000, 30_000]
    inputs = [TaskRef(("in", i)) for i in range(2)]
    graph, keys = shuffle_layer("s", token(), inputs, 2, SCHEMA, compression=compression)
    for i, height in enumerate(heights):
        graph["in", i] = Task(("in", i), produce, i, height, 2)
    assert_outputs(client.get(graph, keys), frames_of(heights, 2), 2)


@pytest.mark.cluster
def test_every_dtype(client: Any, distance: str) -> None:
    frames = [with_partition(EVERY_DTYPE, [1, 0, 1, 2]), with_partition(EVERY_DTYPE[[3, 2, 1, 0]], [0, 0, 2, 2])]
    inputs = [Task(None, pl.DataFrame.clone, frame) for frame in frames]
    graph, keys = shuffle_layer("s", token(), inputs, 4, EVERY_DTYPE.schema)
    assert_outputs(client.get(graph, keys), frames, 4)


def categories(i: int) -> pl.DataFrame:
    """Categories that only this input knows, built in the process of the worker."""
    texts = pl.Series("c", [f"category {i}-{k % 7}" for k in range(40)], dtype=pl.Categorical)
    return with_partition(texts.to_frame(), [k % 3 for k in range(40)])


@pytest.mark.cluster
def test_categoricals_of_different_processes(client: Any) -> None:
    inputs = [Task(None, categories, i) for i in range(4)]
    graph, keys = shuffle_layer("s", token(), inputs, 3, {"c": pl.Categorical()})
    assert_outputs(client.get(graph, keys), [categories(i) for i in range(4)], 3)


@pytest.mark.cluster
def test_zero_width_frames(client: Any, distance: str) -> None:
    narrow = with_partition(pl.DataFrame(height=3), [1, 0, 1])
    graph, keys = shuffle_layer("s", token(), [Task(None, pl.DataFrame.clone, narrow)] * 2, 3, {})
    assert [frame.shape for frame in client.get(graph, keys)] == [(2, 0), (4, 0), (0, 0)]


@pytest.mark.cluster
def test_wrong_schema_is_a_shuffle_error(client: Any) -> None:
    graph, keys = shuffle_layer("s", token(), inputs_of([4, 4], 2), 2, {"i": pl.Int64()})
    with pytest.raises(ShuffleError, match=r"input partition [01]: the frame has the columns"):
        client.get(graph, keys)


def joined(left: pl.DataFrame, right: pl.DataFrame, *more: pl.DataFrame) -> pl.DataFrame:
    """A consumer of several shuffles."""
    return pl.concat([left, right, *more])


def join_graph(tokens: Sequence[str], npartitions: int) -> tuple[dict[Any, Any], list[Any]]:
    """A task per partition that nests an unpack of each shuffle."""
    graph: dict[Any, Any] = {}
    barriers = []
    for k, one in enumerate(tokens):
        layer, barrier = transfer_layer("s", one, inputs_of([40, 30], npartitions, 10 * k), npartitions, SCHEMA)
        graph.update(layer)
        barriers.append(barrier)
    keys = [(f"join-{tokens[0]}", j) for j in range(npartitions)]
    for j, key in enumerate(keys):
        unpacks = [unpack_task(None, one, j, barrier) for one, barrier in zip(tokens, barriers, strict=True)]
        graph[key] = Task(key, joined, *unpacks)
    return graph, keys


def join_frames(n: int, npartitions: int) -> list[pl.DataFrame]:
    return [frame for k in range(n) for frame in frames_of([40, 30], npartitions, 10 * k)]


@pytest.mark.cluster
def test_two_shuffles_in_one_task(client: Any) -> None:
    graph, keys = join_graph([token(), token()], 6)
    assert_outputs(client.get(graph, keys), join_frames(2, 6), 6)


@pytest.fixture
def misaligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second shuffle has its partitions on the other workers, as after a change of the cluster.

    The scheduler lives in the process of the tests.
    """
    pick = PolarsShuffleSpec.pick_worker

    def other(self: PolarsShuffleSpec, partition: Any, workers: Sequence[str]) -> str:
        turned = self.npartitions - 1 - partition[1] if int(self.id.rpartition("-")[2]) % 2 else partition[1]
        return pick(self, (self.id, turned), workers)

    monkeypatch.setattr(PolarsShuffleSpec, "pick_worker", other)


@pytest.mark.cluster
@pytest.mark.timeout(60)
@pytest.mark.parametrize("nshuffles", [2, 3])
def test_shuffles_on_different_workers_in_one_task(client: Any, misaligned: None, nshuffles: int) -> None:
    graph, keys = join_graph([token() for _ in range(nshuffles)], 6)
    assert_outputs(client.get(graph, keys), join_frames(nshuffles, 6), 6)


@pytest.mark.cluster
@pytest.mark.timeout(60)
def test_a_shuffle_shared_by_two_joins(client: Any, misaligned: None) -> None:
    # distributed would refuse this: the shuffle in the middle cannot be aligned with both others.
    while int((first := token()).rpartition("-")[2]) % 2:
        pass
    second, third = token(), token()
    tokens = [first, second, third]
    graph, _ = join_graph(tokens, 4)
    graph = {key: task for key, task in graph.items() if not str(key[0]).startswith("join")}
    keys = []
    for a, b in ((first, third), (second, third)):
        for j in range(4):
            keys.append((f"pair-{a}", j))
            unpacks = [unpack_task(None, t, j, TaskRef(f"shuffle-barrier-{t}")) for t in (a, b)]
            graph[keys[-1]] = Task(keys[-1], joined, *unpacks)
    found = client.get(graph, keys)
    frames = [frames_of([40, 30], 4, 10 * k) for k in range(3)]
    assert_outputs(found[:4], frames[0] + frames[2], 4)
    assert_outputs(found[4:], frames[1] + frames[2], 4)


def again(frame: pl.DataFrame, npartitions: int) -> pl.DataFrame:
    """Send rows on to another partition."""
    return frame.with_columns((pl.col("row") % npartitions).cast(pl.UInt32).alias(PARTITION_COLUMN))


@pytest.mark.cluster
def test_a_task_between_two_shuffles(client: Any) -> None:
    first, second = token(), token()
    graph, barrier = transfer_layer("s", first, inputs_of([60, 40], 3), 3, SCHEMA)
    middle = [Task(None, again, unpack_task(None, first, j, barrier), 5) for j in range(3)]
    layer, keys = shuffle_layer("s", second, middle, 5, SCHEMA)
    graph.update(layer)
    between = [
        again(pl.concat(frames_of([60, 40], 3)).filter(pl.col(PARTITION_COLUMN) == j), 5).select(
            *SCHEMA, PARTITION_COLUMN
        )
        for j in range(3)
    ]
    assert_outputs(client.get(graph, keys), between, 5)


def lose_rows(lose: bool) -> None:
    """Let this worker write shards that lack a row, or behave again."""
    from dask_polars.shuffle import encoding

    def write_less(frame: Any, heights: list[int], **options: Any) -> Any:
        grouped = [frame.slice(sum(heights[:k]) + 1, height - 1) for k, height in enumerate(heights)]
        return encoding.join_bytes(pl.concat(grouped), [part.height for part in grouped], **options)

    shuffle_run.join_bytes = write_less if lose else encoding.join_bytes


@pytest.mark.cluster
@pytest.mark.timeout(60)
def test_lost_rows_are_an_error(client: Any) -> None:
    graph, keys = shuffle_layer("s", token(), inputs_of([20, 20], 2), 2, SCHEMA)
    client.run(lose_rows, True)
    try:
        with pytest.raises(ShuffleError, match=r"output partition [01]: 20 rows in, 18 rows out"):
            client.get(graph, keys)
    finally:
        client.run(lose_rows, False)


@pytest.mark.cluster
def test_outputs_run_where_they_are_at_once(client: Any) -> None:
    # Tasks that read outputs in different depths, more of them than there are threads.
    shuffle = token()
    graph, barrier = transfer_layer("s", shuffle, inputs_of([20, 20], 9), 9, SCHEMA)
    keys: list[Any] = [(f"{shuffle}-out", j) for j in range(9)]
    for j, key in enumerate(keys):
        part = unpack_task(None if j else key, shuffle, j, barrier)
        for _ in range(j % 3):
            part = Task(None, pl.DataFrame.clone, part)
        graph[key] = Task(key, pl.DataFrame.clone, part) if j else part
    assert_outputs(client.get(graph, keys), frames_of([20, 20], 9), 9)

    def starts(dask_scheduler: Any) -> int:
        log = dask_scheduler.transition_log
        return sum(entry[0] in keys and entry[2] == "processing" for entry in log)

    assert client.run_on_scheduler(starts) == 9


@pytest.mark.cluster
def test_nothing_is_left_behind(client: Any) -> None:
    graph, keys = shuffle_layer("s", token(), inputs_of([20, 20], 2), 2, SCHEMA)
    client.get(graph, keys)

    async def wait_for_close(dask_worker: Any) -> list[str]:
        runs = dask_worker.plugins["shuffle"].shuffle_runs
        while runs._runs:
            await asyncio.sleep(0.01)
        return [name for name in os.listdir(dask_worker.local_directory) if name.startswith("shuffle-")]

    assert all(left == [] for left in client.run(wait_for_close).values())


def test_a_task_outside_of_a_cluster_says_so() -> None:
    import dask

    graph, keys = shuffle_layer("s", token(), inputs_of([2], 1), 1, SCHEMA)
    with pytest.raises(RuntimeError) as caught:
        dask.get(graph, keys)
    assert "distributed scheduler" in str(caught.value.__cause__ or caught.value)
