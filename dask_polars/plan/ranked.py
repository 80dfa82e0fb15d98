"""
Ranks, and which values are there more than once.

Ranks are what one sees of the rows in the order of their values: they are sorted, numbered and brought back. Whether a
value is there twice, or for the first time, is a window of its equals.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import Expression, column, function_name
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node, sort_node, with_columns_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import StageSource
from dask_polars.plan.shuffling import POSITION
from dask_polars.plan.stages import SchemaDict, Stage
from dask_polars.plan.wide import Item, Rows, computes, dtype_of, means
from dask_polars.plan.window import InOrder

VALUE, NUMBER = "__dp_ranked", "__dp_number"


@means("IsDuplicated", "IsUnique")
def counted(tree: Expression, schema: SchemaDict) -> Expression | None:
    """Write whether a value is there more than once as a window of its equals."""
    if _ungrouped(tree, schema):
        return None
    count = pl.len().over(to_expr(tree["Function"]["input"][0]))
    return decode_expr(count > 1 if function_name(tree) == "IsDuplicated" else count == 1)


def _ungrouped(tree: Expression, schema: SchemaDict) -> str | None:
    dtype = dtype_of(tree["Function"]["input"][0], schema)
    if isinstance(dtype, pl.List | pl.Array) or dtype == pl.Null:
        return f"`{function_name(tree)}` of {dtype}"
    return None


@computes("IsFirstDistinct", "IsLastDistinct", refuses=_ungrouped, moves_rows=True)
def lower_first_distinct(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute whether a row is the first, or the last, of its equals: by the numbers of the rows."""
    leaf = Node(SOURCE, {"source": StageSource(stage)})
    node = with_columns_node([decode_expr(_number().alias(NUMBER))], leaf)
    columns = []
    for item in items:
        number, value = pl.col(NUMBER), to_expr(item.tree["Function"]["input"][0])
        found = number.min() if function_name(item.tree) == "IsFirstDistinct" else number.max()
        columns.append(decode_expr((number == found.over(value)).alias(item.name)))
    names = [*stage.schema, *(item.name for item in items)]
    return planner.lower(select_node(None, [column(name) for name in names], with_columns_node(columns, node)))


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why ranks are not distributed; None where they are."""
    options = tree["Function"]["function"]["Rank"]["options"]
    dtype = dtype_of(tree["Function"]["input"][0], schema)
    if options["method"] == "Random":
        return "random ranks"
    if dtype.is_numeric() or dtype.is_temporal() or dtype.base_type() in (pl.Boolean, pl.String):
        return None
    return f"`rank` of {dtype}"


@computes("Rank", refuses=refuses, moves_rows=True)
def lower_ranks(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute ranks."""
    order = InOrder(planner, stage)
    for item in items:
        order.move(planner.lower(_ranked(order, item)))
    return order.restored()


def _ranked(order: InOrder, item: Item) -> Node:
    options = item.tree["Function"]["function"]["Rank"]["options"]
    value = to_expr(item.tree["Function"]["input"][0]).alias(VALUE)
    node = with_columns_node([decode_expr(value)], order.leaf())
    flags = [options["descending"], False]
    node = sort_node([column(VALUE), column(POSITION)], node, descending=flags, nulls_last=[True, False])
    rank = pl.when(pl.col(VALUE).is_not_null()).then(_RANKS[options["method"]]())
    node = with_columns_node([decode_expr(rank.cast(item.dtype).alias(item.name))], node)
    return select_node(None, [column(name) for name in [*order.stage.schema, item.name]], node)


def _first_of_equals() -> pl.Expr:
    starts = pl.col(VALUE).ne_missing(pl.col(VALUE).shift(1))
    return pl.when(starts).then(_number()).forward_fill()


def _last_of_equals() -> pl.Expr:
    ends = pl.col(VALUE).ne_missing(pl.col(VALUE).shift(-1))
    return pl.when(ends).then(_number()).backward_fill()


def _number() -> pl.Expr:
    return pl.int_range(pl.len()) + 1


def _dense() -> pl.Expr:
    return pl.col(VALUE).ne_missing(pl.col(VALUE).shift(1)).cum_sum()


_RANKS = {
    "Ordinal": _number,
    "Dense": _dense,
    "Min": _first_of_equals,
    "Max": _last_of_equals,
    "Average": lambda: (_first_of_equals() + _last_of_equals()) / 2,
}
