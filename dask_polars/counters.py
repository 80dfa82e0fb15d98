"""What processes use: memory at its peak, bytes read, and what workers of Dask count."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Counters:
    """The processes that compute, and what they have counted since they were started.

    Attributes
    ----------
    pids
        Of the processes.
    shuffled
        Bytes that P2P shuffles have made for other workers or their own disk.
    transferred
        Bytes of results of tasks that came from other workers; of the last 1000 transfers to a worker in a query.
    spilled
        Bytes of results of tasks that were written to disk for lack of memory.
    """

    pids: tuple[int, ...]
    shuffled: float = 0.0
    transferred: float = 0.0
    spilled: float = 0.0


def own_counters() -> Counters:
    """Give the counters of an engine that is this process."""
    return Counters((os.getpid(),))


def worker_counters(client: Any) -> Counters:
    """Give the sums of the counters of all workers."""
    found = client.run(read_worker).values()
    total = {name: sum(item[name] for item in found) for name in ("shuffled", "transferred", "spilled")}
    return Counters(tuple(item["pid"] for item in found), **total)


def read_worker(dask_worker: Any) -> dict[str, float]:
    """
    Read the counters of a worker; it runs there, between queries.

    Parameters
    ----------
    dask_worker : distributed.Worker
        The worker.

    Returns
    -------
    dict
        ``pid``, the bytes ``shuffled``, ``transferred`` and ``spilled``, and the number of ``tasks``, since its start.
    """
    gc.collect()
    sums = {"pid": os.getpid(), "shuffled": 0.0, "transferred": 0.0, "spilled": 0.0}
    for key, value in dask_worker.digests_total.items():
        if not isinstance(key, tuple) or key[-1] != "bytes":
            continue
        # A shuffle is counted twice: as what its tasks did, and under "p2p", where the label has lost its "p2p-".
        if key[0] == "p2p":
            if "shards" in key:
                sums["shuffled"] += value
        elif "disk-write" in key:
            sums["spilled"] += value
    # The log has the last transfers only (1000, unless configured otherwise), so it is read after each query.
    seen = _transfers.setdefault(dask_worker, _Transfers())
    log = list(dask_worker.transfer_incoming_log)
    seen.total += sum(transfer["total"] for transfer in log if transfer["stop"] > seen.until)
    seen.until = max([seen.until, *(transfer["stop"] for transfer in log)])
    return {**sums, "transferred": seen.total, "tasks": dask_worker.state.executed_count}


@dataclass
class _Transfers:
    """What a worker has counted of its log of transfers."""

    total: float = 0.0
    until: float = 0.0


# By worker: several of them may be in one process.
_transfers: weakref.WeakKeyDictionary[Any, _Transfers] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Usage:
    """What processes used while they were watched.

    Attributes
    ----------
    peaks
        The largest resident memory of each process, in bytes.
    before
        The resident memory of each process at the start.
    read
        Bytes that calls of `read` gave, from disk, cache of the system or pipes; files that are mapped are not counted.
    read_disk
        Bytes that came from disk.
    cpu
        Seconds of CPU time.
    """

    peaks: tuple[int, ...]
    before: tuple[int, ...]
    read: int
    read_disk: int
    cpu: float


class Watch:
    """Watches processes, from when it is made until `stop`.

    On Linux the kernel keeps the peak, and is told to forget the one before. Elsewhere memory is looked at every 10 ms.

    Parameters
    ----------
    pids
        The processes.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self.before = {pid: _resident(pid) for pid in pids}
        self.io = {pid: _read_bytes(pid) for pid in self.before}
        self.cpu = {pid: _cpu_seconds(pid) for pid in self.before}
        self.sampled = dict(self.before)
        forgotten = [_forget_peak(pid) for pid in self.before]
        self.exact = all(forgotten)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        if not self.exact:
            self.thread.start()

    def _sample(self) -> None:
        while not self.done.wait(0.01):
            for pid in self.sampled:
                self.sampled[pid] = max(self.sampled[pid], _resident(pid))

    def stop(self, pids: Iterable[int]) -> Usage:
        """End watching; `pids` are the processes that are there now, among them those that were started meanwhile."""
        self.done.set()
        if self.thread.is_alive():
            self.thread.join()
        now = list(pids)
        if self.exact:
            peaks = [_peak(pid) for pid in now]
        else:
            peaks = [max(self.sampled.get(pid, 0), _resident(pid)) for pid in now]
        read = disk = 0
        for pid in now:
            (read_before, disk_before), (read_now, disk_now) = self.io.get(pid, (0, 0)), _read_bytes(pid)
            read, disk = read + read_now - read_before, disk + disk_now - disk_before
        cpu = sum(_cpu_seconds(pid) - self.cpu.get(pid, 0.0) for pid in now)
        return Usage(tuple(peaks), tuple(self.before.values()), read, disk, cpu)


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _read_bytes(pid: int) -> tuple[int, int]:
    try:
        counters = psutil.Process(pid).io_counters()
    except (psutil.Error, AttributeError):  # not known on macOS
        return 0, 0
    return getattr(counters, "read_chars", 0), counters.read_bytes


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _forget_peak(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5\n")
    except OSError:
        return False
    return True


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # gone
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
