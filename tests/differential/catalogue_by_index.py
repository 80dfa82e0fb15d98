"""Functions of rows in the order of another column, whatever order the rows are in: with ties, and nulls in both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from tests.differential.catalogue_base import Case, case
from tests.helpers import Tables

c = pl.col
INF = float("inf")


def mixed(t: Tables) -> Any:
    """The time series in another order: `n` with nulls as `m`, a number as `f` that is infinite once."""
    return t.ts.sort("v", "sym", "n", maintain_order=True).with_columns(
        m=pl.when(c("n") != 15).then("n"), f=pl.when(c("n") == 31).then(INF).otherwise(c("v")), w=c("v").cast(pl.Int32)
    )


def columns(*exprs: pl.Expr) -> Callable[[Tables], Any]:
    return lambda t: mixed(t).select("n", "ts", *(expr.alias(f"e{place}") for place, expr in enumerate(exprs)))


def windows(function: str) -> Case:
    each = [("n", "20i", "right"), ("m", "61i", "both"), ("ts", "45m", "left"), ("ts", "1d", "none")]
    found = [getattr(c("v"), function)(by, size, closed=closed) for by, size, closed in each]
    return case(function, columns(*found, getattr(c("w"), function)("n", "40i", min_samples=2)))


CASES = [
    *(windows(f"rolling_{name}_by") for name in ("sum", "mean", "min", "max", "std", "var", "median")),
    case(
        "rolling_quantile_by",
        columns(
            c("v").rolling_quantile_by("n", "40i", quantile=0.3),
            c("w").rolling_quantile_by("ts", "2h", quantile=0.7, interpolation="linear", min_samples=2, closed="both"),
        ),
    ),
    case(
        "rolling_rank_by",
        columns(
            c("v").rolling_rank_by("m", "40i"),
            c("n").rolling_rank_by("ts", "3h", method="min", closed="both").cast(pl.UInt32),
        ),
    ),
    case("rolling_by_month", columns(c("v").rolling_sum_by("ts", "1mo"), c("v").rolling_max_by(c("ts").dt.date(), "1d"))),
    case("rolling_by_infinite", columns(c("f").rolling_sum_by("n", "16i"), c("f").rolling_mean_by("n", "90i"))),
    case("rolling_by_over", columns(c("v").rolling_sum_by("n", "90i").over("sym"))),
    case("rolling_by_computed", columns((c("v") * 2).rolling_sum_by(-c("n"), "20i") + c("n"))),
    case("rolling_by_filter", lambda t: mixed(t).filter(c("v").rolling_sum_by("n", "60i") > 3).select("n", "sym")),
    case("rolling_by_aggregated", lambda t: mixed(t).select(c("v").rolling_sum_by("n", "60i").max())),
    case("rolling_by_sorted", lambda t: t.ts.with_columns(e=c("v").rolling_mean_by("ts", "1h"))),
    case("rolling_by_nothing", columns(pl.lit(None, dtype=pl.Float64).fill_null(c("f") * 0).rolling_sum_by("n", "5i"))),
    *(
        case(
            f"ewm_{name}_by",
            columns(
                *(getattr(c(value), f"ewm_{name}_by")(by, half_life=time)
                  for value, by, time in (("v", "n", "9i"), ("w", "m", "70i"), ("v", "ts", "31m"), ("f", "n", "9i"))),
                getattr(c("v"), f"ewm_{name}_by")("n", half_life="3i").over("sym"),
            ),
        )
        for name in ("mean", "sum")
    ),
    case(
        "interpolate_by",
        columns(
            c("v").interpolate_by("n"), c("w").interpolate_by("ts"), c("v").cast(pl.Float32).interpolate_by("n"),
            c("v").interpolate_by(c("n") / 7), c("n").interpolate_by("ts"), c("f").interpolate_by("n"),
        ),
    ),
    case("interpolate_by_blanks", columns(c("v").interpolate_by("m")), raises="small dup allnull none_right"),
    case("interpolate_by_blanks_unneeded", columns(c("n").interpolate_by("m"))),
    case("several_by", columns(
        c("v").rolling_sum_by("n", "30i"), c("v").ewm_sum_by("n", half_life="30i"), c("v").interpolate_by("ts"),
        c("v").rolling_sum_by("n", "60i"), c("v").cum_count(), c("n").rank(),
    )),
    case("by_literal", columns(pl.lit(1).rolling_sum_by("n", "30i")), local=True, raises="small empty dup allnull none_right"),
    case("rolling_by_no_window", columns(c("v").rolling_sum_by("n", "0i")), local=True, raises="small one dup allnull none_right"),
    case("rolling_by_wrong_unit", columns(c("v").rolling_sum_by("ts", "3i")), local=True, raises="small one dup allnull none_right"),
]  # fmt: skip
