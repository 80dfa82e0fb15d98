"""
What the tasks of a sink do: each partition is written by Polars' own sink, and one task puts the files into place.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import polars as pl
from polars.io.partition import FileProviderArgs, SinkedPath, SinkedPathsCallbackArgs

from dask_polars.dsl.sinks import Recorder, SinkPayload, hive_directory, recording
from dask_polars.graph.worker import ENGINE
from dask_polars.io.attempts import attempting
from dask_polars.io.commit import abandon, begin, clean, commit, committed, is_open
from dask_polars.io.staging import STAGED
from dask_polars.io.targets import Target, Written

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
# Seconds after which a task says that its run is over: what ended it is to be heard of first.
_CAUSE_FIRST = 1.0


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
    with attempting(target.run):
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
    attempt = target.staged(f"part-{index:05}-{uuid4().hex}" + ("" if payload.partitioned else STAGED))
    with recording(STAGED) as recorder, _giving_up(target, attempt):
        _check_open(target)
        sink = (payload.staged() if request.merged else payload).to(attempt, recorder)
        sink.over(rows).collect(engine=ENGINE)
        found = [_reported(file, recorder, index, payload) for file in recorder.files]
        _check_open(target)
    return pl.DataFrame(found, schema=REPORT, orient="row")


@contextmanager
def _giving_up(target: Target, attempt: str) -> Iterator[None]:
    """
    Remove what an attempt has written if it fails, and all of its run if that fails with it.

    That comes too late where the run was cleaned up meanwhile, since another task has failed: then there is a directory
    again, with what this one has written.
    """
    over = False
    try:
        with attempting(target.run):
            try:
                yield
            except BaseException as error:
                try:
                    over = _remove_failed(target, attempt)
                except Exception as other:
                    error.add_note(f"dask_polars: what was written to {target.staging} could not be removed: {other}")
                raise
    finally:
        if over:
            time.sleep(_CAUSE_FIRST)


def _remove_failed(target: Target, attempt: str) -> bool:
    """Remove what was written, and say whether the run was over before."""
    over = not is_open(target)
    if not over and _fails_its_run():
        clean(target)
    else:
        abandon(target, attempt)
    return over


def _fails_its_run() -> bool:
    """Say whether the failure of the running task is that of all that depends on it: it is not repeated."""
    if "distributed" not in sys.modules:
        return True
    from distributed import Status, get_worker
    from distributed.worker import thread_state

    if not getattr(thread_state, "key", None):
        return True  # the schedulers in a process repeat nothing
    worker = get_worker()
    task = worker.state.tasks.get(thread_state.key)
    repeated = task is None or (task.annotations or {}).get("retries")
    return worker.status == Status.running and not repeated  # a worker that is closed fails for another reason


def _check_open(target: Target) -> None:
    if not is_open(target):
        raise RuntimeError(
            f"the run that writes {target.path} is over, or its workers do not share the file system: "
            f"there is no {target.staging}"
        )


def _reported(file: SinkedPath, recorder: Recorder, index: int, payload: SinkPayload) -> tuple[Any, ...]:
    """Say of a file what its final name depends on."""
    path = file.path.removeprefix("file://")
    if not payload.partitioned:
        return (path, file.num_rows, file.num_bytes, index, "", 0, payload.extension, None)
    asked = recorder.asked[path.rpartition("/")[2]]
    if payload.provider is not None:
        keys = _pack_keys(asked.partition_keys)
        return (path, file.num_rows, file.num_bytes, index, "", asked.index_in_partition, "", keys)
    directory = hive_directory(asked.partition_keys)
    return (path, file.num_rows, file.num_bytes, index, directory, asked.index_in_partition, payload.extension, None)


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
        merged = target.staged(f"merged-{uuid4().hex}{STAGED}")
        with _giving_up(target, merged):
            if request.merged:
                reports = _merge(reports, request, merged)
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


def _merge(reports: pl.DataFrame, request: Request, attempt: str) -> pl.DataFrame:
    """Write the staged partitions to one file, as a stream."""
    payload = request.payload
    paths = reports.filter(pl.col("rows") > 0).sort("partition")["path"].to_list()
    rows = payload.scan_staged(paths) if paths else pl.LazyFrame(schema=dict(request.columns))
    with recording(STAGED) as recorder:
        payload.to(attempt, recorder).over(rows).collect(engine=ENGINE)
    found = [_reported(file, recorder, 0, payload) for file in recorder.files]
    return pl.DataFrame(found, schema=REPORT, orient="row")


def _placed(reports: pl.DataFrame, request: Request) -> Iterator[tuple[Written, str]]:
    """Name the files such that their names sort in the order of the rows."""
    kept = _worth_keeping(reports, request)
    files = kept.with_columns(_numbered_keys(kept["keys"])).sort("partition", "directory", "group", "index")
    numbers: Counter[Any] = Counter()
    names: set[str] = set()
    provider = request.payload.provider
    for file in files.iter_rows(named=True):
        group = file["directory"] if file["keys"] is None else file["group"]
        name = _name_of(file, numbers[group], request, provider)
        numbers[group] += 1
        if name in names:
            raise ValueError(f"the file_path_provider gives the path {name!r} to more than one file")
        names.add(name)
        yield Written(file["path"], file["rows"], file["bytes"]), name


def _numbered_keys(packed: pl.Series) -> pl.Series:
    """Number the keys of files, equal ones alike: they may have been written as other bytes."""
    found = [_unpack_keys(keys) for keys in packed if keys is not None]
    numbers = [0] * len(packed)
    if found and found[0].width:
        keys = pl.concat(found)
        keys.columns = [f"key-{index}" for index in range(keys.width)]
        groups = keys.with_row_index("file").group_by(keys.columns, maintain_order=True).agg("file")
        for number, files in enumerate(groups["file"].to_list()):
            for file in files:
                numbers[file] = number
    return pl.Series("group", numbers, dtype=pl.UInt32)


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
