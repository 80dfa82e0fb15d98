"""Random frames through random pipelines: the answer of Polars, however the frames are cut."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from tests.helpers import assert_same, frame_difference, plain_tables, run_plain
from tests.strategies import VALUES, frames, pipelines

c = pl.col
# What Python cannot hold, or Polars cannot make at random.
UNTESTED = [pl.Object, pl.Unknown]
every_dtype = dataframes(min_cols=1, max_cols=4, max_size=12, excluded_dtypes=UNTESTED)

RUNS: list[dict[str, Any]] = [
    {"npartitions": 1},
    {"npartitions": 2},
    {"npartitions": 5},
    {"npartitions": 3, "with_empties": True},
    {"npartitions": 3, "config": {"broadcast-limit": 0}},
    {"front_door": "engine"},
]


def half() -> int:
    return max(10, settings().max_examples // 3)


@given(data=st.data())
def test_pipelines(data: st.DataObject) -> None:
    inputs = {"a": data.draw(frames(), label="a"), "b": data.draw(frames(max_rows=10), label="b")}
    pipeline = data.draw(pipelines(plain_tables(inputs)), label="pipeline")
    run = data.draw(st.sampled_from(RUNS), label="run")
    event(f"ordered: {pipeline.ordered}")
    order = "promised" if pipeline.ordered else "any"
    assert_same(pipeline, inputs, order=order, name=repr(pipeline), check_message=False, **run)


@given(data=st.data())
def test_pipelines_are_defined(data: st.DataObject) -> None:
    """Both engines of Polars agree on what the strategies make, else it would not be a specification."""
    inputs = {"a": data.draw(frames(), label="a"), "b": data.draw(frames(max_rows=10), label="b")}
    pipeline = data.draw(pipelines(plain_tables(inputs)), label="pipeline")
    lazy = pipeline(plain_tables(inputs))
    one, other = lazy.collect(engine="in-memory"), lazy.collect(engine="streaming")
    assert frame_difference(one, other, "promised" if pipeline.ordered else "any") is None


@given(frame=every_dtype, pieces=st.integers(1, 5), with_empties=st.booleans())
@settings(max_examples=half())
def test_round_trip(frame: pl.DataFrame, pieces: int, with_empties: bool) -> None:
    assert_same(lambda t: t.a, {"a": frame}, npartitions=pieces, with_empties=with_empties, name="round trip")


@given(frame=every_dtype, pieces=st.integers(1, 5), n=st.integers(-12, 12))
@settings(max_examples=half())
def test_slices_of_every_dtype(frame: pl.DataFrame, pieces: int, n: int) -> None:
    assert_same(lambda t: t.a.slice(n, 5), {"a": frame}, npartitions=pieces, name=f"slice({n}, 5)")


@given(frame=every_dtype, pieces=st.integers(2, 5))
@settings(max_examples=half())
def test_count_and_first_of_every_dtype(frame: pl.DataFrame, pieces: int) -> None:
    def query(t: Any) -> Any:
        return t.a.select(
            pl.all().first().name.suffix("_first"), pl.all().last().name.suffix("_last"),
            pl.all().count().name.suffix("_count"), pl.all().null_count().name.suffix("_nulls"),
        )  # fmt: skip

    assert_same(query, {"a": frame}, npartitions=pieces, name="count and first")


@pytest.mark.parametrize("key", sorted(VALUES))
@given(data=st.data(), pieces=st.integers(2, 4))
@settings(max_examples=max(5, half() // 10), suppress_health_check=list(HealthCheck))
def test_group_by_every_key(key: str, data: st.DataObject, pieces: int) -> None:
    frame = data.draw(frames(always=("x", key)))
    config = {"broadcast-limit": data.draw(st.sampled_from([0, 2**20]))}
    aggs = [pl.len(), c("x").sum().alias("sum"), c("id").first().alias("first")]
    keys = [key, "k"] if data.draw(st.booleans()) and key != "k" else [key]
    query = lambda t: t.a.group_by(keys).agg([a for a in aggs if key != "x" or a.meta.output_name() != "sum"])  # noqa: E731
    assert_same(query, {"a": frame}, npartitions=pieces, order="any", config=config, name=f"group_by({keys})")


@pytest.mark.parametrize("key", sorted(VALUES))
@given(data=st.data(), pieces=st.integers(2, 4))
@settings(max_examples=max(5, half() // 10), suppress_health_check=list(HealthCheck))
def test_join_on_every_key(key: str, data: st.DataObject, pieces: int) -> None:
    always = ("x", key)
    inputs = {"a": data.draw(frames(always=always)), "b": data.draw(frames(max_rows=8, always=always))}
    how = data.draw(st.sampled_from(["inner", "left", "right", "full", "semi", "anti"]))
    nulls_equal = data.draw(st.booleans())
    config = {"broadcast-limit": data.draw(st.sampled_from([0, 2**20]))}

    def query(t: Any) -> Any:
        right = t.b.select(key, bid="id")
        return t.a.select("id", key).join(right, on=key, how=how, nulls_equal=nulls_equal)

    name = f"join(on={key}, how={how}, nulls_equal={nulls_equal})"
    # Which of 0.0 and -0.0, or of two NaN, a coalesced key shows is the same value.
    assert_same(query, inputs, npartitions=pieces, order="any", config=config, name=name, check_message=False)


@pytest.mark.parametrize("key", sorted(set(VALUES) - {"lst", "lss", "arr", "ls", "nul"}))
@given(data=st.data(), pieces=st.integers(2, 4))
@settings(max_examples=max(5, half() // 10), suppress_health_check=list(HealthCheck))
def test_sort_by_every_key(key: str, data: st.DataObject, pieces: int) -> None:
    frame = data.draw(frames(always=("x", key)))
    down, last = data.draw(st.booleans()), data.draw(st.booleans())
    query = lambda t: t.a.sort(key, descending=down, nulls_last=last, maintain_order=True)  # noqa: E731
    assert_same(query, {"a": frame}, npartitions=pieces, name=f"sort({key}, {down}, {last})")


def test_the_strategies_make_frames() -> None:
    """One frame of every column, so that a broken strategy is seen without dask_polars."""
    frame = pl.DataFrame([pl.Series(n, [None], dtype=dtype) for n, (dtype, _) in VALUES.items()])
    assert run_plain(lambda t: t.a, {"a": frame}).frame is not None
