"""How many bytes of memory Polars objects take, for :func:`dask.sizeof.sizeof`, which takes all of them for 56."""

from __future__ import annotations

import polars as pl
from dask.sizeof import sizeof

from dask_polars.arrow_types import arrow_table, contains, is_arrow

# Nothing is known of the frames within a LazyFrame without serializing them, which takes a second per 100 MB.
LAZYFRAME_SIZE = 16 * 2**10
VIEW_SIZE = 16  # bytes of a string in a column, beside its text
# What strings share is only looked for where they take more than this: Dask asks often, also of partial results of a few rows.
LOOKED_AT_ABOVE = 2**14


def sizeof_dataframe(df: pl.DataFrame) -> int:
    """
    Bytes of memory that the rows of a frame take.

    Notes
    -----
    What a slice shows is counted, not the buffers that it shares with the frame it was cut from. So the slices of a frame
    add up to the frame; but one small slice keeps the whole frame alive and does not say so.
    """
    return 1000 + sum(_series_bytes(s) for s in df.get_columns())


def sizeof_series(s: pl.Series) -> int:
    """Bytes of memory that the values of a series take, as for :func:`sizeof_dataframe`."""
    return 500 + _series_bytes(s)


def sizeof_lazyframe(lf: pl.LazyFrame) -> int:
    """A constant: frames in memory within the plan are not counted, as they cannot be reached without a copy."""
    return LAZYFRAME_SIZE


def _series_bytes(s: pl.Series) -> int:
    visible = int(s.estimated_size())
    dtype = s.dtype
    if dtype == pl.Object:
        return visible + sizeof(s.to_list())
    if not contains(dtype, (pl.String, pl.Binary)):
        return visible
    # Polars counts the text of every string, also where many share one text (after a join), and no views at all.
    if not dtype.is_nested() and (most := visible + VIEW_SIZE * len(s)) < LOOKED_AT_ABOVE:
        return most
    held = _held_bytes(s)
    if dtype.is_nested():
        return min(held, VIEW_SIZE * (visible + len(s)))
    return min(held, visible + VIEW_SIZE * len(s))


def _held_bytes(s: pl.Series) -> int:
    chunks = arrow_table(s.to_frame()).column(0).chunks if is_arrow(s.dtype) else []
    # Chunks of one column share buffers of text, so each buffer is counted once.
    buffers = {b.address: b.size for chunk in chunks for b in chunk.buffers() if b is not None}
    return sum(buffers.values()) if chunks else int(s.estimated_size()) + VIEW_SIZE * len(s)
