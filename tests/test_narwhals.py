"""Collections in Narwhals: what libraries that are built on it do with them, compared with lazy frames of Polars."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import narwhals as nw
import narwhals.stable.v1 as nw_v1
import polars as pl
import pytest
from narwhals import plugins
from polars.testing import assert_frame_equal

import dask_polars as dp

ROOT = Path(__file__).parents[1]
DATA = pl.DataFrame({"k": ["a", "b", "a", None, "b"], "v": [1, 2, 3, 4, 5], "w": [0.5, None, 1.5, 2.5, -1.0]})
OTHER = pl.DataFrame({"k": ["a", "b", "c"], "z": [10, 20, 30]})


pytestmark = pytest.mark.usefixtures("narwhals_plugin")


@pytest.fixture(autouse=True)
def sync() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync", "dask-polars.fallback": "silent"}):
        yield


def collection(frame: pl.DataFrame = DATA) -> dp.LazyFrame:
    return dp.from_polars(frame, npartitions=3)


QUERIES: dict[str, Callable[[Any, Any], Any]] = {
    "filter": lambda t, o: t.filter(nw.col("v") > 1),
    "with_columns": lambda t, o: t.with_columns(x=nw.col("v") * 2, y=nw.lit(1)),
    "select_names": lambda t, o: t.select("w", "k"),
    "selectors": lambda t, o: t.select(nw.selectors.numeric()),
    "aggregate": lambda t, o: t.select(nw.col("v").sum(), m=nw.col("w").mean(), n=nw.len()),
    "group_by": lambda t, o: t.group_by("k").agg(nw.col("v").sum(), nw.len().alias("n")).sort("k"),
    "group_by_without_nulls": lambda t, o: t.group_by("k", drop_null_keys=True).agg(nw.col("w").max()).sort("k"),
    "join": lambda t, o: t.join(o, on="k").sort("v"),
    "join_anti": lambda t, o: t.join(o, on="k", how="anti"),
    "join_asof": lambda t, o: t.join_asof(t.select("v", u="k"), on="v"),
    "concat": lambda t, o: nw.concat([t, t]),
    "concat_diagonal": lambda t, o: nw.concat([t, o], how="diagonal"),
    "sort_head": lambda t, o: t.sort("v", descending=True).head(2),
    "top_k": lambda t, o: t.top_k(2, by="v").sort("v"),
    "unique": lambda t, o: t.unique("k", keep="any").select("k").sort("k"),
    "unpivot": lambda t, o: t.select("k", "v").unpivot(["v"], index="k").sort("value"),
    "row_index": lambda t, o: t.with_row_index("i", order_by="v"),
    "over": lambda t, o: t.with_columns(c=nw.col("v").cum_sum().over("k", order_by="v")),
    "drop_rename_cast": lambda t, o: t.drop("w").rename({"v": "x"}).cast({"x": nw.Float64}),
    "drop_nulls": lambda t, o: t.drop_nulls(["w"]),
    "when": lambda t, o: t.select(nw.when(nw.col("v") > 2).then(nw.col("v")).otherwise(0)),
    "strings": lambda t, o: t.select(nw.concat_str("k", nw.lit("!")), nw.col("k").str.to_uppercase().alias("u")),
}


@pytest.mark.parametrize(
    ("name", "version"), [*((name, nw) for name in QUERIES), ("filter", nw_v1), ("aggregate", nw_v1), ("join", nw_v1)]
)
def test_query(name: str, version: Any) -> None:
    query = QUERIES[name]
    expected = query(nw.from_native(DATA.lazy()), nw.from_native(OTHER.lazy())).collect().to_native()
    ours = query(version.from_native(collection()), version.from_native(collection(OTHER)))
    assert isinstance(ours.to_native(), dp.LazyFrame)
    assert_frame_equal(ours.collect().to_native(), expected)


def test_what_narwhals_is_told() -> None:
    frame = nw.from_native(collection())
    assert isinstance(frame, nw.LazyFrame)
    assert frame.implementation is nw.Implementation.UNKNOWN  # not Polars, whose lazy frames are no collections
    assert nw.get_native_namespace(frame) is dp
    assert frame.collect_schema().names() == ["k", "v", "w"]
    assert frame.columns == ["k", "v", "w"]
    assert isinstance(frame.lazy().to_native(), dp.LazyFrame)


def test_no_frame_of_others_is_taken() -> None:
    assert nw.from_native(DATA.lazy()).implementation is nw.Implementation.POLARS
    with pytest.raises(TypeError, match="Unsupported dataframe type"):
        nw.from_native(object())
    with pytest.raises(TypeError, match="eager_only"):
        nw.from_native(collection(), eager_only=True)


def test_narwhalify() -> None:
    @nw.narwhalify
    def largest(frame: Any) -> Any:
        return frame.select(nw.col("v").max())

    found = largest(collection())
    assert isinstance(found, dp.LazyFrame)
    assert found.collect().item() == 5


def test_collect_for_other_libraries() -> None:
    frame = nw.from_native(collection().select("k", "v"))
    assert frame.collect("pyarrow").to_native().to_pydict() == {"k": ["a", "b", "a", None, "b"], "v": [1, 2, 3, 4, 5]}
    assert frame.collect("pandas").to_native()["v"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("backend", [dp, plugins.PluginName("dask-polars")], ids=["module", "name"])
def test_scans(tmp_path: Path, backend: Any) -> None:
    DATA.write_parquet(tmp_path / "a.parquet")
    DATA.write_csv(tmp_path / "a.csv", separator=";")
    for scanned in (
        nw.scan_parquet(str(tmp_path / "a.parquet"), backend=backend),
        nw.scan_csv(str(tmp_path / "a.csv"), backend=backend, separator=";"),
    ):
        assert isinstance(scanned.to_native(), dp.LazyFrame)
        assert_frame_equal(scanned.collect().to_native(), DATA)


def test_sink(tmp_path: Path) -> None:
    nw.from_native(collection()).sink_parquet(tmp_path / "out.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), DATA)


def test_errors_are_those_of_narwhals() -> None:
    with pytest.raises(nw.exceptions.ColumnNotFoundError, match="nope"):
        nw.from_native(collection()).filter(nw.col("nope") > 1).collect()


@pytest.mark.cluster
def test_on_a_cluster(client: Any) -> None:
    frame = nw.from_native(collection())
    with dask.config.set({"dask-polars.max-rows-per-partition": 2}):
        found = frame.group_by("k").agg(nw.col("v").sum()).sort("k").collect()
    assert found.to_native().rows() == [(None, 4), ("a", 4), ("b", 7)]


def test_other_programs_do_not_import_us() -> None:
    """Narwhals loads the plugin for any object that it does not know."""
    code = """if True:
        import sys, narwhals_dask_polars
        assert not narwhals_dask_polars.NATIVE_PACKAGE in sys.modules
        assert not {"polars", "dask"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
