"""An ETL job on a cluster: revenue by market segment, month and size of order.

    python examples/etl.py --data data/tpch-0.1 --out data/revenue.parquet

It scans three tables of TPC-H, makes them first if they are missing, filters, joins and aggregates them on a local
cluster of two workers, and writes the result to Parquet. Then it runs the same function with plain Polars, to show that
nothing but the scans differs, and that the answer is the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dask
import polars as pl
from distributed import Client, LocalCluster
from polars.testing import assert_frame_equal

import dask_polars as dp


def revenue_by_segment(scan: Callable[[str], Any], data: Path) -> Any:
    """Make the query; `scan` is `dask_polars.scan_parquet` or `polars.scan_parquet`."""
    customer = scan(f"{data}/customer/*.parquet")
    orders = scan(f"{data}/orders/*.parquet")
    lineitem = scan(f"{data}/lineitem/*.parquet")

    return (
        orders.filter(pl.col("o_orderdate") >= date(1995, 1, 1))
        .join(customer, left_on="o_custkey", right_on="c_custkey")
        .join(lineitem.filter(pl.col("l_returnflag") != "R"), left_on="o_orderkey", right_on="l_orderkey")
        .with_columns(
            month=pl.col("o_orderdate").dt.truncate("1mo"),
            revenue=pl.col("l_extendedprice") * (1 - pl.col("l_discount")),
            days=(pl.col("l_receiptdate") - pl.col("o_orderdate")).dt.total_days(),
            size=pl.when(pl.col("o_totalprice") > 250_000).then(pl.lit("large")).otherwise(pl.lit("small")),
        )
        .group_by("c_mktsegment", "month", "size")
        .agg(
            orders=pl.col("o_orderkey").n_unique(),
            revenue=pl.col("revenue").sum(),
            share_by_air=pl.col("l_shipmode").is_in(["AIR", "REG AIR"]).mean(),
            mean_days=pl.col("days").mean(),
        )
        .sort("c_mktsegment", "month", "size")
    )


def prepare(data: Path) -> None:
    """Make the data set of the example if it is missing: TPC-H at scale 0.1."""
    if all((data / table).is_dir() for table in ("customer", "orders", "lineitem")):
        return
    from benchmarks.tpch.data import generate

    print(f"Making TPC-H tables at scale 0.1 in {data} ...")
    generate(data, 0.1)


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(description="Revenue by market segment, month and size of order.")
    parser.add_argument("--data", type=Path, default=Path("data/tpch-0.1"), help="a directory with the tables of TPC-H")
    parser.add_argument("--out", type=Path, default=Path("data/revenue.parquet"), help="the Parquet file to write")
    options = parser.parse_args()
    prepare(options.data)

    # Partitions as small as the data of this example, so that there is something to distribute.
    small = {"dask-polars.partition-size": "2 MiB", "dask-polars.broadcast-limit": "256 KiB"}
    with (
        dask.config.set(small),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        print(f"A cluster of {len(client.scheduler_info()['workers'])} workers at {cluster.scheduler_address}")

        query = revenue_by_segment(dp.scan_parquet, options.data)
        print("\nThe plan:\n")
        print(query.explain())

        start = time.perf_counter()
        result = query.collect()
        seconds = time.perf_counter() - start

    print("\nThe result:\n")
    print(result)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    result.write_parquet(options.out)
    print(f"\nWrote {result.height} rows to {options.out}")

    start = time.perf_counter()
    expected = revenue_by_segment(pl.scan_parquet, options.data).collect()
    polars_seconds = time.perf_counter() - start
    assert_frame_equal(result, expected, rel_tol=1e-9)

    print(f"\ndask_polars on two workers: {seconds:6.2f} s")
    print(f"Polars in this process:     {polars_seconds:6.2f} s")
    print("The answers are the same.")


if __name__ == "__main__":
    main()
