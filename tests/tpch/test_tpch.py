"""Every TPC-H query gives what it gives with plain Polars, through both front doors and cut into more or fewer partitions.

`dask_polars` is imported inside the tests, so that they can be collected where it cannot be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest

from benchmarks.tpch.data import tables
from benchmarks.tpch.queries import QUERIES
from benchmarks.tpch.run import assert_same_answer, parse_queries

# The rows of a partition, for 1, 2 and 7 partitions of the 60,000 rows of lineitem.
ONE, TWO, SEVEN = 100_000, 31_000, 8_600

# Nothing is small enough to be broadcast, so every join shuffles.
NO_BROADCAST = {"broadcast-limit": "1 KiB"}

# The sizes of some answers at scale 0.01, which an independent SQL engine gave.
HEIGHTS = {1: 4, 2: 4, 3: 10, 4: 5, 5: 5, 7: 4, 8: 2, 9: 173, 10: 20, 11: 359, 12: 2, 13: 33, 16: 296, 18: 2, 22: 7}

all_queries = pytest.mark.parametrize("query", list(QUERIES), ids="q{}".format)


@cache
def plain_answer(query: int, data: Path) -> pl.DataFrame:
    return QUERIES[query](tables(data)).collect()


@contextmanager
def settings(rows: int, *, fallback: str = "silent", **config: Any) -> Iterator[None]:
    """Set the size of partitions and other configuration of dask_polars."""
    ours: Mapping[str, Any] = {"max-rows-per-partition": rows, "fallback": fallback, **config}
    with dask.config.set({f"dask-polars.{key}": value for key, value in ours.items()}):
        yield


def check_collection(query: int, data: Path, **options: Any) -> None:
    """Run a query on `dask_polars.scan_parquet`."""
    import dask_polars as dp

    answer = QUERIES[query](tables(data, dp.scan_parquet)).collect(**options)
    assert_same_answer(query, answer, plain_answer(query, data))


def check_engine(query: int, data: Path) -> None:
    """Run a query on `polars.scan_parquet`, collected by `DaskEngine`."""
    import dask_polars as dp

    answer = QUERIES[query](tables(data)).collect(engine=dp.DaskEngine())
    assert_same_answer(query, answer, plain_answer(query, data))


@all_queries
@pytest.mark.parametrize("rows", [ONE, TWO], ids=["1-partition", "2-partitions"])
def test_collection(query: int, rows: int, small_data: Path) -> None:
    with settings(rows):
        check_collection(query, small_data, scheduler="sync")


@all_queries
def test_collection_without_broadcast(query: int, small_data: Path) -> None:
    with settings(SEVEN, **NO_BROADCAST):
        check_collection(query, small_data, scheduler="sync")


@all_queries
def test_collection_of_many_small_partitions(query: int, tiny_data: Path) -> None:
    with settings(300, **NO_BROADCAST):
        check_collection(query, tiny_data, scheduler="sync")


@all_queries
def test_everything_is_distributed(query: int, small_data: Path) -> None:
    """In seven partitions, and none of them holds all rows."""
    with settings(SEVEN, fallback="raise"):
        check_collection(query, small_data, scheduler="sync")


@all_queries
def test_engine(query: int, small_data: Path) -> None:
    with settings(SEVEN), dask.config.set(scheduler="sync"):
        check_engine(query, small_data)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("query", "check"),
    zip(QUERIES, cycle([check_collection, check_engine])),
    ids=lambda value: getattr(value, "__name__", f"q{value}"),
)
def test_cluster(query: int, check: Callable[[int, Path], None], small_data: Path, client: Any) -> None:
    """Through both front doors in turn: they make the same plan, as in `test_engine` for each query."""
    with settings(SEVEN):
        check(query, small_data)


@pytest.mark.cluster
@all_queries
def test_cluster_without_broadcast(query: int, small_data: Path, client: Any) -> None:
    with settings(SEVEN, **NO_BROADCAST):
        check_collection(query, small_data)


@pytest.mark.parametrize(("query", "height"), HEIGHTS.items())
def test_plain_answers_have_the_right_height(query: int, height: int, small_data: Path) -> None:
    assert plain_answer(query, small_data).height == height


@pytest.mark.parametrize(("query", "change"), [(1, pl.col("sum_qty") + 1), (1, pl.col("count_order").cast(pl.Int64))])
def test_a_wrong_answer_is_noticed(query: int, change: pl.Expr, small_data: Path) -> None:
    right = plain_answer(query, small_data)
    with pytest.raises(AssertionError):
        assert_same_answer(query, right.with_columns(change), right)


def test_a_wrong_order_is_noticed(small_data: Path) -> None:
    right = plain_answer(1, small_data)
    assert_same_answer(1, right, right)
    with pytest.raises(AssertionError):
        assert_same_answer(1, right.reverse(), right)


def test_queries_are_parsed() -> None:
    assert parse_queries("1,3,5-8,3") == [1, 3, 5, 6, 7, 8]
    assert parse_queries("all") == list(range(1, 23))
    with pytest.raises(ValueError, match="no such queries"):
        parse_queries("22-23")


@pytest.mark.cluster
@pytest.mark.parametrize("query", [3, 9, 18, 21], ids="q{}".format)
def test_what_is_known_to_be_small_runs_in_one_step(query: int, tiny_data: Path, client: Any) -> None:
    """The plan is the one that it would be without steps, and so are its tasks."""
    from dask_polars.config import Options
    from dask_polars.plan import plan_queries

    lf = QUERIES[query](tables(tiny_data))
    asking, silent = (plan_queries([lf], Options.current(adaptive=adaptive), client) for adaptive in (True, False))
    assert asking.questions == ()
    assert [root.token for root in asking.roots] == [root.token for root in silent.roots]
