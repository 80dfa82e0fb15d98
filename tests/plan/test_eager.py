"""Aggregations of one side of a join are computed by its keys before the join, where that leaves far fewer rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import MapStage, walk_stages

Sides = tuple[Any, Any]

LINES = pl.DataFrame(
    {
        "k": [n * 37 % 50 if n % 13 else None for n in range(900)],
        "f": [n * 11 % 3 for n in range(900)],
        "i": [n * 17 % 101 if n % 5 else None for n in range(900)],
        "x": [n / 8 if n % 3 else None for n in range(900)],
        "s": [f"s{n * 7 % 29}" if n % 4 else None for n in range(900)],
    },
    schema_overrides={"f": pl.Int8, "i": pl.Int16},
)
# Some keys are there twice, some are null, and some match nothing.
PEOPLE = pl.DataFrame(
    {
        "k": [*range(30, 90), *range(40, 50), None, None],
        "f": [n % 3 for n in range(72)],
        "g": ["a" if n % 3 else None if n % 2 else "b" for n in range(72)],
    },
    schema_overrides={"f": pl.Int8},
)

EAGER: dict[str, Callable[[Sides], Any]] = {
    "count": lambda s: s[1].join(s[0], on="k", how="left").group_by("k").agg(pl.col("i").count()),
    "inner": lambda s: s[1].join(s[0], on="k").group_by("g").agg(pl.col("i").sum(), pl.col("x").mean(), pl.len()),
    "left": lambda s: s[1].join(s[0], on="k", how="left").group_by("g").agg(pl.col("i").sum(), pl.col("x").mean()),
    "extremes": lambda s: (
        s[1].join(s[0], on="k", how="left").group_by("k", "g").agg(pl.col("s").min(), t=pl.col("s").max())
    ),
    "other-side": lambda s: s[0].join(s[1], on="k").group_by("g").agg(pl.col("i").sum() + pl.len(), pl.col("x").max()),
    "filtered": lambda s: (
        s[1].join(s[0].filter(pl.col("x") > 9), on="k", how="left").group_by("k").agg(pl.col("x", "i").count())
    ),
    "arithmetic": lambda s: s[1].join(s[0], on="k").group_by("g").agg((pl.col("x") * 2 - pl.col("i")).sum()),
    "computed-keys": lambda s: (
        s[1].join(s[0], on="k").group_by(pl.col("k") % 4, pl.col("g").is_null().alias("h")).agg(pl.col("i").sum())
    ),
    "nulls-equal": lambda s: (
        s[1].join(s[0], on="k", how="left", nulls_equal=True).group_by("k").agg(pl.col("i").count(), pl.col("x").sum())
    ),
    "two-keys": lambda s: s[1].join(s[0], on=["k", "f"], how="left").group_by("g").agg(pl.col("x").count()),
    "other-names": lambda s: (
        s[1].join(s[0].rename({"k": "q"}), left_on="k", right_on="q", coalesce=False).group_by("g").agg(pl.max("q"))
    ),
    "columns-left-out": lambda s: (
        s[1].join(s[0], on="k").select("k", "i", z=pl.col("f")).group_by("k").agg(pl.col("i").sum().alias("total"))
    ),
    "above": lambda s: (
        s[1].join(s[0], on="k", how="left").group_by("k").agg(n=pl.col("x").count()).group_by("n").agg(pl.len())
    ),
    "then-joined": lambda s: (
        s[1].join(s[0], on="k").group_by("k").agg(pl.col("i").sum()).filter(pl.col("i") > 99).join(s[1], on="k")
    ),
    "none-left": lambda s: (
        s[1]
        .join(s[0].filter(pl.col("x") * 0 < 0), on="k", how="left")
        .group_by("g")
        .agg(pl.col("x").sum(), pl.max("s"))
    ),
}
# What is counted or taken of rows without a match, the order of rows, both sides together, keys of nearly as many values as rows.
AS_WRITTEN: dict[str, Callable[[Sides], Any]] = {
    "in-an-aggregation": lambda s: (
        s[1].join(s[0], on="k").group_by("g").agg(pl.col("i").filter(pl.col("x") > 40).count(), y=pl.col("x").sum())
    ),
    "nulls-of-left": lambda s: (
        s[1]
        .join(s[0], on="k", how="left")
        .group_by("g")
        .agg(pl.col("x").is_null().sum(), pl.col("i").fill_null(3).max())
    ),
    "otherwise-of-left": lambda s: (
        s[1].join(s[0], on="k", how="left").group_by("g").agg(pl.when(pl.col("x") > 9).then(0).otherwise(1).sum())
    ),
    "may-fail": lambda s: (
        s[1]
        .join(s[0].with_columns(t=pl.when(pl.col("k") < 30).then(pl.lit("no")).otherwise(pl.lit("7"))), on="k")
        .group_by("g")
        .agg(pl.col("t").cast(pl.Int64).sum())
    ),
    "names-of-ours": lambda s: (
        s[1].with_columns(__dp_partial_0=pl.lit(1)).join(s[0], on="k").group_by("g").agg(pl.col("i").sum())
    ),
    "read-by-others-too": lambda s: (
        (j := s[1].join(s[0], on="k")).join(j.group_by("g").agg(m=pl.col("x").mean()), on="g").select("g", "x", "m")
    ),
    "len-of-left": lambda s: s[1].join(s[0], on="k", how="left").group_by("g").agg(pl.len()),
    "col-len-of-left": lambda s: s[1].join(s[0], on="k", how="left").group_by("g").agg(pl.col("x").len()),
    "null-count": lambda s: s[1].join(s[0], on="k", how="left").group_by("g").agg(pl.col("x").null_count()),
    "both-sides": lambda s: s[1].join(s[0], on="k").group_by("g").agg((pl.col("x") * pl.col("f")).sum()),
    "of-both-sides": lambda s: s[1].join(s[0], on="k").group_by("g").agg(pl.col("x").sum(), pl.col("k").max()),
    "keys-of-both": lambda s: s[1].join(s[0], on="k").group_by("g", "s").agg(pl.col("i").sum()),
    "whole-groups": lambda s: s[1].join(s[0], on="k").group_by("g").agg(pl.col("x").median()),
    "full": lambda s: s[1].join(s[0], on="k", how="full").group_by("g").agg(pl.col("x").count()),
    "semi": lambda s: s[1].join(s[0], on="k", how="semi").group_by("g").agg(pl.col("f").count()),
    "filter-above": lambda s: (
        s[1].join(s[0], on="k").filter(pl.col("x") > pl.col("f")).group_by("g").agg(pl.col("x").count())
    ),
    "many-keys": lambda s: s[0].join(s[0].select("x", j="i"), on="x").group_by("s").agg(pl.col("j").sum()),
    "right-of-left": lambda s: s[0].join(s[1], on="k", how="left").group_by("g").agg(pl.col("x").sum()),
    "validated": lambda s: (
        s[1]
        .unique("k", keep="first", maintain_order=True)
        .join(s[0], on="k", validate="1:m")
        .group_by("g")
        .agg(pl.max("x"))
    ),
    "having": lambda s: s[1].join(s[0], on="k").group_by("g").having(pl.col("x").sum() > 1).agg(pl.col("x").count()),
}


@pytest.fixture(scope="module", params=[2, 5, 30], ids="{}-files".format)
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """Lines and people, in as many files, the last of which has no rows."""
    directory = tmp_path_factory.mktemp("eager")
    for name, frame in (("lines", LINES), ("people", PEOPLE)):
        rows = -(-frame.height // (request.param - 1))
        parts = [*frame.iter_slices(rows), frame.clear()]
        (directory / name).mkdir()
        for number, part in enumerate(parts):
            part.write_parquet(directory / name / f"{number:03}.parquet", row_group_size=100)
    return dp.scan_parquet(directory / "lines"), dp.scan_parquet(directory / "people")


def aggregates_before(query: dp.LazyFrame) -> bool:
    """Say whether a join has partial results of a group_by on a side."""
    stages = walk_stages(plan_queries([query.to_polars()], Options.current()).roots)
    joins = [stage for stage in stages if isinstance(stage, MapStage) and stage.operation.startswith("join")]
    return any("__dp_partial_0" in item.stage.schema for join in joins for item in join.sources)


@pytest.mark.parametrize("name", [*EAGER, *AS_WRITTEN])
def test_aggregated_before_a_join(name: str, sides: Sides) -> None:
    query = {**EAGER, **AS_WRITTEN}[name]
    want = query((LINES.lazy(), PEOPLE.lazy())).collect()
    small = {"dask-polars.broadcast-limit": 0, "dask-polars.partition-size": 1000, "dask-polars.split-every": 2}
    with dask.config.set({**small, "scheduler": "sync"}):
        got = query(sides)
        assert_frame_equal(got.collect(), want, check_row_order=False, check_column_order=True)
        assert aggregates_before(got) == (name in EAGER)
    with dask.config.set(scheduler="sync"):
        assert_frame_equal(query(sides).collect(), want, check_row_order=False)
        assert not aggregates_before(query(sides))
