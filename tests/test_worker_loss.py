"""A worker that dies changes no answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars import steps

pytestmark = pytest.mark.cluster

ROWS = pl.DataFrame({"k": [index % 37 for index in range(2000)], "v": range(2000)})


def slowly(part: pl.DataFrame) -> pl.DataFrame:
    time.sleep(0.15)
    return part


@pytest.mark.parametrize("delay", [0.4, 1.1, 1.8])
def test_a_query_survives_a_killed_worker(killable: Any, delay: float) -> None:
    (victim, *_) = killable.run(os.getpid).values()
    rows = dp.from_polars(ROWS, npartitions=16).map_partitions(slowly)
    query = rows.group_by("k").agg(pl.col("v").median()).map_partitions(slowly).sort("k")
    killer = threading.Timer(delay, lambda: os.kill(victim, signal.SIGKILL))
    killer.start()
    with dask.config.set({"dask-polars.partition-size": 2000, "dask-polars.shuffle-method": "p2p"}):
        got = query.collect()
    killer.join()
    assert_frame_equal(got, ROWS.group_by("k").agg(pl.col("v").median()).sort("k"))


def test_a_query_in_steps_survives_a_worker_that_is_killed_between_them(
    killable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has run is computed again where it was lost, also what came out of a shuffle."""
    run = steps._Steps._run
    victims = list(killable.run(os.getpid).values())

    def run_and_kill(self: Any, plan: Any) -> Any:
        found = run(self, plan)
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)
        return found

    monkeypatch.setattr(steps._Steps, "_run", run_and_kill)
    left = dp.from_polars(ROWS, npartitions=6)
    right = left.group_by("k").agg(pl.col("v").median().alias("m")).filter(pl.col("m") > 1000)
    settings = {"partition-size": 4000, "broadcast-limit": 400, "shuffle-method": "p2p"}
    with dask.config.set({f"dask-polars.{name}": value for name, value in settings.items()}):
        got = left.join(right, on="k").collect()
    assert len(victims) < 2
    groups = ROWS.group_by("k").agg(pl.col("v").median().alias("m")).filter(pl.col("m") > 1000)
    assert_frame_equal(got.sort("v"), ROWS.join(groups, on="k").sort("v"))


def test_categories_inside_of_keys_mean_the_same_in_all_processes(client: Any) -> None:
    """The number behind a category is that of a process; workers see the categories in different orders."""

    def with_categories(part: pl.DataFrame) -> pl.DataFrame:
        named = pl.concat_str(pl.lit("c"), pl.col("k"))
        return part.select(
            pl.concat_list(named).cast(pl.List(pl.Categorical)).alias("l"),
            pl.struct(c=named.cast(pl.Categorical)).alias("s"),
            "v",
        )

    schema = with_categories(ROWS.head(0)).schema
    lf = dp.from_polars(ROWS.sort("v", descending=True), npartitions=6).map_partitions(with_categories, schema=schema)
    with dask.config.set({"dask-polars.partition-size": 2000, "dask-polars.shuffle-method": "p2p"}):
        for key in ("l", "s"):
            assert lf.group_by(key).agg(pl.col("v").median()).collect().height == 37
