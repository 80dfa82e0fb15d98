"""Directories of an object store, written while a share of the requests fails, and when nothing ever comes."""

from __future__ import annotations

import time
import warnings
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from tests.s3.conftest import Bucket
from tests.s3.proxy import FAULTS, Fault, Proxy

FRAME = pl.DataFrame({"id": range(80), "g": [number % 4 for number in range(80)]})
SINKS = {
    "directory": lambda lf, url, **options: lf.sink_parquet(f"{url}/out/", **options),
    "partition-by": lambda lf, url, **options: lf.sink_parquet(pl.PartitionBy(f"{url}/out/", key="g"), **options),
}


def options_of(bucket: Bucket, **more: Any) -> dict[str, Any]:
    return {**bucket.fsspec, "timeout": "3s", **more}


def frames(npartitions: int = 8) -> dp.LazyFrame:
    return dp.from_polars(FRAME, npartitions=npartitions)


def names(bucket: Bucket) -> list[str]:
    return [item["Key"] for item in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", ())]


def written(bucket: Bucket) -> pl.DataFrame:
    lf = pl.scan_parquet(f"{bucket.url}/out/", storage_options=bucket.polars, hive_partitioning=True)
    return lf.select("id", pl.col("g").cast(pl.Int64)).sort("id").collect()


@pytest.fixture(autouse=True)
def threads() -> Any:
    with dask.config.set(scheduler="threads", num_workers=4):
        yield


@pytest.mark.parametrize(
    ("sink", "fault"),
    [*(("partition-by", fault) for fault in FAULTS if fault != "timeout"), ("directory", "timeout")],
)
def test_directories_at_five_percent(bucket_behind_proxy: Bucket, proxy: Proxy, sink: str, fault: Fault) -> None:
    bucket = bucket_behind_proxy
    with proxy.failing(fault, 0.05, seed=3), proxy.recording() as requests:
        SINKS[sink](frames(), bucket.url, storage_options=options_of(bucket))
    assert written(bucket).equals(FRAME)
    assert all(name.startswith("out/") for name in names(bucket))
    assert sum(request.fault is not None for request in requests) >= 1


@pytest.mark.parametrize(("sink", "overwrite"), [("directory", False), ("partition-by", True)])
def test_a_copy_that_never_succeeds(bucket_behind_proxy: Bucket, proxy: Proxy, sink: str, overwrite: bool) -> None:
    """One file of several cannot get to its place: there is an error that says so, and none of the others is left."""
    bucket, options = bucket_behind_proxy, options_of(bucket_behind_proxy, max_retries=0)
    into = f"/{bucket.name}/out/" + ("part-00002" if sink == "directory" else "g%3D2")
    write = SINKS[sink]

    def fault(method: str, path: str) -> Fault | None:
        return "error" if method == "PUT" and path.replace("=", "%3D").startswith(into) else None

    with dask.config.set({"dask-polars.overwrite": overwrite}):
        with proxy.choosing(fault), pytest.raises(OSError, match="internal error") as caught:
            write(frames(4), bucket.url, storage_options=options)
        assert any(f"{bucket.url}/out could not all be copied" in note for note in caught.value.__notes__)
        left = names(bucket)
        assert all(name.startswith("out/") for name in left)
        assert overwrite or not left
        # Written again, it is complete, whatever was there.
        write(frames(8), bucket.url, storage_options=options)
    assert written(bucket).equals(FRAME)


def test_a_partition_that_cannot_be_written(bucket_behind_proxy: Bucket, proxy: Proxy) -> None:
    bucket = bucket_behind_proxy

    def fault(method: str, path: str) -> Fault | None:
        return "error" if method in ("PUT", "POST") and "part-00003" in path else None

    with proxy.choosing(fault), pytest.raises(OSError) as caught:
        SINKS["directory"](frames(), bucket.url, storage_options=options_of(bucket, max_retries=0))
    assert "part-00003" in str(caught.value)
    assert names(bucket) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_store_that_never_answers_ends(bucket_behind_proxy: Bucket, proxy: Proxy, overwrite: bool) -> None:
    """Whoever does not look what is there before, finds out when the run begins."""
    bucket, start = bucket_behind_proxy, time.monotonic()
    options = options_of(bucket, max_retries=0, timeout="1s")
    with dask.config.set({"dask-polars.overwrite": overwrite}), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        with proxy.choosing(lambda method, path: "timeout"), pytest.raises(OSError, match=bucket.name):
            frames(2).sink_parquet(f"{bucket.url}/out/", storage_options=options)
    assert time.monotonic() - start < 60
    assert any("could not be removed" in str(item.message) for item in said) == overwrite
