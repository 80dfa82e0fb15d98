"""A worker is killed during a shuffle: the answer stays the same.

Tasks and tests meet through files, as events of `distributed` would need the killed workers to answer.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dask._task_spec import Task
from distributed import Client, LocalCluster, get_worker, wait

from dask_polars.shuffle import run as shuffle_run
from dask_polars.shuffle.frames import PARTITION_COLUMN, ShuffleError
from dask_polars.shuffle.p2p import shuffle_layer, transfer_layer, unpack_task
from tests.shuffle.test_p2p import misaligned  # noqa: F401
from tests.shuffle.test_tasks import SCHEMA, assert_outputs, produce

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

HEIGHTS = [200, 0, 300, 100]
NPARTITIONS = 6


@pytest.fixture
def client(killable: Client) -> Client:
    return killable


def stop_once(value: Any, flags: Path) -> Any:
    """Tell the test that this point is reached, and wait until it says go."""
    started = flags / "started"
    if not started.exists():
        (flags / "pid").write_text(str(os.getpid()))
        (flags / "pid").rename(started)
    while not (flags / "go").exists():
        time.sleep(0.01)
    return value


def wait_for(path: Path) -> str:
    """Content of a file that a task writes."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} was never written"
        time.sleep(0.01)
    return path.read_text()


def kill(client: Client, pid: int) -> None:
    """Kill the process of a worker, and wait until the scheduler has seen it."""
    pids = client.run(os.getpid)
    address = next(address for address, other in pids.items() if other == pid)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while address in client.scheduler_info(n_workers=-1)["workers"]:
        assert time.monotonic() < deadline, "the scheduler did not notice"
        time.sleep(0.01)


def frames() -> list[pl.DataFrame]:
    """The inputs."""
    return [produce(i, height, NPARTITIONS) for i, height in enumerate(HEIGHTS)]


def producers(flags: Path | None = None) -> list[Task]:
    """The inputs as nested tasks; the last one stops."""
    tasks = [Task(None, produce, i, height, NPARTITIONS) for i, height in enumerate(HEIGHTS)]
    if flags is not None:
        tasks[-1] = Task(None, stop_once, tasks[-1], flags)
    return tasks


def other_than(pid: int, pids: list[int]) -> int:
    """The process of the other worker."""
    return next(other for other in pids if other != pid)


@pytest.mark.parametrize("victim", ["sender", "receiver"])
def test_kill_during_transfer(client: Client, tmp_path: Path, victim: str) -> None:
    pids = list(client.run(os.getpid).values())
    graph, keys = shuffle_layer("s", f"transfer-{victim}", producers(tmp_path), NPARTITIONS, SCHEMA)
    futures = client.get(graph, keys, sync=False)
    pid = int(wait_for(tmp_path / "started"))
    wait_for_transfers(client, f"transfer-{victim}", len(HEIGHTS) - 1)
    kill(client, pid if victim == "sender" else other_than(pid, pids))
    (tmp_path / "go").touch()
    assert_outputs(client.gather(futures), frames(), NPARTITIONS)


def wait_for_transfers(client: Client, token: str, n: int) -> None:
    """Wait until that many inputs were handed over."""

    def done(dask_scheduler: Any) -> int:
        keys = [key for key in dask_scheduler.tasks if isinstance(key, tuple) and key[0] == f"s-transfer-{token}"]
        return sum(dask_scheduler.tasks[key].state == "memory" for key in keys)

    deadline = time.monotonic() + 60
    while client.run_on_scheduler(done) < n:
        assert time.monotonic() < deadline, "the transfers do not end"
        time.sleep(0.01)


@pytest.mark.parametrize("victim", ["reader", "other"])
def test_kill_during_unpack(client: Client, tmp_path: Path, victim: str) -> None:
    pids = list(client.run(os.getpid).values())
    graph, barrier = transfer_layer("s", f"unpack-{victim}", producers(), NPARTITIONS, SCHEMA)
    keys = [(f"out-{victim}", j) for j in range(NPARTITIONS)]
    for j, key in enumerate(keys):
        part = unpack_task(None, f"unpack-{victim}", j, barrier)
        graph[key] = Task(key, stop_once if j == 2 else pl.DataFrame.clone, part, *([tmp_path] if j == 2 else []))
    futures = client.get(graph, keys, sync=False)
    pid = int(wait_for(tmp_path / "started"))
    kill(client, pid if victim == "reader" else other_than(pid, pids))
    (tmp_path / "go").touch()
    assert_outputs(client.gather(futures), frames(), NPARTITIONS)


def test_kill_after_completion(client: Client) -> None:
    graph, keys = shuffle_layer("s", "complete", producers(), NPARTITIONS, SCHEMA)
    futures = client.get(graph, keys, sync=False)
    wait(futures)
    kill(client, next(iter(client.run(os.getpid).values())))
    assert_outputs(client.gather(futures), frames(), NPARTITIONS)


def paired(left: pl.DataFrame, stop: None, right: pl.DataFrame) -> pl.DataFrame:
    """A consumer of two shuffles that stops after it has read the first one."""
    return pl.concat([left, right])


@pytest.mark.usefixtures("misaligned")
@pytest.mark.parametrize("victim", ["reader", "other"])
def test_kill_before_a_partition_is_fetched(client: Client, tmp_path: Path, victim: str) -> None:
    # The two shuffles have the partition on different workers.
    pids = list(client.run(os.getpid).values())
    tokens = [f"fetch-{victim}-{k}" for k in range(2)]
    graph: dict[Any, Any] = {}
    barriers = []
    for token in tokens:
        layer, barrier = transfer_layer("s", token, producers(), NPARTITIONS, SCHEMA)
        graph.update(layer)
        barriers.append(barrier)
    keys = [(f"pair-{victim}", j) for j in range(NPARTITIONS)]
    for j, key in enumerate(keys):
        left, right = (unpack_task(None, t, j, barrier) for t, barrier in zip(tokens, barriers, strict=True))
        graph[key] = Task(key, paired, left, Task(None, stop_once, None, tmp_path) if j == 4 else None, right)
    futures = client.get(graph, keys, sync=False)
    pid = int(wait_for(tmp_path / "started"))
    kill(client, pid if victim == "reader" else other_than(pid, pids))
    (tmp_path / "go").touch()
    assert_outputs(client.gather(futures), frames() * 2, NPARTITIONS)


def again(frame: pl.DataFrame) -> pl.DataFrame:
    """Send rows on to another partition."""
    return frame.with_columns((pl.col("row") % NPARTITIONS).cast(pl.UInt32).alias(PARTITION_COLUMN))


def test_kill_between_two_shuffles(client: Client, tmp_path: Path) -> None:
    # The inputs of the second shuffle are outputs of the first one, which is read a second time.
    graph, barrier = transfer_layer("s", "first", producers(), NPARTITIONS, SCHEMA)
    middle = [Task(None, again, unpack_task(None, "first", j, barrier)) for j in range(NPARTITIONS)]
    middle[3] = Task(None, stop_once, middle[3], tmp_path)
    layer, keys = shuffle_layer("s", "second", middle, NPARTITIONS, SCHEMA)
    graph.update(layer)
    futures = client.get(graph, keys, sync=False)
    kill(client, int(wait_for(tmp_path / "started")))
    (tmp_path / "go").touch()
    everything = pl.concat(frames())
    between = [again(everything.filter(pl.col(PARTITION_COLUMN) == j)) for j in range(NPARTITIONS)]
    assert_outputs(client.gather(futures), between, NPARTITIONS)


def stop_with_address(value: Any, flags: Path) -> Any:
    """Tell the test on which worker this point is reached, and wait until it says go."""
    if not (flags / "started").exists():
        (flags / "address").write_text(get_worker().address)
        (flags / "address").rename(flags / "started")
    while not (flags / "go").exists():
        time.sleep(0.01)
    return value


def test_a_sender_leaves_before_its_files_are_read(tmp_path: Path) -> None:
    # It deletes its files, also those that others have not read yet.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=False) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        graph, barrier = transfer_layer("s", "leaving", producers(), NPARTITIONS, SCHEMA)
        keys = [("left", j) for j in range(NPARTITIONS)]
        for j, key in enumerate(keys):
            stop = Task(None, stop_with_address, None, tmp_path) if j == 4 else None
            graph[key] = Task(key, stopped_first, stop, unpack_task(None, "leaving", j, barrier))
        futures = client.get(graph, keys, sync=False)
        reader = wait_for(tmp_path / "started")
        client.retire_workers([address for address in client.scheduler_info()["workers"] if address != reader])
        (tmp_path / "go").touch()
        assert_outputs(client.gather(futures), frames(), NPARTITIONS)


def stopped_first(stop: None, frame: pl.DataFrame) -> pl.DataFrame:
    """A consumer that stops before it reads."""
    return frame


def wait_no_longer_than(seconds: float) -> float:
    """Set for how long this worker waits for word that another one is gone."""
    before, shuffle_run._CLOSED_WITHIN = shuffle_run._CLOSED_WITHIN, seconds
    return before


def delete_what_was_handed_over(dask_worker: Any) -> int:
    """Delete files of this worker."""
    found = list(Path(dask_worker.local_directory).glob("shuffle-*/from-*"))
    for path in found:
        path.unlink()
    return len(found)


def test_files_that_are_gone_while_their_worker_is_there_are_an_error(client: Client, tmp_path: Path) -> None:
    graph, barrier = transfer_layer("s", "gone", producers(), NPARTITIONS, SCHEMA)
    key = ("gone", 0)
    graph[key] = Task(key, stopped_first, Task(None, stop_once, None, tmp_path), unpack_task(None, "gone", 0, barrier))
    future = client.get(graph, key, sync=False)
    wait_for(tmp_path / "started")
    (before, *_) = client.run(wait_no_longer_than, 0.1).values()
    try:
        assert sum(client.run(delete_what_was_handed_over).values()) == sum(height > 0 for height in HEIGHTS)
        (tmp_path / "go").touch()
        with pytest.raises(ShuffleError, match=r"output partition 0: .*No such file"):
            future.result()
    finally:
        client.run(wait_no_longer_than, before)
