"""Joins: every kind, key types that differ, null keys, empty sides, and what may be assumed after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from tests.differential.catalogue_base import Case, case
from tests.helpers import Tables

c = pl.col
HOWS = ("inner", "left", "right", "full", "semi", "anti")
ORDERS = ("left", "right", "left_right", "right_left")

LEFT = ("id", "g", "k", "h", "x", "y")
RIGHT = ("bid", "g", "k", "h", "x", "w")


def join(how: str, *, left: Any = LEFT, right: Any = RIGHT, **options: Any) -> Callable[[Tables], Any]:
    return lambda t: t.a.select(left).join(t.b.select(right), how=how, **options)


def ordered_by_one_side(how: str, side: str) -> Case:
    """Only the order of the rows of that side is promised: not the order of its matches, nor of the others."""
    key = {"left": "id", "right": "bid"}[side]
    query = join(how, on="h", maintain_order=side)
    return case(f"ordered_{how}_by_{side}", lambda t: query(t).filter(c(key).is_not_null()).select(key), "exact")


KINDS = [
    *(case(f"{how}_one_key", join(how, on="g"), "any") for how in HOWS),
    *(case(f"{how}_two_keys", join(how, on=["g", "h"]), "any") for how in HOWS),
    *(case(f"{how}_nulls_equal", join(how, on="g", nulls_equal=True), "any") for how in HOWS),
    *(case(f"{how}_suffix", join(how, on="h", suffix="_b"), "any") for how in HOWS),
    *(case(f"{how}_left_on_right_on", join(how, left_on="k", right_on="kk", right=("bid", "kk", "x")), "any") for how in HOWS),
    *(case(f"{how}_coalesce", join(how, left_on="h", right_on="w", left=("id", "h"), right=("w", "bid"), coalesce=True), "any")
      for how in ("left", "right", "full")),
    *(case(f"{how}_no_coalesce", join(how, on="g", coalesce=False), "any") for how in ("left", "right", "full", "inner")),
    *(case(f"{how}_two_keys_nulls_equal", join(how, on=["g", "k"], left=("id", "g", "k"), right=("bid", "g", "k"), nulls_equal=True, coalesce=True), "any")
      if how in ("left", "right", "full") else
      case(f"{how}_two_keys_nulls_equal", join(how, left_on=["g", c("k").cast(pl.Int64)], right_on=["g", "k"], nulls_equal=True), "any")
      for how in HOWS),
    case("cross", join("cross", left=("id", "g"), right=("bid", "g")), "any"),
    case("cross_filtered", lambda t: t.a.select("id", "h").join(t.c, how="cross").filter(c("h") * 5 > c("code")), "any"),
    case("self_join", lambda t: t.a.select("id", "g").join(t.a.select("g", "y"), on="g"), "any"),
    case("self_join_same_frame", lambda t: t.c.join(t.c, on="g"), "any"),
    case("self_join_filtered", lambda t: t.a.filter(c("x") > 1).join(t.a.filter(c("x") < 3), on="g", how="left").select("id", "id_right"), "any"),
    case("join_dimension", lambda t: t.a.join(t.c, on="g", how="left").select("id", "g", "label", "weight"), "any"),
    case("join_small_left", lambda t: t.c.join(t.a.select("g", "id"), on="g", how="left"), "any"),
    case("join_everything", lambda t: t.a.join(t.b, on="k", how="full"), "any"),
]  # fmt: skip

KEYS = [
    case("key_int32_int64", join("inner", left_on="k", right_on="k"), "any"),
    case("key_int32_int64_full", join("full", on="k", coalesce=True), "any"),
    case("key_int8_int64", join("left", left_on="h", right_on="w"), "any"),
    case("key_float", join("inner", on="f64", left=("id", "f64"), right=("bid", "f64")), "any"),
    case(
        "key_float_nulls_equal",
        join("full", on="f64", left=("id", "f64"), right=("bid", "f64"), nulls_equal=True),
        "any",
    ),
    case("key_int_float", join("inner", left_on=c("h").cast(pl.Float64), right_on="f64", right=("bid", "f64")), "any"),
    case("key_categorical", join("inner", on="cat", left=("id", "cat"), right=("bid", "cat")), "any"),
    case("key_categorical_left", join("left", on="cat", left=("id", "cat"), right=("bid", "cat")), "any"),
    case(
        "key_string_categorical",
        join("inner", left_on="s", right_on="cat", left=("id", "s"), right=("bid", "cat")),
        "any",
        raises="small empty one allnull dup none_right",
    ),
    case(
        "key_categorical_string",
        join("inner", left_on="cat", right_on="g", left=("id", "cat"), right=("bid", "g")),
        "any",
        raises="small empty one allnull dup none_right",
    ),
    case(
        "key_cat_cast",
        join(
            "inner",
            left_on=c("cat").cast(pl.String),
            right_on=c("cat").cast(pl.String),
            left=("id", "cat"),
            right=("bid", "cat"),
        ),
        "any",
    ),
    case("key_enum", join("left", on="enum", left=("id", "enum"), right=("bid", "enum")), "any"),
    case("key_date", join("inner", on="d", left=("id", "d"), right=("bid", "d")), "any"),
    case(
        "key_date_datetime",
        join("inner", left_on="dt", right_on=c("d").cast(pl.Datetime("us")), left=("id", "dt"), right=("bid", "d")),
        "any",
    ),
    case("key_decimal", join("inner", on="dec", left=("id", "dec"), right=("bid", "dec")), "any"),
    case("key_boolean_expression", join("inner", left_on=c("x") > 3, right_on=c("w") > 4, right=("bid", "w")), "any"),
    case("key_expressions", join("inner", left_on=c("id") % 5, right_on=c("bid") % 5), "any"),
    case("key_expression_left", join("left", left_on=c("k") + 1, right_on=c("kk"), right=("bid", "kk")), "any"),
    case("key_expression_full", join("full", left_on=c("h") * 2, right_on=c("w"), right=("bid", "w")), "any"),
    case("key_expression_mixed", join("inner", left_on=["g", c("h") + 1], right_on=["g", c("h")]), "any"),
    case("key_upper", join("semi", left_on=c("g").str.to_uppercase(), right_on=c("g").str.to_uppercase()), "any"),
    case(
        "key_struct",
        lambda t: t.a.select("id", r=pl.struct("g", "h")).join(t.b.select("bid", r=pl.struct("g", "h")), on="r"),
        "any",
    ),
    case("key_binary", lambda t: t.a.select("id", "bin").join(t.a.select("bin", "y").unique(), on="bin"), "any"),
    case("key_list", lambda t: t.a.select("id", "lst").join(t.a.select("lst", "h").unique(), on="lst"), "any"),
    case("key_datetime_zone", lambda t: t.a.select("id", "dtz").join(t.a.select("dtz", "y").unique(), on="dtz"), "any"),
    case(
        "key_many",
        lambda t: t.a.select("id", "g", "h", "b").join(t.a.select("g", "h", "b", "y"), on=["g", "h", "b"]),
        "any",
    ),
    case(
        "key_null_column",
        lambda t: t.a.select("id", "nul").join(t.c.select("g", nul=pl.lit(None)), on="nul", how="left"),
        "any",
    ),
    case(
        "key_types_that_never_meet",
        join("inner", left_on="g", right_on="bid"),
        "any",
        raises="small empty one allnull dup none_right",
    ),
]

SIDES = [
    *(case(f"{how}_right_filtered_out", lambda t, how=how: t.a.select(LEFT).join(t.b.select(RIGHT).filter(c("bid") < 0), on="g", how=how), "any")
      for how in HOWS),
    *(case(f"{how}_left_filtered_out", lambda t, how=how: t.a.select(LEFT).filter(c("id") < 0).join(t.b.select(RIGHT), on="g", how=how), "any")
      for how in HOWS),
    case("left_only_null_keys", lambda t: t.a.filter(c("g").is_null()).join(t.c, on="g", how="left").select("id", "label"), "any"),
    case("anti_null_keys", lambda t: t.a.filter(c("g").is_null()).join(t.c, on="g", how="anti").select("id"), "any"),
    case("key_only_right", lambda t: t.a.select("id", "g").join(t.c.select("g"), on="g"), "any"),
    case("many_to_many", lambda t: t.a.select("id", "h").join(t.b.select("bid", "h"), on="h"), "any"),
    case("grouped_right", lambda t: t.a.select("id", "g").join(t.b.group_by("g").agg(c("w").sum()), on="g", how="left"), "any"),
    case("both_grouped", lambda t: t.a.group_by("g").agg(c("y").sum()).join(t.b.group_by("g").agg(c("w").sum()), on="g", how="full", coalesce=True), "any"),
    case("unique_right", lambda t: t.a.select("id", "h").join(t.b.select("h").unique(), on="h"), "any"),
    case("aggregate_right_cross", lambda t: t.a.select("id", "y").join(t.b.select(c("w").max()), how="cross"), "any"),
]  # fmt: skip

VALIDATE = [
    case("validate_m_1", lambda t: t.a.select("id", "g").join(t.c, on="g", validate="m:1"), "any"),
    case("validate_m_1_left", lambda t: t.a.select("id", "g").join(t.c, on="g", how="left", validate="m:1"), "any"),
    case("validate_1_m", lambda t: t.c.join(t.a.select("id", "g"), on="g", validate="1:m"), "any"),
    case("validate_1_1", lambda t: t.a.group_by("g").agg(pl.len()).join(t.c, on="g", validate="1:1"), "any"),
    case(
        "validate_fails_1_m",
        lambda t: t.a.select("id", "h").join(t.b.select("h"), on="h", validate="1:m"),
        "any",
        raises="small dup none_right",
    ),
    case(
        "validate_fails_m_1",
        lambda t: t.a.select("id", "h").join(t.b.select("h"), on="h", validate="m:1"),
        "any",
        raises="small empty one allnull dup",
    ),
]

ORDERED = [
    *(case(f"ordered_{how}_{order}", join(how, on="h", maintain_order=order), "exact") for how in HOWS[:4] for order in ORDERS[2:]),
    *(ordered_by_one_side(how, order) for how in HOWS[:4] for order in ORDERS[:2]),
    *(case(f"ordered_{how}_left", join(how, on="g", maintain_order="left"), "exact") for how in ("semi", "anti")),
    case("ordered_left_nulls", join("left", on="g", maintain_order="left_right", nulls_equal=True), "exact"),
    case("ordered_two_keys", join("inner", on=["g", "h"], maintain_order="left_right"), "exact"),
    case("ordered_then_head", lambda t: t.a.join(t.c, on="g", how="left", maintain_order="left").select("id", "label").head(7), "exact"),
    case("ordered_then_row_index", lambda t: t.a.select("id", "g").join(t.c, on="g", maintain_order="left").with_row_index(), "exact", local=True),
    case("ordered_cross", join("cross", left=("id",), right=("bid",), maintain_order="left_right"), "exact"),
    case("ordered_then_slice", join("inner", on="h", maintain_order="left_right"), "exact"),
]  # fmt: skip

AFTER = [
    *(case(f"group_left_key_after_{how}", lambda t, how=how: t.a.join(t.b, on="k", how=how, coalesce=False).group_by("k").agg(pl.len(), c("y").sum()), "any")
      for how in ("inner", "left", "right", "full")),
    *(case(f"group_right_key_after_{how}", lambda t, how=how: t.a.join(t.b, on="k", how=how, coalesce=False).group_by("k_right").agg(pl.len(), c("w").sum()), "any")
      for how in ("inner", "left", "right", "full")),
    *(case(f"group_coalesced_key_after_{how}", lambda t, how=how: t.a.join(t.b, on="g", how=how, coalesce=True).group_by("g").agg(pl.len()), "any")
      for how in ("left", "right", "full")),
    case("group_right_key_left_on", lambda t: t.a.join(t.b, left_on="k", right_on="kk", how="left", coalesce=False).group_by("kk").agg(pl.len()), "any"),
    case("group_right_column_after_left", lambda t: t.a.join(t.b, on="g", how="left").group_by("w").agg(c("y").sum()), "any"),
    case("group_subset_of_keys", lambda t: t.a.join(t.b, on=["g", "h"]).group_by("g").agg(pl.len()), "any"),
    case("group_superset_of_keys", lambda t: t.a.join(t.b, on="g").group_by("g", "h").agg(pl.len()), "any"),
    case("join_again_same_key", lambda t: t.a.select("id", "g").join(t.c, on="g", how="left").join(t.b.select("g", "w"), on="g", how="left"), "any"),
    case("join_again_right_key", lambda t: t.a.select("id", "k").join(t.b.select("k", "g", "w"), on="k", how="left").join(t.c, on="g", how="left"), "any"),
    case("join_on_nulled_right_key", lambda t: t.a.select("id", "k").join(t.b.select("k", "bid"), on="k", how="left", coalesce=False)
         .join(t.b.select("k", "w"), left_on="k_right", right_on="k", how="full", coalesce=False, suffix="_2"), "any"),
    case("unique_after_join", lambda t: t.a.join(t.b, on="g", how="left").select("g", "w").unique(), "any"),
    case("unique_right_key_after_full", lambda t: t.a.join(t.b, on="k", how="full").select("k_right").unique(), "any"),
    case("overwritten_key_then_group", lambda t: t.a.join(t.c, on="g").with_columns(g=c("label")).group_by("g").agg(pl.len()), "any"),
    case("renamed_key_then_group", lambda t: t.a.join(t.c, on="g").select("y", "g").rename({"g": "z"}).group_by("z").agg(c("y").sum()), "any"),
    case("swapped_key_then_group", lambda t: t.a.select("g", "s", "y").join(t.c, on="g").rename({"g": "s", "s": "g"}).group_by("g").agg(pl.len()), "any"),
    case("filter_after_left", lambda t: t.a.join(t.c, on="g", how="left").filter(c("label").is_null()).select("id", "g"), "any"),
    case("filter_after_full", lambda t: t.a.join(t.b, on="k", how="full").filter((c("y") > 0) | (c("w") > 3)).select("id", "bid"), "any"),
    case("sort_after_join", lambda t: t.a.join(t.b, on="g").select("id", "bid").sort("id", "bid")),
    case("chain_of_four", lambda t: t.a.select("id", "g", "h", "k").join(t.c, on="g", how="left").join(t.b.select("h", "w"), on="h")
         .join(t.b.select(k2=c("k").cast(pl.Int32)).unique(), left_on="k", right_on="k2", how="semi")
         .group_by("g", "w").agg(pl.len(), c("id").sum()), "any"),
    case("star", lambda t: t.a.join(t.c, on="g").join(t.b.group_by("h").agg(c("w").max()), on="h").select((c("weight") * c("w")).sum())),
    case("diamond", lambda t: (base := t.a.filter(c("x") > 0)).join(base.group_by("g").agg(m=c("y").mean()), on="g", how="left").select("id", "m"), "any"),
    case("update", lambda t: t.a.select("id", "g", "x").update(t.c.select("g", x="weight"), on="g")),
    case("update_inner", lambda t: t.a.select("id", "g", "x").update(t.c.select("g", x="weight"), on="g", how="inner", include_nulls=True), "any"),
    case("update_full", lambda t: t.c.update(t.b.filter(c("g") == "zz").group_by("g").agg(weight=c("x").max()), on="g", how="full"), "any"),
    case("update_by_row", lambda t: t.a.select("id", "x").update(t.b.select("x"))),
]  # fmt: skip


def where(
    *conditions: Any, left: Any = ("id", "g", "k", "h", "y"), right: Any = ("bid", "g", "k", "w", "x"), **options: Any
) -> Callable[[Tables], Any]:
    return lambda t: t.a.select(left).join_where(t.b.select(right), *conditions, **options)


KINDS_WHERE = ("inner", "left", "right", "full")
INEQUALITY = [
    *(case(f"where_{how}_one", where(c("h") > c("w"), how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_two", where(c("y") < c("x"), c("h") > c("w"), how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_equal_and", where(c("g") == c("g_right"), c("y") < c("x"), how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_or", where((c("h") == c("w")) | (c("id") > c("bid") - 90), how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_both_sides_in_one", where(c("h") + c("w") < 5, how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_never", where(c("id") > c("bid"), how=how), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_then_filter", lambda t, how=how: where(c("h") > c("w"), how=how)(t).filter(c("y") > 1).select("id", "w"), "any") for how in KINDS_WHERE),
    *(case(f"where_{how}_then_group", lambda t, how=how: where(c("h") > c("w"), how=how)(t).group_by("k").agg(pl.len(), c("w").sum()), "any") for how in KINDS_WHERE),
    case("where_equal_only", where(c("g") == c("g_right")), "any"),
    case("where_equal_reversed", where(c("g_right") == c("g"), c("h") < c("w")), "any"),
    case("where_equal_two", where(c("g") == c("g_right"), c("id") % 3 == c("bid") % 3), "any"),
    case("where_equal_expression", where(c("g").str.to_uppercase() == c("g_right").str.to_uppercase(), c("h") < c("w")), "any"),
    case("where_equal_types", where(c("k") == c("k_right"), c("h") < c("w")), "any"),
    case("where_suffix", where(c("k") < c("k_b"), suffix="_b"), "any"),
    case("where_one_side_only", where(c("h") > 2, c("w") > 3), "any"),
    case("where_not_equal", where(c("h") != c("w")), "any"),
    case("where_strings", where(c("g") < c("g_right")), "any"),
    case("where_nulls", where(c("k") <= c("k_right"), c("h").is_not_null()), "any"),
    case("where_same_frame", lambda t: (s := t.a.select("id", "h")).join_where(s, c("id") < c("id_right"), c("h") == c("h_right")), "any"),
    case("where_same_frame_left", lambda t: (s := t.a.select("id", "h")).join_where(s, c("id") < c("id_right"), how="left"), "any"),
    case("where_aggregate", where(c("y") > c("x").mean(), c("k_right") <= c("k").max()), "any"),
    case("where_aggregates_of_both", where((c("y") > c("x").median()) & (c("h") < c("w")), c("g") == c("g_right"), c("w") - c("w").min() < c("k").n_unique()), "any"),
    case("where_aggregate_of_pairs", where(c("h") * 30 > c("w").sum(), c("y") > c("x").std()), "any", local=True),
    case("cross_all", lambda t: t.a.select("id", "g").join(t.b, how="cross"), "any"),
    case("cross_three", lambda t: t.a.select("h").join(t.b.select("kk"), how="cross").join(t.c.select("code"), how="cross"), "any"),
]  # fmt: skip

CASES = [*KINDS, *KEYS, *SIDES, *VALIDATE, *ORDERED, *AFTER, *INEQUALITY]
