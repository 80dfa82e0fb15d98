"""Functions side by side on one cluster: what they take, and whether their answers agree."""

from __future__ import annotations

import contextlib
import gc
import html
import os
import socket
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import polars as pl
from dask.callbacks import Callback
from dask.utils import format_bytes, format_time

from dask_polars.answers import Answer, answer_of, computed, difference
from dask_polars.charts import Chart, Panel
from dask_polars.counters import Usage, Watch, read_worker
from dask_polars.doctor import aligned

#: The columns of the table of a comparison.
SCHEMA: dict[str, Any] = {
    "name": pl.String,
    "runs": pl.UInt32,
    "wall": pl.Duration("us"),
    "cpu": pl.Duration("us"),
    "peak": pl.UInt64,
    "growth": pl.UInt64,
    "client_peak": pl.UInt64,
    "shuffled": pl.UInt64,
    "transferred": pl.UInt64,
    "spilled": pl.UInt64,
    "tasks": pl.UInt64,
    "rows": pl.UInt64,
    "agrees": pl.Boolean,
    "difference": pl.String,
    "error": pl.String,
}

_BYTES = ("peak", "growth", "client_peak", "shuffled", "transferred", "spilled")
_TITLES = {
    "wall": "wall time",
    "cpu": "CPU time",
    "peak": "peak memory of a worker",
    "growth": "growth of memory",
    "shuffled": "shuffled",
    "transferred": "between workers",
    "spilled": "spilled",
    "tasks": "tasks",
}
_LONGEST = 60  # characters of an error in a table

# A panic of Polars is not an `Exception`.
_RAISED = (Exception, pl.exceptions.PanicException)


@dataclass(frozen=True)
class Measured:
    """
    What one run took; times in seconds, sizes in bytes. The columns of the same names say what each of them is.
    """

    wall: float
    cpu: float
    peak: float
    growth: float
    client_peak: float
    shuffled: float
    transferred: float
    spilled: float
    tasks: float


@dataclass(frozen=True)
class Comparison:
    """
    What functions took, and whether their answers agree. A notebook shows it as a table and a chart.

    Parameters
    ----------
    table
        A row for each function; `dask_polars.compare` says what the columns are.
    runs
        What each single run took: ``name``, ``round``, and the columns of the table that are measured.
    """

    table: pl.DataFrame
    runs: pl.DataFrame

    def __repr__(self) -> str:
        return "\n".join(aligned([_HEAD, *_cells(self.table)]))

    def _repr_html_(self) -> str:
        cell = '<td style="text-align: {}">{}</td>'.format
        head = "".join(f'<th style="text-align: {_side(n)}">{html.escape(name)}</th>' for n, name in enumerate(_HEAD))
        rows = "".join(
            "<tr>" + "".join(cell(_side(n), html.escape(text)) for n, text in enumerate(row)) + "</tr>"
            for row in _cells(self.table)
        )
        return (
            f"<div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{self.chart()._repr_html_()}</div>"
        )

    def chart(self, *metrics: str) -> Chart:
        """
        Draw what was measured as bars: a `Chart`, which has `svg()`, `matplotlib()` and `altair()`.

        Parameters
        ----------
        *metrics
            The columns that are shown. Otherwise wall, cpu, peak, and of the others those that are not 0 for all.

        Returns
        -------
        dask_polars.charts.Chart

        Raises
        ------
        ValueError
            For a name that is none of these columns.
        """
        unknown = [name for name in metrics if name not in _TITLES]
        if unknown:
            raise ValueError(f"{unknown} are not among {list(_TITLES)}")
        always = ("wall", "cpu", "peak")
        chosen = metrics or tuple(
            name
            for name in _TITLES
            if name in always or (name != "growth" and any(value for value in self.table[name]))
        )
        return Chart(tuple(self.table["name"]), tuple(_panel(self.table, name) for name in chosen))


def compare(
    functions: Mapping[str, Callable[[], Any]] | Callable[[], Any],
    *others: Callable[[], Any],
    client: Any = None,
    repeat: int = 3,
    row_order: bool = False,
    rel_tol: float = 1e-5,
    abs_tol: float = 1e-8,
) -> Comparison:
    """
    Run functions in turns on one cluster, measure what they take, and compare their answers.

    The functions run in rounds, each of which begins with another one of them. A function that fails has its error in the
    table, and is not run again. Nothing is left on the cluster.

    Parameters
    ----------
    functions : mapping of str to callable, or callable
        Functions without arguments by their names; or the first of several, which go by their own names. What they
        give may be lazy: a `polars.LazyFrame` or a collection of Dask is computed as a part of the run.
    *others : callable
        The others, if the first argument is a function.
    client : distributed.Client, optional
        A client of the cluster whose workers are watched; otherwise the current one. Without a cluster this process is
        watched.
    repeat : int, default 3
        How often each of them is run. What is in the table are medians.
    row_order : bool, default False
        Whether the answers have to have their rows in the same order.
    rel_tol, abs_tol : float
        How much floats in the answers may differ.

    Returns
    -------
    Comparison
        With a `table`: ``wall`` time; ``cpu`` time of all workers; ``peak`` memory of the worker that had most;
        ``growth`` of the memory of all workers above what they had before; ``client_peak``, the memory of this process;
        bytes ``shuffled`` by P2P shuffles, ``transferred`` between workers as results of tasks, and ``spilled``; ``tasks``
        that ran; ``rows`` of the answer; whether it ``agrees`` with the first answer there is, and the ``difference``; the
        ``error``.

    Raises
    ------
    ValueError
        If there is no function, or `repeat` is less than 1.

    Notes
    -----
    Memory is that of processes, so what the workers hold already is a part of ``peak``; and a process rarely gives memory
    back, so ``growth`` may be smaller for what runs later. What else the cluster does meanwhile is counted, too.

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> rows = pl.DataFrame({"k": ["a", "b", "a"], "v": [1.0, 2.0, 3.0]})
    >>> lf = dp.from_polars(rows, npartitions=2)
    >>> found = dp.compare({
    ...     "Polars": lambda: rows.group_by("k").agg(pl.col("v").sum()),
    ...     "dask_polars": lambda: lf.group_by("k").agg(pl.col("v").sum()),
    ...     "wrong": lambda: lf.select("k").unique(),
    ... }, repeat=1)
    >>> found.table.select("name", "rows", "agrees", "difference").rows()[2]
    ('wrong', 2, False, "columns ['k', 'v'] against ['k']")
    >>> found.table["agrees"].to_list()
    [True, True, False]
    """
    named = _named(functions, others)
    if repeat < 1:
        raise ValueError(f"repeat must be at least 1, not {repeat}")
    place = _place(client)
    runs: list[dict[str, Any]] = []
    answers: dict[str, Answer] = {}
    errors: dict[str, str] = {}
    names = list(named)
    try:
        for number in range(repeat):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                if name in errors:
                    continue
                try:
                    result, measured = _run(named[name], place)
                    if name not in answers:
                        answers[name] = answer_of(result)
                    del result
                except _RAISED as error:
                    errors[name] = _said(error)
                else:
                    runs.append({"name": name, "round": number, **asdict(measured)})
    finally:
        place.leave()
    reference = next((answers[name] for name in names if name in answers and name not in errors), None)
    tolerance = {"row_order": row_order, "rel_tol": rel_tol, "abs_tol": abs_tol}
    rows = [_row(name, runs, answers.get(name), reference, errors.get(name), tolerance) for name in names]
    types = {"name": pl.String, "round": pl.UInt32, **dict.fromkeys(Measured.__dataclass_fields__, pl.Float64)}
    return Comparison(pl.DataFrame(rows, schema=SCHEMA), pl.DataFrame(runs, schema=types))


def _named(functions: Any, others: Sequence[Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    if isinstance(functions, Mapping):
        if others:
            raise ValueError("give functions in a mapping, or one after the other")
        named = dict(functions)
    else:
        named = {}
        for function in (functions, *others):
            name = getattr(function, "__name__", type(function).__name__)
            known, number = name, 1
            while name in named:
                number += 1
                name = f"{known} ({number})"
            named[name] = function
    if not named:
        raise ValueError("there is no function to compare")
    return named


def _said(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True)
class _Reading:
    """What a worker says at the end of a run."""

    usage: Usage
    process: tuple[str, int]
    counted: Mapping[str, float]


class _Here:
    """This process, with a scheduler of Dask or with Polars alone."""

    @contextlib.contextmanager
    def watched(self) -> Iterator[Callable[[], dict[str, float]]]:
        done = 0

        def count(*_: Any) -> None:
            nonlocal done
            done += 1

        gc.collect()
        watch = Watch([os.getpid()])

        def stop() -> dict[str, float]:
            usage = watch.stop([os.getpid()])
            return {**_memory([usage]), "shuffled": 0, "transferred": 0, "spilled": 0, "tasks": done}

        try:
            with Callback(posttask=count):
                yield stop
        finally:
            watch.done.set()

    def leave(self) -> None:
        pass


class _Workers:
    """The workers of a cluster."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @contextlib.contextmanager
    def watched(self) -> Iterator[Callable[[], dict[str, float]]]:
        before = self._ask(_begin)

        def stop() -> dict[str, float]:
            after: dict[str, _Reading] = self._ask(_end)
            sums = {"shuffled": 0.0, "transferred": 0.0, "spilled": 0.0, "tasks": 0.0}
            for address, reading in after.items():
                for name in sums:  # a worker that was not there before has begun with nothing
                    sums[name] += reading.counted[name] - before.get(address, {}).get(name, 0.0)
            # Several workers may be in one process.
            processes = {reading.process: reading.usage for reading in after.values()}
            return {**_memory(list(processes.values())), **sums}

        yield stop

    def _ask(self, function: Callable[..., Any]) -> dict[str, Any]:
        found = self.client.run(function, on_error="return")
        return {address: item for address, item in found.items() if not isinstance(item, BaseException)}

    def leave(self) -> None:
        self._ask(_forget)


_watches: weakref.WeakKeyDictionary[Any, Watch] = weakref.WeakKeyDictionary()


def _begin(dask_worker: Any) -> dict[str, float]:
    _forget(dask_worker)
    counted = read_worker(dask_worker)
    _watches[dask_worker] = Watch([os.getpid()])
    return counted


def _end(dask_worker: Any) -> _Reading:
    watch = _watches.pop(dask_worker, None) or Watch([os.getpid()])
    usage = watch.stop([os.getpid()])
    return _Reading(usage, (socket.gethostname(), os.getpid()), read_worker(dask_worker))


def _forget(dask_worker: Any) -> None:
    watch = _watches.pop(dask_worker, None)
    if watch is not None:
        watch.done.set()


def _memory(found: Sequence[Usage]) -> dict[str, float]:
    grown = [max(0, peak - before) for usage in found for peak, before in zip(usage.peaks, usage.before, strict=True)]
    peaks = [peak for usage in found for peak in usage.peaks]
    return {"cpu": sum(usage.cpu for usage in found), "peak": max(peaks, default=0), "growth": sum(grown)}


def _place(client: Any) -> _Here | _Workers:
    from dask_polars.cluster import current_cluster
    from dask_polars.versions import check_cluster
    from dask_polars.workers import prepare_workers

    cluster = current_cluster(client)
    if cluster is None:
        return _Here()
    check_cluster(cluster.client)
    prepare_workers(cluster.client)
    return _Workers(cluster.client)


def _run(function: Callable[[], Any], place: _Here | _Workers) -> tuple[Any, Measured]:
    client = place.client.as_current() if isinstance(place, _Workers) else contextlib.nullcontext()
    with client, place.watched() as stop:
        own = Watch([os.getpid()])
        try:
            start = time.perf_counter()
            result = computed(function())
            wall = time.perf_counter() - start
        finally:
            (peak,) = own.stop([os.getpid()]).peaks
        return result, Measured(wall=wall, client_peak=peak, **stop())


# ---------------------------------------------------------------- the table


def _row(
    name: str,
    runs: Sequence[Mapping[str, Any]],
    answer: Answer | None,
    reference: Answer | None,
    error: str | None,
    tolerance: Mapping[str, Any],
) -> dict[str, Any]:
    own = [run for run in runs if run["name"] == name]
    row: dict[str, Any] = {**dict.fromkeys(SCHEMA), "name": name, "runs": len(own), "error": error}
    if own:
        middle = {key: statistics.median(run[key] for run in own) for key in Measured.__dataclass_fields__}
        row |= {key: round(middle[key]) for key in (*_BYTES, "tasks")}
        row |= {key: timedelta(seconds=middle[key]) for key in ("wall", "cpu")}
    if answer is not None and reference is not None and error is None:
        differs = difference(reference, answer, **tolerance)
        row |= {"rows": answer.frame.height, "agrees": differs is None, "difference": differs}
    return row


_HEAD = ("", "wall", "CPU", "peak memory", "shuffled", "between workers", "spilled", "tasks", "rows", "answer")


def _side(column: int) -> str:
    return "left" if column in (0, len(_HEAD) - 1) else "right"


def _cells(table: pl.DataFrame) -> Iterator[tuple[str, ...]]:
    for row in table.iter_rows(named=True):
        texts = [_text(name, row[name]) for name in ("wall", "cpu", "peak", "shuffled", "transferred", "spilled")]
        rows = "" if row["rows"] is None else f"{row['rows']:,}"
        yield (row["name"], *texts, _text("tasks", row["tasks"]), rows, _verdict(row))


def _verdict(row: Mapping[str, Any]) -> str:
    if row["error"] is not None:
        text = row["error"]
    elif row["agrees"]:
        return "agrees"
    else:
        text = row["difference"]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return format_time(value.total_seconds())
    return format_bytes(value) if name in _BYTES else f"{value:,}"


def _panel(table: pl.DataFrame, name: str) -> Panel:
    values = table[name].to_list()
    labels = ["failed" if value is None else _text(name, value) for value in values]
    if name in _BYTES:
        return Panel(_TITLES[name], "MiB", [None if value is None else value / 2**20 for value in values], labels)
    if name == "tasks":
        return Panel(_TITLES[name], "", values, labels)
    seconds = [None if value is None else value.total_seconds() for value in values]
    return Panel(_TITLES[name], "s", seconds, labels)
