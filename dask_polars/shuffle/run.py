"""One execution of a peer-to-peer shuffle on one worker: what is sent, received, kept and read back."""

from __future__ import annotations

import asyncio
import errno
import itertools
import mmap
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
from dask.sizeof import sizeof
from dask.typing import Key
from distributed.comm import get_address_host
from distributed.core import clean_exception
from distributed.metrics import context_meter
from distributed.shuffle._core import (
    ShuffleId,
    ShuffleRun,
)
from distributed.shuffle._disk import DiskShardsBuffer
from distributed.shuffle._exceptions import DataUnavailable, P2POutOfDiskError
from distributed.utils import sync
from distributed.utils_comm import retry

from dask_polars.shuffle.encoding import Buffer, Compression, iter_bytes, iter_chunks, join_bytes, join_shards
from dask_polars.shuffle.frames import ShuffleError, as_planned, group, validate
from dask_polars.shuffle.handover import Handed, hand_over, known_to_see, read_handed, sees_files, write

if TYPE_CHECKING:
    from dask_polars.shuffle.p2p import PolarsShuffleSpec

#: Input partition, what is announced (`_announce`), and the shards, unless they are in a file.
Payload: TypeAlias = tuple[int, bytes, "np.ndarray[Any, Any]"]

# The task for which this thread has last read a partition: a second shuffle of that task does not move it any more.
_settled = threading.local()

_CLOSED_WITHIN = 30.0  # seconds until the scheduler has told that a worker is gone


@dataclass(frozen=True)
class Stored:
    """What a worker has of one output partition.

    Attributes
    ----------
    ninputs
        How many inputs have sent their payload.
    height
        Rows that these inputs have announced.
    data
        The shards in any order, each tagged with its input, in buffers that have any number of them.
    """

    ninputs: int
    height: int
    data: Sequence[Buffer]


class PolarsShuffleRun(ShuffleRun[int, pl.DataFrame]):
    """One execution of a shuffle on one worker; see `distributed.shuffle._core.ShuffleRun`.

    Parameters
    ----------
    spec
        What is shuffled.
    worker_for
        Output partition to the address of its worker.
    **base
        Arguments of `ShuffleRun`.
    """

    def __init__(self, *, spec: PolarsShuffleSpec, worker_for: dict[int, str], **base: Any):
        super().__init__(**base)
        self.spec = spec
        self._host = get_address_host(self.local_address)
        self.worker_for = worker_for
        outputs_of: defaultdict[str, list[int]] = defaultdict(list)
        for j, address in worker_for.items():
            outputs_of[address].append(j)
        self.outputs_of = dict(outputs_of)
        self._files = itertools.count()
        self._handed: list[Handed] = []
        self._announced: defaultdict[int, int] = defaultdict(int)
        self._relocated: set[Key] = set()
        self._receiving = 0
        self._appending = threading.Lock()
        self._all_received = asyncio.Event()
        self._all_received.set()

    # Sending: in the thread of the transfer task

    def _shard_partition(self, data: pl.DataFrame, partition_id: int) -> dict[str, Payload]:  # type: ignore[override]
        where = f"P2P shuffle {self.id}, input partition {partition_id}"
        data = as_planned(data, self.spec.schema)
        validate(data, self.spec.schema, self.spec.npartitions, where)
        grouped = group(data)
        height = sum(grouped.heights.values())
        if height != data.height:
            raise ShuffleError(f"{where}: {data.height} rows in, {height} rows split")
        counts, shards = {}, {}
        for address, outputs in self.outputs_of.items():
            counts[address] = [grouped.heights.get(j, 0) for j in outputs]
            shards[address] = join_bytes(
                grouped.of(outputs),
                [height for height in counts[address] if height],
                tag=partition_id,
                compression=self._compression(address),
            )
        context_meter.digest_metric("p2p-shards", sum(part.size for part in shards.values()), "bytes")
        context_meter.digest_metric("p2p-shards", len(shards), "count")
        handed = self._hand_over(counts, {a: part for a, part in shards.items() if part.size and self._sees_files(a)})
        return {
            address: (
                partition_id,
                _announce(counts[address], handed.get(address)),
                # An array is not copied when it is pickled, as bytes are.
                np.frombuffer(b"" if address in handed else shards[address], dtype=np.uint8),
            )
            for address in shards
        }

    def _compression(self, address: str) -> Compression:
        """Compress what goes over a network: within a machine that takes longer than to move the bytes."""
        return "uncompressed" if self._is_near(address) else self.spec.compression

    def _is_near(self, address: str) -> bool:
        return get_address_host(address) == self._host

    def _sees_files(self, address: str) -> bool:
        if address == self.local_address:
            return True
        if not self._is_near(address):
            return False
        known = known_to_see(self._buffer.directory, address)
        if known is not None:
            return known
        with _disk_errors():
            return sync(self._loop, sees_files, self._buffer.directory, address, self._ask)

    def _hand_over(self, counts: dict[str, list[int]], shards: dict[str, Any]) -> dict[str, Handed]:
        """Write what goes to workers of this machine into one file, which these read."""
        if not shards:
            return {}
        parts = [
            [next(chunks) if height else b"" for height in counts[address]]
            for address, chunks in ((address, iter_chunks(part)) for address, part in shards.items())
        ]
        # Without "p2p" what a task writes counts as spilled.
        with self._writing("p2p-disk-write", len(shards), sum(part.size for part in shards.values())):
            handed = hand_over(self._buffer.directory / f"from-{next(self._files)}", parts)
        return dict(zip(shards, handed, strict=True))

    @property
    def _buffer(self) -> DiskShardsBuffer:
        assert isinstance(self._disk_buffer, DiskShardsBuffer)
        return self._disk_buffer

    @contextmanager
    def _writing(self, metric: str, count: int, nbytes: int) -> Iterator[None]:
        """Write files of this run: in a thread, while its directory is kept from being deleted."""
        buffer = self._buffer
        with buffer._directory_lock.read(), context_meter.meter(metric), _disk_errors():
            self.raise_if_closed()
            yield
        buffer.bytes_total += nbytes
        buffer.bytes_written += nbytes
        context_meter.digest_metric(metric, count, "count")
        context_meter.digest_metric(metric, nbytes, "bytes")

    async def _send(self, address: str, shards: Any) -> Any:
        if address == self.local_address:
            # Saves a round trip through the network stack for what stays here.
            return await self.receive(shards)
        return await super()._send(address, shards)

    # Receiving: on the event loop

    async def _receive(self, data: list[Payload]) -> None:  # type: ignore[override]
        self.raise_if_closed()
        outputs = self.outputs_of[self.local_address]
        fresh = []
        for payload in data:
            i, announced, shards = payload
            if i in self.received:  # A transfer was sent or run twice.
                continue
            self.received.add(i)
            self.total_recvd += sizeof(payload)
            counts, handed = _announced(announced)
            # Announced now and not when written: a shard that is never written must be missed.
            for j, height in zip(outputs, counts, strict=True):
                self._announced[j] += height
            if handed is not None:
                self._handed.append(handed)
            elif len(shards):
                fresh.append(payload)
        if not fresh:
            return
        self._receiving += 1
        self._all_received.clear()
        try:
            await self.offload(self._append, fresh, outputs)
        except Exception as error:
            self._exception = error
            raise
        finally:
            self._receiving -= 1
            if not self._receiving:
                self._all_received.set()

    def _append(self, payloads: Sequence[Payload], outputs: Sequence[int]) -> None:
        """Append shards to the files of their outputs: in a thread, as they are, and acknowledged only afterwards.

        The buffer that `distributed` has for this writes on the event loop, and wants the shards of a file in one piece.
        Here senders wait for the disk, since what they have sent is in memory until it was written.
        """
        chunks = _group_by_output(payloads, outputs)
        written = sum(chunk.nbytes for pieces in chunks.values() for chunk in pieces)
        with self._appending, self._writing("disk-write", len(chunks), written):
            for j, pieces in chunks.items():
                with (self._buffer.directory / str(j)).open("ab") as file:
                    write(file, pieces)

    async def flush_receive(self) -> None:
        """Wait until everything received is on disk.

        A payload may have been repeated after a lost connection: then the sender has its acknowledgement, for the
        repetition, before the first one is written, and a flush would close the buffer too early.
        """
        await self._all_received.wait()
        await super().flush_receive()

    # Unpacking: in the thread of the unpack task

    def get_output_partition(self, partition_id: int, key: Key, **kwargs: Any) -> pl.DataFrame:
        """Read an output partition, on its worker if possible.

        Parameters
        ----------
        partition_id
            Output partition.
        key
            The running task. It is moved to the worker of the partition once; if that did not help, or if another
            shuffle has settled where it runs, the partition comes over the network.
        **kwargs
            Ignored.

        Returns
        -------
        pl.DataFrame

        Raises
        ------
        Reschedule
            If the task has to run on another worker.
        ShuffleError
            If rows were lost or doubled.
        """
        self.raise_if_closed()
        owner = self._get_assigned_worker(partition_id)
        if owner == self.local_address:
            frame = super().get_output_partition(partition_id, key)
        elif key in self._relocated or getattr(_settled, "key", None) == key:
            frame = self._assemble(partition_id, sync(self._loop, self._fetch, owner, partition_id))
        else:
            self._relocated.add(key)
            # Raises Reschedule. The scheduler ignores the wish if the task was restricted by another shuffle.
            sync(self._loop, self._ensure_output_worker, partition_id, key)
            raise AssertionError("unreachable")  # pragma: no cover
        _settled.key = key
        return frame

    def _get_output_partition(self, partition_id: int, key: Key, **kwargs: Any) -> pl.DataFrame:
        try:
            stored = self._stored(partition_id)
        except FileNotFoundError as error:
            sync(self._loop, self._wait_until_closed)
            raise self._is_gone(partition_id, error) from error
        return self._assemble(partition_id, stored)

    def _stored(self, j: int) -> Stored:
        position = self.outputs_of[self.local_address].index(j)
        data: list[Buffer] = [read_handed(self._handed, position)]
        # What came through the network.
        with suppress(DataUnavailable):
            data.append(self._read_from_disk((j,)))  # type: ignore[arg-type]
        return Stored(len(self.received), self._announced[j], data)

    def _is_gone(self, j: int, error: FileNotFoundError) -> ShuffleError:
        """What a file means that is not there any more, once there was time for this run to be closed."""
        self.raise_if_closed()
        return ShuffleError(f"P2P shuffle {self.id}, output partition {j}: {error}")

    async def _wait_until_closed(self) -> None:
        """Wait for word that a worker is gone, or that this run is over; not in a thread of `offload`, for which closing waits."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closed_event.wait(), _CLOSED_WITHIN)

    def _assemble(self, j: int, stored: Stored) -> pl.DataFrame:
        where = f"P2P shuffle {self.id}, output partition {j}"
        if stored.ninputs != self.spec.ninputs:
            self.raise_if_closed()
            raise ShuffleError(f"{where}: {stored.ninputs} of {self.spec.ninputs} input partitions have arrived")
        try:
            shards = sorted(iter_bytes(*stored.data), key=lambda shard: shard.tag)
        except (ShuffleError, pl.exceptions.PolarsError) as error:
            raise ShuffleError(f"{where}: {error}") from error
        height = sum(shard.height for shard in shards)
        if height != stored.height or len({shard.tag for shard in shards}) != len(shards):
            self.raise_if_closed()
            raise ShuffleError(f"{where}: {stored.height} rows in, {height} rows out in {len(shards)} shards")
        return join_shards(shards, self.spec.schema)

    async def serve(self, j: int) -> Stored:
        """Give an output partition of this worker to another worker.

        Parameters
        ----------
        j
            Output partition.

        Returns
        -------
        Stored
        """
        self.raise_if_closed()
        await self.flush_receive()
        try:
            stored = await self.offload(self._stored, j)
        except FileNotFoundError as error:
            await self._wait_until_closed()
            raise self._is_gone(j, error) from error
        # A memory map cannot be sent.
        return Stored(stored.ninputs, stored.height, [await self.offload(b"".join, stored.data)])

    async def _fetch(self, owner: str, j: int) -> Stored:
        async def attempt() -> Any:
            # If the owner has died, the scheduler closes this run: stop asking then.
            self.raise_if_closed()
            return await self._ask(owner, _serve, self.id, self.run_id, j)

        return await retry(
            attempt, count=self.RETRY_COUNT, delay_min=self.RETRY_DELAY_MIN, delay_max=self.RETRY_DELAY_MAX
        )

    async def _ask(self, address: str, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on another worker."""
        # `run` is open on every worker: a handler of our own would need a plugin.
        return result_of(
            await self.rpc(address).run(function=pickle.dumps(function), args=pickle.dumps(args), wait=True)
        )

    def _get_assigned_worker(self, i: int) -> str:
        return self.worker_for[i]

    def read(self, path: Path) -> tuple[memoryview, int]:
        """Map the file of an output partition into memory.

        Parameters
        ----------
        path
            The file, as written by `_write_to_disk`.

        Returns
        -------
        tuple
            Its content, and the length of it.
        """
        with path.open("rb") as file:
            # The map lives as long as the view, also when the shuffle is over and the file is deleted.
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return view, view.nbytes

    def deserialize(self, buffer: Any) -> Any:  # pragma: no cover
        """Not used: shards are always on disk."""
        raise NotImplementedError


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise P2POutOfDiskError from error
        raise


def result_of(response: dict[str, Any]) -> Any:
    """Give what a function returned that was run elsewhere, or raise what it raised.

    Parameters
    ----------
    response
        Of the handler `run` of a worker, or `run_function` of the scheduler.

    Returns
    -------
    Any
    """
    if response["status"] == "error":
        _, error, traceback = clean_exception(**response)
        assert error is not None
        raise error.with_traceback(traceback)
    return response["result"]


async def _serve(shuffle_id: ShuffleId, run_id: int, j: int, dask_worker: Any) -> Stored:
    """Runs on the worker that owns the partition."""
    plugin = dask_worker.plugins["shuffle"]
    run = await plugin.shuffle_runs.get_with_run_id(shuffle_id=shuffle_id, run_id=run_id)
    return await run.serve(j)


def _announce(counts: list[int], handed: Handed | None) -> bytes:
    """Give what a payload says of its shards, as bytes: rows for each output of the worker, and the file where they are."""
    return pickle.dumps((counts, handed))


def _announced(data: Buffer) -> tuple[list[int], Handed | None]:
    return pickle.loads(data)


def _group_by_output(payloads: Sequence[Payload], outputs: Sequence[int]) -> dict[int, list[memoryview]]:
    """Give the shards of each output."""
    chunks: defaultdict[int, list[memoryview]] = defaultdict(list)
    for _, announced, shards in payloads:
        filled = compress(outputs, _announced(announced)[0])
        for j, chunk in zip(filled, iter_chunks(shards.data), strict=True):
            chunks[j].append(chunk)
    return dict(chunks)
