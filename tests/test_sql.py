"""Queries in SQL are planned as the queries that they are, and give what Polars gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import MapStage, walk_stages

pytestmark = pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsWarning")

A = pl.DataFrame({"k": [1, 2, 3, 1, 2, None] * 4, "v": range(24), "s": ["x", "y", None, "z"] * 6})
B = pl.DataFrame({"k": [1, 2, 5, 2], "w": [10.0, 20.0, 50.0, None]})

QUERIES = [
    "SELECT * FROM a",
    "SELECT k, v * 2 AS w FROM a WHERE v > 3 AND s IS NOT NULL ORDER BY v DESC LIMIT 5",
    "SELECT k, SUM(v) AS total, COUNT(*) AS n, AVG(v) AS mean FROM a GROUP BY k ORDER BY k NULLS LAST",
    "SELECT k, SUM(v) AS total FROM a GROUP BY k HAVING SUM(v) > 50 ORDER BY k",
    "SELECT a.k, v, w FROM a INNER JOIN b ON a.k = b.k ORDER BY v, w",
    "SELECT a.k, v, w FROM a LEFT JOIN b USING (k) ORDER BY v, w",
    "SELECT COUNT(*) AS n, MAX(v) AS m, MEDIAN(v) AS d FROM a",
    "SELECT COUNT(DISTINCT k) AS n FROM a",
    "SELECT DISTINCT s FROM a ORDER BY s",
    "WITH big AS (SELECT * FROM a WHERE v > 10) SELECT s, MIN(v) AS v FROM big GROUP BY s ORDER BY s;",
    "SELECT k, v FROM a WHERE v < 3 UNION ALL SELECT k, v FROM a WHERE v > 20 ORDER BY v",
    "SELECT k FROM a WHERE k IN (SELECT k FROM b) ORDER BY v",
    "SELECT CASE WHEN v > 10 THEN 'many' ELSE 'few' END AS c, COUNT(*) AS n FROM a GROUP BY c ORDER BY c",
    "SELECT s, v FROM a ORDER BY v LIMIT 4 OFFSET 3",
    "SELECT v / 2 AS d, v % 5 AS m, ROUND(v * 0.3, 1) AS r, UPPER(s) || '!' AS u, SQRT(v) AS q FROM a ORDER BY v",
    "SELECT AVG(v) * 2 AS z, SUM(v) / COUNT(*) AS m, STDDEV(v) AS s FROM a",
]


@pytest.fixture(autouse=True)
def sync() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync", "dask-polars.max-rows-per-partition": 3}):
        yield


def collections() -> dict[str, Any]:
    return {"a": dp.from_polars(A, npartitions=4), "b": dp.from_polars(B, npartitions=2)}


def expected(query: str) -> pl.DataFrame:
    return pl.SQLContext(a=A, b=B).execute(query, eager=True)


@pytest.mark.parametrize("query", QUERIES)
def test_over_collections(query: str) -> None:
    result = dp.SQLContext(collections()).execute(query)
    assert isinstance(result, dp.LazyFrame)
    assert_frame_equal(result.collect(fallback="raise"), expected(query), check_row_order="ORDER" in query)


@pytest.mark.parametrize("query", QUERIES)
def test_through_the_engine(query: str) -> None:
    result = pl.SQLContext(a=A, b=B).execute(query, eager=False)
    got = result.collect(engine=dp.DaskEngine(fallback="raise", max_rows_per_partition=3))
    assert_frame_equal(got, expected(query), check_row_order="ORDER" in query)


def test_it_is_planned_as_what_it_is() -> None:
    query = dp.SQLContext(collections()).execute("SELECT k, SUM(v) AS v FROM a GROUP BY k")
    stages = list(walk_stages(plan_queries([query.to_polars()], Options.current()).roots))
    assert any(stage.operation == "groupby-partial" for stage in stages)
    assert not any(isinstance(stage, MapStage) and stage.fallback for stage in stages)


def test_sql_of_a_frame() -> None:
    lf = dp.from_polars(A, npartitions=3)
    result = lf.sql("SELECT s, SUM(v) AS v FROM self GROUP BY s ORDER BY s").filter(pl.col("v") > 1)
    wanted = A.lazy().sql("SELECT s, SUM(v) AS v FROM self GROUP BY s ORDER BY s").filter(pl.col("v") > 1)
    assert_frame_equal(result.collect(fallback="raise"), wanted.collect())
    named = lf.sql("SELECT v FROM t ORDER BY v DESC LIMIT 2", table_name="t")
    assert named.collect(fallback="raise")["v"].to_list() == [23, 22]


def test_tables_come_and_go() -> None:
    frames = collections()
    context = dp.SQLContext()
    assert context.register("a", frames["a"]) is context
    assert context.register_many({"b": frames["b"]}, c=A).tables() == ["a", "b", "c"]
    with context as inner:
        inner.register("d", frames["a"])
        assert inner.tables() == ["a", "b", "c", "d"]
    assert context.tables() == ["a", "b", "c"]
    assert context.unregister(["b", "c"]).tables() == ["a"]


def test_eager() -> None:
    query = "SELECT SUM(v) AS v FROM a"
    assert isinstance(dp.SQLContext(collections(), eager=True).execute(query), pl.DataFrame)
    assert isinstance(dp.SQLContext(collections()).execute(query, eager=True), pl.DataFrame)
    assert isinstance(dp.SQLContext(collections(), eager=True).execute(query, eager=False), dp.LazyFrame)


def test_variables_are_tables() -> None:
    one, two = dp.from_polars(A, npartitions=3), B
    assert one.npartitions > 1
    result = dp.sql("SELECT v, w FROM one JOIN two USING (k) ORDER BY v, w")
    assert isinstance(result, dp.LazyFrame)
    assert_frame_equal(result.collect(), expected("SELECT v, w FROM a JOIN b USING (k) ORDER BY v, w"))
    assert two is B
    assert dp.SQLContext(register_globals=True).execute("SELECT COUNT(*) AS n FROM one", eager=True).item() == 24


def outcome(run: Callable[[], Any]) -> tuple[type, str]:
    with pytest.raises(pl.exceptions.PolarsError) as caught:
        run()
    return caught.type, str(caught.value).splitlines()[0]


@pytest.mark.parametrize(
    "query", ["SELECT nothing FROM a", "SELECT FROM", "SELECT * FROM nowhere", "SELECT f(v) FROM a"]
)
def test_errors_are_those_of_polars(query: str) -> None:
    ours = outcome(lambda: dp.SQLContext(collections()).execute(query).collect())
    assert ours == outcome(lambda: pl.SQLContext(a=A, b=B).execute(query).collect())


def test_statements() -> None:
    context = dp.SQLContext(collections())
    assert context.execute("SHOW TABLES", eager=True)["name"].to_list() == ["a", "b"]
    context.execute("CREATE TABLE made AS SELECT v FROM a WHERE v > 20")
    assert context.execute("SELECT * FROM made ORDER BY v").collect(fallback="raise")["v"].to_list() == [21, 22, 23]
