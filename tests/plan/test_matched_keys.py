"""Semi and anti joins of a small left side ask the right one for its keys; no row of it moves."""

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
from dask_polars.plan.stages import ShuffleStage, walk_stages

SETTINGS: dict[str, Any] = {
    "dask-polars.broadcast-limit": 1000,
    "dask-polars.split-every": 2,
    "dask-polars.fallback": "raise",
    "scheduler": "sync",
}
SMALL = pl.DataFrame(
    {
        "k": [3, 900, None, 5, 5, 901, 7, None, 3],
        "t": ["x", "y", "z", "x", None, "y", "x", "x", "w"],
        "v": range(9),
    }
)
LARGE = pl.DataFrame({"k": [n * 7 % 60 if n % 11 else None for n in range(600)]}).with_columns(
    t=pl.format("{}", pl.col("k") % 3).replace(["0", "1"], ["x", "y"]), n=pl.int_range(pl.len())
)
Sides = tuple[Any, Any]

# Each query, and whether rows of the right side move.
QUERIES: dict[str, tuple[Callable[[Sides], Any], bool]] = {
    "anti": (lambda s: s[0].join(s[1], on="k", how="anti"), False),
    "semi": (lambda s: s[0].join(s[1], on="k", how="semi"), False),
    "two-keys": (lambda s: s[0].join(s[1], on=["k", "t"], how="anti"), False),
    "computed": (lambda s: s[0].join(s[1], left_on=pl.col("k") + 1, right_on=pl.col("k") * 2, how="semi"), False),
    "one-column-twice": (
        lambda s: s[0].join(s[1], left_on=["k", pl.col("k") + 1], right_on=["k", pl.col("n") + 1], how="semi"),
        False,
    ),
    "zeros": (
        lambda s: s[0].join(
            s[1].select(f=1 / (pl.col("k") * 0.0 - 1.0) * float("inf")),
            left_on=1 / (pl.col("v") * -0.0),
            right_on="f",
            how="anti",
        ),
        False,
    ),
    "renamed": (lambda s: s[0].join(s[1].rename({"k": "v"}), left_on="k", right_on="v", how="anti"), False),
    "nulls-equal": (lambda s: s[0].join(s[1], on="k", how="anti", nulls_equal=True), False),
    "nulls-equal-semi": (lambda s: s[0].join(s[1], on=["t", "k"], how="semi", nulls_equal=True), False),
    "in-order": (lambda s: s[0].join(s[1], on="k", how="anti", maintain_order="left").with_row_index(), False),
    "right-filtered": (lambda s: s[0].join(s[1].filter(pl.col("n") % 2 == 0), on="k", how="anti"), False),
    "none-left": (lambda s: s[0].filter(pl.col("v") < 0).join(s[1], on="k", how="semi"), False),
    "above": (lambda s: s[0].join(s[1], on="k", how="anti").group_by("t").agg(pl.col("v").sum(), pl.len()), False),
    "large": (lambda s: s[1].join(s[1].filter(pl.col("n") > 9), on="k", how="anti"), True),
    "left": (lambda s: s[0].join(s[1], on="k", how="left"), True),
}


@pytest.mark.parametrize("npartitions", [(1, 5), (9, 30)])
@pytest.mark.parametrize("name", QUERIES)
def test_matched_keys(name: str, npartitions: tuple[int, int]) -> None:
    query, moves = QUERIES[name]
    want = query((SMALL.lazy(), LARGE.lazy())).collect()
    with dask.config.set(SETTINGS):
        left, right = (
            dp.from_polars(frame, npartitions=n) for frame, n in zip((SMALL, LARGE), npartitions, strict=True)
        )
        got = query((left, right))
        assert_frame_equal(got.collect(), want, check_row_order=name == "in-order")
        plan = plan_queries([got.to_polars()], Options.current())
    stages = list(walk_stages(plan.roots))
    if npartitions == (1, 5):
        assert any(isinstance(stage, ShuffleStage) for stage in stages) == moves
        assert any(stage.operation == "join-keys-found" for stage in stages) != moves
