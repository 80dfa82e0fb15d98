"""Shards for workers on the same machine: the sender writes a file, and they read it where it is.

Through a socket each byte would be copied four times more, into and out of the kernel and into memory that was not used before
(measured: a sixth of the CPU time of a shuffle, and all of what event loops do in it). Whether another worker sees the files of this one is
asked, not guessed: containers may share an address and no disk.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from dask_polars.shuffle.encoding import Buffer

# Bytes that are written at a time. Linux takes large pages for its cache where more is written at once; these were seen to take
# two to four times as long to fill (ext4 on a virtual machine: 0.7 s for a GB, 1.6 to 3 s in pieces of a megabyte).
_PIECE = 64 * 1024

_ANSWER_WITHIN = 10.0  # seconds

# Which workers can read the files of which: the directory of the one, the address of the other.
_known: dict[tuple[str, str], bool] = {}


@dataclass(frozen=True)
class Handed:
    """What an input partition has for the outputs of one worker, in a file of the sender.

    Attributes
    ----------
    path
        The file.
    offsets
        Where the shard of each output begins, and the end of the last one, in bytes; an empty shard for an output of no rows. There
        is one for each input and output of a worker, so they are no lists.
    """

    path: str
    offsets: array[int]

    def nbytes(self, position: int) -> int:
        """Size of a shard, given the position of its output among those of the worker."""
        start, end = self.offsets[position : position + 2]
        return end - start

    def read(self, position: int, room: memoryview) -> None:
        """Read a shard.

        It is read and not mapped: a map keeps a descriptor of Python open, and the whole file on disk for as long as a frame looks
        at it.

        Parameters
        ----------
        position
            Of the output, among those of the worker.
        room
            As many bytes as it has.

        Raises
        ------
        FileNotFoundError
            If the sender has deleted the file.
        OSError
            If it cannot be read, or not as far as the shard goes.
        """
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offsets[position])
            done = 0
            while done < room.nbytes:
                count = file.readinto(room[done:])
                if not count:
                    raise OSError(f"{self.path} ends after {self.offsets[position] + done} bytes")
                done += count


def read_handed(handed: Iterable[Handed], position: int) -> memoryview:
    """Read the shards of an output.

    Parameters
    ----------
    handed
        What the inputs have.
    position
        Of the output, among those of the worker.

    Returns
    -------
    memoryview
        One shard behind the other, in memory of its own.

    Raises
    ------
    OSError
        As `Handed.read`.
    """
    filled = [(one, nbytes) for one in handed if (nbytes := one.nbytes(position))]
    # The pool of pyarrow has room that was used before, which is ready at once.
    view = memoryview(pa.allocate_buffer(sum(nbytes for _, nbytes in filled))).cast("B")
    start = 0
    for one, nbytes in filled:
        one.read(position, view[start : start + nbytes])
        start += nbytes
    return view


def hand_over(path: Path, shards: Sequence[Sequence[Buffer]]) -> list[Handed]:
    """Write a file for several workers.

    Parameters
    ----------
    path
        A file that is not there yet.
    shards
        For each worker one for each of its outputs.

    Returns
    -------
    list of Handed
        One for each worker.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    handed = []
    start = 0
    with path.open("xb") as file:
        for parts in shards:
            write(file, parts)
            offsets = array("Q", accumulate((memoryview(part).nbytes for part in parts), initial=start))
            handed.append(Handed(os.fspath(path), offsets))
            start = offsets[-1]
    return handed


def write(file: Any, buffers: Iterable[Buffer]) -> None:
    """Write buffers to a file, in pieces.

    Parameters
    ----------
    file
        Open for writing bytes.
    buffers
        Any number.
    """
    for buffer in buffers:
        view = memoryview(buffer)
        for start in range(0, view.nbytes, _PIECE):
            file.write(view[start : start + _PIECE])


def known_to_see(directory: Path, address: str) -> bool | None:
    """Say what was found out of `sees_files`; None where that is nothing."""
    return _known.get((os.fspath(directory.parent), address))


async def sees_files(directory: Path, address: str, ask: Callable[..., Awaitable[Any]]) -> bool:
    """Find out whether another worker can read files of this one.

    Parameters
    ----------
    directory
        Where they are.
    address
        Of the worker.
    ask
        Runs a function with arguments on a worker: `ask(address, function, *args)`.

    Returns
    -------
    bool
        False where it does not answer. An answer holds for all directories beside this one.

    Raises
    ------
    OSError
        If no file can be written in the directory.
    """
    mark, secret = directory / f"seen-{uuid.uuid4().hex}", uuid.uuid4().bytes
    mark.write_bytes(secret)
    try:
        sees = await asyncio.wait_for(ask(address, _content, os.fspath(mark)), _ANSWER_WITHIN) == secret
        if sees or mark.exists():
            _known[os.fspath(directory.parent), address] = sees
        return sees
    except (TimeoutError, OSError):  # It is not there any more, which its transfers will meet, too.
        return False
    finally:
        mark.unlink(missing_ok=True)


def _content(path: str) -> bytes | None:
    """Runs on the other worker."""
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
