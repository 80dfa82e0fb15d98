"""The questions of the h2o db-benchmark with the lazy API of Polars: ten of group_by, five of join.

As in `benchmarks.tpch.queries` the frames may be those of Polars or of dask_polars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Tables:
    """One lazy frame for each table; see `benchmarks.h2o.data`."""

    groups: pl.LazyFrame
    x: pl.LazyFrame
    small: pl.LazyFrame
    medium: pl.LazyFrame
    big: pl.LazyFrame


def tables(directory: str, scan: Callable[[str], Any] = pl.scan_parquet) -> Tables:
    """Scan the tables of a data set with `scan`, which takes a glob pattern."""
    return Tables(**{name: scan(f"{directory}/{name}/*.parquet") for name in ("groups", "x", "small", "medium", "big")})


def g1(t: Tables) -> pl.LazyFrame:
    """Sum v1 by id1."""
    return t.groups.group_by("id1").agg(pl.col("v1").sum())


def g2(t: Tables) -> pl.LazyFrame:
    """Sum v1 by id1 and id2."""
    return t.groups.group_by("id1", "id2").agg(pl.col("v1").sum())


def g3(t: Tables) -> pl.LazyFrame:
    """Sum v1 and mean v3 by id3, of which there are many."""
    return t.groups.group_by("id3").agg(pl.col("v1").sum(), pl.col("v3").mean())


def g4(t: Tables) -> pl.LazyFrame:
    """Mean v1, v2 and v3 by id4."""
    return t.groups.group_by("id4").agg(pl.col("v1", "v2", "v3").mean())


def g5(t: Tables) -> pl.LazyFrame:
    """Sum v1, v2 and v3 by id6, of which there are many."""
    return t.groups.group_by("id6").agg(pl.col("v1", "v2", "v3").sum())


def g6(t: Tables) -> pl.LazyFrame:
    """Median and standard deviation of v3 by id4 and id5."""
    return t.groups.group_by("id4", "id5").agg(median_v3=pl.col("v3").median(), sd_v3=pl.col("v3").std())


def g7(t: Tables) -> pl.LazyFrame:
    """Max v1 less min v2 by id3, of which there are many."""
    return t.groups.group_by("id3").agg(range_v1_v2=pl.col("v1").max() - pl.col("v2").min())


def g8(t: Tables) -> pl.LazyFrame:
    """Largest two v3 by id6, of which there are many."""
    best = t.groups.drop_nulls("v3").group_by("id6").agg(largest2_v3=pl.col("v3").top_k(2))
    return best.explode("largest2_v3")


def g9(t: Tables) -> pl.LazyFrame:
    """Square of the correlation of v1 and v2 by id2 and id4."""
    return t.groups.group_by("id2", "id4").agg(r2=pl.corr("v1", "v2") ** 2)


def g10(t: Tables) -> pl.LazyFrame:
    """Sum v3 and count by all six keys: about as many groups as rows."""
    return t.groups.group_by("id1", "id2", "id3", "id4", "id5", "id6").agg(v3=pl.col("v3").sum(), count=pl.len())


def j1(t: Tables) -> pl.LazyFrame:
    """Small table, inner, on an integer."""
    return t.x.join(t.small, on="id1")


def j2(t: Tables) -> pl.LazyFrame:
    """Medium table, inner, on an integer."""
    return t.x.join(t.medium, on="id2")


def j3(t: Tables) -> pl.LazyFrame:
    """Medium table, left, on an integer."""
    return t.x.join(t.medium, on="id2", how="left")


def j4(t: Tables) -> pl.LazyFrame:
    """Medium table, inner, on a text."""
    return t.x.join(t.medium, on="id5")


def j5(t: Tables) -> pl.LazyFrame:
    """Big table, inner, on an integer."""
    return t.x.join(t.big, on="id3")


QUERIES: dict[str, Callable[[Tables], pl.LazyFrame]] = {
    query.__name__: query for query in (g1, g2, g3, g4, g5, g6, g7, g8, g9, g10, j1, j2, j3, j4, j5)
}
"""The questions by name."""
