"""Aggregations in parts that are about the order or the number of rows: whether they are sorted, their text, the only one."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, to_expr

if TYPE_CHECKING:
    from dask_polars.plan.decompose import Decomposition


def is_empty(taken: Decomposition, tree: Expression, value: Expression) -> Expression:
    """Take apart whether there are no rows: it is so of all parts."""
    return decode_expr(taken.add_expr(to_expr(tree), pl.Expr.all))


def is_sorted(taken: Decomposition, tree: Expression, value: Expression) -> Expression | None:
    """
    Take apart whether rows are sorted: each part is, and so are the first and last values of the parts.

    Where a direction is left open, it must be the same in all parts. Of groups, rows are shuffled by key instead.
    """
    if not taken.whole:
        return None
    options = tree["Function"]["function"]["Boolean"]["IsSorted"]
    values = to_expr(value)
    edges = taken.add_expr(
        values.head(1).append(values.tail(1)).implode(), lambda part: part.explode(empty_as_null=False).implode()
    ).explode(empty_as_null=False)
    choices = [[False, True] if options[name] is None else [options[name]] for name in ("descending", "nulls_last")]
    ways = []
    for descending, nulls_last in product(*choices):
        within = taken.add_expr(values.is_sorted(descending=descending, nulls_last=nulls_last), pl.Expr.all)
        ways.append(within & edges.is_sorted(descending=descending, nulls_last=nulls_last))
    return decode_expr(pl.any_horizontal(ways) if len(ways) > 1 else ways[0])


def item(taken: Decomposition, tree: Expression, value: Expression) -> Expression | None:
    """Take apart the only value: the first one, and how many there are, of which Polars says whether it is right."""
    if not taken.whole:
        return None
    values = to_expr(value)
    count = taken.add_expr(values.len(), pl.Expr.sum)
    name = count.meta.output_name()
    first = taken.add_expr(values.first(), lambda part: part.filter(pl.col(name) > 0).first())
    # A column of nulls of type null takes no memory, however many there are.
    as_many = pl.repeat(None, count.first(), dtype=pl.Null)
    checked = as_many.item(allow_empty=tree["Agg"]["Item"]["allow_empty"])
    return decode_expr(pl.when(checked.is_null()).then(first))


def join(taken: Decomposition, tree: Expression, value: Expression) -> Expression:
    """Take apart text that is put together: that of the parts, of those that have any."""
    options = tree["Function"]["function"]["StringExpr"]["ConcatVertical"]
    values = to_expr(value)
    count = taken.add_expr(values.count() if options["ignore_nulls"] else values.len(), pl.Expr.sum)
    name = count.meta.output_name()

    def combine(part: pl.Expr) -> pl.Expr:
        return part.filter(pl.col(name) > 0).str.join(options["delimiter"], ignore_nulls=options["ignore_nulls"])

    return decode_expr(taken.add_expr(to_expr(tree), combine))
