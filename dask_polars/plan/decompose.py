"""
Aggregations in parts: what each partition computes, how these are combined, and what is made of them in the end.

Sums, counts and extremes are combined by themselves; means are sums over counts; variances are merged by the method of
Chan, Golub and LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979, since
differences of sums of squares lose all digits where the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgpack
import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    aggregation_of,
    alias,
    children,
    column,
    function_name,
    kind_of,
    map_children,
    named_like,
    shape,
    to_expr,
    walk_expression,
)
from dask_polars.plan import moments, sequences

DtypeOf = Callable[[Expression], pl.DataType]
PREFIX = "__dp_partial_"


@dataclass(frozen=True)
class Partial:
    """One column of a partial result."""

    name: str
    expression: Expression
    combine: Expression

    @property
    def aggregation(self) -> Expression:
        """What it computes, without its name."""
        return self.expression["Alias"][0]

    def of_one_row(self) -> Expression | None:
        """Give its value for a group of one row, but for the type; None where that is not simply a value of the row."""
        tree = self.aggregation
        if tree == "Len":
            return decode_expr(pl.lit(1))
        name, arguments = aggregation_of(tree) or ("", None)
        value = inner_of(tree)
        if value is None or shape(value) is not Shape.ROW:
            return None
        if name == "Count":
            nulls = arguments is not None and arguments["include_nulls"]
            return decode_expr(pl.lit(1) if nulls else to_expr(value).is_not_null())
        return value if name in _OF_ONE_ROW else None


@dataclass
class Decomposition:
    """
    Aggregations taken apart.

    Parameters
    ----------
    dtype_of
        Gives the type of an expression over the rows.
    whole
        Whether the aggregation is over all rows: then a partition may be empty. Otherwise it is over the rows of a
        group, of which there is at least one wherever there is a partial result.
    """

    dtype_of: DtypeOf
    whole: bool
    partials: dict[str, Partial] = field(default_factory=dict)
    reason: str | None = None

    def finals(self, trees: Sequence[Expression]) -> list[Expression] | None:
        """
        Take expressions apart.

        Parameters
        ----------
        trees
            Expressions that give one value each, without selectors.

        Returns
        -------
        list of expressions, or None
            The same values, computed from the combined partial results. None where one of the expressions cannot be
            computed in parts: ``reason`` says which.
        """
        out = []
        for tree in trees:
            final = self.final(tree)
            if final is None:
                return None
            out.append(named_like(final, tree))
        return out

    def final(self, tree: Expression) -> Expression | None:
        """Take one expression apart."""
        taken = self._aggregation(tree)
        if taken is not None:
            return taken
        found = shape(tree)
        if found is Shape.LITERAL:
            return tree
        below_shapes = {shape(child) for child in children(tree) or ()}
        if found is not Shape.SCALAR or not below_shapes or not below_shapes <= {Shape.SCALAR, Shape.LITERAL}:
            self._refuse(tree)
            return None
        # A computation on top of aggregations: do it in the end.
        missing = False

        def below(child: Expression) -> Expression:
            nonlocal missing
            final = self.final(child)
            missing = missing or final is None
            return child if final is None else named_like(final, child)

        rebuilt = map_children(tree, below)
        if missing or rebuilt is None:
            self._refuse(tree)
            return None
        return rebuilt

    def _refuse(self, tree: Expression) -> None:
        if self.reason is None:
            aggregation = aggregation_of(tree)
            name = aggregation[0] if aggregation else function_name(tree) or kind_of(tree)
            self.reason = f"`{name}` cannot be computed in parts"

    def _aggregation(self, tree: Expression) -> Expression | None:
        if function_name(tree) == "Correlation":
            return moments.correlation(self, tree)
        name, value = self._single_input(tree)
        if name is None or (value is not None and shape(value) not in (Shape.ROW, Shape.ROWS)):
            return None
        if name == "Product" and self.dtype_of(tree).is_decimal():
            return None  # each product is rounded, so it matters in which order
        if name in _SELF_COMBINING:
            return self._self_combining(tree)
        if name in _COUNTING:
            return self._counting(tree)
        handler = _HANDLERS.get(name)
        return None if handler is None or value is None else handler(self, tree, value)

    def _single_input(self, tree: Expression) -> tuple[str | None, Expression | None]:
        """Name an aggregation and give what it is over."""
        if tree == "Len":
            return "Len", None
        name = function_name(tree)
        if name is not None and len(tree["Function"]["input"]) == 1:
            return name, tree["Function"]["input"][0]
        aggregation, inner = aggregation_of(tree), inner_of(tree)
        return (aggregation[0], inner) if aggregation is not None and inner is not None else (None, None)

    # ------------------------------------------------------------ parts

    def add(self, expression: Expression, combine: Callable[[Expression], Expression]) -> Expression:
        """Ask for a column of the partial results; the same one twice is one."""
        key = msgpack.packb([expression, combine(column("x"))]).hex()
        if key not in self.partials:
            name = f"{PREFIX}{len(self.partials)}"
            self.partials[key] = Partial(name, alias(expression, name), alias(combine(column(name)), name))
        return column(self.partials[key].name)

    def add_expr(self, expr: pl.Expr, combine: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
        """Ask for a column of the partial results, with expressions of Polars."""
        return to_expr(self.add(decode_expr(expr), lambda tree: decode_expr(combine(to_expr(tree)))))

    def _self_combining(self, tree: Expression) -> Expression:
        """Sums, extremes and the like: of partial results they are what they are of rows."""
        return self.add(tree, lambda value: map_children(tree, lambda _: value) or value)

    def _counting(self, tree: Expression) -> Expression:
        """Counts: partial ones are summed up."""
        return self.add(tree, lambda value: {"Agg": {"Sum": value}})

    def _sum(self, tree: Expression, value: Expression) -> Expression | None:
        dtype = self.dtype_of(value)
        if not (dtype.is_numeric() or dtype.base_type() in (pl.Boolean, pl.Duration, pl.Null)):
            return None
        return self._self_combining(tree)

    def _mean(self, tree: Expression, value: Expression) -> Expression | None:
        dtype = self.dtype_of(value)
        if not (dtype.is_numeric() or dtype.is_temporal() or dtype.base_type() in (pl.Boolean, pl.Null)):
            return None
        expr = to_expr(value).to_physical() if dtype.is_temporal() else to_expr(value)
        # A cast that changes nothing would make another sum of it than that which the query may ask for, too.
        values = expr if dtype == pl.Float64 else expr.cast(pl.Float64)
        total = self.add_expr(values.sum(), lambda part: part.sum())
        count = self.add_expr(expr.count(), lambda part: part.sum())
        out: pl.Expr = pl.when(count > 0).then(total / count)
        if dtype.is_temporal():
            # As Polars does it: the mean of the numbers behind, cut to a whole one. Dates have a mean in microseconds.
            numbers = out * 86_400_000_000 if dtype == pl.Date else out
            return decode_expr(numbers.cast(pl.Int64).cast(self.dtype_of(tree)))
        return decode_expr(out.cast(pl.Float32) if dtype == pl.Float32 else out)

    def _variance(self, tree: Expression, value: Expression) -> Expression | None:
        dtype = self.dtype_of(value)
        if not (dtype.is_integer() or dtype.is_float() or dtype.base_type() in (pl.Boolean, pl.Null)):
            return None
        name, arguments = aggregation_of(tree) or ("", [])
        ddof = arguments[1]
        values = to_expr(value) if dtype == pl.Float64 else to_expr(value).cast(pl.Float64)
        count = self.add_expr(values.count(), lambda part: part.sum())
        mean = self._merged_mean(values, count)
        squares = self._merged_squares(values, count, mean)
        out: pl.Expr = pl.when(count > ddof).then(squares / (count.cast(pl.Float64) - ddof))
        out = out.sqrt() if name == "Std" else out
        return decode_expr(out.cast(pl.Float32) if dtype == pl.Float32 else out)

    def _merged_mean(self, values: pl.Expr, count: pl.Expr) -> pl.Expr:
        """The mean of parts, weighted with their counts; null where there is nothing, since zero times NaN is NaN."""
        return self.add_expr(values.mean(), lambda part: _weighted_mean(part, count))

    def _merged_squares(self, values: pl.Expr, count: pl.Expr, mean: pl.Expr) -> pl.Expr:
        """The sum of squared differences from the mean: those within the parts, and those between their means."""

        def combine(part: pl.Expr) -> pl.Expr:
            between = mean - _weighted_mean(mean, count)
            return part.sum() + (count * between * between).sum()

        return self.add_expr(values.var(ddof=0) * values.count(), combine)

    def _first_or_last(self, tree: Expression, value: Expression) -> Expression | None:
        """The first of the first values, of those parts that have rows at all."""
        if not self.whole and shape(value) is Shape.ROW:
            return self._self_combining(tree)
        count = self.add_expr(to_expr(value).len(), lambda part: part.sum())
        n = count.meta.output_name()
        has_rows = decode_expr(pl.col(n) > 0)

        def combine(part: Expression) -> Expression:
            present = {"Filter": {"input": part, "by": has_rows}}
            return map_children(tree, lambda _: present) or part

        return self.add(tree, combine)

    def _implode(self, tree: Expression, value: Expression) -> Expression | None:
        """Of all rows: the lists of the parts, one behind the other. Of groups: rows are shuffled by key instead."""
        if not self.whole:
            return None
        parts = self.add_expr(to_expr(tree), lambda part: part.explode(empty_as_null=False).implode())
        return decode_expr(parts)

    def _has_nulls(self, tree: Expression, value: Expression) -> Expression | None:
        return decode_expr(self.add_expr(to_expr(tree), lambda part: part.any()))

    def _n_unique(self, tree: Expression, value: Expression) -> Expression | None:
        """Of all rows: the different values of each part travel. Of groups: rows are shuffled by key instead."""
        if not self.whole:
            return None
        values = to_expr(value)
        parts = self.add_expr(
            values.unique().implode(), lambda part: part.explode(empty_as_null=False).unique().implode()
        )
        return decode_expr(parts.list.len())


def inner_of(aggregation: Expression) -> Expression | None:
    """Give what an aggregation is over."""
    found: list[Expression] = []

    def collect(child: Expression) -> Expression:
        found.append(child)
        return child

    return found[0] if map_children(aggregation, collect) is not None and found else None


def counts_values(tree: Expression) -> bool:
    """Say whether different values are counted, which in parts travel as lists of one row: right for few of them only."""
    return any((aggregation_of(item) or ("",))[0] == "NUnique" for item in walk_expression(tree))


def _weighted_mean(mean: pl.Expr, count: pl.Expr) -> pl.Expr:
    return pl.when(count.sum() > 0).then((count * mean).sum() / count.sum())


_SELF_COMBINING = ("Min", "Max", "Any", "All", "FirstNonNull", "LastNonNull", "Product", "Bitwise")
_OF_ONE_ROW = ("Sum", "Min", "Max", "First", "Last")
_COUNTING = ("Len", "Count", "NullCount")
_HANDLERS: Mapping[str, Callable[[Decomposition, Expression, Expression], Expression | None]] = {
    "Sum": Decomposition._sum,
    "Mean": Decomposition._mean,
    "Var": Decomposition._variance,
    "Std": Decomposition._variance,
    "First": Decomposition._first_or_last,
    "Last": Decomposition._first_or_last,
    "NUnique": Decomposition._n_unique,
    "HasNulls": Decomposition._has_nulls,
    "Implode": Decomposition._implode,
    "Skew": moments.shape_of_values,
    "Kurtosis": moments.shape_of_values,
    "Entropy": moments.entropy,
    "IsEmpty": sequences.is_empty,
    "IsSorted": sequences.is_sorted,
    "Item": sequences.item,
    "ConcatVertical": sequences.join,
}
