"""An example of every public method of ``pl.Expr``, over the columns of :attr:`Tables.typed`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import polars as pl

__all__ = ["EXPRESSIONS", "given", "plain"]

k, v, f, b = (pl.col(name) for name in ("k", "v", "f", "b"))
items = pl.col("l")


def plain(column: Any, names: str) -> dict[str, pl.Expr]:
    """Call methods that need no arguments."""
    return {name: getattr(column, name)() for name in names.split()}


def given(column: Any, names: str, *args: object, **options: object) -> dict[str, pl.Expr]:
    """Call methods with the same arguments."""
    return {name: getattr(column, name)(*args, **options) for name in names.split()}


def _deprecated(name: str, *args: object) -> dict[str, pl.Expr]:
    """Call a method that Polars has still, but warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return given(v, name, *args)


_MATH = """
abs arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh cot degrees erf erfc exp floor log log10 log1p neg
radians round sign sin sinh sqrt tan tanh is_finite is_infinite is_nan is_not_nan is_not_null is_null hash to_physical
lower_bound upper_bound truncate inspect set_sorted
"""
_INTEGER_BITS = """
bitwise_and bitwise_count_ones bitwise_count_zeros bitwise_leading_ones bitwise_leading_zeros bitwise_or
bitwise_trailing_ones bitwise_trailing_zeros bitwise_xor
"""
_AGGREGATIONS = """
approx_n_unique arg_max arg_min count entropy first has_nulls is_empty is_sorted item kurtosis last len max mean
median min n_unique nan_max nan_min null_count product skew std sum var implode
"""
_OTHER_ROWS = """
arg_sort arg_unique backward_fill bottom_k cum_count cum_max cum_min cum_prod cum_sum diff drop_nans drop_nulls
forward_fill head interpolate is_duplicated is_first_distinct is_last_distinct is_unique limit mode pct_change peak_max
peak_min rank reverse rle rle_id shuffle sort tail top_k unique unique_counts value_counts
"""
_ROLLING = """
rolling_kurtosis rolling_max rolling_mean rolling_median rolling_min rolling_rank rolling_skew rolling_std rolling_sum
rolling_var
"""
_ROLLING_BY = """
rolling_max_by rolling_mean_by rolling_median_by rolling_min_by rolling_rank_by rolling_std_by rolling_sum_by
rolling_var_by
"""

EXPRESSIONS: Mapping[str, pl.Expr] = {
    **plain(v, _MATH),
    **plain(k, _INTEGER_BITS),
    **plain(v, _AGGREGATIONS),
    **plain(v, _OTHER_ROWS),
    **given(v, _ROLLING, 3),
    **given(v, _ROLLING_BY, "t", "1h"),
    **given(v, "add eq eq_missing floordiv ge gt le lt mod mul ne ne_missing pow sub truediv truncdiv", f),
    **given(b, "and_ or_ xor", f > 0),
    **plain(b, "all any not_"),
    **given(v, "ewm_mean ewm_std ewm_sum ewm_var", alpha=0.5),
    **given(v, "ewm_mean_by ewm_sum_by", "t", half_life="1h"),
    **given(v, "max_by min_by bottom_k_by top_k_by sort_by", "t"),
    **given(v, "bin_intervals bin_quantiles bin_ranks", 3, labels=False),
    "alias": v.alias("w"),
    "append": v.append(f),
    "arg_true": (v > 10).arg_true(),  # a column of booleans alone would fit into one partition
    "approx_quantile": v.approx_quantile(0.5),
    "cast": v.cast(pl.Int64),
    "clip": v.clip(0, 10),
    "cumulative_eval": v.cumulative_eval(pl.element().last() - pl.element().first()),
    **_deprecated("cut", [10, 100]),
    "dot": v.dot(f),
    "exclude": pl.col("k", "v").exclude("k"),
    "explode": items.explode(),
    "extend_constant": v.extend_constant(0.0, 3),
    "fill_nan": v.fill_nan(0.0),
    "fill_null": v.fill_null(0.0),
    "filter": v.filter(f > 1),
    "gather": v.gather([3, 1, 500]),
    "gather_every": v.gather_every(3),
    "get": v.get(3),
    "hist": v.hist(bin_count=5),
    "index_of": v.index_of(37.0),
    "interpolate_by": v.interpolate_by("f"),
    "is_between": v.is_between(0, 10),
    "is_close": v.is_close(f),
    "is_in": k.is_in([1, 2]),
    "map_batches": v.map_batches(pl.Series.reverse, return_dtype=pl.Float64),
    "map_elements": v.map_elements(abs, return_dtype=pl.Float64),
    "over": v.sum().over("k"),
    "pipe": v.pipe(pl.Expr.abs),
    "pipe_with_dtype": v.pipe_with_dtype(lambda x, dtype: x.abs() if dtype.is_numeric() else x),
    **_deprecated("qcut", 3),
    "quantile": v.quantile(0.9),
    "reinterpret": k.reinterpret(signed=False),
    "repeat_by": v.repeat_by(2),
    "replace": k.replace({1: 2}),
    "replace_strict": k.replace_strict({1: 2}, default=0),
    "reshape": v.reshape((-1, 2)),
    "rolling": v.sum().rolling("t", period="1h"),
    "rolling_map": v.rolling_map(pl.Series.sum, 3),
    "rolling_quantile": v.rolling_quantile(0.5, window_size=3),
    "rolling_quantile_by": v.rolling_quantile_by("t", "1h", quantile=0.5),
    "round_sig_figs": v.round_sig_figs(2),
    "sample": v.sample(10, seed=1),
    "search_sorted": v.search_sorted(3.0),
    "shift": v.shift(1),
    "slice": v.slice(3, 10),
}
