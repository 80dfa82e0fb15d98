"""Functions that find values by their rank: on partitions, on counts of ranges, and by Polars' own formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from dask_polars.kernels import SORT_KEY

VALUE = "value"  # the column whose values are ranked
RANGE = "__dp_range"
COUNT = "__dp_count"


@dataclass(frozen=True)
class Ranks:
    """
    What a quantile is made of.

    Parameters
    ----------
    lower, upper
        Ranks of two values, from 0.
    share
        How far the quantile is from the lower to the upper one, from 0 to 1.
    """

    lower: int
    upper: int
    share: float


def ranks_of(quantile: float, method: str, count: int) -> Ranks:
    """
    Say which of the values, in their order, a quantile is made of, as Polars does.

    Parameters
    ----------
    quantile
        From 0 to 1.
    method
        The interpolation, as Polars' plans name it: ``"Nearest"``, ``"Linear"``, …
    count
        The number of values; at least one.

    Returns
    -------
    Ranks
    """
    place = (count - 1) * quantile
    if method == "Equiprobable":
        rank = min(max(math.ceil(count * quantile) - 1, 0), count - 1)
        return Ranks(rank, rank, 0.0)
    if method == "Nearest":
        rank = math.floor(place + 0.5)  # halves away from zero
        return Ranks(rank, rank, 0.0)
    if method == "Higher":
        return Ranks(math.ceil(place), math.ceil(place), 0.0)
    lower = math.floor(place)
    if method == "Lower":
        return Ranks(lower, lower, 0.0)
    return Ranks(lower, math.ceil(place), place - lower if method == "Linear" else 0.5)


def _ranges(keys: pl.Series, boundaries: pl.DataFrame) -> pl.Series:
    """Say in which range each key is; equal keys are in the same."""
    starts = boundaries.to_series()
    if starts.len() == 0:
        return pl.zeros(keys.len(), dtype=pl.UInt32, eager=True)
    return starts.search_sorted(keys, side="right").cast(pl.UInt32)


def count_ranges(rows: pl.DataFrame, boundaries: pl.DataFrame) -> pl.DataFrame:
    """Count the rows of a partition in each range."""
    found = pl.DataFrame({RANGE: _ranges(rows[SORT_KEY], boundaries)})
    return found.group_by(RANGE).agg(pl.len().cast(pl.UInt64).alias(COUNT))


def rows_before_ranges(counts: pl.DataFrame) -> pl.DataFrame:
    """Sum up the rows in all ranges before each, given the counts of all partitions."""
    total = counts.group_by(RANGE).agg(pl.col(COUNT).sum()).sort(RANGE)
    return total.with_columns((pl.col(COUNT).cum_sum() - pl.col(COUNT)).alias("before"))


def pick_ranges(
    rows: pl.DataFrame, boundaries: pl.DataFrame, before: pl.DataFrame, quantiles: Sequence[float], method: str
) -> pl.DataFrame:
    """Give the values of a partition in those ranges that hold a wanted rank, each once and with its count."""
    count = int(before[COUNT].sum())
    found = [ranks_of(quantile, method, count) for quantile in quantiles] if count else []
    wanted = pl.Series(sorted({rank for item in found for rank in (item.lower, item.upper)}), dtype=pl.UInt64)
    if not before.height:
        return rows.clear().select(VALUE, pl.lit(0, pl.UInt32).alias(RANGE), pl.lit(0, pl.UInt64).alias(COUNT))
    places = before["before"].search_sorted(wanted, side="right").cast(pl.Int64) - 1
    hit = before[RANGE].gather(places).unique()
    return (
        rows.select(VALUE, _ranges(rows[SORT_KEY], boundaries).alias(RANGE))
        .filter(pl.col(RANGE).is_in(hit.implode()))
        .group_by(VALUE, RANGE)
        .agg(pl.len().cast(pl.UInt64).alias(COUNT))
    )


def value_of_ranks(
    picked: pl.DataFrame, before: pl.DataFrame, quantiles: Sequence[float], method: str, median: bool, listed: bool
) -> pl.DataFrame:
    """
    Give the quantiles, from all values in the ranges that hold their ranks.

    Parameters
    ----------
    picked
        What :func:`pick_ranges` gave for all partitions.
    before
        What :func:`rows_before_ranges` gave.
    quantiles, method
        As :func:`ranks_of` takes them.
    median
        Whether the median is asked for, whose type may be another one.
    listed
        Whether the quantiles are the elements of one list.

    Returns
    -------
    pl.DataFrame
        One row, with the column ``value``.
    """
    total = int(before[COUNT].sum())
    merged = picked.group_by(VALUE, RANGE).agg(pl.col(COUNT).sum()).join(before.select(RANGE, "before"), on=RANGE)
    merged = merged.sort(VALUE).with_columns(
        start=pl.col("before") + pl.col(COUNT).cum_sum().over(RANGE) - pl.col(COUNT)
    )
    results = []
    for quantile in quantiles:
        found = ranks_of(quantile, method, total) if total else None
        wanted = [] if found is None else sorted({found.lower, found.upper})
        places = merged["start"].search_sorted(pl.Series(wanted, dtype=pl.UInt64), side="right").cast(pl.Int64) - 1
        # Polars makes of the neighbours what it would have made of all.
        neighbours = pl.DataFrame({VALUE: merged[VALUE].gather(places)})
        share = found.share if found is not None else 0.5
        kind = method.lower()
        value = pl.col(VALUE).median() if median else pl.col(VALUE).quantile(share, kind)  # type: ignore[arg-type]
        results.append(neighbours.select(value))
    if not listed:
        return results[0]
    return pl.DataFrame({VALUE: pl.concat(results)[VALUE].implode()})
