"""Directories of an object store, written while a share of the requests fails, and when nothing ever comes."""

from __future__ import annotations

import time
import warnings
from typing import Any

import dask
import polars as pl
import pytest
import s3fs

import dask_polars as dp
from dask_polars.dsl.codec import decode
from dask_polars.io.commit import begin, clean, commit
from dask_polars.io.commit_remote import Remote
from dask_polars.io.copies import Copies, Copy
from dask_polars.io.storage import Storage
from dask_polars.io.targets import Target, Written
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


def content(bucket: Bucket) -> dict[str, bytes]:
    get = bucket.client.get_object
    return {name: get(Bucket=bucket.name, Key=name)["Body"].read() for name in names(bucket)}


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


@pytest.mark.parametrize(
    ("sink", "overwrite", "method"),
    [
        ("directory", False, "PUT"),
        ("partition-by", True, "PUT"),
        ("directory", True, "POST"),
        ("directory", True, "DELETE"),
    ],
)
@pytest.mark.filterwarnings("ignore:s3.* could not be removed")
def test_a_copy_that_never_succeeds(
    bucket_behind_proxy: Bucket, proxy: Proxy, sink: str, overwrite: bool, method: str
) -> None:
    """
    One file of several cannot get to its place: there is an error that says so, and what was there before.

    Copies are PUT, a POST has them appear: then others have appeared already, and are taken back.
    """
    bucket, options = (
        bucket_behind_proxy,
        bucket_behind_proxy.fsspec,
    )  # all is answered: a slow machine is given its time
    into = f"/{bucket.name}/out/" + ("part-00002" if sink == "directory" else "g%3D2")
    write = SINKS[sink]

    def fault(tried: str, path: str) -> Fault | None:
        return "error" if tried == method and path.replace("=", "%3D").startswith(into) else None

    with dask.config.set({"dask-polars.overwrite": overwrite}):
        if overwrite:  # of three files some are replaced, and one goes
            write(frames(6).with_columns(id=-pl.col("id")), bucket.url, storage_options=options)
        before = content(bucket)
        if method == "DELETE":
            proxied = proxy.choosing(lambda tried, path: "error" if tried == "POST" and "/out/" not in path else None)
        else:
            proxied = proxy.choosing(fault)
        with proxied, pytest.raises(OSError, match="internal error") as caught:
            write(frames(4), bucket.url, storage_options={**options, "max_retries": 0})
        said = "\n".join(caught.value.__notes__)
        assert f"{bucket.url}/out" in said
        if method == "DELETE":
            assert "not all of those that they replace could be removed" in said
            assert set(before) <= set(names(bucket))
        else:
            assert "could not all be copied" in said
            assert content(bucket) == before
        assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")
        # Written again, it is complete, whatever was there.
        write(frames(8), bucket.url, storage_options=options)
    assert written(bucket).equals(FRAME)


def test_an_attempt_after_one_that_was_killed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first one has replaced is known to the second, which fails, too, and to the third, which does not."""
    fs = s3fs.S3FileSystem(**bucket.fsspec)
    storage = Storage.of(decode(pl.scan_parquet(f"{bucket.url}/out/", storage_options=bucket.polars)))
    target = Target(f"{bucket.url}/out", directory=True, run="r", overwrite=True, storage=storage)
    for name in ("a", "b"):
        fs.pipe(f"{bucket.name}/out/{name}", b"old " + name.encode())
    begin(target)
    fs.pipe({target.staged(name): b"new " + name.encode() for name in ("b", "c")})
    files = [(Written(target.staged(name), 1, 5), name) for name in ("b", "c")]
    before = {name: data for name, data in content(bucket).items() if name.startswith("out/")}
    complete = Copies._complete

    def fail(self: Copies, copy: Copy) -> None:
        if copy.final.endswith("c"):
            raise OSError("no")
        complete(self, copy)

    with monkeypatch.context() as patched:
        patched.setattr(Copies, "_complete", fail)
        with patched.context() as killed:
            killed.setattr(Remote, "_put_back", lambda *_: None)
            with pytest.raises(OSError, match="no"):
                commit(target, files)
        assert content(bucket)["out/b"] == b"new b"
        with pytest.raises(OSError, match="no"):
            commit(target, files)
        assert {name: data for name, data in content(bucket).items() if name.startswith("out/")} == before
    commit(target, files)
    clean(target)
    assert content(bucket) == {"out/b": b"new b", "out/c": b"new c"}


def test_an_attempt_that_comes_late_touches_nothing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = s3fs.S3FileSystem(**bucket.fsspec)
    storage = Storage.of(decode(pl.scan_parquet(f"{bucket.url}/out/", storage_options=bucket.polars)))
    target = Target(f"{bucket.url}/out", directory=True, run="r", overwrite=True, storage=storage)
    begin(target)
    fs.pipe({target.staged(name): b"late " + name.encode() for name in ("a", "b")})
    files = [(Written(target.staged(name), 1, 6), name) for name in ("a", "b")]
    prepare = Copies.prepare

    def slowly(self: Copies) -> None:
        prepare(self)
        clean(target)  # another attempt was faster, and the directory was written again since
        fs.pipe({f"{bucket.name}/out/{name}": b"newer" for name in ("a", "c")})

    monkeypatch.setattr(Copies, "prepare", slowly)
    with pytest.raises(RuntimeError, match="is over"):
        commit(target, files)
    assert content(bucket) == {"out/a": b"newer", "out/c": b"newer"}
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


def test_names_are_no_patterns(bucket: Bucket) -> None:
    for name in ("report [2024].csv", "*", "part-[0-9].parquet"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"out/{name}", Body=b"old")
    with dask.config.set({"dask-polars.overwrite": True}):
        SINKS["directory"](frames(3), bucket.url, storage_options=options_of(bucket))
    assert len(names(bucket)) == 3
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
