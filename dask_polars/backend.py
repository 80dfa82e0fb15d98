"""Tells Dask of Polars objects: how big they are, how they travel, and what they are called."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from dask.sizeof import sizeof
from dask.tokenize import normalize_token
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from dask_polars import serialization, tokens
from dask_polars.sizeof import sizeof_dataframe, sizeof_lazyframe, sizeof_series


class _State:
    registered = False


def register() -> None:
    """
    Tell Dask about Polars objects: their size, their serialization, and their tokens.

    It can be called any number of times. Frames leave the process in our format only after :func:`enable_wire`.
    """
    if _State.registered:
        return
    sizes: dict[type, Callable] = {
        pl.DataFrame: sizeof_dataframe,
        pl.Series: sizeof_series,
        pl.LazyFrame: sizeof_lazyframe,
    }
    for kind, size in sizes.items():
        sizeof.register(kind, size)
    for kind, dump, load in (
        (pl.DataFrame, serialization.serialize_dataframe, serialization.deserialize_dataframe),
        (pl.Series, serialization.serialize_series, serialization.deserialize_series),
        (pl.LazyFrame, serialization.serialize_lazyframe, serialization.deserialize_lazyframe),
    ):
        dask_serialize.register(kind, dump)
        dask_deserialize.register(kind, load)
    tokenizers: dict[type, Callable] = {
        pl.DataFrame: tokens.token_dataframe,
        pl.Series: tokens.token_series,
        pl.LazyFrame: tokens.token_lazyframe,
        pl.Expr: tokens.token_expr,
        pl.Schema: tokens.token_schema,
        pl.DataType: tokens.token_dtype,
        type(pl.Int64): tokens.token_dtype,
    }
    for kind, token in tokenizers.items():
        normalize_token.register(kind, token)
    _State.registered = True


def enable_wire() -> None:
    """
    Send frames to other processes as buffers, and no longer as pickles, from now on.

    A process that does not know our format cannot read it. So this is called where the other side is known to be able to:
    on workers when they are set up, and on a client once all workers are. Spilling to disk does not need it.
    """
    register()
    serialization.Wire.enabled = True
