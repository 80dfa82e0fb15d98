"""Delta Lake and Iceberg tables give what Polars gives, in partitions, and leave out files by their logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp

pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")

BY_K = {"partition_by": ["k"]}
CUTS: list[dict[str, Any]] = [{}, {"dask-polars.max-rows-per-partition": 3}, {"dask-polars.partition-size": "1 B"}]


@pytest.fixture(scope="module")
def delta(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A table partitioned by `k`, whose last file has a column more."""
    path = str(tmp_path_factory.mktemp("delta") / "table")
    for k in range(4):
        frame = pl.DataFrame({"k": [k] * 10, "v": range(10 * k, 10 * k + 10), "s": [f"{i}" for i in range(10)]})
        frame.write_delta(path, mode="append", delta_write_options=BY_K)
    more = pl.DataFrame({"k": [9] * 10, "v": range(10), "s": ["z"] * 10, "new": [1.5] * 10})
    more.write_delta(path, mode="append", delta_write_options={**BY_K, "schema_mode": "merge"})
    return path


@pytest.fixture(scope="module")
def iceberg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A table with a column that was renamed and one that was added."""
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.types import StringType

    path = tmp_path_factory.mktemp("iceberg")
    catalog = SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db", warehouse=f"file://{path}")
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.t", schema=pa.schema({"k": pa.int64(), "a": pa.int64()}))
    table.append(pa.table({"k": [1, 1, 2, 2], "a": [1, 2, 3, 4]}))
    table.append(pa.table({"k": [5, 6, 7, None], "a": [11, 12, 13, None]}))
    with table.update_schema() as update:
        update.rename_column("a", "v")
    with table.update_schema() as update:
        update.add_column("s", StringType())
    catalog.load_table("ns.t").append(pa.table({"k": [100], "v": [100], "s": ["z"]}))
    return catalog.load_table("ns.t")


QUERIES: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "all": lambda lf: lf,
    "range": lambda lf: lf.filter(pl.col("v") > 12),
    "key": lambda lf: lf.filter(pl.col("k") == 2),
    "text": lambda lf: lf.filter(pl.col("s") == "z").sort("v"),
    "nothing": lambda lf: lf.filter(pl.col("v") > 1000),
    "len": lambda lf: lf.select(pl.len()),
    "head": lambda lf: lf.head(3),
    "group": lambda lf: lf.group_by("k").agg(pl.col("v").sum()).sort("k"),
    "join": lambda lf: lf.join(lf.group_by("k").len(), on="k").sort("k", "v"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "rows", "bytes"])
@pytest.mark.parametrize("name", QUERIES)
def test_tables(delta: str, iceberg: Any, name: str, cut: dict[str, Any]) -> None:
    for lf in (pl.scan_delta(delta), pl.scan_iceberg(iceberg)):
        query = QUERIES[name](lf)
        with dask.config.set({**cut, "dask-polars.fallback": "raise"}):
            assert_frame_equal(query.collect(engine=dp.DaskEngine()), query.collect())


@pytest.mark.filterwarnings("ignore")
def test_logs_leave_files_out(delta: str, iceberg: Any) -> None:
    assert "3 of 5 files" in dp.LazyFrame(pl.scan_delta(delta).filter(pl.col("v") > 12)).explain()
    assert "1 of 5 files" in dp.LazyFrame(pl.scan_delta(delta).filter(pl.col("k") == 2)).explain()
    assert "2 of 3 files" in dp.LazyFrame(pl.scan_iceberg(iceberg).filter(pl.col("v") > 12)).explain()


@pytest.mark.filterwarnings("ignore")
def test_an_older_version(delta: str) -> None:
    lf = pl.scan_delta(delta, version=1)
    assert lf.collect(engine=dp.DaskEngine(fallback="raise")).height == 20


@pytest.mark.filterwarnings("ignore")
def test_deleted_rows(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    pl.DataFrame({"v": range(10)}).write_delta(str(tmp_path))
    DeltaTable(str(tmp_path)).delete("v = 3")
    lf = pl.scan_delta(str(tmp_path))
    assert_frame_equal(lf.collect(engine=dp.DaskEngine()), lf.collect())
    assert lf.collect().height == 9
