"""
Moments and the like in parts: skewness, kurtosis, covariance, correlation, entropy.

Central moments are merged by the formulas of Pébay, *Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments*, Sandia Report SAND2008-6212, 2008. With the number of values n, their mean and the
sums of powers of differences from it, M2 to M4, of each part, and d the difference of its mean from that of all::

    M2 = Σ M2 + n d²
    M3 = Σ M3 + 3 d M2 + n d³
    M4 = Σ M4 + 4 d M3 + 6 d² M2 + n d⁴
    C  = Σ C + n dx dy                       (the sum of products of differences, of two columns)

Means are counted from one of the values, so that equal values have the same mean in all parts, and differ from it by zero:
what is then divided by zero is NaN, as it is in Polars, and not a quotient of rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, Shape, kind_of, shape, to_expr

if TYPE_CHECKING:
    from dask_polars.plan.decompose import Decomposition


def shape_of_values(taken: Decomposition, tree: Expression, value: Expression) -> Expression | None:
    """
    Take a skewness or a kurtosis apart.

    Parameters
    ----------
    taken
        Where partial results are asked for.
    tree
        The aggregation.
    value
        What it is of.

    Returns
    -------
    expression, or None
        None for types that Polars converts in a way of its own.
    """
    dtype = taken.dtype_of(value)
    if not (dtype.is_numeric() or dtype.base_type() in (pl.Boolean, pl.Null)):
        return None
    function = tree["Function"]["function"]
    moments = _Moments(taken, to_expr(value).cast(pl.Float64))
    if "Skew" in function:
        return decode_expr(_skewness(moments, bias=function["Skew"]))
    fisher, bias = function["Kurtosis"]
    return decode_expr(_kurtosis(moments, fisher=fisher, bias=bias))


def _skewness(moments: _Moments, *, bias: bool) -> pl.Expr:
    n, m2, m3 = moments.count.cast(pl.Float64), moments.squares(), moments.cubes()
    biased = _unless_constant(moments, m2 / n, (m3 / n) / (m2 / n) ** 1.5)
    if bias:
        return pl.when(n > 0).then(biased)
    return pl.when(n > 2).then((n * (n - 1)).sqrt() / (n - 2) * biased)


def _kurtosis(moments: _Moments, *, fisher: bool, bias: bool) -> pl.Expr:
    n, m2, m4 = moments.count.cast(pl.Float64), moments.squares(), moments.fourths()
    out = _unless_constant(moments, m2 / n, (m4 / n) / (m2 / n) ** 2)
    if not bias:
        out = ((n**2 - 1) * out - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3)) + 3
    return pl.when(n > (0 if bias else 3)).then(out - 3 if fisher else out)


def _unless_constant(moments: _Moments, variance: pl.Expr, value: pl.Expr) -> pl.Expr:
    """As Polars decides that all values are the same, up to rounding."""
    return pl.when(variance <= (2.0**-52 * moments.mean) ** 2).then(float("nan")).otherwise(value)


class _FirstMoments:
    """
    Merged mean and squares of a column of floats, of aggregations that Polars computes while rows of groups pass by.

    Differences of values from an aggregation of their group, as :class:`_Moments` has them, take four times as long.

    Parameters
    ----------
    taken
        Where partial results are asked for.
    values
        The column.
    """

    def __init__(self, taken: Decomposition, values: pl.Expr) -> None:
        self._taken, self._values = taken, values
        # Of NaN there is no least and no greatest value. The mean of equal values may be off by rounding.
        self.alike = (values.min() == values.max()) & values.mean().is_finite()
        self.count = taken.add_expr(values.count(), pl.Expr.sum)
        self.mean = taken.add_expr(self._own_mean(), lambda part: _mean_of(part, self.count))

    def _own_mean(self) -> pl.Expr:
        """Give the mean of a part."""
        return pl.when(self.alike).then(self._values.min()).otherwise(self._values.mean())

    def _own_squares(self) -> pl.Expr:
        """Give the sum of squared differences from the mean of a part."""
        return _unless_alike(self.alike, self._values.var(ddof=0) * self._values.count())

    def off(self) -> pl.Expr:
        """Give how far the mean of each part is from that of all: for what combines."""
        return self.mean - _mean_of(self.mean, self.count)

    def squares(self) -> pl.Expr:
        """Give the sum of squared differences from the mean."""

        def combine(part: pl.Expr) -> pl.Expr:
            return (part + self.count * self.off() ** 2).sum()

        return self._taken.add_expr(self._own_squares(), combine)


class _Moments(_FirstMoments):
    """Merged moments of a column of floats, also of higher powers of differences from the mean."""

    def _own_mean(self) -> pl.Expr:
        first = self._values.drop_nulls().first()
        return first + (self._values - first).mean()

    def _own_squares(self) -> pl.Expr:
        return self.differences().pow(2).sum()

    def differences(self) -> pl.Expr:
        """Give how far the values are from the mean of their part."""
        return self._values - self._own_mean()

    def cubes(self) -> pl.Expr:
        """Give the sum of third powers of differences from the mean."""
        squares = self.squares()

        def combine(part: pl.Expr) -> pl.Expr:
            off = self.off()
            return (part + 3 * off * squares + self.count * off**3).sum()

        return self._taken.add_expr(self.differences().pow(3).sum(), combine)

    def fourths(self) -> pl.Expr:
        """Give the sum of fourth powers of differences from the mean."""
        squares, cubes = self.squares(), self.cubes()

        def combine(part: pl.Expr) -> pl.Expr:
            off = self.off()
            return (part + 4 * off * cubes + 6 * off**2 * squares + self.count * off**4).sum()

        return self._taken.add_expr(self.differences().pow(4).sum(), combine)


def _unless_alike(alike: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Zero where all values of a part are the same, with no rounding error."""
    return pl.when(alike).then(0.0).otherwise(value)


def _mean_of(mean: pl.Expr, count: pl.Expr) -> pl.Expr:
    """The mean of all, from those of the parts; null where there are no values."""
    first = mean.drop_nulls().first()
    return first + (count * (mean - first)).sum() / count.sum()


# ---------------------------------------------------------------- two columns


def correlation(taken: Decomposition, tree: Expression) -> Expression | None:
    """
    Take a covariance or Pearson's correlation apart.

    Parameters
    ----------
    taken
        Where partial results are asked for.
    tree
        The aggregation, of two columns.

    Returns
    -------
    expression, or None
        None for a correlation of ranks, for what is not computed from single rows, and for what Polars refuses.
    """
    method = tree["Function"]["function"]["Correlation"]["method"]
    inputs = tree["Function"]["input"]
    if any(shape(item) is not Shape.ROW for item in inputs) or kind_of(method) not in ("Pearson", "Covariance"):
        return None
    dtype = taken.dtype_of(tree)
    if not all(found.is_float() or found.is_integer() for found in map(taken.dtype_of, inputs)):
        return None
    # Values of a row count where there are both of them.
    one, other = (to_expr(item).cast(pl.Float64) for item in inputs)
    one, other = pl.when(other.is_not_null()).then(one), pl.when(one.is_not_null()).then(other)
    x, y = _FirstMoments(taken, one), _FirstMoments(taken, other)

    def combine(part: pl.Expr) -> pl.Expr:
        return (part + x.count * x.off() * y.off()).sum()

    own = _unless_alike(x.alike | y.alike, pl.cov(one, other, ddof=0) * one.count())
    products = taken.add_expr(own, combine)
    n = x.count.cast(pl.Float64)
    if kind_of(method) == "Covariance":
        ddof = method["Covariance"]
        return decode_expr(pl.when(n > ddof).then(products / (n - ddof)).cast(dtype))
    # Of no values it is null, and in groups NaN.
    of_nothing = pl.lit(None if taken.whole else float("nan"), dtype=pl.Float64)
    found = products / (x.squares() * y.squares()).sqrt()
    return decode_expr(pl.when(n > 0).then(found).otherwise(of_nothing).cast(dtype))


# ---------------------------------------------------------------- entropy


def entropy(taken: Decomposition, tree: Expression, value: Expression) -> Expression | None:
    """
    Take an entropy of all rows apart: with S the sum of the values, that of v / S is ``log(S) - Σ(v log(v)) / S``.

    Parameters
    ----------
    taken
        Where partial results are asked for.
    tree
        The aggregation.
    value
        What it is of.

    Returns
    -------
    expression, or None
        None in groups, of which Polars has the entropy by other rules: zero where there are no values.
    """
    if not taken.whole:
        return None
    options = tree["Function"]["function"]["Entropy"]
    values = to_expr(value).cast(pl.Float64)
    unit = pl.lit(options["base"], dtype=pl.Float64).log()
    sum_up: Callable[[pl.Expr], pl.Expr] = pl.Expr.sum
    # There is no logarithm of negative values: NaN, as in Polars.
    weighted = taken.add_expr((values * values.log()).sum(), sum_up)
    if options["normalize"]:
        total = taken.add_expr(values.sum(), sum_up)
        out = (total.log() - weighted / total) / unit
    else:
        out = -weighted / unit
    return decode_expr(out.cast(taken.dtype_of(tree)))
