"""concat of every kind, and merge_sorted."""

from __future__ import annotations

import polars as pl

from tests.differential.catalogue_base import case

c = pl.col
NOT_ON_ALL = "small empty one allnull dup none_right"

CASES = [
    case("concat_vertical", lambda t: t.concat([t.a.select("id", "g"), t.b.select(id="bid", g="g")])),
    case("concat_with_itself", lambda t: t.concat([t.a, t.a])),
    case("concat_three", lambda t: t.concat([t.c, t.c.filter(c("code") > 12), t.c.head(1)])),
    case("concat_of_filtered", lambda t: t.concat([t.a.filter(c("x") > 1), t.a.filter(c("x") <= 1)]).select("id", "x")),
    case("concat_empty", lambda t: t.concat([t.a.clear(), t.a.filter(c("id") < 0), t.a]).select("id")),
    case("concat_vertical_relaxed", lambda t: t.concat([t.a.select("k"), t.b.select("k")], how="vertical_relaxed")),
    case("concat_relaxed_null", lambda t: t.concat([t.a.select(z="nul"), t.b.select(z="x")], how="vertical_relaxed")),
    case("concat_diagonal", lambda t: t.concat([t.a.select("id", "g"), t.b.select("g", "w"), t.c], how="diagonal")),
    case(
        "concat_diagonal_relaxed",
        lambda t: t.concat([t.a.select("id", "k"), t.b.select("k", "w")], how="diagonal_relaxed"),
    ),
    case("concat_horizontal", lambda t: t.concat([t.c.select("g"), t.c.select("label")], how="horizontal")),
    case(
        "concat_horizontal_uneven",
        lambda t: t.concat([t.a.select("id", "y"), t.b.select("w")], how="horizontal_extend"),
        local=True,
    ),
    case(
        "concat_horizontal_aggs",
        lambda t: t.concat([t.a.select(c("y").sum()), t.b.select(c("w").max())], how="horizontal"),
        local=True,
    ),
    *(
        case(f"concat_{how}", lambda t, how=how: t.concat([t.a.group_by("g").agg(c("id").max()), t.c], how=how), "any")
        for how in ("align", "align_left", "align_right", "align_inner")
    ),
    case("concat_type_mismatch", lambda t: t.concat([t.a.select("k"), t.b.select("k")]), raises=NOT_ON_ALL),
    case("concat_name_mismatch", lambda t: t.concat([t.a.select("k"), t.b.select("w")]), raises=NOT_ON_ALL),
    case("concat_literals", lambda t: t.concat([t.c.with_columns(src=pl.lit(1)), t.c.with_columns(src=pl.lit(2))])),
    case("concat_single_literals", lambda t: t.concat([t.a.select(pl.lit(1)), t.a.select(pl.lit(2))])),
    case("concat_aggregates", lambda t: t.concat([t.a.select(c("y").sum()), t.a.select(c("y").max())])),
    case(
        "concat_groups", lambda t: t.concat([t.a.group_by("g").agg(pl.len()), t.b.group_by("g").agg(pl.len())]), "any"
    ),
    case(
        "concat_then_group",
        lambda t: t.concat([t.a.select("g", "y"), t.b.select("g", y="x")]).group_by("g").agg(c("y").sum()),
        "any",
    ),
    case("concat_then_sort", lambda t: t.concat([t.a.select("id", "g"), t.b.select(id="bid", g="g")]).sort("g", "id")),
    case("concat_then_head", lambda t: t.concat([t.c.select("g"), t.b.select("g")]).head(7)),
    case("concat_then_slice", lambda t: t.concat([t.a.select("g"), t.b.select("g")]).slice(-20, 6)),
    case(
        "concat_then_filter",
        lambda t: t.concat([t.a.select("id", "x"), t.b.select(id="bid", x="x")]).filter(c("x") > 0),
    ),
    case("concat_then_sum", lambda t: t.concat([t.a.select("x"), t.b.select("x")]).select(c("x").sum(), n=pl.len())),
    case("concat_then_join", lambda t: t.concat([t.a.select("g"), t.b.select("g")]).join(t.c, on="g"), "any"),
    case("concat_then_row_index", lambda t: t.concat([t.c.select("g"), t.a.select("g")]).with_row_index(), local=True),
    case("concat_categoricals", lambda t: t.concat([t.a.select("cat"), t.b.select("cat")])),
    case(
        "concat_joined_and_not",
        lambda t: t.concat([t.a.select("id", "g").join(t.c.select("g"), on="g"), t.a.select("id", "g")]),
        "any",
    ),
    case("union_function", lambda t: t.concat([t.a.select("g").unique(), t.c.select("g")]).unique(), "any"),
    case(
        "merge_sorted",
        lambda t: t.ts.select("n", "v").merge_sorted(t.ts.filter(c("v") > 1).select("n", "v"), key="n").select("n"),
        local=True,
    ),
    case(
        "merge_sorted_ordered",
        lambda t: t.ts.merge_sorted(t.ts.gather_every(2), key="n", maintain_order=True),
        local=True,
    ),
]
