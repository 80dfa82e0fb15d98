"""
Files of Arrow IPC.

Their footer says where each record batch is, and the head of a batch how many rows it has. pyarrow reads whole batches
to tell their rows, so these two are read here, field by field, from their flatbuffers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import polars as pl

from dask_polars.dsl.codec import to_lazyframe
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import width_of
from dask_polars.io.arguments import arguments_for_parts, encoded_schema, has_schema
from dask_polars.io.footers import in_threads, sample
from dask_polars.io.parts import FileSet, Piece, ScanPart, Wanted, grouped, heights_of, runs, stamp_of
from dask_polars.io.paths import File, open_file

_MAGIC = b"ARROW1"


def ipc_files(scan: Node, given: Sequence[str], files: Sequence[File], wanted: Wanted) -> FileSet:
    """
    Cut a scan of files of Arrow IPC into parts.

    Parameters
    ----------
    scan
        The scan.
    given
        The paths that the user gave.
    files
        The files that they stand for.
    wanted
        What a query wants of them.

    Returns
    -------
    FileSet
    """
    arguments, from_paths = arguments_for_parts(scan, given, files, wanted.schema)
    own = {name: dtype for name, dtype in wanted.schema.items() if name not in from_paths}
    needed = {name: dtype for name, dtype in own.items() if name in wanted.columns}
    picked = sample(files) if wanted.limit is None else range(len(files))
    known = dict(zip(picked, footers([files[index] for index in picked]), strict=True))
    read = [(files[index], footer) for index, footer in known.items() if footer is not None]
    on_disk = max(sum(file.size for file, _ in read), 1)
    rows_per_byte = sum(sum(footer.batches) for _, footer in read) / on_disk
    bytes_per_byte = sum(footer.memory(needed, own) for _, footer in read) / on_disk
    wanted = wanted.fitted(bytes_per_byte * sum(file.size for file in files))

    def pieces(index: int, file: File) -> list[Piece]:
        footer = known.get(index)
        size = file.size * bytes_per_byte if footer is None else footer.memory(needed, own)
        if wanted.is_large(size) and footer is None:
            footer = _footer(file)
        return _pieces(file, footer, size, wanted)

    cut = [piece for index, file in enumerate(files) for piece in pieces(index, file)]
    first = known[0]
    return FileSet(
        format="ipc",
        heights=heights_of(files, lambda asked: [None if item is None else item.batches for item in footers(asked)]),
        parts=tuple(grouped(cut, wanted)),
        nfiles=len(files),
        rows=rows_per_byte * sum(file.size for file in files),
        bytes=bytes_per_byte * sum(file.size for file in files),
        exact=len(read) == len(files),
        distinct={},
        fields={"unified_scan_args": arguments},
        stamp=stamp_of(files),
        reading={}
        if first is None
        else {"first": [files[0].path, sum(first.batches)], "schema": encoded_schema(wanted.schema)},
    )


def _pieces(file: File, footer: Footer | None, size: float, wanted: Wanted) -> list[Piece]:
    """Cut a file where it is large, between record batches; where rows are limited, anywhere."""
    path = (file.path,)
    if footer is not None and wanted.limit is not None and sum(footer.batches) > wanted.limit:
        rows = sum(footer.batches)
        spans = [((start, min(wanted.limit, rows - start)),) for start in range(0, rows, wanted.limit)]
        return [Piece(ScanPart(path, rows=span), size / len(spans)) for span in spans]
    if footer is None or wanted.limit is not None or not wanted.is_large(size):
        return [Piece(ScanPart(path), size)]
    cut = runs(footer.batches, [True] * len(footer.batches), size, wanted.target)
    return [Piece(ScanPart(path, rows=span), size / len(cut)) for span in cut] or [Piece(ScanPart(path), size)]


def as_the_first(scan: Node, reading: Mapping[str, Any]) -> pl.LazyFrame:
    """
    Scan some files as they are read after the first of all files, whose columns are those of the scan.

    Parameters
    ----------
    scan
        A scan of a part of the files.
    reading
        The path of the first file and its number of rows, and the schema of the scan.

    Returns
    -------
    polars.LazyFrame
        Where the columns are not the same anyway, the first file is scanned too, so that Polars casts to its types,
        or says what does not fit; its rows are skipped, and not read.
    """
    lazy = to_lazyframe(scan)
    if "first" not in reading or has_schema(lazy, reading["schema"]):
        return lazy
    path, rows = reading["first"]
    sources = {"Paths": [{"inner": path}, *scan.fields["sources"]["Paths"]]}
    return to_lazyframe(scan.with_fields(sources=sources)).slice(rows)


# ---------------------------------------------------------------- footers


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says: the rows of each record batch, and the bytes of all of them."""

    batches: tuple[int, ...]
    bytes: int

    def memory(self, needed: Mapping[str, pl.DataType], every: Mapping[str, pl.DataType]) -> float:
        """Estimate the bytes that the needed columns take in memory, given all columns of the file."""
        rows = sum(self.batches)
        fixed = {name: dtype for name, dtype in every.items() if not _varies(dtype)}
        # What is not of the columns of a known width is of the others, each the same; batches may be compressed.
        rest = max(self.bytes - _width(fixed) * rows, 16.0 * rows * (len(every) - len(fixed)))
        share = sum(_varies(dtype) for dtype in needed.values()) / max(len(every) - len(fixed), 1)
        return _width({name: dtype for name, dtype in needed.items() if name in fixed}) * rows + rest * share


def _width(schema: Mapping[str, pl.DataType]) -> float:
    return width_of(schema) if schema else 0.0


def _varies(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Binary) or dtype.is_nested()


def footers(files: Sequence[File]) -> list[Footer | None]:
    """Read the footers of files; None where that fails, which Polars will say in its own words when the query runs."""
    return in_threads(_footer, files)


@lru_cache(maxsize=20_000)
def _footer(file: File) -> Footer | None:
    try:
        with open_file(file.path, file.storage) as opened:
            return read_footer(opened, file.size)
    except (OSError, ValueError, struct.error):
        return None


def read_footer(opened: BinaryIO, size: int) -> Footer:
    """
    Read the footer of a file of Arrow IPC, and the head of each of its record batches.

    Parameters
    ----------
    opened
        The file.
    size
        Its bytes.

    Returns
    -------
    Footer

    Raises
    ------
    ValueError
        If it is no file of Arrow IPC, or one of an older format.
    """
    opened.seek(max(size - 10, 0))
    end = opened.read(10)
    if end[4:] != _MAGIC:
        raise ValueError("not a file of Arrow IPC")
    (length,) = struct.unpack("<i", end[:4])
    opened.seek(size - 10 - length)
    footer = opened.read(length)
    blocks = _table_field(footer, _root(footer), 3)
    if blocks is None:
        return Footer((), 0)
    start = blocks + _read(footer, "<I", blocks)
    count = _read(footer, "<I", start)
    found = [struct.unpack_from("<qi4xq", footer, start + 4 + 24 * index) for index in range(count)]
    return Footer(tuple(_rows(opened, offset, head) for offset, head, _ in found), sum(body for *_, body in found))


def _rows(opened: BinaryIO, offset: int, length: int) -> int:
    """Read the number of rows of a record batch."""
    opened.seek(offset)
    head = opened.read(length)
    if head[:4] != b"\xff\xff\xff\xff":
        raise ValueError("a record batch of an older format")
    message = head[8:]
    header = _table_field(message, _root(message), 2)
    if header is None:
        raise ValueError("a record batch without a header")
    rows = _table_field(message, header + _read(message, "<I", header), 0)
    return 0 if rows is None else _read(message, "<q", rows)


def _root(buffer: bytes) -> int:
    return _read(buffer, "<I", 0)


def _table_field(buffer: bytes, table: int, number: int) -> int | None:
    """Say where a field of a table is, if the table has it."""
    places = table - _read(buffer, "<i", table)
    entry = 4 + 2 * number
    if entry >= _read(buffer, "<H", places):
        return None
    offset = _read(buffer, "<H", places + entry)
    return table + offset if offset else None


def _read(buffer: bytes, form: str, place: int) -> int:
    return int(struct.unpack_from(form, buffer, place)[0])
