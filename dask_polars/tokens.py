"""
What Polars objects are called by Dask: equal for equal content, in every process.

A hidden value under a null must not matter, a -0.0 must.
"""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import polars as pl
import pyarrow as pa
from dask.hashing import hash_buffer_hex
from dask.tokenize import normalize_token

from dask_polars.arrow_types import is_arrow, is_view


def token_dataframe(df: pl.DataFrame) -> tuple:
    """What a frame holds, as hashes: chunks, slices, and codes of categories make no difference."""
    return "pl.DataFrame", df.height, [token_series(s) for s in df.get_columns()]


def token_series(s: pl.Series) -> tuple:
    """What a series holds, as hashes."""
    return "pl.Series", s.name, token_dtype(s.dtype), len(s), _token_values(s.rechunk())


def token_lazyframe(lf: pl.LazyFrame) -> Any:
    """The serialized plan, as a hash; files count by their names, not by what is in them."""
    try:
        return "pl.LazyFrame", hash_buffer_hex(lf.serialize())
    except Exception:
        # Dask then says that it cannot be done, or takes a random token, as it is configured.
        return normalize_token.dispatch(object)(lf)


def token_expr(expr: pl.Expr) -> Any:
    """The serialized expression, as a hash."""
    try:
        return type(expr).__name__, hash_buffer_hex(expr.meta.serialize())
    except Exception:
        return normalize_token.dispatch(object)(expr)


def token_schema(schema: pl.Schema) -> tuple:
    """Names and types, in order."""
    return "pl.Schema", [(name, token_dtype(dtype)) for name, dtype in schema.items()]


def token_dtype(dtype: Any) -> tuple:
    """A type; a class and an instance without parameters are one type to Polars, and so they are here."""
    if isinstance(dtype, type) or not vars(dtype):
        return "pl.DataType", str(dtype)
    return "pl.DataType", str(dtype), hash_buffer_hex(cloudpickle.dumps(dtype))


def _token_values(s: pl.Series) -> Any:
    if not len(s):
        return None
    nulls = _hash_bits(s.is_null()) if s.null_count() else None
    match s.dtype:
        case pl.Null():
            return None
        case pl.Object():
            return normalize_token(s.to_list())
        case pl.Categorical() | pl.Enum() | pl.Int128() | pl.UInt128():
            # The codes of a category depend on what a process has seen before; Arrow has no integers of 128 bits.
            return nulls, _token_values(s.cast(pl.String))
        case pl.Struct():
            return nulls, [token_series(field) for field in s.struct.unnest().get_columns()]
        case pl.List():
            # What lies under a null, and between the lists, is left out.
            inner = s.explode(empty_as_null=False, keep_nulls=False)
            return nulls, _token_values(s.list.len()), token_series(inner)
        case pl.Array(size=0):
            return nulls
        case pl.Array():
            return nulls, token_series(s.drop_nulls().explode())
        case _ if not is_arrow(s.dtype):
            return nulls, hash_buffer_hex(pickle.dumps(s))
        case _:
            return nulls, _hash_flat(s)


def _hash_bits(s: pl.Series) -> str:
    return hash_buffer_hex(s.cast(pl.UInt8).to_numpy())


def _hash_flat(s: pl.Series) -> Any:
    if s.null_count():
        s = s.drop_nulls()
    if s.dtype == pl.Boolean:
        return _hash_bits(s)
    array = s.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    if is_view(array.type):
        array = array.cast(pa.large_string() if s.dtype == pl.String else pa.large_binary())
        _, offsets, text = array.buffers()
        return hash_buffer_hex(offsets.slice(0, 8 * (len(array) + 1))), hash_buffer_hex(text or b"")
    width = array.type.bit_width // 8
    return hash_buffer_hex(array.buffers()[1].slice(array.offset * width, len(array) * width))
