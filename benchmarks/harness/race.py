"""Runs queries on engines in turns, so that whatever else happens on the machine happens to all of them."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness.engines import CLUSTERED
from benchmarks.harness.processes import Child, Died
from benchmarks.harness.workloads import WORKLOADS, Workload
from dask_polars.counters import Counters, Watch

STARTING = 120.0
"""Seconds in which a process has to start, and to answer anything that is not a query."""


@dataclass(frozen=True)
class Limits:
    """What engines may use.

    Attributes
    ----------
    cores
        Cores; and so worker processes of one thread, and threads of other engines.
    memory
        Bytes of each worker, and of an engine in one process as many times that as there are workers. Polars takes no
        limit.
    timeout
        Seconds of a query.
    """

    cores: int
    memory: int
    timeout: float


@dataclass
class Record:
    """One run of one query on one engine.

    `status` is "ok", "error", "timeout", "memory" (given up, or killed, for lack of memory) or "died".
    Bytes: `peaks` and `before` of each process that computes; the others are sums over these.
    """

    workload: str
    size: float
    query: str
    engine: str
    repeat: int
    status: str
    seconds: float | None = None
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    read: int = 0
    read_disk: int = 0
    shuffled: float = 0.0
    transferred: float = 0.0
    spilled: float = 0.0
    answer: str = ""


class Stable:
    """The processes of the engines that run one workload, which are started when needed and again after a failure.

    Parameters
    ----------
    workload, data, size
        The queries, the directory of their data, and its scale or number of rows.
    limits
        What engines may use.
    directory
        For logs; and for temporary files, which are deleted at the end.
    """

    def __init__(self, workload: str, data: Path, size: float, limits: Limits, directory: Path) -> None:
        self.workload, self.data, self.size, self.limits = workload, data.resolve(), size, limits
        self.logs = directory / "logs"
        self.scratch = directory.resolve() / f"scratch-{workload}-{size:g}"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.warm = WORKLOADS[workload]().warm
        self.engines: dict[str, Child] = {}
        self._cluster: Child | None = None
        self._address = ""

    def _start(self, module: str, name: str, *arguments: str, threads: int = 1) -> Child:
        log = self.logs / f"{self.workload}-{self.size:g}-{name}.log"
        return Child(module, ["--scratch", str(self.scratch), *arguments], log, {"POLARS_MAX_THREADS": str(threads)})

    def address(self) -> str:
        """Give the address of the cluster, which is started if it is not there."""
        if self._cluster is None:
            arguments = ["--workers", str(self.limits.cores), "--memory", str(self.limits.memory)]
            self._cluster = self._start("benchmarks.harness.cluster", "cluster", *arguments)
            self._address = self._cluster.ask("address", STARTING)
        return self._address

    def engine(self, name: str) -> Child:
        """Give the process of an engine, which is started if it is not there, and has run a query to get warm."""
        if name in self.engines:
            return self.engines[name]
        arguments = ["--engine", name, "--workload", self.workload, "--data", str(self.data)]
        arguments += ["--threads", str(self.limits.cores)]
        if name in CLUSTERED:
            arguments += ["--address", self.address()]
        arguments += ["--memory", str(self.limits.memory * self.limits.cores)]
        threads = self.limits.cores
        child = self.engines[name] = self._start("benchmarks.harness.child", name, *arguments, threads=threads)
        # Imports, and connections of workers. Whether it is answered is of no interest here.
        child.ask(("run", self.warm), self.limits.timeout)
        child.ask(("finish", None), STARTING)
        return child

    def stop(self, name: str) -> None:
        """End an engine; and its cluster with all that uses it, where it has one."""
        if name in self.engines:
            self.engines.pop(name).close(patience=1.0)
        if name in CLUSTERED and self._cluster is not None:
            for other in CLUSTERED & self.engines.keys():
                self.engines.pop(other).close(patience=1.0)
            self._cluster.close(patience=1.0)
            self._cluster = None

    def close(self) -> None:
        """End all processes and delete their files."""
        for name in list(self.engines):
            self.engines.pop(name).close()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, engine: str, query: str, repeat: int, answer: Path | None) -> Record:
        """Run a query once.

        Parameters
        ----------
        engine, query
            What to run.
        repeat
            Which run it is.
        answer
            Where the answer is to be written, if it is wanted.
        """
        record = Record(self.workload, self.size, query, engine, repeat, "ok")
        try:
            self._run(record, answer)
        except TimeoutError as error:
            record.status, record.error = "timeout", str(error)
            self.stop(engine)
        except Died as error:
            killed = "status -9" in str(error)
            record.status, record.error = "memory" if killed else "died", str(error)
            self.stop(engine)
        return record

    def _run(self, record: Record, answer: Path | None) -> None:
        child = self.engine(record.engine)
        before: Counters = _checked(child.ask(("counters", None), STARTING))["counters"]
        watch = Watch(before.pids)
        try:
            found = child.ask(("run", record.query), self.limits.timeout)
        finally:
            peaks = watch.stop(before.pids)
        record.peaks, record.before = list(peaks.peaks), list(peaks.before)
        record.read, record.read_disk = peaks.read, peaks.read_disk
        if found["status"] == "ok":
            record.seconds, record.warnings = found["seconds"], found["warnings"]
            found = child.ask(("finish", answer), self.limits.timeout)
        if found["status"] != "ok":
            out_of_memory = any(name in found["error"] for name in ("KilledWorker", "MemoryError", "OutOfMemory"))
            record.status, record.error = "memory" if out_of_memory else "error", found["error"]
            record.seconds = None
            # What is left of it on the cluster must not be in the way of the next one.
            self.stop(record.engine)
            return
        after: Counters = _checked(child.ask(("counters", None), STARTING))["counters"]
        same = before.pids == after.pids  # a worker that was started again counts from zero
        for name in ("shuffled", "transferred", "spilled"):
            setattr(record, name, getattr(after, name) - (getattr(before, name) if same else 0.0))


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    if found["status"] != "ok":
        raise Died(found["error"])
    return found


@contextmanager
def stable(workload: str, data: Path, size: float, limits: Limits, directory: Path) -> Iterator[Stable]:
    """Give the engines of a workload, and end them."""
    engines = Stable(workload, data, size, limits, directory)
    try:
        yield engines
    finally:
        engines.close()


def race(
    stable: Stable,
    engines: Sequence[str],
    queries: Sequence[str],
    repeat: int,
    done: Callable[[list[Record]], None],
) -> list[Record]:
    """Run queries on engines: one query after the other, and each `repeat` times on each engine in turns.

    Parameters
    ----------
    stable
        The processes.
    engines
        Names of engines. Answers are compared with that of "polars", or else with the first that there is.
    queries
        Names of queries.
    repeat
        How often. An engine that fails with a query is not asked again for that one.
    done
        Called after each query with its records.

    Returns
    -------
    list of Record
    """
    workload = WORKLOADS[stable.workload]()
    records = []
    for query in queries:
        of_query: list[Record] = []
        answers = {engine: stable.scratch / f"{engine}.arrow" for engine in engines}
        failed: set[str] = set()
        for turn in range(repeat):
            start = turn % len(engines)
            for engine in [*engines[start:], *engines[:start]]:
                if engine in failed:
                    continue
                record = stable.run(engine, query, turn, None if turn else answers[engine])
                of_query.append(record)
                if record.status != "ok":
                    failed.add(engine)
        compare(workload, query, of_query, answers)
        records += of_query
        done(of_query)
    return records


def compare(workload: Workload, query: str, records: Sequence[Record], answers: Mapping[str, Path]) -> None:
    """Compare the answers to a query, and write into the records whether they agree."""
    found = {engine: pl.read_ipc(path) for engine, path in answers.items() if path.exists()}
    if not found:
        return
    reference = "polars" if "polars" in found else next(iter(found))
    verdicts = {reference: "reference"}
    for engine in found.keys() - {reference}:
        try:
            workload.compare(query, found[engine], found[reference])
            verdicts[engine] = "same"
        except (AssertionError, pl.exceptions.PolarsError) as error:
            verdicts[engine] = f"different: {str(error).splitlines()[0]}"
    for record in records:
        record.answer = verdicts.get(record.engine, "")
    for path in answers.values():
        path.unlink(missing_ok=True)


def median(records: Sequence[Record], engine: str) -> float | None:
    """Give the median of the seconds of an engine, if it was successful."""
    seconds = [record.seconds for record in records if record.engine == engine and record.seconds is not None]
    return statistics.median(seconds) if seconds else None


def as_json(record: Record) -> dict[str, Any]:
    """Give a record as JSON has it."""
    return asdict(record)
