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


def scan_with_deletions(paths: list[str], deleted: dict[int, list[int]], folder: Path) -> pl.LazyFrame:
    """A scan as Polars makes it of an Iceberg table with files of deleted positions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[int, list[str]] = {}
    path_field = pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"})
    place_field = pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"})
    for index, rows in deleted.items():
        name = str(folder / f"deletes-{index}.parquet")
        columns = {"file_path": [paths[index]] * len(rows), "pos": rows}
        pq.write_table(pa.table(columns, schema=pa.schema([path_field, place_field])), name)
        found[index] = [name]
    return pl.scan_parquet(paths, glob=False, missing_columns="insert", _deletion_files=("iceberg", (found, {})))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "rows", "bytes"])
@pytest.mark.parametrize("name", ["all", "len", "head", "range", "group"])
def test_iceberg_deletes(tmp_path: Path, name: str, cut: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from polars.io.iceberg._dataset import IcebergScanResolver

    paths = []
    for index in range(4):
        paths.append(str(tmp_path / f"{index}.parquet"))
        rows = range(10 * index, 10 * index + 10)
        pl.DataFrame({"v": rows, "k": [index % 2] * 10}).write_parquet(paths[-1], row_group_size=2)
    scan = scan_with_deletions(paths, {1: [0, 3, 9], 2: list(range(10))}, tmp_path)
    expected = scan.collect()
    assert expected.height == 27
    table = iceberg_table(tmp_path)
    monkeypatch.setattr(IcebergScanResolver, "to_dataset_scan", lambda self, **options: (scan, "1"))
    query = QUERIES[name](pl.scan_iceberg(table))
    with dask.config.set({**cut, "dask-polars.fallback": "raise", "scheduler": "threads"}):
        got = query.collect(engine=dp.DaskEngine())
    assert_frame_equal(got, QUERIES[name](expected.lazy()).collect())


def iceberg_table(path: Path) -> Any:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db", warehouse=f"file://{path}")
    catalog.create_namespace("ns")
    return catalog.create_table("ns.t", schema=pa.schema({"v": pa.int64(), "k": pa.int64()}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "rows", "bytes"])
@pytest.mark.parametrize("deleted", [False, True])
def test_delta_deletion_vectors(
    tmp_path: Path, deleted: bool, cut: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`deltalake` reads deletion vectors and writes none: what it would say of some is put into its mouth."""
    from deltalake import DeltaTable

    path = str(tmp_path / "t")
    options = {"configuration": {"delta.enableDeletionVectors": "true"}}
    for start in range(0, 40, 10):
        frame = pl.DataFrame({"v": range(start, start + 10), "k": [start % 20] * 10})
        frame.write_delta(path, mode="append", delta_write_options=options if start == 0 else {})
    uris = DeltaTable(path).file_uris()
    vectors = {uri: [row % 3 == 1 for row in range(10)] for uri in uris[1:3]} if deleted else {}
    schema = {"filepath": pl.String, "selection_vector": pl.List(pl.Boolean)}
    said = pl.DataFrame({"filepath": list(vectors), "selection_vector": list(vectors.values())}, schema=schema)
    monkeypatch.setattr(DeltaTable, "deletion_vectors", lambda self: said.to_arrow())
    rows = pl.scan_delta(path).collect()
    assert rows.height == (26 if deleted else 40)
    for name in ("all", "len", "head", "range", "group"):
        query = QUERIES[name](pl.scan_delta(path))
        with dask.config.set({**cut, "dask-polars.fallback": "raise", "scheduler": "threads"}):
            got = query.collect(engine=dp.DaskEngine())
        assert_frame_equal(got, QUERIES[name](rows.lazy()).collect())
