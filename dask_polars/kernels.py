"""Functions that run on the partitions of a stage, where a fragment of Polars' plan cannot say it."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from dask_polars.shuffle.frames import PARTITION_COLUMN

SORT_KEY = "__dp_sort_key"


def add_position(rows: pl.LazyFrame, index: int, name: str, bits: int) -> pl.LazyFrame:
    """Put beside each row its position: the number of the partition above ``bits`` bits of place in it."""
    place = pl.int_range(pl.len(), dtype=pl.UInt64) + pl.lit(index << bits, dtype=pl.UInt64)
    return rows.with_columns(place.alias(name))


def add_row_index(rows: pl.LazyFrame, before: pl.LazyFrame, index: int, name: str, offset: int) -> pl.LazyFrame:
    """Number the rows of a partition, from the number of rows that are before it."""
    start = before.select("before").collect(engine="in-memory").item(index, 0)
    return rows.with_row_index(name, offset=offset + start)


def size_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Say how much there is in a partition, in a frame of one row."""
    found = {"rows": [rows.height], "bytes": [rows.estimated_size()]}
    return pl.DataFrame(found, schema={"rows": pl.UInt64, "bytes": pl.UInt64})


def count_rows_before(counts: pl.DataFrame) -> pl.DataFrame:
    """Sum up the number of rows before each partition, given the number in each."""
    rows = counts.to_series(0).cast(pl.UInt64)
    return pl.DataFrame({"before": rows.cum_sum() - rows, "rows": rows})


def slice_partition(
    rows: pl.LazyFrame, counts: pl.LazyFrame, index: int, offset: int, length: int | None
) -> pl.LazyFrame:
    """Give what falls to a partition of a slice of all rows."""
    found = counts.collect(engine="in-memory")
    total = found["rows"].sum()
    start = max(0, total + offset) if offset < 0 else min(offset, total)
    # A slice that starts before the first row is cut short, as Polars does it.
    wanted_end = total if length is None else (total + offset if offset < 0 else start) + length
    end = max(start, min(wanted_end, total))
    before, height = found["before"][index], found["rows"][index]
    first = min(max(start - before, 0), height)
    last = min(max(end - before, 0), height)
    return rows.slice(first, last - first)


def sample_keys(keys: pl.DataFrame, count: int) -> pl.DataFrame:
    """Sample the sort keys of a partition; each one stands for as many rows as its weight says."""
    picked = keys if keys.height <= count else keys.sample(count, seed=0)
    weight = keys.height / max(picked.height, 1)
    return picked.with_columns(pl.lit(weight, dtype=pl.Float64).alias("weight"))


def range_boundaries(samples: pl.DataFrame, npartitions: int) -> pl.DataFrame:
    """Give the keys at which each partition but the first starts, such that all hold about as many rows."""
    ordered = samples.sort(SORT_KEY)
    if ordered.height == 0:
        return ordered.select(SORT_KEY)
    below = ordered["weight"].cum_sum() - ordered["weight"]
    total = ordered["weight"].sum()
    wanted = pl.Series([total * index / npartitions for index in range(1, npartitions)], dtype=pl.Float64)
    places = below.search_sorted(wanted).clip(0, ordered.height - 1)
    return ordered.select(pl.col(SORT_KEY).gather(places))


def range_partition(rows: pl.DataFrame, boundaries: pl.DataFrame) -> pl.DataFrame:
    """Say for each row to which range its key belongs; rows with equal keys stay together."""
    starts, keys = boundaries.to_series(), rows[SORT_KEY]
    if starts.len() == 0 or keys.len() == 0:
        number = pl.zeros(keys.len(), dtype=pl.UInt32, eager=True)
    else:
        number = starts.search_sorted(keys, side="right").cast(pl.UInt32)
    return rows.drop(SORT_KEY).with_columns(number.alias(PARTITION_COLUMN))


def split_piece(rows: pl.DataFrame, index: int, spots: tuple[tuple[int, int], ...]) -> pl.DataFrame:
    """Give one of the pieces of nearly equal height that a partition is split into."""
    place, of = spots[index]
    start, stop = rows.height * place // of, rows.height * (place + 1) // of
    return rows.slice(start, stop - start)


def number_partitions(rows: pl.DataFrame, before: pl.DataFrame, base: pl.DataFrame, index: int) -> pl.DataFrame:
    """Say for each row in which partition of another frame the row of the same number is."""
    start = before["before"][index]
    numbers = pl.int_range(start, start + rows.height, dtype=pl.UInt64, eager=True)
    # Of the partitions that start at a row the last one holds it; what is behind all rows goes to the last.
    places = base["before"].search_sorted(numbers, side="right").cast(pl.Int64) - 1
    return rows.with_columns(places.cast(pl.UInt32).alias(PARTITION_COLUMN))


def put_beside(*values: Any) -> pl.DataFrame:
    """
    Put a partition of several frames beside each other.

    Parameters
    ----------
    *values
        The frames; for each of them the rows of its partitions; the first row of each, if what has one row is there
        for every row; then the number of the partition, the number of the frames, and whether they have to be of equal
        height.
    """
    *items, _, count, strict = values
    frames, counts, firsts = list(items[:count]), items[count : 2 * count], items[2 * count :]
    heights = [item["rows"].sum() for item in counts]
    tall = {height for height in heights if not firsts or height != 1}
    if strict and len(tall) > 1:
        raise pl.exceptions.ShapeError("zip node received non-equal length inputs")
    if firsts and tall:
        spans = [frame.height for frame, height in zip(frames, heights, strict=True) if height != 1]
        for place, height in enumerate(heights):
            if height == 1:
                frames[place] = pl.DataFrame([column.new_from_index(0, spans[0]) for column in firsts[place]])
    return pl.concat(frames, how="horizontal_extend")


# Of so many rows keys are compared to see how many rows there are of each.
_SAMPLED = 32_768
# Rows are put together where at most this share of them is thought to be left.
_MOST_LEFT = 0.8


def some_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Draw rows of a frame, the same ones each time; all of one that is not large."""
    # Not rows that lie evenly: where rows of a key are neighbours, these would hardly ever be two of them.
    return rows.sample(_SAMPLED, seed=0) if rows.height > _SAMPLED else rows


def makes_fewer(sample: pl.DataFrame, height: int) -> bool:
    """
    Say whether rows have clearly fewer different keys than there are rows.

    Of ``s`` rows that were drawn from many, of ``k`` keys that are equally frequent, about ``s**2 / 2k`` have the key of an
    earlier one (the birthday problem), and ``n`` rows have about ``k * (1 - exp(-n / k))`` keys. Where some keys are more frequent than others,
    these are what is found twice.

    Parameters
    ----------
    sample
        The keys of some of the rows.
    height
        The number of rows.

    Returns
    -------
    bool

    Examples
    --------
    >>> makes_fewer(pl.DataFrame({"k": range(1000)}), 1000), makes_fewer(pl.DataFrame({"k": [1, 2] * 500}), 1000)
    (False, True)
    """
    different = sample.n_unique() if sample.height else 0
    again = sample.height - different
    if sample.height == height:
        return different <= _MOST_LEFT * height
    if not again:
        return False
    keys = sample.height**2 / (2 * again)
    return keys * -math.expm1(-height / keys) <= _MOST_LEFT * height
