"""Values of every type come back from every format, as they do with Polars alone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from tests.every_type import TYPES
from tests.helpers import RAISED

FORMATS = ("parquet", "ipc", "csv", "ndjson")


@pytest.fixture(autouse=True)
def in_parts() -> Iterator[None]:
    options = {"scheduler": "threads", "dask-polars.fallback": "raise", "dask-polars.max-rows-per-partition": 1}
    with dask.config.set(options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Iceberg scan planning")
        yield


def outcome(run: Callable[[], Any]) -> Any:
    """What a call gives, or the type of what it raises."""
    try:
        return run()
    except RAISED as error:
        return type(error)


def same(got: Any, expected: Any) -> None:
    if isinstance(expected, type):
        assert got is expected
    else:
        assert not isinstance(got, type), got
        assert_frame_equal(got, expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_files(kind: str, tmp_path: Path) -> None:
    """Each type alone, in files of two rows, one without rows among them; text with a schema, and without one."""
    write, scan = f"write_{kind}", getattr(pl, f"scan_{kind}")
    read = []
    for name, dtype in TYPES.schema.items():
        (tmp_path / name).mkdir()
        for number, part in enumerate((TYPES[:2], TYPES[:0], TYPES[2:])):
            path = tmp_path / name / f"{number}.{kind}"
            with contextlib.suppress(*RAISED):
                getattr(part.select(name, n=pl.int_range(pl.len())), write)(path)
        if not any(path.stat().st_size for path in (tmp_path / name).iterdir()):
            continue  # Polars cannot write it
        for options in ({}, {"schema": {name: dtype, "n": pl.Int64}}) if kind in ("csv", "ndjson") else ({},):
            lf = scan(tmp_path / name, **options)
            expected = outcome(lf.collect)
            same(outcome(dp.LazyFrame(lf).collect), expected)
            read.append(not isinstance(expected, type))
    assert sum(read) > len(read) / 2
    assert kind in ("csv", "ndjson") or (all(read) and len(read) == TYPES.width)


def test_delta(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    written = []
    for name in TYPES.columns:
        rows = TYPES.select(name, n=pl.int_range(pl.len()))
        theirs, ours = str(tmp_path / "theirs" / name), str(tmp_path / "ours" / name)
        failed = outcome(lambda rows=rows, theirs=theirs: rows.write_delta(theirs))
        with dask.config.set({"dask-polars.fallback": "silent"}):
            lf = dp.from_polars(rows, npartitions=3)
            got = outcome(lambda lf=lf, ours=ours: lf.sink_delta(ours))
            assert got is failed or issubclass(got, failed), name
        if failed is None:
            expected = outcome(lambda theirs=theirs: pl.scan_delta(theirs).sort("n").collect())
            for table in (theirs, ours):
                same(outcome(lambda table=table: dp.scan_delta(table).sort("n").collect()), expected)
            written.append(name)
    assert len(written) > 15


def test_iceberg(tmp_path: Path) -> None:
    pytest.importorskip("pyiceberg")
    pytest.importorskip("sqlalchemy")
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("default", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    options: dict[str, Any] = {"mode": "append", "catalog": catalog, "create_if_not_exists": True}
    written = []
    for name in TYPES.columns:
        rows = TYPES.select(name)
        theirs = outcome(lambda rows=rows, name=name: rows.lazy().sink_iceberg(f"n.theirs_{name}", **options))
        if not isinstance(theirs, type):
            written.append(name)
            continue
        lf = dp.from_polars(rows, npartitions=3)
        assert outcome(lambda lf=lf, name=name: lf.sink_iceberg(f"n.ours_{name}", **options)) is theirs
    assert len(written) > 10
    rows = TYPES.select(*written, n=pl.int_range(pl.len()))
    rows.lazy().sink_iceberg("n.theirs", **options)
    dp.from_polars(rows, npartitions=3).sink_iceberg("n.ours", **options)
    expected = pl.scan_iceberg(catalog.load_table("n.theirs")).sort("n").collect()
    for table in ("n.theirs", "n.ours"):
        same(dp.scan_iceberg(catalog.load_table(table)).sort("n").collect(), expected)
