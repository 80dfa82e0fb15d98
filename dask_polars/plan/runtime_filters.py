"""
Having Polars look for the keys of a small side of a join while it reads the other one.

The streaming engine makes a filter of the keys of the side of a join that it reads first (their least and greatest value, a Bloom
filter) and puts it on the scan of the other side, where it expects that side to lose most of its rows. What makes it expect
that is a predicate on the first side. The rows of a side that was broadcast have passed theirs already, so they
get another one, which all of them pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import filter_node


def keys_first(rows: Node, key: str, schema: Mapping[str, pl.DataType]) -> Node:
    """
    Put a predicate on rows of a join that those with null keys alone do not pass.

    Parameters
    ----------
    rows
        The rows of a side that matches nothing where its key is null, and has no other part in the outcome.
    key
        The name of the column that is the key.
    schema
        Of the rows.

    Returns
    -------
    Node
        The rows as they were, where the key is not an integer.
    """
    dtype = schema[key]
    if not dtype.is_integer():
        return rows
    return filter_node(decode_expr(pl.col(key) >= pl.lit(_LEAST[dtype.base_type()], dtype=dtype)), rows)


_LEAST: Mapping[type[pl.DataType], int] = {
    **{getattr(pl, f"Int{bits}"): -(2 ** (bits - 1)) for bits in (8, 16, 32, 64, 128)},
    **{getattr(pl, f"UInt{bits}"): 0 for bits in (8, 16, 32, 64, 128)},
}
