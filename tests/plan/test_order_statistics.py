"""Ranks of quantiles are those of Polars, and `describe` gathers nothing."""

from __future__ import annotations

import random

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.ranks import ranks_of

METHODS = ("nearest", "linear", "lower", "higher", "midpoint", "equiprobable")


@pytest.mark.parametrize("method", METHODS)
def test_ranks_are_those_of_polars(method: str) -> None:
    draw = random.Random(1)
    for count in (*range(1, 12), 40, 101):
        values = pl.Series("v", sorted(draw.sample(range(10**6), count)), dtype=pl.Float64)
        for quantile in (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9, 1.0, draw.random(), draw.random()):
            found = ranks_of(quantile, method.capitalize(), count)
            neighbours = pl.Series(sorted({values[found.lower], values[found.upper]}))
            wanted = values.to_frame().lazy().select(pl.col("v").quantile(quantile, method)).collect().item()
            assert neighbours.quantile(found.share, method) == pytest.approx(wanted, rel=1e-9), (count, quantile)


def test_nulls_move_what_is_rounded() -> None:
    """0.58 of the way from the first to the last of 51 values is the 29th of them, unless there are nulls."""
    data = pl.DataFrame({"v": [*range(51), *[None] * 9]}).sample(fraction=1, shuffle=True, seed=1)
    query = data.lazy().select(lower=pl.col("v").quantile(0.58, "lower"), high=pl.col("v").quantile(0.58, "higher"))
    settings = {"scheduler": "sync", "dask-polars.max-rows-per-partition": 7, "dask-polars.fallback": "raise"}
    with dask.config.set(settings):
        got = query.collect(engine=dp.DaskEngine())
    assert_frame_equal(got, query.collect())
    assert got.row(0) == (29, 29)


def test_describe_is_distributed() -> None:
    data = pl.DataFrame({"n": [3, None, 1, 2] * 5, "s": ["b", "a", None, "c"] * 5, "f": [0.5, 1.5, None, 2.5] * 5})
    with dask.config.set({"scheduler": "sync", "dask-polars.partition-size": "100 B", "dask-polars.fallback": "raise"}):
        got = dp.from_polars(data, npartitions=3).describe()
    assert_frame_equal(got, data.lazy().describe())
