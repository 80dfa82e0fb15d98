"""Versions: of this process, and of the processes of a cluster."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import cloudpickle
import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars import versions
from dask_polars.versions import UnsupportedPolarsError, VersionMismatchError, check_local, compare
from dask_polars.workers import backend_plugin

SAME = {
    "python": "3.11.4",
    "polars": "2.1.0",
    "dask-polars": "0.1.0",
    "dask": "2026.8.0",
    "distributed": "2026.8.0",
    "msgpack": "1.1.0",
}


class FakeClient:
    """A client that answers from a table, and counts what it is asked."""

    asynchronous = False

    def __init__(self, workers: dict[str, Any], scheduler: dict[str, str]) -> None:
        self.workers, self.scheduler_report, self.id, self.asked = workers, scheduler, "S1", []

    def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:
        return {"id": self.id, "address": "tcp://s"}

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.workers, 1)

    def run(self, function: Any, *args: Any, workers: list[str], on_error: str) -> dict[str, Any]:
        self.asked += workers
        return {address: self.workers[address] for address in workers}

    def run_on_scheduler(self, function: Any, *args: Any) -> dict[str, str]:
        return self.scheduler_report


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_probe", lambda packages: SAME)


@pytest.mark.parametrize("good", ["2.1.0", "2.1.9", "2.1.1rc1"])
def test_supported(good: str) -> None:
    check_local(good)


@pytest.mark.parametrize(("bad", "says"), [("2.3.0", "not supported yet"), ("1.9.0", "no longer supported")])
def test_unsupported(bad: str, says: str) -> None:
    with pytest.raises(UnsupportedPolarsError, match=f"polars {bad} is {says} by dask_polars .*, use polars>=2.1,<2.2"):
        check_local(bad)
    assert issubclass(UnsupportedPolarsError, ImportError)


def test_installed_is_supported() -> None:
    check_local()


def test_agreeing() -> None:
    other = {**SAME, "python": "3.11.9", "msgpack": "1.2.4"}
    assert compare(SAME, SAME, {"w": other}) is None
    assert compare(SAME, SAME, {}) is None
    # A source tree has no version to compare.
    assert compare(SAME, {**SAME, "dask-polars": "source tree"}, {}) is None


def test_message() -> None:
    old = {**SAME, "polars": "2.1.1"}
    message = compare(SAME, {**SAME, "polars": "missing"}, {"tcp://a": old, "tcp://b": old, "tcp://c": SAME})
    assert message is not None
    assert message.splitlines() == [
        "The processes of this cluster have different versions:",
        "",
        "who                        polars",
        "-------------------------  -------",
        "client                     2.1.0",
        "scheduler                  missing",
        "worker tcp://a and 1 more  2.1.1",
        "worker tcp://c             2.1.0",
        "",
        "Run on the scheduler and the workers: pip install polars==2.1.0",
        "Then start what was changed again: a process goes on with the packages that it has begun with.",
    ]


@pytest.mark.parametrize(
    ("package", "version", "advice"),
    [
        ("python", "3.12.1", "Use Python 3.11 on the workers."),
        ("dask-polars", "missing", "Run on the workers: pip install dask-polars==0.1.0"),
        ("msgpack", "2.0.0", "Run on the workers: pip install msgpack==1.1.0"),
        ("distributed", "2026.7.0", "Run on the workers: pip install distributed==2026.8.0"),
    ],
)
def test_advice(package: str, version: str, advice: str) -> None:
    message = compare(SAME, SAME, {"w": {**SAME, package: version}})
    assert message is not None
    assert advice in message.splitlines()


@pytest.mark.usefixtures("local")
def test_workers_are_asked_once() -> None:
    client = FakeClient({"a": SAME}, SAME)
    versions.check_cluster(client)
    versions.check_cluster(client)
    assert client.asked == ["a"]
    client.workers["b"] = SAME
    versions.check_cluster(client)
    assert client.asked == ["a", "b"]
    client.id = "S2"
    versions.check_cluster(client)
    assert sorted(client.asked[2:]) == ["a", "b"]


@pytest.mark.usefixtures("local")
def test_mismatch_is_raised_every_time() -> None:
    client = FakeClient({"a": {**SAME, "polars": "2.1.1"}}, SAME)
    for _ in range(2):
        with pytest.raises(VersionMismatchError, match=r"2\.1\.1"):
            versions.check_cluster(client)


@pytest.mark.usefixtures("local")
def test_a_worker_that_goes_away_is_asked_again() -> None:
    client = FakeClient({"a": OSError("gone")}, SAME)
    versions.check_cluster(client)
    client.workers["a"] = {**SAME, "polars": "2.1.1"}
    with pytest.raises(VersionMismatchError):
        versions.check_cluster(client)


def test_asynchronous_clients_are_left_alone() -> None:
    class Asynchronous:
        asynchronous = True

    versions.check_cluster(Asynchronous())


def test_the_probe_goes_by_value(tmp_path: Any) -> None:
    """It runs in a process that can import neither polars nor dask_polars; and the plugin warns from there."""
    path = tmp_path / "probe"
    sent = (versions._probe, ["polars", "dask-polars", "surely-not-there"], backend_plugin())
    path.write_bytes(cloudpickle.dumps(sent))
    code = f"""
import pickle, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("polars", "dask_polars"):
            raise ImportError(name)
import cloudpickle
sys.meta_path.insert(0, Refuse())
probe, packages, plugin = pickle.load(open({str(path)!r}, "rb"))
try:
    print(probe(packages)["surely-not-there"])
except ImportError:
    print(probe(["surely-not-there"])["surely-not-there"])

class Worker:
    async def log_event(self, topic, msg):
        print(topic, msg)

import asyncio, logging
logging.disable()
worker = Worker()
worker.scheduler = worker
asyncio.run(plugin.setup(worker))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.sep)
    missing, warning = run.stdout.splitlines()
    assert missing == "missing"
    assert warning.startswith(
        "warn dask_polars: a worker has joined the cluster that cannot run its queries: dask_polars. "
    )


def test_the_probe_survives_distributed_pickle() -> None:
    from distributed.protocol.pickle import dumps

    assert b"dask_polars.versions" not in dumps(versions._probe)
    assert b"dask_polars.workers" not in dumps(backend_plugin())
    assert pickle.loads(dumps(versions._probe))(["polars"])["polars"]


@pytest.mark.usefixtures("local")
def test_a_cluster_without_workers_is_told_of() -> None:
    with pytest.warns(RuntimeWarning, match="no workers: what is sent to it waits until one has come") as found:
        versions.check_cluster(FakeClient({}, SAME))
    assert [item.filename for item in found] == [__file__]


@pytest.mark.cluster
def test_a_real_cluster(client: Any) -> None:
    from distributed import get_client

    versions.check_cluster(client)

    def inside() -> bool:
        versions.check_cluster(get_client())
        return True

    assert client.submit(inside, pure=False).result()


@pytest.mark.cluster
def test_graphs_that_dask_is_given_are_checked(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise versions.VersionMismatchError("Run on the workers: pip install polars")

    monkeypatch.setattr(versions, "check_cluster", refuse)
    lf = dp.LazyFrame({"v": [1, 2]}).select(pl.col("v").sum())
    for run in (lf.compute, lf.persist, lf.collect):
        with pytest.raises(versions.VersionMismatchError, match="Run on the workers"):
            run()
    # Where these run is said by whoever calls them.
    with pytest.warns(RuntimeWarning, match="Run on the workers"):
        assert dask.compute(lf, scheduler="sync")[0].item() == 3
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        assert client.compute(lf).result().item() == 3
    assert [(item.filename, "Run on the workers" in str(item.message)) for item in said] == [(__file__, True)]


@pytest.mark.cluster
def test_asynchronous_client(cluster: Any) -> None:
    from distributed import Client

    async def run() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            versions.check_cluster(client)
            await versions.check_cluster_async(client)

    asyncio.run(run())
