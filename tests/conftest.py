"""Fixtures and profiles that all tests share."""

from __future__ import annotations

import gc
import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.register_profile("quick", max_examples=20, derandomize=True, deadline=None, suppress_health_check=SLOW)
settings.register_profile("thorough", max_examples=3000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -n 2` means `--dist loadgroup`, so that only one process starts a cluster."""
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"
    if hasattr(config, "workerinput"):
        config.option.loadgroup = True  # the processes of xdist only see what was on the command line


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the cluster run in one xdist group, which is one process."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group("cluster"))


def pytest_collection_finish() -> None:
    """What is there now stays: a collection of garbage, which some functions ask for, need not look at 400,000 objects."""
    gc.collect()
    gc.freeze()


# Dask watches its processes all the time, which takes a fifth of a core for each cluster, used or not.
UNWATCHED = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "500ms"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two worker processes of one thread each."""
    from distributed import LocalCluster

    import dask_polars  # noqa: F401  (workers that are started after it have their share of threads)

    with (
        dask.config.set(UNWATCHED),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
    ):
        yield local


@pytest.fixture(scope="session")
def session_client(cluster: Any) -> Iterator[Any]:
    from distributed import Client

    with Client(cluster, set_as_default=False) as connected:
        yield connected


@pytest.fixture
def client(session_client: Any) -> Iterator[Any]:
    """A client of the cluster that is the default one only while a test uses it."""
    with session_client.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield session_client


@pytest.fixture(scope="session")
def killable_cluster() -> Iterator[Any]:
    """A client of two workers with nannies, which start a new worker for each that a test kills."""
    from distributed import Client, LocalCluster

    settings = {
        **UNWATCHED,
        # Within this time of a kill, a cluster gives up a nanny whose worker is down: also for the next kill.
        "distributed.deploy.lost-worker-timeout": "1 hour",
        "distributed.scheduler.allowed-failures": 10,
    }
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as local,
        Client(local, set_as_default=False) as connected,
    ):
        yield connected


@pytest.fixture
def killable(killable_cluster: Any) -> Iterator[Any]:
    """That client as the current one, once there are two workers again, which have run a query."""
    import polars as pl

    import dask_polars as dp

    deadline = time.monotonic() + 60
    while True:
        killable_cluster.wait_for_workers(2, timeout=60)
        answers = killable_cluster.run(os.getpid, on_error="return").values()
        if len(answers) == 2 and all(isinstance(pid, int) for pid in answers):
            break
        assert time.monotonic() < deadline, f"the workers do not answer: {answers}"
        time.sleep(0.1)
    with killable_cluster.as_current():
        dp.from_polars(pl.DataFrame({"v": range(2)}), npartitions=2).select(pl.len()).collect()  # which sets workers up
        yield killable_cluster


@pytest.fixture
def sync() -> Iterator[None]:
    """Partitions one after the other in this process, and no word of fallbacks."""
    with dask.config.set({"scheduler": "sync", "dask-polars.fallback": "silent"}):
        yield


@pytest.fixture(params=["polars", "sync", "threads", pytest.param("cluster", marks=pytest.mark.cluster)])
def where(request: Any) -> Iterator[str]:
    """Each of the places where a query can run."""
    with dask.config.set({"dask-polars.fallback": "silent"}):
        if request.param == "cluster":
            request.getfixturevalue("client")
            yield request.param
        elif request.param == "polars":
            yield request.param
        else:
            with dask.config.set(scheduler=request.param):
                yield request.param


@pytest.fixture(scope="session")
def narwhals_plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The entry point that pyproject.toml declares, whether this tree is installed or is found by its path."""
    from narwhals import plugins

    group = "narwhals.plugins"
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
    place = tmp_path_factory.mktemp("site")
    info = place / "declared_by_dask_polars-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declared-by-dask-polars\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in declared[group].items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        for cached in (plugins._discover_entrypoints, plugins._find_plugin):
            cached.cache_clear()
        yield
    for cached in (plugins._discover_entrypoints, plugins._find_plugin):
        cached.cache_clear()
