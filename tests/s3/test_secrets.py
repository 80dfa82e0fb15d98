"""Credentials are nowhere to be read but where they are needed."""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import dask
import polars as pl
import pytest
from distributed import Client, LocalCluster, Scheduler

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.dsl.cloud import CloudOptions
from dask_polars.dsl.codec import decode
from dask_polars.io.storage import Storage
from dask_polars.plan import plan_queries
from tests.s3.conftest import KEY, SECRET, TOKEN, Bucket, collect


def assert_hidden(text: Any) -> None:
    text = text if isinstance(text, str) else repr(text)
    for name, value in (("secret", SECRET), ("token", TOKEN), ("key", KEY)):
        assert value not in text, f"the {name} is in {text[:2000]}"


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for part in range(4):
        bucket.write(f"t/{part}.parquet", pl.DataFrame({"v": range(part, part + 10), "g": [part % 2] * 10}))
    bucket.client.put_object(Bucket=bucket.name, Key="t.csv", Body=b"v,g\n1,2\n")
    return bucket


def queries(filled: Bucket) -> dict[str, dp.LazyFrame]:
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=filled.fsspec)
    csv = dp.LazyFrame(pl.scan_csv(f"{filled.url}/t.csv", storage_options=filled.polars))
    return {
        "scan": lf,
        "group": lf.group_by("g").agg(pl.col("v").sum()),
        "join": lf.join(lf, on="v"),
        "csv": csv,
        "sink": lf.sink_parquet(f"{filled.url}/out.parquet", storage_options=filled.fsspec, lazy=True),
    }


@pytest.mark.parametrize("name", ["scan", "group", "join", "csv", "sink"])
def test_plans_graphs_and_names(filled: Bucket, name: str) -> None:
    lf = queries(filled)[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rows in (None, 3):
            plan = plan_queries([lf.to_polars()], Options.current(max_rows_per_partition=rows))
            plan.announce()
            assert_hidden(plan)
            assert_hidden([vars(stage) for stage in plan.roots])
            with dask.config.set({"dask-polars.max-rows-per-partition": rows}):
                graph = dict(lf.__dask_graph__())
                assert_hidden(graph)
                for task in graph.values():
                    assert_hidden(task)
                    assert_hidden(str(task))
                assert_hidden(lf.explain())
                assert_hidden(lf.__dask_keys__())
    assert_hidden([str(item.message) for item in caught])
    assert_hidden(repr(lf))
    assert_hidden(str(lf))
    assert_hidden(lf._repr_html_() if hasattr(lf, "_repr_html_") else "")
    assert_hidden(lf.to_polars().explain())
    assert_hidden(dask.base.tokenize(lf))
    assert_hidden(decode(lf.to_polars()))


def test_values_of_their_own(filled: Bucket) -> None:
    node = decode(pl.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=filled.polars))
    storage = Storage.of(node)
    assert_hidden(storage)
    assert_hidden(storage.options)
    assert_hidden(storage.options.token)
    assert_hidden(node)
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage
    assert again.options.token == storage.options.token


def test_names_say_nothing_even_of_weak_passwords(bucket: Bucket) -> None:
    import hashlib

    import msgpack

    options = {**bucket.polars, "aws_secret_access_key": "password"}
    found = decode(pl.scan_parquet("s3://b/k", schema={"v": pl.Int64}, storage_options=options))
    cloud = found.fields["unified_scan_args"]["cloud_options"]
    assert isinstance(cloud, CloudOptions)
    packed = msgpack.packb(cloud.value)
    assert cloud.token not in {hashlib.sha1(packed).hexdigest(), hashlib.sha256(packed).hexdigest()[:40]}


def test_where_nothing_is_secret_names_are_the_same_everywhere() -> None:
    import subprocess
    import sys

    code = (
        "import polars as pl; from dask_polars.dsl.codec import decode;"
        "print(decode(pl.scan_parquet('s3://b/k', schema={'v': pl.Int64}, storage_options={'aws_region': 'r'})).digest)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "12"
    ]
    assert found[0] == found[1]


def test_credentials_travel_once(filled: Bucket) -> None:
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=filled.fsspec)
    with dask.config.set({"dask-polars.max-rows-per-partition": 1}):
        graph = dict(lf.filter(pl.col("v") > 1).__dask_graph__())
    assert len(graph) > 40
    with_them = [key for key, task in graph.items() if SECRET.encode() in pickle.dumps(task)]
    assert len(with_them) == 1


@pytest.fixture
def logged_cluster() -> Iterator[tuple[Client, io.StringIO]]:
    """A cluster in this process, all of whose logs are kept."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(logging.DEBUG)
    loggers = [
        logging.getLogger(name) for name in ("", "distributed", "dask", "s3fs", "fsspec", "botocore", "aiobotocore")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    try:
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            yield client, written
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            logger.removeHandler(handler)


def test_on_a_cluster(filled: Bucket, logged_cluster: tuple[Client, io.StringIO]) -> None:
    import urllib.request

    client, written = logged_cluster
    asked = queries(filled)
    for name in ("group", "join", "csv", "sink"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            collect(asked[name], 3)
    kept = asked["group"].persist()
    kept.collect()  # the scheduler has its graph then, which is sent in the background
    client.run_on_scheduler(_check_scheduler)
    keys = list(client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)))
    assert keys
    for key in keys:
        assert_hidden(client.story(key))
    url = client.cluster.dashboard_link.rsplit("/", 1)[0]
    workers = list(client.scheduler_info()["workers"])
    pages = ["info/main/workers.html", "info/logs.html", *(f"info/worker-page/{w}" for w in workers)]
    from urllib.parse import quote

    pages += [f"info/task/{quote(str(key), safe='')}.html" for key in keys]
    read = 0
    for page in pages:
        try:
            assert_hidden(urllib.request.urlopen(f"{url}/{page}", timeout=10).read().decode())
            read += 1
        except urllib.error.HTTPError:
            continue
    assert read
    assert_hidden(client.get_worker_logs())
    assert_hidden(client.get_scheduler_logs())
    del kept
    _failing(filled)
    assert_hidden(client.get_worker_logs())
    assert_hidden(written.getvalue())


def _check_scheduler(dask_scheduler: Scheduler) -> None:
    for task in dask_scheduler.tasks.values():
        assert_hidden(task)
        assert_hidden(task.run_spec)
        assert_hidden(task.key)


def _failing(filled: Bucket) -> None:
    """Let a task fail, whose arguments a worker then logs."""
    filled.client.put_object(Bucket=filled.name, Key="t/2.parquet", Body=b"PAR1" + b"x" * 100 + b"PAR1")
    lf = dp.scan_parquet(f"{filled.url}/t/*.parquet", storage_options=filled.fsspec)
    for query in (lf, lf.select(pl.col("v").sum())):
        with pytest.raises((pl.exceptions.ComputeError, OSError)) as caught:
            query.collect()
        assert_hidden("".join([str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", ())]))


def test_error_of_a_listing(filled: Bucket) -> None:
    lf = dp.scan_parquet(
        "s3://no-such-bucket-of-ours/t/*.parquet", storage_options=filled.fsspec, schema={"v": pl.Int64}
    )
    with pytest.raises((pl.exceptions.PolarsError, OSError)) as caught:
        lf.collect(scheduler="sync")
    assert_hidden("".join([str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", ())]))
