"""Plots of results, as SVG to be put into a page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.results import Row, distinct, failure, median_of, peak, pick, seconds

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9})

COLOURS = {
    "dask_polars": "#d95f02",
    "DaskEngine": "#e6ab02",
    "polars": "#7570b3",
    "dask.dataframe": "#1b9e77",
    "duckdb": "#666666",
}
"""One colour for each engine, in all plots."""


def colour(engine: str) -> str:
    """Give the colour of an engine, or of an API of a micro-benchmark."""
    return COLOURS.get(engine, "#999999")


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _clean(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)


def _bars(
    rows: Sequence[Row],
    value: Callable[[Sequence[Row]], float | None],
    ends: Callable[[Row], float | None],
    label: str,
    *,
    log: bool,
) -> str:
    """Draw a group of bars for each query with a bar for each engine, and a line from the least to the largest run."""
    queries, engines = distinct(rows, "query"), distinct(rows, "engine")
    figure = Figure(figsize=(max(6.0, 0.55 * len(queries) + 1.5), 3.6))
    axes = figure.subplots()
    width = 0.8 / len(engines)
    failed = []
    for i, engine in enumerate(engines):
        where, heights, low, high = [], [], [], []
        for j, query in enumerate(queries):
            mine = pick(rows, query=query, engine=engine)
            place = j - 0.4 + (i + 0.5) * width
            middle = value(mine)
            if middle is None:
                if failure(mine):
                    failed.append((place, colour(engine)))
                continue
            runs = [number for row in mine if (number := ends(row)) is not None]
            where.append(place)
            heights.append(middle)
            low.append(max(0.0, middle - min(runs)))
            high.append(max(0.0, max(runs) - middle))
        axes.bar(where, heights, width, label=engine, color=colour(engine))
        axes.errorbar(where, heights, yerr=[low, high], fmt="none", ecolor="#222222", elinewidth=0.7)
    if log:
        axes.set_yscale("log")
    for place, shade in failed:
        axes.text(place, 0.01, "×", color=shade, ha="center", transform=axes.get_xaxis_transform(), weight="bold")
    axes.set_xticks(range(len(queries)), queries)
    axes.set_xlim(-0.6, len(queries) - 0.4)
    axes.set_ylabel(label)
    axes.legend(frameon=False, ncols=len(engines), loc="lower left", bbox_to_anchor=(0, 1.0))
    _clean(axes)
    return _svg(figure)


def times(rows: Sequence[Row]) -> str:
    """Draw the seconds of each query on each engine, on a scale of logarithms; × is a query that failed."""
    return _bars(rows, seconds, lambda row: row["seconds"], "seconds", log=True)


def memory(rows: Sequence[Row]) -> str:
    """Draw the largest resident memory of a process that computes, for each query and engine."""

    def of_rows(found: Sequence[Row]) -> float | None:
        most = peak(found)
        return None if most is None else most / 1e9

    return _bars(rows, of_rows, lambda row: max(row["peaks"]) / 1e9 if row["peaks"] else None, "GB", log=False)


def scaling(rows: Sequence[Row]) -> str:
    """Draw the sum over those queries that all engines have answered at all sizes, against the size."""
    sizes, engines = sorted(distinct(rows, "size")), distinct(rows, "engine")

    def took(query: str, engine: str, size: float) -> float | None:
        return seconds(pick(rows, query=query, engine=engine, size=size))

    common = [q for q in distinct(rows, "query") if all(took(q, e, s) is not None for e in engines for s in sizes)]
    figure = Figure(figsize=(5.5, 3.6))
    axes = figure.subplots()
    for engine in engines:
        sums = [sum(took(query, engine, size) or 0.0 for query in common) for size in sizes]
        axes.plot(sizes, sums, marker="o", label=engine, color=colour(engine))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("scale")
    axes.set_ylabel(f"seconds of {len(common)} queries")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _clean(axes)
    return _svg(figure)


def micro(rows: Sequence[Row]) -> str:
    """Draw one measure of a micro-benchmark: a group of bars for each case with a bar for each API."""
    cases, apis = distinct(rows, "case"), distinct(rows, "api")
    figure = Figure(figsize=(max(4.0, 0.45 * len(cases) + 2), 2.8))
    axes = figure.subplots()
    width = 0.8 / len(apis)
    for i, api in enumerate(apis):
        found = [
            (j, median_of(pick(rows, case=case, api=api), lambda row: row["value"])) for j, case in enumerate(cases)
        ]
        there = [(j - 0.4 + (i + 0.5) * width, value) for j, value in found if value is not None]
        axes.bar([place for place, _ in there], [value for _, value in there], width, label=api, color=colour(api))
    axes.set_xticks(range(len(cases)), cases, rotation=30 if max(map(len, cases)) > 4 else 0)
    axes.set_ylabel(f"{rows[0]['measure']} ({rows[0]['unit']})" if rows[0]["unit"] else rows[0]["measure"])
    if len(cases) > 3:
        axes.set_yscale("log")
    axes.legend(frameon=False, ncols=len(apis), loc="lower left", bbox_to_anchor=(0, 1.0))
    _clean(axes)
    return _svg(figure)
