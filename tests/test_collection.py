"""``dp.LazyFrame``: the API of Polars, and what runs its queries."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import io
from pathlib import Path
from typing import Any

import dask
import dask.bag
import polars as pl
import pytest
from dask.base import tokenize
from polars.lazyframe.group_by import LazyGroupBy as PolarsLazyGroupBy
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.collection import LazyFrame
from dask_polars.notes import with_note

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5]})
OTHER = pl.DataFrame({"k": ["a", "b"], "w": [10, 20]})

# What takes more than in Polars, or says in its own words what it does.
SUPERSETS = {"collect", "explain"}
OWN_DOCUMENTATION = {"collect", "explain", "lazy", "show_graph"}


def frame(npartitions: int = 2) -> LazyFrame:
    return dp.from_polars(DATA, npartitions=npartitions)


# The modules that plan queries.
PLANNING = ("execution", "engine", "file_sinks", "dask_collection")


def forbid_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a distributed plan was made")

    for module in PLANNING:
        monkeypatch.setattr(f"dask_polars.{module}.plan_queries", planned)


def require_dask(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note the plans that are made."""
    made: list[Any] = []
    for module in PLANNING:
        name = f"dask_polars.{module}.plan_queries"
        original = __import__(f"dask_polars.{module}", fromlist=["x"]).plan_queries

        def planned(queries: Any, *args: Any, original: Any = original) -> Any:
            made.append(queries)
            return original(queries, *args)

        monkeypatch.setattr(name, planned)
    return made


# ---------------------------------------------------------------- the API of Polars


def public(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_")]


@pytest.mark.parametrize("name", public(pl.LazyFrame))
def test_member_of_lazyframe(name: str) -> None:
    theirs, ours = inspect.getattr_static(pl.LazyFrame, name), inspect.getattr_static(dp.LazyFrame, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        assert ours.__doc__ == theirs.__doc__
        return
    ours, theirs = getattr(dp.LazyFrame, name), getattr(pl.LazyFrame, name)
    if name not in OWN_DOCUMENTATION:
        made_by_rule = inspect.isfunction(inspect.getattr_static(pl.LazyFrame, name))
        assert ours.__doc__ == (with_note(theirs.__doc__, "LazyFrame", name) if made_by_rule else theirs.__doc__)
    wanted, found = inspect.signature(theirs), inspect.signature(ours)
    if name in SUPERSETS:
        assert set(wanted.parameters) <= set(found.parameters)
    elif name == "show_graph":
        # What only the picture of Polars has is passed on.
        assert any(item.kind is inspect.Parameter.VAR_KEYWORD for item in found.parameters.values())
    elif name == "lazy":
        assert list(found.parameters) == list(wanted.parameters)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", public(PolarsLazyGroupBy))
def test_member_of_group_by(name: str) -> None:
    theirs, ours = getattr(PolarsLazyGroupBy, name), getattr(dp.LazyGroupBy, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__doc__ == with_note(theirs.__doc__, "LazyGroupBy", name)


def test_methods_give_collections() -> None:
    grouped = frame().group_by("k")
    assert isinstance(grouped, dp.LazyGroupBy)
    assert isinstance(grouped.agg(pl.len()), LazyFrame)
    assert isinstance(frame().select("k"), LazyFrame)
    assert isinstance(frame()[1:], LazyFrame)
    assert isinstance(frame().pipe_with_schema(lambda lf, schema: lf), LazyFrame)
    assert isinstance(LazyFrame.deserialize(io.BytesIO(frame().serialize())), LazyFrame)


def test_properties() -> None:
    assert frame().collect_schema() == DATA.schema
    with pytest.warns(pl.exceptions.PerformanceWarning):
        assert frame().columns == ["k", "v"]
    with pytest.warns(pl.exceptions.PerformanceWarning):
        assert "k" in frame()


def test_construction() -> None:
    assert_frame_equal(LazyFrame({"a": [1, 2]}).collect(), pl.DataFrame({"a": [1, 2]}))
    assert_frame_equal(LazyFrame(DATA).collect(), DATA)
    assert_frame_equal(LazyFrame(frame()).collect(), DATA)
    assert frame().lazy().to_polars().collect_schema() == DATA.schema


def test_functions_are_given_collections(sync: None) -> None:
    assert frame().pipe(lambda lf, n: (type(lf), n), n=3) == (LazyFrame, 3)
    seen = []

    def first(lf: Any, schema: pl.Schema) -> Any:
        seen.append(type(lf))
        return lf.select(list(schema)[:1])

    assert frame().pipe_with_schema(first).collect().columns == ["k"]
    assert set(seen) == {LazyFrame}


@pytest.mark.parametrize("make", [dp.LazyFrame, pl.DataFrame.lazy, lambda df: df], ids=["dp", "pl", "frame"])
def test_other_frames(sync: None, make: Any) -> None:
    ours, other, theirs = frame(), make(OTHER), DATA.lazy()
    values = pl.DataFrame({"v": [0, 3, 9]})
    same = [
        (ours.join(other, on="k", maintain_order="left"), theirs.join(OTHER.lazy(), on="k", maintain_order="left")),
        (ours.join(other=other, on="k", how="semi"), theirs.join(OTHER.lazy(), on="k", how="semi")),
        (
            ours.join_where(other, pl.col("v") * 5 > pl.col("w")).sort("v", "w"),
            theirs.join_where(OTHER.lazy(), pl.col("v") * 5 > pl.col("w")).sort("v", "w"),
        ),
        (ours.update(make(values)), theirs.update(values.lazy())),
        (
            ours.select("v").merge_sorted(make(values), "v"),
            theirs.select("v").merge_sorted(values.lazy(), "v"),
        ),
        (ours.sort("v").join_asof(make(values), on="v"), theirs.sort("v").join_asof(values.lazy(), on="v")),
        (ours.gather(make(pl.DataFrame({"i": [2, 0]}))), theirs.gather(pl.LazyFrame({"i": [2, 0]}))),
        (dp.concat([ours, make(DATA)]), pl.concat([theirs, theirs])),
        (
            dp.concat((item for item in [ours, make(OTHER)]), how="diagonal"),
            pl.concat([theirs, OTHER.lazy()], how="diagonal"),
        ),
    ]
    for found, wanted in same:
        assert isinstance(found, LazyFrame)
        assert_frame_equal(found.collect(), wanted.collect(), check_row_order=True)


def test_what_is_no_frame_is_refused_as_by_polars() -> None:
    with pytest.raises(TypeError, match="expected `other`"):
        frame().join(3, on="k")
    with pytest.raises(TypeError):
        frame().join()
    with pytest.raises(TypeError, match="ambiguous"):
        bool(frame())
    with pytest.raises(TypeError, match="subscriptable"):
        frame()["k"]


def test_attributes_that_polars_removed_or_never_had() -> None:
    with pytest.raises(AttributeError, match="unpivot"):
        frame().melt  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        frame().nothing  # noqa: B018
    assert not hasattr(frame(), "_nothing")


def test_name_spaces_work_on_collections(sync: None) -> None:
    @pl.api.register_lazyframe_namespace("dp_test")
    class Extension:
        def __init__(self, lf: Any) -> None:
            self.lf = lf

        def first(self) -> Any:
            return self.lf.head(1)

    try:
        found = frame().dp_test.first()
        assert isinstance(found, LazyFrame)
        assert found.collect().rows() == [("a", 1)]
    finally:
        delattr(pl.LazyFrame, "dp_test")


def test_sql(sync: None) -> None:
    assert frame().sql("SELECT SUM(v) AS s FROM self").collect().item() == 15


# ---------------------------------------------------------------- what runs a query


def test_without_a_client_polars_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_dask(monkeypatch)
    lf = LazyFrame(DATA).with_columns(w=pl.col("v") + 1)
    assert lf.collect().height == 5
    assert lf.collect(background=True).fetch_blocking().height == 5
    assert sum(batch.height for batch in lf.collect_batches()) == 5
    assert lf.execute().n_rows_total == 5
    assert lf.describe().height == 9
    assert [item.height for item in dp.collect_all([lf, lf.head(1)])] == [5, 1]
    assert LazyFrame(DATA).collect(engine="in-memory").height == 5
    assert asyncio.run(collect_async(lf)).height == 5


async def collect_async(lf: Any) -> Any:
    return await lf.collect_async()


RUNS = {
    "collect": lambda lf, path: lf.collect(),
    "compute": lambda lf, path: lf.compute(),
    "background": lambda lf, path: lf.collect(background=True).fetch_blocking(),
    "execute": lambda lf, path: lf.execute().lazy().collect(),
    "batches": lambda lf, path: pl.concat(lf.collect_batches()),
    "batches-lazy": lambda lf, path: pl.concat(lf.collect_batches(lazy=True, chunk_size=2)),
    "batches-arrow": lambda lf, path: pl.DataFrame(lf.collect_batches()),
    "async": lambda lf, path: asyncio.run(collect_async(lf)),
    "collect_all": lambda lf, path: dp.collect_all([lf])[0],
    "parquet": lambda lf, path: (lf.sink_parquet(path), pl.read_parquet(path))[1],
    "ipc": lambda lf, path: (lf.sink_ipc(path), pl.read_ipc(path))[1],
    "csv": lambda lf, path: (lf.sink_csv(path), pl.read_csv(path))[1],
    "ndjson": lambda lf, path: (lf.sink_ndjson(path), pl.read_ndjson(path))[1],
    "lazy-sink": lambda lf, path: (lf.sink_parquet(path, lazy=True).collect(), pl.read_parquet(path))[1],
    "sink_batches": lambda lf, path: (got := [], lf.sink_batches(got.append), pl.concat(got))[2],
    "describe": lambda lf, path: (lf.describe(), DATA)[1],
    "show": lambda lf, path: (lf.show(2), DATA)[1],
}


@pytest.mark.parametrize("how", RUNS)
def test_with_a_scheduler_dask_runs_it(
    sync: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, capsys: Any
) -> None:
    plans = require_dask(monkeypatch)
    assert_frame_equal(RUNS[how](frame(3), tmp_path / "x"), DATA)
    assert plans
    assert how != "show" or "shape: (2, 2)" in capsys.readouterr().out


@pytest.mark.cluster
@pytest.mark.parametrize("how", RUNS)
def test_on_a_cluster(client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    plans = require_dask(monkeypatch)
    with dask.config.set({"dask-polars.fallback": "silent"}):
        assert_frame_equal(RUNS[how](frame(3), tmp_path / "x"), DATA)
    assert plans


def test_a_scheduler_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = require_dask(monkeypatch)
    for scheduler in ("sync", "threads", dask.get):
        assert_frame_equal(frame().collect(scheduler=scheduler), DATA)
    assert len(plans) == 3
    with dask.config.set(scheduler="threads"):
        assert_frame_equal(frame().collect(), DATA)
    assert len(plans) == 4
    with dask.config.set(scheduler="sync"):
        frame().collect(engine="streaming")
    assert len(plans) == 4
    with pytest.raises(ValueError, match="Expected one of"):
        frame().collect(scheduler="nothing")
    with pytest.raises(ValueError, match="an engine, or a scheduler"):
        frame().collect(engine="streaming", scheduler="sync")


def test_arguments_of_collect() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        frame().collect(foo=1)
    assert_frame_equal(frame().collect(optimizations=pl.QueryOptFlags.none()), DATA)
    assert_frame_equal(frame().collect(optimizations=pl.QueryOptFlags.none(), scheduler="sync"), DATA)
    shuffled = frame().select(pl.all().shuffle())
    with pytest.raises(dp.FallbackError, match="Random"):
        shuffled.collect(scheduler="sync", fallback="raise")
    with pytest.warns(dp.FallbackWarning, match="Random") as caught:
        assert shuffled.collect(scheduler="sync").height == 5
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="fallback must be one of"):
        shuffled.collect(fallback="nothing")


def test_errors_are_those_of_polars(sync: None) -> None:
    wrong = frame().select("zz")
    for how in ("collect", "compute", "batches", "execute", "background", "collect_all"):
        with pytest.raises(pl.exceptions.ColumnNotFoundError, match="zz"):
            RUNS[how](wrong, Path("x"))
    late = frame().select(pl.col("k").str.to_integer())
    for how in ("collect", "compute", "batches", "execute", "background", "collect_all"):
        with pytest.raises(pl.exceptions.ComputeError, match="parsing failed"):
            RUNS[how](late, Path("x"))


def test_describe_is_that_of_polars(sync: None) -> None:
    data = DATA.with_columns(d=datetime.date(2020, 1, 1), f=pl.col("v") / 3)
    assert_frame_equal(dp.from_polars(data, npartitions=3).describe(), data.lazy().describe())


def test_nothing_runs_before_it_must(sync: None, tmp_path: Path) -> None:
    calls: list[int] = []

    def note(part: pl.DataFrame) -> pl.DataFrame:
        calls.append(part.height)
        return part

    lf = frame().map_partitions(note, schema=DATA.schema)
    lf.select("v").collect_schema()
    lf.explain()
    lf.explain(engine="polars")
    assert lf.join(lf, on="k").sort("v").npartitions > 0
    tokenize(lf)
    repr(lf)
    lf.collect_batches(lazy=True)
    lf.sink_parquet(tmp_path / "x", lazy=True)
    assert calls == []
    lf.collect()
    assert sorted(calls) == [2, 3]


def test_printing_asks_no_object_store_and_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a request, to print")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    options = {"endpoint_url": "http://127.0.0.1:9", "aws_region": "x", "key": "x", "secret": "x"}
    far = dp.scan_parquet("s3://bucket/x/*.parquet", storage_options=options)
    wrong = dp.from_polars(pl.DataFrame({"a": [1]})).select("b")
    missing = dp.scan_parquet("no/such/*.parquet")
    for lf in (far, far.filter(pl.col("a") > 1).join(far, on="a"), wrong, missing):
        assert repr(lf) == "<dask_polars.LazyFrame (schema not resolved)>"
    known = dp.from_polars(pl.DataFrame({"a": [1]}), npartitions=1)
    assert known.npartitions == 1
    assert repr(known) == "<dask_polars.LazyFrame [a: Int64]>"
