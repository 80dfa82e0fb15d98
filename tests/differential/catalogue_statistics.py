"""Order statistics, and selects whose outputs have rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import polars.selectors as cs

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
METHODS = ("nearest", "linear", "lower", "higher", "midpoint", "equiprobable")
NUMBERS = cs.numeric() | cs.boolean()
SORTABLE = ("g", "k", "i8", "f64", "x", "s", "d", "dt", "dur", "dec", "enum", "cat", "b", "u64")


def select(*exprs: Any, **named: Any) -> Callable[[Tables], Any]:
    return lambda t: t.a.select(*exprs, **named)


QUANTILES = [
    *(case(f"quantile_{method}", select(c("y").quantile(0.3, method), z=c("x").quantile(0.77, method),
                                        i=c("i32").quantile(0.5, method))) for method in METHODS),
    case("quantile_ends", select(c("y").quantile(0.0), m=c("y").quantile(1.0, "linear"))),
    case("quantile_list", select(c("y").quantile([0.1, 0.5, 0.9], "linear"))),
    case("quantile_of_ties", select(c("h").quantile(0.5, "midpoint"), m=c("i8").quantile(0.5))),
    case("quantile_of_expression", select((c("x") * c("y")).quantile(0.4, "linear").alias("q"))),
    case("quantile_filtered", select(c("y").filter(c("h") > 1).quantile(0.6, "lower"))),
    case("quantile_temporal", select(c("d", "dt", "dur").quantile(0.5, "nearest")), raises="empty allnull"),
    case("quantile_wrong", select(c("y").quantile(1.5)), local=True, raises="small empty one allnull dup none_right"),
    case("median_many", select(c("x", "y", "i16", "u64", "f32").median())),
    case("median_nan", select(c("f64").median())),
    case("median_temporal", select(c("d", "dt", "dtz", "dns", "dur", "tm").median())),
    case("median_decimal_int128", select(c("dec", "i128").median())),
    case("median_boolean", select(c("b").median())),
    case("median_beside_sum", select(c("y").median(), s=c("y").sum(), n=pl.len())),
    case("median_minus_mean", select((c("y").median() - c("y").mean()).round(6).alias("skewed"))),
    case("median_deviation", select((c("y") - c("y").median()).abs().median().alias("mad"))),
    case("filter_above_median", lambda t: t.a.filter(c("y") > c("y").median()).select("id", "y")),
    case("distance_to_median", select("id", r=c("y") - c("y").median())),
    case("quantile_after_join", lambda t: t.a.join(t.c, on="g").select((c("y") * c("weight")).quantile(0.7))),
    case("quantile_after_group_by", lambda t: t.a.group_by("g").agg(c("y").sum()).select(c("y").median())),
    case("lf_median", lambda t: t.a.select("x", "y", "s").median()),
    case("lf_quantile_linear", lambda t: t.a.select("x", "y").quantile(0.3, "linear")),
]  # fmt: skip

DISTINCT = [
    case("n_unique_wide", select((cs.all() - cs.nested()).n_unique())),
    case(
        "n_unique_of_expression",
        select((c("id") % 4).n_unique(), z=c("g").filter(c("h") == 1).n_unique(), m=c("g").n_unique() * 2),
    ),
    case("approx_n_unique", select(c("g", "k", "id", "d").approx_n_unique()), local=True),
    case("unique", select(c("g").unique()), "any"),
    case("unique_ordered", select(c("g").unique(maintain_order=True))),
    case("unique_sorted", select(c("k").unique().sort())),
    case("unique_len", select(c("g").unique().len(), n=c("k").unique().count())),
    case("unique_sum", select(c("k").unique().sum())),
    case("unique_counts", select(c("g").unique_counts())),
    case("mode", select(c("h").mode()), "any"),
    case("mode_ties", select((c("id") % 5).mode()), "any"),
    case("mode_ordered", select((c("id") % 5).mode(maintain_order=True))),
    case("mode_of_all_different", select(c("id").mode().sort())),
    case("mode_len", select(c("g").mode().len())),
    case("value_counts", select(c("g").value_counts()), "any"),
    case("value_counts_named", select(c("g").value_counts(name="n", normalize=True)), "any"),
    case("value_counts_sorted", select(c("h").filter(c("id") < 10).value_counts(sort=True)), "any"),
    case("value_counts_unnested", lambda t: t.a.select(c("k").value_counts()).unnest("k").sort("k")),
    case("arg_unique", select(c("g").arg_unique())),
    case("top_k", select(c("y").top_k(3).sort(), z=c("id").bottom_k(3).sort())),
    case("top_k_nulls", select(c("k").top_k(30).sort()), "any"),
    case("top_k_alone", select((c("id") * 7 % 23).top_k(5)), "any"),
    case("top_k_by", select(c("g").top_k_by(c("id") * 7 % 23, 4)), "any"),
    case("bottom_k_by", select(c("g").bottom_k_by(["h", c("id") * 7 % 23], 4, reverse=[True, False])), "any"),
]

SORTED = [
    *(case(f"sort_{name}", select(c(name).sort())) for name in SORTABLE),
    case("sort_descending", select(c("k").sort(descending=True, nulls_last=True))),
    case("sort_expression", select((c("x") - c("y")).sort().alias("d"))),
    case("sort_deviation", select((c("y") - c("y").mean()).abs().sort())),
    case("sort_two", select(c("x").sort(), c("g").sort(descending=True))),
    case("sort_beside_row", select("id", c("x").sort())),
    case("sort_beside_scalar", select(c("x").sort(), m=c("y").max(), lit=pl.lit(1))),
    case("sort_minus_row", select(d=c("x").sort() - c("y"))),
    case("sort_by", select(c("g").sort_by("h", "id", descending=[True, False]))),
    case("sort_by_beside", select(c("g").sort_by("id", descending=True), c("s").sort_by("id", descending=True))),
    case("sort_by_first", select(c("g").sort_by(c("id") * 7 % 23).first(), l=c("g").sort_by("id").last())),
    case("sort_first", select(c("y").sort().first(), l=c("s").sort(nulls_last=True).first())),
    case("sort_implode", select(c("x").sort().implode())),
    case("unique_sort_implode", select(c("g").unique().sort().implode())),
    case("sort_head", select(c("y").sort(descending=True).head(4))),
    case("sort_get", select(c("id").sort(descending=True).get(2, null_on_oob=True))),
    case("arg_sort", select(c("x").arg_sort(), z=c("g").arg_sort(descending=True, nulls_last=True))),
    case("arg_sort_by", select(pl.arg_sort_by("h", c("id") * 7 % 23, descending=[True, False]))),
    case("arg_min_max", select((c("id") * 7 % 23).arg_min(), z=(c("id") * 5 % 23).arg_max())),
    case("arg_min_nulls", select((c("x") + c("id")).arg_min(), z=(c("y") + c("id")).arg_max())),
    case("arg_true", select((c("x") > 1).arg_true())),
    case("arg_where", select(pl.arg_where(c("b")))),
    case("index_of", select(c("id").index_of(7), z=c("g").index_of("nothing"), n=c("x").index_of(None))),
    case("min_by", select(c("g").min_by(c("id") * 7 % 23), z=c("s").max_by(c("id") * 5 % 23))),
]

HEIGHTS = [
    case("reverse", select(c("id", "g").reverse())),
    case("reverse_beside", select("id", r=c("id").reverse())),
    case("reverse_of_window", select(c("id").cum_sum().reverse())),
    case("gather_every", select(c("id", "g").gather_every(3))),
    case("gather_every_offset", select(c("id").gather_every(4, 2))),
    case("sample", select(c("s", "id").sample(4, seed=3, shuffle=True)), raises="empty one"),
    case("sample_fraction", select((c("id") * 2).filter(c("h") == 1).sample(fraction=0.5, seed=9))),
    case("sample_with_replacement", select(c("id").sample(fraction=2.0, with_replacement=True, seed=2))),
    case("shuffle", select("g", z=c("id").shuffle(seed=4))),
    case("sample_without_seed", select(c("id").sample(fraction=1.0).sort()), local=True),
    case("head_tail", select(h=c("id").head(3), t=c("id").tail(3))),
    case("head_alone", select(c("id", "g").head(5))),
    case("tail_alone", select(c("id").tail(5).sum())),
    case("slice", select(c("id", "x").slice(4, 9))),
    case("slice_to_end", select(c("id").slice(4))),
    case("slice_negative", select(c("id").slice(-7, 3), z=c("g").slice(-7, 3))),
    case("limit_sum", select(c("x").limit(4).sum(), n=c("x").tail(4).mean())),
    case("explode_beside", select(c("lst").explode().head(3), z=c("lst").explode().head(3) + 1)),
    case("explode_sorted", select(c("lst").explode().sort())),
    case("drop_nulls_two", select(c("x").drop_nulls().head(4), z=c("y").drop_nulls().head(4))),
    case("drop_nulls_sorted", select(c("x").drop_nulls().sort())),
    case("drop_nans", select(c("f64").drop_nans().sort(), ), "any"),
    case("filter_two", select(c("id").filter(c("h") == 2), c("s").filter(c("h") == 2))),
    case("filter_beside_scalar", select(c("id").filter(c("h") == 2), m=c("y").max())),
    case("filter_minus_mean", select(r=c("y").filter(c("h") == 2) - c("y").mean())),
    case("unit_beside", select("id", f=c("id").sort().head(1))),
    case("unit_beside_filter", select("id", f=c("g").filter(c("id") == 3))),
    case("unit_arithmetic", select(f=c("id") + c("id").head(1))),
    case("heights_differ", select(c("id").head(2), z=c("id").tail(3)), raises="small dup allnull none_right"),
    case("many", select(pl.all().exclude("lst_st", "st", "arr", "lst", "lss", "nul").sort())),
    case("series_beside", lambda t: t.c.select("g", pl.Series("n", [5, 4, 3, 2, 1]).sort()), raises="none_right"),
    case("value_counts_beside", select(c("g").unique(maintain_order=True), c("g").unique_counts().alias("n"))),
    case("with_columns_sorted", lambda t: t.a.select("id", "x").with_columns(c("x").sort())),
    case("with_columns_reversed", lambda t: t.a.select("id", "x", "y").with_columns(
        r=c("id").reverse(), s=c("y").sort(descending=True), m=c("x").max())),
    case("map_batches_scalar", select(c("y").map_batches(lambda s: s.sum(), returns_scalar=True,
                                                          return_dtype=pl.Float64), z=c("y").median()), local=True),
    case("sorted_after_group_by", lambda t: t.a.group_by("g").agg(c("y").sum()).select(c("y").sort(), c("g").sort())),
    case("sorted_after_join", lambda t: t.a.join(t.c, on="g").select(c("id").sort(), c("weight").median())),
    case("sorted_then_filtered", lambda t: t.a.select(c("id").reverse(), c("y").sort()).filter(c("y") > 1)),
    case("sorted_then_head", lambda t: t.a.select(c("id").reverse(), c("y").sort()).head(4)),
]  # fmt: skip


# What needs other rows, of rows that are sorted or turned: as many values as rows.
ALIKE = {
    "s": c("id").sort_by("h", c("id") * 7 % 23).cum_sum(), "d": c("y").sort() - c("y").sort().shift(), "r": c("y").reverse().rank(),
    "f": c("x").reverse().forward_fill().reverse(), "l": c("g").sort().rle_id(), "n": c("id").cum_sum().sort_by("y", "id").diff(),
    "e": c("lst").reverse().list.eval(pl.element() + 1),
}  # fmt: skip
BESIDE = {
    "p": c("y").sort().pct_change(2), "m": c("y").sort().rolling_max(3, min_samples=1) - c("y"), "a": c("y").sort().cum_max() / c("y").max(),
    "u": c("s").sort().is_first_distinct(), "w": pl.when(c("h") > 1).then(c("x").reverse()).otherwise(c("x").shift(-2, fill_value=7)),
}  # fmt: skip
# The same of fewer rows, as many in each output.
FEWER = {
    "d": c("x").drop_nulls().diff(), "s": c("id").filter(c("x").is_not_null()).shift(1), "r": c("x").drop_nulls().rolling_sum(2),
    "b": c("id").filter(c("x").is_not_null()).reverse().diff(), "f": c("y").filter(c("x").is_not_null()).rank("ordinal"),
}  # fmt: skip
SUMMED = {
    "d": c("y").sort().diff().mean(), "l": c("x").drop_nulls().diff().last(), "q": c("x").drop_nulls().diff().median(),
    "r": pl.corr(c("id").sort(descending=True).diff(), c("id").sort() + 1), "g": c("id").gather_every(4).diff().n_unique(),
}  # fmt: skip

MOVED = [
    case("moved_select", select(**ALIKE)),
    case("moved_columns", lambda t: t.a.select("id", "x", "y", "h", "s").with_columns(**BESIDE)),
    case("moved_dropped", select(**FEWER)),
    case("moved_dropped_columns", lambda t: t.a.with_columns(d=FEWER["d"]), raises="small dup allnull none_right"),
    case("moved_then_summed", select(**SUMMED)),
    case("moved_then_summed_columns", lambda t: t.a.select("id", z=(c("y").sort() - c("y")).abs().sum() / c("id").sort().cum_sum().max())),
    case("moved_filter", lambda t: t.a.filter(c("y") >= c("y").sort().shift(1), c("id").reverse() > 3).select("id", "s")),
    case("moved_filter_counted", lambda t: t.a.filter(c("x").reverse() > 0).select(pl.len())),
    case("moved_one_value", lambda t: t.a.select("id", "x").with_columns(z=c("id").sort().tail(1)).select("z")),
    case("moved_one_predicate", lambda t: t.a.filter(c("id").tail(1) > 3).select("s")),
    case("moved_replaced", lambda t: t.a.select("x").with_columns(c("x").head(1) + 1)),
    case("moved_unused", lambda t: t.a.with_columns(z=c("x").head(2), y=c("y").reverse()).filter(c("h") > 1).select("id", "y")),
    case("moved_beside_wide", lambda t: t.a.select("id", "y").with_columns(
        a=c("id").reverse(), b=c("id").cum_sum(), m=c("y").mean(), w=c("y").sum().over(c("id") % 3), l=pl.lit(1))),
    case("moved_and_grouped", lambda t: t.a.with_columns(z=c("y").sort().diff()).group_by("g").agg(c("z").sum()).sort("g")),
    case("moved_picked", lambda t: t.a.select("id", "x", "y", "s").with_columns(
        a=c("s").gather(c("id").reverse() % pl.len()), b=c("id").gather(c("y").arg_sort()),
        d=c("id").get(-1), e=c("x").get((c("id") * 7 % 23).arg_max()), f=c("y").get(50, null_on_oob=True)), raises="empty"),
    case("moved_picked_filter", lambda t: t.a.filter(c("id").gather(-1 - c("id")) > c("id").get(0)).select("id"), raises="empty one"),
    case("moved_appended", lambda t: t.a.with_columns(z=c("id").head(3).append(c("y").slice(3))).select("z")),
    case("moved_keys", lambda t: t.a.group_by(c("h").reverse(), m=c("y") > c("y").median(), maintain_order=True).agg(
        c("y").sum(), c("id").median())),
    case("moved_sort_keys", lambda t: t.a.sort(c("h").reverse(), c("id").sort().shift(2), descending=[True, False]).select("id", "h")),
    case("moved_unique_keys", lambda t: t.a.unique([c("y") > c("y").mean(), "h"], keep="last", maintain_order=True).select("id")),
    case("moved_no_rows", lambda t: t.a.select(pl.lit(3).reverse().sum(), z=pl.lit(pl.Series([1, 2])).sum())),
]  # fmt: skip

CASES = [*QUANTILES, *DISTINCT, *SORTED, *HEIGHTS, *MOVED]
