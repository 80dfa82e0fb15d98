"""
What runs on a worker.

Fragments are put together before they run: a task binds its inputs to the slots of its fragment, where an input may
itself be a fragment that was not run yet, or a scan of files, and Polars optimizes and runs the whole at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgpack
import polars as pl

from dask_polars.dsl.cloud import CloudOptions
from dask_polars.dsl.codec import to_lazyframe
from dask_polars.dsl.leaves import bind
from dask_polars.dsl.nodes import Node
from dask_polars.io.deletions import deletions_of_part
from dask_polars.io.ipc import as_the_first
from dask_polars.io.parquet import rows_of_share, with_estimates
from dask_polars.io.parts import ScanPart
from dask_polars.io.paths import File, unreadable
from dask_polars.io.readers import scan_block
from dask_polars.io.storage import Storage
from dask_polars.kernels import makes_fewer, some_of
from dask_polars.measure import Seen, measured

# Named, since "auto" would be the engine that the process is configured with: this very one, on a cluster of threads.
ENGINE: Final = "streaming"

_NOTHING: Final = pl.LazyFrame()


@dataclass(frozen=True)
class Pending:
    """
    A part of a fragment that was put together, and did not run.

    Parameters
    ----------
    frame
        The query.
    files
        The files that it reads, for error messages.
    rows
        The rows of the frames that it reads.
    alone
        For the files of each scan, what scans one of them by itself.
    """

    frame: pl.LazyFrame
    files: tuple[File, ...] = ()
    rows: int = 0
    alone: tuple[tuple[tuple[File, ...], Callable[[File], pl.LazyFrame]], ...] = ()


Frame = pl.DataFrame | Pending


def as_pending(frame: Frame) -> Pending:
    """Give a frame as a query."""
    return frame if isinstance(frame, Pending) else Pending(frame.lazy(), rows=frame.height)


def pending(frame: pl.LazyFrame, *inputs: Frame) -> Pending:
    """Give a query over some inputs."""
    found = [item for item in inputs if isinstance(item, Pending)]
    files = tuple(file for item in found for file in item.files)
    alone = tuple(alone for item in found for alone in item.alone)
    return Pending(frame, files, sum(_rows_in(item) for item in inputs), alone)


def _rows_in(frame: Frame) -> int:
    return frame.rows if isinstance(frame, Pending) else frame.height


def as_frame(frame: Frame) -> pl.DataFrame:
    """Run what was not run yet."""
    return frame.frame.collect(engine=ENGINE) if isinstance(frame, Pending) else frame


@contextmanager
def _named(label: str, index: int, *frames: Frame) -> Iterator[Seen]:
    """
    Say in an error where it happened; its type and its message stay those of Polars.

    What runs is measured where it was asked for.
    """
    taken = pending(_NOTHING, *frames)
    files = taken.files
    try:
        with measured(label, index, reads=bool(files)) as seen:
            seen.note(rows_in=taken.rows, files=len({file.path for file in files}))
            yield seen
    except BaseException as error:  # a panic of Polars is one
        error.add_note(f"dask_polars: in {label!r}, partition {index}" + (f", reading {_some(files)}" if files else ""))
        if isinstance(error, OSError) and len(files) > 1 and (broken := unreadable(files)):
            # Where a body breaks off, Polars names the first file of the scan, whichever it was.
            error.add_note(f"dask_polars: what cannot be read is {_some(broken)}")
        elif isinstance(error, _WRONG_FILE) and len(files) > 1 and (wrong := _wrong_file(taken, error)):
            error.add_note(f"dask_polars: it fails on {wrong}")
        if isinstance(error, FileNotFoundError) and files:
            error.add_note(
                "dask_polars: the client found these files when the query was planned; every worker must see them under "
                "the same path, on a shared file system or in an object store"
            )
        raise


# What Polars raises for a file that is broken, or whose columns do not fit, often without its name.
_WRONG_FILE = (OSError, pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError)
_LOOKED_AT = 200


def _wrong_file(reading: Pending, error: BaseException) -> str | None:
    """Find the first file that cannot be read by itself, after an error that does not say which it is."""
    text = str(error)
    if any(file.path in text for file in reading.files):
        return None
    # Whether its columns fit, and whether it begins as it should, says its first row; that the rest is broken, only all of it.
    return _first_failing(reading, lambda lf: lf.head(1)) or _first_failing(reading, lambda lf: lf)


def _first_failing(reading: Pending, look: Callable[[pl.LazyFrame], pl.LazyFrame]) -> str | None:
    for files, alone in reading.alone:
        for file in files[:_LOOKED_AT]:
            try:
                look(alone(file)).select(pl.all().null_count()).collect(engine=ENGINE)
            except (pl.exceptions.PolarsError, OSError):
                return file.path
    return None


def _some(files: Sequence[File]) -> str:
    shown = ", ".join(file.path for file in files[:5])
    return shown + (f" and {len(files) - 5} more" if len(files) > 5 else "")


def bind_fragment(template: bytes, *frames: Frame) -> Pending:
    """Put inputs into the slots of a fragment; nothing runs."""
    return pending(bind(template, [as_pending(frame).frame for frame in frames]), *frames)


def run_fragment(label: str, index: int, template: bytes, *frames: Frame) -> pl.DataFrame:
    """Put inputs into the slots of a fragment, and run it."""
    with _named(label, index, *frames) as seen:
        return seen.gave(as_frame(bind_fragment(template, *frames)))


def run(label: str, index: int, frame: Frame) -> pl.DataFrame:
    """Run what was put together."""
    with _named(label, index, frame) as seen:
        return seen.gave(as_frame(frame))


def reduce(label: str, index: int, shared: tuple[bytes, bytes, bytes, tuple[str, ...]], frame: Frame) -> pl.DataFrame:
    """Run a fragment that makes fewer rows of a partition, or what stands for it where it hardly would."""
    whole, each, keys, read = shared
    with _named(label, index, frame) as seen:
        rows = as_frame(frame)
        sample = as_frame(bind_fragment(keys, some_of(rows.select(read))))
        return seen.gave(as_frame(bind_fragment(whole if makes_fewer(sample, rows.height) else each, rows)))


def scan_part(
    scan: bytes, part: ScanPart, cloud: CloudOptions | None = None, starts: pl.DataFrame | None = None
) -> Pending:
    """Scan what one partition reads; nothing is read yet, but where row groups begin."""
    found = [_scan_one(scan, item, cloud, starts) for item in (part, *part.then)]
    if len(found) == 1:
        return found[0]
    return pending(pl.concat([item.frame for item in found], how="vertical"), *found)


def _scan_one(
    scan: bytes, part: ScanPart, cloud: CloudOptions | None = None, starts: pl.DataFrame | None = None
) -> Pending:
    """Scan files, or a part of one; nothing is read yet, but where row groups begin."""
    found = _unpacked(scan)
    files = tuple(File(path, 0, "", Storage(cloud)) for path in part.paths)
    fields = {**found["fields"], "sources": {"Paths": [{"inner": path} for path in part.paths]}}
    deleted = deletions_of_part(found["reading"], part.paths)
    arguments = {**fields["unified_scan_args"], "glob": False, **deleted}
    if cloud is not None:
        arguments["cloud_options"] = cloud
    node = Node("Scan", {**fields, "unified_scan_args": arguments})
    if part.share is not None and "own" in found["reading"]:
        block = scan_block(found, part.paths[0], part.share, cloud, starts, lambda: to_lazyframe(node))
        return Pending(block, files)
    lazy = _whole(node, found["reading"])
    rows = part.rows if part.share is None else rows_of_share(part.paths[0], part.share, Storage(cloud))
    if rows is not None:
        lazy = pl.concat([lazy.slice(*run) for run in rows or ((0, 0),)], how="vertical")
    lazy = lazy if part.within is None else lazy.filter(_within(*part.within))
    if len(files) == 1:
        return Pending(lazy, files)

    def alone(file: File) -> pl.LazyFrame:
        return _scan_one(scan, ScanPart((file.path,)), cloud, starts).frame

    return Pending(lazy, files, alone=((files, alone),))


@lru_cache(maxsize=64)
def _unpacked(scan: bytes) -> Any:
    """Unpack what all parts of a scan have in common, once for many of them; nobody changes it."""
    return msgpack.unpackb(scan, raw=False, strict_map_key=False)


def _whole(node: Node, reading: Mapping[str, Any]) -> pl.LazyFrame:
    """Scan files, from the first row to the last."""
    parquet = isinstance(kind := node.fields["scan_type"], Mapping) and "Parquet" in kind
    return with_estimates(node, reading) if parquet else as_the_first(node, reading)


def _within(name: str, start: Any, end: Any) -> pl.Expr:
    """Build the predicate for values from a start to before an end."""
    column = pl.col(name)
    above = pl.lit(True) if start is None else column >= start
    return above if end is None else above & (column < end)


def produce(label: str, index: int, function: Callable[..., Any], *arguments: Any) -> Pending:
    """Make a partition of what is no frame; a lazy frame does not run yet."""
    with _named(label, index):
        return Pending(function(*arguments).lazy())


def beside_scalars(frame: Frame, scalars: pl.DataFrame) -> Pending:
    """Put the values of a frame of one row beside every row of another, as literals."""
    values = [pl.lit(scalars[name]).first().alias(name) for name in scalars.columns]
    return pending(as_pending(frame).frame.with_columns(values), frame)


def concat(*frames: Frame) -> Frame:
    """Put frames of equal columns below each other."""
    if len(frames) == 1:
        return frames[0]
    parts = [as_frame(frame) for frame in frames]
    # Of no rows Polars may find another type than the query has: such frames are left out.
    return pl.concat([part for part in parts if part.height] or parts[:1], how="vertical")


def put_together(label: str, index: int, *frames: Frame) -> Frame:
    """Put frames below each other, as a partition of a stage."""
    with _named(label, index, *frames) as seen:
        return seen.gave(concat(*frames))


def call(label: str, index: int, function: Callable[..., Any], arguments: tuple[Any, ...], *frames: Frame) -> Any:
    """Call a function with the frames of its inputs."""
    with _named(label, index, *frames) as seen:
        out = function(*(as_frame(frame) for frame in frames), *arguments)
        return seen.gave(out.collect(engine=ENGINE) if isinstance(out, pl.LazyFrame) else out)


def call_streaming(
    label: str, index: int, function: Callable[..., Any], arguments: tuple[Any, ...], *frames: Frame
) -> pl.DataFrame:
    """Call a function that runs its lazy inputs itself."""
    with _named(label, index, *frames) as seen:
        return seen.gave(function(*(as_pending(frame).frame for frame in frames), *arguments))


def call_lazily(function: Callable[..., Any], arguments: tuple[Any, ...], *frames: Frame) -> Pending:
    """Call a function on lazy frames; nothing runs."""
    return pending(function(*(as_pending(frame).frame for frame in frames), *arguments), *frames)


def head_part(label: str, index: int, rows: int, frame: Frame, before: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give the first rows of a partition, or none where there are enough before it."""
    missing = rows - (0 if before is None else before.height)
    if before is not None and missing <= 0:
        return before.clear()
    with _named(label, index, frame) as seen:
        return seen.gave(as_frame(pending(as_pending(frame).frame.head(missing), frame)))


def count_part(label: str, index: int, rows: int, frame: Frame, before: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give the number of rows of a partition, or 0 where there are enough before it."""
    if before is not None and before.to_series().sum() >= rows:
        return before.clear(1).fill_null(0)
    with _named(label, index, frame) as seen:
        return seen.gave(as_frame(frame))


def head_of(rows: int, *frames: pl.DataFrame) -> pl.DataFrame:
    """Give the first rows of some frames."""
    return as_frame(concat(*frames)).head(rows)
