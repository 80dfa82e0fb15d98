"""Functions of `map_groups`, which a plan holds as a pickle."""

from __future__ import annotations

import pickle
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict


class Positioned:
    """
    A function of groups whose rows have a position, which it does not see: what it gives has that of the first row.

    Parameters
    ----------
    function
        What Polars pickled: it takes and gives a frame of Polars' own.
    name
        The column of positions.
    """

    def __init__(self, function: Any, name: str) -> None:
        self.function, self.name = function, name

    def __call__(self, group: pl.DataFrame) -> pl.DataFrame:
        out = pl.DataFrame._from_pydf(self.function(group.drop(self.name)._df))
        return out.with_columns(pl.lit(group[self.name][0], dtype=pl.UInt64).alias(self.name))


def with_positions(node: Node, name: str, outcome: SchemaDict) -> Node:
    """
    Let a `map_groups` give the position of the first row of each group.

    Parameters
    ----------
    node
        The group_by with a function.
    name
        The column of positions, which its input has.
    outcome
        The schema of what it gives now.

    Returns
    -------
    Node
        The same over rows with positions; its last column is ``name``.
    """
    # Three bytes (how it was pickled, two of the version of Python) stand before the pickle.
    function = pickle.loads(bytes(node.fields["apply"][0][3:]))
    schema = {**outcome, name: pl.UInt64()}
    made = pl.LazyFrame(schema={name: pl.UInt64}).group_by(name).map_groups(Positioned(function, name), schema=schema)
    return node.with_fields(apply=decode(made).fields["apply"])
