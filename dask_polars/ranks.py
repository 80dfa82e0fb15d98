"""Functions that find values by their rank: on partitions, on counts of ranges, and by Polars' own formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from dask_polars.kernels import SORT_KEY

VALUE = "value"  # the column whose values are ranked
RANGE = "__dp_range"
COUNT = "__dp_count"
NULLS = "__dp_nulls"


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


def ranks_of(quantile: float | Fraction, method: str, count: int, nulls: int = 0) -> Ranks:
    """
    Say which of the values, in their order, a quantile is made of, as Polars does.

    It counts from the first of the nulls, which come first, and so rounds otherwise where there are some.

    Parameters
    ----------
    quantile
        From 0 to 1.
    method
        The interpolation, as Polars' plans name it: ``"Nearest"``, ``"Linear"``, …
    count
        The number of values; at least one.
    nulls
        The number of nulls that are counted from.

    Returns
    -------
    Ranks
        From the first value that is there.

    Examples
    --------
    >>> ranks_of(0.58, "Lower", 51), ranks_of(0.58, "Lower", 51, nulls=9)
    (Ranks(lower=28, upper=28, share=0.0), Ranks(lower=29, upper=29, share=0.0))
    """
    place = (count - 1) * quantile + nulls
    if method == "Equiprobable":
        rank = min(max(math.ceil(count * quantile) - 1, 0), count - 1)
        return Ranks(rank, rank, 0.0)
    low, high = math.floor(place), math.ceil(place)
    if method == "Nearest":
        low = high = math.floor(place + 0.5)  # halves away from zero
    elif method in ("Lower", "Higher"):
        low = high = low if method == "Lower" else high
    share = {"Linear": float(place) - low, "Midpoint": 0.5}.get(method, 0.0)
    return Ranks(low - nulls, high - nulls, share)


def _ranges(keys: pl.Series, boundaries: pl.DataFrame) -> pl.Series:
    """Say in which range each key is; equal keys are in the same."""
    starts = boundaries.to_series()
    if starts.len() == 0:
        return pl.zeros(keys.len(), dtype=pl.UInt32, eager=True)
    return starts.search_sorted(keys, side="right").cast(pl.UInt32)


def _keyed(rows: pl.DataFrame, boundaries: pl.DataFrame) -> pl.DataFrame:
    """Put the values that are there beside their ranges."""
    there = rows.filter(pl.col(VALUE).is_not_null())
    return there.select(VALUE, _ranges(there[SORT_KEY], boundaries).alias(RANGE))


def count_ranges(rows: pl.DataFrame, boundaries: pl.DataFrame) -> pl.DataFrame:
    """Count the rows of a partition in each range; nulls are in none."""
    found = _keyed(rows, boundaries).group_by(RANGE).agg(pl.len().cast(pl.UInt64).alias(COUNT))
    nulls = pl.DataFrame({RANGE: [None], COUNT: [rows[VALUE].null_count()]}, schema=found.schema)
    return pl.concat([found, nulls])


def rows_before_ranges(counts: pl.DataFrame) -> pl.DataFrame:
    """Sum up the rows in all ranges before each, and the nulls, given the counts of all partitions."""
    nulls = counts.filter(pl.col(RANGE).is_null())[COUNT].sum()
    total = counts.drop_nulls(RANGE).group_by(RANGE).agg(pl.col(COUNT).sum()).sort(RANGE)
    before = pl.col(COUNT).cum_sum() - pl.col(COUNT)
    return total.with_columns(before.alias("before"), pl.lit(nulls, dtype=pl.UInt64).alias(NULLS))


def _ranks(before: pl.DataFrame, quantiles: Sequence[float | Fraction], method: str, as_they_are: bool) -> list[Ranks]:
    """Say what each quantile is made of; nothing where there are no values."""
    count = int(before[COUNT].sum())
    if not count:
        return []
    nulls = 0 if as_they_are else int(before[NULLS].item(0))
    return [ranks_of(quantile, method, count, nulls) for quantile in quantiles]


def pick_ranges(
    rows: pl.DataFrame,
    boundaries: pl.DataFrame,
    before: pl.DataFrame,
    quantiles: Sequence[float | Fraction],
    method: str,
    as_they_are: bool,
) -> pl.DataFrame:
    """Give the values of a partition in those ranges that hold a wanted rank, each once and with its count."""
    found = _ranks(before, quantiles, method, as_they_are)
    wanted = pl.Series(sorted({rank for item in found for rank in (item.lower, item.upper)}), dtype=pl.UInt64)
    if not before.height:
        return rows.clear().select(VALUE, pl.lit(0, pl.UInt32).alias(RANGE), pl.lit(0, pl.UInt64).alias(COUNT))
    places = before["before"].search_sorted(wanted, side="right").cast(pl.Int64) - 1
    hit = before[RANGE].gather(places).unique()
    return (
        _keyed(rows, boundaries)
        .filter(pl.col(RANGE).is_in(hit.implode()))
        .group_by(VALUE, RANGE)
        .agg(pl.len().cast(pl.UInt64).alias(COUNT))
    )


def value_of_ranks(
    picked: pl.DataFrame,
    before: pl.DataFrame,
    quantiles: Sequence[float | Fraction],
    method: str,
    as_they_are: bool,
    median: bool,
    listed: bool,
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
    as_they_are
        Whether a value is wanted itself, of its own type, which a quantile of integers has not. Nulls are not counted.
    median
        Whether the median is asked for, whose type may be another one.
    listed
        Whether the quantiles are the elements of one list.

    Returns
    -------
    pl.DataFrame
        One row, with the column ``value``.
    """
    found = _ranks(before, quantiles, method, as_they_are)
    merged = picked.group_by(VALUE, RANGE).agg(pl.col(COUNT).sum()).join(before.select(RANGE, "before"), on=RANGE)
    merged = merged.sort(VALUE).with_columns(
        start=pl.col("before") + pl.col(COUNT).cum_sum().over(RANGE) - pl.col(COUNT)
    )
    results = []
    for index in range(len(quantiles)):
        item = found[index] if found else None
        wanted = [] if item is None else sorted({item.lower, item.upper})
        places = merged["start"].search_sorted(pl.Series(wanted, dtype=pl.UInt64), side="right").cast(pl.Int64) - 1
        # Polars makes of the neighbours what it would have made of all.
        neighbours = pl.DataFrame({VALUE: merged[VALUE].gather(places)})
        share = item.share if item is not None else 0.5
        kind = method.lower()
        value = pl.col(VALUE).median() if median else pl.col(VALUE).quantile(share, kind)  # type: ignore[arg-type]
        results.append(neighbours.select(pl.col(VALUE).first() if as_they_are else value))
    if not listed:
        return results[0]
    together = pl.concat(results) if results else merged.select(VALUE).clear()
    return together.select(pl.col(VALUE).implode())
