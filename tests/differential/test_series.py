"""What must not be taken for sorted is an error, also where the streaming engine of Polars does not see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp

c = pl.col
QUERIES: dict[str, Callable[[Any], Any]] = {
    "rolling": lambda lf: lf.rolling("i", period="2i").agg(c("v")),
    "dynamic": lambda lf: lf.group_by_dynamic("i", every="2i").agg(c("v").sum()),
    "dynamic_whole": lambda lf: lf.group_by_dynamic("i", every="2i").agg(c("v").median()),
    "dynamic_overlap": lambda lf: lf.group_by_dynamic("i", every="2i", period="3i").agg(c("v")),
    "asof_left": lambda lf: lf.join_asof(pl.LazyFrame({"i": [1, 2, 4]}), on="i"),
    "asof_right": lambda lf: lf.sort("i").join_asof(lf, on="i", strategy="nearest"),
}
ORDERS = {
    "down": [6, 5, 4, 3, 2, 1],
    "inside": [1, 3, 2, 4, 5, 6],
    "between": [4, 5, 6, 1, 2, 3],
    "last": [1, 2, 3, 4, 6, 5],
}


@pytest.mark.parametrize("broadcast", ["64 MiB", 0])
@pytest.mark.parametrize("npartitions", [1, 2, 6])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("query", QUERIES)
def test_unsorted(query: str, order: str, npartitions: int, broadcast: int | str) -> None:
    frame = pl.DataFrame({"i": ORDERS[order], "v": range(6)})
    lazy = QUERIES[query](dp.from_polars(frame, npartitions=npartitions))
    with (
        dask.config.set({"dask-polars.broadcast-limit": broadcast}),
        pytest.raises(pl.exceptions.InvalidOperationError, match="is not sorted"),
    ):
        lazy.collect(scheduler="sync")
