"""Collections and those of dask.dataframe, each from the other; and streams of Arrow."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dask.base import tokenize
from dask.dataframe.utils import check_meta
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.graph.expr import PlanExpr
from tests.pieces import DATA, noted, scattered

# ---------------------------------------------------------------- dask.dataframe

# Two rows of each type, the second of which is null.
TYPES: dict[str, pl.Series] = {
    **{str(dtype): pl.Series([1, None], dtype=dtype) for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)},
    **{str(dtype): pl.Series([1, None], dtype=dtype) for dtype in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)},
    **{str(dtype): pl.Series([1.5, None], dtype=dtype) for dtype in (pl.Float32, pl.Float64)},
    "nan": pl.Series([float("nan"), None]),
    "bool": pl.Series([True, None]),
    "string": pl.Series(["ä", None]),
    "binary": pl.Series([b"x", None]),
    "date": pl.Series([date(2020, 2, 29), None]),
    "time": pl.Series([time(1, 2, 3), None]),
    **{
        f"datetime-{unit}": pl.Series([datetime(2020, 1, 1), None], dtype=pl.Datetime(unit))
        for unit in ("ms", "us", "ns")
    },
    "zone": pl.Series([datetime(2020, 1, 1), None]).dt.replace_time_zone("Europe/Rome"),
    **{f"duration-{unit}": pl.Series([timedelta(1), None], dtype=pl.Duration(unit)) for unit in ("ms", "us", "ns")},
    "decimal": pl.Series([Decimal("1.50"), None], dtype=pl.Decimal(10, 2)),
    "list": pl.Series([[1, None], None]),
    "texts": pl.Series([["a", None], None]),
    "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"a": 1, "b": "x"}, None]),
    "null": pl.Series([None, None]),
    "enum": pl.Series(["b", None], dtype=pl.Enum(["c", "b", "a"])),
    "categorical": pl.Series(["b", None], dtype=pl.Categorical),
}
EVERY = pl.DataFrame(TYPES)


@pytest.mark.parametrize("backend", ["pyarrow", "numpy_nullable"])
@pytest.mark.parametrize("name", TYPES)
def test_every_type(sync: None, name: str, backend: str) -> None:
    """The types are the same in all partitions: of values, of nulls, and of no rows."""
    column = EVERY.select(name)
    lf = dp.concat([dp.from_polars(column, npartitions=2), dp.from_polars(column.clear()), dp.from_polars(column)])
    ddf = lf.to_dask_dataframe(dtype_backend=backend)
    assert ddf.npartitions == 4
    for part in [*dask.compute(*ddf.to_delayed()), ddf.compute()]:
        check_meta(part, ddf._meta)
        if name != "categorical":
            assert part.dtypes[name] == ddf.dtypes[name]
    assert len(ddf) == 4
    back = dp.from_dask_dataframe(ddf)
    assert back.collect_schema() == lf.collect_schema()
    # NaN is a missing value in floats of pandas that have a mask.
    wanted = lf.fill_nan(None) if (name, backend) == ("nan", "numpy_nullable") else lf
    assert_frame_equal(back.collect(), wanted.collect())


def test_types_of_pandas(sync: None) -> None:
    ddf = dp.from_polars(EVERY).to_dask_dataframe()
    assert ddf.dtypes["Int8"] == pd.ArrowDtype(pa.int8())
    assert ddf.dtypes["string"] == pd.StringDtype("pyarrow")
    assert ddf.dtypes["zone"] == pd.ArrowDtype(pa.timestamp("us", "Europe/Rome"))
    assert list(ddf.enum.cat.categories) == ["c", "b", "a"]
    assert ddf.enum.dtype.ordered
    assert not ddf.categorical.cat.known
    nullable = dp.from_polars(EVERY).to_dask_dataframe(dtype_backend="numpy_nullable").dtypes
    assert nullable["Int8"] == pd.Int8Dtype()
    assert nullable["Float32"] == pd.Float32Dtype()
    assert nullable["bool"] == pd.BooleanDtype()
    assert nullable["string"] == pd.StringDtype("pyarrow")
    assert nullable["datetime-ms"] == "datetime64[ms]"
    assert nullable["zone"] == "datetime64[us, Europe/Rome]"
    assert nullable["date"] == pd.ArrowDtype(pa.date32())
    with pytest.raises(TypeError, match="column 'w' is Int128, which has no type in pandas"):
        dp.from_polars(pl.DataFrame({"v": [1], "w": pl.Series([1], dtype=pl.Int128)})).to_dask_dataframe()


def test_numbers_are_not_copied() -> None:
    from dask_polars.io.pandas_frames import FromPandas, ToPandas

    frame = pl.DataFrame({"v": range(1000), "w": pl.Series(range(1000), dtype=pl.Float64)})
    there = ToPandas("pyarrow")(frame)
    back = FromPandas(False, True)(there)
    for name in ("v", "w"):
        address = frame[name].to_arrow().buffers()[1].address
        assert address == pa.chunked_array(there[name]).chunk(0).buffers()[1].address
        assert address == back[name].to_arrow().buffers()[1].address
    numpy = pd.DataFrame({"v": range(1000), "w": [float(n) for n in range(1000)]})
    taken = FromPandas(False, True)(numpy)
    for name in ("v", "w"):
        assert taken[name].to_arrow().buffers()[1].address == numpy[name].to_numpy().ctypes.data


def test_to_dask_dataframe(where: str) -> None:
    lf = dp.from_polars(DATA, npartitions=3).with_columns(w=pl.col("v") * 2)
    ddf = lf.to_dask_dataframe()
    assert isinstance(ddf, dd.DataFrame)
    assert ddf.npartitions == 3
    assert not ddf.known_divisions
    wanted = DATA.with_columns(w=pl.col("v") * 2)
    assert_frame_equal(pl.from_pandas(ddf.compute()), wanted)
    assert int(ddf.w.sum().compute()) == 32
    assert ddf.groupby("k").v.sum().compute().to_dict() == {"a": 4, "b": 2, "c": 4}
    assert len(ddf) == len(ddf.v) == len(ddf[ddf.v > 0]) + 1 == 6
    assert ddf.head(1, npartitions=2).v.to_list() == [1]
    assert_frame_equal(pl.from_pandas(ddf.partitions[1].compute()), wanted.slice(2, 2))
    merged = ddf.merge(ddf[["k", "w"]], on="k", how="inner", suffixes=("", "_r"))
    with_nulls = DATA.drop_nulls("k").join(DATA.drop_nulls("k"), on="k").height + 1  # pandas joins nulls
    assert len(merged.compute()) == with_nulls
    indexed = lf.to_dask_dataframe(index="k")
    assert indexed.index.name == "k"
    assert list(indexed.columns) == ["v", "w"]
    assert indexed.v.compute().to_dict()["c"] == 4
    assert (ddf.v + ddf.w).sum().compute() == 48
    again = pickle.loads(pickle.dumps(ddf))
    assert again._name == ddf._name
    assert int(again.w.sum().compute()) == 32


def test_wrong_arguments_of_to_dask_dataframe() -> None:
    lf = dp.from_polars(DATA)
    with pytest.raises(ValueError, match="dtype_backend must be one of"):
        lf.to_dask_dataframe(dtype_backend="numpy")
    with pytest.raises(ValueError, match="no column 'z' to be the index"):
        lf.to_dask_dataframe(index="z")
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        lf.select("z").to_dask_dataframe()


def test_only_the_columns_that_are_needed_are_read(sync: None, tmp_path: Path) -> None:
    scattered(tmp_path)
    grouped = dp.scan_parquet(tmp_path / "*.parquet").group_by("k").agg(pl.col("v").sum()).to_dask_dataframe()
    scanned = dp.scan_parquet(tmp_path / "*.parquet").filter(pl.col("k") == "a").to_dask_dataframe()
    optimized = scanned.v.sum().optimize().expr
    (plan,) = optimized.find_operations(PlanExpr)
    assert list(plan.operand("stage").schema) == ["v"]
    assert int(scanned.v.sum().compute()) == 4
    assert len(scanned) == 2
    (whole,) = grouped.v.sum().optimize().expr.find_operations(PlanExpr)
    assert list(whole.operand("stage").schema) == ["k", "v"]  # computed once, for all that read it
    assert "PlanExpr(" in "\n".join(scanned.v.optimize().expr._tree_repr_lines())


def test_one_compute_for_both(where: str, tmp_path: Path) -> None:
    lf = dp.from_map(noted, [tmp_path] * 3, range(3), schema=DATA.schema)
    ddf = lf.to_dask_dataframe()
    scheduler = {"scheduler": "sync"} if where == "polars" else {}
    total, rows, count = dask.compute(ddf.v.sum(), lf, lf.select(pl.len()), **scheduler)
    assert int(total) == 16
    assert_frame_equal(rows, DATA)
    assert count.item() == 6
    back = dp.from_dask_dataframe(ddf.assign(w=ddf.v + 1))
    frame, other = dask.compute(ddf, back.select(pl.col("w").sum()), **scheduler)
    assert len(frame) == 6
    assert other.item() == 21


def test_what_both_read_is_computed_once(sync: None, tmp_path: Path) -> None:
    lf = dp.from_map(noted, [tmp_path] * 3, range(3), schema=DATA.schema)
    ddf = lf.to_dask_dataframe()
    dask.compute(ddf.v.sum(), ddf.groupby("k").v.max(), lf)
    assert len(os.listdir(tmp_path)) == 3
    dask.compute(ddf.partitions[1])
    assert len(os.listdir(tmp_path)) == 4


def test_persisted_together(where: str) -> None:
    lf = dp.from_polars(DATA, npartitions=3)
    scheduler = {"scheduler": "sync"} if where == "polars" else {}
    kept, frame = dask.persist(lf.to_dask_dataframe(), lf.with_columns(w=pl.col("v") * 2), **scheduler)
    assert isinstance(kept, dd.DataFrame)
    assert_frame_equal(pl.from_pandas(kept.compute(**scheduler)), DATA)
    assert_frame_equal(frame.select("k", "v").collect(), DATA)
    back = dp.from_dask_dataframe(kept)
    assert back.npartitions == 3
    assert_frame_equal(back.collect(), DATA)
    assert_frame_equal(back.filter(pl.col("v") > 2).collect(), DATA.filter(pl.col("v") > 2))
    again = dp.from_polars(DATA, npartitions=3).persist(**scheduler).to_dask_dataframe()
    assert_frame_equal(pl.from_pandas(again.compute(**scheduler)), DATA)
    (optimized,) = dask.optimize(lf.filter(pl.col("v") > 2))
    assert_frame_equal(optimized.compute(**scheduler), DATA.filter(pl.col("v") > 2))


@pytest.mark.cluster
def test_shuffles_of_both_on_a_cluster(client: Any) -> None:
    data = pl.DataFrame({"k": [i % 17 for i in range(200)], "v": range(200)})
    with dask.config.set({"dask-polars.broadcast-limit": 0, "dask-polars.partition-size": "64 B"}):
        lf = dp.from_polars(data, npartitions=4)
        joined = lf.join(lf.group_by("k").agg(s=pl.col("v").sum()), on="k")
        ddf = joined.to_dask_dataframe()
        found = ddf.merge(ddf[["k"]].drop_duplicates(), on="k", shuffle_method="p2p").groupby("k").s.max().compute()
        wanted = data.group_by("k").agg(pl.col("v").sum()).rows()
        assert {int(k): int(s) for k, s in found.items()} == dict(wanted)
        back = dp.from_dask_dataframe(ddf.shuffle("k", shuffle_method="p2p"))
        assert dict(back.group_by("k").agg(pl.col("s").max()).collect().rows()) == dict(wanted)


# ---------------------------------------------------------------- from dask.dataframe

PANDAS = pd.DataFrame(
    {
        "int": [1, 2, 3, 4],
        "float": [1.5, float("nan"), 2.5, 3.5],
        "bool": [True, False, True, False],
        "Int": pd.array([1, None, 3, 4], dtype="Int32"),
        "boolean": pd.array([True, None, False, None], dtype="boolean"),
        "string": pd.array(["a", None, "b", "ä"], dtype=pd.StringDtype("pyarrow")),
        "arrow": pd.array(["a", None, "b", "ä"], dtype=pd.ArrowDtype(pa.string())),
        "nan": pd.arrays.ArrowExtensionArray(pa.array([1.0, None, float("nan"), 2.0])),
        "cat": pd.Categorical(["x", None, "y", "x"]),
        "ordered": pd.Categorical(["x", None, "y", "x"], categories=["y", "x"], ordered=True),
        "zone": pd.to_datetime(["2020-01-01", None, "2020-01-03", "2020-01-04"]).tz_localize("Europe/Rome"),
        "time": pd.to_datetime(["2020-01-01", None, "2020-01-03", "2020-01-04"]).as_unit("ns"),
        "delta": pd.to_timedelta([1, None, 3, 4], unit="s"),
        "date": pd.array([date(2020, 1, 1), None, None, None], dtype=pd.ArrowDtype(pa.date32())),
    }
)


def test_from_dask_dataframe(where: str) -> None:
    ddf = dd.from_pandas(PANDAS, npartitions=2)
    lf = dp.from_dask_dataframe(ddf)
    assert lf.npartitions == 2
    wanted = pl.from_pandas(PANDAS).cast({"ordered": pl.Enum(["y", "x"])})
    assert lf.collect_schema() == wanted.schema
    assert_frame_equal(lf.collect(), wanted)
    assert lf.collect_schema()["zone"].time_zone == "Europe/Rome"
    assert lf.select(pl.col("nan").is_nan().sum()).collect().item() == 1  # what Arrow says is NaN stays it
    assert lf.select(pl.col("float").null_count()).collect().item() == 1
    kept = dp.from_dask_dataframe(ddf, nan_to_null=False)
    assert kept.select(pl.col("float").is_nan().sum()).collect().item() == 1
    query = lf.filter(pl.col("int") > 1).group_by("bool").agg(pl.col("Int").sum()).sort("bool")
    assert query.collect().rows() == [(False, 4), (True, 3)]
    changed = dp.from_dask_dataframe(ddf.assign(more=ddf.int * 2)[ddf.int > 2][["more", "string"]])
    assert changed.collect().rows() == [(6, "b"), (8, "ä")]
    assert_frame_equal(pickle.loads(pickle.dumps(changed)).collect(), changed.collect())


def test_the_index() -> None:
    data = pd.DataFrame({"v": [1, 2, 3]}, index=pd.Index([7, 8, 9], name="id"))
    named, unnamed = dd.from_pandas(data, npartitions=2), dd.from_pandas(data.rename_axis(None), npartitions=2)
    assert dp.from_dask_dataframe(named).collect().rows() == [(7, 1), (8, 2), (9, 3)]
    assert dp.from_dask_dataframe(named).collect_schema().names() == ["id", "v"]
    assert dp.from_dask_dataframe(named, include_index=False).collect().rows() == [(1,), (2,), (3,)]
    assert dp.from_dask_dataframe(unnamed).collect_schema().names() == ["v"]
    assert dp.from_dask_dataframe(unnamed, include_index=True).collect().columns == ["index", "v"]
    with pytest.raises(ValueError, match="id"):
        dp.from_dask_dataframe(named.assign(id=1))


def test_objects_and_overrides(sync: None) -> None:
    data = pd.DataFrame({"o": ["a", None, "b"], "d": [date(2020, 1, 1), None, None], "n": [1, 2, 3]}, dtype=object)
    data["n"] = [1, 2, 3]
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_pandas(data, npartitions=3)
        assert dp.from_dask_dataframe(ddf[["o"]]).collect()["o"].to_list() == ["a", None, "b"]
        with pytest.raises(
            pl.exceptions.SchemaError, match=r"partition 0 of the collection .* 'd' is Date, not String"
        ):
            dp.from_dask_dataframe(ddf).collect()
        told = dp.from_dask_dataframe(ddf, schema_overrides={"d": pl.Date, "n": pl.Int8})
        assert told.collect_schema() == {"o": pl.String, "d": pl.Date, "n": pl.Int8}
        assert told.collect().rows() == [("a", date(2020, 1, 1), 1), (None, None, 2), ("b", None, 3)]
        with pytest.raises(ValueError, match=r"not there: \['z'\]"):
            dp.from_dask_dataframe(ddf, schema_overrides={"z": pl.Int8})


def test_partitions_of_another_type_than_said(sync: None) -> None:
    ddf = dd.from_map(lambda n: pd.DataFrame({"a": [n] if n else [None]}), [1, 0], meta=pd.DataFrame({"a": [1]}))
    with pytest.raises(
        pl.exceptions.SchemaError, match=r"partition 1 of the collection of dask.dataframe .* 'a' is .*, not Int64"
    ):
        dp.from_dask_dataframe(
            ddf.map_partitions(lambda part: part.astype(float) if part.a.isna().any() else part, meta=ddf._meta)
        ).collect()


def test_empty_partitions_of_pandas(sync: None) -> None:
    ddf = dd.from_pandas(PANDAS, npartitions=4)
    lf = dp.from_dask_dataframe(ddf[ddf.int == 3])
    assert lf.npartitions == 4
    assert_frame_equal(lf.collect(), dp.from_dask_dataframe(ddf).filter(pl.col("int") == 3).collect())
    assert dp.from_dask_dataframe(ddf[ddf.int > 9]).collect().height == 0


def test_what_is_no_dask_dataframe() -> None:
    ddf = dd.from_pandas(PANDAS, npartitions=1)
    for wrong, message in ((ddf.int, "Series; use its to_frame"), (PANDAS, "not a DataFrame$"), (1, "not a int")):
        with pytest.raises(TypeError, match=message):
            dp.from_dask_dataframe(wrong)
    numbered = dd.from_pandas(pd.DataFrame({0: [1], 1: [2]}), npartitions=1)
    assert dp.from_dask_dataframe(numbered).collect().columns == ["0", "1"]
    with pytest.raises(ValueError, match="same name"):
        dp.from_dask_dataframe(dd.from_pandas(pd.DataFrame({0: [1], "0": [2]}), npartitions=1))


def test_tokens_of_both_directions() -> None:
    def there(data: pl.DataFrame = DATA, **kwargs: Any) -> Any:
        return dp.from_polars(data, npartitions=2).to_dask_dataframe(**kwargs)

    assert there()._name == there()._name
    assert len({item._name for item in (there(), there(DATA.head(2)), there(index="k"), there()[["v"]])}) == 4
    ddf = dd.from_pandas(PANDAS, npartitions=2)
    assert tokenize(dp.from_dask_dataframe(ddf)) == tokenize(dp.from_dask_dataframe(ddf))
    assert tokenize(dp.from_dask_dataframe(ddf)) != tokenize(dp.from_dask_dataframe(ddf, nan_to_null=False))
    assert tokenize(dp.from_dask_dataframe(ddf)) != tokenize(dp.from_dask_dataframe(ddf[["int"]]))


# ---------------------------------------------------------------- Arrow


def test_a_stream_of_arrow(where: str) -> None:
    lf = dp.from_polars(DATA, npartitions=3).filter(pl.col("v").ne_missing(2))
    wanted = DATA.filter(pl.col("v").ne_missing(2))
    for _ in range(2):  # it can be read more than once
        assert_frame_equal(pl.DataFrame(lf), wanted)
        assert_frame_equal(pl.from_arrow(lf).struct.unnest(), wanted)  # type: ignore[arg-type, union-attr]
        reader = pa.RecordBatchReader.from_stream(lf)
        assert_frame_equal(pl.from_arrow(reader.read_all()), wanted)  # type: ignore[arg-type]
    asked = pa.schema({"k": pa.large_string(), "v": pa.float64()})
    assert pa.RecordBatchReader.from_stream(lf, schema=asked).read_all().schema == asked
    assert pa.table(lf.filter(pl.col("v") > 100)).num_rows == 0


def test_every_type_as_arrow(sync: None) -> None:
    assert_frame_equal(pl.DataFrame(dp.from_polars(EVERY, npartitions=3)), EVERY)
    assert_frame_equal(pl.DataFrame(dp.from_polars(EVERY.clear(), npartitions=3)), EVERY.clear())


def test_errors_in_a_stream(where: str) -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        pa.table(dp.from_polars(DATA).select("z"))
    late = dp.from_polars(DATA, npartitions=2).select(pl.col("k").str.to_integer())
    with pytest.raises(Exception, match="parsing"):
        pa.table(late)


# ---------------------------------------------------------------- without pandas

WITHOUT_PANDAS = """
import sys
import dask_polars as dp, polars as pl
assert not {"pandas", "dask.dataframe"} & set(sys.modules), "imported with dask_polars"
sys.modules["pandas"] = None
lf = dp.from_map(lambda n: pl.DataFrame({"a": [n]}), range(3))
assert lf.select(pl.col("a").sum()).collect(scheduler="sync").item() == 3
assert pl.DataFrame(lf)["a"].to_list() == [0, 1, 2]
for call in (lf.to_dask_dataframe, lambda: dp.from_dask_dataframe(1)):
    try:
        call()
    except ImportError as error:
        assert "dask[dataframe]" in str(error), error
    else:
        raise AssertionError("no ImportError")
print("done")
"""


def test_without_pandas() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr
