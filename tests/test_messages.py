"""What a new user sees when something is wrong: what happened, where, and what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.errors import advise

ROOT = Path(__file__).parents[1]


def frame() -> dp.LazyFrame:
    return dp.from_polars(pl.DataFrame({"k": ["a", "b"], "v": [1, 2]}), npartitions=2)


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


def test_a_wrong_path(sync: None, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope\.parquet"):
        dp.scan_parquet(tmp_path / "nope.parquet").collect()
    with pytest.raises(pl.exceptions.ComputeError, match="nope"):
        dp.scan_parquet(tmp_path / "nope" / "*.parquet").collect()


def test_a_package_that_is_missing(sync: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError) as caught:
        frame().sink_parquet("gs://bucket/out/")
    assert "pip install gcsfs, here and on the workers" in notes(caught.value)


def test_a_column_with_a_typo(sync: None) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match='unable to find column "vv"; valid columns'):
        frame().filter(pl.col("vv") > 1).collect()


def test_a_function_that_fails(sync: None) -> None:
    def fail(value: int) -> int:
        raise KeyError(f"no {value}")

    with pytest.raises(KeyError, match="no ") as caught:
        frame().map_partitions(fail, schema={"v": pl.Int64}).collect()
    assert "map-partitions" in notes(caught.value)
    assert ", partition " in notes(caught.value)


def test_a_value_that_cannot_be_cast(sync: None) -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from `str` to `i64` failed") as caught:
        frame().select(pl.col("k").cast(pl.Int64)).collect()
    assert ", partition " in notes(caught.value)


def test_a_file_that_workers_do_not_see(sync: None, tmp_path: Path) -> None:
    for number in range(2):
        pl.DataFrame({"v": range(100)}).write_parquet(tmp_path / f"{number}.parquet")
    with dask.config.set({"dask-polars.max-rows-per-partition": 100}):
        query = dp.scan_parquet(tmp_path / "*.parquet").with_columns(w=pl.col("v") + 1)
        assert query.npartitions == 2
        graph, keys = query.__dask_graph__(), query.__dask_keys__()
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        dask.get(graph, keys)
    assert "partition 1, reading" in notes(caught.value)
    assert "every worker must see them under the same path" in notes(caught.value)


def test_a_worker_without_memory() -> None:
    from distributed import KilledWorker

    error = KilledWorker("task", None, 4)
    advise(error, ["map_batches"])
    assert "out of memory" in notes(error)
    assert "`dask-polars.partition-size`" in notes(error)
    assert "gathered to one worker for: map_batches" in notes(error)
    other = ValueError("x")
    advise(other, ["map_batches"])
    assert not notes(other)


def test_a_client_that_is_closed() -> None:
    class ClosedClient:
        status, asynchronous = "closed", False

        def scheduler_info(self) -> None: ...

        def get(self) -> None: ...

    with pytest.raises(RuntimeError, match="is closed: make a new one"):
        frame().to_polars().collect(engine=dp.DaskEngine(ClosedClient()))


def test_what_is_on_another_cluster() -> None:
    from distributed import CancelledError

    error = CancelledError("x cancelled for reason: lost dependencies.")
    advise(error)
    assert "with client.as_current()" in notes(error)


def test_a_collection_for_polars() -> None:
    with pytest.raises(AttributeError, match=r"dp\.collect_all"):
        pl.collect_all([frame()])  # type: ignore[list-item]


def test_a_directory_that_is_missing(sync: None, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        frame().sink_parquet(f"{tmp_path}/no/such/")
    assert "`mkdir=True` makes it" in notes(caught.value)


def test_what_is_wrong_with_an_argument(sync: None) -> None:
    with pytest.raises(ValueError, match="fallback must be one of warn, raise, silent, not 'loud'"):
        frame().collect(fallback="loud")
    with pytest.raises(TypeError, match=r"DaskEngine takes a distributed\.Client, not a str"):
        dp.DaskEngine("tcp://host:8786")
    with pytest.raises(dp.FallbackError, match=r"map_batches.* is gathered to one partition: a Python function"):
        frame().map_batches(lambda df: df).collect(fallback="raise")


SCRIPT = """
import sys, time, polars as pl, dask_polars as dp
from distributed import Client

def slow(column):
    time.sleep(2)
    return column

if __name__ == "__main__":
    client = Client(sys.argv[1])
    lf = dp.from_polars(pl.DataFrame({"v": range(60)}), npartitions=30)
    lf = lf.with_columns(pl.col("v").map_batches(slow, is_elementwise=True, return_dtype=pl.Int64))
    ways = {
        "collect": lf.collect,
        "compute": lf.compute,
        "execute": lf.execute,
        "batches": lambda: list(lf.collect_batches()),
        "unordered": lambda: list(lf.collect_batches(maintain_order=False)),
        "sink": lambda: lf.sink_parquet(sys.argv[3]),
    }
    print("start", flush=True)
    try:
        ways[sys.argv[2]]()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.cluster
@pytest.mark.parametrize("how", ["collect", "compute", "execute", "batches", "unordered", "sink"])
def test_an_interrupt_leaves_nothing_behind(client: Any, tmp_path: Path, how: str) -> None:
    """Ctrl-C cancels the run on the cluster, though the client is still there."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", client.scheduler.address, how, str(tmp_path / "out") + "/"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    others = tasks_of(client)  # what other tests still hold
    # A test runner in the background ignores interrupts, and what it starts would, too.
    default = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, default)
    assert run.stdin is not None
    assert run.stdout is not None
    try:
        assert run.stdout.readline() == "start\n"
        wait_until(lambda: tasks_of(client) - others)
        run.send_signal(signal.SIGINT)
        assert run.stdout.readline() == "interrupted\n"
        wait_until(lambda: not tasks_of(client) - others)
        assert sorted(os.listdir(tmp_path)) == ["script.py"]
    finally:
        run.kill()
        run.communicate()


def tasks_of(client: Any) -> set[str]:
    return set(client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks]))


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
