"""A collection with the rest of Dask: annotations, futures, asynchronous clients, clusters of other kinds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from distributed import Client, LocalCluster, Scheduler, Worker, as_completed, fire_and_forget, futures_of, wait
from polars.testing import assert_frame_equal

import dask_polars as dp

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5]})


def frame(npartitions: int = 3) -> dp.LazyFrame:
    return dp.from_polars(DATA, npartitions=npartitions)


def summed(lf: dp.LazyFrame) -> dp.LazyFrame:
    return lf.group_by("k").agg(pl.col("v").sum()).sort("k")


WANTED = DATA.group_by("k").agg(pl.col("v").sum()).sort("k")

pytestmark = pytest.mark.cluster


def test_futures(client: Any) -> None:
    assert_frame_equal(client.compute(summed(frame())).result(), WANTED)
    kept = client.persist(frame())
    wait(kept)
    heights = [result.height for _, result in as_completed(futures_of(kept), with_results=True)]
    assert sum(heights) == 5
    assert client.submit(lambda df: df.height, client.compute(kept)).result() == 5


def test_a_collection_as_an_argument_of_a_task(client: Any) -> None:
    """The task gets a collection, and may run queries from where it is."""

    def inside(lf: dp.LazyFrame) -> int:
        total: int = lf.select(pl.col("v").sum()).collect().item()
        return total

    assert client.submit(inside, frame()).result() == 15


def test_fire_and_forget(client: Any, tmp_path: Path) -> None:
    sink = frame().sink_parquet(tmp_path / "out.parquet", lazy=True)
    future = client.compute(sink)
    fire_and_forget(future)
    wait(future)
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), DATA)


def test_configuration(client: Any) -> None:
    with dask.config.set({"dask-polars.max-rows-per-partition": 2}):
        assert dp.LazyFrame(DATA).npartitions == 3
    assert dp.LazyFrame(DATA).npartitions == 1


@pytest.mark.parametrize("shuffle_method", ["p2p", "tasks"])
@pytest.mark.parametrize("how", ["compute", "persist", "collect"])
def test_annotations_reach_the_tasks(client: Any, shuffle_method: str, how: str) -> None:
    """The scheduler is asked what it knows of the tasks while these cannot run."""
    query = frame().group_by("k").agg(pl.col("v").n_unique()).with_columns(x=pl.lit(how))
    running: list[Any] = []
    with (
        dask.config.set({"dask-polars.shuffle-method": shuffle_method, "optimization.fuse.active": False}),
        dask.annotate(resources={"NOBODY": 1}, priority=7, retries=3),
    ):
        if how == "compute":
            running = [client.compute(query)]
        elif how == "persist":
            running = futures_of(client.persist(query))
        else:
            running = [query.collect(background=True)]

    def known(dask_scheduler: Scheduler) -> list[tuple[Any, Any, Any]]:
        tasks = [task for task in dask_scheduler.tasks.values() if "groupby" in str(task.key) and task.run_spec]
        data = "DataNode"
        return [
            (task.resource_restrictions, task.priority and task.priority[0], task.retries)
            for task in tasks
            if type(task.run_spec).__name__ != data
        ]

    found: list[Any] = []
    for _ in range(100):
        found = client.run_on_scheduler(known)
        if found:
            break
    for item in running:
        item.cancel()
    assert found
    assert {(tuple(resources or {}), priority, retries) for resources, priority, retries in found} == {
        (("NOBODY",), -7, 3)
    }


def test_an_asynchronous_client() -> None:
    async def work() -> None:
        async with (
            LocalCluster(
                n_workers=1, threads_per_worker=2, processes=False, asynchronous=True, dashboard_address=None
            ) as local,
            Client(local, asynchronous=True) as client,
        ):
            assert_frame_equal(await client.compute(summed(frame())), WANTED)
            kept = client.persist(frame())
            await wait(kept)
            assert (await client.compute(kept.select(pl.col("v").sum()))).item() == 15
            one, two = await client.gather(client.compute([summed(frame()), frame()]))
            assert_frame_equal(one, WANTED)
            assert_frame_equal(two, DATA)
            heights = [result.height async for _, result in as_completed(futures_of(kept), with_results=True)]
            assert sum(heights) == 5
            with pytest.raises(RuntimeError, match="asynchronous") as caught:
                frame().collect()
            assert "await client.compute(lf)" in "".join(caught.value.__notes__)
            assert "SCAN" in frame().explain() or "FRAME" in frame().explain()

    asyncio.run(work())


def test_an_adaptive_cluster() -> None:
    """Workers come while a query waits for them, which it says."""
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
    ):
        local.adapt(minimum=0, maximum=2, interval="100ms")
        with pytest.warns(RuntimeWarning, match="the cluster has no workers"):
            assert_frame_equal(summed(frame()).collect(scheduler=client), WANTED)


def test_a_cluster_that_was_started_by_hand() -> None:
    async def work() -> None:
        async with (
            Scheduler(port=0, dashboard_address=":0") as scheduler,
            Worker(scheduler.address, nthreads=1),
            Client(scheduler.address, asynchronous=True) as client,
        ):
            assert_frame_equal(await client.compute(summed(frame())), WANTED)

    asyncio.run(work())
