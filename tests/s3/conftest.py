"""An S3 server, a proxy in front of it, and buckets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.io.options import polars_options
from tests.s3.proxy import Proxy

# The secret is what no text may contain.
KEY, SECRET, TOKEN = "AKIAPUBLICKEYOFTESTS", "s3cr3t+of/the+tests+0123456789abcdefghij", "t0ken+of/the+tests+9876543210"

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how it is reached: past the proxy, or through it."""

    name: str
    endpoint: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def fsspec(self) -> dict[str, Any]:
        """What a user of dask.dataframe writes."""
        client = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        return {"key": KEY, "secret": SECRET, "token": TOKEN, "client_kwargs": client}

    @property
    def polars(self) -> dict[str, Any]:
        """What a user of Polars writes."""
        found = polars_options(self.fsspec, self.url)
        assert found is not None
        return found

    def write(self, key: str, frame: pl.DataFrame, **options: Any) -> None:
        import io

        body = io.BytesIO()
        frame.write_parquet(body, **options)
        self.client.put_object(Bucket=self.name, Key=key, Body=body.getvalue())


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    """The port of a server of moto."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()[1]
    running.stop()


@pytest.fixture(scope="session")
def proxy(server: int) -> Iterator[Proxy]:
    with Proxy(server) as running:
        yield running


def _bucket(server: int, endpoint: str) -> Bucket:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    name = f"bucket-{next(_NUMBERS)}"
    client.create_bucket(Bucket=name)
    return Bucket(name, endpoint, client)


@pytest.fixture
def bucket(server: int) -> Bucket:
    """An empty bucket."""
    return _bucket(server, f"http://127.0.0.1:{server}")


@pytest.fixture
def bucket_behind_proxy(server: int, proxy: Proxy) -> Bucket:
    """An empty bucket that is reached through the proxy."""
    return _bucket(server, proxy.url)


def collect(lf: dp.LazyFrame, rows: int, **options: Any) -> pl.DataFrame:
    """Run a query over partitions of so many rows, joins by shuffles."""
    with dask.config.set({"dask-polars.max-rows-per-partition": rows, "dask-polars.broadcast-limit": 0}):
        return lf.collect(**options)
