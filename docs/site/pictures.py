"""Pictures of plans, from real plans: what the pages show is what the planner does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import polars as pl

import dask_polars as dp
from dask_polars.diagram import svg
from dask_polars.stage_graph import StageGraph

__all__ = ["NAMES", "draw"]


def _orders() -> Any:
    orders = {"custkey": [1, 2, 3, 4] * 25, "price": [float(i) for i in range(100)]}
    return dp.from_polars(pl.DataFrame(orders), npartitions=4)


def _customers() -> Any:
    customers = {"custkey": [1, 2, 3, 4], "segment": ["BUILDING", "MACHINERY"] * 2}
    return dp.from_polars(pl.DataFrame(customers), npartitions=2)


def _row_wise() -> Any:
    return _orders().filter(pl.col("price") > 10).with_columns(net=pl.col("price") * 0.9)


def _group_by() -> Any:
    return _orders().group_by("custkey").agg(pl.col("price").sum())


def _join() -> Any:
    return _orders().join(_customers(), on="custkey")


def _sort() -> Any:
    return _orders().sort("price")


def _median() -> Any:
    return _orders().group_by("custkey").agg(pl.col("price").median())


def _cum_sum() -> Any:
    return _orders().with_columns(total=pl.col("price").cum_sum())


def _fallback() -> Any:
    return _orders().select(pl.col("price").shuffle())


_SMALL = {"partition_size": "1 MiB", "broadcast_limit": "1 MiB"}
_LARGE = {"partition_size": 1, "broadcast_limit": 0}  # as if each partition were too large to be put with another

# What is drawn, and for which sizes.
_PICTURES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "row-wise": (_row_wise, _SMALL),
    "group-by": (_group_by, _SMALL),
    "group-by-large": (_group_by, _LARGE),
    "join": (_join, _SMALL),
    "join-large": (_join, _LARGE),
    "sort": (_sort, _LARGE),
    "median": (_median, _LARGE),
    "cum-sum": (_cum_sum, _LARGE),
    "fallback": (_fallback, _LARGE),
}
NAMES = frozenset(_PICTURES)


def draw(name: str) -> str:
    """
    Draw a plan.

    Parameters
    ----------
    name
        One of ``NAMES``.

    Returns
    -------
    str
        SVG, to be a part of a page: its text has the colour of the page.
    """
    query, sizes = _PICTURES[name]
    settings = {f"dask-polars.{key.replace('_', '-')}": value for key, value in sizes.items()}
    with dask.config.set({"dask-polars.fallback": "silent", **settings}):
        return svg(StageGraph(query()._plan().roots), alone=False)
