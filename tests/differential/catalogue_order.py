"""What carries from one row to the next: row indexes, cumulative and window functions, time windows, pivot."""

from __future__ import annotations

import polars as pl
import polars.selectors as cs

from tests.differential.catalogue_base import Case, case

c = pl.col

ROW_INDEX = [
    case("row_index", lambda t: t.a.with_row_index()),
    case("row_index_offset", lambda t: t.a.select("g").with_row_index("n", offset=100)),
    case("row_index_after_filter", lambda t: t.a.filter(c("x") > 0).with_row_index().select("index", "id")),
    case("row_index_then_filter", lambda t: t.a.with_row_index().filter(c("x") > 0).select("index", "id")),
    case(
        "row_index_then_filter_index",
        lambda t: t.a.with_row_index().filter(c("index") % 3 == 1).select("id"),
    ),
    case("row_index_then_slice", lambda t: t.a.with_row_index().slice(4, 3).select("index")),
    case(
        "row_index_twice",
        lambda t: t.a.select("id").with_row_index("m").filter(c("m") > 2).with_row_index("n"),
    ),
    case("row_index_after_sort", lambda t: t.a.sort("y", "id").with_row_index().select("index", "id")),
    case("row_index_after_explode", lambda t: t.a.select("id", "lst").explode("lst").with_row_index()),
    case("row_index_then_group", lambda t: t.a.with_row_index().group_by("g").agg(c("index").max()), "any"),
    case("row_index_unused", lambda t: t.a.with_row_index().select("id")),
    case("int_range", lambda t: t.a.select("id", n=pl.int_range(pl.len()))),
    case(
        "int_range_column",
        lambda t: t.a.with_columns(n=pl.int_range(pl.len(), dtype=pl.UInt32)).select("id", "n"),
    ),
]


def over(name: str, expr: pl.Expr, *keys: str) -> Case:
    return case(f"over_{name}", lambda t: t.a.select("id", expr.over(*keys).alias("w")))


CUMULATIVE = [
    case("reverse", lambda t: t.a.reverse(), local=True),
    case("shift", lambda t: t.a.shift(2)),
    case("shift_negative_fill", lambda t: t.a.select("id", "i64").shift(-3, fill_value=0)),
    case("expr_shift", lambda t: t.a.select("id", p=c("id").shift(1), n=c("g").shift(-2))),
    case("expr_diff", lambda t: t.a.select("id", d=c("y").diff(), p=c("y").pct_change())),
    case("cum_sum", lambda t: t.a.select("id", s=c("x").cum_sum(), n=c("x").cum_count())),
    case("cum_all", lambda t: t.a.select(mn=c("x").cum_min(), mx=c("x").cum_max(), p=c("h").cum_prod())),
    case("cum_sum_reverse", lambda t: t.a.select("id", s=c("y").cum_sum(reverse=True))),
    case("cum_sum_int8", lambda t: t.a.select(c("i8").cum_sum(), b=c("b").cum_sum())),
    case("forward_fill", lambda t: t.a.select("id", "x", "g").fill_null(strategy="forward")),
    case("backward_fill_limit", lambda t: t.a.select("id", c("x").backward_fill(limit=1))),
    case("interpolate", lambda t: t.a.select("id", "x", "k").interpolate(), local=True),
    case(
        "rank",
        lambda t: t.a.select("id", r=c("y").rank(), d=c("g").rank("dense"), o=c("x").rank("ordinal")),
    ),
    case("rle_id", lambda t: t.a.select("id", r=c("b").rle_id())),
    case("ewm_mean", lambda t: t.a.select("id", e=c("y").ewm_mean(alpha=0.5)), local=True),
    case("rolling_sum", lambda t: t.a.select("id", r=c("y").rolling_sum(3), m=c("y").rolling_max(2))),
    case("peak_max", lambda t: t.a.select("id", p=c("y").peak_max())),
    case("search_sorted", lambda t: t.a.select(p=c("id").search_sorted(5)), local=True),
    case("qcut", lambda t: t.a.select("id", z=c("id").rank("ordinal").bin_intervals([3, 9], labels=False))),
    case("filter_by_shift", lambda t: t.a.filter(c("g") != c("g").shift(1)).select("id")),
    case(
        "cum_sum_then_filter",
        lambda t: t.a.with_columns(s=c("y").cum_sum()).filter(c("h") == 1).select("id", "s"),
    ),
    case("head_of_cum_sum", lambda t: t.a.select(c("y").cum_sum()).head(3)),
    case("sort_then_shift", lambda t: t.a.sort("y", "id").select("id", d=c("id").diff())),
    case("expr_reverse", lambda t: t.a.select("id", r=c("g").reverse()), local=True),
]

OVER = [
    over("sum", c("y").sum(), "g"),
    over("len", pl.len(), "g"),
    over("share", c("y") / c("y").sum(), "h"),
    over("two_keys", c("y").max(), "g", "h"),
    over("mean_nulls", c("x").mean(), "k"),
    over("first", c("id").first(), "cat"),
    over("rank", c("id").rank("ordinal"), "g"),
    over("cum_sum", c("y").cum_sum(), "g"),
    over("shift", c("id").shift(1), "g"),
    over("nan_key", pl.len(), "f64"),
    case(
        "over_order_by",
        lambda t: t.a.select("id", w=c("y").cum_sum().over("g", order_by="id", descending=True)),
    ),
    case(
        "over_explode", lambda t: t.a.sort("g", "id").select(c("id").over("g", mapping_strategy="explode")), local=True
    ),
    case("over_join", lambda t: t.a.select("id", w=c("h").over("g", mapping_strategy="join"))),
    case("over_expression_key", lambda t: t.a.select("id", w=c("y").sum().over(c("id") % 3))),
    case("over_filter", lambda t: t.a.filter(c("y") == c("y").max().over("g")).select("id", "g", "y")),
    case(
        "over_with_columns",
        lambda t: t.a.with_columns(n=pl.len().over("h"), s=c("y").sum().over("g")).select("id", "n", "s"),
    ),
    case("over_none", lambda t: t.a.select("id", w=c("y").cum_sum().over(order_by=["y", "id"]))),
]

WINDOWS = [
    case(
        "group_by_dynamic", lambda t: t.ts.group_by_dynamic("ts", every="1h").agg(c("v").sum(), n=pl.len()), local=True
    ),
    case(
        "group_by_dynamic_by",
        lambda t: t.ts.group_by_dynamic("ts", every="1h", group_by="sym").agg(c("n").sum()),
        "any",
        local=True,
    ),
    case(
        "group_by_dynamic_int",
        lambda t: t.ts.group_by_dynamic("n", every="50i", closed="right").agg(c("v").count()),
        local=True,
    ),
    case("rolling", lambda t: t.ts.rolling("ts", period="1h").agg(c("v").sum(), n=pl.len()), local=True),
    case(
        "rolling_by_group",
        lambda t: t.ts.rolling("n", period="30i", group_by="sym").agg(c("v").max()),
        "any",
        local=True,
    ),
    case("rolling_mean_by", lambda t: t.ts.select("n", m=c("v").rolling_mean_by("ts", "1h")), local=True),
]

REST = [
    case(
        "pivot", lambda t: t.a.pivot("h", [1, 2, 3], index="g", values="y", aggregate_function="sum"), "any", local=True
    ),
    case(
        "pivot_strings",
        lambda t: t.a.pivot("g", ["a", "b"], index="h", values="id", aggregate_function="max"),
        "any",
        local=True,
    ),
    case(
        "pivot_ordered",
        lambda t: t.a.pivot("h", [1, 2], index="g", values=["y", "id"], aggregate_function="min", maintain_order=True),
        local=True,
    ),
    case(
        "pivot_len",
        lambda t: t.a.pivot("b", [True, False], index="h", values="id", aggregate_function="len"),
        "any",
        local=True,
    ),
    case(
        "sql_filter",
        lambda t: t.a.select("id", "g", "y").sql("SELECT id, y * 2 AS z FROM self WHERE g = 'a'"),
        local=True,
    ),
    case(
        "sql_group",
        lambda t: t.a.select("g", "y").sql("SELECT g, SUM(y) AS s, COUNT(*) AS n FROM self GROUP BY g"),
        "any",
        local=True,
    ),
    case(
        "sql_order_limit",
        lambda t: t.a.select("id", "y").sql("SELECT id, y FROM self ORDER BY y DESC, id LIMIT 4"),
        local=True,
    ),
    case(
        "sql_having",
        lambda t: t.a.select("h", "y").sql("SELECT h, MAX(y) AS m FROM self GROUP BY h HAVING COUNT(*) > 1"),
        "any",
        local=True,
    ),
    case("sql_distinct", lambda t: t.a.select("h", "b").sql("SELECT DISTINCT h, b FROM self"), "any", local=True),
    case(
        "sql_window",
        lambda t: t.a.select("id", "h").sql("SELECT id, ROW_NUMBER() OVER (PARTITION BY h ORDER BY id) AS r FROM self"),
        local=True,
    ),
    case("inspect", lambda t: t.a.select("id").inspect("{}"), local=True),
    case("sample_like_hash", lambda t: t.a.filter(c("id").hash(3) % 2 == 0).select("id")),
    case("null_count_by_selector", lambda t: t.a.select(cs.string().null_count())),
]

CASES = [*ROW_INDEX, *CUMULATIVE, *OVER, *WINDOWS, *REST]
