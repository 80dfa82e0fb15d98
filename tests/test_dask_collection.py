"""A collection as Dask sees it: computed with others, persisted, copied, and its partitions."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path
from typing import Any

import dask
import dask.bag
import polars as pl
import pytest
from dask.base import is_dask_collection, tokenize
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.collection import LazyFrame

DATA = pl.DataFrame({"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5]})


def frame(npartitions: int = 2) -> LazyFrame:
    return dp.from_polars(DATA, npartitions=npartitions)


# ---------------------------------------------------------------- a Dask collection


def test_compute_with_others(sync: None) -> None:
    lf = frame()
    total, rows = dask.compute(lf.select(pl.col("v").sum()), lf)
    assert total.item() == 15
    assert_frame_equal(rows, DATA)
    with pytest.warns(UserWarning, match="mixed collections"):
        found = dask.compute(lf, dask.delayed(1), dask.bag.from_sequence([1, 2]).sum())
    assert_frame_equal(found[0], DATA)
    assert found[1:] == (1, 3)
    assert dask.delayed(lambda whole, n: whole.height + n)(lf, 1).compute() == 6
    nested = dask.compute({"a": [lf.head(1)]})[0]
    assert nested["a"][0].rows() == [("a", 1)]


def test_shared_parts_are_computed_once(sync: None) -> None:
    calls: list[int] = []

    def note(part: pl.DataFrame) -> pl.DataFrame:
        calls.append(part.height)
        return part

    lf = frame().map_partitions(note, schema=DATA.schema)
    dask.compute(lf, lf)
    assert sorted(calls) == [2, 3]
    calls.clear()
    dp.collect_all([lf.select(pl.col("v").sum()), lf.group_by("k").len(), lf])
    assert sorted(calls) == [2, 3]


def test_tokens() -> None:
    lf = frame()
    assert is_dask_collection(lf)
    assert tokenize(lf) == tokenize(frame())
    assert tokenize(lf.filter(pl.col("v") > 1)) == tokenize(frame().filter(pl.col("v") > 1))
    others = [lf.head(1), frame(3), lf.filter(pl.col("v") > 1), lf.filter(pl.col("v") > 2), lf.partitions[0]]
    assert len({tokenize(item) for item in [lf, *others]}) == 6
    assert tokenize(dp.from_polars(DATA.head(4), npartitions=2)) != tokenize(lf)


def test_tokens_of_files_that_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    DATA.write_parquet(path)
    before = tokenize(dp.scan_parquet(path))
    assert tokenize(dp.scan_parquet(path)) == before
    DATA.reverse().write_parquet(path)
    assert tokenize(dp.scan_parquet(path)) != before


def test_copies(sync: None) -> None:
    lf = frame().filter(pl.col("v") > 1)
    for other in (pickle.loads(pickle.dumps(lf)), copy.copy(lf), copy.deepcopy(lf), lf.clone()):
        assert isinstance(other, LazyFrame)
        assert_frame_equal(other.collect(), lf.collect())
    assert tokenize(pickle.loads(pickle.dumps(lf))) == tokenize(lf)
    assert repr(lf) == "<dask_polars.LazyFrame [k: String, v: Int64]>"


def test_persist(sync: None) -> None:
    calls: list[int] = []

    def note(part: pl.DataFrame) -> pl.DataFrame:
        calls.append(part.height)
        return part

    kept = frame().map_partitions(note, schema=DATA.schema).persist()
    assert isinstance(kept, LazyFrame)
    assert kept.npartitions == 2
    assert_frame_equal(kept.collect(), DATA)
    assert_frame_equal(kept.collect(engine="streaming"), DATA)
    assert kept.group_by("k").agg(pl.col("v").sum()).sort("k").collect().rows() == [("a", 4), ("b", 7), ("c", 4)]
    assert_frame_equal(pickle.loads(pickle.dumps(kept)).collect(), DATA)
    one, two = dask.persist(frame().head(1), frame().select(pl.len()))
    assert (one.collect().height, two.collect().item()) == (1, 5)
    assert sorted(calls) == [2, 3]


@pytest.mark.cluster
def test_persist_on_a_cluster(client: Any) -> None:
    from distributed import futures_of, wait

    kept = frame().with_columns(w=pl.col("v") * 2).persist()
    wait(kept)
    assert len(futures_of(kept)) == 2
    wanted = DATA.with_columns(w=pl.col("v") * 2)
    assert_frame_equal(kept.collect(), wanted)
    assert_frame_equal(kept.compute(), wanted)
    assert kept.join(frame(), on="k").select(pl.col("w").sum()).collect().item() == 52
    assert_frame_equal(pickle.loads(pickle.dumps(kept)).collect(), wanted)
    one, two = dask.persist(kept.head(1), kept.select(pl.len()))
    assert (one.collect().height, two.collect().item()) == (1, 5)
    assert_frame_equal(client.compute(kept).result(), wanted)
    assert_frame_equal(client.gather(client.compute([kept, frame()]))[1], DATA)
    assert_frame_equal(client.persist(kept.select("k")).collect(), wanted.select("k"))


@pytest.mark.cluster
def test_persisted_partitions_are_found_without_a_current_client(session_client: Any) -> None:
    kept = session_client.persist(frame())
    assert_frame_equal(kept.collect(), DATA)
    assert_frame_equal(kept.map_partitions(lambda part: part).collect(), DATA)
    assert kept.select(pl.col("v").sum()).collect(scheduler=session_client).item() == 15


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_visualize(tmp_path: Path) -> None:
    pytest.importorskip("graphviz")
    frame().group_by("k").len().visualize(filename=str(tmp_path / "graph.svg"))
    assert (tmp_path / "graph.svg").exists()


# ---------------------------------------------------------------- partitions


def test_partitions(sync: None) -> None:
    lf = frame(3)
    assert lf.npartitions == len(lf.partitions) == 3
    parts = [part.collect() for part in lf.partitions]
    assert_frame_equal(pl.concat(parts), DATA)
    assert_frame_equal(lf.partitions[-1].collect(), parts[2])
    assert_frame_equal(lf.partitions[1:].collect(), pl.concat(parts[1:]))
    assert_frame_equal(lf.partitions[[2, 0]].collect(), pl.concat([parts[2], parts[0]]))
    assert lf.partitions[1:].npartitions == 2
    assert lf.partitions[0].select(pl.len()).collect().item() == parts[0].height
    with pytest.raises(IndexError):
        lf.partitions[3]
    with pytest.raises(IndexError, match="no partition"):
        lf.partitions[3:]
    assert_frame_equal(lf.partitions[0].collect(engine="streaming"), parts[0])


def test_slices(sync: None) -> None:
    for item in (slice(1, 3), slice(None, None, 2), slice(-2, None), slice(None, 0)):
        assert_frame_equal(frame()[item].collect(), DATA.lazy()[item].collect())
    with pytest.raises(TypeError):
        iter(frame()).__next__()


@pytest.mark.parametrize("wanted", [1, 2, 3, 5, 8])
def test_repartition(sync: None, wanted: int) -> None:
    again = frame(3).repartition(npartitions=wanted)
    assert again.npartitions == wanted
    assert_frame_equal(again.collect(), DATA)
    assert again.filter(pl.col("v") > 2).group_by("k").len().sort("k").collect().rows() == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
    ]


def test_repartition_by_size(sync: None) -> None:
    wide = dp.from_polars(pl.DataFrame({"v": range(1000)}), npartitions=2)
    assert wide.repartition(partition_size=1000).npartitions == 8
    assert wide.repartition(partition_size="1 GiB").npartitions == 1
    assert dp.from_polars(pl.DataFrame({"v": range(1000)}), partition_size="1 kB").npartitions == 8
    assert dp.from_polars(DATA.lazy(), npartitions=3).npartitions == 3
    for wrong in ({}, {"npartitions": 1, "partition_size": 1}, {"npartitions": 0}, {"partition_size": "0 B"}):
        with pytest.raises(ValueError):
            wide.repartition(**wrong)
    for wrong in ({"npartitions": 1, "partition_size": 1}, {"npartitions": 0}):
        with pytest.raises(ValueError):
            dp.from_polars(DATA, **wrong)
    with pytest.raises(TypeError, match="takes a frame of Polars"):
        dp.from_polars({"a": [1]})


def test_map_partitions(sync: None) -> None:
    lf = frame()
    assert lf.map_partitions(lambda part: part.select(pl.len())).collect()["len"].to_list() == [2, 3]
    assert lf.map_partitions(lambda part: part.lazy().head(1)).collect()["v"].to_list() == [1, 3]
    added = lf.map_partitions(lambda part, n, k=0: part.select(pl.col("v") + n + k), 10, k=100)
    assert added.collect()["v"].to_list() == [111, 112, 113, 114, 115]
    assert added.filter(pl.col("v") > 112).select("v").collect().height == 3
    assert added.collect(engine="streaming")["v"].to_list() == [111, 112, 113, 114, 115]
    assert tokenize(added) != tokenize(lf.map_partitions(lambda part: part))


def test_map_partitions_that_are_wrong(sync: None) -> None:
    lf = frame()
    with pytest.raises(TypeError, match="must give a frame, not a int"):
        lf.map_partitions(lambda part: part.height)
    with pytest.raises(TypeError, match="must give a frame, not a int"):
        lf.map_partitions(lambda part: part.height, schema=DATA.schema).collect()
    with pytest.raises(pl.exceptions.SchemaError, match="its schema says"):
        lf.map_partitions(lambda part: part, schema={"z": pl.Int8}).collect()
    with pytest.raises(ZeroDivisionError) as caught:
        lf.map_partitions(lambda part: 1 / 0, schema=DATA.schema).collect()
    assert "map-partitions" in str(caught.value.__notes__)
    assert "partition " in str(caught.value.__notes__)


def test_to_delayed(sync: None) -> None:
    parts = frame().to_delayed()
    assert [part.height for part in dask.compute(*parts)] == [2, 3]
    assert dask.delayed(sum)([part.height for part in parts]).compute() == 5


@pytest.mark.cluster
def test_to_delayed_on_a_cluster(client: Any) -> None:
    parts = frame().join(frame(), on="k").sort("v").to_delayed()
    assert sum(part.height for part in dask.compute(*parts)) == 9
