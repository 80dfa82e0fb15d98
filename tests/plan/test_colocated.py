"""Files in the order of a key: groups and joins where the rows are, with the answer of Polars."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io import footers as io_footers
from dask_polars.io import parquet as io_parquet
from dask_polars.plan import colocated
from dask_polars.plan.planner import Planner

Tables = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Orders and their items in the order of their key, cut so that row groups and files share keys; customers are not.
    """
    root = tmp_path_factory.mktemp("lake")
    items = pl.DataFrame({"order": [key for key in range(1, 200) for _ in range(key % 6) if key % 7]}).with_columns(
        part=pl.int_range(pl.len()) * 7 % 31, price=(pl.int_range(pl.len()) * 13 % 101).cast(pl.Float64)
    )
    orders = pl.DataFrame({"id": range(210)}).filter(pl.col("id") % 5 != 0)
    orders = orders.with_columns(customer=pl.col("id") * 11 % 17, status=pl.lit("F"))
    customers = pl.DataFrame({"customer": [c * 5 % 17 for c in range(17)], "name": [f"c{c}" for c in range(17)]})
    cuts: dict[str, tuple[pl.DataFrame, int, int]] = {"items": (items, 3, 4), "orders": (orders, 2, 3)}
    for name, (frame, files, group) in cuts.items():
        (root / name).mkdir()
        height = -(-frame.height // files)
        for index in range(files):
            part = frame.slice(index * height, height)
            part.write_parquet(root / name / f"{index}.parquet", row_group_size=group)
    (root / "customers").mkdir()
    customers.write_parquet(root / "customers/0.parquet", row_group_size=4)
    return root


def tables(scan: Callable[..., Any], lake: Path) -> Tables:
    return scan(lake / "items"), scan(lake / "orders"), scan(lake / "customers")


KEYS = {"left_on": "order", "right_on": "id"}
# Each query, and whether no row may move.
QUERIES: dict[str, tuple[Callable[[Tables], Any], bool]] = {
    "group": (lambda t: t[0].group_by("order").agg(pl.col("part").n_unique(), pl.col("price").median()), True),
    "group-first": (lambda t: t[0].group_by("order").agg(pl.col("part").first(), last=pl.col("price").last()), True),
    "group-more": (lambda t: t[0].group_by("part", "order").agg(pl.col("price").median()), True),
    "group-filtered": (lambda t: t[0].filter(pl.col("part") > 9).group_by("order").agg(pl.all().n_unique()), True),
    "group-ordered": (lambda t: t[0].group_by("order", maintain_order=True).agg(pl.col("part").n_unique()), False),
    "group-other": (lambda t: t[0].group_by("part").agg(pl.col("order").n_unique()), False),
    "inner": (lambda t: t[0].join(t[1], **KEYS), True),
    "inner-turned": (lambda t: t[1].join(t[0], left_on="id", right_on="order"), True),
    "left": (lambda t: t[0].join(t[1], **KEYS, how="left"), True),
    "right": (lambda t: t[0].join(t[1], **KEYS, how="right"), True),
    "full": (lambda t: t[0].join(t[1], **KEYS, how="full"), True),
    "semi": (lambda t: t[1].join(t[0], left_on="id", right_on="order", how="semi"), True),
    "anti": (lambda t: t[1].join(t[0], left_on="id", right_on="order", how="anti"), True),
    "validated": (lambda t: t[0].join(t[1], **KEYS, validate="m:1"), True),
    "ordered": (lambda t: t[0].join(t[1], **KEYS, maintain_order="left"), False),
    "join-group": (lambda t: t[0].join(t[1], **KEYS).group_by("order").agg(pl.col("price").median()), False),
    "join-groups": (
        lambda t: t[1].join(
            t[0].group_by("order").agg(pl.col("part").n_unique()).filter(pl.col("part") > 2),
            left_on="id",
            right_on="order",
        ),
        True,
    ),
    "customers": (lambda t: t[2].join(t[1], on="customer").join(t[0], left_on="id", right_on="order"), False),
    "mean": (
        lambda t: t[1].join(t[0].filter(pl.col("price") > pl.col("price").mean()), left_on="id", right_on="order"),
        False,
    ),
    "head": (lambda t: t[1].join(t[0].head(100), left_on="id", right_on="order"), False),
    "numbered": (lambda t: t[1].join(t[0].with_row_index(), left_on="id", right_on="order"), False),
    "self": (
        lambda t: t[0].join(t[0].group_by("order").len(), on="order").filter(pl.col("len") > 1),
        True,
    ),
    "thrice": (
        lambda t: t[0].join(t[1], **KEYS).join(t[0].group_by("order").agg(pl.col("part").n_unique()), on="order"),
        True,
    ),
    "union": (lambda t: pl_concat([t[0], t[0]]).group_by("order").agg(pl.col("part").median()), False),
    "renamed": (lambda t: t[0].rename({"order": "id"}).join(t[1], on="id"), True),
    "changed": (lambda t: t[0].with_columns(pl.col("order") // 2).group_by("order").agg(pl.all().median()), False),
}


def pl_concat(frames: list[Any]) -> Any:
    return dp.concat(frames) if isinstance(frames[0], dp.LazyFrame) else pl.concat(frames)


@pytest.mark.parametrize("size", ["150 B", "600 B", "2 kB"])
@pytest.mark.parametrize("name", QUERIES)
def test_colocated(lake: Path, name: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colocated, "_SMALL", 0)
    monkeypatch.setattr(colocated, "_LARGER", 1e6)
    query, stays = QUERIES[name]
    wanted = query(tables(pl.scan_parquet, lake)).collect()
    with dask.config.set({"dask-polars.partition-size": size, "dask-polars.broadcast-limit": "1 kB"}):
        lf = query(tables(dp.scan_parquet, lake))
        found = lf.collect(scheduler="sync")
        if stays and size == "2 kB":
            assert "SHUFFLE" not in lf.explain()
            assert lf.npartitions > 1
    assert_frame_equal(found, wanted, check_row_order=name in ("group-ordered", "ordered"))


def test_files_are_not_cut_for_a_join_by_another_column(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The side would be planned again, only to see that its rows are not where the keys of the join say."""
    monkeypatch.setattr(colocated, "_SMALL", 0)
    cut_anew, asked = Planner.cut_anew, []

    def noted(planner: Planner, *bounds: Any) -> Planner:
        asked.append(bounds)
        return cut_anew(planner, *bounds)

    monkeypatch.setattr(Planner, "cut_anew", noted)
    items, orders, _ = tables(dp.scan_parquet, lake)
    joined = items.join(orders, **KEYS)
    others = orders.select(pl.col("id").alias("number"), pl.col("status").alias("other"))
    with dask.config.set({"dask-polars.partition-size": "600 B", "dask-polars.broadcast-limit": "1 kB"}):
        joined.explain()
        assert asked
        alone = len(asked)
        joined.join(others, left_on="customer", right_on="number").explain()
        assert len(asked) == 2 * alone


def test_statistics_of_nulls_and_ranges_that_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colocated, "_SMALL", 0)
    pl.DataFrame({"k": [1, 2, None, 3, 4, 5, 6, 7]}).write_parquet(tmp_path / "nulls.parquet", row_group_size=2)
    pl.DataFrame({"k": [1, 9, 2, 8, 3, 7, 4, 6]}).write_parquet(tmp_path / "mixed.parquet", row_group_size=2)
    pl.DataFrame({"k": [8, 7, 6, 5, 4, 3, 2, 1]}).write_parquet(tmp_path / "falling.parquet", row_group_size=2)
    with dask.config.set({"dask-polars.partition-size": "16 B"}):
        for name in ("nulls", "mixed", "falling"):
            lf = dp.scan_parquet(tmp_path / f"{name}.parquet").group_by("k").agg(n=pl.len(), m=pl.col("k").median())
            assert "SHUFFLE" in lf.explain(), name
            assert_frame_equal(
                lf.collect(scheduler="sync"), lf.to_polars().collect(engine="in-memory"), check_row_order=False
            )


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables of thirty files each, in the order of a key; files share keys, and one table has a file in wrong order."""
    root = tmp_path_factory.mktemp("many")
    frame = pl.DataFrame({"k": [key // 3 for key in range(300)], "v": [key * 7 % 50 for key in range(300)]})
    for name in ("left", "right", "broken"):
        (root / name).mkdir()
        for index in range(30):
            part = frame.slice(index * 10, 10)
            if (name, index) == ("broken", 14):  # none of the sample
                part = part.with_columns(pl.col("k") - 30)
            part.write_parquet(root / name / f"{index:02}.parquet")
    return root


@pytest.mark.parametrize(("left", "right", "stays"), [("left", "right", True), ("broken", "right", False)])
def test_of_many_files_footers_are_read_where_that_saves_a_shuffle(
    many_files: Path, left: str, right: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colocated, "_SMALL", 0)
    monkeypatch.setattr(colocated, "_LARGER", 1e6)
    read: list[str] = []
    original = io_footers.read_footer
    monkeypatch.setattr(io_footers, "read_footer", lambda file: read.append(file.path) or original(file))
    io_footers.footer.cache_clear()
    io_parquet._cut_before.clear()
    config = {"dask-polars.partition-size": "500 B", "dask-polars.broadcast-limit": "100 B"}
    with dask.config.set(config):
        one, other = (dp.scan_parquet(many_files / name) for name in (left, right))
        assert one.filter(pl.col("v") > 3).npartitions > 4
        assert len(read) == 8
        joined, grouped = one.join(other, on="k"), one.group_by("k").agg(pl.col("v").median())
        for lf in (joined, grouped):
            assert ("SHUFFLE" in lf.explain()) is not stays
            assert lf.npartitions > 2
            wanted = lf.to_polars().collect()
            sent = pickle.dumps(lf.expr)  # to a scheduler
            assert b"FileMetaData" not in sent
            assert b"RowGroup" not in sent
            assert_frame_equal(lf.collect(scheduler="sync"), wanted, check_row_order=False)
        assert len(set(read)) == 60
