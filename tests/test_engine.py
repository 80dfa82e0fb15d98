"""``DaskEngine``: plain Polars code, run by Dask."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from dask.base import tokenize
from polars.testing import assert_frame_equal

import dask_polars as dp
from tests.engines import DATA, SUMS, awaited, engine, sums


@pytest.fixture
def sync() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync"}):
        yield


# ---------------------------------------------------------------- an engine of Polars


def test_is_an_engine() -> None:
    assert isinstance(dp.DaskEngine(), pl.Engine if hasattr(pl, "Engine") else object)
    assert dp.DaskEngine().name == "dask"
    assert sums().collect(engine=dp.DaskEngine()).rows() == SUMS  # no client: Polars runs it


def test_options() -> None:
    assert repr(dp.DaskEngine()) == "DaskEngine()"
    given = dp.DaskEngine(fallback="raise", partition_size="1 MiB")
    assert repr(given) == "DaskEngine(fallback='raise', partition_size='1 MiB')"
    assert repr(pickle.loads(pickle.dumps(given))) == repr(given)
    assert tokenize(given) == tokenize(pickle.loads(pickle.dumps(given))) != tokenize(dp.DaskEngine())
    for wrong in (
        {"fallback": "no"},
        {"partition_size": 0},
        {"partition_size": "many"},
        {"max_rows_per_partition": 0},
        {"broadcast_limit": "x"},
        {"shuffle_method": "disk"},
    ):
        with pytest.raises(ValueError):
            dp.DaskEngine(**wrong)
    with pytest.raises(TypeError, match=r"takes a distributed\.Client"):
        dp.DaskEngine("tcp://scheduler:8786")
    with pytest.raises(TypeError):
        dp.DaskEngine(partition_sise=1)


def test_options_are_used(sync: None) -> None:
    shuffled = DATA.lazy().select(pl.all().shuffle())
    with pytest.raises(dp.FallbackError, match="Random"):
        shuffled.collect(engine=engine(fallback="raise"))
    with pytest.warns(dp.FallbackWarning, match="Random") as caught:
        shuffled.collect(engine=engine(fallback="warn"))
    assert caught[0].filename == __file__
    assert shuffled.execute(engine=engine()).collection().npartitions == 1
    assert DATA.lazy().execute(engine=engine()).collection().npartitions == 3
    assert DATA.lazy().execute(engine=engine(max_rows_per_partition=1)).collection().npartitions == 5


def test_optimizations_are_accepted(sync: None) -> None:
    for flags in (pl.QueryOptFlags(), pl.QueryOptFlags.none()):
        assert sums().collect(engine=engine(), optimizations=flags).rows() == SUMS
        assert pl.collect_all([sums()], engine=engine(), optimizations=flags)[0].rows() == SUMS


def test_collect_all(sync: None) -> None:
    calls: list[int] = []

    def note(part: pl.DataFrame) -> pl.DataFrame:
        calls.append(part.height)
        return part

    shared = dp.from_polars(DATA, npartitions=2).map_partitions(note, schema=DATA.schema).to_polars()
    found = pl.collect_all(
        [shared.select(pl.col("v").sum()), shared.filter(pl.col("v") > 3)], engine=engine(max_rows_per_partition=None)
    )
    assert [frame.height for frame in found] == [1, 2]
    assert sorted(calls) == [2, 3]
    assert pl.collect_all([], engine=engine()) == []
    assert [frame.height for frame in pl.collect_all(iter([sums(), DATA.lazy()]), engine=dp.DaskEngine())] == [3, 5]


@pytest.mark.parametrize("scheduler", ["sync", "threads", None])
def test_errors(scheduler: str | None) -> None:
    check_errors(engine(), {} if scheduler is None else {"scheduler": scheduler})


@pytest.mark.cluster
def test_errors_on_a_cluster(client: Any) -> None:
    check_errors(engine(client), {})


def check_errors(with_engine: dp.DaskEngine, config: dict[str, Any]) -> None:
    wrong, late = DATA.lazy().select("zz"), DATA.lazy().select(pl.col("k").str.to_integer())
    missing = pl.scan_parquet("/no/such/file.parquet")
    with dask.config.set(config):
        for query, kind, text in (
            (wrong, pl.exceptions.ColumnNotFoundError, "unable to find column"),
            (late, pl.exceptions.ComputeError, "parsing failed"),
            (missing, FileNotFoundError, "No such file"),
        ):
            for run in (
                lambda q: q.collect(engine=with_engine),
                lambda q: q.execute(engine=with_engine),
                lambda q: pl.collect_all([q], engine=with_engine),
                lambda q: list(q.collect_batches(engine=with_engine)),
                lambda q: q.collect(engine=with_engine, background=True).fetch_blocking(),
                lambda q: asyncio.run(awaited(q, with_engine)),
            ):
                with pytest.raises(kind, match=text):
                    run(query)


# ---------------------------------------------------------------- sinks


def check_sinks(with_engine: dp.DaskEngine, path: Path) -> None:
    options: dict[str, Any] = {"engine": with_engine}
    lf = DATA.lazy()
    lf.sink_parquet(path / "x.parquet", compression="lz4", metadata={"who": "me"}, **options)
    assert_frame_equal(pl.read_parquet(path / "x.parquet"), DATA)
    assert pl.read_parquet_metadata(path / "x.parquet")["who"] == "me"
    lf.sink_csv(path / "x.csv", separator=";", include_header=False, null_value="-", **options)
    assert (path / "x.csv").read_text() == "a;1\nb;2\na;3\nc;4\nb;5\n"
    lf.sink_ipc(str(path / "x.ipc"), compression=None, **options)
    assert_frame_equal(pl.read_ipc(path / "x.ipc"), DATA)
    lf.sink_ndjson(path / "deep" / "x.ndjson", mkdir=True, **options)
    assert_frame_equal(pl.read_ndjson(path / "deep" / "x.ndjson"), DATA)

    lf.sink_parquet(pl.PartitionBy(path / "parts", key="k"), mkdir=True, **options)
    assert sorted(os.listdir(path / "parts")) == ["k=a", "k=b", "k=c"]
    assert_frame_equal(pl.read_parquet(path / "parts").sort("v"), DATA, check_column_order=False)

    buffer = io.BytesIO()
    lf.sink_parquet(buffer, **options)
    assert_frame_equal(pl.read_parquet(buffer.getvalue()), DATA)
    with open(path / "open.csv", "wb") as file:
        lf.sink_csv(file, **options)
    assert_frame_equal(pl.read_csv(path / "open.csv"), DATA)

    got: list[pl.DataFrame] = []
    lf.sink_batches(got.append, **options)
    assert_frame_equal(pl.concat(got), DATA)
    got.clear()
    lf.sink_batches(lambda batch: got.append(batch) or True, chunk_size=2, **options)
    assert [batch.height for batch in got] == [2]

    written: list[Any] = []
    lf.sink_parquet(path / "y.parquet", sinked_paths_callback=written.append, **options)
    assert len(written) == 1

    later = lf.sink_parquet(path / "z.parquet", lazy=True, **options)
    assert not (path / "z.parquet").exists()
    later.collect(engine=with_engine)
    assert_frame_equal(pl.read_parquet(path / "z.parquet"), DATA)
    pl.collect_all([lf.sink_csv(path / "1.csv", lazy=True), lf.sink_csv(path / "2.csv", lazy=True)], engine=with_engine)
    assert (path / "1.csv").read_text() == (path / "2.csv").read_text() != ""


def test_sinks_here(tmp_path: Path) -> None:
    check_sinks(engine(), tmp_path)


def test_sinks(sync: None, tmp_path: Path) -> None:
    check_sinks(engine(), tmp_path)


@pytest.mark.cluster
def test_sinks_on_a_cluster(client: Any, tmp_path: Path) -> None:
    check_sinks(engine(client), tmp_path)


@pytest.mark.cluster
def test_relative_paths_are_those_of_the_client(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DATA.lazy().sink_parquet("x.parquet", engine=engine(client))
    assert_frame_equal(pl.read_parquet("x.parquet"), DATA)
    os.mkdir("many")
    for index in range(3):
        DATA.write_parquet(f"many/{index}.parquet")
    for source in ("x.parquet", "many", "many/*.parquet", ["x.parquet", "many/1.parquet"]):
        lf = pl.scan_parquet(source)
        assert_frame_equal(lf.collect(engine=engine(client)), lf.collect())


def test_what_cannot_be_sent_runs_here(sync: None, tmp_path: Path) -> None:
    DATA.write_parquet(tmp_path / "x.parquet")
    with open(tmp_path / "x.parquet", "rb") as file:
        lf = pl.scan_parquet(file)
        with pytest.warns(dp.FallbackWarning, match="cannot be sent"):
            assert_frame_equal(lf.collect(engine=engine(fallback="warn")), DATA)
        with pytest.raises(dp.FallbackError, match="cannot be sent"):
            lf.collect(engine=engine(fallback="raise"))
        assert_frame_equal(pl.concat(lf.collect_batches(engine=engine(), chunk_size=2)), DATA)


# ---------------------------------------------------------------- for a whole program


def program() -> tuple[Any, ...]:
    local = DATA.select(pl.col("v").sum()).item()
    eager = DATA.join(DATA, on="k").height
    return local, eager, sums().collect().rows(), len(list(DATA.lazy().collect_batches())) > 0, DATA.describe().height


def test_affinity(sync: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = program()
    plans: list[Any] = []
    from dask_polars import execution

    original = execution.plan_queries
    monkeypatch.setattr(execution, "plan_queries", lambda *args: plans.append(args) or original(*args))
    with pl.Config(engine_affinity=engine()):
        assert program() == wanted
    # `sums` and the lazy part of `describe`: what is eager stays here
    assert 1 <= len(plans) <= 2
    plans.clear()
    assert program() == wanted
    assert not plans


def test_affinity_without_a_client() -> None:
    wanted = program()
    with pl.Config(engine_affinity=dp.DaskEngine()):
        assert program() == wanted
        assert dp.from_polars(DATA, npartitions=2).collect().height == 5
        assert sums().explain() == sums().explain(engine="streaming")


@pytest.mark.cluster
def test_affinity_on_a_cluster(session_client: Any) -> None:
    wanted = program()
    with pl.Config(engine_affinity=engine(session_client)):
        assert program() == wanted


@pytest.mark.cluster
@pytest.mark.timeout(60)
def test_affinity_on_a_cluster_of_threads() -> None:
    from distributed import Client

    def nested(part: pl.DataFrame) -> pl.DataFrame:
        return part.lazy().select(pl.col("v").sum()).collect()

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        wanted = program()
        with pl.Config(engine_affinity=engine(client)):
            assert program() == wanted
            lf = dp.from_polars(DATA, npartitions=2).map_partitions(nested, schema={"v": pl.Int64})
            assert lf.collect()["v"].to_list() == [3, 12]


# ---------------------------------------------------------------- within tasks, and again and again


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_queries_within_tasks(client: Any) -> None:
    lf = dp.from_polars(DATA, npartitions=3)
    inner = [
        lambda: lf.collect().height,
        lambda: sum(batch.height for batch in lf.collect_batches()),
        lambda: sum(batch.height for batch in lf.collect_batches(maintain_order=False)),
        lambda: lf.execute().n_rows_total,
        lambda: lf.collect(background=True).fetch_blocking().height,
    ]
    futures = [client.submit(function, pure=False) for function in inner * 2]
    assert client.gather(futures) == [5] * 10


@pytest.mark.cluster
def test_what_is_held_does_not_stand_for_what_is_new(client: Any, tmp_path: Path) -> None:
    for write, scan in ((pl.DataFrame.write_csv, pl.scan_csv), (pl.DataFrame.write_parquet, pl.scan_parquet)):
        path = tmp_path / scan.__name__
        write(DATA, path)
        held = scan(path).execute(engine=engine(client))
        write(DATA.head(2), path)
        assert scan(path).collect(engine=engine(client)).height == 2
        assert held.n_rows_total == 5
    target = tmp_path / "out.csv"
    held = DATA.lazy().sink_csv(target, lazy=True).execute(engine=engine(client))
    assert target.exists()
    target.unlink()
    DATA.lazy().sink_csv(target, engine=engine(client))
    assert target.exists()
    del held
