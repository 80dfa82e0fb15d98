"""Results of ``DaskEngine`` that stay, come in batches, in the background or to asyncio."""

from __future__ import annotations

import asyncio
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
from polars.lazyframe.in_process import InProcessQuery
from polars.lazyframe.query_result import QueryResult
from polars.testing import assert_frame_equal

import dask_polars as dp
from tests.engines import DATA, SUMS, awaited, engine, sums


@pytest.fixture
def sync() -> Iterator[None]:
    with dask.config.set({"scheduler": "sync"}):
        yield


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

    on = engine(session_client, max_rows_per_partition=50)
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
