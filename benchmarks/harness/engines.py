"""What runs queries, each in a process of its own. Imports of the competitors are inside, so that none needs the others."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import polars.selectors as cs

from benchmarks.harness.workloads import Workload
from dask_polars.counters import Counters, own_counters, worker_counters

ROWS = "rows"
"""Column of check sums: the number of rows."""


@dataclass(frozen=True)
class Setting:
    """Where and with what an engine runs.

    Attributes
    ----------
    workload
        The queries.
    directory
        The data.
    scratch
        A directory for temporary files.
    threads
        Threads of an engine that runs in one process.
    memory
        Bytes that an engine may use, for engines that take a limit.
    address
        Of the scheduler, for engines that run on a cluster.
    """

    workload: Workload
    directory: str
    scratch: Path
    threads: int
    memory: int
    address: str | None


class Engine(Protocol):
    """Runs queries."""

    def run(self, query: str) -> Any:
        """Run a query to its end; this is what is timed."""

    def answer(self, result: Any) -> pl.DataFrame:
        """Give the answer, or check sums of it, from what `run` gave."""

    def counters(self) -> Counters:
        """Give the processes that compute, and what they have counted."""

    def close(self) -> None:
        """Let go of everything."""


def checks_of(frame: pl.LazyFrame | Any) -> Any:
    """Reduce a frame to its number of rows and the sums of its columns of numbers."""
    numbers = cs.numeric().cast(pl.Float64).fill_nan(None)
    return frame.select(pl.len().cast(pl.Float64).alias(ROWS), numbers.sum())


class InProcess:
    """Lazy frames of Polars in this process: its streaming engine, or `DaskEngine` without a cluster."""

    def __init__(self, setting: Setting, *, dask: bool) -> None:
        self.setting = setting
        if dask:
            import dask_polars

            self.engine: Any = dask_polars.DaskEngine()
        else:
            self.engine = "streaming"

    def run(self, query: str) -> Any:
        frame = self.setting.workload.lazy_frame(query, self.setting.directory, pl.scan_parquet)
        return frame.collect(engine=self.engine)

    def answer(self, result: Any) -> pl.DataFrame:
        return checks_of(result) if self.setting.workload.keep else result

    def counters(self) -> Counters:
        return own_counters()

    def close(self) -> None:
        pass


def persisted(client: Any, collection: Any) -> Any:
    """Persist a collection, and wait until all of it is there.

    Raises
    ------
    Exception
        Of the first partition that failed.
    """
    from distributed import futures_of, wait

    kept = client.persist(collection)
    futures = futures_of(kept)
    wait(futures)
    for future in futures:
        if future.status != "finished":
            future.result()  # raises
    return kept


class OnCluster:
    """What engines on a cluster have in common: a client."""

    def __init__(self, setting: Setting) -> None:
        from distributed import Client

        self.setting = setting
        self.client = Client(setting.address)

    def counters(self) -> Counters:
        gc.collect()
        return worker_counters(self.client)

    def keep(self, collection: Any) -> Any:
        """Compute a collection, and leave it on the workers."""
        return persisted(self.client, collection)

    def close(self) -> None:
        self.client.close()


class DaskPolars(OnCluster):
    """Collections of dask_polars on a cluster."""

    def run(self, query: str) -> Any:
        import dask_polars

        frame = self.setting.workload.lazy_frame(query, self.setting.directory, dask_polars.scan_parquet)
        return self.keep(frame) if self.setting.workload.keep else frame.collect()

    def answer(self, result: Any) -> pl.DataFrame:
        return checks_of(result).collect() if self.setting.workload.keep else result


class DaskDataFrame(OnCluster):
    """dask.dataframe on a cluster."""

    def run(self, query: str) -> Any:
        frame = self.setting.workload.dask_dataframe(query, self.setting.directory)
        if not self.setting.workload.keep:
            return frame.compute()
        # Otherwise `persist` may give a collection with partitions that are not there (dask/dask#12488).
        return self.keep(frame.optimize())

    def answer(self, result: Any) -> pl.DataFrame:
        if self.setting.workload.keep:
            sums: Mapping[str, Any] = result.select_dtypes("number").sum().compute().to_dict()
            return pl.DataFrame({ROWS: [float(len(result))], **{name: [float(value)] for name, value in sums.items()}})
        if not hasattr(result, "columns"):
            return pl.DataFrame({"value": [result]})
        return pl.from_pandas(result.reset_index(drop=True))


class DuckDB:
    """DuckDB in this process."""

    def __init__(self, setting: Setting) -> None:
        import duckdb

        self.setting = setting
        self.connection = duckdb.connect()
        self.connection.execute(f"set threads = {setting.threads}")
        self.connection.execute(f"set temp_directory = '{setting.scratch / 'duckdb'}'")
        self.connection.execute(f"set memory_limit = '{setting.memory // 1_000_000}MB'")

    def run(self, query: str) -> Any:
        statement = self.setting.workload.statement(query, self.setting.directory)
        if not self.setting.workload.keep:
            return self.connection.sql(statement).to_arrow_table()
        self.connection.execute(f"create or replace temp table answer as {statement}")
        return self.connection.table("answer")

    def answer(self, result: Any) -> pl.DataFrame:
        if self.setting.workload.keep:
            frame = pl.from_arrow(result.to_arrow_table())
            self.connection.execute("drop table answer")
            assert isinstance(frame, pl.DataFrame)
            return checks_of(frame)
        frame = pl.from_arrow(result)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def counters(self) -> Counters:
        return own_counters()

    def close(self) -> None:
        self.connection.close()


ENGINES: dict[str, Any] = {
    "dask_polars": DaskPolars,
    "DaskEngine": lambda setting: InProcess(setting, dask=True),
    "polars": lambda setting: InProcess(setting, dask=False),
    "dask.dataframe": DaskDataFrame,
    "duckdb": DuckDB,
}
"""What makes each engine; the cluster of `CLUSTERED` ones is there already."""

CLUSTERED = frozenset({"dask_polars", "dask.dataframe"})
"""The engines that run on the cluster."""

NEEDS: dict[str, tuple[str, ...]] = {"dask.dataframe": ("pandas",), "duckdb": ("duckdb",)}
"""Packages that an engine needs and dask_polars does not."""


def open_engine(name: str, setting: Setting) -> closing[Any]:
    """Start an engine; it is closed at the end of the context."""
    os.chdir(setting.scratch)
    return closing(ENGINES[name](setting))
