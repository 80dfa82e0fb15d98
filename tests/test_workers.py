"""How worker processes are set up."""

from __future__ import annotations

import inspect
import os
import warnings
from typing import Any

import dask
import polars as pl
import pytest

from dask_polars import serialization, workers
from dask_polars.workers import OversubscriptionWarning, describe_threads


def report(host: str, pid: int, polars: int, nthreads: int = 1, cores: int = 8) -> dict[str, Any]:
    return {"host": host, "pid": pid, "polars": polars, "nthreads": nthreads, "cores": cores}


@pytest.mark.parametrize(
    "reports",
    [
        [],
        [report("h", 1, 8)],
        [report("h", i, 2, 2) for i in range(4)],
        # One process, many workers: they share its pool.
        [report("h", 1, 8) for _ in range(4)],
        # One worker on each machine.
        [report(f"h{i}", 1, 8) for i in range(4)],
    ],
)
def test_no_warning(reports: list[dict[str, Any]]) -> None:
    assert describe_threads(reports) is None


def test_warning() -> None:
    message = describe_threads([report(host, pid, 8, 2) for host in ("h", "g") for pid in range(4)])
    assert message is not None
    assert "has 8 cores, but its 4 worker processes have 32 Polars threads" in message
    assert "1 more machines" in message
    assert "POLARS_MAX_THREADS=2" in message


@pytest.fixture
def config() -> Any:
    empty = {"distributed.nanny.preload": [], "distributed.worker.preload": ["mine"]}
    with dask.config.set(empty):
        yield dask.config


def test_install_preloads(config: Any) -> None:
    workers.install_preloads()
    workers.install_preloads()
    assert config.get("distributed.nanny.preload") == [workers.PRELOAD]
    assert config.get("distributed.worker.preload") == ["mine", workers.PRELOAD]


def test_the_log_of_a_preload_has_no_blank_lines() -> None:
    """SSHCluster reads the log of a worker until it has its address, and takes a blank line for the end of the worker."""
    assert all(line.strip() for line in f"Creating preload: {workers.PRELOAD}\n".splitlines())
    assert not workers.PRELOAD.endswith("\n")


def test_arguments_of_other_preloads_are_left_alone(config: Any) -> None:
    with config.set({"distributed.worker.preload-argv": [["--x"]]}):
        workers.install_preloads()
        assert config.get("distributed.worker.preload") == ["mine"]


class FakeNanny(workers.Nanny):
    def __init__(self, nthreads: int, env: dict[str, str]) -> None:
        self.nthreads, self.env, self.pre_spawn_env = nthreads, env, {}

    def __del__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("env", "own", "found"),
    [(None, {}, "1"), ("5", {}, None), (None, {"POLARS_MAX_THREADS": "7"}, None)],
    ids=["free", "set by the user", "set for the nanny"],
)
def test_limit_threads(
    monkeypatch: pytest.MonkeyPatch, env: str | None, own: dict[str, str], found: str | None
) -> None:
    monkeypatch.setattr(workers, "_values_set_by_us", set())
    monkeypatch.delenv(workers.VARIABLE, raising=False)
    if env is not None:
        monkeypatch.setenv(workers.VARIABLE, env)
    nanny = FakeNanny(1, dict(own))
    workers._limit_threads(nanny)
    assert nanny.pre_spawn_env.get(workers.VARIABLE) == found
    assert nanny.env.get(workers.VARIABLE) == (found or own.get(workers.VARIABLE))


def test_our_own_value_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_values_set_by_us", {"3"})
    monkeypatch.setenv(workers.VARIABLE, "3")
    assert not workers._set_by_user()
    monkeypatch.setenv(workers.VARIABLE, "4")
    assert workers._set_by_user()


def test_asynchronous_clients_are_left_alone() -> None:
    class Asynchronous:
        asynchronous = True

    workers.prepare_workers(Asynchronous())
    workers.ensure_worker_threads(Asynchronous())


@pytest.fixture
def environment() -> Any:
    """Spawning workers leaves variables in this process."""
    before = os.environ.pop(workers.VARIABLE, None)
    yield
    os.environ.pop(workers.VARIABLE, None)
    if before is not None:
        os.environ[workers.VARIABLE] = before


@pytest.mark.cluster
@pytest.mark.usefixtures("environment", "config")
def test_local_cluster_has_the_right_threads() -> None:
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.worker.preload": []})
    workers.install_preloads()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", OversubscriptionWarning)
        assert set(client.run(pl.thread_pool_size).values()) == {1}
        assert all(client.run(lambda: serialization.Wire.enabled).values())
        workers.prepare_workers(client)
        assert not workers._is_first_use(client)


@pytest.mark.cluster
def test_threads_in_this_process() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", OversubscriptionWarning)
        workers.prepare_workers(client)


@pytest.mark.cluster
@pytest.mark.usefixtures("environment", "config")
def test_a_cluster_of_others() -> None:
    """Its workers were started without us: they are told about frames, and a warning says what to set."""
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.worker.preload": []})
    os.environ[workers.VARIABLE] = "4"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
    ):
        with pytest.warns(OversubscriptionWarning, match="2 worker processes have 8 Polars threads"):
            workers.prepare_workers(client)
        with warnings.catch_warnings():
            warnings.simplefilter("error", OversubscriptionWarning)
            workers.prepare_workers(client)
        plugins = client.run(lambda dask_worker: list(dask_worker.plugins))
        assert all("dask-polars-backend" in names for names in plugins.values())
        big = pl.DataFrame({"a": range(100_000)})
        future = client.scatter(big)
        assert future.result().equals(big)


def test_shuffles_that_go_well_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    from distributed.shuffle import _scheduler_plugin

    from dask_polars.shuffle import log

    log.leave_out_routine()
    log.leave_out_routine()
    assert _scheduler_plugin.logger.filters.count(log._FILTER) == 1
    said = inspect.getsource(_scheduler_plugin)
    assert all(text in said for text in log._ROUTINE)
    ours, others = "a" * log._ID_LENGTH, "b" * 32
    with caplog.at_level("WARNING", "distributed"):
        for text in log._ROUTINE:
            _scheduler_plugin.logger.warning(text, ours)
            _scheduler_plugin.logger.warning(text, others)
        _scheduler_plugin.logger.warning("Shuffle %s restarted due to stimulus '%s", ours, "x")
    assert [record.args[0] for record in caplog.records if record.args] == [others, others, ours]
