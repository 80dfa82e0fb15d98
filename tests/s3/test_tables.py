"""Tables in an object store are written by their partitions."""

from __future__ import annotations

import dask
import polars as pl
import pytest

import dask_polars as dp
from tests.s3.conftest import Bucket


def test_delta(bucket: Bucket) -> None:
    deltalake = pytest.importorskip("deltalake")
    rows = pl.DataFrame({"k": ["a", "b/ c", None, "a"], "v": [1, 2, 3, 4]})
    options = {**bucket.polars, "aws_conditional_put": "etag"}
    url = f"{bucket.url}/delta"
    with dask.config.set({"scheduler": "threads", "dask-polars.fallback": "raise"}):
        for mode in ("error", "append", "overwrite"):
            dp.from_polars(rows, npartitions=2).sink_delta(
                url, mode=mode, storage_options=options, delta_write_options={"partition_by": "k"}
            )
        lf = dp.from_polars(rows, npartitions=4).with_columns(pl.col("k").str.to_integer().cast(pl.String))
        with pytest.raises(pl.exceptions.ComputeError, match="strict integer parsing failed"):
            lf.sink_delta(url, mode="append", storage_options=options)
    table = deltalake.DeltaTable(url, storage_options=options)
    assert table.version() == 2
    found = pl.read_delta(url, storage_options=options)
    assert found.sort("v").select("k", "v").equals(rows)
    keys = [item["Key"] for item in bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="delta/")["Contents"]]
    assert len([key for key in keys if key.endswith(".parquet")]) == 4 * 3
