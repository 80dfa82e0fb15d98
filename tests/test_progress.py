"""Bars for stages: on every scheduler, only where somebody looks."""

from __future__ import annotations

import io
import sys
import threading
import time
from typing import Any

import dask
import polars as pl
import pytest
from rich.console import Console

import dask_polars as dp
from dask_polars import progress


def query(npartitions: int = 3, wait: float = 0.0) -> Any:
    def slowly(frame: pl.DataFrame) -> pl.DataFrame:
        time.sleep(wait)
        return frame

    lf = dp.from_polars(pl.DataFrame({"k": ["<a>", "b", "c"] * 10, "v": range(30)}), npartitions=npartitions)
    lf = lf.map_partitions(slowly, schema=lf.collect_schema()) if wait else lf
    return lf.group_by("k").agg(pl.col("v").sum())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What would be seen on a terminal."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    monkeypatch.setattr(progress, "new_display", lambda: progress.TerminalDisplay(console))
    return screen


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_bars(terminal: io.StringIO, scheduler: str) -> None:
    assert query().collect(scheduler=scheduler, progress=True).height == 3
    shown = terminal.getvalue()
    assert "groupby-partial" in shown
    assert "3/3" in shown
    assert "9 rows" in shown  # three partial results of three groups


@pytest.mark.cluster
def test_bars_of_a_cluster(terminal: io.StringIO, client: Any) -> None:
    assert query().collect(progress=True).height == 3
    assert "3/3" in terminal.getvalue()
    assert "9 rows" in terminal.getvalue()


def test_engines(terminal: io.StringIO) -> None:
    with dask.config.set(scheduler="sync"):
        query().to_polars().collect(engine=dp.DaskEngine(progress=True))
    assert "3/3" in terminal.getvalue()


def test_bars_move(terminal: io.StringIO) -> None:
    query(wait=0.4).collect(scheduler="sync", progress=True)
    for state in ("0/3", "1/3", "2/3", "3/3"):
        assert state in terminal.getvalue()


def test_nothing_is_shown_unless_somebody_looks(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "in_terminal", lambda: False)
    query().collect(scheduler="sync")
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "in_terminal", lambda: True)
    query().collect(scheduler="sync", progress=False)
    assert terminal.getvalue() == ""
    query().collect(scheduler="sync")
    assert "3/3" in terminal.getvalue()


def test_what_is_quick_shows_nothing(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_terminal", lambda: True)
    query().collect(scheduler="sync")
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    query(wait=0.2).collect(scheduler="sync")
    assert "3/3" in terminal.getvalue()


def test_an_error_ends_the_bars(terminal: io.StringIO) -> None:
    lf = dp.from_polars(pl.DataFrame({"v": ["1", "x"]}), npartitions=2).select(pl.col("v").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        lf.collect(scheduler="sync", progress=True)
    assert any(state in terminal.getvalue() for state in ("0/2", "1/2"))  # what had run before the error
    assert not [thread for thread in threading.enumerate() if thread.name == "dask-polars-progress"]


def test_configuration(terminal: io.StringIO) -> None:
    with dask.config.set({"dask-polars.progress": True}):
        query().collect(scheduler="sync")
    assert "3/3" in terminal.getvalue()
    with pytest.raises(ValueError, match="progress"):
        query().collect(scheduler="sync", progress="always")
    with pytest.raises(ValueError, match="progress"):
        query().collect(engine="streaming", progress=True)


def test_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [progress.Bar("[1] <a>", 1, 2, 1000, 2048), progress.Bar("[2] b", 0, 0, 0, 0)]
    text = progress.bars_html(bars, 1.25)
    assert "[1] &lt;a&gt;" in text
    assert '<progress value="1" max="2">' in text
    assert "1,000 rows" in text
    assert "2.00 kiB" in text

    class Kernel:
        kernel = object()

    assert not progress.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", type("IPython", (), {"get_ipython": staticmethod(Kernel)}))
    assert progress.in_notebook()
    assert isinstance(progress.new_display(), progress.NotebookDisplay)
