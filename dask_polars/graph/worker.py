"""
What runs on a worker.

Fragments are put together before they run: a task binds its inputs to the slots of its fragment, where an input may
itself be a fragment that was not run yet, or a scan of files, and Polars optimizes and runs the whole at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgpack
import polars as pl

from dask_polars.dsl.codec import to_lazyframe
from dask_polars.dsl.leaves import bind
from dask_polars.dsl.nodes import Node

# Named, since "auto" would be the engine that the process is configured with: this very one, on a cluster of threads.
ENGINE: Final = "streaming"

Frame = pl.DataFrame | pl.LazyFrame


@contextmanager
def _named(label: str, index: int) -> Iterator[None]:
    """Say in an error where it happened; its type and its message stay those of Polars."""
    try:
        yield
    except Exception as error:
        error.add_note(f"dask_polars: in {label!r}, partition {index}")
        raise


def as_lazy(frame: Frame) -> pl.LazyFrame:
    """Give a frame as a lazy one."""
    return frame.lazy() if isinstance(frame, pl.DataFrame) else frame


def as_frame(frame: Frame) -> pl.DataFrame:
    """Run what was not run yet."""
    return frame if isinstance(frame, pl.DataFrame) else frame.collect(engine=ENGINE)


def bind_fragment(template: bytes, *frames: Frame) -> pl.LazyFrame:
    """Put inputs into the slots of a fragment; nothing runs."""
    return bind(template, [as_lazy(frame) for frame in frames])


def run_fragment(label: str, index: int, template: bytes, *frames: Frame) -> pl.DataFrame:
    """Put inputs into the slots of a fragment, and run it."""
    with _named(label, index):
        return as_frame(bind_fragment(template, *frames))


def run(label: str, index: int, frame: Frame) -> pl.DataFrame:
    """Run what was put together."""
    with _named(label, index):
        return as_frame(frame)


def scan_part(scan: bytes, paths: Sequence[str], rows: tuple[int, int] | None) -> pl.LazyFrame:
    """Scan the files of one partition; nothing is read yet."""
    found = msgpack.unpackb(scan, raw=False, strict_map_key=False)
    fields = {**found["fields"], "sources": {"Paths": [{"inner": path} for path in paths]}}
    arguments = {**fields["unified_scan_args"], "glob": False}
    lazy = to_lazyframe(Node(found["kind"], {**fields, "unified_scan_args": arguments}))
    return lazy if rows is None else lazy.slice(*rows)


def beside_scalars(frame: Frame, scalars: pl.DataFrame) -> pl.LazyFrame:
    """Put the values of a frame of one row beside every row of another, as literals."""
    values = [pl.lit(scalars[name]).first().alias(name) for name in scalars.columns]
    return as_lazy(frame).with_columns(values)


def concat(*frames: Frame) -> Frame:
    """Put frames of equal columns below each other."""
    if len(frames) == 1:
        return frames[0]
    return pl.concat([as_frame(frame) for frame in frames], how="vertical")


def call(label: str, index: int, function: Callable[..., Any], arguments: tuple[Any, ...], *frames: Frame) -> Any:
    """Call a function with the frames of its inputs."""
    with _named(label, index):
        return as_frame(function(*(as_frame(frame) for frame in frames), *arguments))


def call_lazily(function: Callable[..., Any], arguments: tuple[Any, ...], *frames: Frame) -> pl.LazyFrame:
    """Call a function on lazy frames; nothing runs."""
    return function(*(as_lazy(frame) for frame in frames), *arguments)


def head_part(label: str, index: int, rows: int, frame: Frame, before: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give the first rows of a partition, or none where there are enough before it."""
    lazy = as_lazy(frame)
    missing = rows - (0 if before is None else before.height)
    with _named(label, index):
        if missing <= 0:
            return pl.DataFrame(schema=before.schema if before is not None else lazy.collect_schema())
        return as_frame(lazy.head(missing))


def head_of(rows: int, *frames: pl.DataFrame) -> pl.DataFrame:
    """Give the first rows of some frames."""
    return as_frame(concat(*frames)).head(rows)
