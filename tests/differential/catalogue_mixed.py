"""Pipelines of four to eight operations, as programs have them."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import polars.selectors as cs

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col


def etl_clean_join_report(t: Tables) -> Any:
    clean = t.a.filter(c("y") > 0).with_columns(c("g").fill_null("?"), amount=c("x").fill_null(0) * c("y"))
    joined = clean.join(t.c, on="g", how="left").with_columns(weighted=c("amount") * c("weight").fill_null(1))
    return joined.group_by("g", "h").agg(c("weighted").sum(), n=pl.len()).sort("g", "h").head(10)


def etl_pricing_summary(t: Tables) -> Any:
    net = c("x") * (1 - c("y") / 10)
    kept = t.a.filter(c("d") <= date(2024, 2, 29))
    grouped = kept.group_by("b", "enum").agg(
        c("x").sum().alias("gross"), net.sum().alias("net"), c("y").mean().alias("avg"), pl.len().alias("n")
    )
    return grouped.sort("b", "enum")


def etl_top_customers(t: Tables) -> Any:
    spent = t.a.join(t.b, on="g", how="inner").group_by("g").agg(total=(c("y") * c("w")).sum())
    return spent.join(t.c, on="g", how="left").sort("total", "g", descending=[True, False]).head(3).select("g", "label")


def etl_anti_then_count(t: Tables) -> Any:
    missing = t.a.join(t.c, on="g", how="anti").with_columns(c("g").fill_null("none"))
    return missing.group_by("g").len().sort("g")


def etl_dedupe_latest(t: Tables) -> Any:
    latest = t.a.sort("dt", "id", nulls_last=True).unique("k", keep="last", maintain_order=True)
    return latest.select("id", "k", "dt").filter(c("k").is_not_null())


def etl_long_format(t: Tables) -> Any:
    long = t.a.select("id", "g", "x", "y").unpivot(["x", "y"], index=["id", "g"]).drop_nulls("value")
    stats = long.group_by("g", "variable").agg(c("value").mean(), n=pl.len())
    return stats.filter(c("n") > 1).sort("g", "variable")


def etl_nested(t: Tables) -> Any:
    rows = t.a.select("id", "h", "lst_st").explode("lst_st").unnest("lst_st").filter(c("p").is_not_null())
    return rows.group_by("h").agg(c("p").sum(), c("q").first(), ids=c("id")).sort("h")


def etl_union_sources(t: Tables) -> Any:
    one = t.a.select("g", v=c("y"), src=pl.lit("a"))
    other = t.b.select("g", v=c("x"), src=pl.lit("b"))
    both = t.concat([one, other]).drop_nulls()
    return both.group_by("g", "src").agg(c("v").sum(), c("v").max().alias("top")).sort("g", "src")


def etl_above_average_groups(t: Tables) -> Any:
    totals = t.a.group_by("g").agg(c("y").sum(), n=pl.len())
    good = totals.filter(c("y") > c("y").mean()).select("g")
    return t.a.join(good, on="g", how="semi", nulls_equal=True).select("id", "g").sort("id")


def etl_share_of_group(t: Tables) -> Any:
    totals = t.a.group_by("h").agg(total=c("y").sum())
    return t.a.join(totals, on="h").select("id", share=(c("y") / c("total")).round(6)).sort("id")


def etl_normalise_then_bucket(t: Tables) -> Any:
    scaled = t.a.with_columns(z=(c("y") - c("y").min()) / (c("y").max() - c("y").min()))
    return (
        scaled.group_by(bucket=(c("z") * 4).round(6).floor().cast(pl.Int32)).agg(pl.len(), c("id").min()).sort("bucket")
    )


def etl_self_join_pairs(t: Tables) -> Any:
    pairs = t.a.select("id", "h").join(t.a.select("id", "h"), on="h").filter(c("id") < c("id_right"))
    return pairs.group_by("h").agg(pl.len()).sort("h")


def etl_date_report(t: Tables) -> Any:
    dated = t.a.drop_nulls("d").with_columns(month=c("d").dt.truncate("1mo"), leap=c("d").dt.is_leap_year())
    return dated.group_by("month", "leap").agg(c("x").sum(), c("s").n_unique()).sort("month")


def etl_string_keys(t: Tables) -> Any:
    words = t.a.select("id", w=c("s").str.to_lowercase().str.extract_all(r"\w")).explode("w").drop_nulls()
    return words.group_by("w").agg(pl.len(), c("id").n_unique()).sort("len", "w", descending=[True, False]).head(5)


def etl_shared_subplan(t: Tables) -> Any:
    base = t.a.filter(c("y") > 0).group_by("g").agg(c("y").sum())
    top = base.sort("y", "g", descending=[True, False]).head(2)
    return t.concat([top, base.select(pl.lit("all").alias("g"), c("y").sum())])


def etl_head_then_join(t: Tables) -> Any:
    return t.a.sort("id", descending=True).head(9).join(t.b, on="k", how="left").select("id", "bid").sort("id", "bid")


def etl_full_reconciliation(t: Tables) -> Any:
    ours = t.a.group_by("g").agg(a=c("y").sum())
    theirs = t.b.group_by("g").agg(b=c("w").sum())
    both = ours.join(theirs, on="g", how="full", coalesce=True, nulls_equal=True)
    return both.with_columns(diff=c("a").fill_null(0) - c("b").fill_null(0)).sort("g")


def etl_casts_and_selectors(t: Tables) -> Any:
    wide = t.a.with_columns(cs.integer().cast(pl.Float64), cs.categorical().cast(pl.String)).drop(cs.nested())
    return wide.group_by("h").agg(cs.float().exclude("h", "f64", "f32").mean().round(6)).sort("h")


def etl_count_distinct_pairs(t: Tables) -> Any:
    return t.a.select("g", "k").drop_nulls().unique().group_by("g").len().join(t.c, on="g").sort("g").select("g", "len")


def etl_filter_on_aggregated_join(t: Tables) -> Any:
    stats = t.b.group_by("h").agg(limit=c("w").mean())
    return t.a.join(stats, on="h", how="left").filter(c("y") < c("limit")).select("id", "y", "limit").sort("id")


def etl_categoricals(t: Tables) -> Any:
    joined = t.a.select("cat", "y").join(t.b.select("cat", "w"), on="cat", how="full", coalesce=True)
    return joined.group_by("cat").agg(c("y").sum(), c("w").max()).sort("cat")


def etl_pagination(t: Tables) -> Any:
    return t.a.filter(c("h") != 2).sort("y", "id", descending=[True, False]).slice(4, 4).select("id", "y", "g")


def etl_running_total(t: Tables) -> Any:
    daily = t.a.group_by("h").agg(c("y").sum()).sort("h")
    return daily.with_columns(total=c("y").cum_sum(), rank=c("y").rank("dense"))


def etl_window_then_group(t: Tables) -> Any:
    ranked = t.a.with_columns(r=c("id").rank("ordinal").over("g")).filter(c("r") <= 2)
    return ranked.group_by("g").agg(c("y").sum(), c("id").max()).sort("g")


def etl_ordered_join_then_first(t: Tables) -> Any:
    joined = t.a.select("id", "h").join(t.b.select("h", "bid"), on="h", how="left", maintain_order="left_right")
    return joined.group_by("id", maintain_order=True).agg(c("bid").first(), n=pl.len()).head(6)


def etl_concat_of_joins(t: Tables) -> Any:
    left = t.a.join(t.c, on="g").select("id", v="code")
    right = t.a.join(t.b.select(k=c("kk"), v=c("h").cast(pl.Int16)), on="k").select("id", "v")
    return t.concat([left, right]).group_by("id").agg(c("v").sum()).sort("id").tail(8)


def etl_conditional_counts(t: Tables) -> Any:
    return t.a.group_by("g").agg(
        high=(c("y") > 2).sum(),
        low=pl.when(c("y") < 1).then(1).otherwise(0).sum(),
        share=(c("b").sum() / pl.len()).round(4),
    ).sort("g")  # fmt: skip


DISTRIBUTED = [
    etl_clean_join_report, etl_pricing_summary, etl_top_customers, etl_anti_then_count, etl_dedupe_latest,
    etl_long_format, etl_nested, etl_union_sources, etl_above_average_groups, etl_share_of_group,
    etl_normalise_then_bucket, etl_self_join_pairs, etl_date_report, etl_string_keys, etl_shared_subplan,
    etl_head_then_join, etl_full_reconciliation, etl_casts_and_selectors, etl_count_distinct_pairs,
    etl_filter_on_aggregated_join, etl_categoricals, etl_pagination, etl_ordered_join_then_first,
    etl_concat_of_joins, etl_conditional_counts, etl_running_total, etl_window_then_group,
]  # fmt: skip

# The share of one value is 0 / 0: a strict cast of NaN.
RAISES = {"etl_normalise_then_bucket": "one"}

CASES = [
    *(case(query.__name__, query, raises=RAISES.get(query.__name__, ""), messages=False) for query in DISTRIBUTED),
]
