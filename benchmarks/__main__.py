"""Run the benchmarks: make the data that is missing, run everything in turns, print tables, and write JSON and a page.

python -m benchmarks --scale 1 --queries 1,3,5-8
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes

from benchmarks import machine, report, results
from benchmarks.h2o import data as h2o_data
from benchmarks.harness.engines import ENGINES, NEEDS
from benchmarks.harness.race import Limits, Record, as_json, race, stable
from benchmarks.harness.workloads import WORKLOADS
from benchmarks.micro import MICRO
from benchmarks.micro.run import run_micro
from benchmarks.tables import cell, layout, queries_table
from benchmarks.tpch import data as tpch_data
from benchmarks.tpch.run import parse_queries

H2O_ROWS = 10_000_000
"""Rows of the large tables of h2o at scale 1 and above; below it is as many times fewer."""


@dataclass(frozen=True)
class Selection:
    """What is to be run: names of queries of each workload, and of micro-benchmarks."""

    tpch: tuple[str, ...]
    h2o: tuple[str, ...]
    micro: tuple[str, ...]


def select(text: str) -> Selection:
    """Read what is to be run: numbers and ranges for TPC-H, names for the others, names of whole parts.

    >>> select("1,3-4,g1,tasks").tpch
    ('1', '3', '4')
    >>> select("h2o").h2o[:2]
    ('g1', 'g2')
    """
    names: dict[str, tuple[str, ...]] = {
        "tpch": WORKLOADS["tpch"]().queries,
        "h2o": WORKLOADS["h2o"]().queries,
        "micro": tuple(MICRO),
    }
    if text == "all":
        return Selection(**names)
    chosen: dict[str, list[str]] = {part: [] for part in names}
    for item in filter(None, (word.strip() for word in text.replace(" ", ",").split(","))):
        if item in names:
            chosen[item] += names[item]
        elif item[0].isdigit():
            chosen["tpch"] += map(str, parse_queries(item))
        else:
            part = next((part for part in ("h2o", "micro") if item in names[part]), None)
            if part is None:
                raise ValueError(f"no such query: {item}; there are {', '.join([*names['h2o'], *names['micro']])}")
            chosen[part].append(item)
    return Selection(**{part: tuple(dict.fromkeys(found)) for part, found in chosen.items()})


class Run:
    """One run of the benchmarks: what it is made with, and its results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.engines = available(options.engines.split(","))
        cores = machine.pin(options.cores)
        memory = parse_bytes(options.memory) if options.memory != "auto" else machine.share_of_memory(len(cores))
        self.limits = Limits(len(cores), memory, options.timeout)
        self.results: dict[str, Any] = {
            "machine": machine.describe(cores),
            "options": {
                "engines": self.engines,
                "repeat": options.repeat,
                "memory": memory,
                "timeout": options.timeout,
            },
            "records": [],
            "micro": [],
        }
        name = options.name or time.strftime("%Y%m%d-%H%M%S")
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.json = self.out / f"{name}.json"
        shutil.rmtree(self.out / "logs", ignore_errors=True)  # of the run before

    def race(self, workload: str, queries: Sequence[str], data: Path, size: float) -> None:
        """Run the queries of a workload."""
        print(f"\n{workload} {size:g}: {data}", flush=True)
        print("  " + "  ".join(f"{name:>14}" for name in ["query", *self.engines]), flush=True)
        warm(data)

        def done(records: list[Record]) -> None:
            rows = [as_json(record) for record in records]
            self.results["records"] += rows
            results.save(self.results, self.json)
            cells = [cell(results.pick(rows, engine=engine)) for engine in self.engines]
            print("  " + "  ".join(f"{text:>14}" for text in [records[0].query, *cells]), flush=True)

        with stable(workload, data, size, self.limits, self.out) as engines:
            race(engines, self.engines, queries, self.options.repeat, done)
        rows = results.pick(self.results["records"], workload=workload, size=size)
        print(f"\n{layout(*queries_table(rows))}\n", flush=True)

    def micro(self, names: Sequence[str], data: Path) -> None:
        """Run micro-benchmarks."""
        for name in names:
            print(f"\nmicro: {name}", flush=True)
            rows = run_micro(name, data, self.limits, self.out, self.options)
            self.results["micro"] += rows
            results.save(self.results, self.json)
            print(report.micro_text(rows), flush=True)


def available(engines: Sequence[str]) -> list[str]:
    """Leave out the engines whose packages are missing, and say so."""
    found = []
    for engine in engines:
        if engine not in ENGINES:
            raise ValueError(f"no such engine: {engine}; there are {', '.join(ENGINES)}")
        missing = [package for package in NEEDS.get(engine, ()) if importlib.util.find_spec(package) is None]
        if missing:
            print(f"{engine} is left out: {', '.join(missing)} is not installed", file=sys.stderr)
        else:
            found.append(engine)
    return found


def warm(directory: Path) -> None:
    """Read all files once, so that they are in the cache of the system if it is large enough."""
    for file in sorted(directory.rglob("*.parquet")):
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass


def scales(text: str, scaling: bool = True) -> list[float]:
    """Read scales; a single one comes with a tenth of it, for the plot of scaling, unless that is not wanted.

    >>> scales("1"), scales("1,10"), scales("1", scaling=False)
    ([0.1, 1.0], [1.0, 10.0], [1.0])
    """
    found = [float(word) for word in text.replace(",", " ").split()]
    return [found[0] / 10, *found] if len(found) == 1 and scaling else found


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    made.add_argument("--scale", default="1", help="scale of TPC-H; one scale N means N/10 and N (default: 1)")
    made.add_argument("--no-scaling", dest="scaling", action="store_false", help="run TPC-H at no other scale")
    made.add_argument("--rows", type=float, help="rows of h2o (default: 1e7, and less below scale 1)")
    made.add_argument("--queries", default="all", help="as 1,3,5-8,g1,j5,planning or tpch, h2o, micro (default: all)")
    made.add_argument("--engines", default=",".join(ENGINES), help="default: all that are installed")
    made.add_argument("--repeat", type=int, default=3, help="runs of each query on each engine (default: 3)")
    made.add_argument(
        "--memory", default="auto", help="memory of a worker, as 4GB (default: a share of a third of all)"
    )
    made.add_argument("--timeout", type=float, default=600.0, help="seconds of a query (default: 600)")
    made.add_argument("--cores", type=int, default=2, help="cores, and workers of the cluster (default: 2)")
    made.add_argument("--data", type=Path, default=Path("data"), help="directory of the data sets (default: data)")
    made.add_argument("--out", default="data/bench", help="directory of results and logs (default: data/bench)")
    made.add_argument("--name", help="name of the files of results (default: the time)")
    made.add_argument("--rows-per-file", type=int, default=1_000_000, help="rows of a Parquet file (default: 1e6)")
    made.add_argument(
        "--shuffled",
        type=parse_bytes,
        default=0,
        help="least size of the table that is shuffled, as 5GB (default: that of h2o)",
    )
    made.add_argument("--files", type=int, default=10_000, help="files of the micro-benchmarks (default: 10000)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    # `kill` ends what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        chosen, sizes = select(options.queries), scales(options.scale, options.scaling)
        run = Run(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    rows = int(options.rows or min(1.0, max(sizes)) * H2O_ROWS)
    tpch = {scale: options.data / f"tpch-{scale:g}-files-of-{options.rows_per_file}" for scale in sizes}
    h2o = options.data / f"h2o-{rows}-files-of-{options.rows_per_file}"
    print(f"results go to {run.json}", flush=True)
    if chosen.tpch:
        for scale, directory in tpch.items():
            print(f"making {directory}, unless it is there", flush=True)
            tpch_data.generate(directory, scale, rows_per_file=options.rows_per_file)
            run.race("tpch", chosen.tpch, directory, scale)
    if chosen.h2o or "shuffle" in chosen.micro:
        print(f"making {h2o}, unless it is there", flush=True)
        h2o_data.generate(h2o, rows, rows_per_file=options.rows_per_file)
    if chosen.h2o:
        run.race("h2o", chosen.h2o, h2o, rows)
    if chosen.micro:
        if "planning" in chosen.micro:
            tpch_data.generate(tpch[sizes[-1]], sizes[-1], rows_per_file=options.rows_per_file)
        options.tpch, options.h2o = tpch[sizes[-1]], h2o
        run.micro(chosen.micro, options.data)
    page = run.json.with_suffix(".html")
    results.save(run.results, run.json)
    report.write([run.results], page)
    print(report.text([run.results]))
    print(f"\n{run.json}\n{page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
