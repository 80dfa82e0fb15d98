"""Types of Polars and of Arrow: what Arrow carries with no loss, and what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

# What Arrow carries with no loss. Int128, UInt128, Map and extension types go as Polars serializes them.
_ARROW_DTYPES = frozenset(
    {
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.UInt8,
        pl.UInt16,
        pl.UInt32,
        pl.UInt64,
        pl.Float16,
        pl.Float32,
        pl.Float64,
        pl.Boolean,
        pl.String,
        pl.Binary,
        pl.Date,
        pl.Datetime,
        pl.Duration,
        pl.Time,
        pl.Decimal,
        pl.Categorical,
        pl.Enum,
        pl.Null,
    }
)


def arrow_table(df: pl.DataFrame) -> pa.Table:
    """Give a frame as a table of Arrow, over the same memory."""
    return df.to_arrow(compat_level=pl.CompatLevel.newest())


def is_view(dtype: pa.DataType) -> bool:
    """Say whether a type of Arrow is one of views into buffers of text or bytes."""
    return bool(pa.types.is_string_view(dtype) or pa.types.is_binary_view(dtype))


def contains(dtype: pl.DataType, wanted: Sequence[type[pl.DataType]]) -> bool:
    """Say whether a type is one of some, or has one of them inside, at any depth."""
    return any(leaf.base_type() in wanted for leaf in _leaves(dtype))


def _leaves(dtype: pl.DataType) -> Iterable[pl.DataType]:
    match dtype:
        case pl.List() | pl.Array():
            yield from _leaves(_instance(dtype.inner))
        case pl.Struct():
            for field in dtype.fields:
                yield from _leaves(_instance(field.dtype))
        case _:
            yield dtype


def _instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def is_arrow(dtype: pl.DataType) -> bool:
    """Say whether Arrow carries a type with no loss."""
    match dtype:
        case pl.Array():
            # Polars 2.1 cannot read an array of width zero that has nulls.
            return dtype.size > 0 and is_arrow(_instance(dtype.inner))
        case pl.List():
            return is_arrow(_instance(dtype.inner))
        case pl.Struct():
            return all(is_arrow(_instance(field.dtype)) for field in dtype.fields)
        case _:
            return dtype.base_type() in _ARROW_DTYPES


def needs_python(dtype: pl.DataType) -> bool:
    """Say whether Polars itself has no serialization for a type."""
    match dtype:
        case pl.Array():
            return dtype.size == 0 or needs_python(_instance(dtype.inner))
        case pl.List():
            return needs_python(_instance(dtype.inner))
        case pl.Struct():
            return any(needs_python(_instance(field.dtype)) for field in dtype.fields)
        case _:
            return dtype == pl.Object
