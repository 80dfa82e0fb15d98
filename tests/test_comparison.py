"""Functions side by side: what is measured, and whether answers agree."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import dask_polars as dp
from dask_polars import comparison
from dask_polars.answers import Answer, answer_of, difference

ROWS = pl.DataFrame({"k": [i % 500 for i in range(20_000)], "v": [i / 7 for i in range(20_000)]})


def median(lf: Any) -> Any:
    return lf.group_by("k").agg(pl.col("v").median())


@pytest.mark.cluster
def test_on_a_cluster(client: Any) -> None:
    lf = dp.from_polars(ROWS, npartitions=4)
    before = set(client.who_has()), set(client.call_stack())
    wide = {
        "Polars": lambda: median(ROWS.lazy()),
        "dask_polars": lambda: median(lf).collect(),
        "lazy": lambda: median(lf),
    }
    found = dp.compare({**wide, "fails": lambda: lf.select("x").collect()}, repeat=2)
    assert found.table.schema == pl.Schema(comparison.SCHEMA)
    assert found.table["name"].to_list() == ["Polars", "dask_polars", "lazy", "fails"]
    assert found.table["runs"].to_list() == [2, 2, 2, 0]
    assert found.table["agrees"].to_list() == [True, True, True, None]
    assert found.runs["name"].to_list() == ["Polars", "dask_polars", "lazy", "dask_polars", "lazy", "Polars"]
    here, there, lazy, failed = found.table.rows(named=True)
    assert here["tasks"] == here["shuffled"] == 0
    assert there["tasks"] >= 8
    assert there["shuffled"] > 50_000
    assert lazy["rows"] == 500
    assert there["wall"] > timedelta(0) < there["cpu"]
    assert there["peak"] > 10_000_000 < there["client_peak"]
    assert failed["error"].startswith("ColumnNotFoundError: ")
    assert failed["wall"] is failed["peak"] is failed["rows"] is None
    assert (set(client.who_has()), set(client.call_stack())) == before
    assert not any(client.run(lambda: len(comparison._watches)).values())


def test_in_this_process() -> None:
    lf = dp.from_polars(ROWS, npartitions=4)

    def ours() -> Any:
        return median(lf).collect(scheduler="sync")

    found = dp.compare(lambda: median(ROWS.lazy()), ours, ours, repeat=1)
    assert found.table["name"].to_list() == ["<lambda>", "ours", "ours (2)"]
    assert found.table["agrees"].all()
    assert found.table["tasks"].to_list()[0] == 0 < found.table["tasks"].to_list()[1]


def test_what_fails_and_interrupts() -> None:
    def panics() -> None:
        raise pl.exceptions.PanicException("never")

    found = dp.compare({"a": panics, "b": lambda: 1, "c": lambda: 2.0})
    assert found.table["error"].to_list() == ["PanicException: never", None, None]
    assert found.table["difference"].to_list() == [
        None,
        None,
        "column 'value': 1 of 1 values differs, first 1.0 against 2.0",
    ]
    nothing = dp.compare({"a": panics})
    assert (nothing.table["runs"].item(), nothing.runs.height) == (0, 0)
    assert "PanicException" in repr(nothing)
    assert "failed" in nothing._repr_html_()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dp.compare(interrupted)
    with pytest.raises(ValueError, match="no function"):
        dp.compare({})
    with pytest.raises(ValueError, match="at least 1"):
        dp.compare(panics, repeat=0)


def test_pictures() -> None:
    found = dp.compare({"<one>": lambda: 1, "two": lambda: 1}, repeat=1)
    assert repr(found).splitlines()[0].split() == [word for head in comparison._HEAD for word in head.split()]
    page = found._repr_html_()
    assert "&lt;one&gt;" in page
    assert "<one>" not in page
    assert page.count("wall time") == 1
    assert found.chart("wall", "tasks").svg().count("<rect") == 2 + 2 * 2
    with pytest.raises(ValueError, match="speed"):
        found.chart("speed")


def test_pictures_of_others() -> None:
    found = dp.compare({"one": lambda: 1, "two": lambda: 1}, repeat=1)
    pytest.importorskip("matplotlib")
    assert [axis.get_title() for axis in found.chart("wall", "cpu").matplotlib().axes[:2]] == ["wall time", "CPU time"]
    pytest.importorskip("altair")
    assert found.chart("wall", "cpu").altair().to_dict()["concat"][0]["title"] == "wall time"


SAME: list[tuple[Any, Any]] = [
    (pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [2, 1]}, schema={"a": pl.UInt8})),
    (pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1.0, 2.0]})),
    (pl.DataFrame({"a": [1], "b": ["x"]}), pl.DataFrame({"b": ["x"], "a": [1]})),
    (pl.DataFrame({"a": ["x"]}), pl.DataFrame({"a": ["x"]}, schema={"a": pl.Categorical})),
    (pl.DataFrame({"a": [date(2020, 1, 1)]}), pl.DataFrame({"a": [datetime(2020, 1, 1)]})),
    (pl.DataFrame({"a": [None]}), pl.DataFrame({"a": [None]}, schema={"a": pl.Int8})),
    (pl.DataFrame({"a": [float("nan"), float("inf")]}), pl.DataFrame({"a": [float("nan"), float("inf")]})),
    (pl.DataFrame({"a": [1 / 3]}), pl.DataFrame({"a": [1 / 3 + 1e-9]})),
    (pl.DataFrame({"a": [[1.0, None]]}), pl.DataFrame({"a": [[1.0 + 1e-9, None]]})),
    (pl.DataFrame({"a": [1]}), pa.table({"a": [1]})),
    (pl.DataFrame(), pl.DataFrame()),
]
DIFFERENT: list[tuple[Any, Any, str]] = [
    (pl.DataFrame({"a": [1]}), pl.DataFrame({"b": [1]}), "columns"),
    (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1, 1]}), "1 rows against 2"),
    (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["1"]}), "Int64 against String"),
    (pl.DataFrame({"a": [1.0]}), pl.DataFrame({"a": [None]}), "1 of 1"),
    (pl.DataFrame({"a": [float("nan")]}), pl.DataFrame({"a": [None]}), "1 of 1"),
    (pl.DataFrame({"a": [float("inf")]}), pl.DataFrame({"a": [1.0]}), "1 of 1"),
    (pl.DataFrame({"a": [2**60]}), pl.DataFrame({"a": [2**60 + 1]}), "1 of 1"),
    (pl.DataFrame({"a": [[1.0]]}), pl.DataFrame({"a": [[2.0]]}), "lists"),
]


@pytest.mark.parametrize("pair", SAME, ids=range(len(SAME)))
def test_answers_that_agree(pair: tuple[Any, Any]) -> None:
    one, other = map(answer_of, pair)
    assert difference(one, other) is difference(other, one) is None


@pytest.mark.parametrize("case", DIFFERENT, ids=range(len(DIFFERENT)))
def test_answers_that_differ(case: tuple[Any, Any, str]) -> None:
    one, other = map(answer_of, case[:2])
    assert case[2] in str(difference(one, other))
    assert difference(other, one) is not None


def test_order() -> None:
    one, other = Answer(ROWS), Answer(ROWS.reverse())
    assert difference(one, other) is None
    assert "of 20,000 values" in str(difference(one, other, row_order=True))


def test_frames_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"k": ["a", "b", "a"], "v": [1.0, 2.0, float("nan")], "t": pd.to_datetime(["2020-01-01"] * 3)})
    ours = pl.DataFrame({"k": ["a", "b", "a"], "v": [1.0, 2.0, None], "t": [date(2020, 1, 1)] * 3})
    assert difference(answer_of(frame), answer_of(ours)) is None
    assert difference(answer_of(frame[frame.v > 1]), answer_of(ours.filter(pl.col("v") > 1))) is None
    sums = ours.group_by("k").agg(pl.col("v").sum())
    assert difference(answer_of(frame.groupby("k").v.sum()), answer_of(sums)) is None
    assert difference(answer_of(frame.v.sum()), answer_of(ours["v"].sum())) is None
    assert difference(answer_of(frame.assign(k=frame.k.astype("category"))), answer_of(ours)) is None
