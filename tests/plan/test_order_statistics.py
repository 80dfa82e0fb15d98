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


def test_describe_is_distributed() -> None:
    data = pl.DataFrame({"n": [3, None, 1, 2] * 5, "s": ["b", "a", None, "c"] * 5, "f": [0.5, 1.5, None, 2.5] * 5})
    with dask.config.set({"scheduler": "sync", "dask-polars.partition-size": "100 B", "dask-polars.fallback": "raise"}):
        got = dp.from_polars(data, npartitions=3).describe()
    assert_frame_equal(got, data.lazy().describe())
