"""Time the TPC-H queries on Polars and on dask_polars, and check that the answers are the same.

python -m benchmarks.tpch.run --data data/tpch-0.1 --queries 1,3,5-8 --engine cluster --workers 2
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
import polars.selectors as cs
from polars.testing import assert_frame_equal

from benchmarks.tpch.data import tables
from benchmarks.tpch.queries import ORDER_BY, QUERIES, Tables

ENGINES = ("polars", "local", "cluster")
FRONT_DOORS = ("collection", "engine")

Collect = Callable[[Any], pl.DataFrame]


@dataclass(frozen=True)
class Measurement:
    """The best time of a query in seconds, its answer, and what was warned of."""

    seconds: float
    answer: pl.DataFrame
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contestant:
    """A way to run queries: the frames they are made on, and how the result is collected."""

    tables: Tables
    collect: Collect

    def measure(self, query: int, repeat: int) -> Measurement:
        """Run a query `repeat` times, building it anew each time."""
        best = float("inf")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(repeat):
                start = time.perf_counter()
                answer = self.collect(QUERIES[query](self.tables))
                best = min(best, time.perf_counter() - start)
        said = dict.fromkeys(str(warning.message) for warning in caught)
        return Measurement(best, answer, tuple(said))


def assert_same_answer(query: int, actual: pl.DataFrame, expected: pl.DataFrame, *, rel_tol: float = 1e-9) -> None:
    """Check that two answers to a query agree in schema, in values and in the order that the query asks for.

    Parameters
    ----------
    query
        The number of the query. Rows that its `ORDER BY` does not tell apart may come in any order.
    actual, expected
        The answers.
    rel_tol
        Relative tolerance of floats: sums of floats depend on the order of the additions.

    Raises
    ------
    AssertionError
        If the answers differ.
    """
    assert list(actual.schema.items()) == list(expected.schema.items()), f"{actual.schema} is not {expected.schema}"
    compare = partial(assert_frame_equal, rel_tol=rel_tol, abs_tol=0.0)
    order_by = ORDER_BY[query]
    compare(actual.select(order_by), expected.select(order_by))
    # Floats last: they must not decide the order where other columns can.
    columns = cs.expand_selector(expected, ~cs.float()) + cs.expand_selector(expected, cs.float())
    compare(actual.sort(columns), expected.sort(columns))


def parse_queries(text: str) -> list[int]:
    """Read a list of queries: `1,3,5-8` or `all`.

    >>> parse_queries("1,3,5-8")
    [1, 3, 5, 6, 7, 8]
    """
    if text == "all":
        return list(QUERIES)
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    unknown = [number for number in numbers if number not in QUERIES]
    if unknown or not numbers:
        raise ValueError(f"no such queries: {text}")
    return list(dict.fromkeys(numbers))


@contextmanager
def contestant(engine: str, front_door: str, data: str, workers: int) -> Iterator[Contestant]:
    """Start what an engine needs, and stop it at the end.

    Parameters
    ----------
    engine
        `polars`; `local`, which is dask_polars on the threads of this process; or `cluster`, which is dask_polars on a
        `distributed.LocalCluster` of workers with one thread each.
    front_door
        `collection` for `dask_polars.LazyFrame`; `engine` for Polars frames and `dask_polars.DaskEngine`.
    data
        Directory or URL of the data set.
    workers
        Number of threads or of worker processes.
    """
    if engine == "polars":
        yield Contestant(tables(data, pl.scan_parquet), lambda frame: frame.collect())
        return

    import dask

    import dask_polars as dp

    with ExitStack() as stack:
        if engine == "cluster":
            from distributed import Client, LocalCluster

            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            stack.enter_context(cluster)
            stack.enter_context(Client(cluster))
        else:
            stack.enter_context(dask.config.set(scheduler="threads", num_workers=workers))
        if front_door == "engine":
            # Made for each query, as a user would: the engine finds the client or the scheduler.
            yield Contestant(tables(data, pl.scan_parquet), lambda frame: frame.collect(engine=dp.DaskEngine()))
        elif engine == "cluster":
            yield Contestant(tables(data, dp.scan_parquet), lambda frame: frame.collect())
        else:
            yield Contestant(tables(data, dp.scan_parquet), lambda frame: frame.collect(scheduler="threads"))


def race(polars: Contestant, other: Contestant | None, queries: Sequence[int], repeat: int, name: str) -> bool:
    """Run the queries, print a line for each and a total; tell whether all answers were right."""
    print(f"{'query':>5} {'rows':>7} {'polars':>9} {name:>9} {'ratio':>7}  answer")
    right = True
    totals = [0.0, 0.0]
    for query in queries:
        expected = polars.measure(query, repeat)
        line = f"{query:>5} {expected.answer.height:>7} {expected.seconds:>9.3f}"
        if other is None:
            totals[0] += expected.seconds
            print(line, flush=True)
            continue
        try:
            actual = other.measure(query, repeat)
        except Exception as error:
            right = False
            print(f"{line} {'':>9} {'':>7}  {_first_line(error)}", flush=True)
            continue
        totals[0] += expected.seconds
        totals[1] += actual.seconds
        line += f" {actual.seconds:>9.3f} {actual.seconds / expected.seconds:>7.2f}"
        try:
            assert_same_answer(query, actual.answer, expected.answer)
            print(f"{line}  same", flush=True)
        except AssertionError as error:
            right = False
            print(f"{line}  DIFFERENT: {_first_line(error)}", flush=True)
        for warning in actual.warnings:
            print(f"{'':>5} {warning}", flush=True)
    total = f"{'total':>5} {'':>7} {totals[0]:>9.3f}"
    print(f"{total} {totals[1]:>9.3f} {totals[1] / totals[0]:>7.2f}" if other and totals[0] else total)
    return right


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpch.run", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a data set made by python -m benchmarks.tpch.data")
    parser.add_argument("--queries", type=parse_queries, default="all", help="such as 1,3,5-8 (default: all)")
    parser.add_argument("--engine", choices=ENGINES, default="cluster", help="what to compare with Polars")
    parser.add_argument("--front-door", choices=FRONT_DOORS, default="collection", help="API of dask_polars to use")
    parser.add_argument("--workers", type=int, default=2, help="worker processes, or threads of local (default: 2)")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts (default: 3)")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        polars = stack.enter_context(contestant("polars", "collection", options.data, options.workers))
        other = None
        if options.engine != "polars":
            other = stack.enter_context(
                contestant(options.engine, options.front_door, options.data, options.workers),
            )
        name = "" if other is None else options.engine
        print(
            f"polars {pl.__version__} with {pl.thread_pool_size()} threads; best of {options.repeat} runs, in seconds"
        )
        right = race(polars, other, options.queries, options.repeat, name)
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
