"""Windows (`over`), ranks, and which values are there more than once."""

from __future__ import annotations

from typing import Any

import polars as pl

from tests.differential.catalogue_base import Case, case
from tests.helpers import Tables

c = pl.col


def named(exprs: list[pl.Expr], *keys: Any) -> list[pl.Expr]:
    return [expr.over(*keys).alias(f"w{index}") for index, expr in enumerate(exprs)]


AGGREGATIONS = [
    c("y").sum(),
    c("x").mean(),
    pl.len(),
    c("s").first(),
    c("id").last(),
    c("x").std(),
    c("y").sum() / pl.len(),
]
IN_ORDER = [
    c("y").cum_sum(), c("id").shift(1), c("y").rank("ordinal"), c("x").median(), c("y").rolling_sum(2),
    c("s").forward_fill(), c("id").reverse(), pl.int_range(pl.len()), c("y") - c("y").mean(),
]  # fmt: skip


def exploded(exprs: list[pl.Expr], *keys: Any, **order: Any) -> list[pl.Expr]:
    found = [expr.over(*keys, mapping_strategy="explode", **order) for expr in exprs]
    return [expr.alias(f"e{index}_{'_'.join(keys)}") for index, expr in enumerate(found)]


def by_key(key: str) -> list[Case]:
    return [
        case(f"over_{key}", lambda t: t.a.select("id", *named(AGGREGATIONS, key))),
        case(f"over_in_order_{key}", lambda t: t.a.select("id", *named(IN_ORDER, key))),
    ]


def order_by(t: Tables) -> Any:
    return t.a.select(
        "id", w=c("y").cum_sum().over("g", order_by="id", descending=True),
        f=c("id").first().over("h", order_by=["y", "id"]), s=c("id").shift().over("g", order_by="x", nulls_last=True),
        e=c("id").cum_count().over("b", "h", order_by=c("id") * -1),
    )  # fmt: skip


def order_by_alone(t: Tables) -> Any:
    return t.a.select(
        "id", w=c("y").cum_sum().over(order_by=["y", "id"]), v=c("id").shift(1).over(order_by="id", descending=True),
        u=c("x").forward_fill().over(order_by=c("y") * 2), n=c("id").first().over(order_by="x", nulls_last=True),
        m=c("id").last().over(order_by=["x", "id"], descending=True),
    )  # fmt: skip


def nested(t: Tables) -> Any:
    return t.a.select(
        "id", a=c("id").rank().over("g") - 1, b=c("y").sum().over("g").cum_sum(),
        d=c("y").sum().over(c("y").cum_sum() > 3), e=c("y").cum_sum().over("g").max(),
        f=(c("y") - c("y").mean()).sum().over("g"), g=c("y").sum().over("g") / c("y").sum(),
        h=c("y").sum().over("g").cum_sum().over("h"),
    )  # fmt: skip


def duplicates(t: Tables) -> Any:
    kinds = ["is_duplicated", "is_unique", "is_first_distinct", "is_last_distinct"]
    columns = [
        getattr(c(name), kind)().name.suffix(f"_{kind}")
        for name in ["g", "k", "f64", "cat", "st", "b"]
        for kind in kinds
    ]
    return t.a.select("id", *columns, pl.struct("g", "h").is_duplicated().alias("z"))


def ranks(method: Any) -> Case:
    columns = [
        c(name).rank(method, descending=down).name.suffix(f"_{down}")
        for down in (False, True)
        for name in ["y", "f64", "g", "i8", "d", "b"]
    ]
    return case(f"rank_{method}", lambda t: t.a.select("id", *columns))


CASES = [
    *(item for key in ["g", "k", "f64", "cat", "enum", "d", "dec", "b", "st", "lst"] for item in by_key(key)),
    case("over_two_keys", lambda t: t.a.select("id", *named([*AGGREGATIONS, *IN_ORDER], "g", "h"))),
    case(
        "over_several_keys",
        lambda t: t.a.select(
            "id", a=c("y").cum_sum().over("g"), b=c("y").cum_sum().over("h"), d=pl.len().over("k", "b")
        ),
    ),
    case("over_computed_key", lambda t: t.a.select("id", *named([c("x").sum(), c("x").cum_max()], c("id") % 3))),
    case("over_order_by", order_by),
    case("over_order_by_alone", order_by_alone),
    case(
        "over_another_type",
        lambda t: t.a.select(
            c("b", "lst").quantile(0.5).over("g"), i=c("b").interpolate().over("g"), k=c("k").lower_bound().over("g")
        ),
        local=True,
    ),
    case("over_no_values", lambda t: t.a.select(r=pl.corr("y", "x").over("k"), b=c("b").bitwise_and().over("h", "g"))),
    case(
        "over_without_order",
        lambda t: t.a.select(c("st").max().over("h")),
        raises="small empty allnull one dup none_right",
        messages=False,
    ),
    case(
        "over_lists",
        lambda t: t.a.select("id", w=c("h").over("g", mapping_strategy="join"), i=c("y").implode().over("g")),
    ),
    case("over_in_filter", lambda t: t.a.filter(c("y") == c("y").max().over("g")).select("id", "g", "y")),
    case(
        "over_rank_in_filter",
        lambda t: t.a.filter(c("id").rank("ordinal").over("g") <= 2, c("y").sum().over("h") > 3).select("id"),
    ),
    case("over_columns", lambda t: t.a.select("g", c("x", "y", "id").sum().over("g").name.suffix("_s"))),
    case(
        "over_with_columns",
        lambda t: t.a.with_columns(n=pl.len().over("h"), y=c("y").sum().over("g"), r=c("y").cum_count().over("h")),
    ),
    case("over_nested", nested),
    case(
        "over_then_group",
        lambda t: t.a.with_columns(n=pl.len().over("g")).group_by("n").agg(c("y").sum()).sort("n"),
    ),
    case(
        "over_after_sort", lambda t: t.a.sort("y", "id").with_columns(n=c("id").cum_sum().over("g")).select("id", "n")
    ),
    case(
        "over_after_join",
        lambda t: t.a.join(t.b.select("k", "w"), on="k").select("id", "w", n=c("w").sum().over("k")),
        "any",
    ),
    case(
        "group_by_window",
        lambda t: t.a.group_by(n=pl.len().over("g"), r=c("y").rank("dense")).agg(c("id").sum()),
        "any",
    ),
    case(
        "group_by_runs",
        lambda t: t.a.group_by((c("h") != c("h").shift()).cum_sum(), maintain_order=True).agg(
            c("id").median(), n=pl.len()
        ),
    ),
    case(
        "sort_by_window",
        lambda t: t.a.sort(pl.len().over("g"), c("id").shift(-3), descending=True, maintain_order=True).select(
            "id", "g"
        ),
    ),
    case(
        "over_explode",
        lambda t: t.a.sort("k", maintain_order=True).select(c("id").over("g", mapping_strategy="explode")),
    ),
    case(
        "over_explode_rows",
        lambda t: t.a.select(
            *exploded([c("g"), c("id") * 2, c("s").fill_null("?")], "g"),
            *exploded([c("h")], "k", "b"),
            "id",
            m=c("y").sum(),
        ),
    ),
    case(
        "over_explode_groups",
        lambda t: t.a.select(exploded([c("y").sum(), pl.len(), c("g").first(), c("id").implode()], "g")),
    ),
    case(
        "over_explode_lists",
        lambda t: t.a.select(exploded([c("y").cum_sum(), c("id").reverse(), c("lst"), c("y") - c("y").mean()], "h")),
    ),
    case("over_explode_some", lambda t: t.a.select(exploded([c("id").filter(c("y") > 1)], "k"))),
    case("over_explode_ends", lambda t: t.a.select(exploded([c("id").head(2), c("y").tail(2)], "st"))),
    case(
        "over_explode_ordered",
        lambda t: t.a.select(
            *exploded([c("id"), c("y").cum_sum(), c("g")], "g", order_by=["x", "id"], descending=True),
            a=c("id").over("f64", order_by="id", descending=True, mapping_strategy="explode").cum_sum() + 1,
        ),
    ),
    case(
        "over_explode_ordered_groups",
        lambda t: t.a.select(exploded([c("y").sum(), c("id").first()], "g", order_by="y", nulls_last=True)),
    ),
    case(
        "over_explode_with_columns",
        lambda t: t.a.with_columns(e=c("id").over("g", mapping_strategy="explode"), n=pl.len()).select("id", "e", "n"),
    ),
    case(
        "over_explode_aggregated", lambda t: t.a.select((c("y").sum().over("g", mapping_strategy="explode") * 2).max())
    ),
    case(
        "over_explode_differs",
        lambda t: t.a.select(*exploded([c("id"), c("y").sum()], "h")),
        raises="small none_right",
        messages=False,
    ),
    case("over_explode_literal", lambda t: t.a.select(pl.lit(5).over("g", mapping_strategy="explode")), local=True),
    case("duplicates", duplicates),
    case("first_distinct_in_filter", lambda t: t.a.filter(c("k").is_first_distinct()).select("id", "k")),
    *(ranks(method) for method in ("average", "min", "max", "dense", "ordinal")),
    case("rank_in_filter", lambda t: t.a.filter(c("y").rank("dense") <= 2).select("id", "y")),
]
