"""
What is distributed, and how: a table made by planning a small query for each operation.

Nothing in it is written by hand but the queries: each is planned twice over a frame of many partitions, once as if the
data were small and once as if it were large, and the exchanges are read off the stages of the plans. The README has the
table between two marks; a test holds it against the code::

    python -m dask_polars.coverage              # print the table
    python -m dask_polars.coverage README.md    # write it into a file, between the marks
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from dask_polars.collection import LazyFrame
from dask_polars.collection import concat_frames as concat
from dask_polars.config import Options
from dask_polars.io.scans import from_polars, scan_csv, scan_ipc, scan_ndjson, scan_parquet
from dask_polars.plan import Fallback, Plan, plan_queries
from dask_polars.plan.stages import (
    CallStage,
    FrameStage,
    HeadStage,
    Input,
    MapStage,
    Mode,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Stage,
    walk_stages,
)

START, END = "<!-- coverage:start -->", "<!-- coverage:end -->"

NPARTITIONS = 20  # more than `split-every`, so that trees have levels
NFILES = 4
_SETTINGS: dict[str, Any] = {
    "fallback": "silent",
    "max_rows_per_partition": None,
    "shuffle_method": "auto",
    "split_every": 8,
    "overwrite": False,
}

_SHUFFLES = {
    "hash": "hash shuffle",
    "range": "range shuffle",
    "order": "shuffle back into row order",
    "context": "rows that other partitions need, sent there",
}
# What stages of these operations do, in words. The rest only prepares an exchange or finishes after one.
_STEPS = {
    "record-starts": "quotes counted",
    "sort-sample": "sample of the keys",
    "quantile-sample": "sample of the values",
    "count-rows": "row counts",
    "with-position": "row positions",
    "map-partitions": "in each partition",
    "quantile-pick": "values of the range of a rank",
    "write": "each partition written",
    "commit": "files put into place",
    "stage": "each partition staged",
    "merge": "streamed into one file",
    "repeat": "partitions of both sides in pairs",
    "carry-summary": "summary of each partition",
    "edges": "edges of each partition",
}


@dataclass(frozen=True)
class Tables:
    """
    What the queries of the table read.

    Parameters
    ----------
    a, b
        Frames of many partitions.
    files
        A directory of Parquet files, and one file of each other kind.
    """

    a: Any  # collections, whose methods are made by rule: a type checker does not know them
    b: Any
    files: Path

    def scan(self) -> Any:
        """Scan the Parquet files."""
        return scan_parquet(self.files / "*.parquet")

    def new(self) -> Path:
        """Name a directory that is not there yet."""
        return self.files / uuid4().hex

    def lazy_sink(self, name: str) -> pl.LazyFrame:
        """Write a frame, once it is asked for."""
        sink: pl.LazyFrame = self.a.sink_csv(self.new() / name, lazy=True, mkdir=True).to_polars()
        return sink


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


@dataclass(frozen=True)
class Row:
    """
    How an operation runs.

    Parameters
    ----------
    operation
        What the user writes, as Markdown.
    small, large
        The steps, where little data is moved, and where much is.
    reasons
        Why it is gathered to one partition; empty where it is distributed.
    """

    operation: str
    small: str
    large: str
    reasons: tuple[str, ...] = ()


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
    Case("`interpolate`", lambda t: t.a.with_columns(c("v").interpolate())),
    Case("`ewm_mean`, …", lambda t: t.a.with_columns(c("v").ewm_mean(alpha=0.5))),
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


# ---------------------------------------------------------------- from plans to words


def _frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    height = 1000
    start = datetime(2024, 1, 1)
    a = pl.DataFrame(
        {
            "k": [i % 7 for i in range(height)],
            "g": [str(i % 3) for i in range(height)],
            "v": [float(i * 37 % 1000) for i in range(height)],
            "t": [start + timedelta(minutes=i) for i in range(height)],
        }
    )
    b = a.head(height // 2).select("k", "t", w=c("v") + 1)
    return a, b


@contextlib.contextmanager
def tables() -> Iterator[Tables]:
    """Make what the queries read; the files are there for as long as the block runs."""
    a, b = _frames()
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        for number, part in enumerate(a.iter_slices(a.height // NFILES)):
            part.write_parquet(files / f"{number}.parquet", row_group_size=50)
        b.write_csv(files / "one.csv")
        b.write_ndjson(files / "one.ndjson")
        b.write_ipc(files / "one.arrow", record_batch_size=50)
        yield Tables(from_polars(a, npartitions=NPARTITIONS), from_polars(b, npartitions=NPARTITIONS), files)


def small_and_large() -> tuple[Options, Options]:
    """Give options under which the frames of :func:`tables` are small, and such under which they are large."""
    small = Options.current(partition_size="128 MiB", broadcast_limit="64 MiB", **_SETTINGS)
    return small, Options.current(partition_size="1 kiB", broadcast_limit=0, **_SETTINGS)


def _inputs(stage: Stage) -> Sequence[Input]:
    return stage.sources if isinstance(stage, (MapStage, CallStage)) else ()


def _step_of(stage: Stage) -> Iterator[str]:
    """Say what moves into a stage, and what it does that the user should know of."""
    if isinstance(stage, ScanStage):
        yield _scan_text(stage)
    elif isinstance(stage, ShuffleStage):
        yield _SHUFFLES[stage.kind]
    elif isinstance(stage, HeadStage):
        yield "as few partitions as it takes"
    elif isinstance(stage, RegroupStage):
        yield from _regroup_text(stage)
    elif isinstance(stage, MapStage) and not stage.sources and stage.operation != "literal":
        yield "read by one task"
    for item in _inputs(stage):
        if item.scalars is not None:
            yield "broadcast of one row"
        if item.mode is Mode.BROADCAST and stage.npartitions > 1 and stage.operation not in ("write", "stage"):
            yield "broadcast of the smaller side" if stage.operation in ("join-broadcast", "join-asof") else "broadcast"
    if isinstance(stage, MapStage) and stage.fallback:
        yield "**one partition**"
    elif stage.operation.endswith("-partial"):
        yield "partial result of each partition"
    elif stage.operation in _STEPS:
        yield _STEPS[stage.operation]


def _scan_text(stage: ScanStage) -> str:
    if stage.npartitions < stage.nfiles:
        return "small files grouped"
    if stage.npartitions == stage.nfiles:
        return "a partition for each file"
    cuts = {"scan-parquet": "by row groups", "scan-ipc": "by record batches"}
    return f"files split {cuts.get(stage.operation, 'at line ends')}"


def _regroup_text(stage: RegroupStage) -> Iterator[str]:
    if stage.operation == "reports":
        return  # of a few bytes
    joined = any(len(group) > 1 for group in stage.groups)
    below = {source.operation.rsplit("-", 1)[-1] for source in stage.sources}
    if joined and below <= {"partial", "combine"}:
        yield "tree"
    elif joined:
        yield "gather" if stage.npartitions == 1 else "neighbours together"
    elif len(stage.sources) > 1:
        yield "partitions side by side"


def steps(plan: Plan) -> str:
    """
    Say in words how a plan runs.

    Parameters
    ----------
    plan
        A plan.

    Returns
    -------
    str
        Its exchanges in the order in which they run.
    """
    if isinstance(plan.roots[0], FrameStage):
        return "slices of the frame"
    found: Iterable[str] = (text for stage in walk_stages(plan.roots) for text in _step_of(stage))
    out: list[str] = []
    for text, run in itertools.groupby(found):
        if text.startswith("broadcast") and out and out[-1] == "gather":
            out.pop()  # what is broadcast is gathered first
        count = len(list(run))
        out.append(f"{text} of both sides" if "shuffle" in text and count == 2 else text)
    return " → ".join(out) or "in each partition"


def _row(case: Case, inputs: Tables) -> Row:
    query = case.query(inputs).to_polars()
    small, large = (plan_queries([query], options) for options in small_and_large())
    found: Iterable[Fallback] = {**dict.fromkeys(small.fallbacks), **dict.fromkeys(large.fallbacks)}
    return Row(case.operation, steps(small), steps(large), tuple(item.reason for item in found))


def rows() -> list[Row]:
    """
    Plan a query for each operation, and say how it runs.

    Returns
    -------
    list of Row
    """
    with tables() as inputs:
        return [_row(case, inputs) for case in CASES]


def markdown() -> str:
    """
    Write the table.

    Returns
    -------
    str
        Two tables in Markdown: what is distributed, and what is not.
    """
    found = rows()
    distributed = [row for row in found if not row.reasons]
    lines = ["| operation | how it runs, little data | much data |", "|---|---|---|"]
    lines += [
        f"| {row.operation} | {row.small} | {'the same' if row.large == row.small else row.large} |"
        for row in distributed
    ]
    lines += ["", "Gathered to one partition today:", "", "| operation | why |", "|---|---|"]
    lines += [f"| {row.operation} | {'; '.join(row.reasons)} |" for row in found if row.reasons]
    return "\n".join(lines)


def insert(text: str, table: str) -> str:
    """
    Put the table between the marks of a text.

    Parameters
    ----------
    text
        Holds both marks.
    table
        What comes between them.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Where a mark is missing.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the text has no {START} and {END}")
    return f"{before}{start}\n{table}\n{end}{after}"


def main(paths: Sequence[str]) -> None:
    """Print the table, or write it into files."""
    table = markdown()
    if not paths:
        print(table)
    for path in map(Path, paths):
        path.write_text(insert(path.read_text(), table))


if __name__ == "__main__":
    main(sys.argv[1:])
