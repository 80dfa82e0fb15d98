"""Frames in another shape: pivots, frames side by side, rows picked by number, aggregations of every column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
AGGREGATIONS = ("sum", "min", "max", "mean", "median", "first", "last", "len")


def pivot(on: Any, on_columns: Any, **options: Any) -> Callable[[Tables], Any]:
    given: dict[str, Any] = {"index": "h", "values": "y", "aggregate_function": "sum", **options}
    return lambda t: t.a.pivot(on, on_columns=on_columns, **given)


PIVOTS = [
    *(case(f"pivot_{name}", pivot("g", ["a", "b", "c"], aggregate_function=name), "any") for name in AGGREGATIONS),
    case("pivot_ordered", pivot("g", ["a", "b"], maintain_order=True)),
    case("pivot_ordered_median", pivot("g", ["a", "b"], maintain_order=True, aggregate_function="median")),
    case("pivot_element", pivot("g", ["a", "b"], aggregate_function=pl.element().max() - pl.element().min()), "any"),
    case("pivot_element_filter", pivot("g", ["a", ""],
                                       aggregate_function=pl.element().filter(pl.element() > 1).sum()), "any"),
    case("pivot_null_and_missing", pivot("g", ["a", None, "nothing"]), "any"),
    case("pivot_two_values", pivot("g", ["a", "b"], values=["x", "y"]), "any"),
    case("pivot_two_index", pivot("g", ["a", "c"], index=["h", "b"], aggregate_function="len"), "any"),
    case("pivot_two_on", pivot(["g", "h"], pl.DataFrame({"g": ["a", "b"], "h": [1, 2]}, schema_overrides={"h": pl.Int8}),
                               index="k"), "any"),
    case("pivot_dates", pivot("d", [date(2024, 1, 31), date(2024, 2, 29)]), "any"),
    case("pivot_enum", pivot("enum", ["red", "blue"]), "any"),
    case("pivot_boolean", pivot("b", [True, False]), "any"),
    case("pivot_rest", lambda t: t.a.select("h", "g", "x", "y").pivot("g", on_columns=["a"], index="h",
                                                                      aggregate_function="max"), "any"),
    case("pivot_then_filter", lambda t: pivot("g", ["a", "b"])(t).filter(c("a") > 0), "any"),
    case("pivot_item", lambda t: t.c.pivot("g", on_columns=["a", "b"], index="label", values="code"), "any"),
    case("pivot_wrong", pivot("nope", ["a"]), raises="small empty one allnull dup none_right"),
]  # fmt: skip

SIDE_BY_SIDE = [
    case("hconcat", lambda t: t.concat([t.a.select("id", "g"), t.a.select(z=c("x") + 1)], how="horizontal")),
    case("hconcat_sorted", lambda t: t.concat([t.a.select("id"), t.a.select(z="y").sort("z")], how="horizontal")),
    case("hconcat_three", lambda t: t.concat(
        [t.a.select("id"), t.a.select(z="y").sort("z"), t.a.select(r="id").reverse()], how="horizontal")),
    case("hconcat_other", lambda t: t.concat(
        [t.b.select("bid").filter(c("bid") < 105), t.c.select("g").sort("g")], how="horizontal")),
    case("hconcat_differ", lambda t: t.concat([t.a.select("id").head(3), t.c.select("g").sort("g")], how="horizontal"),
         raises="small dup allnull empty one none_right"),
    case("hconcat_extend", lambda t: t.concat(
        [t.a.select("id"), t.b.select("bid"), t.c.select("code")], how="horizontal_extend")),
    case("hconcat_extend_longer", lambda t: t.concat([t.c.select("code"), t.a.select("id")], how="horizontal_extend")),
    case("hconcat_extend_filtered", lambda t: t.concat(
        [t.a.filter(c("h") == 1).select("id"), t.b.filter(c("w") > 2).select("w")], how="horizontal_extend")),
    case("hconcat_then_aggregate", lambda t: t.concat(
        [t.a.select("id"), t.a.select(z="y").sort("z")], how="horizontal").select((c("id") * c("z")).sum())),
    case("hconcat_one_column", lambda t: t.concat(
        [t.a.select("id"), t.a.select(z="y").sort("z")], how="horizontal").select("id")),
    case("diagonal", lambda t: t.concat([t.a.select("id", "g"), t.b.select("bid", "g")], how="diagonal")),
    case("diagonal_relaxed", lambda t: t.concat([t.a.select("id", "k"), t.b.select("bid", "k")],
                                                how="diagonal_relaxed")),
    *(case(f"align_{how}", lambda t, how=how: t.concat(
        [t.c.select("g", "code"), t.c.select("g", "weight").filter(c("weight") > 1)], how=how))
      for how in ("align", "align_left", "align_inner")),
    case("update", lambda t: t.c.update(t.c.select("g", code=c("code") * 2).filter(c("code") > 22), on="g")),
    case("update_by_row", lambda t: t.a.select("id", "y").update(t.a.select(y=c("y") * 2).head(7))),
]  # fmt: skip

FRAMES = [
    case("lf_reverse", lambda t: t.a.select("id", "g").reverse()),
    case("lf_reverse_filter", lambda t: t.a.reverse().filter(c("y") > 1).select("id")),
    case("lf_reverse_head", lambda t: t.a.select("id").reverse().head(4)),
    case("lf_gather_every", lambda t: t.a.select("id", "s").gather_every(4, 1)),
    case("lf_null_count", lambda t: t.a.null_count()),
    case("lf_count", lambda t: t.a.count()),
    case("lf_median", lambda t: t.a.select("x", "s", "i32", "d").median()),
    case("lf_quantile", lambda t: t.a.select("x", "y", "i32").quantile(0.9, "midpoint")),
    case("lf_min_max", lambda t: t.concat([t.a.select("x", "s", "d").min(), t.a.select("x", "s", "d").max()])),
    case("unpivot_then_sort", lambda t: t.a.unpivot(["x", "y"], index="id").sort("id", "variable")),
    case("explode_many", lambda t: t.a.select("id", "lst", l2="lst").explode("lst", "l2")),
    case("unnest", lambda t: t.a.select("id", "st").unnest("st")),
    case("top_k", lambda t: t.a.select("id", "y").top_k(5, by=["y", "id"])),
    case("bottom_k", lambda t: t.a.select("id", "y").bottom_k(5, by=["y", "id"])),
]

CASES = [*PIVOTS, *SIDE_BY_SIDE, *FRAMES]
