"""Bins that begin and end where the values of all rows say."""

from __future__ import annotations

import warnings
from typing import Any

import polars as pl

from tests.differential.catalogue_base import Case, case

c = pl.col


def binned(name: str, *columns: pl.Expr, **options: Any) -> Case:
    named = [column.alias(f"z{index}") for index, column in enumerate(columns)]
    return case(name, lambda t: t.a.select("id", *named), **options)


def bins(kind: str, column: str, wanted: Any, labels: Any = False, **options: Any) -> pl.Expr:
    return getattr(c(column), f"bin_{kind}")(wanted, labels=labels, **options)


def quantile_cut(column: str, wanted: Any, **options: Any) -> pl.Expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return c(column).qcut(wanted, **options)


EDGES: dict[str, Any] = {"include_intervals": True}
LETTERS = list("abcd")

CASES = [
    binned("intervals", bins("intervals", "x", 3), bins("intervals", "i64", 4, right_closed=True, **EDGES)),
    binned("intervals_of_types", *(bins("intervals", name, 3, **EDGES) for name in ("dec", "i128", "f32", "u8"))),
    binned("intervals_named", bins("intervals", "f64", 4, LETTERS, **EDGES), bins("intervals", "x", 1, ["all"])),
    binned("quantiles", bins("quantiles", "x", 3), bins("quantiles", "u64", [0.1, 0.1, 0.9], right_closed=True, **EDGES)),
    binned("quantiles_of_types", *(bins("quantiles", name, 3, **EDGES) for name in ("dec", "i128", "f32", "f64"))),
    binned("quantiles_named", bins("quantiles", "x", 4, LETTERS, **EDGES), bins("quantiles", "x", [], **EDGES)),
    binned("ranks", bins("ranks", "x", 3), bins("ranks", "f64", [0.1, 0.1, 0.5, 1.0], **EDGES)),
    binned("ranks_named", bins("ranks", "x", 4, LETTERS, **EDGES), bins("ranks", "k", 30, **EDGES)),
    binned("ranks_of_types", *(bins("ranks", name, 2, **EDGES) for name in ("s", "d", "b", "dec"))),
    binned("of_types_without_ranks", bins("ranks", "cat", 2), local=True),
    binned("qcut", quantile_cut("y", 3), quantile_cut("y", [0.6, 0.2], left_closed=True), raises="one", messages=False),
    binned("qcut_breaks", quantile_cut("x", [0.2, 0.6], include_breaks=True), quantile_cut("f32", [0, 0.5]), raises="one", messages=False),
    binned("qcut_named", quantile_cut("x", [0.2, 0.6], labels=["p", "q", "p"], include_breaks=True), raises="one", messages=False),
    binned("qcut_duplicates", *(
        quantile_cut("i64", [0.2, 0.25, 0.6, 0.9, 1.0], allow_duplicates=True, left_closed=left, labels=labels)
        for left in (False, True) for labels in (None, [*LETTERS, "e", "f"])
    )),
    # Which of both zeros is at an edge, by whose sign it is called, is not promised: there is one.
    case("qcut_infinite", lambda t: t.a.select("id", z=pl.when(c("f64") != 0).then("f64").otherwise(0.0)).with_columns(
        quantile_cut("z", [0.01, 0.5, 1.0], allow_duplicates=True))),
    binned("qcut_of_decimals", quantile_cut("dec", 2, allow_duplicates=True)),
    binned("qcut_refused", quantile_cut("h", 6), raises="small one dup none_right", messages=False),
    binned("of_what_is_computed", bins("quantiles", "x", 3) + c("id").cum_sum().cast(pl.UInt32),
           (c("x") - c("x").mean()).bin_intervals(3, labels=False)),
    case("as_keys", lambda t: t.a.group_by(z=bins("quantiles", "y", 3)).agg(c("id").sum()), "any"),
    case("in_filter", lambda t: t.a.filter(bins("ranks", "id", 4) == 2).select("id")),
]  # fmt: skip


def histogram(name: str, *columns: str, bins: Any = None, **options: Any) -> Case:
    return case(f"hist_{name}", lambda t: t.a.select(c(*columns).hist(bins, **options)))


BOTH: dict[str, Any] = {"include_category": True, "include_breakpoint": True}
CASES += [
    histogram("count", "x", "i64", "f32", bin_count=4),
    histogram("count_both", "x", "i128", "u8", "f64", bin_count=3, **BOTH),
    histogram("default", "y", include_breakpoint=True),
    histogram("none", "y", bin_count=0, **BOTH),
    histogram("bins", "x", "i32", "f64", bins=[-3.0, 0.1, 2.0, 3.5], **BOTH),
    histogram("bins_counts", "x", bins=[-2.0, 1.25, 9.0]),
    histogram("one_edge", "x", bins=[1], include_category=True),
    case("hist_of_column", lambda t: t.a.select(c("x").hist(c("id"))), local=True),
    case("hist_refused", lambda t: t.a.select(c("x").hist([2, 1])), messages=False,
         raises="small empty one allnull dup none_right"),
    case("hist_of_text", lambda t: t.a.select(c("s").hist([2, 1])), local=True,
         raises="small empty one allnull dup none_right"),
    case("hist_of_computed", lambda t: t.a.select((c("x") - c("x").mean()).hist(bin_count=3), b=c("y").max())),
]  # fmt: skip
