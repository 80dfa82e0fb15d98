"""group_by: keys of every kind, aggregations that decompose and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import polars.selectors as cs

from tests.differential.catalogue_base import case, table_a
from tests.helpers import Tables

c = pl.col


def by(*keys: Any, maintain_order: bool = False) -> Callable[..., Callable[[Tables], Any]]:
    """`by(keys)(aggs)` is a query on the table `a`."""

    def agg(*aggs: Any, **named: Any) -> Callable[[Tables], Any]:
        return lambda t: t.a.group_by(*keys, maintain_order=maintain_order).agg(*aggs, **named)

    return agg


KEYS = [
    case(f"key_{key}", by(key)(pl.len(), c("y").sum().alias("sum_y"), c("id").min().alias("min_id")), "any")
    for key in table_a().columns
    if key not in ("y", "i16", "i32", "u8", "u16", "u32", "x")
]

KEY_KINDS = [
    case("keys_two", by("g", "h")(c("y").sum()), "any"),
    case("keys_three_with_nulls", by("g", "k", "b")(pl.len()), "any"),
    case("keys_expression", by((c("id") % 3).alias("r"))(c("y").sum()), "any"),
    case("keys_expressions", by(c("d").dt.year().alias("yr"), c("s").str.len_chars())(pl.len()), "any"),
    case("keys_named", lambda t: t.a.group_by(z=c("x").is_null(), w="h").agg(pl.len()), "any"),
    case("keys_boolean_test", by(c("x") > 2)(c("y").mean()), "any"),
    case("keys_selector", by(cs.boolean() | cs.by_name("h"))(pl.len()), "any"),
    case("keys_struct", by(pl.struct("g", "h"))(c("y").sum()), "any"),
    case("keys_cast", by(c("k").cast(pl.String))(c("y").max()), "any"),
    case("keys_with_cat", by("cat", "enum")(c("y").sum()), "any"),
    case("keys_literal", by(pl.lit(1).alias("one"))(c("y").sum()), "any"),
    case("keys_literal_and_column", by("h", pl.lit("z").alias("z"))(c("y").sum()), "any"),
    case("keys_agg_broadcast", by(c("y") > c("y").mean())(pl.len()), "any"),
    case("keys_median", by(c("y") > c("y").median())(total=c("y").sum(), n=c("id").n_unique()), "any"),
    case("keys_cumulative", by((c("id").cum_sum() % 3).alias("r"), "h")(pl.len()), "any"),
    case("keys_over", by(c("y").sum().over("h"))(pl.len()), "any"),
    case("keys_agg_ordered", by(c("y") > c("y").mean(), maintain_order=True)(c("id").first())),
    case(
        "map_groups_ordered",
        lambda t: (
            t.a.select("h", "id")
            .group_by("h", maintain_order=True)
            .map_groups(lambda df: df.head(2).reverse(), schema={"h": pl.Int8, "id": pl.Int64})
        ),
    ),
    case("keys_negative_zero", by("f64")(pl.len(), n=c("id").n_unique()), "any"),
    case(
        "keys_nan_and_null",
        lambda t: t.a.filter(c("f64").is_nan() | c("f64").is_null()).group_by("f64").agg(pl.len()),
        "any",
    ),
    case("keys_only_null", lambda t: t.a.filter(c("g").is_null()).group_by("g").agg(c("y").sum()), "any"),
]

AGGS = [
    case("agg_none", by("g")(), "any"),
    case("agg_none_two_keys", by("g", "h")(), "any"),
    case("agg_many", by("g")(
        c("x").sum(), c("x").mean().alias("mean"), c("x").min().alias("min"), c("x").max().alias("max"),
        c("x").count().alias("count"), c("x").null_count().alias("nulls"), pl.len(),
        c("x").std().alias("std"), c("x").var(ddof=0).alias("var"), c("x").n_unique().alias("nu"),
        c("x").first().alias("first"), c("x").last().alias("last"), (c("b").any()).alias("any"), c("b").all(),
    ), "any"),
    case("agg_all_sum", by("h")(cs.numeric().exclude("h").sum()), "any"),
    case("agg_all_first", by("h")(pl.all().first()), "any"),
    case("agg_all_last", by("h")(pl.all().last()), "any"),
    case("agg_all_count", by("h")(pl.all().count()), "any"),
    case("agg_all_list", by("h")(pl.all()), "any"),
    case("agg_all_min", by("h")((cs.numeric() | cs.temporal() | cs.string()).exclude("h").min()), "any"),
    case("agg_all_max", by("h")(cs.by_name("cat", "enum", "b", "bin", "dec", "f64", "nul").max()), "any"),
    case("agg_mean_types", by("h")(c("i8", "f32", "b", "dec", "d", "dur").mean()), "any"),
    case("agg_var_types", by("h")(c("i8", "f32", "y").var(), c("i16").std(ddof=2)), "any"),
    case("agg_var_large_mean", by("h")((c("y") + 1e7).var()), "any"),
    case("agg_int8_widens", by("g")(c("i8").sum(), c("u8").sum(), c("i16").sum()), "any"),
    case("agg_n_unique", by("g")(c("k", "s", "cat", "x").n_unique()), "any"),
    case("agg_n_unique_nested", by("h")(c("st", "lst").n_unique()), "any"),
    case("agg_first_last", by("g")(c("id").first(), l=c("id").last(), s=c("st").first()), "any"),
    case("agg_nan", by("g")(c("f64").min(), m=c("f64").max(), s=c("f64").sum(), a=c("f64").mean()), "any"),
    case("agg_list", by("g")(c("id"), c("s")), "any"),
    case("agg_implode", by("g")(c("id").implode()), "any"),
    case("agg_list_of_struct", by("g")(pl.struct("id", "x").alias("rows")), "any"),
    case("agg_struct_of_aggs", by("g")(pl.struct(c("x").sum(), n=pl.len()).alias("r")), "any"),
    case("agg_median", by("g")(c("y").median()), "any", local=True),
    case("agg_quantile", by("g")(c("y").quantile(0.7, "linear")), "any", local=True),
    case("agg_product", by("g")(c("y").product()), "any", local=True),
    case("agg_mode", by("h")(c("b").mode().len()), "any", local=True),
    case("agg_any_all", by("g")(c("b").any(), a=c("b").all(), k=c("b").any(ignore_nulls=False)), "any"),
    case("agg_filtered", by("g")(c("x").filter(c("b")).sum(), n=c("x").filter(c("y") > 1).count()), "any"),
    case("agg_filtered_len", by("g")(pl.len().filter(c("x") > 0)), "any", local=True),
    case("agg_filtered_first", by("g")(c("id").filter(c("x") > 1).first(), l=c("s").filter(c("b")).last()), "any"),
    case("agg_arithmetic", by("g")((c("x").sum() / c("y").count()).round(2), d=c("x").max() - c("x").min()), "any"),
    case("agg_of_expression", by("g")((c("x") * c("y")).sum(), m=(c("y") ** 2).mean()), "any"),
    case("agg_ternary", by("g")(pl.when(c("x").sum() > 5).then(c("y").sum()).otherwise(None).alias("w")), "any"),
    case("agg_ternary_inside", by("g")(pl.when(c("b")).then(c("y")).otherwise(-c("y")).sum().alias("w")), "any"),
    case("agg_literal", by("g")(pl.lit(1).alias("one")), "any", local=True),
    case("agg_literal_sum", by("g")(pl.lit(1).sum().alias("one")), "any", local=True),
    case("agg_plus_literal", by("g")(c("y").sum() + 1, s=c("y").max() * pl.lit(2)), "any"),
    case("agg_nested", by("g")((c("y") - c("y").mean()).abs().sum()), "any", local=True),
    case("agg_correlation", by("k")(pl.corr("y", "id"), n=pl.corr(c("y").replace(0.5, None), "x"), d=c("dec").product()), "any"),
    case("agg_another_type", by("g", maintain_order=True)(
        c("b", "lst", "lss", "arr").quantile(0.5), t=c("tm").sqrt()
    ), local=True),
    case("agg_weighted_mean", by("g")(((c("y") * c("h")).sum() / c("h").cast(pl.Int64).sum()).alias("wm")), "any"),
    case("agg_cast_round", by("g")(c("x").mean().round(1).cast(pl.String)), "any"),
    case("agg_sorted_list", by("g")(c("x").sort(), r=c("id").reverse()), "any", local=True),
    case("agg_sort_by_first", by("g")(c("id").sort_by("y", "id").first()), "any", local=True),
    case("agg_unique_list", by("g")(c("k").unique().sort()), "any", local=True),
    case("agg_head", by("g")(c("id").head(2), t=c("id").tail(1)), "any", local=True),
    case("agg_slice", by("g")(c("id").slice(1, 2)), "any", local=True),
    case("agg_cum_sum", by("g")(c("y").cum_sum()), "any", local=True),
    case("agg_shift", by("g")(c("id").diff().sum()), "any", local=True),
    case("agg_rank", by("g")(c("y").rank("min")), "any", local=True),
    case("agg_arg_max", by("g")((c("id") * 7 % 23).arg_max()), "any", local=True),
    case("agg_top_k", by("g")(c("id").top_k(2).sort()), "any", local=True),
    case("agg_max_by", by("g")(c("id").max_by("id")), "any", local=True),
    case("agg_value_counts", by("g")(c("h").value_counts().len()), "any", local=True),
    case("agg_drop_nulls", by("g")(c("x").drop_nulls().first(), n=c("x").drop_nulls().len()), "any"),
    case("agg_fill_null_sum", by("g")(c("x").fill_null(0).sum()), "any"),
    case("agg_fill_null_of_sum", by("g")(c("x").max().fill_null(-1)), "any"),
    case("agg_list_len", by("g")(c("lst").list.len().sum(), e=c("lst").list.sum().max()), "any"),
    case("agg_explode", by("h")(c("lst").explode().sum()), "any", local=True),
    case("agg_flatten", by("h")(c("lst").explode()), "any", local=True),
    case("agg_map_elements", by("h")(c("y").map_elements(lambda v: float(str(v)), return_dtype=pl.Float64)), "any", local=True),
    case("agg_map_batches", by("h")(c("y").map_batches(lambda s: s.sum(), return_dtype=pl.Float64, returns_scalar=True)), "any", local=True),
    case("agg_strings", by("h")(c("s").min(), m=c("s").max(), j=c("g").str.join("|")), "any", local=True),
    case("agg_str_len_sum", by("h")(c("s").str.len_chars().sum()), "any"),
    case("agg_has_nulls", by("g")(c("x").has_nulls()), "any"),
    case("agg_item", by("id")(c("g").item()), "any", local=True),
    case("agg_key_inside", by("h")((c("h").cast(pl.Int64) * c("y")).sum().alias("hy"), n=c("h").count()), "any"),
    case("agg_suffix", by("h")(c("x", "y").sum().name.suffix("_sum"), c("x", "y").max().name.prefix("max_")), "any"),
    case("agg_null_column", by("h")(c("nul").sum(), n=c("nul").count(), f=c("nul").first()), "any"),
    case("agg_decimal", by("h")(c("dec").sum(), m=c("dec").min(), a=c("dec").mean()), "any"),
    case("agg_over_inside", by("h")((c("y") / c("y").sum()).first()), "any", local=True),
]  # fmt: skip

ORDERED = [
    case("maintain_order", by("g", maintain_order=True)(c("y").sum())),
    case("maintain_order_two", by("g", "h", maintain_order=True)(pl.len(), c("id").first())),
    case("maintain_order_list", by("k", maintain_order=True)(c("id"))),
    case("maintain_order_none", by("g", maintain_order=True)()),
    case("maintain_order_nan", by("f64", maintain_order=True)(c("id").first())),
    case("maintain_order_head", lambda t: t.a.group_by("g", maintain_order=True).agg(c("y").sum()).head(3)),
    case("maintain_order_not_decomposable", by("g", maintain_order=True)(c("y").median()), local=True),
    case(
        "maintain_order_filtered", lambda t: t.a.filter(c("id") > 5).group_by("cat", maintain_order=True).agg(pl.len())
    ),
]

METHODS = [
    case("method_len", lambda t: t.a.group_by("g").len(), "any"),
    case("method_len_name", lambda t: t.a.group_by("g").len("n"), "any"),
    case("method_sum", lambda t: t.a.select("g", "x", "y", "i8").group_by("g").sum(), "any"),
    case("method_mean", lambda t: t.a.select("g", "x", "y", "i8").group_by("g").mean(), "any"),
    case("method_max", lambda t: t.a.select("g", "x", "s", "d").group_by("g").max(), "any"),
    case("method_min", lambda t: t.a.select("g", "x", "s", "d").group_by("g").min(), "any"),
    case("method_n_unique", lambda t: t.a.select("g", "x", "k").group_by("g").n_unique(), "any"),
    case("method_first", lambda t: t.a.select("g", "id", "x").group_by("g").first(), "any"),
    case("method_last", lambda t: t.a.select("g", "id", "x").group_by("g").last(), "any"),
    case("method_all", lambda t: t.a.select("g", "id", "x").group_by("g").all(), "any"),
    case("method_median", lambda t: t.a.select("g", "x", "y").group_by("g").median(), "any", local=True),
    case("method_quantile", lambda t: t.a.select("g", "y").group_by("g").quantile(0.5), "any", local=True),
    case("method_head", lambda t: t.a.select("g", "id").group_by("g").head(2), "any"),
    case("method_tail", lambda t: t.a.select("g", "id").group_by("g").tail(2), "any"),
    case("method_head_ordered", lambda t: t.a.select("g", "id").group_by("g", maintain_order=True).head(2)),
    case("having", lambda t: t.a.group_by("g").having(pl.len() > 2).agg(c("y").sum()), "any"),
    case("having_number", lambda t: t.a.group_by("h").having(pl.len() - 1).agg(c("x").max()), "any"),
    case("having_sum", lambda t: t.a.group_by("h").having(c("x").sum() > 5).agg(c("x").max()), "any"),
    case("having_in_order", lambda t: t.a.group_by("k", maintain_order=True).having(pl.len() > 1, c("y").median() > 0)
         .agg(c("y").median(), c("id").last()).slice(1, 3)),
    case("having_then_tail", lambda t: t.a.select("k", "id").group_by("k", maintain_order=True).having(pl.len() > 1).tail(2)),
    case("map_groups", lambda t: t.a.select("g", "id", "y").group_by("g").map_groups(lambda df: df.head(1), schema=None), "any", local=True),
    case("map_groups_schema", lambda t: t.a.select("h", "y").group_by("h").map_groups(
        lambda df: df.select(c("h").first(), c("y").sum()), schema={"h": pl.Int8, "y": pl.Float64}), "any", local=True),
]  # fmt: skip

CHAINS = [
    case("group_then_sort", lambda t: t.a.group_by("g").agg(c("y").sum()).sort("g")),
    case("group_then_filter", lambda t: t.a.group_by("g").agg(c("y").sum(), n=pl.len()).filter(c("n") > 2), "any"),
    case("group_then_filter_key", lambda t: t.a.group_by("g", "h").agg(c("y").sum()).filter(c("g") == "a"), "any"),
    case(
        "group_of_group",
        lambda t: t.a.group_by("g", "h").agg(c("y").sum()).group_by("g").agg(c("y").max(), n=pl.len()),
        "any",
    ),
    case(
        "group_of_group_new_key", lambda t: t.a.group_by("g", "k").agg(n=pl.len()).group_by("n").agg(m=pl.len()), "any"
    ),
    case("group_renamed_key", lambda t: t.a.group_by(z="g").agg(n=pl.len()).group_by("z").agg(c("n").sum()), "any"),
    case("group_then_explode", lambda t: t.a.group_by("g").agg(c("id")).explode("id"), "any"),
    case(
        "group_then_unnest", lambda t: t.a.group_by("g").agg(r=pl.struct(c("x").sum(), c("y").min())).unnest("r"), "any"
    ),
    case(
        "group_then_share", lambda t: t.a.group_by("g").agg(c("y").sum()).with_columns(p=c("y") / c("y").sum()), "any"
    ),
    case("group_sort_head", lambda t: t.a.group_by("g").agg(c("id").sum()).sort("id", descending=True).head(3)),
    case("group_exploded", lambda t: t.a.explode("lst").group_by("lst").agg(pl.len()), "any"),
    case(
        "group_after_unpivot",
        lambda t: t.a.unpivot(["x", "y"], index="g").group_by("variable").agg(c("value").sum()),
        "any",
    ),
    case("group_after_fill", lambda t: t.a.with_columns(c("g").fill_null("none")).group_by("g").agg(pl.len()), "any"),
    case("group_keeps_only_key", lambda t: t.a.group_by("g").agg(c("y").sum()).select("g"), "any"),
    case("group_drops_key", lambda t: t.a.group_by("g").agg(c("id").sum()).select("id"), "any"),
    case("group_len_of_groups", lambda t: t.a.group_by("g", "k").agg().select(pl.len())),
    case(
        "group_twice_same_key",
        lambda t: t.a.group_by("g").agg(c("y").sum(), c("id").max()).group_by("g").agg(c("y").first()),
        "any",
    ),
]

CASES = [*KEYS, *KEY_KINDS, *AGGS, *ORDERED, *METHODS, *CHAINS]
