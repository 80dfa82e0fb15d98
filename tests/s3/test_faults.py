"""Reading and writing while a share of the requests fails, and when nothing ever comes."""

from __future__ import annotations

import time
from typing import Any

import polars as pl
import pytest

import dask_polars as dp
from tests.s3.conftest import Bucket, collect
from tests.s3.proxy import FAULTS, Fault, Proxy

SHARE = 0.05
PARTS = [pl.DataFrame({"id": range(part * 50, part * 50 + 50), "g": [part % 5] * 50}) for part in range(40)]
# Half of the files are enough for a share of requests to fail.
SOME = pl.concat(PARTS[:20])

pytestmark = pytest.mark.cluster


@pytest.fixture
def filled(bucket_behind_proxy: Bucket) -> Bucket:
    for part, frame in enumerate(PARTS):
        bucket_behind_proxy.write(f"t/{part:02}.parquet", frame, row_group_size=20)
    return bucket_behind_proxy


def options_of(bucket: Bucket, **more: Any) -> dict[str, Any]:
    return {**bucket.fsspec, "timeout": "3s", **more}


@pytest.mark.parametrize("fault", FAULTS)
def test_reads_at_five_percent(filled: Bucket, proxy: Proxy, client: Any, fault: Fault) -> None:
    other = pl.LazyFrame({"g": range(5), "name": list("abcde")})
    options = options_of(filled, timeout="2s")  # each one that is waited out takes so long
    with proxy.failing(fault, SHARE, seed=1), proxy.recording() as requests:
        lf = dp.scan_parquet(f"{filled.url}/t/[01]*.parquet", storage_options=options)
        query = lf.filter(pl.col("id") % 2 == 0).join(other, on="g").group_by("name").agg(pl.col("id").sum(), pl.len())
        actual = collect(query.sort("name"), 100)
        assert collect(lf.select(pl.len()), 100).item() == SOME.height
    names = dict(zip(range(5), "abcde", strict=True))
    even = SOME.filter(pl.col("id") % 2 == 0)
    expected = even.group_by(pl.col("g").replace_strict(names).alias("name")).agg(pl.col("id").sum(), pl.len())
    assert actual.equals(expected.sort("name"))
    assert sum(request.fault is not None for request in requests) >= 3


# Sinks that wait for an answer are in `test_sink_faults.py`.
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "timeout"])
def test_writes_at_five_percent(filled: Bucket, proxy: Proxy, client: Any, fault: Fault) -> None:
    options = options_of(filled)
    with proxy.failing(fault, SHARE, seed=2), proxy.recording() as requests:
        for number in range(2):
            lf = dp.scan_parquet(f"{filled.url}/t/{number}*.parquet", storage_options=options)
            lf.sink_parquet(f"{filled.url}/out/{number}.parquet", storage_options=options)
    written = pl.scan_parquet(f"{filled.url}/out/*.parquet", storage_options=filled.polars).collect()
    assert written.sort("id").equals(SOME.sort("id"))
    assert sum(request.fault is not None for request in requests) >= 1


@pytest.mark.parametrize("fault", ["slow-down", "reset", "truncate"])
def test_an_object_that_never_comes_is_named(filled: Bucket, proxy: Proxy, client: Any, fault: Fault) -> None:
    options = options_of(filled, max_retries=2)
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=options)
    start = time.monotonic()
    gone = f"/{filled.name}/t/23.parquet"
    with proxy.choosing(lambda method, path: fault if path == gone else None), pytest.raises(OSError) as caught:
        lf.collect()
    text = "".join([str(caught.value), *caught.value.__notes__])
    assert "t/23.parquet" in text
    assert fault != "truncate" or "what cannot be read is" in text
    assert time.monotonic() - start < 60


def test_a_store_that_never_answers_ends(filled: Bucket, proxy: Proxy, client: Any) -> None:
    options = options_of(filled, max_retries=2, timeout="1s")
    start = time.monotonic()
    with proxy.choosing(lambda method, path: "timeout"), pytest.raises(OSError, match=filled.name):
        dp.scan_parquet(f"{filled.url}/t/", storage_options=options).collect()
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("damage", ["truncated", "no footer", "garbled"])
def test_a_damaged_file_names_itself(filled: Bucket, client: Any, damage: str) -> None:
    body = filled.client.get_object(Bucket=filled.name, Key="t/11.parquet")["Body"].read()
    damaged = {
        "truncated": body[: len(body) // 2],
        "no footer": body[:-4],
        "garbled": body[:4] + b"\xff" * 200 + body[204:],
    }
    filled.client.put_object(Bucket=filled.name, Key="t/11.parquet", Body=damaged[damage])
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=filled.fsspec)
    with pytest.raises((pl.exceptions.ComputeError, OSError)) as caught:
        collect(lf, 20)
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert "t/11.parquet" in text
