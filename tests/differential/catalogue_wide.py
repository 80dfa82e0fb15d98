"""Expressions that give a value for each row and need other rows: cumulative, filling, shifts, moving windows."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from tests.differential.catalogue_base import INF, Case, case
from tests.helpers import Tables

c = pl.col
NUMBERS = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "x", "y", "h"]
EVERY = ["x", "s", "d", "cat", "enum", "lst", "st", "arr", "dec", "nul", "b"]


def cumulative(function: str, reverse: bool) -> Case:
    columns = [getattr(c(name), function)(reverse=reverse) for name in NUMBERS]
    return case(f"{function}_{'reverse' if reverse else 'forward'}", lambda t: t.a.select("id", *columns))


def other_cumulative(t: Tables) -> Any:
    return t.a.select(
        c("b").cum_sum(), c("dur").cum_sum().alias("ds"), c("dec").cum_sum(), c("b").cum_min().alias("bm"),
        c("d").cum_max(), c("dt").cum_min(), c("dtz").cum_max(), c("s").cum_min(), c("s").cum_count().alias("sc"),
        c("lst").cum_count(), c("tm").cum_max(), c("dec").cum_min().alias("decm"), c("i128").cum_sum(),
    )  # fmt: skip


CUMULATIVE = [
    *(
        cumulative(name, reverse)
        for name in ("cum_sum", "cum_prod", "cum_min", "cum_max", "cum_count")
        for reverse in (False, True)
    ),
    case("cum_other_types", other_cumulative),
    case("rle_id_types", lambda t: t.a.select("id", *(c(n).rle_id() for n in ["g", "k", "f64", "b", "cat", "enum"]))),
    case(
        "row_numbers",
        lambda t: t.a.select("id", a=pl.int_range(pl.len()), b=pl.int_range(pl.len(), dtype=pl.UInt32)),
    ),
    case(
        "row_numbers_from_elsewhere",
        lambda t: (
            t.a.select("id")
            .filter(pl.int_range(1, pl.len() + 1) % 5 > 0)
            .with_columns(
                a=pl.int_range(1, pl.len() + 1),
                b=pl.int_range(pl.len(), 0, -1, dtype=pl.UInt32),
                d=pl.int_range(2 + 3 * c("id").len(), 2, -3),
                e=pl.int_range(pl.len() * 2, step=2, dtype=pl.Int32).cum_sum(),
            )
        ),
    ),
    case("row_numbers_alone", lambda t: t.a.select(pl.int_range(1, pl.len() + 1), ones=pl.ones(pl.len()))),
    case(
        "ranges_of_their_own",
        lambda t: t.a.select(
            d=pl.date_range(date(2024, 1, 1), date(2024, 1, 9)), n=pl.int_range(9).reverse(), r=pl.repeat("x", 9)
        ),
    ),
    case("row_index_expression", lambda t: t.a.filter(c("h") > 1).select("id", pl.row_index())),
]


def filling(name: str) -> Case:
    both = [c(name).forward_fill(), c(name).backward_fill().alias("back")]
    limited = [c(name).forward_fill(limit=1).alias("f1"), c(name).backward_fill(limit=2).alias("b2")]
    return case(f"fill_{name}", lambda t: t.a.select(*both, *limited))


FILLING = [
    *(filling(name) for name in EVERY),
    *(
        case(f"fill_{how}", lambda t, how=how: t.a.select(c(NUMBERS).fill_null(strategy=how)))
        for how in ("mean", "min", "max", "zero", "one")
    ),
    case("interpolate", lambda t: t.a.select("id", c(NUMBERS).interpolate())),
    case("interpolate_nearest", lambda t: t.a.select("id", c(NUMBERS).interpolate("nearest"))),
    case("interpolate_gaps", lambda t: t.a.select(c("x").sqrt().fill_nan(None).shift(3).interpolate())),
    case("fill_frame_forward", lambda t: t.a.fill_null(strategy="forward", limit=1)),
    case("fill_frame_backward", lambda t: t.a.select("id", "x", "g", "lst").fill_null(strategy="backward")),
]


def shift_everything(t: Tables) -> Any:
    counts = (1, -1, 0, 4, -5, 30)
    return t.a.select("id", *(c(name).shift(n).name.suffix(f"_{n}") for n in counts for name in EVERY))


def diffs(t: Tables) -> Any:
    names = [*NUMBERS, "dt", "dur", "d", "dec"]
    return t.a.select("id", *(c(name).diff(n).name.suffix(f"_{n}") for n in (1, -2, 5) for name in names))


def moving(function: str) -> Case:
    windows = [(1, None, False), (3, None, False), (3, 1, False), (4, 2, True), (5, None, True), (8, 1, False)]
    columns = [
        getattr(c(name), function)(size, min_samples=least, center=center).name.suffix(f"_{size}_{least}")
        for name in ("x", "y", "i64", "f32")
        for size, least, center in windows
    ]
    return case(function, lambda t: t.a.select("id", *columns))


def more_moving(t: Tables) -> Any:
    return t.a.select(
        "id", weights=c("y").rolling_mean(3, weights=[1.0, 2.0, 3.0]), var=c("y").rolling_var(3, ddof=0),
        quantile=c("x").rolling_quantile(0.3, window_size=4, interpolation="linear", min_samples=2),
        skew=c("y").rolling_skew(5), kurtosis=c("y").rolling_kurtosis(5), rank=c("y").rolling_rank(3),
        corr=pl.rolling_corr("y", "h", window_size=4), cov=pl.rolling_cov("y", "x", window_size=4),
        function=c("y").rolling_map(lambda values: values.sum(), 3),
    )  # fmt: skip


def weighted(adjust: bool, ignore_nulls: bool) -> Case:
    options = {"adjust": adjust, "ignore_nulls": ignore_nulls}
    columns = [
        c(name).ewm_mean(alpha=alpha, min_samples=least, **options).name.suffix(f"_{alpha}_{least}")
        for name in ("x", "y", "k", "i32", "f32", "f64")
        for alpha, least in ((0.5, 1), (0.01, 4), (1.0, 1))
    ]
    columns.append(c("f64").fill_nan(3.0).ewm_mean(com=1, **options).name.suffix("_infinite"))
    return case(f"ewm_mean_{adjust}_{ignore_nulls}", lambda t: t.a.select("id", *columns))


def variances(adjust: bool, ignore_nulls: bool) -> Case:
    """Of values with gaps, that are not finite, and that are all the same; and weights that are gone at once."""
    options = {"adjust": adjust, "ignore_nulls": ignore_nulls}
    columns = [
        c("x").ewm_var(alpha=0.3, **options), c("k").ewm_std(alpha=0.9, bias=True, min_samples=4, **options),
        c("f64").ewm_var(com=1, bias=True, **options), (c("y") * 0 + 0.1).ewm_std(alpha=0.01, **options).alias("same"),
        c("i32").ewm_var(alpha=1.0, **options), (c("x") + 1e6).ewm_std(alpha=0.01, **options).alias("far"),
    ]  # fmt: skip
    return case(f"ewm_var_{adjust}_{ignore_nulls}", lambda t: t.a.select("id", *columns))


def weighted_sums(t: Tables) -> Any:
    found = [
        c(name).ewm_sum(alpha=alpha, min_samples=least, ignore_nulls=ignore).name.suffix(f"_{alpha}_{ignore}")
        for name in ("x", "k", "f32", "f64")
        for alpha, least, ignore in ((0.5, 1, True), (0.01, 4, False), (1.0, 1, False))
    ]
    infinite = pl.when(c("id") == 4).then(INF).otherwise(c("y")).ewm_sum(alpha=0.5)
    return t.a.select("id", *found, infinite.alias("up"), (infinite - c("f64").ewm_sum(com=3)).shift(1).alias("both"))


MODES = [(adjust, ignore) for adjust in (True, False) for ignore in (True, False)]
EXPONENTIAL = [
    *(weighted(*mode) for mode in MODES),
    *(variances(*mode) for mode in MODES),
    case("ewm_sum", weighted_sums),
    case("ewm_var_single", lambda t: t.a.select(c("f32").ewm_var(alpha=0.5)), local=True),
]

OVERLAP = [
    case("shift_everything", shift_everything),
    case("shift_fill", lambda t: t.a.select(a=c("x").shift(2, fill_value=0.0), b=c("s").shift(-9, fill_value="z"))),
    case(
        "shift_counted",
        lambda t: t.a.select(
            "id",
            a=c("x").shift(c("x").null_count()),
            b=c("s").shift(1 - pl.len().cast(pl.Int64), fill_value=c("s").max()),
            d=(c("id") - c("id").shift(c("h").n_unique())).cum_sum(),
        ).filter(c("id").shift(c("id").count() - 9).is_null()),
    ),
    case(
        "shift_by_extreme",
        lambda t: t.a.select(c("x").shift(c("h").max())),
        local=True,
        raises="empty allnull",
        messages=False,
    ),
    case("shift_frame", lambda t: t.a.shift(3)),
    case("diffs", diffs),
    case("pct_change", lambda t: t.a.select("id", *(c("y", "x").pct_change(n).name.suffix(f"{n}") for n in (1, 3)))),
    *(moving(f"rolling_{name}") for name in ("sum", "mean", "min", "max", "std", "median")),
    case("rolling_more", more_moving, raises="allnull"),
    case(
        "rolling_not_finite",
        lambda t: t.a.select("id", a=c("f64").rolling_sum(3, min_samples=1), b=c("f64").rolling_max(2, min_samples=1)),
    ),
    case("peaks", lambda t: t.a.select("id", p=c("y").peak_max(), q=c("y").peak_min())),
]


def nested(t: Tables) -> Any:
    return t.a.select(
        "id", a=(c("x") * 2 + c("y")).cum_sum(), b=c("x").cum_sum().cum_max(), d=c("y").cum_sum() + pl.len(),
        e=(c("y") - c("y").mean()).cum_sum() - c("y").max(), f=c("y").cum_sum().max(), g=c("y").shift(1).cum_sum(),
        h=(c("y") * 2).rolling_sum(2) - c("y").cum_sum().shift(-1) + c("y").mean(),
    )  # fmt: skip


def names(t: Tables) -> Any:
    return t.a.with_columns(
        c("y").cum_sum(), c("x").forward_fill().name.suffix("_f"), c("i8", "u8").cum_sum().name.prefix("q_")
    ).select("id", "y", "x_f", "q_i8", "q_u8")


INSIDE = [
    case("wide_nested", nested),
    case("wide_names", names),
    case("wide_then_scalars", lambda t: t.a.select(c("y").cum_sum().max(), z=c("x").forward_fill().sum())),
    case("wide_in_aggregation", lambda t: t.a.select(c("y").diff().abs().sum(), n=(c("g") != c("g").shift()).sum())),
    case("wide_in_filter", lambda t: t.a.filter(c("y").cum_sum() > 3).select("id")),
    case(
        "wide_in_filter_with_scalar",
        lambda t: t.a.filter(c("x").forward_fill() > c("x").mean(), c("id") > 2).select("id", "g"),
    ),
    case("wide_in_when", lambda t: t.a.select(pl.when(c("y").cum_sum() > 3).then("y").otherwise(c("x").cum_max()))),
    case("wide_in_struct", lambda t: t.a.select(pl.struct(c("y").cum_sum(), "id"))),
    case("wide_filtered", lambda t: t.a.select(c("y").cum_sum().filter(c("h") == 1))),
    case("wide_unused", lambda t: t.a.with_columns(z=c("y").cum_sum()).select("id")),
    case("wide_after_sort", lambda t: t.a.sort("y", "id").with_columns(z=c("y").cum_sum()).select("id", "z")),
    case(
        "wide_then_group",
        lambda t: t.a.filter(c("h") > 1).with_columns(z=c("y").cum_sum()).group_by("g").agg(c("z").sum()).sort("g"),
    ),
    case(
        "wide_twice",
        lambda t: (
            t.a.with_columns(p=c("y").shift(2)).filter(c("p") > 0).with_columns(q=c("id").shift(-1)).select("p", "q")
        ),
    ),
    case("wide_head", lambda t: t.a.select("id", c("y").cum_sum()).head(4)),
]

CASES = [*CUMULATIVE, *FILLING, *EXPONENTIAL, *OVERLAP, *INSIDE]
