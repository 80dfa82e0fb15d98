"""
Files of a table: each partition writes its own, where the table keeps its files, and one commit makes them part of it.

Until then no reader sees them, since it is the log of a table that says what its files are. Names are never used twice:
of what several attempts of a task have written, only what the successful one has reported is committed.

A run that fails removes what it has written. Tasks may still be running then, in threads or on workers, and would write
their files afterwards. So a run that goes on has a mark beside its files: the mark is removed first, and a task that finds
none when it has written removes its own files.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from polars.io.partition import FileProviderArgs

from dask_polars.dsl.cloud import Template
from dask_polars.dsl.leaves import bind
from dask_polars.dsl.sinks import Recorder, SinkPayload, recording
from dask_polars.graph.worker import ENGINE
from dask_polars.io.attempts import attempting, wait_for_attempts
from dask_polars.io.paths import filesystem, is_remote, open_file
from dask_polars.io.storage import Storage

# What a task says of each of its files: the path below the directory of the request, the values of the partition keys as
# a frame of one row in IPC, and what the commit wants to know of the footer.
FOUND: dict[str, pl.DataType] = {
    "name": pl.String(),
    "rows": pl.UInt64(),
    "bytes": pl.UInt64(),
    "keys": pl.Binary(),
    "footer": pl.Binary(),
}


@dataclass(frozen=True)
class FilesRequest:
    """
    What the partitions write.

    Parameters
    ----------
    base
        The directory below which files are written; with a slash at its end.
    payload
        The sink of Polars that writes them, which asks for their names.
    template
        What is to be done with the rows before, as a plan with one slot.
    run
        What tells this run from others; it is part of each name.
    folder
        Gives the directory of the files of some partition keys, below the base: empty, or with a slash at its end.
    digest
        Gives what the commit wants to know of the footer of a file.
    storage
        How an object store is reached.
    """

    base: str
    payload: SinkPayload
    template: Template
    run: str
    folder: Callable[[pl.DataFrame], str]
    digest: Callable[[pq.FileMetaData], bytes]
    storage: Storage = field(default=Storage(), repr=False)

    @property
    def mark(self) -> str:
        """The path of what is there as long as the run goes on."""
        return f"{self.base}.{self.run}.writing"


def begin_run(request: FilesRequest) -> None:
    """Say that a run goes on, before its tasks start."""
    fs, root = _located(request, request.mark)
    fs.pipe_file(root, b"")


def end_run(request: FilesRequest) -> None:
    """Say that a run is over: what is written from now on is removed by the task that writes it."""
    fs, root = _located(request, request.mark)
    if fs.exists(root):
        fs.rm_file(root)


def write_files(rows: pl.LazyFrame, index: int, request: FilesRequest) -> pl.DataFrame:
    """
    Write a partition, as one query with all that computes it.

    Parameters
    ----------
    rows
        The partition, which was not computed yet.
    index
        Its number.
    request
        What to write.

    Returns
    -------
    polars.DataFrame
        The files that have rows, with the columns of ``FOUND``.
    """

    def naming(args: FileProviderArgs) -> str:
        return f"{request.folder(args.partition_keys)}part-{index:05}-{request.run}-{uuid4().hex}.parquet"

    with attempting(request.run), recording("parquet", naming) as recorder:
        try:
            query = bind(request.template, [rows])
            request.payload.to(request.base, recorder).over(query).collect(engine=ENGINE)
            found = _found(recorder, request)
            _check_open(request)
            return found
        except BaseException:  # a panic of Polars is one
            with contextlib.suppress(Exception):  # what went wrong first is what is to be known
                remove_files(request, recorder.asked)
            raise


def _found(recorder: Recorder, request: FilesRequest) -> pl.DataFrame:
    rows = []
    for name, asked in recorder.asked.items():
        (file,) = (file for file in recorder.files if file.path.endswith(name.rpartition("/")[2]))
        if not file.num_rows:
            remove_files(request, [name])
            continue
        with open_file(request.base + name, request.storage) as opened:
            footer = request.digest(pq.read_metadata(opened))
        rows.append((name, file.num_rows, file.num_bytes, pack_keys(asked.partition_keys), footer))
    return pl.DataFrame(rows, schema=FOUND, orient="row")


def pack_keys(keys: pl.DataFrame) -> bytes:
    """Write the values of partition keys, with their types."""
    sink = io.BytesIO()
    keys.write_ipc(sink)
    return sink.getvalue()


def _check_open(request: FilesRequest) -> None:
    fs, root = _located(request, request.mark)
    fs.invalidate_cache()
    if not fs.exists(root):
        raise RuntimeError(
            f"the run that writes files to {request.base} is over, or its workers do not share the file system"
        )


def remove_files(request: FilesRequest, names: Iterable[str]) -> None:
    """Remove files of a run."""
    for name in names:
        fs, root = _located(request, request.base + name)
        if fs.exists(root):
            fs.rm_file(root)


def remove_run(request: FilesRequest) -> None:
    """Remove whatever a run has written; it must not have been committed."""
    end_run(request)
    wait_for_attempts(request.run)
    fs, root = _located(request, request.base)
    fs.invalidate_cache()
    for path in fs.find(root):
        if f"-{request.run}-" in path.rpartition("/")[2]:
            fs.rm_file(path)


def _located(request: FilesRequest, path: str) -> tuple[Any, str]:
    """Give the file system of a path, and the path in it."""
    if is_remote(path):
        return filesystem(path, request.storage)
    return LocalFileSystem(auto_mkdir=True), path.removeprefix("file://")
