"""Rows that can match nothing are left out before they are shuffled, and parts that are read twice are computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ScanStage, ShuffleStage, walk_stages

SETTINGS: dict[str, Any] = {
    "dask-polars.broadcast-limit": 5200,
    "dask-polars.partition-size": 1500,
    "dask-polars.fallback": "raise",
    "scheduler": "sync",
}
Tables = tuple[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts, their stock, lines that sell them, and the orders of these: in no order of any key, with nulls among the keys."""
    root = tmp_path_factory.mktemp("lake")
    index = pl.int_range(pl.len())
    part = pl.DataFrame({"part": range(200)}).with_columns(size=index % 20, word=pl.format("w{}", index % 3))
    stock = pl.DataFrame({"spart": [p * 7 % 200 for p in range(200) for _ in range(3)]}).with_columns(
        where=index % 3, cost=(index * 13 % 101).cast(pl.Float64)
    )
    line = pl.DataFrame({"lpart": [n * 31 % 203 if n % 50 else None for n in range(900)]}).with_columns(
        lwhere=index % 3, order=index * 17 % 90, price=(index * 29 % 97).cast(pl.Float64)
    )
    order = pl.DataFrame({"id": [n * 11 % 100 for n in range(100)]}).with_columns(day=index % 9)
    for name, frame in {"part": part, "stock": stock, "line": line, "order": order}.items():
        (root / name).mkdir()
        height = -(-frame.height // 4)
        for number in range(4):
            frame.slice(number * height, height).write_parquet(root / name / f"{number}.parquet", row_group_size=60)
    return root


def tables(scan: Callable[..., Any], lake: Path) -> Tables:
    part, stock, line, order = (scan(lake / name) for name in ("part", "stock", "line", "order"))
    return part, stock, line, order


def small(t: Tables) -> Any:
    return t[0].filter(pl.col("size") == 3).select("part")


def sold(t: Tables) -> Any:
    return small(t).join(t[2], left_on="part", right_on="lpart")


STOCK: dict[str, Any] = {"left_on": ["part", "lwhere"], "right_on": ["spart", "where"]}
# Each query, and whether rows are left out.
QUERIES: dict[str, tuple[Callable[[Tables], Any], bool]] = {
    "chain": (lambda t: sold(t).join(t[1], **STOCK), True),
    "chain-turned": (lambda t: t[1].join(sold(t), left_on=["spart", "where"], right_on=["part", "lwhere"]), True),
    "left": (lambda t: sold(t).join(t[1], **STOCK, how="left"), True),
    "left-kept": (lambda t: t[1].join(sold(t), left_on="spart", right_on="part", how="left"), False),
    "right": (lambda t: t[1].join(sold(t), left_on="spart", right_on="part", how="right"), True),
    "right-kept": (lambda t: sold(t).join(t[1], **STOCK, how="right"), False),
    "full": (lambda t: sold(t).join(t[1], **STOCK, how="full"), False),
    "semi": (lambda t: t[1].join(sold(t), left_on="spart", right_on="part", how="semi"), True),
    "semi-turned": (lambda t: sold(t).join(t[1], **STOCK, how="semi"), True),
    "anti": (lambda t: sold(t).join(t[1].with_columns(pl.col("where") + 1), **STOCK, how="anti"), True),
    "anti-kept": (lambda t: t[1].join(sold(t), left_on="spart", right_on="part", how="anti"), False),
    "nulls-equal": (lambda t: sold(t).join(t[1], **STOCK, nulls_equal=True), False),
    "validated": (lambda t: sold(t).join(t[1], **STOCK, validate="m:1"), False),
    "in-order": (
        lambda t: (
            small(t)
            .join(t[2], left_on="part", right_on="lpart", maintain_order="right")
            .join(t[1], **STOCK, maintain_order="left_right")
        ),
        True,
    ),
    "renamed": (
        lambda t: (
            sold(t)
            .select(pl.col("part").alias("p"), "price", w=pl.col("lwhere") + 0)
            .join(t[1].rename({"spart": "s"}).with_columns(twice=pl.col("cost") * 2), left_on="p", right_on="s")
        ),
        True,
    ),
    "computed": (lambda t: sold(t).join(t[1], left_on=pl.col("part") + 1, right_on="spart"), False),
    "through-groups": (
        lambda t: sold(t).join(
            t[1]
            .group_by("spart")
            .agg(
                pl.col("cost").median(),
                pl.col("cost").min().alias("a"),
                pl.col("cost").max().alias("b"),
                n=pl.len(),
                m=pl.col("where").max(),
            ),
            left_on="part",
            right_on="spart",
        ),
        True,
    ),
    "from-groups": (
        lambda t: (
            small(t).join(t[2], left_on="part", right_on="lpart").group_by("part").agg(pl.col("price").median())
        ).join(t[1], left_on="part", right_on="spart"),
        False,  # there are few of them
    ),
    "through-a-join": (
        lambda t: sold(t).join(
            t[1].join(t[2], left_on="spart", right_on="lpart", suffix="_of_line"), left_on="part", right_on="spart"
        ),
        True,
    ),
    "through-what-may-fail": (
        lambda t: sold(t).join(
            t[1].with_columns(text=pl.col("cost").cast(pl.String).cast(pl.Float64)), left_on="part", right_on="spart"
        ),
        True,
    ),
    "after-a-mean": (
        lambda t: sold(t).join(
            t[1].with_columns(pl.col("cost") - pl.col("cost").mean()), left_on="part", right_on="spart"
        ),
        False,
    ),
    "whole-table": (lambda t: t[0].join(t[2], left_on="part", right_on="lpart").join(t[1], **STOCK), False),
    "of-different-rows": (lambda t: sold(t).join(t[1].unique(), left_on="part", right_on="spart"), True),
    "nothing-left": (
        lambda t: (
            t[0]
            .filter(pl.col("size") == 33)
            .select("part")
            .join(t[2], left_on="part", right_on="lpart")
            .join(t[1], **STOCK)
        ),
        True,
    ),
}


def reads_of_lines(query: Any) -> int:
    stages = list(walk_stages(plan_queries([query.to_polars()], Options.current()).roots))
    lines = [stage for stage in stages if isinstance(stage, ScanStage) and "price" in stage.schema]
    return sum(scan.token == below.token for stage in stages for below in stage.inputs for scan in lines)


@pytest.mark.parametrize("partition_size", [1500, 200])
@pytest.mark.parametrize("name", QUERIES)
def test_rows_are_left_out(name: str, partition_size: int, lake: Path) -> None:
    query, filtered = QUERIES[name]
    with dask.config.set(SETTINGS | {"dask-polars.partition-size": partition_size}):
        ours = query(tables(dp.scan_parquet, lake))
        expected, found = query(tables(pl.scan_parquet, lake)).collect(), ours.collect()
        before = ours.explain().count("SEMI JOIN")
    own = 1 if name.startswith("semi") else 0
    assert (before > own) == filtered
    assert_frame_equal(found, expected, check_row_order="order" in name)
    assert expected.height or name == "nothing-left"


def test_chains_may_be_long(lake: Path) -> None:
    t = tables(pl.scan_parquet, lake)
    stock = t[1]
    for _ in range(1100):
        stock = stock.with_columns(pl.col("cost") + 1)
    with dask.config.set(SETTINGS):
        assert plan_queries([sold(t).join(stock, left_on="part", right_on="spart")], Options.current()).roots


def test_errors_of_groups_without_a_match_are_raised(lake: Path) -> None:
    def query(t: Tables) -> Any:
        # All that match are alone in their group.
        stock = t[1].filter((pl.col("spart") % 20 != 3) | (pl.col("where") == 0)).group_by("spart")
        costs = {name: pl.col("cost").max() for name in "abc"}
        return sold(t).join(stock.agg(pl.col("cost").item(), **costs), left_on="part", right_on="spart")

    for scan in (pl.scan_parquet, dp.scan_parquet):
        with dask.config.set(SETTINGS), pytest.raises(pl.exceptions.ComputeError, match="item"):
            query(tables(scan, lake)).collect()


def test_a_side_that_is_left_with_few_rows_is_broadcast(lake: Path) -> None:
    with dask.config.set(SETTINGS):
        query = QUERIES["chain"][0](tables(dp.scan_parquet, lake))
        plan = plan_queries([query.to_polars()], Options.current())
    assert not [stage for stage in walk_stages(plan.roots) if isinstance(stage, ShuffleStage)]


def test_frames_say_nothing_of_their_keys(lake: Path) -> None:
    def frames(path: Path) -> Any:
        return dp.from_polars(pl.read_parquet(path), npartitions=4)

    query = QUERIES["chain"][0]
    with dask.config.set(SETTINGS):
        ours = query(tables(frames, lake))
        assert "SEMI JOIN" not in ours.explain()
        assert_frame_equal(ours.collect(), query(tables(pl.scan_parquet, lake)).collect(), check_row_order=False)


# ---------------------------------------------------------------- parts that are read more than once


def lines(t: Tables) -> Any:
    return t[2].join(t[3], left_on="order", right_on="id")


def mean_of(rows: Any) -> Any:
    return rows.group_by("lpart").agg(usual=pl.col("price").mean())


# Each query, and whether its lines are read once.
TWICE: dict[str, tuple[Callable[[Tables], Any], bool]] = {
    "other-columns": (lambda t: lines(t).join(mean_of(lines(t)), on="lpart"), True),
    "one-filtered": (lambda t: lines(t).join(mean_of(lines(t).filter(pl.col("day") == 2)), on="lpart"), True),
    "both-filtered": (
        lambda t: lines(t).filter(pl.col("day") == 3).join(mean_of(lines(t).filter(pl.col("day") == 2)), on="lpart"),
        False,
    ),
    "no-columns": (lambda t: lines(t).select("lpart").join(lines(t).select(n=pl.len()), how="cross"), True),
    "three-times": (
        lambda t: (
            lines(t)
            .join(mean_of(lines(t)), on="lpart")
            .join(lines(t).group_by("lpart").agg(pl.col("day").max().alias("last")), on="lpart")
        ),
        True,
    ),
    "of-which-some-are-dropped": (
        lambda t: lines(t).drop("price").join(lines(t).group_by("lpart").agg(pl.col("day").max()), on="lpart"),
        True,
    ),
    "by-their-numbers": (
        lambda t: (
            lines(t)
            .select(pl.nth(0), v=pl.nth(2))
            .join(lines(t).group_by("lpart").agg(pl.col("day").max().alias("last")), on="lpart")
        ),
        True,
    ),
    "after-groups": (
        lambda t: (
            lines(t)
            .select("lpart", v="day")
            .join(lines(t).group_by("order").agg(v=pl.col("day").n_unique()).select("order", "v"), on="v")
        ),
        True,
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_part_that_is_read_twice_is_computed_once(name: str, lake: Path) -> None:
    query, once = TWICE[name]
    with dask.config.set(SETTINGS):
        ours = query(tables(dp.scan_parquet, lake))
        assert (reads_of_lines(ours) == 1) == once
        assert_frame_equal(ours.collect(), query(tables(pl.scan_parquet, lake)).collect(), check_row_order=False)
