"""The questions of the h2o db-benchmark with dask.dataframe, in the style of pandas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.h2o.queries import Tables

Frame = Any  # dask.dataframe is not typed
SUFFIXES = ("", "_right")


def g1(t: Tables) -> Frame:
    """Sum v1 by id1."""
    return t.groups.groupby("id1").v1.sum().reset_index()


def g2(t: Tables) -> Frame:
    """Sum v1 by id1 and id2."""
    return t.groups.groupby(["id1", "id2"]).v1.sum().reset_index()


def g3(t: Tables) -> Frame:
    """Sum v1 and mean v3 by id3, of which there are many."""
    return t.groups.groupby("id3").agg({"v1": "sum", "v3": "mean"}, split_out=True).reset_index()


def g4(t: Tables) -> Frame:
    """Mean v1, v2 and v3 by id4."""
    return t.groups.groupby("id4").agg({"v1": "mean", "v2": "mean", "v3": "mean"}).reset_index()


def g5(t: Tables) -> Frame:
    """Sum v1, v2 and v3 by id6, of which there are many."""
    return t.groups.groupby("id6").agg({"v1": "sum", "v2": "sum", "v3": "sum"}, split_out=True).reset_index()


def g6(t: Tables) -> Frame:
    """Median and standard deviation of v3 by id4 and id5."""
    return (
        t.groups.groupby(["id4", "id5"])
        .agg(median_v3=("v3", "median"), sd_v3=("v3", "std"), split_out=True)
        .reset_index()
    )


def g7(t: Tables) -> Frame:
    """Max v1 less min v2 by id3, of which there are many."""
    bounds = t.groups.groupby("id3").agg({"v1": "max", "v2": "min"}, split_out=True).reset_index()
    return bounds.assign(range_v1_v2=bounds.v1 - bounds.v2)[["id3", "range_v1_v2"]]


def g8(t: Tables) -> Frame:
    """Largest two v3 by id6, of which there are many.

    A `groupby.apply` of `nlargest`, as the db-benchmark has it, calls Python for each group. This sorts once in each partition.
    """
    rows = t.groups[["id6", "v3"]].dropna(subset=["v3"]).shuffle("id6")
    return rows.map_partitions(_largest_two).rename(columns={"v3": "largest2_v3"})


def _largest_two(part: Frame) -> Frame:
    # A function of a module: with a lambda, pyarrow's files are pickled in a way that they cannot be.
    return part.sort_values("v3", ascending=False).groupby("id6").head(2)


def g9(t: Tables) -> Frame:
    """Square of the correlation of v1 and v2 by id2 and id4.

    From the sums, as one would by hand: `groupby.corr` calls Python for each group.
    """
    rows = t.groups[["id2", "id4", "v1", "v2"]]
    rows = rows.assign(n=1, xx=rows.v1 * rows.v1, yy=rows.v2 * rows.v2, xy=rows.v1 * rows.v2)
    s = rows.groupby(["id2", "id4"]).sum().reset_index()
    covariance = s.n * s.xy - s.v1 * s.v2
    r2 = covariance**2 / ((s.n * s.xx - s.v1**2) * (s.n * s.yy - s.v2**2))
    return s.assign(r2=r2)[["id2", "id4", "r2"]]


def g10(t: Tables) -> Frame:
    """Sum v3 and count by all six keys: about as many groups as rows."""
    keys = ["id1", "id2", "id3", "id4", "id5", "id6"]
    return t.groups.groupby(keys).agg(v3=("v3", "sum"), count=("v1", "size"), split_out=True).reset_index()


def j1(t: Tables) -> Frame:
    """Small table, inner, on an integer."""
    return t.x.merge(t.small, on="id1", suffixes=SUFFIXES)


def j2(t: Tables) -> Frame:
    """Medium table, inner, on an integer."""
    return t.x.merge(t.medium, on="id2", suffixes=SUFFIXES)


def j3(t: Tables) -> Frame:
    """Medium table, left, on an integer."""
    return t.x.merge(t.medium, on="id2", how="left", suffixes=SUFFIXES)


def j4(t: Tables) -> Frame:
    """Medium table, inner, on a text."""
    return t.x.merge(t.medium, on="id5", suffixes=SUFFIXES)


def j5(t: Tables) -> Frame:
    """Big table, inner, on an integer."""
    return t.x.merge(t.big, on="id3", suffixes=SUFFIXES)


QUERIES: dict[str, Callable[[Tables], Frame]] = {
    query.__name__: query for query in (g1, g2, g3, g4, g5, g6, g7, g8, g9, g10, j1, j2, j3, j4, j5)
}
"""The questions by name."""
