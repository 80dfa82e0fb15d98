"""Files of text: CSV, newline delimited JSON, lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.nodes import Node
from dask_polars.io.arguments import arguments_for_parts, encoded_schema
from dask_polars.io.blocks import Layout, is_compressed
from dask_polars.io.footers import sample
from dask_polars.io.parts import FileSet, Piece, ScanPart, Wanted, grouped, stamp_of
from dask_polars.io.paths import File, open_file
from dask_polars.io.readers import sample_of

_SAMPLED = 4  # files whose first rows are read to learn how large rows are
_SAMPLE = 1 << 16  # bytes of each
_EXPANSION = 8  # what compressed text is thought to take in memory, as a multiple


def text_files(scan: Node, given: Sequence[str], files: Sequence[File], wanted: Wanted) -> FileSet:
    """
    Cut a scan of files of text into parts.

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
    ((kind, described),) = scan.fields["scan_type"].items()
    arguments, from_paths = arguments_for_parts(scan, given, files, wanted.schema)
    own = {name: dtype for name, dtype in wanted.schema.items() if name not in from_paths}
    fields = {"unified_scan_args": arguments, "scan_type": {kind: _with_schema(kind, described, own)}}
    reading = {"schema": pl.LazyFrame(schema=wanted.schema).serialize(), "own": list(own)}
    reason = _not_cut(kind, described, arguments)
    sampled = [found for file in sample(files)[:_SAMPLED] if (found := _sampled(files[file], fields, reading, wanted))]
    weight = sum(found.length for found in sampled) or 1
    rows_per_byte = sum(found.rows for found in sampled) / weight if sampled else 1 / max(10 * len(own), 1)
    bytes_per_byte = sum(found.bytes for found in sampled) / weight if sampled else 1.0
    wanted = wanted.fitted(sum(file.size for file in files) * bytes_per_byte)

    def pieces(file: File) -> list[Piece]:
        size, rows = file.size * bytes_per_byte, file.size * rows_per_byte
        count = max(math.ceil(rows / wanted.limit) if wanted.limit else 1, round(size / wanted.target))
        count = min(count, file.size)
        if count < 2 or reason or any(found.file == file and found.compressed for found in sampled):
            return [Piece(ScanPart((file.path,)), size)]
        return [Piece(ScanPart((file.path,), share=(place, count, file.size)), size / count) for place in range(count)]

    cut = [piece for file in files for piece in pieces(file)]
    total = sum(file.size for file in files)
    quoted = kind == "Csv" and described["options"]["parse_options"]["quote_char"] is not None
    compressed = any(found.compressed for found in sampled)
    why = reason or ("compressed files are read by one task each" if compressed else "")
    return FileSet(
        format=kind.lower(),
        parts=tuple(grouped(cut, wanted)),
        nfiles=len(files),
        rows=total * rows_per_byte,
        bytes=total * bytes_per_byte,
        exact=False,
        distinct={},
        fields=fields,
        stamp=stamp_of(files),
        note=f"{len(files)} files, not split: {why}" if why else "",
        reading={**reading, "quoted": quoted},
    )


def _not_cut(kind: str, described: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Say why files are not cut; nothing where they are."""
    if arguments["hive_options"]["enabled"]:
        return "columns are made of directories"
    if kind == "Csv" and described["options"]["parse_options"]["comment_prefix"] is not None:
        return "there may be quotes in comments"
    return ""


# ---------------------------------------------------------------- how large rows are


@dataclass(frozen=True)
class _Sampled:
    """The first rows of a file: their bytes in the file, and in memory those of the needed columns."""

    file: File
    length: float
    rows: int
    bytes: float
    compressed: bool


def _sampled(file: File, fields: Mapping[str, Any], reading: Mapping[str, Any], wanted: Wanted) -> _Sampled | None:
    """Read the first rows of a file; None where that fails, which Polars will say in its own words when the query runs."""
    try:
        with open_file(file.path, file.storage) as opened:
            data = opened.read(_SAMPLE)
    except OSError:
        return None
    if is_compressed(data):
        return _Sampled(file, len(data), len(data) // 8, len(data) * _EXPANSION, True)
    ((kind, described),) = fields["scan_type"].items()
    eol = Layout.of(kind, described, ()).eol
    data = data if len(data) < _SAMPLE else data[: data.rfind(eol) + 1]
    try:
        frame = sample_of(data, {"fields": fields, "reading": reading})
    except (pl.exceptions.PolarsError, UnicodeError):
        return None
    size = sum(frame[name].estimated_size() for name in wanted.columns if name in frame.columns)
    return _Sampled(file, max(len(data), 1), frame.height, max(size, frame.height), False) if frame.height else None


def _with_schema(kind: str, described: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """
    Write down the schema that Polars finds by looking at the first rows of some files, so that no part looks again.

    What counts rows over all files is a node above the scan.
    """
    if kind == "Lines":
        return dict(described)
    options = {**described["options"], "schema": encoded_schema(schema)}
    if kind == "Csv":
        options.update(n_rows=None, row_index=None)
    return {**described, "options": options}
