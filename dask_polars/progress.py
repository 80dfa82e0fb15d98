"""A bar for each stage while a query runs: rich in terminals, HTML in notebooks."""

from __future__ import annotations

import contextlib
import html
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dask.utils import format_bytes

from dask_polars.measure import on_worker
from dask_polars.observe import Run, observed
from dask_polars.plan import Plan
from dask_polars.plan.stages import Stage

#: Seconds that a run takes before bars appear by themselves.
PATIENCE = 2.0

_INTERVAL = 0.2  # seconds between two looks

# There is one terminal: of runs at the same time, the first one has it.
_showing = threading.Lock()


@dataclass(frozen=True)
class Bar:
    """
    How far a stage is.

    Parameters
    ----------
    name
        Its number and operation.
    done, total
        Parts of its work: partitions, and of a shuffle those that go in and those that come out.
    rows, bytes
        What its partitions hold, up to now.
    """

    name: str
    done: int
    total: int
    rows: int
    bytes: int


def bars_of(run: Run) -> list[Bar]:
    """
    Say how far the stages of a run are.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    list of Bar
        Sources first.
    """
    run.read_files()
    records, numbers = run.records(), run.numbers
    return [
        Bar(
            f"[{numbers[token]}] {item.stage.operation}",
            len(records[token]),
            max(item.expected, len(records[token])),
            sum(record.get("rows_out", 0) for record in records[token]),
            sum(record.get("bytes_out", 0) for record in records[token]),
        )
        for token, item in run.reporters.items()
    ]


class Display(Protocol):
    """Shows bars."""

    def show(self, bars: list[Bar], seconds: float) -> None:
        """Show how far a run is, and since when it runs."""

    def close(self) -> None:
        """Leave what is shown as it is."""


class TerminalDisplay:
    """
    Bars in a terminal.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where; the standard error stream otherwise.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        text = [TextColumn("{task.fields[" + name + "]}", justify="right") for name in ("parts", "rows", "bytes")]
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), *text, TimeElapsedColumn())
        self._progress = Progress(*columns, console=console or Console(stderr=True), auto_refresh=False)
        self._tasks: list[Any] = []

    def show(self, bars: list[Bar], seconds: float) -> None:
        if not self._tasks:
            empty: Any = {"parts": "", "rows": "", "bytes": ""}
            self._tasks = [self._progress.add_task(bar.name, total=bar.total, start=False, **empty) for bar in bars]
            self._progress.start()
        for task, bar in zip(self._tasks, bars, strict=True):
            if bar.done:
                self._progress.start_task(task)
            self._progress.update(
                task,
                completed=bar.done,
                total=bar.total,
                parts=f"{bar.done}/{bar.total}",
                rows=f"{bar.rows:,} rows",
                bytes=format_bytes(bar.bytes),
            )
        self._progress.refresh()

    def close(self) -> None:
        if self._tasks:
            self._progress.stop()


class NotebookDisplay:
    """Bars in the output of a notebook's cell."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, bars: list[Bar], seconds: float) -> None:
        from IPython.display import HTML, display

        content = HTML(bars_html(bars, seconds))
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)

    def close(self) -> None:
        pass


def bars_html(bars: list[Bar], seconds: float) -> str:
    """Write bars as HTML."""
    cell = '<td style="text-align: right; padding: 0 .8em; font-variant-numeric: tabular-nums">'
    rows = "".join(
        f'<tr><td style="text-align: left; padding: 0 .8em">{html.escape(bar.name)}</td>'
        f'<td><progress value="{bar.done}" max="{max(bar.total, 1)}"></progress></td>'
        f"{cell}{bar.done}/{bar.total}</td>{cell}{bar.rows:,} rows</td>{cell}{format_bytes(bar.bytes)}</td></tr>"
        for bar in bars
    )
    return f"<table>{rows}</table><small>{seconds:.1f} s</small>"


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def in_terminal() -> bool:
    """Say whether somebody looks at what this process writes."""
    return sys.stderr is not None and sys.stderr.isatty()


def new_display() -> Display:
    """Make what shows bars here."""
    return NotebookDisplay() if in_notebook() else TerminalDisplay()


@contextlib.contextmanager
def shown(run: Run, delay: float) -> Iterator[None]:
    """
    Show how far a run is, in a thread.

    Parameters
    ----------
    run
        The run.
    delay
        Seconds before which nothing is shown.
    """
    over = threading.Event()

    def watch() -> None:
        if over.wait(delay) and delay:
            return
        if not _showing.acquire(blocking=False):
            return
        display = new_display()
        try:
            while True:
                ended = over.is_set()
                display.show(bars_of(run), time.perf_counter() - run.started)
                if ended:
                    break
                over.wait(_INTERVAL)
        finally:
            display.close()
            _showing.release()

    thread = threading.Thread(target=watch, daemon=True, name="dask-polars-progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def watched(
    target: Any, plan: Plan, roots: Sequence[Stage] | None = None, *, profile: bool = False
) -> Iterator[tuple[Any, Run | None]]:
    """
    Watch what runs in this block, if that is wanted.

    Parameters
    ----------
    target : Target
        Where it runs; not Polars alone.
    plan
        What runs; its options say whether bars are shown.
    roots
        Those of its stages that run before the rest, where it is not the whole.
    profile
        Whether what it takes is wanted in any case.

    Yields
    ------
    tuple
        The target to run it on, and the run; None if nobody wants to know.
    """
    progress = plan.options.progress
    show = not on_worker() and (in_notebook() or in_terminal()) if progress == "auto" else progress
    if not show and not profile:
        yield target, None
        return
    with observed(target, plan.roots if roots is None else roots, plan.roots) as (there, run):
        if not show:
            yield there, run
        else:
            with shown(run, PATIENCE if progress == "auto" else 0.0):
                yield there, run
