"""Results as tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.results import Row, distinct, failure, geometric_mean, peak, pick, ratios, seconds, wrong

BASES = ("polars", "dask.dataframe")
"""The engines that the others are compared with."""


def layout(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths)))  # noqa: B905
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, body)])


def cell(rows: Sequence[Row]) -> str:
    """Give the seconds of a query on an engine, or what became of it."""
    if not rows:
        return ""
    took = seconds(rows)
    if took is None:
        return failure(rows) or ""
    return f"{took:.3f}" + (" ≠" if wrong(rows) else "")


def queries_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Make the table of the queries of one workload and size: median seconds, and ratios to dask_polars' competitors."""
    engines = distinct(rows, "engine")
    compared = [base for base in BASES if "dask_polars" in engines and base in engines]
    header = ["query", *engines, *(f"dask_polars / {base}" for base in compared)]
    by_base = {base: ratios(rows, "dask_polars", base) for base in compared}
    body = []
    for query in distinct(rows, "query"):
        of_query = pick(rows, query=query)
        line = [query, *(cell(pick(of_query, engine=engine)) for engine in engines)]
        line += [f"{by_base[base][query]:.2f}" if query in by_base[base] else "" for base in compared]
        body.append(line)
    finished = [q for q in distinct(rows, "query") if all(seconds(pick(rows, query=q, engine=e)) for e in engines)]
    total = ["sum of those all finished"]
    for engine in engines:
        total.append(f"{sum(seconds(pick(rows, query=q, engine=engine)) or 0.0 for q in finished):.3f}")
    body.append([*total, *("" for _ in compared)])
    means = [geometric_mean(by_base[base].values()) for base in compared]
    body.append(["geometric mean", *("" for _ in engines), *("" if mean is None else f"{mean:.2f}" for mean in means)])
    return header, body


def bytes_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Make the table of memory and bytes for each engine: of the worst query, and summed over queries."""
    header = ["engine", "peak of a process", "query", "shuffled", "between workers", "spilled", "read", "from disk"]
    body = []
    for engine in distinct(rows, "engine"):
        mine = pick(rows, engine=engine)
        peaks = {query: peak(pick(mine, query=query)) or 0.0 for query in distinct(mine, "query")}
        worst = max(peaks, key=peaks.__getitem__)
        first = [row for row in mine if row["repeat"] == 0]
        sums = [sum(row[key] for row in first) for key in ("shuffled", "transferred", "spilled", "read", "read_disk")]
        body.append([engine, size(peaks[worst]), worst, *map(size, sums)])
    return header, body


def size(count: float) -> str:
    """Give a number of bytes as text.

    >>> size(1_500_000)
    '1.5 MB'
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def micro_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Make the table of one micro-benchmark: a line for each measure and case, a column for each API."""
    rows = [row for row in rows if row["value"] is not None]
    apis = distinct(rows, "api")
    header = ["measure", "case", *apis]
    body = []
    for measure in distinct(rows, "measure"):
        for case in distinct(pick(rows, measure=measure), "case"):
            found = {row["api"]: row for row in pick(rows, case=case, measure=measure)}
            body.append([measure, case, *(number(found[api]) if api in found else "" for api in apis)])
    return header, body


def number(row: Row) -> str:
    """Give a value with its unit."""
    if row["unit"] == "bytes":
        return size(row["value"])
    value: Any = row["value"]
    text = f"{value:,.0f}" if value == int(value) and value >= 10 else f"{value:.3g}"
    return f"{text} {row['unit']}".strip()


def failures(rows: Sequence[Row], micro: Sequence[Row] = ()) -> list[str]:
    """Say what failed, and what was answered differently."""
    said = [f"{row['name']}: {row['error']}" for row in micro if row["value"] is None]
    for row in rows:
        where = f"{row['workload']} {row['size']:g}, query {row['query']}, {row['engine']}"
        if row["status"] != "ok":
            said.append(f"{where}: {row['status']}: {row['error']}")
        if row["answer"].startswith("different"):
            said.append(f"{where}: answer is {row['answer']}")
    return list(dict.fromkeys(said))
