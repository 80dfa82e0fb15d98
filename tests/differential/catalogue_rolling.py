"""Any expression in windows by the values of another column (`Expr.rolling`), over rows that are sorted by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl

from tests.differential.catalogue_base import case
from tests.helpers import Tables

c = pl.col
SOME = "small dup allnull none_right"


def columns(*exprs: pl.Expr) -> Callable[[Tables], Any]:
    return lambda t: t.ts.select("n", *(expr.alias(f"e{place}") for place, expr in enumerate(exprs)))


def by_time(t: Tables) -> Any:
    """Dates, local times on days when clocks change, and other units."""
    berlin = c("ts").dt.offset_by("3mo").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    rows = t.ts.with_columns(
        d=(c("ts") + c("n") * timedelta(hours=5)).dt.date(), z=berlin.cast(pl.Datetime("ms", "Europe/Berlin"))
    )
    return rows.select(
        a=c("n").rolling("d", period="1mo", closed="both"), b=c("n").sum().rolling("d", period="60h", offset="-1d"),
        e=c("n").max().rolling("z", period="1d"), f=c("sym").last().rolling("z", period="7h", offset="-2h"),
        g=c("v").mean().rolling(c("ts").cast(pl.Datetime("ns")), period="1h", closed="none"),
    )  # fmt: skip


def not_whole(t: Tables) -> Any:
    """Fails for a window of rows of one value that is not the first: only such that are cut off are."""
    rows = t.ts.select(i=c("n") // 80, n="n").filter(c("i") < 4)
    fits = (c("i").n_unique().cast(pl.Int64) * 100 + (c("i").min() == 0) * 200 - 200).cast(pl.UInt8)
    return rows.select("n", a=fits.rolling("i", period="2i"), b=c("n").sum().rolling("i", period="2i"))


def only_whole(t: Tables) -> Any:
    def spread(values: pl.Series) -> int:
        if values.n_unique() == 1 and values[0] != 0:
            raise ValueError("half a window")
        return int(values.sum())

    called = c("i").map_batches(spread, returns_scalar=True, return_dtype=pl.Int64)
    return t.ts.select(i=c("n") // 80).filter(c("i") < 4).select(a=called.rolling("i", period="2i"))


CASES = [
    case("rolling", columns(
        *(c("v").sum().rolling("n", period="16i", closed=closed) for closed in ("left", "right", "both", "none")),
        c("sym").rolling("ts", period="45m", offset="-15m", closed="both"), pl.len().rolling("ts", period="1m"),
        c("v").quantile(0.3).rolling("n", period="61i"), c("v").max().rolling("ts", period="2d"),
    )),
    case("rolling_elsewhere", columns(
        c("n").rolling("n", period="10i", offset="-180i"), c("n").rolling("ts", period="1h", offset="5m"),
        c("v").first().rolling("n", period="400i", offset="0i", closed="both"), c("n").rolling("n", period="1i", offset="500i"),
    )),
    case("rolling_expressions", columns(
        c("n").filter(c("v") > 1).rolling("ts", period="1h"), (c("v") - c("v").mean()).abs().sum().rolling("n", period="60i"),
        pl.struct(a=c("n").min(), b=c("sym").unique().len()).rolling("n", period="60i"), pl.lit(1).rolling("n", period="5i"),
        c("v").cum_sum().rolling("n", period="60i"), c("n").sum().over("sym").rolling("n", period="60i"),
        c("n").sort_by("v").last().rolling("n", period="90i"), c("v").top_k(2).implode().rolling("ts", period="2h"),
    )),
    case("rolling_inside", columns(
        (c("v").sum().rolling("n", period="60i") / c("v").sum()).cum_sum(), c("v").sum().rolling(c("n") * 2 + c("v").count(), period="60i"),
        c("n").sum().rolling(c("n").cum_sum(), period="99i"),
        c("v").fill_null(0).cum_sum().sum().rolling("n", period="31i"), c("v").max().rolling("n", period="60i").sum().over("sym"),
        c("v").sum().rolling("n", period="60i").over("sym"), c("v").shift(1).rolling("n", period="20i"),
    )),
    case("rolling_selected", lambda t: t.ts.select(c("n", "v").max().rolling("ts", period="1h"), pl.all().len().rolling("n", period="9i").name.suffix("_n"))),
    case("rolling_with_columns", lambda t: t.ts.with_columns(v=c("v").sum().rolling("ts", period="1h"), s=c("sym").cum_count()).filter(c("n") > 7)),
    case("rolling_filter", lambda t: t.ts.filter(c("v").sum().rolling("ts", period="1h") > 3, c("n") > 0).select("n", "sym")),
    case("rolling_aggregated", lambda t: t.ts.select(c("v").sum().rolling("n", period="60i").max(), n=pl.len())),
    case("rolling_in_groups", lambda t: t.ts.group_by("sym", maintain_order=True).agg(c("v").sum().rolling("n", period="60i"))),
    case("rolling_beside_others", lambda t: t.ts.select(c("v").sort(), r=c("n").sum().rolling("ts", period="1h"))),
    case("rolling_after_sort", lambda t: t.ts.sort("v", "n").sort("n", "sym").with_columns(e=c("v").last().rolling("ts", period="1h"))),
    case("rolling_by_time", by_time),
    case("rolling_types", lambda t: t.ts.select(*(c("v").sum().rolling(c("n").cast(t), period="20i").alias(str(t)) for t in (pl.Int32, pl.UInt32, pl.UInt64)))),
    case("rolling_not_whole", not_whole),
    case("rolling_only_whole", only_whole),
    case("rolling_fails", columns(c("n").item().rolling("n", period="2i")), raises=SOME, messages=False),
    case("rolling_unsorted", lambda t: t.ts.sort("n", descending=True).select(c("v").sum().rolling("ts", period="1h")), raises=SOME),
    case("rolling_nulls", lambda t: t.ts.select(c("v").sum().rolling(pl.when(c("n") != 15).then("n"), period="9i")), raises=f"{SOME} one"),
    case("rolling_no_window", columns(c("v").sum().rolling("n", period="0i")), local=True, raises="small empty one dup allnull none_right"),
    case("rolling_wrong_unit", columns(c("v").sum().rolling("ts", period="3i")), local=True, raises="small empty one dup allnull none_right"),
    case("rolling_by_literal", columns(c("v").sum().rolling(pl.lit(1), period="3i")), local=True),
]  # fmt: skip
