"""What is known of Polars' serialized plans: checked against the Polars that is installed, and against a frozen sample.

Where this fails after an update of Polars, its format has changed: `dask_polars.dsl` has to follow, then
`python -m tests.dsl.test_contract` writes the sample anew.
"""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import polars as pl
import polars.selectors as cs
import pytest
from polars.io.plugins import register_io_source
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.dsl import codec, expressions
from dask_polars.dsl.codec import decode, decode_expr, encode, to_expr, to_lazyframe
from dask_polars.dsl.expressions import Shape, expand, shape
from dask_polars.dsl.nodes import Node, walk
from dask_polars.errors import PlanDecodeError

SAMPLE = Path(__file__).with_name("sample_2_1.bin")
GOLDEN = Path(__file__).with_name("sample_2_1.json")

DATA = pl.DataFrame(
    {
        "k": ["a", "b", "a"],
        "v": [1, 2, 3],
        "f": [1.5, None, float("nan")],
        "t": [datetime.datetime(2020, 1, day) for day in (1, 2, 3)],
        "l": [[1], [2, 3], []],
        "s": [{"x": 1}, {"x": 2}, {"x": 3}],
    }
)


def lf() -> pl.LazyFrame:
    return DATA.lazy()


def io_source() -> pl.LazyFrame:
    def read(columns: Any, predicate: Any, rows: Any, batch: Any) -> Iterator[pl.DataFrame]:
        yield DATA

    return register_io_source(read, schema=DATA.schema)


def same(part: Any) -> Any:
    return part


PLANS: dict[str, tuple[str, Callable[[], pl.LazyFrame]]] = {
    "frame": ("DataFrameScan", lf),
    "empty-frame": ("DataFrameScan", pl.LazyFrame),
    "parquet": ("Scan", lambda: pl.scan_parquet("x/*.parquet", hive_schema={"a": pl.Int8}, row_index_name="i")),
    "parquet-schema": ("Scan", lambda: pl.scan_parquet(["a", "b"], schema={"a": pl.Enum(["x"])}, n_rows=3)),
    "parquet-bytes": ("Scan", lambda: pl.scan_parquet(b"bytes")),
    "csv": ("Scan", lambda: pl.scan_csv("x.csv", schema_overrides={"a": pl.Int8}, null_values=["-"])),
    "ipc": ("Scan", lambda: pl.scan_ipc("x.arrow")),
    "ndjson": ("Scan", lambda: pl.scan_ndjson("x.ndjson", schema={"a": pl.Int8})),
    "python": ("PythonScan", io_source),
    "filter": ("Filter", lambda: lf().filter(pl.col("v") > 1, k="a")),
    "remove": ("Filter", lambda: lf().remove(pl.col("v") > 1)),
    "cache": ("Cache", lambda: lf().cache()),
    "select": ("Select", lambda: lf().select(cs.numeric() + 1, pl.col("k").alias("z"))),
    "with-columns": ("HStack", lambda: lf().with_columns(w=pl.col("v").sum().over("k"))),
    "group-by": ("GroupBy", lambda: lf().group_by("k", maintain_order=True).agg(pl.col("v").std(), pl.len())),
    "having": ("GroupBy", lambda: lf().group_by("k").having(pl.len() > 1).agg(pl.col("v").sum())),
    "dynamic": ("GroupBy", lambda: lf().group_by_dynamic("t", every="1d", group_by="k").agg(pl.len())),
    "rolling": ("GroupBy", lambda: lf().rolling("t", period="2d").agg(pl.col("v").sum())),
    "map-groups": ("GroupBy", lambda: lf().group_by("k").map_groups(same, schema=DATA.schema)),
    "join": ("Join", lambda: lf().join(lf(), on="k", how="full", coalesce=True, suffix="_x")),
    "join-expressions": ("Join", lambda: lf().join(lf(), left_on=pl.col("v") + 1, right_on="v", validate="1:1")),
    "join-cross": ("Join", lambda: lf().join(lf(), how="cross")),
    "join-where": ("Join", lambda: lf().join_where(lf(), pl.col("v") > pl.col("v_right"))),
    "join-asof": ("Join", lambda: lf().join_asof(lf(), on="t", by="k", tolerance="1d")),
    "gather": ("Gather", lambda: lf().gather([0, 2])),
    "match": ("MatchToSchema", lambda: lf().match_to_schema({**DATA.schema, "z": pl.Int8}, missing_columns="insert")),
    "pipe": ("PipeWithSchema", lambda: lf().pipe_with_schema(lambda frame, schema: frame)),
    "pivot": ("Pivot", lambda: lf().pivot("k", ["a", "b"], index="v", values="f", aggregate_function="sum")),
    "unique": ("Distinct", lambda: lf().unique("k", keep="last", maintain_order=True)),
    "sort": ("Sort", lambda: lf().sort("k", pl.col("v") % 2, descending=[True, False], nulls_last=True)),
    "top-k": ("Sort", lambda: lf().top_k(2, by="v")),
    "slice": ("Slice", lambda: lf().slice(1, 2)),
    "tail": ("Slice", lambda: lf().tail(2)),
    "row-index": ("MapFunction", lambda: lf().with_row_index("i", 3)),
    "explode": ("MapFunction", lambda: lf().explode("l")),
    "unnest": ("MapFunction", lambda: lf().unnest("s")),
    "rename": ("MapFunction", lambda: lf().rename({"k": "z"})),
    "unpivot": ("MapFunction", lambda: lf().unpivot(["v", "f"], index="k")),
    "map-batches": ("MapFunction", lambda: lf().map_batches(same, schema=DATA.schema)),
    "set-sorted": ("MapFunction", lambda: lf().set_sorted("v")),
    "drop-nulls": ("Filter", lambda: lf().drop_nulls("f")),
    "drop-nans": ("Filter", lambda: lf().drop_nans("f")),
    "drop": ("Select", lambda: lf().drop("v", cs.temporal())),
    "sum": ("MapFunction", lambda: lf().select("v").sum()),
    "quantile": ("MapFunction", lambda: lf().select("v").quantile(0.5)),
    "null-count": ("Select", lambda: lf().null_count()),
    "reverse": ("Select", lambda: lf().reverse()),
    "shift": ("Select", lambda: lf().shift(1)),
    "fill-null": ("HStack", lambda: lf().select("f").fill_null(0)),
    "fill-nan": ("MapFunction", lambda: lf().select("f").fill_nan(0)),
    "cast": ("Select", lambda: lf().select("v").cast(pl.Int8)),
    "union": ("Union", lambda: pl.concat([lf(), lf().head(1)])),
    "union-relaxed": ("Union", lambda: pl.concat([lf(), lf()], how="vertical_relaxed")),
    "union-diagonal": ("Union", lambda: pl.concat([lf(), lf().select("k")], how="diagonal")),
    "horizontal": ("HConcat", lambda: pl.concat([lf().select("k"), lf().select("v")], how="horizontal")),
    "sink": ("Sink", lambda: lf().sink_parquet("x.parquet", lazy=True)),
    "sink-parts": ("Sink", lambda: lf().sink_csv(pl.PartitionBy("x", key="k"), lazy=True)),
    "sinks": ("SinkMultiple", lambda: pl.collect_all([lf().sink_csv(name, lazy=True) for name in "xy"], lazy=True)),
    "merge-sorted": ("MergeSorted", lambda: lf().merge_sorted(lf(), "v")),
    "sql": ("SQL", lambda: lf().sql("SELECT k, SUM(v) AS v FROM self GROUP BY k")),
    "shared": ("Join", lambda: (lambda part: part.join(part, on="k"))(lf().filter(pl.col("v") > 1))),
}
# What is made of them is not looked at: the files are not there, or it is not a query.
NOT_RUN = {"parquet", "parquet-schema", "parquet-bytes", "csv", "ipc", "ndjson", "sink", "sink-parts", "sinks"}


def plan_of(name: str) -> pl.LazyFrame:
    return PLANS[name][1]()


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_plans_are_written_as_they_were_read(name: str) -> None:
    kind, make = PLANS[name]
    plan = make()
    root = decode(plan)
    assert kind in {node.kind for node in walk(root)}
    again = encode(root)
    if again != plan.serialize():  # slots in another order
        assert describe(decode(pl.LazyFrame.deserialize(io.BytesIO(again)))) == describe(root)
        assert len(again) == len(plan.serialize())
    if name not in NOT_RUN:
        assert_frame_equal(to_lazyframe(root).collect(), plan.collect(), check_row_order=False)


def test_every_kind_of_node_is_covered() -> None:
    known = {*codec.LEAVES, *codec.SINGLE_INPUT, *codec.INPUT_FIELDS, *codec.INLINE_INPUTS, "PipeWithSchema", "SQL"}
    assert known - {kind for kind, _ in PLANS.values()} == {"Resolver"}  # which `probes` make


def test_frames_stay_shared() -> None:
    shared = lf().filter(pl.col("v") > 1)
    root = decode(shared.join(shared, on="k"))
    assert root.inputs[0].input is root.inputs[1].input
    assert len(encode(root)) == len(shared.join(shared, on="k").serialize())


def test_digests() -> None:
    for name in PLANS:
        if name in ("python", "pipe", "map-groups", "map-batches", "cache"):
            continue  # pickled functions, and a number that is new for each cache
        assert decode(plan_of(name)).digest == decode(plan_of(name)).digest
    digests = {decode(plan_of(name)).digest for name in PLANS}
    assert len(digests) >= len(PLANS) - 1


# ---------------------------------------------------------------- a sample that does not change


def sample_query() -> pl.LazyFrame:
    left = pl.LazyFrame({"k": ["a", "b"], "v": [1, 2]})
    joined = left.filter(pl.col("v") > 0).join(left.rename({"v": "w"}), on="k", how="left")
    grouped = joined.group_by("k").agg((pl.col("v").sum() / pl.len()).round(2).alias("m"), pl.col("w").std())
    return pl.concat([grouped.sort("k", descending=True), grouped]).unique("k").head(3)


def describe(node: Node) -> Any:
    """Put a tree into plain values; data frames become their token."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, bytes):
            return value.hex()
        return value if isinstance(value, (str, int, float, bool, type(None))) else value.token

    return {"kind": node.kind, "fields": plain(node.fields), "inputs": [describe(item) for item in node.inputs]}


CHANGED = "the format of Polars' plans has changed: see the top of this file"


def test_the_sample_is_what_polars_writes() -> None:
    sample = SAMPLE.read_bytes()
    assert codec.header() == sample[: codec.HEADER_LENGTH], CHANGED
    assert sample_query().serialize() == sample, CHANGED


def test_the_sample_means_what_it_meant() -> None:
    sample = SAMPLE.read_bytes()
    root = decode(pl.LazyFrame.deserialize(io.BytesIO(sample)))
    assert describe(root) == json.loads(GOLDEN.read_text()), CHANGED
    assert describe(decode(to_lazyframe(root))) == describe(root), CHANGED
    assert_frame_equal(to_lazyframe(root).collect(), sample_query().collect(), check_row_order=False)


def test_a_format_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    codec.check_format()
    for header in (codec.MAGIC + b"\0" * 4 + b"0" * 64, b"SOMETHING" * 10):
        monkeypatch.setattr(codec, "header", lambda header=header: header)
        with pytest.raises(ImportError, match=r"polars .* writes its plans in a format .* knows those of polars 2\.1"):
            codec.check_format()


# ---------------------------------------------------------------- what is not known


@pytest.fixture
def three_rows() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync", "dask-polars.max-rows-per-partition": 1}):
        yield


def test_an_unknown_node_falls_back(monkeypatch: pytest.MonkeyPatch, three_rows: None) -> None:
    query = dp.from_polars(DATA, npartitions=3).sort("v", descending=True).select("k", "v")
    wanted = DATA.sort("v", descending=True).select("k", "v")
    assert_frame_equal(query.collect(fallback="raise"), wanted)
    monkeypatch.setattr(codec, "SINGLE_INPUT", tuple(kind for kind in codec.SINGLE_INPUT if kind != "Sort"))
    with pytest.raises(PlanDecodeError, match="'Sort'"):
        decode(query.to_polars())
    with pytest.warns(dp.FallbackWarning, match="'Sort' cannot be taken apart"):
        assert_frame_equal(query.collect(), wanted)
    with pytest.raises(dp.FallbackError, match="'Sort'"):
        query.collect(fallback="raise")
    assert "'Sort'" in query.explain()


def test_an_unknown_expression_falls_back(monkeypatch: pytest.MonkeyPatch, three_rows: None) -> None:
    query = dp.from_polars(DATA, npartitions=3).select(pl.col("v").cast(pl.Int8) + 1)
    wanted = DATA.select(pl.col("v").cast(pl.Int8) + 1)
    assert_frame_equal(query.collect(fallback="raise"), wanted)
    fields = {kind: names for kind, names in expressions._INPUT_FIELDS.items() if kind != "Cast"}
    monkeypatch.setattr(expressions, "_INPUT_FIELDS", fields)
    again = dp.from_polars(DATA, npartitions=3).select(pl.col("v").cast(pl.Int8) + 1)
    with pytest.warns(dp.FallbackWarning, match="Cast"):
        assert_frame_equal(again.collect(), wanted)
    assert shape({"Nonsense": {"input": []}}) is Shape.OTHER
    assert shape("Nonsense") is Shape.OTHER


# ---------------------------------------------------------------- expressions

A, B = pl.col("a"), pl.col("b")
SHAPES: list[tuple[Shape, list[pl.Expr]]] = [
    (Shape.LITERAL, [pl.lit(1), pl.lit(1) + 2, pl.lit(None).is_null(), pl.lit("x").str.len_chars().cast(pl.Int8)]),
    (
        Shape.ROW,
        [
            A,
            A.alias("z"),
            A + B,
            A + 1,
            -A,
            A.cast(pl.Int8),
            pl.when(A > 1).then(B).otherwise(0),
            A.is_null(),
            A.fill_null(B),
            A.fill_null(0),
            A.is_in([1, 2]),
            A.is_in(pl.Series([1, 2])),
            A.is_between(1, B),
            A.str.to_uppercase(),
            A.str.replace("x", "y"),
            A.str.split(","),
            A.dt.year(),
            A.dt.truncate("1d"),
            A.list.len(),
            A.list.sum(),
            A.list.eval(pl.element() + 1),
            A.struct.field("x"),
            pl.struct(A, B),
            pl.concat_str(A, B),
            pl.sum_horizontal(A, B),
            pl.coalesce(A, B),
            pl.max_horizontal(A, 1),
            A.round(2),
            A.clip(0, 1),
            A.hash(),
            A.map_elements(same, return_dtype=pl.Int8),
            A.map_batches(same, return_dtype=pl.Int8, is_elementwise=True),
            A.replace_strict({1: 2}),
            cs.numeric() + 1,
            A.name.suffix("_x"),
        ],
    ),
    (
        Shape.SCALAR,
        [
            pl.len(),
            A.sum(),
            A.mean(),
            A.min() + 1,
            A.sum() / B.sum(),
            A.std(),
            A.quantile(0.5),
            A.n_unique(),
            A.count(),
            A.first(),
            A.filter(B > 1).sum(),
            A.implode(),
            A.any(),
            (A + B).max().cast(pl.Int8),
            A.null_count(),
            A.median(),
        ],
    ),
    (Shape.MIXED, [A / A.sum(), A.mean() < A, pl.when(A > 1).then(B.max()).otherwise(A), A - A.min() + pl.len()]),
    (Shape.ROWS, [A.explode(), A.drop_nulls(), A.filter(B > 1)]),
    (
        Shape.OTHER,
        [
            A.sort(),
            A.reverse(),
            A.shift(1),
            A.cum_sum(),
            A.diff(),
            A.rank(),
            A.unique(),
            A.head(2),
            A.gather([0]),
            A.sum().over(B),
            A.rolling_mean(2),
            A.interpolate(),
            A.fill_null(strategy="forward"),
            A.map_batches(same, return_dtype=pl.Int8),
            A.sort_by(B),
            pl.lit(pl.Series([1, 2])),
            pl.int_range(pl.len()),
            A.value_counts(),
            A.rle_id(),
            A.is_duplicated(),
            A.is_first_distinct(),
            A.sample(2),
            A.mode(),
            A + B.cum_sum(),
            A.explode() + B,
            A.ewm_mean(com=1),
        ],
    ),
]


@pytest.mark.parametrize(
    ("wanted", "expr"), [(wanted, expr) for wanted, exprs in SHAPES for expr in exprs], ids=lambda item: str(item)[:60]
)
def test_shape(wanted: Shape, expr: pl.Expr) -> None:
    assert shape(decode_expr(expr)) is wanted


SELECTIONS: list[list[pl.Expr]] = [
    [pl.all()],
    [cs.all()],
    [cs.numeric() * 2],
    [pl.col("v", "f") + 1],
    [pl.col("^[vf]$")],
    [cs.exclude("k")],
    [pl.all().exclude("l", "s")],
    [cs.string() | cs.temporal()],
    [cs.numeric() - cs.float()],
    [~cs.numeric()],
    [cs.starts_with("v"), cs.last()],
    [cs.by_index(0, -1)],
    [pl.first(), pl.last()],
    [pl.nth(1)],
    [pl.col(pl.Int64)],
    [cs.by_dtype(pl.Float64, pl.String)],
    [cs.by_name("v", "k")],
    [cs.numeric().sum().name.prefix("sum_")],
    [pl.struct(cs.numeric()).alias("z")],
    [pl.sum_horizontal(cs.numeric()).alias("z"), pl.col("k")],
    [pl.coalesce(cs.numeric()).alias("z")],
    [pl.concat_str(pl.col("k", "v")).alias("z")],
    [pl.when(cs.numeric() > 1).then(pl.lit(1)).otherwise(cs.numeric()).name.keep()],
    [cs.numeric() / pl.col("v").sum()],
    [cs.matches("x")],
    [(cs.numeric() > 1).any()],
    [pl.col("v")],
    [pl.lit(1).alias("one")],
]


@pytest.mark.parametrize("exprs", SELECTIONS, ids=[str(index) for index in range(len(SELECTIONS))])
def test_selectors_mean_what_they_mean_to_polars(exprs: list[pl.Expr]) -> None:
    found = [to_expr(tree) for tree in expand([decode_expr(expr) for expr in exprs], DATA.schema)]
    assert all("Selector" not in str(decode_expr(expr)) for expr in found)
    assert_frame_equal(lf().select(found).collect(), lf().select(exprs).collect())


def test_selectors_in_aggregations_leave_out_the_keys() -> None:
    found = [to_expr(tree) for tree in expand([decode_expr(cs.integer().sum())], {"k": pl.Int8, "v": pl.Int8}, ["k"])]
    assert [expr.meta.output_name() for expr in found] == ["v"]


if __name__ == "__main__":
    SAMPLE.write_bytes(sample_query().serialize())
    GOLDEN.write_text(json.dumps(describe(decode(sample_query())), indent=1) + "\n")
