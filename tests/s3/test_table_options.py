"""Tables in an object store, by the names of fsspec, of Polars, and of the libraries of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io.options import translated_for_delta, translated_for_iceberg
from tests.s3.conftest import KEY, SECRET, TOKEN, Bucket

ROWS = pl.DataFrame({"k": [1, 2, 3], "v": ["a", "b", None]})


def delta_options(bucket: Bucket) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
    }


@pytest.mark.filterwarnings("ignore")
def test_delta(bucket: Bucket) -> None:
    pytest.importorskip("deltalake")
    ROWS.write_delta(f"{bucket.url}/t", storage_options=delta_options(bucket))
    for options in (bucket.fsspec, bucket.polars, delta_options(bucket)):
        lf = dp.scan_delta(f"{bucket.url}/t", storage_options=options)
        assert_frame_equal(lf.sort("k").collect(scheduler="sync"), ROWS)
    opened = pytest.importorskip("deltalake").DeltaTable(f"{bucket.url}/t", storage_options=delta_options(bucket))
    assert_frame_equal(dp.scan_delta(opened).sort("k").collect(scheduler="sync"), ROWS)


@pytest.mark.filterwarnings("ignore")
def test_iceberg(bucket: Bucket, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    own = {
        "s3.endpoint": bucket.endpoint,
        "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET,
        "s3.session-token": TOKEN,
        "s3.region": "us-east-1",
    }
    catalog: Any = pytest.importorskip("pyiceberg.catalog.sql").SqlCatalog(
        "c", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"{bucket.url}/w", **own
    )
    catalog.create_namespace("n")
    catalog.create_table("n.t", schema=ROWS.to_arrow().schema).append(ROWS.to_arrow())
    where = catalog.load_table("n.t").metadata_location
    for options in (bucket.fsspec, bucket.polars, own):
        lf = dp.scan_iceberg(where, storage_options=options)
        assert_frame_equal(lf.sort("k").collect(scheduler="sync"), ROWS)


def test_names_of_the_libraries_stay() -> None:
    delta = {"AWS_S3_LOCKING_PROVIDER": "dynamodb", "key": "me"}
    found = translated_for_delta(("s3://b/t",), {"storage_options": delta})["storage_options"]
    assert {"AWS_S3_LOCKING_PROVIDER": "dynamodb", "aws_access_key_id": "me"}.items() <= found.items()
    iceberg = {"s3.region": "x", "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO", "secret": "s"}
    found = translated_for_iceberg(("s3://b/t.json",), {"storage_options": iceberg})["storage_options"]
    assert found == {"s3.region": "x", "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO", "s3.secret-access-key": "s"}
    for translate in (translated_for_delta, translated_for_iceberg):
        assert translate(("s3://b/t",), {"version": 1}) == {"version": 1}
        assert translate(("t",), {"storage_options": {"a": "b"}})["storage_options"] == {"a": "b"}
