"""unique: every `keep`, subset and order."""

from __future__ import annotations

import polars as pl

from tests.differential.catalogue_base import Case, case

c = pl.col
SUBSETS = {"all": None, "g": ["g"], "gh": ["g", "h"], "f64": ["f64"], "cat": ["cat"]}
COLUMNS = ["g", "h", "f64", "cat", "id"]
KEEPS = ("first", "last", "none", "any")


def unique_case(keep: str, subset: str, maintain_order: bool) -> Case:
    """What `any` keeps is not defined outside the subset, so only the subset is compared."""
    keys = SUBSETS[subset]
    columns = COLUMNS[:-1] if keys is None else COLUMNS
    shown = keys if keys and keep == "any" else columns

    def query(t):
        return t.a.select(columns).unique(keys, keep=keep, maintain_order=maintain_order).select(shown)

    suffix = "_ordered" if maintain_order else ""
    return case(f"unique_{keep}_{subset}{suffix}", query, "promised" if maintain_order else "any")


GRID = [unique_case(keep, subset, order) for keep in KEEPS for subset in SUBSETS for order in (False, True)]

MORE = [
    case("unique_key_list", lambda t: t.a.select("lst").unique(), "any"),
    case("unique_key_struct", lambda t: t.a.select("st").unique(), "any"),
    case("unique_key_array", lambda t: t.a.select("arr").unique(), "any"),
    case("unique_key_decimal", lambda t: t.a.select("dec", "enum").unique(), "any"),
    case("unique_key_dates", lambda t: t.a.select("d", "dt", "dtz").unique(), "any"),
    case("unique_key_null", lambda t: t.a.select("nul").unique(), "any"),
    case("unique_whole_rows", lambda t: t.a.unique(), "any"),
    case(
        "unique_expression",
        lambda t: t.a.select("id", "x").unique(c("id") % 3, keep="first", maintain_order=True),
        local=True,
    ),
    case("unique_sorted", lambda t: t.a.select("g", "h").unique().sort("g", "h")),
    case("unique_after_sort", lambda t: t.a.sort("y", "id").unique("g", keep="first", maintain_order=True)),
    case("unique_after_sort_last", lambda t: t.a.sort("y", "id").unique("g", keep="last"), "any"),
    case("unique_ordered_head", lambda t: t.a.unique("g", keep="first", maintain_order=True).head(3)),
    case("unique_then_len", lambda t: t.a.select("g", "k").unique().select(pl.len())),
    case("unique_then_group", lambda t: t.a.select("g", "h").unique().group_by("g").agg(pl.len()), "any"),
    case("unique_of_concat", lambda t: t.concat([t.a.select("g"), t.b.select("g")]).unique(), "any"),
    case("unique_filtered", lambda t: t.a.filter(c("x") > 0).unique("h", keep="first").select("h", "id"), "any"),
    case("expr_unique", lambda t: t.a.select(c("g").unique().sort()), local=True),
    case("expr_unique_ordered", lambda t: t.a.select(c("g").unique(maintain_order=True)), local=True),
    case("expr_is_duplicated", lambda t: t.a.select("id", c("g").is_duplicated())),
    case("expr_is_unique", lambda t: t.a.select("id", c("x").is_unique())),
    case("expr_is_first_distinct", lambda t: t.a.filter(c("g").is_first_distinct()).select("id")),
]

CASES = [*GRID, *MORE]
