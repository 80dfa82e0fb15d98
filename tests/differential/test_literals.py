"""What is computed of literals alone is one value, however many rows there are beside it."""

from __future__ import annotations

from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp

ROWS = pl.DataFrame({"a": range(12)})
FIVE = pl.lit(5)
EXPRESSIONS: dict[str, pl.Expr] = {
    "cum_sum": FIVE.cum_sum(),
    "rank": FIVE.rank(),
    "diff": FIVE.diff(),
    "shift": FIVE.shift(2),
    "shift-counted": FIVE.shift(pl.len() - 10),
    "inside": pl.col("a") + FIVE.cum_sum(),
}


@pytest.mark.parametrize("context", ["select", "with_columns"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_of_literals(name: str, context: str) -> None:
    def query(lf: Any) -> Any:
        return getattr(lf, context)(EXPRESSIONS[name].alias("q"))

    with dask.config.set({"dask-polars.fallback": "silent", "scheduler": "sync"}):
        found = query(dp.from_polars(ROWS, npartitions=3)).collect()
    assert_frame_equal(found, query(ROWS.lazy()).collect())
