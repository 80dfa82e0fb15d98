"""Functions of the user: run where the rows are, sent once, and their exceptions arrive as they were raised."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import cloudpickle
import polars as pl
import polars_hash as plh
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.graph.build import build_graph
from dask_polars.plan import plan_queries

pytestmark = pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")

DATA = pl.DataFrame(
    {"k": [1, 2, 3, 1, 2, None] * 4, "v": [float(i) for i in range(24)], "s": ["x", "y", None, "z"] * 6}
)
v = pl.col("v")
FLOAT = pl.Float64()

Query = Callable[[Any], Any]


def frame(npartitions: int = 4) -> Any:
    return dp.from_polars(DATA, npartitions=npartitions)


def first_row(group: pl.DataFrame) -> pl.DataFrame:
    return group.head(1)


def two_rows_backwards(group: pl.DataFrame) -> pl.DataFrame:
    return group.head(2).reverse()


WORKS: dict[str, tuple[Query, bool]] = {
    "map_elements": (lambda t: t.select(v.map_elements(lambda x: x * 2 + 1, return_dtype=FLOAT)), True),
    "map_elements_of_structs": (
        lambda t: t.select(
            pl.struct("k", "v").map_elements(lambda row: row["v"] - (row["k"] or 0), return_dtype=FLOAT)
        ),
        True,
    ),
    "map_elements_in_filter": (
        lambda t: t.filter(v.map_elements(lambda x: x > 5, return_dtype=pl.Boolean())).select("v"),
        True,
    ),
    "map_batches_elementwise": (
        lambda t: t.select(v.map_batches(lambda s: s * 2, return_dtype=FLOAT, is_elementwise=True)),
        True,
    ),
    "map_elements_then_sum": (lambda t: t.select(v.map_elements(lambda x: x + 1, return_dtype=FLOAT).sum()), True),
    "map_batches_of_groups": (
        lambda t: (
            t.group_by("k").agg(v.map_batches(lambda s: s.sum(), return_dtype=FLOAT, returns_scalar=True)).sort("k")
        ),
        True,
    ),
    "map_groups": (lambda t: t.group_by("k").map_groups(first_row, schema=DATA.schema).select("k").sort("k"), True),
    "map_groups_in_order": (
        lambda t: t.group_by("k", maintain_order=True).map_groups(two_rows_backwards, schema=DATA.schema),
        True,
    ),
    "map_groups_to_other_columns": (
        lambda t: t.group_by("k", maintain_order=True).map_groups(
            lambda group: group.select(n=pl.len(), top=pl.col("v").max()), schema={"n": pl.UInt32(), "top": FLOAT}
        ),
        True,
    ),
    "map_batches_scalar": (
        lambda t: t.select(v.map_batches(lambda s: s.sum(), return_dtype=FLOAT, returns_scalar=True)),
        False,
    ),
    "map_batches_whole": (lambda t: t.select(v.map_batches(lambda s: s.head(3), return_dtype=FLOAT)), False),
    "lazyframe_map_batches": (lambda t: t.map_batches(lambda df: df.head(3)), False),
    "pipe": (lambda t: t.pipe(lambda lf, n: lf.filter(v > n), 5.0).select(v.sum()), True),
    "pipe_with_schema": (
        lambda t: t.pipe_with_schema(lambda lf, schema: lf.select(pl.col(list(schema)[1]).sort(descending=True))),
        True,
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_functions_give_what_they_give_with_polars(name: str) -> None:
    query, distributed = WORKS[name]
    got = query(frame()).collect(scheduler="sync", fallback="raise" if distributed else "silent")
    assert_frame_equal(got, query(DATA.lazy()).collect())


class RefusedError(ValueError):
    """An exception of the user's own."""


def refuse(value: float) -> float:
    if value == 7:
        raise RefusedError(f"no {value}")
    return value


def refuse_series(values: pl.Series) -> pl.Series:
    return pl.Series([refuse(value) for value in values])


def refuse_frame(rows: pl.DataFrame) -> pl.DataFrame:
    refuse(7)
    return rows


RAISES: dict[str, Query] = {
    "map_elements": lambda t: t.select(v.map_elements(refuse, return_dtype=FLOAT)),
    "map_batches_elementwise": lambda t: t.select(
        v.map_batches(refuse_series, return_dtype=FLOAT, is_elementwise=True)
    ),
    "map_batches": lambda t: t.select(v.map_batches(refuse_series, return_dtype=FLOAT)),
    "map_groups": lambda t: t.group_by("k").map_groups(refuse_frame, schema=DATA.schema),
    "map_groups_in_order": lambda t: t.group_by("k", maintain_order=True).map_groups(refuse_frame, schema=DATA.schema),
    "map_batches_of_groups": lambda t: t.group_by("k").agg(v.map_batches(refuse_series, return_dtype=FLOAT)),
    "lazyframe_map_batches": lambda t: t.map_batches(refuse_frame),
    "pipe": lambda t: t.pipe(refuse_frame),
}


@pytest.mark.parametrize("name", RAISES)
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_exceptions_arrive_as_they_were_raised(name: str, scheduler: str) -> None:
    with pytest.raises(RefusedError) as plain:
        RAISES[name](DATA.lazy()).collect()
    with pytest.raises(RefusedError) as ours:
        RAISES[name](frame()).collect(scheduler=scheduler, fallback="silent")
    assert str(ours.value).splitlines()[0] == str(plain.value).splitlines()[0]
    assert "refuse" in {entry.name for entry in traceback.extract_tb(ours.value.__traceback__)}


def test_exceptions_name_where_they_happened() -> None:
    with pytest.raises(RefusedError) as caught:
        frame().select(v.map_elements(refuse, return_dtype=FLOAT)).collect(scheduler="sync")
    assert any("partition 1" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("kind", ["elements", "groups"])
def test_functions_are_sent_once(kind: str) -> None:
    ballast = bytes(range(256)) * 4000

    def function(value: Any) -> Any:
        return value if ballast else None

    if kind == "elements":
        query = frame(20).select(v.map_elements(function, return_dtype=FLOAT))
    else:
        query = frame(20).group_by("k").map_groups(function, schema=DATA.schema)
    plan = plan_queries([query.to_polars()], Options.current(partition_size="100 B"))
    assert plan.roots[0].npartitions > 3
    graph, _ = build_graph(plan.roots, p2p_shuffle=False)
    heavy = [key for key, task in graph.items() if len(cloudpickle.dumps(task)) > len(ballast)]
    assert len(heavy) == 1


def test_plugins_run_where_the_rows_are() -> None:
    text = plh.col("s")
    query = frame().select("v", h=text.nchash.wyhash()).filter(pl.col("h").is_not_null())
    wanted = DATA.lazy().select("v", h=text.nchash.wyhash()).filter(pl.col("h").is_not_null()).collect()
    assert_frame_equal(query.collect(scheduler="sync", fallback="raise"), wanted)
    assert query.npartitions == 4
