"""Functions on the few values that bins begin and end at."""

from __future__ import annotations

import io
import math

import polars as pl

INFINITY = float("inf")


def quantile_categories(edges: pl.Series, cut: pl.Expr, left_closed: bool) -> pl.Series:
    """
    Give what ``qcut`` makes of the rows in each bin.

    Polars itself says so, of values that have these quantiles: they are the quantiles, spread evenly, between infinite ones.
    So names of bins are written as it writes them, and what it refuses it refuses here.

    Parameters
    ----------
    edges
        The quantiles of all rows, in order; nulls where there are no values.
    cut
        The ``qcut`` of a column of the name of ``edges``, of the probabilities that :func:`even_probabilities` gives.
    left_closed
        Whether a value that is an edge is in the bin that it begins.

    Returns
    -------
    pl.Series
        A value for each bin, and so one more than there are edges.

    Examples
    --------
    >>> edges = pl.Series("x", [1.0, 3.0])
    >>> probabilities = even_probabilities(2)
    >>> probabilities
    [0.25, 0.5]
    >>> quantile_categories(edges, pl.col("x").qcut(probabilities), False).to_list()
    ['(-inf, 1]', '(1, 3]', '(3, inf]']
    """
    inside = edges.cast(pl.Float64)
    if inside.null_count():
        inside = pl.Series(inside.name, range(inside.len()), dtype=pl.Float64)  # no row is in any bin
    if inside.is_nan().any():
        values = [-INFINITY, INFINITY]  # whose quantiles are NaN, too
    else:
        values = [-INFINITY, *inside.sort(), *([INFINITY] * (_steps(inside.len()) - inside.len()))]
    found = pl.DataFrame({inside.name: values}).select(cut).to_series()
    return found.slice(0 if left_closed else 1, inside.len() + 1)


def even_probabilities(count: int) -> list[float]:
    """Give the probabilities of values in the order of their numbers, exactly, where :func:`quantile_categories` puts them."""
    return [(index + 1) / _steps(count) for index in range(count)]


def _steps(count: int) -> int:
    """A power of two, so that no probability is rounded, and there is an infinite value behind the last edge."""
    return int(2 ** math.ceil(math.log2(count + 1)))


def with_categories(edges: pl.DataFrame, items: tuple[tuple[str, str, bytes, bool], ...]) -> pl.DataFrame:
    """Put beside lists of edges what ``qcut`` makes of the rows in the bins between them."""
    columns = []
    for name, categories, cut, left_closed in items:
        inside = edges[name].explode(empty_as_null=False)
        found = quantile_categories(inside, pl.Expr.deserialize(io.BytesIO(cut)), left_closed)
        columns.append(found.implode().alias(categories))
    return edges.with_columns(columns)
