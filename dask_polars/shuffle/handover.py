"""Shards for workers on the same machine: the sender writes a file, and they read it where it is.

Through a socket each byte would be copied four times more, into and out of the kernel and into memory that was not used before
(measured: of the CPU time of a shuffle between two workers it was half). Whether another worker sees the files of this one is
asked, not guessed: containers may share an address and no disk.
"""

from __future__ import annotations

import mmap
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from dask_polars.shuffle.encoding import Buffer

# Bytes that are written at a time. Linux takes large pages for its cache where more is written at once; these were seen to take
# two to four times as long to fill (ext4 on a virtual machine: 0.7 s for a GB, 1.6 to 3 s in pieces of a megabyte).
_PIECE = 64 * 1024

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
        Where the shard of each output begins, and the end of the last one, in bytes; an empty shard for an output of no rows.
    """

    path: str
    offsets: Sequence[int]

    def read(self, position: int) -> Buffer:
        """Map a shard into memory.

        Parameters
        ----------
        position
            Of the output, among those of the worker.

        Returns
        -------
        Buffer
            It stays valid when the file is deleted.

        Raises
        ------
        FileNotFoundError
            If the sender has deleted the file.
        """
        start, end = self.offsets[position : position + 2]
        if start == end:
            return b""
        with open(self.path, "rb") as file:
            skipped = start % mmap.ALLOCATIONGRANULARITY
            view = mmap.mmap(file.fileno(), end - start + skipped, offset=start - skipped, access=mmap.ACCESS_READ)
        return memoryview(view)[skipped:]


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
            offsets = list(accumulate((memoryview(part).nbytes for part in parts), initial=start))
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


async def sees_files(directory: Path, address: str, ask: Callable[..., Awaitable[Any]]) -> bool:
    """Say whether another worker can read files of this one.

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
    """
    key = (os.fspath(directory.parent), address)
    if key not in _known:
        mark, secret = directory / f"seen-{uuid.uuid4().hex}", uuid.uuid4().bytes
        mark.write_bytes(secret)
        try:
            _known[key] = await ask(address, _content, os.fspath(mark)) == secret
        except OSError:  # It is not there any more, which its transfers will meet, too.
            return False
        finally:
            mark.unlink(missing_ok=True)
    return _known[key]


def _content(path: str) -> bytes | None:
    """Runs on the other worker."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return None
