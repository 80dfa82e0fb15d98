"""
Bytes per second read from an S3 server, by 1, 2 and 4 workers, by plain Polars and by dask.dataframe.

``python -m benchmarks.io.run`` makes the data, starts the server, and prints a table. See the README beside this file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from distributed import Client, LocalCluster

import dask_polars as dp

COLUMNS = 8


@dataclass(frozen=True)
class Store:
    """A running server."""

    url: str

    @property
    def options(self) -> dict[str, Any]:
        return {"key": "any", "secret": "any", "client_kwargs": {"endpoint_url": self.url, "region_name": "us-east-1"}}

    @property
    def polars_options(self) -> dict[str, Any]:
        return {
            "aws_access_key_id": "any",
            "aws_secret_access_key": "any",
            "aws_endpoint_url": self.url,
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }

    def counters(self) -> tuple[int, int]:
        """Bytes and requests so far."""
        sent, requests = urllib.request.urlopen(f"{self.url}/-/counters").read().split()
        return int(sent), int(requests)


@contextmanager
def serving(root: Path) -> Iterator[Store]:
    """Run the server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.io.server", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Store(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.terminate()
        process.wait()


def make_data(directory: Path, files: int, megabytes: int) -> None:
    """Write files of numbers that do not compress, so that bytes on the wire are bytes of data."""
    directory.mkdir(parents=True)
    rows = megabytes * 2**20 // (8 * COLUMNS)
    numbers = np.random.default_rng(0)
    for index in range(files):
        frame = pl.DataFrame({f"c{column}": numbers.random(rows) for column in range(COLUMNS)})
        path = directory / f"part-{index:04}.parquet"
        frame.write_parquet(path, compression="uncompressed", row_group_size=max(rows // 4, 1))


@dataclass(frozen=True)
class Measured:
    """What one way of reading took."""

    name: str
    seconds: float
    sent: int
    requests: int

    def line(self) -> str:
        rate = self.sent / self.seconds / 1e6
        return f"{self.name:<28} {self.seconds:>8.2f} {self.sent / 1e6:>10.1f} {self.requests:>9} {rate:>10.1f}"


def measure(store: Store, name: str, run: Callable[[], object], repeat: int) -> Measured:
    """Run a query some times, and keep the fastest."""
    found = []
    for _ in range(repeat):
        before, start = store.counters(), time.perf_counter()
        run()
        seconds, after = time.perf_counter() - start, store.counters()
        found.append(Measured(name, seconds, after[0] - before[0], after[1] - before[1]))
    return min(found, key=lambda item: item.seconds)


def measurements(store: Store, path: str, workers: list[int], repeat: int) -> Iterator[Measured]:
    """Read everything once in each way: the sum of every column."""
    alone = pl.scan_parquet(path, storage_options=store.polars_options).select(pl.all().sum())
    yield measure(store, "Polars, one process", lambda: alone.collect(engine="streaming"), repeat)
    for count in workers:
        with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
            lf = dp.scan_parquet(path, storage_options=store.options).select(pl.all().sum())
            yield measure(store, f"dask_polars, {count} workers", lf.collect, repeat)
            frame = _dask_dataframe(path, store)
            if frame is not None:
                yield measure(store, f"dask.dataframe, {count} workers", lambda f=frame: f.sum().compute(), repeat)


def _dask_dataframe(path: str, store: Store) -> Any:
    try:
        import dask.dataframe as dd
    except ImportError:
        print("dask.dataframe is left out: it needs pandas (the extra 'bench')", file=sys.stderr)
        return None
    return dd.read_parquet(path, storage_options=store.options)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16, help="number of files")
    parser.add_argument("--megabytes", type=int, default=32, help="size of each in MiB")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2, 4], help="numbers of workers, of one thread each"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        make_data(Path(root) / "bucket" / "data", options.files, options.megabytes)
        with serving(Path(root)) as store:
            print(
                f"{options.files} files of {options.megabytes} MiB; the server is on this machine, and takes its share of it"
            )
            print(f"{'':<28} {'seconds':>8} {'MB read':>10} {'requests':>9} {'MB/s':>10}")
            for item in measurements(store, "s3://bucket/data/*.parquet", options.workers, options.repeat):
                print(item.line(), flush=True)


if __name__ == "__main__":
    main()
