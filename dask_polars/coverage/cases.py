"""The rows of the table: an operation as the user writes it, and a small query for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from dask_polars.collection import LazyFrame
from dask_polars.coverage.tables import Tables
from dask_polars.functions import concat
from dask_polars.io.scans import scan_csv, scan_ipc, scan_ndjson

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """
    A row of the table.

    Parameters
    ----------
    operation
        What the user writes, as Markdown.
    query
        An example of it.
    """

    operation: str
    query: Callable[[Tables], LazyFrame]


c = pl.col


def _first(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.head(1)


CASES: tuple[Case, ...] = (
    # Sources
    Case("`scan_parquet`", lambda t: t.scan()),
    Case("`scan_csv`", lambda t: scan_csv(t.files / "one.csv")),
    Case("`scan_ndjson`", lambda t: scan_ndjson(t.files / "one.ndjson")),
    Case("`scan_ipc`", lambda t: scan_ipc(t.files / "one.arrow")),
    Case("`from_polars`", lambda t: t.a),
    Case("a frame in memory, as `df.lazy()`", lambda t: LazyFrame(t.a.to_polars().collect(engine="in-memory"))),
    # Row by row
    Case("`filter`, `select`, `with_columns` row by row", lambda t: t.a.filter(c("v") > 1).with_columns(w=c("v") * 2)),
    Case("`rename`, `drop`, `cast`, `fill_null(value)`", lambda t: t.a.rename({"v": "w"}).drop("g").fill_null(0)),
    Case(
        "`explode`, `unnest`, `unpivot`, `drop_nulls`", lambda t: t.a.select("k", "v").unpivot(index="k").drop_nulls()
    ),
    Case("`map_elements`", lambda t: t.a.select(c("v").map_elements(abs, return_dtype=pl.Float64))),
    Case(
        "`map_batches(is_elementwise=True)` of an expression",
        lambda t: t.a.select(c("v").map_batches(pl.Series.abs, return_dtype=pl.Float64, is_elementwise=True)),
    ),
    Case("`map_partitions`", lambda t: t.a.map_partitions(_first)),
    # Aggregations of all rows
    Case(
        "`select` of `sum`, `mean`, `min`, `max`, `len`, `count`, `var`, `std`, `first`, `last`, `any`, `all`, …",
        lambda t: t.a.select(c("v").sum(), m=c("v").mean(), s=c("v").std(), f=c("k").first(), n=pl.len()),
    ),
    Case("`select` of `n_unique`", lambda t: t.a.select(c("k").n_unique())),
    Case("`LazyFrame.sum`, `.mean`, `.max`, …", lambda t: t.a.select("k", "v").mean()),
    Case(
        "aggregations inside of expressions: `filter(v > v.mean())`, `v / v.sum()`",
        lambda t: t.a.filter(c("v") > c("v").mean()),
    ),
    Case("`hist`", lambda t: t.a.select(c("v").hist(bin_count=5))),
    Case(
        "`bin_intervals`, `bin_quantiles`, `qcut`", lambda t: t.a.with_columns(z=c("v").bin_quantiles(4, labels=False))
    ),
    Case("`median`, `quantile` of all rows", lambda t: t.a.select(c("v").median(), q=c("v").quantile(0.9, "linear"))),
    Case("`mode`, `unique`, `value_counts` of a column", lambda t: t.a.select(c("k").mode())),
    Case("`approx_n_unique`", lambda t: t.a.select(c("v").approx_n_unique())),
    Case(
        "`sort`, `reverse`, `gather_every`, `head`, `arg_sort`, … of a column, alone or beside others",
        lambda t: t.a.select(c("k"), r=c("v").reverse(), m=c("v").max()),
    ),
    Case("`arg_min`, `arg_max`, `min_by`, `sort_by(…).first()`", lambda t: t.a.select(c("v").arg_max())),
    # Groups
    Case(
        "`group_by` with `sum`, `mean`, `min`, `max`, `len`, `count`, `var`, `std`, `first`, `last`, …",
        lambda t: t.a.group_by("k").agg(c("v").sum(), m=c("v").mean(), n=pl.len()),
    ),
    Case(
        "these with `maintain_order=True`",
        lambda t: t.a.group_by("k", maintain_order=True).agg(c("v").sum()),
    ),
    Case(
        "`group_by` with any other aggregation: `median`, `n_unique`, `sort_by`, …",
        lambda t: t.a.group_by("k").agg(c("v").median(), u=c("g").n_unique()),
    ),
    Case(
        "these with `maintain_order=True`",
        lambda t: t.a.group_by("k", maintain_order=True).agg(c("v").median()),
    ),
    Case(
        "`group_by(…).map_groups`",
        lambda t: t.a.group_by("k").map_groups(
            _first, schema={"k": pl.Int64, "g": pl.String, "v": pl.Float64, "t": pl.Datetime("us")}
        ),
    ),
    Case(
        "`join`, then `group_by` on the same keys", lambda t: t.a.join(t.b, on="k").group_by("k").agg(c("v").median())
    ),
    Case(
        "`group_by` of two frames, then `join` on the same keys",
        lambda t: t.a.group_by("k").agg(c("v").median()).join(t.a.group_by("k").agg(c("t").median()), on="k"),
    ),
    Case("`group_by_dynamic`", lambda t: t.a.group_by_dynamic("t", every="1h").agg(c("v").sum())),
    Case(
        "`group_by_dynamic` with windows that overlap",
        lambda t: t.a.group_by_dynamic("t", every="1h", period="2h").agg(c("v").sum()),
    ),
    Case("`rolling`", lambda t: t.a.rolling("t", period="1h").agg(c("v").sum())),
    Case(
        "`group_by_dynamic`, `rolling` with `group_by`",
        lambda t: t.a.rolling("t", period="1h", group_by="k").agg(c("v").sum()),
    ),
    # Joins
    Case("`join` inner", lambda t: t.a.join(t.b, on="k")),
    Case("`join` left, semi, anti", lambda t: t.a.join(t.b, on="k", how="left")),
    Case("`join` right", lambda t: t.a.join(t.b, on="k", how="right")),
    Case("`join` full", lambda t: t.a.join(t.b, on="k", how="full")),
    Case("`join` with `maintain_order`", lambda t: t.a.join(t.b, on="k", how="left", maintain_order="left")),
    Case("`join` cross", lambda t: t.a.select("k").join(t.b.select("w"), how="cross")),
    Case("`join_asof`", lambda t: t.a.join_asof(t.b, on="t")),
    Case("`join_asof` with `by`", lambda t: t.a.join_asof(t.b, on="t", by="k")),
    Case("`join_where` inner", lambda t: t.a.join_where(t.b, c("v") < c("w"))),
    Case("`join_where` left, right, full", lambda t: t.a.join_where(t.b, c("v") < c("w"), how="left")),
    Case("`join_where` with an equality", lambda t: t.a.join_where(t.b, c("k") == c("k_right"), c("v") < c("w"))),
    # Order
    Case("`sort`", lambda t: t.a.sort("v", "k", descending=[True, False])),
    Case("`sort(…).head`, `top_k`, `bottom_k`", lambda t: t.a.top_k(5, by="v")),
    Case("`head`, `limit` of what is scanned", lambda t: t.scan().head(5)),
    Case("`head`, `limit` of anything else", lambda t: t.a.join(t.b, on="k").head(5)),
    Case("`tail`", lambda t: t.a.tail(5)),
    Case("`slice` that ends far from where the rows start", lambda t: t.a.slice(1, 10**9)),
    Case("`with_row_index`", lambda t: t.a.with_row_index()),
    Case("`reverse`", lambda t: t.a.reverse()),
    Case("`gather_every`", lambda t: t.a.gather_every(3)),
    Case("`gather`", lambda t: t.a.gather([3, 1, 500])),
    # Sets of rows
    Case("`unique`", lambda t: t.a.select("k", "g").unique()),
    Case('`unique(keep="none")`', lambda t: t.a.unique("k", keep="none")),
    Case("`unique(maintain_order=True)`", lambda t: t.a.unique("k", keep="first", maintain_order=True)),
    Case("`concat` vertical, diagonal", lambda t: concat([t.a, t.a.filter(c("v") > 1)])),
    Case('`concat(how="horizontal")`', lambda t: concat([t.a.select("k"), t.a.select("v")], how="horizontal")),
    Case("`merge_sorted`", lambda t: t.a.merge_sorted(t.a.filter(c("v") > 1), key="t")),
    Case("`pivot`", lambda t: t.a.pivot("g", on_columns=["0", "1"], index="k", values="v", aggregate_function="sum")),
    Case("`repartition`", lambda t: t.a.repartition(npartitions=5)),
    # Windows
    Case("`over` of `sum`, `mean`, `len`, `first`, …", lambda t: t.a.with_columns(s=c("v").sum().over("k"))),
    Case(
        "`over` of anything else: `rank`, `shift`, `cum_sum`, `median`, …",
        lambda t: t.a.with_columns(s=c("v").cum_sum().over("k"), m=c("v").median().over("k")),
    ),
    Case("`over(order_by=…)`", lambda t: t.a.with_columns(s=c("v").cum_sum().over(order_by="t"))),
    Case('`over(mapping_strategy="explode")`', lambda t: t.a.select(c("v").over("k", mapping_strategy="explode"))),
    Case(
        "`cum_sum`, `cum_prod`, `cum_min`, `cum_max`, `cum_count`, `rle_id`, `int_range(pl.len())`",
        lambda t: t.a.with_columns(c("v").cum_sum()),
    ),
    Case("`forward_fill`, `backward_fill`, `fill_null(strategy=…)`", lambda t: t.a.with_columns(c("v").forward_fill())),
    Case("`shift`, `diff`, `pct_change`, `peak_max`, …", lambda t: t.a.with_columns(c("v").shift(1))),
    Case("`rolling_mean`, `rolling_sum`, … of a number of rows", lambda t: t.a.with_columns(c("v").rolling_mean(3))),
    Case("`rolling_mean_by`, …", lambda t: t.a.with_columns(c("v").rolling_mean_by("t", "1h"))),
    Case("`rolling` of an expression", lambda t: t.a.with_columns(c("v").median().rolling("t", period="1h"))),
    Case("`interpolate`", lambda t: t.a.with_columns(c("v").interpolate())),
    Case("`ewm_mean`, `ewm_sum`, `ewm_var`, `ewm_std`", lambda t: t.a.select("t", c("v").ewm_std(alpha=0.5))),
    Case("`rank`", lambda t: t.a.with_columns(c("v").rank())),
    Case("`is_duplicated`, `is_unique`", lambda t: t.a.filter(c("k").is_duplicated())),
    Case("`is_first_distinct`, `is_last_distinct`", lambda t: t.a.filter(c("k").is_first_distinct())),
    # The rest
    Case(
        "`sql`, `SQLContext`, `LazyFrame.sql`: as what the query says",
        lambda t: t.a.sql("SELECT k, SUM(v) AS v FROM self GROUP BY k"),
    ),
    Case("`LazyFrame.map_batches`", lambda t: t.a.map_batches(_first)),
    Case(
        "`sink_parquet`, `sink_csv`, `sink_ipc`, `sink_ndjson` to one file",
        lambda t: t.a.sink_parquet(t.new() / "one.parquet", lazy=True, mkdir=True),
    ),
    Case(
        "these to a directory, or as a `pl.PartitionBy` says",
        lambda t: t.a.sink_parquet(pl.PartitionBy(t.new(), key="k"), lazy=True),
    ),
    Case(
        "several sinks in one `collect_all`",
        lambda t: LazyFrame(pl.collect_all([t.lazy_sink(name) for name in ("1.csv", "2.csv")], lazy=True)),
    ),
)
