"""Functions that run on partitions whose rows need other rows: what is carried to them, overlaps, groups joined back."""

from __future__ import annotations

import io

import polars as pl

from dask_polars.shuffle.frames import PARTITION_COLUMN

SIDE = "__dp_side"


def with_carried(rows: pl.LazyFrame, carried: pl.LazyFrame, index: int, *columns: bytes) -> pl.LazyFrame:
    """Compute columns of the rows of a partition and of values that are its own: those of a row of a small frame."""
    values = carried.collect(engine="in-memory").slice(index, 1)
    beside = rows.with_columns(pl.lit(values[name]).first().alias(name) for name in values.columns)
    return beside.with_columns(pl.Expr.deserialize(io.BytesIO(item)) for item in columns).drop(values.columns)


def edges_of(rows: pl.LazyFrame, index: int, before: int, after: int) -> pl.LazyFrame:
    """Give the rows of a partition that others may need: the last for those behind it, the first for those before."""
    number = pl.lit(index, dtype=pl.UInt32).alias(PARTITION_COLUMN)
    last = rows.tail(before).with_columns(pl.lit(0, dtype=pl.UInt8).alias(SIDE), number)
    first = rows.head(after).with_columns(pl.lit(1, dtype=pl.UInt8).alias(SIDE), number)
    return pl.concat([last, first])


def spread_edges(edges: pl.DataFrame, npartitions: int, before: int, after: int) -> pl.DataFrame:
    """Give each partition the last rows of all before it and the first rows of all behind it, under its number."""
    last, first = (edges.filter(pl.col(SIDE) == side) for side in (0, 1))
    numbers = pl.Series(range(npartitions), dtype=pl.UInt32)
    # How many rows there are of partitions before each, and of those up to it.
    ends = last[PARTITION_COLUMN].search_sorted(numbers, side="left").to_list()
    starts = first[PARTITION_COLUMN].search_sorted(numbers, side="right").to_list()
    out = []
    for index, (end, start) in enumerate(zip(ends, starts, strict=True)):
        count = min(before, end)
        around = [last.slice(end - count, count), first.slice(start, after)]
        out += [item.with_columns(pl.lit(index, dtype=pl.UInt32).alias(PARTITION_COLUMN)) for item in around]
    return pl.concat(out)


def pick_edges(edges: pl.LazyFrame, index: int) -> pl.LazyFrame:
    """Give what was spread to a partition."""
    return edges.filter(pl.col(PARTITION_COLUMN) == index).drop(PARTITION_COLUMN)


def send_edges(rows: pl.DataFrame, counts: pl.DataFrame, index: int, before: int, after: int) -> pl.DataFrame:
    """Say where rows of a partition are needed: once for each partition that looks back or ahead to them."""
    starts, heights = counts["before"].to_list(), counts["rows"].to_list()
    start, end = starts[index], starts[index] + rows.height
    out = [_sent(rows.clear(), 0, index)]
    for other, (first, height) in enumerate(zip(starts, heights, strict=True)):
        if height == 0 or other == index:
            continue
        if other > index and first - before < end:
            out.append(_sent(rows.slice(max(first - before - start, 0)), 0, other))
        elif other < index and first + height + after > start:
            out.append(_sent(rows.head(first + height + after - start), 1, other))
    return pl.concat(out)


def _sent(rows: pl.DataFrame, side: int, index: int) -> pl.DataFrame:
    number = pl.lit(index, dtype=pl.UInt32).alias(PARTITION_COLUMN)
    return rows.with_columns(pl.lit(side, dtype=pl.UInt8).alias(SIDE), number)


def with_overlap(
    rows: pl.LazyFrame, edges: pl.LazyFrame, names: tuple[str, ...], columns: tuple[bytes, ...]
) -> pl.LazyFrame:
    """Compute columns over the rows of a partition and those around it, and give the former."""
    around = [edges.filter(pl.col(SIDE) == side).drop(SIDE) for side in (0, 1)]
    own = rows.with_columns(pl.lit(True).alias(SIDE))
    together = pl.concat([around[0], own, around[1]], how="diagonal")
    computed = together.with_columns(pl.Expr.deserialize(io.BytesIO(item)) for item in columns)
    return computed.filter(pl.col(SIDE)).select(names)


def join_groups(rows: pl.LazyFrame, groups: pl.LazyFrame, keys: tuple[bytes, ...]) -> pl.LazyFrame:
    """Put beside each row what was computed of its group."""
    expressions = [pl.Expr.deserialize(io.BytesIO(key)) for key in keys]
    names = [key.meta.output_name() for key in expressions]
    keyed = rows.with_columns(expressions)
    return keyed.join(groups, on=names, how="left", nulls_equal=True, maintain_order="left").drop(names)
