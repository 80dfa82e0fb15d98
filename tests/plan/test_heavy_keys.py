"""Keys with most of the rows of a join: their rows are dealt out to several partitions."""

from __future__ import annotations

from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.heavy_kernels import BUCKET, ROWS, Share, choose_routes, send_by_routes
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ShuffleStage, walk_stages
from dask_polars.shuffle.frames import PARTITION_COLUMN
from tests.helpers import assert_same

COUNTED: dict[str, Any] = {"broadcast-limit": 0, "partition-size": 400, "count-keys-above": 0}
# Nine rows of ten have one key; a key of the other side is there twice; some match nothing.
SKEWED = pl.DataFrame({"k": [7 if index % 10 else index % 70 for index in range(600)], "v": range(600)})
KEYS = pl.DataFrame({"k": [*range(0, 90, 3), 7, 7], "w": range(32)})
HEAVY_TOO = pl.DataFrame({"k": [7] * 20 + list(range(40)), "w": range(60)})
WITH_NULLS = SKEWED.with_columns(pl.when(pl.col("k") != 7).then("k"))
NULLS = KEYS.with_columns(pl.when(pl.col("k") != 7).then("k"))


def heights(lf: dp.LazyFrame) -> list[int]:
    with dask.config.set({"scheduler": "sync", **{f"dask-polars.{name}": value for name, value in COUNTED.items()}}):
        return lf.map_partitions(lambda part: part.select(pl.len())).collect()["len"].to_list()


def is_counted(lf: dp.LazyFrame, **options: Any) -> bool:
    settings = {name.replace("-", "_"): value for name, value in COUNTED.items()} | options
    plan = plan_queries([lf.to_polars()], Options.current(**settings))
    return any(stage.operation == "heavy-keys" for stage in walk_stages(plan.roots))


@pytest.fixture
def many() -> dp.LazyFrame:
    return dp.from_polars(SKEWED, npartitions=6)


@pytest.fixture
def few() -> dp.LazyFrame:
    return dp.from_polars(KEYS, npartitions=3)


@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
def test_rows_of_a_heavy_key_are_in_several_partitions(how: Any, many: dp.LazyFrame, few: dp.LazyFrame) -> None:
    found = heights(many.join(few if how != "anti" else few.filter(pl.col("k") != 7), on="k", how=how))
    assert len(found) == 6
    assert max(found) < sum(found) / 4


@pytest.mark.parametrize("how", ["inner", "right"])
def test_the_right_side_is_split_where_the_left_one_may_be_copied(how: Any) -> None:
    many, few = dp.from_polars(SKEWED, npartitions=6), dp.from_polars(KEYS, npartitions=3)
    found = heights(few.join(many, on="k", how=how))
    assert max(found) < sum(found) / 4


@pytest.mark.parametrize("right", [KEYS, HEAVY_TOO, KEYS.clear()], ids=["few", "heavy_too", "empty"])
@pytest.mark.parametrize("how", ["inner", "left", "right", "full", "semi", "anti"])
def test_the_answer_is_that_of_polars(how: Any, right: pl.DataFrame) -> None:
    data = {"a": SKEWED, "b": right}
    assert_same(lambda t: t.a.join(t.b, on="k", how=how), data, order="any", npartitions=5, config=COUNTED)
    order = "left" if how in ("semi", "anti") else "left_right"

    def in_order(t: Any) -> Any:
        return t.a.join(t.b, on="k", how=how, maintain_order=order)

    assert_same(in_order, data, order="promised", npartitions=3, config=COUNTED, with_empties=True)


@pytest.mark.parametrize("nulls_equal", [False, True])
@pytest.mark.parametrize("how", ["inner", "left", "right", "anti"])
def test_null_keys(how: Any, nulls_equal: bool) -> None:
    data = {"a": WITH_NULLS, "b": NULLS}

    def joined(t: Any) -> Any:
        return t.a.join(t.b, on="k", how=how, nulls_equal=nulls_equal)

    assert_same(joined, data, order="any", npartitions=5, config=COUNTED)


@pytest.mark.parametrize("validate", ["m:1", "1:m", "1:1"])
@pytest.mark.parametrize("unique", [False, True])
def test_keys_are_checked(validate: Any, unique: bool) -> None:
    """A check of keys is right wherever rows are: the side that is checked is never split."""
    right = KEYS.unique("k", maintain_order=True) if unique else KEYS

    def joined(t: Any) -> Any:
        return t.a.join(t.b, on="k", validate=validate)

    assert_same(joined, {"a": SKEWED, "b": right}, order="any", npartitions=5, config=COUNTED)


def test_what_comes_after_knows_that_keys_are_not_placed() -> None:
    def grouped(t: Any) -> Any:
        groups = t.a.join(t.b, on="k").group_by("k").agg(pl.col("v").median(), pl.len())
        return groups.join(t.a.join(t.b, on="k", how="left"), on="k")

    assert_same(grouped, {"a": SKEWED, "b": KEYS}, order="any", npartitions=5, config=COUNTED)


def test_keys_of_computed_rows_are_counted_once_they_are_there() -> None:
    def joined(t: Any) -> Any:
        return t.a.join(t.b, on="v").join(t.c, on="k", how="left")

    data = {"a": SKEWED, "b": SKEWED.select("v", x="k"), "c": KEYS}
    assert_same(joined, data, order="any", npartitions=4, config=COUNTED)


def test_counts_of_many_partitions_are_put_together_in_a_tree() -> None:
    def joined(t: Any) -> Any:
        return t.a.join(t.b, on="k", how="left")

    config = {**COUNTED, "split-every": 2}
    assert_same(joined, {"a": SKEWED, "b": KEYS}, order="any", npartitions=7, config=config)


@pytest.mark.cluster
def test_on_a_cluster(client: Any) -> None:
    def joined(t: Any) -> Any:
        return t.a.join(t.b, on="k", how="left", maintain_order="left_right")

    assert_same(joined, {"a": SKEWED, "b": KEYS}, order="promised", npartitions=5, config=COUNTED, client=client)


def test_only_what_is_large_and_may_be_split_is_counted(many: dp.LazyFrame, few: dp.LazyFrame) -> None:
    assert is_counted(many.join(few, on="k"))
    assert not is_counted(many.join(few, on="k"), count_keys_above="1 GiB")
    assert not is_counted(many.join(few, on="k"), count_keys_above=None)
    assert not is_counted(many.join(few, on="k", how="full"))
    assert not is_counted(many.join(few, on="k", validate="1:1"))
    assert not is_counted(many.join(few, on="k"), broadcast_limit="1 MiB")
    assert is_counted(few.join(many, on="k", how="left"), count_keys_above=0)
    assert not is_counted(few.join(many, on="k", how="left"), count_keys_above=2000)  # the left side is small


def test_what_is_not_counted_is_placed_as_ever(many: dp.LazyFrame, few: dp.LazyFrame) -> None:
    query = many.join(few, on="k").group_by("k").agg(pl.col("v").median())
    options = Options.current(broadcast_limit=0, partition_size=400)
    found = [s for s in walk_stages(plan_queries([query.to_polars()], options).roots) if isinstance(s, ShuffleStage)]
    assert len(found) == 2


# ---------------------------------------------------------------- the functions


def counts(**rows: int) -> pl.DataFrame:
    values = {BUCKET: [int(name[1:]) for name in rows], ROWS: list(rows.values())}
    return pl.DataFrame(values, schema={BUCKET: pl.UInt32, ROWS: pl.UInt64})


def routes(*values: Any) -> list[tuple[Any, ...]]:
    return choose_routes(*values).rows()


def test_a_bucket_of_more_than_a_partition_goes_to_those_with_the_least_in_them() -> None:
    share = Share("left", 100, 8)
    assert routes(counts(b0=90, b1=90, b2=90, b3=90), (share,), 4) == []
    assert routes(counts(b0=1, b1=90, b2=80, b3=250, b5=10), (share,), 4) == [(3, "left", [0, 2, 3])]
    assert routes(pl.concat([counts(b3=150), counts(b3=150, b2=1)]), (share,), 4) == [(3, "left", [0, 1, 3])]


def test_there_are_no_more_parts_than_partitions() -> None:
    assert routes(counts(b1=1000), (Share("left", 10, 8),), 3) == [(1, "left", [0, 1, 2])]


def test_no_bucket_is_split_that_is_no_more_than_an_even_load() -> None:
    assert routes(counts(b0=900, b1=1000, b2=900), (Share("left", 10, 8),), 2) == []


def test_of_two_heavy_sides_the_larger_one_is_split() -> None:
    shares = (Share("left", 10, 8), Share("right", 10, 8))
    (found,) = routes(counts(b0=40), counts(b0=90), shares, 2)
    assert found[1] == "right"
    (found,) = routes(counts(b0=40), counts(b0=90), (Share("left", 10, 80), shares[1]), 2)
    assert found[1] == "left"


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_one_side_are_dealt_out_and_those_of_the_other_are_copied(side: str) -> None:
    found = choose_routes(counts(b3=300), (Share("left", 100, 8),), 4).lazy()
    rows = pl.DataFrame({"v": range(5), BUCKET: pl.Series([3, 3, 6, 3, 3], dtype=pl.UInt32)})
    sent = send_by_routes(rows.lazy(), found, 1, side, 4).collect()
    assert sent.schema == {"v": pl.Int64, PARTITION_COLUMN: pl.UInt32}
    places = sent.group_by("v", maintain_order=True).agg(PARTITION_COLUMN)[PARTITION_COLUMN].to_list()
    assert places[2] == [2]
    assert places[:2] + places[3:] == ([[1], [2], [1], [2]] if side == "left" else [[0, 1, 2]] * 4)
