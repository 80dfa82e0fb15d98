"""
What the tasks of a sink do: each partition is written by Polars' own sink, and one task puts the files into place.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import polars as pl
from polars.io.partition import FileProviderArgs, SinkedPath, SinkedPathsCallbackArgs

from dask_polars.dsl.sinks import Recorder, SinkPayload, recording
from dask_polars.graph.worker import ENGINE
from dask_polars.io.commit import Target, Written, abandon, begin, clean, commit, committed, is_open

# What a task says of the files that it wrote. `group` is what their numbers count in: the directory, or the values of the
# keys as bytes where the user's function names the files.
REPORT: dict[str, pl.DataType] = {
    "path": pl.String(),
    "rows": pl.UInt64(),
    "bytes": pl.UInt64(),
    "partition": pl.UInt32(),
    "directory": pl.String(),
    "index": pl.UInt64(),
    "suffix": pl.String(),
    "keys": pl.Binary(),
}
# What the whole sink says.
DONE: dict[str, pl.DataType] = {"path": pl.String(), "rows": pl.UInt64(), "bytes": pl.UInt64()}


@dataclass(frozen=True)
class Request:
    """
    What a sink writes.

    Parameters
    ----------
    payload
        The sink, as the user wrote it.
    target
        Where its output is to appear.
    npartitions
        How many partitions there are.
    columns
        Names and types of the columns.
    """

    payload: SinkPayload
    target: Target
    npartitions: int
    columns: tuple[tuple[str, pl.DataType], ...] = field(repr=False)

    @property
    def merged(self) -> bool:
        """Whether partitions are staged, and then written to one file."""
        return not self.target.directory and self.npartitions > 1


def begin_run(target: Target) -> pl.DataFrame:
    """Make the hidden directory that the partitions are written to."""
    begin(target)
    return pl.DataFrame({"begun": [True]})


def write_part(rows: pl.LazyFrame, begun: pl.LazyFrame, index: int, request: Request) -> pl.DataFrame:
    """
    Write a partition to the hidden directory, as one query with all that computes it.

    Parameters
    ----------
    rows
        The partition, which was not computed yet.
    begun
        Not read: it is there so that this comes after :func:`begin_run`.
    index
        Its number.
    request
        The sink.

    Returns
    -------
    polars.DataFrame
        The files, with the columns of ``REPORT``.
    """
    target, payload = request.target, request.payload
    _check_open(target)
    extension = payload.extension
    attempt = target.staged(f"part-{index:05}-{uuid4().hex}")
    if not payload.partitioned:
        # Polars looks at the ending of a name: it has to be the user's.
        name = f"part.{extension}" if target.directory else target.path.rpartition("/")[2]
        attempt += "-part.ipc" if request.merged else f"-{name}"
    with recording(extension) as recorder:
        sink = (payload.staged() if request.merged else payload).to(attempt, recorder)
        try:
            sink.over(rows).collect(engine=ENGINE)
        finally:
            if not is_open(target):  # it was cleaned up meanwhile, since another task has failed
                abandon(target, attempt)
    _check_open(target)
    found = [_reported(file, recorder, index, attempt, payload) for file in recorder.files]
    return pl.DataFrame(found, schema=REPORT, orient="row")


def _check_open(target: Target) -> None:
    if not is_open(target):
        raise RuntimeError(
            f"the run that writes {target.path} is over, or its workers do not share the file system: "
            f"there is no {target.staging}"
        )


def _reported(file: SinkedPath, recorder: Recorder, index: int, attempt: str, payload: SinkPayload) -> tuple[Any, ...]:
    """Say of a file what its final name depends on."""
    path = file.path.removeprefix("file://")
    if not payload.partitioned:
        return (path, file.num_rows, file.num_bytes, index, "", 0, payload.extension, None)
    below = path.rpartition(f"{attempt.rpartition('/')[2]}/")[2]
    directory, _, name = below.rpartition("/")
    if name in recorder.asked:
        asked = recorder.asked[name]
        keys = _pack_keys(asked.partition_keys)
        return (path, file.num_rows, file.num_bytes, index, "", asked.index_in_partition, "", keys)
    number, _, suffix = name.partition(".")
    return (path, file.num_rows, file.num_bytes, index, directory, int(number), suffix, None)


def _pack_keys(keys: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    keys.write_ipc(sink)
    return sink.getvalue()


def _unpack_keys(packed: bytes) -> pl.DataFrame:
    keys = pl.read_ipc(io.BytesIO(packed))
    return keys if keys.width else pl.DataFrame(height=1)


# ---------------------------------------------------------------- at the end


def finish(reports: pl.DataFrame, request: Request) -> pl.DataFrame:
    """
    Put what all partitions have written into place.

    It may run twice, or partly: see :mod:`dask_polars.io.commit`.

    Parameters
    ----------
    reports
        What the partitions say, with the columns of ``REPORT``.
    request
        The sink.

    Returns
    -------
    polars.DataFrame
        The files in their places, with the columns of ``DONE``.
    """
    target = request.target
    done = committed(target)
    if done is None:
        if request.merged:
            reports = _merge(reports, request)
        done = commit(target, list(_placed(reports, request)))
        if request.payload.callback is not None:
            request.payload.callback(told(done))
    return pl.DataFrame([(file.path, file.rows, file.bytes) for file in done], schema=DONE, orient="row")


def told(files: list[Written]) -> SinkedPathsCallbackArgs:
    """Say what was written, as Polars says it."""
    return SinkedPathsCallbackArgs(
        paths=[SinkedPath(path=file.path, num_rows=file.rows, num_bytes=file.bytes) for file in files]
    )


def end_run(done: pl.DataFrame, target: Target) -> pl.DataFrame:
    """Remove the hidden directory, and give what a sink gives: a frame of no columns."""
    clean(target)
    return pl.DataFrame()


def end_runs(*ended: pl.DataFrame) -> pl.DataFrame:
    """Give what several sinks give together: a frame of no columns."""
    return pl.DataFrame()


def _merge(reports: pl.DataFrame, request: Request) -> pl.DataFrame:
    """Write the staged partitions to one file, as a stream."""
    payload, target = request.payload, request.target
    paths = reports.filter(pl.col("rows") > 0).sort("partition")["path"].to_list()
    rows = payload.scan_staged(paths) if paths else pl.LazyFrame(schema=dict(request.columns))
    attempt = target.staged(f"merged-{uuid4().hex}-{target.path.rpartition('/')[2]}")
    with recording(payload.extension) as recorder:
        payload.to(attempt, recorder).over(rows).collect(engine=ENGINE)
    found = [_reported(file, recorder, 0, attempt, payload) for file in recorder.files]
    return pl.DataFrame(found, schema=REPORT, orient="row")


def _placed(reports: pl.DataFrame, request: Request) -> Iterator[tuple[Written, str]]:
    """Name the files such that their names sort in the order of the rows."""
    files = _worth_keeping(reports, request).sort("partition", "directory", "keys", "index")
    numbers: Counter[Any] = Counter()
    names: set[str] = set()
    provider = request.payload.provider
    for file in files.iter_rows(named=True):
        group = file["directory"] if file["keys"] is None else file["keys"]
        name = _name_of(file, numbers[group], request, provider)
        numbers[group] += 1
        if name in names:
            raise ValueError(f"the file_path_provider gives the path {name!r} to more than one file")
        names.add(name)
        yield Written(file["path"], file["rows"], file["bytes"]), name


def _name_of(file: dict[str, Any], number: int, request: Request, provider: Any) -> str:
    if not request.target.directory:
        return ""
    if not request.payload.partitioned:
        return f"part-{file['partition']:05}.{file['suffix']}"
    if file["keys"] is None:
        return f"{file['directory']}/{number:08}.{file['suffix']}".lstrip("/")
    given = provider(FileProviderArgs(index_in_partition=number, partition_keys=_unpack_keys(file["keys"])))
    if not isinstance(given, (str, PurePath)):
        raise TypeError(f"a file_path_provider has to give paths, not a {type(given).__name__}: files are moved there")
    name = os.path.normpath(str(given))
    if os.path.isabs(name) or name.split(os.sep)[0] in ("..", "."):
        raise ValueError(f"the path {str(given)!r} of the file_path_provider is not below {request.target.path}")
    return name.replace(os.sep, "/")


def _worth_keeping(reports: pl.DataFrame, request: Request) -> pl.DataFrame:
    """
    Leave out files without rows, but for the first where there is no other.

    Files of a directory that say what their columns are, of no rows too, stay: there is one for each partition.
    """
    if not request.target.directory:
        return reports
    if not request.payload.partitioned and request.payload.format in ("Parquet", "Ipc"):
        return reports
    filled = reports.filter(pl.col("rows") > 0)
    return filled if filled.height else reports.sort("partition").head(1)
