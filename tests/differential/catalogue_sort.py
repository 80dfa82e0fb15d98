"""Sorting, top-k and slices: where the order of the rows is the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
SORTABLE = [
    "g", "k", "i8", "i64", "u64", "i128", "f32", "f64", "b", "s", "d", "dt", "dtz", "dur", "tm", "dec", "cat", "enum",
    "bin", "st", "lst",
]  # fmt: skip


def sort(*by: Any, **options: Any) -> Callable[[Tables], Any]:
    """A stable sort; rows that tie stay in order."""
    return lambda t: t.a.sort(*by, maintain_order=True, **options)


SORTS = [
    case("sort_id_down", lambda t: t.a.sort("id", descending=True)),
    *(case(f"sort_{key}", sort(key)) for key in SORTABLE if key not in ("lst", "st")),
    *(case(f"sort_{key}", sort(key), local=True) for key in ("lst", "st")),
    *(case(f"sort_{key}_down_nulls_last", sort(key, descending=True, nulls_last=True)) for key in ("g", "k", "f64", "d", "cat", "b")),
    *(case(f"sort_{key}_nulls_last", sort(key, nulls_last=True)) for key in ("x", "f64", "s", "enum", "dec")),
    *(case(f"sort_{key}_down", sort(key, descending=True)) for key in ("x", "f64", "s", "enum", "dtz")),
    case("sort_two", sort("g", "x")),
    case("sort_two_mixed", sort("g", "x", descending=[True, False])),
    case("sort_three_mixed", sort("h", "g", "f64", descending=[False, True, True], nulls_last=[False, True, False])),
    case("sort_nulls_last_mixed", sort("k", "x", nulls_last=[True, False])),
    case("sort_list_of_keys", sort(["h", "b"], descending=True, nulls_last=True)),
    case("sort_expression", sort(-c("x"))),
    case("sort_expressions", sort(c("s").str.len_chars(), c("id") % 4, descending=[True, False])),
    case("sort_modulo_ties", sort(c("id") % 2)),
    case("sort_by_struct", sort(pl.struct("h", "id")), local=True),
    case("sort_all_equal", lambda t: t.a.with_columns(z=pl.lit(1)).sort("z", maintain_order=True)),
    case("sort_unstable_multiset", lambda t: t.a.sort("h").select("h", "id"), "any"),
    case("sort_unstable_key", lambda t: t.a.sort("h", "g").select("h", "g")),
    case("sort_null_column", lambda t: t.a.sort("nul", maintain_order=True).select("id")),
    case("sort_agg_expression", sort((c("y") - c("y").mean()).abs())),
    case("sort_drops_key", lambda t: t.a.sort("x", "id").select("id")),
    case("sort_then_filter", lambda t: t.a.sort("x", "id").filter(c("y") > 1)),
    case("sort_then_with_columns", lambda t: t.a.sort("g", "id").with_columns(z=c("y") * 2).select("id", "z")),
    case("sort_after_filter", lambda t: t.a.filter(c("x") > 0).sort("x", "id")),
    case("sort_twice", lambda t: t.a.sort("id", descending=True).sort("h", maintain_order=True)),
    case("sort_then_first", lambda t: t.a.sort("y", "id").select(pl.all().first())),
    case("sort_then_last", lambda t: t.a.sort("y", "id").last()),
    case("sort_then_group_first", lambda t: t.a.sort("y", "id").group_by("g").agg(c("id").first(), l=c("id").last()), "any"),
    case("sort_then_group_ordered", lambda t: t.a.sort("y", "id").group_by("g", maintain_order=True).agg(c("id"))),
    case("sort_then_implode", lambda t: t.a.sort("y", "id").select(c("id").implode())),
    case("sort_with_literal", lambda t: t.a.sort(pl.lit(1), "id").select("id"), local=True),
    case("sort_exploded", lambda t: t.a.explode("lst").sort("lst", "id").select("id", "lst")),
]  # fmt: skip

TOP = [
    case("top_k", lambda t: t.a.select("id", "y").top_k(4, by=["y", "id"]), "any"),
    case("top_k_nulls", lambda t: t.a.top_k(20, by=["x", "id"]).select("id", "x"), "any"),
    case("top_k_reverse", lambda t: t.a.select("id", "y").top_k(3, by=["y", "id"], reverse=[True, False]), "any"),
    case("top_k_too_many", lambda t: t.a.select("id").top_k(100, by="id"), "any"),
    case("top_k_zero", lambda t: t.a.select("id").top_k(0, by="id"), "any"),
    case("top_k_expression", lambda t: t.a.select("id", "y").top_k(3, by=c("y") * 100 + c("id")), "any"),
    case("top_k_keys", lambda t: t.a.top_k(5, by="x").select("x"), "any"),
    case("bottom_k", lambda t: t.a.select("id", "y").bottom_k(4, by=["y", "id"]), "any"),
    case("bottom_k_nan", lambda t: t.a.select("id", "f64").bottom_k(20, by=["f64", "id"]), "any"),
    case("bottom_k_strings", lambda t: t.a.select("s", "id").bottom_k(6, by=["s", "id"]), "any"),
    case("sort_head", lambda t: t.a.sort("x", "id").head(5)),
    case("sort_head_down", lambda t: t.a.sort("x", "id", descending=True).head(5)),
    case("sort_head_down_nulls_last", lambda t: t.a.sort("x", "id", descending=[True, False], nulls_last=True).head(9)),
    case("sort_head_ties", lambda t: t.a.sort("h", maintain_order=True).head(6)),
    case("sort_tail", lambda t: t.a.sort("x", "id").tail(5)),
    case("sort_slice", lambda t: t.a.sort("x", "id").slice(3, 4)),
    case("sort_slice_ties", lambda t: t.a.sort("h", "b", maintain_order=True).slice(5, 9)),
    case("sort_slice_negative", lambda t: t.a.sort("x", "id").slice(-6, 3)),
    case("sort_slice_beyond", lambda t: t.a.sort("x", "id").slice(100, 3)),
    case("sort_limit_zero", lambda t: t.a.sort("x", "id").limit(0)),
    case("expr_top_k", lambda t: t.a.select(c("id").top_k(3).sort()), local=True),
    case("expr_sort", lambda t: t.a.select(c("y").sort(), c("id").sort(descending=True)), local=True),
    case("expr_sort_by", lambda t: t.a.select(c("g").sort_by("y", "id")), local=True),
    case("expr_arg_sort", lambda t: t.a.select(c("id").sort_by("x", "id").arg_sort()), local=True),
]

SLICES = [
    case("head", lambda t: t.a.head()),
    *(case(f"head_{n}", lambda t, n=n: t.a.head(n).select("id", "g")) for n in (0, 1, 7, 22, 23, 24, 1000)),
    case("limit", lambda t: t.a.limit(6)),
    case("first", lambda t: t.a.first()),
    case("last", lambda t: t.a.last()),
    case("tail", lambda t: t.a.tail()),
    *(case(f"tail_{n}", lambda t, n=n: t.a.tail(n).select("id")) for n in (0, 1, 9, 23, 1000)),
    *(case(f"slice_{o}_{n}".replace("-", "m"), lambda t, o=o, n=n: t.a.slice(o, n).select("id", "s"))
      for o, n in [(0, 3), (2, 4), (5, None), (0, None), (21, 10), (23, 1), (50, 2), (3, 0), (-3, 2), (-3, None), (-5, 100), (-30, 10), (-30, 3), (-1, 1), (-23, 23)]),
    case("slice_of_filtered", lambda t: t.a.filter(c("x") > 0).slice(2, 5)),
    case("head_of_filtered", lambda t: t.a.filter(c("h") == 2).head(3).select("id")),
    case("tail_of_filtered", lambda t: t.a.filter(c("h") == 2).tail(3).select("id")),
    case("filter_of_head", lambda t: t.a.head(9).filter(c("h") == 2).select("id")),
    case("head_of_head", lambda t: t.a.head(9).head(4).select("id")),
    case("slice_of_slice", lambda t: t.a.slice(3, 12).slice(2, 5).select("id")),
    case("tail_of_head", lambda t: t.a.head(11).tail(3).select("id")),
    case("head_of_tail", lambda t: t.a.tail(11).head(3).select("id")),
    case("slice_negative_of_filtered", lambda t: t.a.filter(c("y") > 0).slice(-7, 4).select("id")),
    case("head_of_exploded", lambda t: t.a.select("id", "lst").explode("lst").head(6)),
    case("head_then_group", lambda t: t.a.head(12).group_by("g").agg(pl.len()), "any"),
    case("head_then_sum", lambda t: t.a.head(5).select(c("y").sum())),
    case("tail_then_sort", lambda t: t.a.tail(10).sort("y", "id")),
    case("head_of_unordered_join", lambda t: t.a.select("id", "g").join(t.c, on="g", how="left").head(4), "shape"),
    case("head_of_unordered_group", lambda t: t.a.group_by("g").agg(pl.len()).head(2), "shape"),
    case("slice_of_unordered_unique", lambda t: t.a.select("g").unique().slice(1, 2), "shape"),
    case("tail_of_unordered_group", lambda t: t.a.group_by("h").agg(pl.len()).tail(2), "shape"),
    case("join_of_heads", lambda t: t.a.head(8).select("id", "g").join(t.c.head(3), on="g", how="left"), "any"),
    case("expr_head", lambda t: t.a.select(c("id").head(3)), local=True),
    case("expr_slice", lambda t: t.a.select(c("id", "g").slice(2, 3)), local=True),
    case("head_with_agg", lambda t: t.a.select("id", m=c("y").mean()).head(2)),
    case("with_columns_agg_of_head", lambda t: t.a.head(6).with_columns(m=c("y").mean()).select("id", "m")),
    case("gather_every", lambda t: t.a.gather_every(4, 1), local=True),
    case("gather", lambda t: t.a.select("id", "s").gather([0, 0, 0]), local=True, raises="empty"),
]  # fmt: skip

CASES = [*SORTS, *TOP, *SLICES]
