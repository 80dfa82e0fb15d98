"""Collections of what functions and tasks give, and tasks of collections."""

from __future__ import annotations

import functools
import os
import pickle
import re
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dask.base import tokenize
from polars.testing import assert_frame_equal

import dask_polars as dp
from tests.pieces import DATA, noted, scattered


def piece(start: int, stop: int, *, times: int = 1) -> pl.DataFrame:
    return DATA.slice(start, stop - start).with_columns(pl.col("v") * times)


# ---------------------------------------------------------------- functions


def test_from_map(where: str) -> None:
    lf = dp.from_map(piece, [0, 3, 3], [3, 3, 6])
    assert lf.npartitions == 3
    assert lf.collect_schema() == DATA.schema
    assert_frame_equal(lf.collect(), DATA)
    assert_frame_equal(lf.filter(pl.col("v") > 2).select("v").collect(), DATA.filter(pl.col("v") > 2).select("v"))
    assert_frame_equal(lf.head(4).collect(), DATA.head(4))
    assert_frame_equal(lf.head(4).filter(pl.col("v") > 1).collect(), DATA.head(4).filter(pl.col("v") > 1))
    total = lf.group_by("k").agg(pl.col("v").sum(), n=pl.len()).sort("k")
    assert_frame_equal(total.collect(), DATA.group_by("k").agg(pl.col("v").sum(), n=pl.len()).sort("k"))
    joined = lf.join(lf.select("k", w="v"), on="k", maintain_order="left_right")
    assert_frame_equal(joined.collect(), DATA.join(DATA.select("k", w="v"), on="k", maintain_order="left_right"))
    assert_frame_equal(lf.with_row_index().collect(), DATA.with_row_index())
    more = dp.from_map(piece, [0, 4], args=[6], times=10, label="tens", schema=DATA.schema)
    assert_frame_equal(more.select(pl.col("v").sum()).collect(), pl.DataFrame({"v": [220]}))
    assert "CALL tens  2 partitions" in more.explain()


def test_from_map_of_lazy_frames(where: str, tmp_path: Path) -> None:
    paths = scattered(tmp_path)
    lf = dp.from_map(pl.scan_parquet, paths)
    assert lf.npartitions == 3
    assert_frame_equal(lf.collect(), DATA)
    assert_frame_equal(lf.sort("v", nulls_last=True).collect(), DATA.sort("v", nulls_last=True))
    assert_frame_equal(lf.filter(pl.col("k") == "a").select("v").collect(), pl.DataFrame({"v": [1, 3]}))
    over = lf.filter(pl.col("v") > pl.col("v").mean())
    assert_frame_equal(over.collect(), DATA.filter(pl.col("v") > pl.col("v").mean()))


def test_lazy_frames_read_what_the_query_needs(sync: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fragments over a lazy frame are put together with it before Polars optimizes them."""
    ran: list[str] = []
    collect = pl.LazyFrame.collect

    def note(lf: pl.LazyFrame, *args: Any, **kwargs: Any) -> Any:
        ran.append(lf.explain())
        return collect(lf, *args, **kwargs)

    lf = dp.from_map(pl.scan_parquet, scattered(tmp_path))
    query = lf.filter(pl.col("v") > 2).select(pl.col("v") + 1)
    monkeypatch.setattr(pl.LazyFrame, "collect", note)
    assert query.compute()["v"].to_list() == [4, 5, 7]
    read = [text for text in ran if "PARQUET" in text.upper()]
    assert len(read) == 3
    assert all("PROJECT 1/2 COLUMNS" in text for text in read), read
    assert all("SELECTION" in text for text in read), read


def test_calls_are_made_once(sync: None, tmp_path: Path) -> None:
    lf = dp.from_map(noted, [tmp_path] * 3, range(3), schema=DATA.schema)
    assert os.listdir(tmp_path) == []  # not to find out the schema
    lf.explain()
    tokenize(lf)
    assert os.listdir(tmp_path) == []
    lf.join(lf, on="k").sort("v").collect()
    dp.collect_all([lf.select(pl.len()), lf.filter(pl.col("v") > pl.col("v").mean())])
    assert sorted(name[0] for name in os.listdir(tmp_path)) == ["0", "0", "1", "1", "2", "2"]
    assert_frame_equal(lf.partitions[2].collect(), DATA.slice(4))
    assert len(os.listdir(tmp_path)) == 7


def test_only_what_is_needed_is_called_without_dask(tmp_path: Path) -> None:
    lf = dp.from_map(noted, [tmp_path] * 3, range(3), lazy=True)
    assert len(os.listdir(tmp_path)) == 1  # to find out the schema
    assert_frame_equal(lf.head(2).collect(), DATA.head(2))
    assert len(os.listdir(tmp_path)) == 2
    assert_frame_equal(lf.collect(), DATA)
    assert len(os.listdir(tmp_path)) == 5


def test_frames_of_other_libraries(sync: None) -> None:
    for convert in (pl.DataFrame.lazy, pl.DataFrame.to_arrow, pl.DataFrame.to_pandas):
        lf = dp.from_map(lambda n, convert=convert: convert(DATA.slice(n, 2).drop_nulls()), [0, 2, 4])
        found = lf.collect()
        assert_frame_equal(found, DATA.drop_nulls())
    reader = dp.from_map(lambda n: DATA.to_arrow().to_reader(), [0])
    assert_frame_equal(reader.collect(), DATA)
    batch = dp.from_map(lambda n: DATA.to_arrow().to_batches()[0], [0])
    assert_frame_equal(batch.collect(), DATA)
    other = dp.from_map(lambda n: dd.from_pandas(DATA.to_pandas(), npartitions=1).compute(scheduler="sync"), [0])
    assert_frame_equal(other.collect(), DATA.cast({"v": pl.Float64}))
    for value in (
        1,
        None,
        pl.Series([1]),
        pd.Series([1]),
        pa.array([1]),
        pa.chunked_array([[1]]),
        dp.from_polars(DATA),
        {"a": [1]},
    ):
        with pytest.raises(TypeError, match=r"\(0\) of from_map must give a frame: .* not a "):
            dp.from_map(lambda n, value=value: value, [0])


def test_from_map_with_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="at least one iterable"):
        dp.from_map(piece)
    with pytest.raises(ValueError, match=r"different lengths: \[1, 2\]"):
        dp.from_map(piece, [1], [1, 2])
    with pytest.raises(ValueError, match="are empty"):
        dp.from_map(piece, [], [])
    with pytest.raises(TypeError, match="takes iterables, not a int"):
        dp.from_map(piece, [1], 6)
    with pytest.raises(TypeError, match="takes a function, not a list"):
        dp.from_map([1], [2])
    with pytest.raises(ZeroDivisionError):
        dp.from_map(lambda n: 1 / n, [0])


WRONG_SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {
    "type": ({"k": pl.String, "v": pl.Int8}, "column 'v' is Int64, not Int8"),
    "missing": ({"k": pl.String, "v": pl.Int64, "w": pl.Date}, "column 'w' is missing"),
    "more": ({"k": pl.String}, "there is a column 'v' more"),
    "order": ({"v": pl.Int64, "k": pl.String}, r"in the order \['k', 'v'\], not \['v', 'k'\]"),
}


@pytest.mark.parametrize("wrong", WRONG_SCHEMAS)
def test_other_columns_than_the_schema_says(where: str, wrong: str) -> None:
    schema, message = WRONG_SCHEMAS[wrong]
    for query in (
        dp.from_map(piece, [0, 3], [3, 6], schema=schema),
        dp.from_map(piece, [0], [3], schema=schema).head(1),
    ):
        with pytest.raises((pl.exceptions.SchemaError, pl.exceptions.ComputeError), match=message) as caught:
            query.collect()
        assert re.search(r"piece\((0, 3|3, 6)\) of from_map gave other columns", str(caught.value))
        if where != "polars":
            assert isinstance(caught.value, pl.exceptions.SchemaError)
            assert "in 'piece-" in str(caught.value.__notes__)


def test_one_call_that_differs(where: str) -> None:
    lf = dp.from_map(lambda n: pl.LazyFrame({"a": [n]}) if n < 2 else pl.LazyFrame({"a": ["x"]}), range(3))
    assert lf.collect_schema() == {"a": pl.Int64}
    with pytest.raises(
        (pl.exceptions.SchemaError, pl.exceptions.ComputeError), match=r"\(2\) of from_map .* is String"
    ):
        lf.select(pl.col("a").sum()).collect()


def test_tokens_and_copies(sync: None, tmp_path: Path) -> None:
    def make(*numbers: int, **kwargs: Any) -> Any:
        return dp.from_map(piece, numbers, [6] * len(numbers), **kwargs)

    assert tokenize(make(0, 1)) == tokenize(make(0, 1))
    assert make(0, 1).__dask_keys__() == make(0, 1).__dask_keys__()
    assert len({tokenize(item) for item in (make(0, 1), make(1, 0), make(0), make(0, 1, times=2))}) == 4
    copied = pickle.loads(pickle.dumps(make(0, 3)))
    assert tokenize(copied) == tokenize(make(0, 3))
    assert_frame_equal(copied.collect(), make(0, 3).collect())
    partial = dp.from_map(functools.partial(piece, stop=6), [0])
    assert_frame_equal(partial.collect(), DATA)
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        tokenize(make(0, 1), dp.from_map(pl.scan_parquet, scattered(tmp_path)))


# ---------------------------------------------------------------- tasks


def delayed_parts() -> list[Any]:
    return [dask.delayed(piece)(start, start + 2) for start in (0, 2, 4)]


def test_from_delayed(where: str) -> None:
    lf = dp.from_delayed(delayed_parts())
    assert lf.npartitions == 3
    assert_frame_equal(lf.collect(), DATA)
    assert_frame_equal(lf.select(pl.col("v").sum()).collect(), DATA.select(pl.col("v").sum()))
    assert_frame_equal(lf.partitions[1].collect(), DATA.slice(2, 2))
    one = dp.from_delayed(dask.delayed(DATA.to_arrow()), schema=DATA.schema)
    assert_frame_equal(one.collect(), DATA)
    joined = lf.join(one, on="k").sort("v", "v_right")
    assert_frame_equal(joined.collect(), DATA.join(DATA, on="k").sort("v", "v_right"))
    lazy = dp.from_delayed([dask.delayed(DATA.lazy()), dask.delayed(DATA.drop_nulls().to_pandas())])
    assert_frame_equal(lazy.collect(), pl.concat([DATA, DATA.drop_nulls()]))
    again = pickle.loads(pickle.dumps(lf))
    assert_frame_equal(again.collect(), DATA)
    assert tokenize(again) == tokenize(lf)


def test_there_and_back(where: str) -> None:
    lf = dp.from_polars(DATA, npartitions=3).with_columns(w=pl.col("v") * 2)
    back = dp.from_delayed(lf.to_delayed(), schema={**DATA.schema, "w": pl.Int64})
    assert_frame_equal(back.collect(), DATA.with_columns(w=pl.col("v") * 2))


def test_delayed_values_that_are_wrong(where: str) -> None:
    wrong = dp.from_delayed(delayed_parts(), schema={"k": pl.String, "v": pl.Int8})
    with pytest.raises(
        (pl.exceptions.SchemaError, pl.exceptions.ComputeError), match=r"number . of from_delayed .* Int8"
    ):
        wrong.collect()
    with pytest.raises(TypeError, match="number 0 of from_delayed must give a frame"):
        dp.from_delayed([dask.delayed(1)])
    with pytest.raises(ValueError, match="at least one"):
        dp.from_delayed([])
    with pytest.raises(TypeError, match="takes delayed values and futures, not a DataFrame"):
        dp.from_delayed([DATA])


def test_delayed_values_are_computed_once(sync: None, tmp_path: Path) -> None:
    parts = [dask.delayed(noted, pure=True)(tmp_path, number) for number in range(3)]
    lf = dp.from_delayed(parts, schema=DATA.schema)
    assert os.listdir(tmp_path) == []
    lf.join(lf, on="k").sort("v").collect()
    assert len(os.listdir(tmp_path)) == 3
    assert_frame_equal(lf.partitions[1].collect(), DATA.slice(2, 2))
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.cluster
def test_futures(client: Any) -> None:
    futures = [client.submit(piece, start, start + 2) for start in (0, 2, 4)]
    lf = dp.from_delayed(futures)
    assert_frame_equal(lf.collect(), DATA)
    assert_frame_equal(lf.group_by("k").len().sort("k").collect(), DATA.group_by("k").len().sort("k"))
    mixed = dp.from_delayed([futures[0], dask.delayed(piece)(2, 6)])
    assert_frame_equal(mixed.collect(), DATA)
    assert_frame_equal(dp.from_delayed(futures[2], schema=DATA.schema).collect(), DATA.slice(4))
    assert_frame_equal(lf.collect(engine="streaming"), DATA)
