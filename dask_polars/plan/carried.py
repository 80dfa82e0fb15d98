"""
Cumulative functions, filling, row numbers: what the rows before (or behind) a partition add is a few values.

Each partition gives a *summary* of its rows, one value in each of a few columns. The summaries of all partitions make a
small frame, a row for each, from which *carries* are computed: what each partition has to know of the others. They are
sent to all, and every partition computes its rows with its own::

    a.cum_sum()  ->  a.cum_sum() + carry <- sums.cum_sum().shift() <- [a.sum()] per partition

Rows stay where they are. Everything is said in expressions of Polars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, function_name, to_expr
from dask_polars.dsl.schemas import expression_dtypes, select_node
from dask_polars.plan.ewm import ewm_mean, ewm_sum, refuses_ewm
from dask_polars.plan.ewm_var import ewm_var
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import per_partition
from dask_polars.plan.row_numbers import row_numbers
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, Size, Stage
from dask_polars.plan.wide import Item, Rows, computes, dtype_of, means
from dask_polars.wide_kernels import with_carried


@dataclass(frozen=True)
class Names:
    """Gives columns of summaries and carries names of their own."""

    prefix: str

    def __call__(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def col(self, name: str) -> pl.Expr:
        return pl.col(self(name))


@dataclass(frozen=True)
class Carry:
    """
    How a column is computed from the rows of a partition and a few values of the others.

    Parameters
    ----------
    summaries
        By name, what is computed of the rows of each partition: one value.
    carries
        By name, what is computed of the summaries, which are in the order of the partitions: a value for each.
    column
        The column, computed from the rows and the carries of their partition.
    """

    summaries: Mapping[str, pl.Expr]
    carries: Mapping[str, pl.Expr]
    column: pl.Expr


@dataclass(frozen=True)
class Call:
    """
    A call of a function that carries.

    Parameters
    ----------
    tree
        The expression.
    x
        Its first input, computed row by row.
    arguments
        Its options, as the plan has them.
    """

    tree: Expression
    x: pl.Expr
    arguments: Any


def _call(tree: Expression) -> Call:
    function, inputs = tree["Function"]["function"], tree["Function"]["input"]
    arguments = next(iter(function.values())) if isinstance(function, Mapping) else None
    return Call(tree, to_expr(inputs[0]), arguments)


LENGTH, ROW = pl.len().cast(pl.Int64), pl.int_range(pl.len())


def _before(values: pl.Expr, nothing: Any) -> pl.Expr:
    """Give each partition the value of the one before it."""
    return values.shift(1, fill_value=nothing)


def _behind(values: pl.Expr, nothing: Any) -> pl.Expr:
    return values.shift(-1, fill_value=nothing)


def _sums(call: Call, n: Names) -> Carry:
    return _accumulated(call, n, call.x.sum(), pl.Expr.cum_sum, lambda own, carry: own + carry)


def _products(call: Call, n: Names) -> Carry:
    return _accumulated(call, n, call.x.product(), pl.Expr.cum_prod, lambda own, carry: own * carry)


def _counts(call: Call, n: Names) -> Carry:
    return _accumulated(call, n, call.x.count(), pl.Expr.cum_sum, lambda own, carry: own + carry)


def _accumulated(
    call: Call,
    n: Names,
    summary: pl.Expr,
    accumulate: Callable[..., pl.Expr],
    add: Callable[[pl.Expr, pl.Expr], pl.Expr],
) -> Carry:
    reverse = call.arguments["reverse"]
    total = accumulate(n.col("part"), reverse=reverse)
    other = (_behind if reverse else _before)(total, None)
    own = to_expr(call.tree)
    # No partition before: no carry, rather than a neutral value, whose type would have to be known.
    column = pl.when(n.col("carry").is_null()).then(own).otherwise(add(own, n.col("carry")))
    return Carry({n("part"): summary}, {n("carry"): other}, column)


def _extremes(call: Call, n: Names) -> Carry:
    lowest = function_name(call.tree) == "CumMin"
    reverse = call.arguments["reverse"]
    summary = call.x.min() if lowest else call.x.max()
    accumulated = n.col("part").cum_min(reverse=reverse) if lowest else n.col("part").cum_max(reverse=reverse)
    # Cumulative functions are null where there is a null; a partition of nulls hands on what it got.
    filled = accumulated.backward_fill() if reverse else accumulated.forward_fill()
    both = [to_expr(call.tree), n.col("carry")]
    column = pl.when(call.x.is_not_null()).then(pl.min_horizontal(both) if lowest else pl.max_horizontal(both))
    return Carry({n("part"): summary}, {n("carry"): (_behind if reverse else _before)(filled, None)}, column)


def _filled(call: Call, n: Names) -> Carry:
    ((strategy, limit),) = call.arguments.items()
    forward = strategy == "Forward"
    places = ROW.filter(call.x.is_not_null())
    values = call.x.drop_nulls()
    summaries = {n("has"): places.len() > 0, n("n"): LENGTH, n("value"): values.last() if forward else values.first()}
    summaries[n("place")] = places.last() if forward else places.first()
    starts = n.col("n").cum_sum() - n.col("n")
    # Nulls are values of structs and lists too: which partition to take from is told by its number.
    number = pl.when(n.col("has")).then(ROW)
    source = _before(number.forward_fill(), None) if forward else _behind(number.backward_fill(), None)
    carries = {n("carry"): n.col("value").gather(source)}
    found = (starts + n.col("place")).gather(source)
    # How far away it is: from the first row of the partition, or from behind its last row.
    carries[n("distance")] = starts - found if forward else found - starts - n.col("n")
    everything = call.x.forward_fill() if forward else call.x.backward_fill()
    missing = everything.is_null()
    if limit is not None:
        place = ROW if forward else LENGTH - ROW
        missing = missing & (place + n.col("distance") <= limit)
    return Carry(summaries, carries, pl.when(missing).then(n.col("carry")).otherwise(to_expr(call.tree)))


def _run_numbers(call: Call, n: Names) -> Carry:
    summaries = {n("n"): LENGTH, n("runs"): to_expr(call.tree).last(), n("first"): call.x.first()}
    summaries[n("last")] = call.x.last()
    has = n.col("n") > 0
    source = _before(pl.when(has).then(ROW).forward_fill(), None)
    # A run may go on over the end of a partition.
    changed = has & source.is_not_null() & n.col("last").gather(source).ne_missing(n.col("first"))
    runs = n.col("runs").fill_null(0)
    carries = {n("carry"): (runs + changed.cast(pl.UInt32)).cum_sum() - runs}
    return Carry(summaries, carries, to_expr(call.tree) + n.col("carry"))


def _row_numbers(call: Call, n: Names) -> Carry:
    numbers = row_numbers(call.tree)
    assert numbers is not None
    rows = n.col("n").cast(pl.Int64)
    # Where the range starts depends on the number of all rows, if it counts down.
    carry = (rows.cum_sum() - rows) * numbers.step + (rows.sum() - rows) * numbers.start.lengths
    own = to_expr(call.tree).cast(pl.Int64)
    return Carry({n("n"): LENGTH}, {n("carry"): carry}, (own + n.col("carry")).cast(getattr(pl, numbers.dtype)))


def _exponential(call: Call, n: Names) -> Carry:
    options, name, own = call.arguments["options"], function_name(call.tree), to_expr(call.tree)
    if name == "EwmMean":
        found = ewm_mean(call.x, options, n.prefix)
    elif name == "EwmSum":
        found = ewm_sum(call.x, own, options, n.prefix)
    else:
        found = ewm_var(call.x, own, options, n.prefix, root=name == "EwmStd")
    return Carry(found.summaries, found.carries, found.column)


CARRIES: dict[str, Callable[[Call, Names], Carry]] = {
    "CumSum": _sums,
    "CumProd": _products,
    "CumCount": _counts,
    "CumMin": _extremes,
    "CumMax": _extremes,
    "FillNullWithStrategy": _filled,
    "RLEID": _run_numbers,
    "Range": _row_numbers,
    **dict.fromkeys(("EwmMean", "EwmSum", "EwmVar", "EwmStd"), _exponential),
}


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why something does not carry; None where it does."""
    name = function_name(tree)
    if name == "Range":
        return None
    if name in ("EwmMean", "EwmSum", "EwmVar", "EwmStd"):
        return refuses_ewm(tree, schema)
    dtype = dtype_of(tree["Function"]["input"][0], schema)
    if name in ("CumSum", "CumProd"):
        fine = dtype.is_numeric() or dtype.base_type() in (pl.Boolean, pl.Duration)
    elif name in ("CumMin", "CumMax"):
        fine = dtype.is_numeric() or dtype.is_temporal() or dtype.base_type() in (pl.Boolean, pl.String)
    elif name == "RLEID":
        fine = not dtype.is_nested()
    else:
        # The other strategies are written with aggregations, where these are known to be what Polars fills with.
        fine = name != "FillNullWithStrategy" or isinstance(tree["Function"]["function"][name], Mapping)
    return None if fine else f"`{name}` of {dtype} is not carried over from partition to partition"


@means("FillNullWithStrategy")
def filled_with_aggregate(tree: Expression, schema: SchemaDict) -> Expression | None:
    """Write ``fill_null(strategy="mean")``, ``"min"`` and ``"max"`` as filling with these."""
    strategy, value = tree["Function"]["function"]["FillNullWithStrategy"], tree["Function"]["input"][0]
    dtype = dtype_of(value, schema)
    if strategy not in ("Mean", "Min", "Max") or not (dtype.is_integer() or dtype.is_float()):
        return None
    x = to_expr(value)
    found = {"Mean": x.mean, "Min": x.min, "Max": x.max}[strategy]()
    return decode_expr(x.fill_null(found.cast(dtype)))


@means("Interpolate")
def interpolated(tree: Expression, schema: SchemaDict) -> Expression | None:
    """Write ``interpolate`` with the values before and behind each null, and how far away they are."""
    x = to_expr(tree["Function"]["input"][0])
    dtype = dtype_of(tree["Function"]["input"][0], schema)
    if not (dtype.is_integer() or dtype.is_float()):
        return None
    place = pl.when(x.is_not_null()).then(ROW)
    low, high = x.forward_fill(), x.backward_fill()
    since, steps = ROW - place.forward_fill(), place.backward_fill() - place.forward_fill()
    if tree["Function"]["function"]["Interpolate"] == "Nearest":
        between: pl.Expr = pl.when(low.is_not_null() & high.is_not_null()).then(
            pl.when(2 * since >= steps).then(high).otherwise(low)
        )
    else:
        out = dtype_of(tree, schema)
        low, high = low.cast(out), high.cast(out)
        between = (low + (high - low) / steps * since).cast(out)
        x = x.cast(out)
    return decode_expr(pl.when(x.is_null()).then(between).otherwise(x))


@computes(*CARRIES, refuses=refuses)
def lower_carried(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute columns from the rows of each partition and what is carried over to it."""
    made = [CARRIES[function_name(item.tree) or ""](_call(item.tree), Names(f"__dp_{item.name}_")) for item in items]
    summaries = [decode_expr(expr.alias(name)) for carry in made for name, expr in carry.summaries.items()]
    one_row_each = Size.guess(rows.stage.npartitions, {}, exact=True)
    parts = per_partition(
        planner,
        "carry-summary",
        lambda leaves: select_node(None, summaries, leaves[0]),
        rows.node,
        rows.stage,
        size=one_row_each,
    )
    carries = [decode_expr(expr.alias(name)) for carry in made for name, expr in carry.carries.items()]
    carried = planner.fragment(
        "carry", lambda leaves: select_node(None, carries, leaves[0]), [planner.gather(parts)], [parts.schema]
    )
    return CallStage(
        operation="carried",
        schema={**stage.schema, **{item.name: item.dtype for item in items}},
        npartitions=stage.npartitions,
        size=Size.guess(stage.size.rows, stage.schema, exact=stage.size.exact, doubt=stage.size.doubt),
        placement=stage.placement,
        distinct=stage.distinct,
        function=with_carried,
        sources=(Input(stage), Input(carried, Mode.BROADCAST)),
        arguments=tuple(
            _typed(carry.column, item, {**rows.schema, **carried.schema}).alias(item.name).meta.serialize()
            for carry, item in zip(made, items, strict=True)
        ),
        lazy=True,
        indexed=True,
    )


def _typed(expr: pl.Expr, item: Item, schema: SchemaDict) -> pl.Expr:
    (found,) = expression_dtypes([decode_expr(expr)], schema)
    return expr if found == item.dtype else expr.cast(item.dtype)
