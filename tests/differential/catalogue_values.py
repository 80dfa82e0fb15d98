"""Aggregations taken apart, rows picked by their numbers, bins: what once needed all values at one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col


def select(*exprs: Any, **named: Any) -> Callable[[Tables], Any]:
    return lambda t: t.a.select(*exprs, **named)


def grouped(*exprs: Any, by: str = "g", **named: Any) -> Callable[[Tables], Any]:
    return lambda t: t.a.group_by(by).agg(*exprs, **named)


MOMENTS = [
    case("skew", select(c("x", "y", "i32", "u8", "f32", "b", "dec").skew())),
    case("skew_unbiased", select(c("x", "y").skew(bias=False), n=c("f64").skew(bias=False))),
    case("kurtosis", select(c("x", "y", "i32", "u8", "f32").kurtosis())),
    case("kurtosis_arguments", select(a=c("y").kurtosis(bias=False), b=c("y").kurtosis(fisher=False),
                                      c=c("x").kurtosis(fisher=False, bias=False), d=c("nul").kurtosis())),
    case("skew_of_constant", select(a=(c("y") * 0 + 0.5).skew(), b=(c("h") * 0).kurtosis())),
    case("skew_far_from_zero", select((c("y") + 1e6).skew().round(4))),
    case("skew_filtered", select(c("y").filter(c("h") > 1).skew(), n=c("x").filter(c("id") < 0).kurtosis())),
    case("skew_beside_rows", lambda t: t.a.select("id", s=c("y") - c("y").skew())),
    case("skew_of_groups", grouped(c("x").skew(), k=c("y").kurtosis(bias=False)), "any"),
    case("skew_of_single_rows", grouped(c("x").skew(), k=c("y").kurtosis(bias=False), by="id"), "any"),
    case("corr", select(pl.corr("x", "y"), i=pl.corr("id", "k"), f=pl.corr("f64", "y"), s=pl.corr("y", "y"))),
    case("corr_of_constant", select(pl.corr("y", c("h") * 0 + 0.5))),
    case("corr_f32", select(pl.corr(c("y").cast(pl.Float32), c("h").cast(pl.Float32)))),
    case("cov", select(pl.cov("x", "y"), a=pl.cov("id", "k", ddof=0), b=pl.cov("x", "i16", ddof=40))),
    case("corr_of_groups", grouped(pl.corr("x", "y").alias("r"), pl.cov("x", "id").alias("v")), "any"),
    case("corr_spearman", select(pl.corr("x", "y", method="spearman"), k=pl.corr("id", "k", method="spearman"))),
    case("corr_spearman_nan", select(pl.corr("f64", "y", method="spearman"),
                                     p=pl.corr("f64", "id", method="spearman", propagate_nans=True))),
    case("corr_spearman_of_groups", grouped(pl.corr("x", "y", method="spearman")), "any"),
    case("entropy", select(c("h").entropy(), b=c("h").entropy(base=2), u=c("u8").entropy(), f=c("f64").entropy())),
    case("entropy_as_they_are", select(c("h").entropy(normalize=False), b=(c("id") + 1).entropy(10, normalize=False))),
    case("entropy_signs", select((-c("h")).entropy(), m=c("y").entropy(), z=(c("h") * 0).entropy())),
    case("entropy_f32", select(c("h").cast(pl.Float32).entropy())),
    case("entropy_of_groups", grouped(c("h").entropy(), b=c("x").abs().entropy(2)), "any"),
]  # fmt: skip

SEQUENCES = [
    case("is_empty", select(c("x").is_empty(), c("x", "nul").is_empty(ignore_nulls=True).name.suffix("_"))),
    case("is_empty_filtered", select(c("x").filter(c("id") < 0).is_empty())),
    case("is_empty_of_groups", grouped(c("x").is_empty(), n=c("x").is_empty(ignore_nulls=True)), "any"),
    case("is_sorted", select(c("id", "x", "g", "nul", "b", "dt").is_sorted())),
    case("is_sorted_descending", select((-c("id")).is_sorted(descending=True), n=c("id").is_sorted(descending=True))),
    case("is_sorted_any_way", select(c("id").is_sorted(descending=None), n=(-c("id")).is_sorted(descending=None),
                                     x=c("x").is_sorted(descending=None, nulls_last=None))),
    case("is_sorted_nulls", lambda t: t.a.sort("x", nulls_last=True, maintain_order=True).select(
        a=c("x").is_sorted(nulls_last=True), d=c("x").is_sorted(nulls_last=None))),
    case("is_sorted_nans", lambda t: t.a.sort("f64", maintain_order=True).select(c("f64").is_sorted())),
    case("is_sorted_across_cuts", select((c("id") % 3).is_sorted(), t=(c("id") // 3).is_sorted())),
    case("is_sorted_of_groups", grouped(c("id").is_sorted(), x=c("x").is_sorted()), "any"),
    case("item", lambda t: t.a.filter(c("id") == 3).select(c("g").item(), x=c("x").item()), raises="empty"),
    case("item_none", lambda t: t.a.filter(c("id") < 0).select(c("g").item(allow_empty=True))),
    case("item_missing", lambda t: t.a.filter(c("id") < 0).select(c("g").item()),
         raises="small empty one allnull dup none_right"),
    case("item_of_many", select(c("id").item()), raises="small empty allnull dup none_right"),
    case("str_join", select(c("s").str.join("-"), n=c("g").str.join("", ignore_nulls=False), e=c("g").str.join(", "))),
    case("str_join_numbers", select(c("id").str.join(","))),
    case("str_join_filtered", select(c("g").filter(c("h") == 2).str.join("+"))),
    case("str_join_of_groups", grouped(c("s").str.join("/"), n=c("g").str.join(ignore_nulls=False).alias("j"), by="h"),
         "any"),
]  # fmt: skip


def doubled(expr: pl.Expr, dtype: Any) -> pl.Expr:
    return expr * 2 if dtype.is_numeric() else expr


TYPED = [
    case("pipe_with_dtype", select("id", c("x").pipe_with_dtype(doubled), z=c("s").pipe_with_dtype(doubled))),
    case("pipe_with_dtype_of_many", lambda t: t.a.select(c("id", "x", "g", "i8").pipe_with_dtype(doubled))),
    case("pipe_with_dtype_inside", lambda t: t.a.with_columns(z=c("y").pipe_with_dtype(doubled).cum_sum() + c("id"))),
    case("pipe_with_dtype_of_two", select(z=pl.pipe_with_dtype(["s", "x"], lambda e: pl.concat_str(x for x, _ in e)))),
    case("pipe_with_dtype_twice", select(c("y").pipe_with_dtype(doubled).pipe_with_dtype(doubled))),
    case("pipe_with_dtype_filter", lambda t: t.a.filter(c("x").pipe_with_dtype(doubled) > 3).select("id")),
    case("pipe_with_dtype_sort", lambda t: t.a.sort(c("h").pipe_with_dtype(doubled), "id").select("id")),
    case("pipe_with_dtype_groups", grouped(c("y").pipe_with_dtype(doubled).sum()), "any"),
    case("pipe_with_dtype_keys", lambda t: t.a.group_by(c("h").pipe_with_dtype(doubled)).agg(pl.len()), "any"),
    case("pipe_with_dtype_over", select("id", z=c("y").pipe_with_dtype(doubled).sum().over("h"))),
    case("bounds", select(c("i8", "u16", "i128", "f32", "f64", "d", "dt").upper_bound(), l=c("i64").lower_bound())),
    case("bounds_beside_rows", lambda t: t.a.with_columns(l=c("i8").lower_bound(), u=c("u8").upper_bound() - c("u8"))),
    case("bounds_filter", lambda t: t.a.filter(c("u8") == c("u8").upper_bound()).select("id")),
    case("bounds_of_groups", grouped(c("i8").upper_bound()), "any"),
]

OUT = "small one allnull empty dup none_right"

PICKED = [
    case("gather", lambda t: t.a.select("id", "g", "x").gather([0, 0]), raises="empty"),
    case(
        "gather_any_order",
        lambda t: (
            t.a.select("id", "g", "lst").gather([7, 1, 22, 7, -1, -23, 0, None], null_on_oob=True).select("id", "lst")
        ),
    ),
    case("gather_none", lambda t: t.a.select("id", "g").gather([])),
    case("gather_out_of_bounds", lambda t: t.a.select("id", "g").gather([0, 99]), raises=OUT),
    case("gather_by_column", lambda t: t.a.select("id", "h", "s").gather(c("h") % 1).select("id", "s")),
    case("gather_by_frame", lambda t: t.a.select("id", "y").gather(t.b.select(c("w") - 1), null_on_oob=True)),
    case(
        "gather_then_sum",
        lambda t: t.a.select("id", "g").gather([0, -1, 0]).select(c("id").sum(), n=pl.len()),
        raises="empty",
    ),
    case("expr_gather", select(c("g").gather([0, -1, 0])), raises="empty"),
    case("expr_gather_missing", select(c("g").gather([3, 50, None], null_on_oob=True), n=c("x").max())),
    case("expr_gather_out", select(c("id").gather([3, 50])), raises=OUT),
    case("expr_gather_filtered", select(c("id").filter(c("h") >= 1).gather([0, 0])), raises="empty allnull"),
    case("get_by_value", select(c("id").get(c("id").max()), x=c("y").sum()), raises="one"),
    case("append", select(c("id").append(c("k")), n=c("x").sum())),
    case("append_filtered", select(c("g").append(c("s").filter(c("h") == 1)))),
    case("extend_constant", select(c("x").extend_constant(7.5, 3))),
    case("extend_constant_null", select(c("g").extend_constant(None, 2), n=pl.len())),
    case("rle", select(c("h").rle().struct.field("len"), v=c("h").rle().struct.field("value"))),
    case("rle_nulls", lambda t: t.a.select((c("x") > 1).rle()).unnest("x").select("len", "value")),
]

CASES = [*MOMENTS, *SEQUENCES, *TYPED, *PICKED]
