"""The sets of queries, each written for every API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

Scan = Callable[[str], Any]


@dataclass(frozen=True)
class Workload:
    """Queries over one kind of data set.

    Attributes
    ----------
    name
        Of the workload.
    queries
        Names of the queries.
    lazy_frame
        Gives a query as a lazy frame, from its name, the directory of the data and a function that scans files.
    dask_dataframe
        Gives a query as a frame or a scalar of dask.dataframe, from its name and the directory.
    statement
        Gives the SQL of a query, from its name and the directory.
    keep
        Answers may be large: they stay where they were computed, and check sums of them are compared.
    warm
        A query that is not heavy, for an engine that was just started.
    compare
        Raises an AssertionError if an answer, the first argument after the query, is not the expected one.
    """

    name: str
    queries: tuple[str, ...]
    lazy_frame: Callable[[str, str, Scan], Any]
    dask_dataframe: Callable[[str, str], Any]
    statement: Callable[[str, str], str]
    keep: bool
    warm: str
    compare: Callable[[str, pl.DataFrame, pl.DataFrame], None]


def _tpch() -> Workload:
    from benchmarks.tpch import duckdb, queries
    from benchmarks.tpch.data import tables

    def lazy_frame(query: str, directory: str, scan: Scan) -> Any:
        return queries.QUERIES[int(query)](tables(directory, scan))

    def dask_dataframe(query: str, directory: str) -> Any:
        from benchmarks.tpch import dask_dataframe

        return dask_dataframe.QUERIES[int(query)](tables(directory, dask_dataframe.read))

    def statement(query: str, directory: str) -> str:
        return duckdb.statement(int(query), directory)

    names = tuple(map(str, queries.QUERIES))
    return Workload("tpch", names, lazy_frame, dask_dataframe, statement, keep=False, warm="6", compare=_compare_tpch)


def _h2o() -> Workload:
    from benchmarks.h2o import duckdb, queries

    def lazy_frame(query: str, directory: str, scan: Scan) -> Any:
        return queries.QUERIES[query](queries.tables(directory, scan))

    def dask_dataframe(query: str, directory: str) -> Any:
        from benchmarks.h2o import dask_dataframe
        from benchmarks.tpch.dask_dataframe import read

        return dask_dataframe.QUERIES[query](queries.tables(directory, read))

    names = tuple(queries.QUERIES)
    return Workload(
        "h2o", names, lazy_frame, dask_dataframe, duckdb.statement, keep=True, warm="g1", compare=_compare_checks
    )


WORKLOADS: dict[str, Callable[[], Workload]] = {"tpch": _tpch, "h2o": _h2o}
"""What makes each workload."""


def _compare_tpch(query: str, actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare rows, in the order that the query asks for; names and types of columns are those of each API.

    Of no rows the sum is null in SQL, and 0 in Polars.
    """
    from benchmarks.tpch.run import assert_same_answer

    assert actual.width == expected.width, f"{actual.columns} are not {expected.columns}"
    actual = actual.rename(dict(zip(actual.columns, expected.columns, strict=True))).cast(dict(expected.schema))
    assert_same_answer(int(query), actual.fill_null(0.0), expected.fill_null(0.0), rel_tol=1e-6)


def _compare_checks(query: str, actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare numbers of rows and sums of the columns."""
    names = sorted(expected.columns)
    assert sorted(actual.columns) == names, f"sums of {sorted(actual.columns)}, not of {names}"
    floats = pl.all().cast(pl.Float64)
    assert_frame_equal(actual.select(names).select(floats), expected.select(names).select(floats), rel_tol=1e-6)
