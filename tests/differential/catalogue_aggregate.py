"""Scalar aggregations: of whole columns, and inside expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import polars.selectors as cs

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
NESTED = cs.by_name("lst", "lss", "arr", "st", "lst_st")
NUMBERS = cs.numeric() | cs.boolean()


def select(*exprs: Any, **named: Any) -> Callable[[Tables], Any]:
    return lambda t: t.a.select(*exprs, **named)


EVERY_DTYPE = [
    case("sum_numbers", select(NUMBERS.sum())),
    case("sum_durations", select(c("dur").sum())),
    case("min_all", select(pl.all().exclude("lst", "lss", "arr", "st", "lst_st").min())),
    case("max_all", select(pl.all().exclude("lst", "lss", "arr", "st", "lst_st").max())),
    case("count_all", select(pl.all().count())),
    case("null_count_all", select(pl.all().null_count())),
    case("first_all", select(pl.all().first())),
    case("last_all", select(pl.all().last())),
    case("len_all", select(pl.all().len())),
    case("mean_numbers", select(NUMBERS.mean())),
    case("mean_temporal", select(c("d", "dt", "dtz", "dur", "tm").mean())),
    case("var_numbers", select(cs.float().exclude("f64").var(), c("i16").var())),
    case("n_unique_all", select((cs.all() - NESTED).n_unique())),
    case("n_unique_nested", select(c("lst", "st", "arr").n_unique())),
    case("implode_all", select(pl.all().implode())),
    case("median_numbers", select(NUMBERS.median())),
    case("product_numbers", select(c("y", "h", "x").product())),
    case("has_nulls", select(c("x", "id").has_nulls())),
]

SCALARS = [
    case("len", select(pl.len())),
    case("len_of_filtered", lambda t: t.a.filter(c("x") > 1).select(pl.len())),
    case("count_column", select(pl.count("x"))),
    case("sum_beside_sum", select(c("x").sum(), pl.len().alias("n"), c("y").sum().alias("sy"))),
    case("std_ddof0", select(c("y").std(ddof=0), v=c("x").var(ddof=0))),
    case("std_ddof_large", select(c("y").std(ddof=100))),
    case("var_of_shifted", select((c("y") + 1e6).var())),
    case("var_inf_nan", select(c("f64").var(), s=c("f32").std())),
    case("any_all", select(c("b").any(), l=c("b").all())),
    case("any_all_kleene", select(c("b").any(ignore_nulls=False), l=c("b").all(ignore_nulls=False))),
    case("nan_min_max", select(c("f64").nan_min(), m=c("f64").nan_max())),
    case("min_max_nan", select(c("f64").min(), m=c("f64").max(), f=c("f32").min(), g=c("f32").max())),
    case("first_of_filtered", lambda t: t.a.filter(c("x").is_null()).select("id", "s").select(pl.all().first())),
    case("first_ignore_nulls", select(c("x").first(ignore_nulls=True), l=c("g").last(ignore_nulls=True))),
    case("quantile", select(c("y").quantile(0.25), n=c("i16").quantile(0.5, "linear"))),
    case("quantile_many", select(c("y").quantile([0.1, 0.9]))),
    case("arg_min_max", select((c("id") * 7 % 23).arg_min(), m=(c("id") * 5 % 23).arg_max())),
    case("mode_sorted", select(c("h").mode().sort())),
    case("skew_kurtosis", select(c("y").skew(), k=c("y").kurtosis()), local=True),
    case("approx_n_unique_small", lambda t: t.c.select(c("g").approx_n_unique()), local=True),
    case("entropy", select(c("h").cast(pl.Float64).entropy(base=2)), local=True),
    case("corr_cov", select(pl.corr("y", "id"), v=pl.cov("y", "id")), local=True),
    case("dot", select(c("y").dot(c("id").cast(pl.Float64))), local=True),
    case("bitwise", select(c("h").bitwise_and(), o=c("u16").bitwise_or())),
    case("item", lambda t: t.a.filter(c("id") == 3).select(c("g").item(allow_empty=True)), local=True),
    case("max_by", select(c("g").max_by(c("id") * 7 % 23))),
    case("implode", select(c("x").implode(), c("s").implode())),
    case("implode_sorted", select(c("x").sort().implode())),
    case("unique_sorted_implode", select(c("g").unique().sort().implode())),
    case("sum_of_empty", lambda t: t.a.filter(c("id") < 0).select(c("x").sum(), n=c("x").count(), m=c("x").min())),
    case("string_min_max", select(c("s").min(), m=c("s").max(), e=c("enum").min())),
    case("cat_min_max", select(c("cat").min(), m=c("cat").max())),
    case("struct_first", select(c("st").first(), l=c("lst").last())),
    case("min_of_nested_sum", select(c("lst").list.sum().max())),
    case("null_column", select(c("nul").sum(), f=c("nul").first(), n=c("nul").count(), m=c("nul").min())),
    case("int8_sum_widens", select(c("i8").sum(), u=c("u8").sum(), b=c("b").sum())),
    case("int128_sum", select(c("i128").sum(), m=c("i128").max())),
    case("decimal_sum", select(c("dec").sum(), m=c("dec").max(), a=c("dec").mean())),
    case("get_constant", select(c("id").get(0, null_on_oob=True), m=c("s").get(-1, null_on_oob=True))),
    case("value_counts", select(c("g").value_counts(sort=False).struct.field("count").sum())),
]

ARITHMETIC = [
    case("sum_over_count", select((c("x").sum() / c("x").count()).alias("m"))),
    case("filtered_ratio", select((c("x").sum() / c("y").filter(c("i64") > 0).count()).round(2))),
    case("sum_of_expression", select((c("x") * c("y") + 1).sum().alias("s"))),
    case("sum_of_when", select(pl.when(c("g") == "a").then(c("x")).otherwise(0).sum().alias("s"))),
    case(
        "when_of_sums",
        select(pl.when(c("x").sum() > c("y").sum()).then(c("x").max()).otherwise(c("y").max()).alias("s")),
    ),
    case("filtered_sum", select(c("x").filter(c("b")).sum(), n=c("x").filter(c("x") > 1e9).max())),
    case("filtered_first", select(c("s").filter(c("x") > 3).first(), l=c("id").filter(c("b").not_()).last())),
    case("cast_sum", select(c("i8").cast(pl.Int64).sum().cast(pl.String))),
    case("literal_beside_sum", select(c("y").sum(), pl.lit(3).alias("three"), (c("y").max() + pl.lit(1)).alias("m"))),
    case("sum_of_literal", select(pl.lit(2).sum().alias("s"), c("y").sum().alias("y")), local=True),
    case("struct_of_sums", select(pl.struct(c("x").sum(), c("y").max(), n=pl.len()).alias("r"))),
    case("coalesce_of_aggs", select(pl.coalesce(c("nul").max().cast(pl.Float64), c("y").max()).alias("v"))),
    case("horizontal_of_aggs", select(pl.max_horizontal(c("x").max(), c("y").max()).alias("m"))),
    case("nested_agg", select((c("x") - c("x").mean()).abs().sum().alias("mad"))),
    case("nested_agg_twice", select(((c("x") - c("x").min()) / (c("x").max() - c("x").min())).mean().alias("n"))),
    case("nested_agg_deep", select((c("x") - (c("x") - c("x").mean()).max()).sum().alias("n"))),
    case("agg_of_agg", select(c("x").sum().max().alias("s"))),
    case("format_of_sum", select(pl.format("{} of {}", c("x").count(), pl.len()).alias("f"))),
    case("sum_drop_nulls", select(c("x").drop_nulls().len().alias("n"), c("f64").drop_nans().count().alias("m"))),
    case("list_of_aggs", select(pl.concat_list(c("y").min(), c("y").max()).alias("r"))),
    case("unique_len", select(c("g").unique().len())),
    case("explode_sum", select(c("lst").explode().sum())),
]

BROADCAST = [
    case("share_of_sum", lambda t: t.a.select("id", (c("y") / c("y").sum()).alias("share"))),
    case("filter_above_mean", lambda t: t.a.filter(c("x") > c("x").mean()).select("id", "x")),
    case("filter_is_max", lambda t: t.a.filter(c("y") == c("y").max()).select("id", "y")),
    case("filter_by_agg_of_other", lambda t: t.a.filter(c("x").max() > c("y")).select("id", "y")),
    case("filter_scalar_only", lambda t: t.a.filter(c("x").sum() > 0).select("id")),
    case("filter_scalar_only_false", lambda t: t.a.filter(c("x").sum() > 1e12).select("id")),
    case("standardise", lambda t: t.a.select("id", ((c("y") - c("y").mean()) / c("y").std()).alias("z"))),
    case("column_beside_agg", lambda t: t.a.select("id", c("x").max())),
    case("with_columns_agg", lambda t: t.a.with_columns(total=c("x").sum(), n=pl.len(), f=c("s").first())),
    case(
        "with_columns_agg_then_filter",
        lambda t: t.a.with_columns(m=c("y").mean()).filter(c("y") > c("m")).select("id", "m"),
    ),
    case("fill_null_with_mean", lambda t: t.a.select("id", c("x").fill_null(c("x").mean()))),
    case("fill_null_strategy_mean", lambda t: t.a.select("id", "x", "y").fill_null(strategy="mean"), local=True),
    case("fill_null_strategy_max", lambda t: t.a.select("id", "x", "i32").fill_null(strategy="max"), local=True),
    case("clip_by_aggs", lambda t: t.a.select("id", c("y").clip(c("y").min() + 1, c("y").max() - 1))),
    case(
        "when_agg", lambda t: t.a.select("id", w=pl.when(c("y") == c("y").max()).then(pl.lit("top")).otherwise(c("g")))
    ),
    case("filtered_agg_broadcast", lambda t: t.a.select("id", r=c("y") - c("y").filter(c("b")).max())),
    case("agg_after_filter_mean", lambda t: t.a.filter(c("y") > c("y").mean()).select(c("y").sum(), n=pl.len())),
    case("two_levels", lambda t: t.a.with_columns(z=c("y") - c("y").mean()).select((c("z") / c("z").max()).sum())),
    case(
        "is_in_imploded", lambda t: t.a.filter(c("id").is_in(c("h").cast(pl.Int64).implode())).select("id"), local=True
    ),
    case("len_minus_one", lambda t: t.a.filter(c("id") == pl.len() - 1).select("id")),
    # Rounded: Polars divides by a scalar as a product with its inverse, but not in a morsel of one row.
    case("sort_after_broadcast", lambda t: t.a.select("id", r=(c("y") / c("y").max()).round(6)).sort("r", "id")),
]

FRAME = [
    case("lf_sum", lambda t: t.a.select(NUMBERS).sum()),
    case("lf_mean", lambda t: t.a.select(NUMBERS).mean()),
    case("lf_min", lambda t: t.a.select(NUMBERS, "s", "d").min()),
    case("lf_max", lambda t: t.a.select(NUMBERS, "s", "d").max()),
    case("lf_count", lambda t: t.a.count()),
    case("lf_null_count", lambda t: t.a.null_count()),
    case("lf_std", lambda t: t.a.select("x", "y", "i16").std()),
    case("lf_var", lambda t: t.a.select("x", "y", "i16").var(ddof=0)),
    case("lf_median", lambda t: t.a.select("x", "y").median()),
    case("lf_quantile", lambda t: t.a.select("x", "y").quantile(0.3, "lower")),
    case("lf_first", lambda t: t.a.first()),
    case("lf_last", lambda t: t.a.last()),
    case("describe_like", lambda t: t.a.select(
        cs.numeric().count().name.suffix("_count"),
        cs.numeric().null_count().name.suffix("_nulls"),
        c("x", "y").mean().name.suffix("_mean"),
        c("x", "y").std().name.suffix("_std"),
        cs.numeric().min().name.suffix("_min"),
        cs.numeric().max().name.suffix("_max"),
    )),
    case("aggregate_of_grouped", lambda t: t.a.group_by("g").agg(c("y").sum()).select(c("y").max(), n=pl.len())),
    case("aggregate_of_joined", lambda t: t.a.join(t.c, on="g").select((c("y") * c("weight")).sum(), n=pl.len())),
]  # fmt: skip

CASES = [*EVERY_DTYPE, *SCALARS, *ARITHMETIC, *BROADCAST, *FRAME]
