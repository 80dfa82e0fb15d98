"""A few queries, timed with Polars in this process and on a cluster: ``dask-polars bench``."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from dask_polars.doctor import aligned
from dask_polars.engine import DaskEngine

FILES = 8

QUERIES: dict[str, Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]] = {
    "scan, filter, sum": lambda orders, items: orders.filter(pl.col("day") < 100).select(pl.col("price").sum()),
    "group_by": lambda orders, items: orders.group_by("item").agg(pl.col("price").sum(), pl.len()).select(pl.len()),
    "join, group_by": lambda orders, items: (
        orders.join(items, on="item").group_by("kind").agg(pl.col("price").mean()).sort("kind")
    ),
    "sort, head": lambda orders, items: orders.sort("price", "item", "day").head(100),
}


def make_data(directory: Path, rows: int) -> None:
    """
    Make the tables.

    Parameters
    ----------
    directory
        Where to.
    rows : int
        Rows of the larger table.
    """
    count = max(1, rows // 100)
    size = -(-rows // FILES)
    for number in range(FILES):
        index = pl.int_range(number * size, min((number + 1) * size, rows), eager=True).alias("i").to_frame()
        mixed = pl.col("i").hash(seed=0)
        index.select(
            item=(mixed % count).cast(pl.Int64),
            day=(pl.col("i").hash(1) % 365).cast(pl.Int32),
            price=mixed % 10_000 / 100,
        ).write_parquet(directory / f"orders-{number}.parquet")
    kinds = pl.int_range(count, eager=True).alias("item").to_frame()
    kinds.with_columns(kind=pl.col("item") % 50).write_parquet(directory / "items.parquet")


def compare(client: Any, rows: int, repeat: int, directory: Path | None = None) -> str:
    """
    Time the queries.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster.
    rows : int
        Rows of the larger table.
    repeat : int
        Runs of each; the shortest counts.
    directory : pathlib.Path, optional
        Where the data is made, and removed; it must be one that the workers see.

    Returns
    -------
    str
        A table: seconds with Polars, seconds on the cluster, and how many times as fast that is.
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-polars-bench-", dir=directory)))
        make_data(place, rows)
        orders, items = pl.scan_parquet(place / "orders-*.parquet"), pl.scan_parquet(place / "items.parquet")
        engines: dict[str, Any] = {"polars": "streaming", "cluster": DaskEngine(client)}
        table = [("query", "Polars here, s", "on the cluster, s", "times as fast")]
        for name, query in QUERIES.items():
            here, there = (_shortest(query(orders, items), engine, repeat) for engine in engines.values())
            table.append((name, f"{here:.3f}", f"{there:.3f}", f"{here / there:.2f}"))
        threads = sum(client.nthreads().values())
        head = f"{rows:,} rows; Polars has {pl.thread_pool_size()} threads here, the cluster {threads}"
        return "\n".join([head, "", *aligned(table)])


def _shortest(query: pl.LazyFrame, engine: Any, repeat: int) -> float:
    """Time a query, after one run to warm up."""
    query.collect(engine=engine)
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        query.collect(engine=engine)
        taken.append(time.perf_counter() - start)
    return min(taken)
