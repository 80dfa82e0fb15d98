"""Groups and unique rows before a shuffle: each task sees whether it makes fewer rows, and otherwise leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.graph import worker
from dask_polars.kernels import makes_fewer, some_of
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ReduceStage, walk_stages

SETTINGS: dict[str, Any] = {"dask-polars.partition-size": 500, "dask-polars.split-every": 2, "scheduler": "sync"}
ROWS = pl.DataFrame(
    {
        "k": [n if n % 9 else None for n in range(240)],
        "few": [n % 5 if n % 11 else None for n in range(240)],
        "name": [f"name {n * 7 % 230}" if n % 13 else None for n in range(240)],
        "f": [float("nan") if n % 17 == 0 else n / 4 if n % 7 else None for n in range(240)],
        "i8": [n % 100 if n % 3 else None for n in range(240)],
        "u16": [n * 50 for n in range(240)],
        "yes": [n % 3 == 0 if n % 5 else None for n in range(240)],
        "day": [n * 3 if n % 4 else None for n in range(240)],
        "took": [n * 1000 for n in range(240)],
        "cost": [Decimal(n).scaleb(-2) if n % 6 else None for n in range(240)],
    },
    schema_overrides={
        "i8": pl.Int8,
        "u16": pl.UInt16,
        "day": pl.Date,
        "took": pl.Duration("ms"),
        "cost": pl.Decimal(10, 2),
    },
)

# Each query, and whether its tasks look at the keys first.
QUERIES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "sums": (lambda q: q.group_by("k").agg(pl.col("f", "i8", "u16", "yes", "took", "cost").sum()), True),
    "counts": (lambda q: q.group_by("k").agg(pl.len(), pl.col("f", "name").count(), n=pl.col("i8").len()), True),
    "means": (lambda q: q.group_by("name").agg(pl.col("f", "i8", "yes", "day", "took").mean()), True),
    "extremes": (
        lambda q: q.group_by("k").agg(pl.all().exclude("k").min(), pl.all().exclude("k").max().name.suffix("_")),
        True,
    ),
    "first": (lambda q: q.group_by("k").agg(pl.col("f", "i8").first(), pl.col("name").last()), True),
    "two-keys": (lambda q: q.group_by("few", "name").agg(pl.col("u16").sum(), pl.col("f").max()), True),
    "computed": (
        lambda q: q.group_by(pl.col("k") // 2, n=pl.col("name").str.len_chars()).agg((pl.col("f") * 2).sum()),
        True,
    ),
    "over-both": (lambda q: q.group_by("k").agg(pl.col("f").sum() / pl.len(), pl.lit(3).alias("three")), True),
    "few": (lambda q: q.group_by("few").agg(pl.col("u16").sum(), pl.col("name").min()), True),
    "after-a-filter": (lambda q: q.filter(pl.col("few") > 9).group_by("k").agg(pl.col("f").sum()), True),
    "having": (lambda q: q.group_by("k").having(pl.len() < 3).agg(pl.col("f").sum()), True),
    "above": (
        lambda q: q.group_by("k").agg(pl.col("u16").sum()).filter(pl.col("u16") > 99).group_by("u16").len(),
        True,
    ),
    "filters-inside": (lambda q: q.group_by("k").agg(pl.col("f").filter(pl.col("i8") > 9).sum()), False),
    "deviation": (lambda q: q.group_by("k").agg(pl.col("i8").std(), pl.col("f").sum()), False),
    "nested-keys": (lambda q: q.group_by(pl.struct("k", "few")).agg(pl.col("u16").sum()), False),
    "literals": (lambda q: q.group_by(pl.lit(1).alias("one")).agg(pl.col("u16").sum(), pl.len()), False),
    "literals-of-nothing": (
        lambda q: q.filter(pl.col("few") > 9).group_by(pl.lit(1)).agg(pl.len(), pl.max("f")),
        False,
    ),
    "a-literal-beside": (lambda q: q.group_by("k", pl.lit(1).alias("one")).agg(pl.col("u16").sum()), True),
    "functions": (
        lambda q: q.group_by(pl.col("u16").map_elements(lambda x: x // 2, return_dtype=pl.Int64)).agg(pl.len()),
        False,
    ),
    "many-rows-for-one": (
        lambda q: q.with_columns(pl.int_ranges(pl.col("i8") % 4).alias("n")).explode("n").group_by("k").len(),
        False,
    ),
    "after-a-join": (lambda q: q.join(q.select("k", v="u16"), on="k").group_by("k").agg(pl.col("v").sum()), False),
    "unique": (lambda q: q.unique("k", keep="first"), True),
    "unique-any": (lambda q: q.select("few", "k").unique(), True),
    "unique-last": (lambda q: q.unique(["few", "name"], keep="last"), True),
    "unique-in-order": (lambda q: q.unique("name", keep="first", maintain_order=True), True),
    "unique-none": (lambda q: q.unique("name", keep="none"), False),
}


@pytest.mark.parametrize("reduces", [True, False, None])
@pytest.mark.parametrize("npartitions", [3, 100])
@pytest.mark.parametrize("name", QUERIES)
def test_same_groups(name: str, npartitions: int, reduces: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tasks decide for themselves, and what they are made to."""
    query, looks = QUERIES[name]
    want = query(ROWS.lazy()).collect()
    asked = []

    def decided(sample: pl.DataFrame, height: int) -> bool:
        asked.append(height)
        return makes_fewer(sample, height) if reduces is None else reduces

    monkeypatch.setattr(worker, "makes_fewer", decided)
    with dask.config.set(SETTINGS):
        got = query(dp.from_polars(ROWS, npartitions=npartitions))
        assert_frame_equal(got.collect(), want, check_row_order=name == "unique-in-order")
        stages = walk_stages(plan_queries([got.to_polars()], Options.current()).roots)
    assert any(isinstance(stage, ReduceStage) for stage in stages) == looks
    assert (len(asked) >= npartitions) == looks


def test_a_plan_says_so() -> None:
    with dask.config.set(SETTINGS):
        text = dp.from_polars(ROWS, npartitions=3).group_by("k").agg(pl.len()).explain()
    assert "groupby-partial  unless nearly each row has keys of its own  3 partitions" in text


@pytest.mark.parametrize(
    ("values", "fewer"), [(10, True), (10**5, True), (10**6, True), (10**7, False), (10**9, False)]
)
def test_a_sample_tells(values: int, fewer: bool) -> None:
    """Of a million rows, keys of a million values leave 630,000 rows, of ten million 950,000."""
    height = 1_000_000
    keys = pl.select(k=pl.int_range(height).hash(7) % values)
    assert makes_fewer(some_of(keys), height) == fewer
    assert makes_fewer(some_of(keys.sort("k")), height) == fewer


def test_heavy_keys_are_put_together() -> None:
    keys = pl.select(k=pl.when(pl.int_range(500_000) % 3 == 0).then(0).otherwise(pl.int_range(500_000)))
    assert makes_fewer(some_of(keys), keys.height)
    assert not makes_fewer(some_of(keys.filter(pl.col("k") > 0)), keys.height)
    assert not makes_fewer(keys.head(1), 1)
    assert makes_fewer(keys.clear(), 0)
