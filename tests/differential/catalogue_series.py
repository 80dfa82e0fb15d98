"""Time series: windows, as-of joins and merges, where what a row needs may be in another partition."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
CLOSED = ("left", "right", "both", "none")
LISTS = (c("n").alias("ns"), c("v").sum(), pl.len().alias("rows"))


def rolling(index: Any = "ts", *, aggs: Any = LISTS, **options: Any) -> Callable[[Tables], Any]:
    return lambda t: t.ts.rolling(index, **options).agg(aggs)


def dynamic(index: Any = "ts", *, aggs: Any = LISTS, **options: Any) -> Callable[[Tables], Any]:
    return lambda t: t.ts.group_by_dynamic(index, **options).agg(aggs)


def dated(t: Tables) -> Any:
    """The days of half a year, with ties."""
    return t.ts.with_columns(d=pl.date(2024, 1, 1) + pl.duration(days=c("n") // 2))


def zoned(t: Tables, unit: Any = "us") -> Any:
    """Hours around the days when clocks are changed."""
    local = pl.datetime(2024, 3, 30, 20, time_unit=unit, time_zone="UTC") + pl.duration(hours=c("n") // 8)
    return t.ts.with_columns(z=local.dt.convert_time_zone("Europe/Berlin"))


ROLLING = [
    *(case(f"rolling_{closed}", rolling(period="30m", closed=closed)) for closed in CLOSED),
    *(case(f"rolling_{closed}_ahead", rolling(period="45m", offset="-15m", closed=closed)) for closed in CLOSED),
    *(case(f"rolling_{closed}_integers", rolling("n", period="16i", closed=closed, aggs=[c("v").max(), c("sym")])) for closed in CLOSED),
    case("rolling_short", rolling(period="1m")),
    case("rolling_longer_than_all", rolling(period="2d")),
    case("rolling_future", rolling(period="1h", offset="5m")),
    case("rolling_future_all", rolling(period="1d", offset="0m", closed="both")),
    case("rolling_far_past", rolling(period="10m", offset="-3h")),
    case("rolling_timedelta", rolling(period=timedelta(minutes=61), offset=timedelta(minutes=-31))),
    case("rolling_int32", lambda t: t.ts.with_columns(c("n").cast(pl.Int32)).rolling("n", period="20i").agg(c("v").sum())),
    case("rolling_uint64", lambda t: t.ts.with_columns(c("n").cast(pl.UInt64)).rolling("n", period="20i").agg(c("v").sum())),
    case("rolling_milliseconds", lambda t: t.ts.with_columns(c("ts").cast(pl.Datetime("ms"))).rolling("ts", period="20m").agg(c("n"))),
    case("rolling_nanoseconds", lambda t: t.ts.with_columns(c("ts").cast(pl.Datetime("ns"))).rolling("ts", period="20m").agg(c("n"))),
    case("rolling_date", lambda t: dated(t).rolling("d", period="8d").agg(c("n"))),
    case("rolling_date_month", lambda t: dated(t).rolling("d", period="1mo", closed="both").agg(c("n"))),
    case("rolling_date_hours", lambda t: dated(t).rolling("d", period="60h").agg(c("n"))),
    case("rolling_zone_days", lambda t: zoned(t).rolling("z", period="1d").agg(c("n"))),
    case("rolling_zone_hours", lambda t: zoned(t, "ms").rolling("z", period="7h", offset="-2h").agg(c("n"))),
    case("rolling_expression_index", lambda t: t.ts.rolling(c("n") * 2, period="40i").agg(c("v").max(), c("ts").last())),
    case("rolling_all_columns", lambda t: t.ts.rolling("ts", period="30m").agg(pl.all())),
    case("rolling_median", rolling(period="90m", aggs=[c("v").median(), c("sym").n_unique().alias("u")])),
    case("rolling_then_filter", lambda t: rolling(period="30m")(t).filter(c("rows") > 1).select("ts", "v")),
    case("rolling_then_group_by", lambda t: rolling(period="30m")(t).group_by("rows").agg(c("v").sum()), "any"),
    case("rolling_after_filter", lambda t: t.ts.filter(c("v") > 1).rolling("ts", period="1h").agg(c("n"))),
    case("rolling_after_sort", lambda t: t.ts.sort("sym").sort("ts", "sym", "v").rolling("ts", period="1h").agg(c("n").sum())),
    case("rolling_ordered_aggregation", rolling(period="1h", aggs=[c("v").first(), c("n").last(), c("n").sort_by("v").alias("s")])),
    *(case(f"rolling_by_{closed}", rolling(period="1h", closed=closed, group_by="sym")) for closed in CLOSED),
    case("rolling_by_two", lambda t: t.ts.rolling("ts", period="2h", group_by=["sym", c("n") % 2]).agg(c("v").sum())),
    case("rolling_by_nulls", lambda t: t.ts.with_columns(k=pl.when(c("sym") != "q").then("sym")).rolling("ts", period="2h", group_by="k").agg(c("n").alias("ns"))),
    case("rolling_by_floats", lambda t: t.ts.rolling("ts", period="2h", group_by="v").agg(c("n"))),
    case("rolling_by_sorted_in_groups", lambda t: t.ts.sort("sym", "ts", "v").rolling("ts", period="2h", group_by="sym").agg(c("n").sum())),
    case("rolling_by_one_group", lambda t: t.ts.with_columns(k=pl.lit("x")).rolling("ts", period="1h", group_by="k").agg(c("n"))),
    case("rolling_having_number", lambda t: t.ts.rolling("ts", period="1h").having(pl.len() - 1).agg(c("n"))),
    case("rolling_having", lambda t: t.ts.rolling("ts", period="1h").having(pl.len() > 2).agg(c("n"))),
    case("rolling_map_groups", lambda t: t.ts.rolling("ts", period="1h").map_groups(lambda df: df.head(1), schema=dict(t.ts.collect_schema())), local=True),
]  # fmt: skip

DYNAMIC = [
    *(case(f"dynamic_{closed}", dynamic(every="30m", closed=closed)) for closed in CLOSED),
    *(case(f"dynamic_{closed}_overlap", dynamic(every="30m", period="50m", closed=closed)) for closed in CLOSED),
    *(case(f"dynamic_{closed}_gaps", dynamic(every="30m", period="10m", closed=closed)) for closed in CLOSED),
    *(case(f"dynamic_label_{label}", dynamic(every="1h", label=label, include_boundaries=boundaries))
      for label in ("left", "right", "datapoint") for boundaries in (True,)),
    *(case(f"dynamic_label_{label}_overlap", dynamic(every="1h", period="100m", label=label, include_boundaries=True)) for label in ("left", "right", "datapoint")),
    *(case(f"dynamic_start_{start}", dynamic(every="1w" if start.endswith("day") else "50m", start_by=start, include_boundaries=True))
      for start in ("window", "datapoint", "monday", "thursday", "sunday")),
    *(case(f"dynamic_start_{start}_overlap", dynamic(every="1w" if start.endswith("day") else "50m", period="2w" if start.endswith("day") else "2h", start_by=start, include_boundaries=True))
      for start in ("window", "datapoint", "wednesday")),
    case("dynamic_short", dynamic(every="1m")),
    case("dynamic_longer_than_all", dynamic(every="1y", include_boundaries=True)),
    case("dynamic_offset", dynamic(every="1h", offset="17m", include_boundaries=True)),
    case("dynamic_offset_back", dynamic(every="1h", offset="-17m", label="right")),
    case("dynamic_offset_overlap", dynamic(every="1h", period="3h", offset="-2h", include_boundaries=True)),
    case("dynamic_offset_far", dynamic(every="1h", period="3h", offset="-7h", include_boundaries=True)),
    case("dynamic_in_parts", dynamic(every="1h", aggs=[c("v").mean(), c("n").std().alias("s"), c("n").first().alias("f"), c("n").last().alias("l"), c("v").count().alias("k")])),
    case("dynamic_whole", dynamic(every="1h", aggs=[c("v").median(), c("sym").unique().sort().alias("u"), c("n").implode().alias("i")])),
    case("dynamic_whole_overlap", dynamic(every="20m", period="1h", aggs=[c("v").median(), c("sym").unique().sort().alias("u")])),
    case("dynamic_all_columns", lambda t: t.ts.group_by_dynamic("ts", every="1h").agg(pl.all())),
    case("dynamic_all_columns_overlap", lambda t: t.ts.group_by_dynamic("ts", every="1h", period="2h").agg(pl.all())),
    case("dynamic_index_aggregated", dynamic(every="1h", aggs=[c("ts").min().alias("a"), c("ts").max().alias("b")])),
    case("dynamic_integers", dynamic("n", every="50i", aggs=c("v").sum(), include_boundaries=True)),
    case("dynamic_integers_overlap", dynamic("n", every="50i", period="75i", offset="-25i", aggs=c("v").sum(), include_boundaries=True)),
    case("dynamic_int32", lambda t: t.ts.with_columns(c("n").cast(pl.Int32)).group_by_dynamic("n", every="20i", include_boundaries=True).agg(c("v").sum())),
    case("dynamic_date", lambda t: dated(t).group_by_dynamic("d", every="1mo", include_boundaries=True).agg(c("n"))),
    case("dynamic_date_label", lambda t: dated(t).group_by_dynamic("d", every="1mo", label="datapoint").agg(c("n"))),
    case("dynamic_date_overlap", lambda t: dated(t).group_by_dynamic("d", every="2w", period="1mo", include_boundaries=True).agg(c("n"))),
    case("dynamic_date_offset", lambda t: dated(t).group_by_dynamic("d", every="1mo", offset="30d", include_boundaries=True).agg(c("n"))),
    case("dynamic_date_hours", lambda t: dated(t).group_by_dynamic("d", every="60h").agg(c("n"))),
    case("dynamic_quarter", lambda t: dated(t).group_by_dynamic("d", every="1q", closed="right", label="right").agg(c("v").sum())),
    case("dynamic_zone_days", lambda t: zoned(t).group_by_dynamic("z", every="1d", include_boundaries=True).agg(c("n"))),
    case("dynamic_zone_half_days", lambda t: zoned(t).group_by_dynamic("z", every="12h", include_boundaries=True).agg(c("n"))),
    case("dynamic_zone_month", lambda t: zoned(t, "ms").group_by_dynamic("z", every="1mo", period="45d", include_boundaries=True).agg(c("n").sum())),
    case("dynamic_nanoseconds", lambda t: t.ts.with_columns(c("ts").cast(pl.Datetime("ns"))).group_by_dynamic("ts", every="25m").agg(c("n"))),
    case("dynamic_timedelta", dynamic(every=timedelta(minutes=40), period=timedelta(hours=2))),
    case("dynamic_expression_index", lambda t: t.ts.group_by_dynamic(c("n") + 1, every="40i").agg(c("v").max())),
    case("dynamic_then_filter", lambda t: dynamic(every="30m")(t).filter(c("rows") > 1).select("ts", "v")),
    case("dynamic_then_join", lambda t: (h := dynamic(every="1h", aggs=c("n").sum())(t)).join(h, on="ts").sort("ts")),
    case("dynamic_having", lambda t: t.ts.group_by_dynamic("ts", every="1h").having(pl.len() > 2).agg(c("n"))),
    case("dynamic_having_number", lambda t: t.ts.group_by_dynamic("ts", every="1h", period="2h").having(pl.len() - 1).agg(c("n"))),
    case("dynamic_having_overlap", lambda t: t.ts.group_by_dynamic("ts", every="1h", period="2h").having(pl.len() > 3).agg(c("n"))),
    *(case(f"dynamic_by_{closed}", dynamic(every="1h", period="90m", closed=closed, group_by="sym")) for closed in CLOSED),
    *(case(f"dynamic_by_{start}", dynamic(every="1h", start_by=start, group_by="sym", include_boundaries=True)) for start in ("window", "datapoint")),
    case("dynamic_by_two", lambda t: t.ts.group_by_dynamic("ts", every="1h", group_by=["v", "sym"]).agg(pl.len())),
    case("dynamic_by_nulls", lambda t: t.ts.group_by_dynamic("ts", every="2h", group_by="v").agg(c("n"))),
    case("dynamic_twice", lambda t: dynamic(every="30m")(t).group_by_dynamic("ts", every="2h").agg(c("rows").sum())),
]  # fmt: skip


def quotes(t: Tables, every: int = 3, *keep: str) -> Any:
    """The right side of an as-of join, with ties."""
    right = t.ts.select("ts", "n", "sym", q=c("v") * 2, i=c("n") // 7)
    rows = right.with_row_index("r").filter(c("r") % every > 0)
    return rows.select(*keep, "q", "r") if keep else rows.drop("q")


def trades(t: Tables) -> Any:
    """The left side: some keys are those of the right one, and some lie between them."""
    return t.ts.with_columns(n=c("n") + c("n") % 3 // 2, ts=c("ts") + pl.duration(minutes=c("n") % 3 // 2))


def asof(every: int = 3, keep: tuple[str, ...] = ("n",), on: str = "n", **options: Any) -> Callable[[Tables], Any]:
    return lambda t: trades(t).sort(on, maintain_order=True).join_asof(quotes(t, every, *keep), on=on, **options)


def asof_nulls(last: bool, strategy: Any) -> Callable[[Tables], Any]:
    """Null keys on both sides."""
    return lambda t: with_nulls(t, nulls_last=last).join_asof(
        with_nulls(t).select("n", w="v"), on="n", strategy=strategy
    )


STRATEGIES = ("backward", "forward", "nearest")
ASOF = [
    *(case(f"asof_{strategy}_{exact}", asof(strategy=strategy, allow_exact_matches=exact)) for strategy in STRATEGIES for exact in (True, False)),
    *(case(f"asof_{strategy}_sparse", asof(9, strategy=strategy)) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_few", lambda t, s=strategy: t.ts.join_asof(quotes(t, 3, "n").filter(c("n") == 90), on="n", strategy=s)) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_tolerance", asof(5, strategy=strategy, tolerance=9)) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_time", asof(5, ("ts",), "ts", strategy=strategy, tolerance="20m")) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_ties", lambda t, s=strategy: trades(t).sort("n", maintain_order=True).with_columns(i=c("n") // 7).join_asof(quotes(t), on="i", strategy=s)) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_by", asof(5, ("n", "sym"), by="sym", strategy=strategy)) for strategy in STRATEGIES),
    *(case(f"asof_{strategy}_by_tolerance", asof(2, ("ts", "sym"), "ts", by="sym", strategy=strategy, tolerance=timedelta(hours=1), coalesce=False)) for strategy in STRATEGIES),
    case("asof_by_two", lambda t: t.ts.with_columns(p=c("n") % 2).join_asof(quotes(t).with_columns(p=c("n") % 2), on="n", by=["sym", "p"])),
    case("asof_by_names", lambda t: t.ts.join_asof(quotes(t).rename({"sym": "s"}), on="n", by_left="sym", by_right="s", strategy="forward", allow_exact_matches=False)),
    case("asof_by_nulls", lambda t: t.ts.join_asof(t.ts.select("n", "v", m=c("n") + 1), on="n", by="v")),
    case("asof_no_coalesce", asof(coalesce=False)),
    case("asof_suffix", lambda t: t.ts.join_asof(quotes(t), on="n", suffix="_q")),
    case("asof_names", lambda t: t.ts.join_asof(quotes(t), left_on="n", right_on="i")),
    case("asof_expressions", lambda t: t.ts.join_asof(quotes(t), left_on=c("n") + 5, right_on=c("i") * 7, strategy="nearest")),
    case("asof_integer_types", lambda t: t.ts.with_columns(c("n").cast(pl.Int32)).join_asof(quotes(t), on="n")),
    case("asof_floats", lambda t: t.ts.with_columns(n=c("n") / 2).join_asof(quotes(t).with_columns(n=c("n") / 3), on="n", strategy="nearest")),
    case("asof_strings", lambda t: t.c.sort("g").join_asof(t.c.filter(c("code") > 12).sort("g").select("g", o="label"), on="g")),
    case("asof_zone", lambda t: zoned(t).join_asof(zoned(t).filter(c("n") % 2 == 0).select("z", w="n"), on="z", tolerance="1d", allow_exact_matches=False)),
    case("asof_date_weeks", lambda t: dated(t).join_asof(dated(t).filter(c("n") % 2 == 0).select("d", w="n"), on="d", tolerance="3w", strategy="forward", allow_exact_matches=False)),
    *(case(f"asof_{strategy}_nulls_{'last' if last else 'first'}", asof_nulls(last, strategy)) for strategy in STRATEGIES for last in (True, False)),
    case("asof_no_right", lambda t: t.ts.join_asof(quotes(t).filter(c("n") < 0), on="n")),
    case("asof_no_left", lambda t: t.ts.filter(c("n") < 0).join_asof(quotes(t), on="n")),
    case("asof_right_outside", lambda t: t.ts.filter(c("n") > 100).join_asof(quotes(t).filter(c("n") < 50), on="n", strategy="nearest")),
    case("asof_unchecked", asof(check_sortedness=False)),
    case("asof_then_filter", lambda t: asof()(t).filter(c("q") > 2).select("n", "r")),
    case("asof_then_window", lambda t: asof()(t).rolling("n", period="60i").agg(c("q").sum())),
    case("asof_after_sort", lambda t: t.ts.sort("sym").sort("ts", "sym").join_asof(t.ts.sort("n", "v").gather_every(2).select("ts", "n"), on="ts"), local=True),
    case("asof_key_types", lambda t: t.ts.join_asof(quotes(t), left_on="n", right_on=c("n").cast(pl.Float64)), raises="small empty one allnull dup none_right", local=True),
    case("asof_by_types", lambda t: t.ts.join_asof(quotes(t).with_columns(sym=c("n")), on="n", by="sym"), raises="small empty one allnull dup none_right", messages=False),
    case("asof_unsorted", lambda t: t.ts.sort("n", descending=True).join_asof(quotes(t), on="n"), raises="small allnull dup none_right"),
]  # fmt: skip


def merged(*keys: str, **options: Any) -> Callable[[Tables], Any]:
    """Both sides have ties, within and between them."""

    def query(t: Tables) -> Any:
        left, right = (t.ts.filter(c("n") % 3 != r).select("n", "sym", "ts", s=pl.lit(r)) for r in (0, 1))
        return left.sort(keys, maintain_order=True).merge_sorted(
            right.sort(keys, maintain_order=True), list(keys), **options
        )

    return query


MERGE = [
    case("merge", merged("n", maintain_order=True)),
    case("merge_any_order", merged("n"), "any"),
    case("merge_key", lambda t: merged("n")(t).select("n")),
    case("merge_times", merged("ts", maintain_order=True)),
    case("merge_strings", merged("sym", maintain_order=True)),
    case("merge_two_keys", lambda t: merged("sym", "n")(t).select("sym", "n"), "any"),
    case("merge_nulls_last", lambda t: with_nulls(t, nulls_last=True).select("n").merge_sorted(with_nulls(t, nulls_last=True).select("n"), "n")),
    case("merge_empty_left", lambda t: t.ts.filter(c("n") < 0).merge_sorted(t.ts, "n", maintain_order=True)),
    case("merge_empty_right", lambda t: t.ts.merge_sorted(t.ts.filter(c("n") < 0), "n", maintain_order=True)),
    case("merge_itself", lambda t: t.ts.merge_sorted(t.ts, "ts", maintain_order=True)),
    case("merge_apart", lambda t: t.ts.filter(c("n") > 60).merge_sorted(t.ts.filter(c("n") <= 60), "n", maintain_order=True)),
    case("merge_then_filter", lambda t: merged("n", maintain_order=True)(t).filter(c("sym") != "p").select("n", "s")),
    case("merge_then_rolling", lambda t: merged("n", maintain_order=True)(t).rolling("n", period="60i").agg(pl.len())),
    case("merge_schemas", lambda t: t.ts.merge_sorted(t.ts.select(pl.all().exclude("v")), "n"), raises="small empty one allnull dup none_right", local=True),
]  # fmt: skip

ALL = "small empty one allnull dup none_right"
SOME = "small allnull dup none_right"  # where there are several rows


def not_sorted(t: Tables) -> Any:
    """Each partition is sorted, and the whole is not."""
    return t.concat([t.ts.tail(5), t.ts.head(5)])


def with_nulls(t: Tables, **options: Any) -> Any:
    return t.ts.with_columns(pl.when(c("n") != 60).then("n")).sort("n", maintain_order=True, **options)


ERRORS = [
    case("rolling_no_period", rolling(period="0m"), raises=ALL, local=True),
    case("rolling_unsorted", lambda t: t.ts.sort("n", descending=True).rolling("ts", period="1h").agg(c("n")), raises=SOME),
    case("rolling_unsorted_groups", lambda t: not_sorted(t).rolling("ts", period="1h", group_by="sym").agg(c("n")), raises=SOME),
    case("rolling_nulls", lambda t: with_nulls(t).rolling("n", period="9i").agg(c("v")), raises=SOME),
    case("rolling_nulls_last", lambda t: with_nulls(t, nulls_last=True).rolling("n", period="9i").agg(c("v")), raises=SOME),
    case("rolling_unit_of_integers", lambda t: t.ts.rolling("n", period="1h").agg(c("v")), raises=ALL, local=True),
    case("rolling_unit_of_times", lambda t: t.ts.rolling("ts", period="3i").agg(c("v")), raises=ALL, local=True),
    case("rolling_floats", lambda t: t.ts.rolling(c("n").cast(pl.Float64), period="3i").agg(c("v")), raises=ALL, local=True),
    case("dynamic_unsorted_groups", lambda t: not_sorted(t).group_by_dynamic("ts", every="1h", group_by="sym").agg(c("n")), raises=SOME),
    case("dynamic_nulls", lambda t: with_nulls(t).group_by_dynamic("n", every="9i").agg(c("v")), raises=SOME),
    case("dynamic_nulls_last", lambda t: with_nulls(t, nulls_last=True).group_by_dynamic("n", every="9i").agg(c("v")), raises=SOME),
    case("dynamic_uint64", lambda t: t.ts.group_by_dynamic(c("n").cast(pl.UInt64), every="3i").agg(c("v")), raises=ALL, local=True),
]  # fmt: skip

CASES = [*ROLLING, *DYNAMIC, *ASOF, *MERGE, *ERRORS]
