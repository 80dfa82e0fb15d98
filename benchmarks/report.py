"""From files of results to tables, and to one page of HTML with plots that needs nothing else.

python -m benchmarks.report data/bench/*.json --html report.html
"""

from __future__ import annotations

import argparse
import html
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Row, distinct, load, pick
from benchmarks.tables import bytes_table, failures, layout, micro_table, queries_table, size

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h1, h2, h3 { font-weight: 600; line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; margin: 1rem 0; }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee; } th { background: #f6f6f6; }
th:first-child, td:first-child { text-align: left; } svg { max-width: 100%; height: auto; } .note { color: #555; }
""".strip()

TITLES = {"tpch": "TPC-H, scale", "h2o": "h2o db-benchmark, rows"}

Table = tuple[list[str], list[list[str]]]


def sections(records: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Give each workload and size with its records."""
    for workload in distinct(records, "workload"):
        for amount in distinct(pick(records, workload=workload), "size"):
            yield f"{TITLES[workload]} {amount:g}", pick(records, workload=workload, size=amount)


def text(runs: Sequence[dict[str, Any]]) -> str:
    """Give all tables as text."""
    records, micro = _together(runs)
    parts = [machine_line(runs[0])]
    for title, rows in sections(records):
        parts += [f"{title}: seconds", layout(*queries_table(rows)), layout(*bytes_table(rows))]
    if micro:
        parts.append(micro_text(micro))
    parts += failures(records, micro)
    return "\n\n".join(parts)


def micro_text(rows: Sequence[Row]) -> str:
    """Give the tables of micro-benchmarks as text."""
    tables = ((name, micro_table(pick(rows, name=name))) for name in distinct(rows, "name"))
    return "\n\n".join([*(f"{name}\n{layout(*table)}" for name, table in tables), *failures([], rows)])


def machine_line(run: dict[str, Any]) -> str:
    """Say what a run was made on and with."""
    machine, options = run["machine"], run["options"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {len(machine['cores'])} of {machine['cores of the machine']} cores, "
        f"{size(machine['memory'])} of memory, {machine['system']}, Python {machine['python']}; {versions}; "
        f"commit {machine['commit']}; {machine['time']}, load {machine['load']:.1f} at the start; "
        f"{options['repeat']} runs of each query; {size(options['memory'])} for each worker; at most {options['timeout']:g} seconds for a query."
    )


def draw(plot: str, rows: Sequence[Row]) -> str:
    """Draw a plot of `benchmarks.plots`, or say that there is none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return "<p class='note'>No plot: matplotlib is not installed.</p>"
    from benchmarks import plots

    return getattr(plots, plot)(rows)


def write(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the page.

    Parameters
    ----------
    runs
        Results, of which the first tells the machine. Several are put together, for scales of different runs.
    path
        The file.
    """
    records, micro = _together(runs)
    body = ["<h1>dask_polars: benchmarks</h1>"]
    body += [f"<p class='note'>{html.escape(machine_line(run))}</p>" for run in runs]
    body.append(
        "<p>Times are medians of wall seconds with planning, taken in turns on the same cores; lines on bars go from the least to "
        "the largest run. × is a query that failed, ≠ an answer that was not that of Polars. Memory is the largest resident "
        "memory of one process that computes.</p>"
    )
    for title, rows in sections(records):
        body += [f"<h2>{html.escape(title)}</h2>", draw("times", rows), _html(queries_table(rows))]
        body += ["<h3>Memory and bytes</h3>", draw("memory", rows), _html(bytes_table(rows))]
    for workload in distinct(records, "workload"):
        rows = pick(records, workload=workload)
        if len(distinct(rows, "size")) > 1:
            body += [f"<h2>Scaling: {html.escape(workload)}</h2>", draw("scaling", rows)]
    for name in distinct(micro, "name"):
        rows = pick(micro, name=name)
        body.append(f"<h2>{html.escape(name)}</h2>")
        there = [row for row in rows if row["value"] is not None]
        body += [draw("micro", pick(there, measure=measure)) for measure in distinct(there, "measure")]
        body.append(_html(micro_table(rows)))
    said = failures(records, micro)
    if said:
        body += ["<h2>What failed</h2><ul>", *(f"<li>{html.escape(line)}</li>" for line in said), "</ul>"]
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>dask_polars: benchmarks</title><style>{STYLE}</style>"
    path.write_text(f"{page}<body>{''.join(body)}</body></html>\n", encoding="utf-8")


def _together(runs: Sequence[dict[str, Any]]) -> tuple[list[Row], list[Row]]:
    return [row for run in runs for row in run["records"]], [row for run in runs for row in run["micro"]]


def _html(table: Table) -> str:
    header, body = table

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in cells) + "</tr>"

    return f"<table>{line(header, 'th')}{''.join(line(cells, 'td') for cells in body)}</table>"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="files of results")
    parser.add_argument("--html", type=Path, help="where to write the page")
    options = parser.parse_args(arguments)
    runs = load(options.files)
    print(text(runs))
    if options.html:
        write(runs, options.html)
        print(f"\n{options.html}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
