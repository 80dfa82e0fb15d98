"""Files in an object store: which ones paths stand for, and what is read of them."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest

import dask_polars as dp
from tests.s3.conftest import Bucket, collect
from tests.s3.proxy import Proxy

FRAMES = [pl.DataFrame({"id": range(part * 10, part * 10 + 10), "group": [part % 2] * 10}) for part in range(4)]


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for part, frame in enumerate(FRAMES):
        bucket.write(f"plain/part-{part}.parquet", frame)
        bucket.write(f"hive/k={part % 2}/day=2024-01-0{part + 1}/part-{part}.parquet", frame)
    bucket.write("plain/deep/er/part-9.parquet", FRAMES[0])
    bucket.write("one/file with spaces+plus.parquet", FRAMES[0])
    bucket.client.put_object(Bucket=bucket.name, Key="marked/", Body=b"")
    bucket.write("marked/part-0.parquet", FRAMES[0])
    bucket.client.put_object(Bucket=bucket.name, Key="marked/_SUCCESS", Body=b"")
    return bucket


PATHS: dict[str, Any] = {
    "directory": "plain/",
    "pattern": "plain/*.parquet",
    "pattern of a few": "plain/part-[02].parquet",
    "one character": "plain/part-?.parquet",
    "deep pattern": "plain/**/*.parquet",
    "pattern of directories": "hive/*/*/*.parquet",
    "hive directory": "hive/",
    "hive pattern": "hive/**/*.parquet",
    "file": "plain/part-1.parquet",
    "files in another order": ["plain/part-3.parquet", "plain/part-0.parquet"],
    "file twice": ["plain/part-3.parquet", "plain/part-3.parquet"],
    "marker of a directory": "marked/",
    "strange characters": "one/file with spaces+plus.parquet",
    "nothing matches": "plain/*.csv",
    "no such file": "plain/part-77.parquet",
    "no such directory": "nowhere/",
}


@pytest.mark.parametrize("hive", [None, True, False])
@pytest.mark.parametrize("name", PATHS)
def test_paths_stand_for_the_files_of_polars(filled: Bucket, name: str, hive: bool | None) -> None:
    paths = PATHS[name]
    source = [f"{filled.url}/{path}" for path in paths] if isinstance(paths, list) else f"{filled.url}/{paths}"
    options = {"hive_partitioning": hive}
    try:
        expected = pl.scan_parquet(source, storage_options=filled.polars, **options).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        with pytest.raises(type(error)):
            dp.scan_parquet(source, storage_options=filled.fsspec, **options).collect(scheduler="sync")
        return
    lf = dp.scan_parquet(source, storage_options=filled.fsspec, **options)
    actual = collect(lf, 3, scheduler="sync")
    assert actual.equals(expected)
    assert actual.schema == expected.schema


def test_many_files_by_name(filled: Bucket) -> None:
    for number in range(20):
        filled.write(f"many/x{number:03}.parquet", pl.DataFrame({"v": [number]}))
    source = [f"{filled.url}/many/x{number:03}.parquet" for number in reversed(range(20))]
    actual = dp.scan_parquet(source, storage_options=filled.fsspec).collect(scheduler="sync")
    assert actual["v"].to_list() == list(reversed(range(20)))


def test_hive_columns_are_read_from_keys(filled: Bucket) -> None:
    lf = dp.scan_parquet(f"{filled.url}/hive/", storage_options=filled.fsspec)
    actual = lf.filter(pl.col("day") > datetime.date(2024, 1, 2)).group_by("k").len().sort("k")
    assert actual.collect(scheduler="sync").rows() == [(0, 10), (1, 10)]


@pytest.mark.cluster
def test_join_and_group_by_on_a_cluster(filled: Bucket, client: Any) -> None:
    def query(frames: Any, options: Any) -> Any:
        left = frames(f"{filled.url}/plain/*.parquet", storage_options=options)
        right = frames(f"{filled.url}/hive/", storage_options=options)
        return left.join(right, on="id").group_by("group", "k").agg(pl.col("id").sum(), pl.len()).sort("group", "k")

    expected = query(pl.scan_parquet, filled.polars).collect()
    actual = collect(query(dp.scan_parquet, filled.fsspec), 7)
    assert actual.equals(expected)
    assert query(pl.scan_parquet, filled.polars).collect(engine=dp.DaskEngine(client=client)).equals(expected)


def test_files_that_were_added_are_seen_at_once(bucket: Bucket) -> None:
    bucket.write("t/a.parquet", FRAMES[0])
    lf = dp.scan_parquet(f"{bucket.url}/t/*.parquet", storage_options=bucket.fsspec)
    assert lf.select(pl.len()).collect(scheduler="sync").item() == 10
    bucket.write("t/b.parquet", FRAMES[1])
    assert lf.select(pl.len()).collect(scheduler="sync").item() == 20
    bucket.write("t/b.parquet", FRAMES[1].head(3))
    assert lf.select(pl.len()).collect(scheduler="sync").item() == 13
    bucket.client.delete_object(Bucket=bucket.name, Key="t/a.parquet")
    assert lf.select(pl.len()).collect(scheduler="sync").item() == 3


def test_planning_over_thousands_of_files_makes_few_requests(bucket_behind_proxy: Bucket, proxy: Proxy) -> None:
    import io

    from moto.s3.models import s3_backends

    bucket, body = bucket_behind_proxy, io.BytesIO()
    pl.DataFrame({"v": [1, 2, 3]}).write_parquet(body)
    backend = s3_backends["123456789012"]["aws"]  # by way of HTTP it takes a minute
    for number in range(4_000):
        backend.put_object(bucket.name, f"many/{number:05}.parquet", body.getvalue())
    lf = dp.scan_parquet(f"{bucket.url}/many/*.parquet", storage_options=bucket.fsspec)
    with proxy.recording() as requests:
        assert lf.npartitions == 1
    listing = [request for request in requests if "list-type" in request.query]
    others = [request for request in requests if "list-type" not in request.query]
    assert not [request for request in requests if request.method == "HEAD"]
    # Polars lists once, and looks at 16 footers for the schema; so do we, for the numbers of rows.
    assert len(listing) <= 8
    assert len(others) <= 32
    assert lf.filter(pl.col("v") > 0).npartitions == 1
    with proxy.recording() as requests:
        assert lf.filter(pl.col("v") > 1).npartitions == 1
    # What has not changed is not asked again, but whether it has.
    assert len(requests) <= 4
    assert all("list-type" in request.query for request in requests)


def test_numbers_of_rows_are_not_asked_of_an_object_store(
    bucket_behind_proxy: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local files are scanned without their schema, so that Polars looks at footers first: here each would be read twice."""
    from dask_polars.dsl.codec import to_lazyframe
    from dask_polars.graph import worker

    bucket = bucket_behind_proxy
    for number, frame in enumerate(FRAMES):
        bucket.write(f"rows/{number}.parquet", frame)
    seen = []
    for scan in (worker.with_estimates, lambda node, _: to_lazyframe(node)):
        monkeypatch.setattr(worker, "with_estimates", scan)
        lf = dp.scan_parquet(f"{bucket.url}/rows/*.parquet", storage_options=bucket.fsspec).filter(pl.col("id") > 3)
        lf.explain()
        lf.select("id").explain()  # the schema is known then
        with proxy.recording() as requests:
            lf.select("group").collect(scheduler="sync")
        seen.append(sorted(request.path for request in requests if "list-type" not in request.query))
    assert seen[0] == seen[1]
    assert seen[0]
