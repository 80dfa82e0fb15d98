"""A P2P shuffle of a table that is in the memory of the workers, by a key of many values, into the memory of the workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from benchmarks.harness.engines import persisted
from benchmarks.micro.measuring import Row, Setting, row
from dask_polars.counters import Watch, worker_counters

NAME = "shuffle"
KEY = "id6"


@dataclass(frozen=True)
class HashShuffle:
    """A step of a plan of dask_polars: all rows with equal keys in one partition."""

    key: str
    npartitions: int

    def __call__(self, stage: Any, planner: Any) -> Any:
        from dask_polars.dsl.expressions import column
        from dask_polars.plan.shuffling import hash_shuffle

        return hash_shuffle(planner, "shuffle", stage, [column(self.key)], self.npartitions)


def measure(setting: Setting) -> list[Row]:
    """Shuffle the same table with each API in turns; GB are those of the table in Polars, for both."""
    import dask
    import dask.dataframe as dd

    import dask_polars as dp

    client, directory = setting.client, setting.h2o / "groups"
    frame = persisted(client, dp.scan_parquet(f"{directory}/*.parquet"))
    once = frame.map_partitions(_size, schema={"size": pl.Int64}).collect()["size"].sum()
    # A larger table is this one several times over, whose rows go through the shuffle each time and are in memory once.
    times = max(1, math.ceil(setting.shuffled / once))
    frame = dp.concat([frame] * times) if times > 1 else frame
    size, outputs = times * once, times * max(2, len(list(directory.glob("*.parquet"))))
    columns = tuple(frame.collect_schema().items())
    shuffle = HashShuffle(KEY, outputs)
    # A file is a partition. Where some are put together, what is persisted has partitions that are not there
    # (dask/dask#12488).
    with dask.config.set({"dataframe.parquet.minimum-partition-size": 1}):
        pandas = persisted(client, dd.read_parquet(str(directory), filesystem="arrow"))
        pandas = dd.concat([pandas] * times) if times > 1 else pandas
    apis: dict[str, Callable[[], Any]] = {
        "dask_polars": lambda: frame._derived(shuffle, columns, ("hash-shuffle", KEY, outputs)),
        "dask.dataframe": lambda: pandas.shuffle(KEY, npartitions=outputs, shuffle_method="p2p"),
    }
    found: dict[str, list[tuple[float, float, float]]] = {api: [] for api in apis}
    for _ in range(setting.repeat + 1):  # the first is for getting warm
        for api, make in apis.items():
            found[api].append(_measure(client, make))
    rows = []
    case = f"{size / 1e9:.2f} GB"
    for api, runs in found.items():
        took, shuffled, peaks = (list(column) for column in zip(*runs[1:], strict=True))
        rows.append(row(NAME, case, "throughput", api, [size / seconds / 1e9 for seconds in took], "GB/s"))
        rows.append(row(NAME, case, "shuffled", api, shuffled, "bytes"))
        rows.append(row(NAME, case, "peak of a worker", api, peaks, "bytes"))
    return rows


def _size(part: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame({"size": [int(part.estimated_size())]})


def _measure(client: Any, make: Callable[[], Any]) -> tuple[float, float, float]:
    """Give seconds, bytes shuffled and the largest peak of a worker."""
    tasks = client.run_on_scheduler(_count_tasks)
    before = worker_counters(client)
    watch = Watch(before.pids)
    start = time.perf_counter()
    kept = persisted(client, make())
    took = time.perf_counter() - start
    peaks = watch.stop(before.pids).peaks
    shuffled = worker_counters(client).shuffled - before.shuffled
    del kept
    # The next one has the same names: it must not find what is left of this one.
    while client.run_on_scheduler(_count_tasks) > tasks:
        time.sleep(0.1)
    return took, shuffled, float(max(peaks))


def _count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)
