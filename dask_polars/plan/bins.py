"""
Bins that begin and end where the values of all rows say: `bin_intervals`, `bin_quantiles`, `bin_ranks`, `qcut`.

The few values that decide about the bins are found first, exactly, and put beside every row. What bin a row is in is then
known of the row itself::

    a.bin_intervals(3)  ->  a.append(low).append(high).bin_intervals(3), but its last two <- [a.min(), a.max()]
    a.bin_quantiles(3)  ->  place of a among the edges <- [values at a third and two thirds of all]
    a.qcut(3)           ->  category of the place of a among the edges <- categories of the bins <- quantiles
    a.bin_ranks(3)      ->  arithmetic on the rank of a

Where bins of equal width begin, and what a category is called, is for Polars to say: it is asked about rows that give the
same bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.bin_kernels import even_probabilities, with_categories
from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    column,
    function_name,
    kind_of,
    shape,
    to_expr,
)
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node, with_columns_node
from dask_polars.plan.hconcat import beside_node
from dask_polars.plan.order_statistics import quantile_node, sorted_values_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import kept
from dask_polars.plan.stages import CallStage, Input, SchemaDict, Size, Stage
from dask_polars.plan.wide import Item, Rows, computes, dtype_of, means
from dask_polars.ranks import VALUE


@dataclass(frozen=True)
class Binned:
    """
    How a column of bins is computed from the rows of a partition and a few values.

    Parameters
    ----------
    values
        A plan of one row: the values that decide about the bins of all rows.
    column
        The column, computed from the rows and these values, each of which is there beside every row.
    """

    values: Node
    column: pl.Expr


def _options(tree: Expression) -> Mapping[str, Any]:
    return next(iter(tree["Function"]["function"].values()))


def _value(tree: Expression) -> Expression:
    return tree["Function"]["input"][0]


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why bins are not found in parts; None where they are."""
    options = _options(tree)
    dtype = dtype_of(_value(tree), schema)
    if shape(_value(tree)) is not Shape.ROW:
        return f"`{function_name(tree)}` of a value"
    if function_name(tree) == "QCut":
        labels, quantiles = options["labels"], options["probs"]
        valid = all(0 <= item <= 1 for item in quantiles) and (labels is None or len(labels) == len(quantiles) + 1)
        return None if dtype.is_numeric() and quantiles and valid else f"`qcut` of {dtype}"
    # What is left of ranks is of types that have no ranks here.
    return f"`bin_ranks` of {dtype}" if kind_of(options["method"]) == "Ranks" else None


@computes("Bin", "QCut", refuses=refuses)
def lower_bins(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute columns of bins."""
    base = kept(planner, rows.node)
    found = [_binned(planner, base, item) for item in items]
    # Values under names that no column of the rows has.
    values = planner.lower(beside_node([item.values for item in found]))
    values = _with_categories(planner.gather(values), items)
    columns = [decode_expr(binned.column.alias(item.name)) for binned, item in zip(found, items, strict=True)]
    names = [column(name) for name in [*stage.schema, *(item.name for item in items)]]
    return planner.fragment(
        "bins",
        lambda leaves: select_node(None, names, with_columns_node(columns, leaves[0])),
        [Input(stage, scalars=values)],
        [{**stage.schema, **values.schema}],
        placement=stage.placement,
        distinct=stage.distinct,
    )


def _binned(planner: Planner, base: Node, item: Item) -> Binned:
    if function_name(item.tree) == "QCut":
        return _by_categories(planner, base, item)
    if kind_of(_options(item.tree)["method"]) == "Intervals":
        return _of_equal_width(base, item)
    return _between_values(base, item)


def _of_equal_width(base: Node, item: Item) -> Binned:
    """Bins of the rows and of the two values at the ends of all are those of all rows."""
    x = to_expr(_value(item.tree))
    low, high = f"__dp_{item.name}_low", f"__dp_{item.name}_high"
    values = select_node(None, [decode_expr(x.min().alias(low)), decode_expr(x.max().alias(high))], base)
    more = decode_expr(x.append(pl.col(low).first()).append(pl.col(high).first()))
    found = to_expr({"Function": {**item.tree["Function"], "input": [more]}})
    return Binned(values, found.slice(0, pl.len()))


def _between_values(base: Node, item: Item) -> Binned:
    """Bins between values as they are, of which some may be the same."""
    options = _options(item.tree)
    ((_, method),) = options["method"].items()
    ((kind, places),) = method["spec"].items()
    wanted = [(index, places) for index in range(1, places)] if kind == "Count" else places
    name = f"__dp_{item.name}_edges"
    x = to_expr(_value(item.tree))
    ordered = sorted_values_node(select_node(None, [decode_expr(x.alias(VALUE))], base), wanted)
    values = select_node(None, [alias(column(VALUE), name)], ordered)
    edges = pl.col(name).first().explode(empty_as_null=False)
    number = edges.search_sorted(x, "left" if method["right_closed"] else "right")
    # A null has a place among others, too.
    number = pl.when(x.is_not_null()).then(number.cast(pl.UInt32))
    left, right = pl.lit(None).append(edges).gather(number), edges.append(pl.lit(None)).gather(number)
    return Binned(values, finished(number, options, left, right))


def finished(number: pl.Expr, options: Mapping[str, Any], left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """
    Make of the numbers of bins what Polars gives.

    Parameters
    ----------
    number
        The number of the bin of each row, as UInt32.
    options
        What else the user wants to see.
    left, right
        The values that the bin of each row is between.

    Returns
    -------
    pl.Expr
    """
    labels = options["labels"]
    found = number
    if labels is not None:
        found = pl.lit(pl.Series(labels, dtype=pl.Enum(labels))).gather(number)
    if not options["include_intervals"]:
        return found
    return pl.struct(found.alias("bin"), left.alias("left"), right.alias("right"))


def _by_categories(planner: Planner, base: Node, item: Item) -> Binned:
    """Bins that have names, which are those of the quantiles that they begin and end at."""
    options = _options(item.tree)
    # As a float, where text is null and NaN is nothing.
    x = to_expr(_value(item.tree)).cast(pl.Float64, strict=False).fill_nan(None)
    rows = select_node(None, [decode_expr(x.alias(VALUE))], base)
    wanted = pl.col(VALUE).quantile(options["probs"], "linear")
    quantiles = quantile_node(decode_expr(wanted), rows, planner.schema(rows))
    assert quantiles is not None
    values = select_node(None, [alias(column(VALUE), _edges_of(item))], quantiles)
    edges = pl.col(_edges_of(item)).first().explode().sort()
    number = edges.search_sorted(x, "right" if options["left_closed"] else "left")
    number = pl.when(x.is_not_null()).then(number)
    categories = pl.col(_categories_of(item)).first().explode()
    if not options["include_breaks"]:
        return Binned(values, categories.gather(number))
    # Of a value without a bin each field is null, not the whole.
    fields = (categories.struct.field(name).gather(number) for name in ("breakpoint", "category"))
    return Binned(values, pl.struct(*fields))


def _edges_of(item: Item) -> str:
    return f"__dp_{item.name}_edges"


def _categories_of(item: Item) -> str:
    return f"__dp_{item.name}_categories"


def _with_categories(values: Stage, items: Sequence[Item]) -> Stage:
    """Find what the bins of quantiles are called."""
    named = [item for item in items if function_name(item.tree) == "QCut"]
    if not named:
        return values
    schema = {**values.schema, **{_categories_of(item): pl.List(item.dtype) for item in named}}
    return CallStage(
        operation="bin-categories",
        schema=schema,
        npartitions=1,
        size=Size.guess(1, schema, exact=True),
        function=with_categories,
        sources=(Input(values),),
        arguments=(tuple(map(_categorized, named)),),
    )


def _categorized(item: Item) -> tuple[str, str, bytes, bool]:
    options = _options(item.tree)
    asked = {**options, "probs": even_probabilities(len(options["probs"]))}
    cut = {"Function": {"input": [column(_edges_of(item))], "function": {"QCut": asked}}}
    serialized = to_expr(cut).meta.serialize()
    return _edges_of(item), _categories_of(item), serialized, options["left_closed"]


@means("Bin")
def by_rank(tree: Expression, schema: SchemaDict) -> Expression | None:
    """Write bins of ranks with ranks."""
    options = _options(tree)
    if kind_of(options["method"]) != "Ranks":
        return None
    dtype = dtype_of(_value(tree), schema)
    if not (dtype.is_numeric() or dtype.is_temporal() or dtype.base_type() in (pl.Boolean, pl.String)):
        return None
    ((kind, spec),) = options["method"]["Ranks"]["spec"].items()
    x = to_expr(_value(tree))
    count = x.count().cast(pl.Int64)
    place = x.rank("ordinal").cast(pl.Int64) - 1
    if kind == "Count":
        cuts = [index * (count // spec) + pl.min_horizontal(pl.lit(index), count % spec) for index in range(1, spec)]
        number = _bin_of_rank(place, count, spec)
    else:
        cuts = [(pl.lit(share) * count).round(mode="half_away_from_zero").cast(pl.Int64) for share in spec]
        number = pl.sum_horizontal(pl.lit(0), *((place >= cut).cast(pl.Int64) for cut in cuts))
    number = pl.when(place.is_not_null()).then(number).cast(pl.UInt32)
    edges = [x.filter(place == cut).first() for cut in cuts]
    left, right = (_one_of(edges, number.cast(pl.Int64) - before, dtype) for before in (1, 0))
    return decode_expr(finished(number, options, left, right))


def _one_of(values: Sequence[pl.Expr], number: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Pick one of a few values of all rows by its number; null where there is none of this number."""
    found: pl.Expr = pl.lit(None, dtype=dtype)
    for index, value in enumerate(values):
        found = pl.when(number == index).then(value).otherwise(found)
    return found


def _bin_of_rank(place: pl.Expr, count: pl.Expr, bins: int) -> pl.Expr:
    """Where bins are of the same size, the first ones have one row more."""
    size, larger = count // bins, count % bins
    in_larger = larger * (size + 1)
    return pl.when(place < in_larger).then(place // (size + 1)).otherwise(larger + (place - in_larger) // size)


__all__ = ["finished", "lower_bins"]
