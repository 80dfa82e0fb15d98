"""``DaskEngine``: plain Polars code, run by Dask."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pyarrow as pa
import pytest
from dask.base import tokenize
from polars.lazyframe.in_process import InProcessQuery
from polars.lazyframe.query_result import QueryResult
from polars.testing import assert_frame_equal

import dask_polars as dp

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5]})
SUMS = [("a", 4), ("b", 7), ("c", 4)]


@pytest.fixture
def sync() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync"}):
        yield


def engine(client: Any = None, **options: Any) -> dp.DaskEngine:
    return dp.DaskEngine(client, **{"max_rows_per_partition": 2, "fallback": "silent", **options})


def sums() -> pl.LazyFrame:
    return DATA.lazy().group_by("k").agg(pl.col("v").sum()).sort("k")


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


# ---------------------------------------------------------------- results that stay


def check_result(result: Any, with_engine: dp.DaskEngine) -> None:
    assert isinstance(result, QueryResult)
    assert result.n_rows_total == 3
    assert_frame_equal(result.head, sums().collect())
    lazy = result.lazy()
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect_schema() == {"k": pl.String, "v": pl.Int64}
    assert lazy.select(pl.col("v").sum()).collect(engine=with_engine).item() == 15
    assert lazy.join(DATA.lazy(), on="k").select(pl.len()).collect(engine=with_engine).item() == 5
    assert lazy.collect().rows() == SUMS
    assert isinstance(result.collection(), dp.LazyFrame)
    assert repr(result).startswith("DaskQueryResult(")


def test_execute_here() -> None:
    check_result(sums().execute(engine=engine()), engine())


def test_execute(sync: None) -> None:
    check_result(sums().execute(engine=engine()), engine())


@pytest.mark.cluster
@pytest.mark.parametrize("current", [True, False])
def test_execute_on_a_cluster(request: Any, current: bool) -> None:
    client = request.getfixturevalue("client" if current else "session_client")
    check_result(sums().execute(engine=engine(client)), engine(client))


@pytest.mark.cluster
def test_results_stay_on_the_cluster(session_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, futures_of

    on = engine(session_client)
    result = pl.LazyFrame({"v": range(1000)}).execute(engine=on)
    assert futures_of(result.collection())
    came: list[int] = []
    original = Client._gather

    async def gathered(self: Any, futures: Any, *args: Any, **kwargs: Any) -> Any:
        found = await original(self, futures, *args, **kwargs)
        came.append(len(pickle.dumps(found)))
        return found

    monkeypatch.setattr(Client, "_gather", gathered)
    later = result.lazy().filter(pl.col("v") % 2 == 0).execute(engine=on)
    assert later.lazy().select(pl.col("v").sum()).collect(engine=on).item() == 249500
    assert sum(came) < 4000


# ---------------------------------------------------------------- batches


def check_batches(with_engine: dp.DaskEngine) -> None:
    lf = DATA.lazy().with_columns(c=pl.col("k").cast(pl.Categorical), n=pl.struct("k", "v"))
    wanted = lf.collect()
    for options in ({}, {"lazy": True}, {"chunk_size": 2}, {"chunk_size": 3, "lazy": True}, {"chunk_size": 100}):
        batches = lf.collect_batches(engine=with_engine, **options)
        assert iter(batches) is batches
        found = list(batches)
        assert_frame_equal(pl.concat(found), wanted)
        size = options.get("chunk_size")
        if size:
            assert [batch.height for batch in found] == [len(range(i, min(i + size, 5))) for i in range(0, 5, size)]
    assert_frame_equal(pl.concat(lf.collect_batches(engine=with_engine, maintain_order=False)).sort("v"), wanted)
    assert list(lf.head(0).collect_batches(engine=with_engine)) == []
    assert list(lf.head(0).collect_batches(engine=with_engine, chunk_size=2)) == []
    stream = lf.collect_batches(engine=with_engine)
    assert_frame_equal(pl.from_arrow(pa.RecordBatchReader.from_stream(stream).read_all()), wanted)
    assert_frame_equal(pl.DataFrame(lf.collect_batches(engine=with_engine, chunk_size=2)), wanted)
    assert pl.DataFrame(lf.head(0).collect_batches(engine=with_engine)).schema == wanted.schema


def test_batches_here() -> None:
    check_batches(engine())


def test_batches(sync: None) -> None:
    check_batches(engine())


@pytest.mark.cluster
def test_batches_on_a_cluster(client: Any) -> None:
    check_batches(engine(client))


@pytest.mark.cluster
def test_batches_are_let_go_of(client: Any) -> None:
    def held() -> int:
        return sum(len(keys) for keys in client.has_what().values())

    def settle(most: int) -> None:
        for _ in range(100):
            if held() <= most:
                return
            time.sleep(0.05)
        raise AssertionError(f"{held()} keys are held, not {most}: {client.has_what()}")

    before = held()
    batches = pl.LazyFrame({"v": range(8)}).with_columns(w=pl.lit(1)).collect_batches(engine=engine(client))
    assert next(batches).height == 2
    del batches
    settle(before)


@pytest.mark.cluster
def test_what_one_query_gives_up_another_keeps(client: Any, tmp_path: Path) -> None:
    many = dp.from_polars(pl.DataFrame({"v": range(6)}), npartitions=6)
    lazy = many.map_partitions(slow, str(tmp_path), schema={"v": pl.Int64}).to_polars()
    given_up = lazy.collect_batches(engine=engine(client))
    background = lazy.collect(engine=engine(client), background=True)
    kept = lazy.collect_batches(engine=engine(client))
    assert next(given_up).height == 1
    background.cancel()
    del given_up
    assert sorted(row for frame in kept for row in frame["v"]) == list(range(6))
    with pytest.raises(pl.exceptions.ComputeError, match="cancelled"):
        background.fetch_blocking()


# ---------------------------------------------------------------- in the background


def test_background(sync: None) -> None:
    query = sums().collect(engine=engine(), background=True)
    assert isinstance(query, InProcessQuery)
    assert query.fetch_blocking().rows() == SUMS
    assert query.fetch().rows() == SUMS
    cancelled = sums().collect(engine=engine(), background=True)
    cancelled.cancel()
    with pytest.raises(pl.exceptions.ComputeError, match="cancelled"):
        cancelled.fetch_blocking()
    assert sums().collect(engine=dp.DaskEngine(), background=True).fetch_blocking().rows() == SUMS


def slow(part: pl.DataFrame, path: str) -> pl.DataFrame:
    time.sleep(0.3)
    (Path(path) / f"{part['v'][0]}").touch()
    return part


@pytest.mark.cluster
def test_background_on_a_cluster(client: Any, tmp_path: Path) -> None:
    query = sums().collect(engine=engine(client), background=True)
    assert isinstance(query, InProcessQuery)
    assert query.fetch_blocking().rows() == SUMS
    assert query.fetch().rows() == SUMS

    many = dp.from_polars(pl.DataFrame({"v": range(20)}), npartitions=20)
    query = many.map_partitions(slow, str(tmp_path), schema={"v": pl.Int64}).collect(background=True)
    assert query.fetch() is None
    query.cancel()
    with pytest.raises(pl.exceptions.ComputeError, match="cancelled"):
        query.fetch_blocking()
    time.sleep(0.8)
    done = len(os.listdir(tmp_path))
    assert done < 10
    time.sleep(0.5)
    assert len(os.listdir(tmp_path)) == done


# ---------------------------------------------------------------- asyncio


async def awaited(lf: pl.LazyFrame, with_engine: dp.DaskEngine) -> pl.DataFrame:
    return await lf.collect_async(engine=with_engine)


async def several(with_engine: dp.DaskEngine) -> tuple[Any, ...]:
    all_at_once = pl.collect_all_async([sums(), DATA.lazy()], engine=with_engine)
    one, two = await asyncio.gather(awaited(sums(), with_engine), awaited(DATA.lazy(), with_engine))
    return one.rows(), two.height, [frame.height for frame in await all_at_once]


@pytest.mark.parametrize("scheduler", ["sync", "threads", None])
def test_async(scheduler: str | None) -> None:
    with dask.config.set({} if scheduler is None else {"scheduler": scheduler}):
        assert asyncio.run(several(engine())) == (SUMS, 5, [3, 5])


@pytest.mark.cluster
@pytest.mark.parametrize("given", [True, False])
def test_async_on_a_cluster(client: Any, given: bool) -> None:
    assert asyncio.run(several(engine(client if given else None))) == (SUMS, 5, [3, 5])


def test_gevent_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="gevent"):
        sums().collect_async(engine=engine(), gevent=True)
    with pytest.raises(NotImplementedError, match="gevent"):
        pl.collect_all_async([sums()], engine=engine(), gevent=True)


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
