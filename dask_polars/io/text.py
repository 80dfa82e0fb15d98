"""Files of text: CSV, newline delimited JSON, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.nodes import Node
from dask_polars.io.arguments import arguments_for_parts, encoded_schema
from dask_polars.io.parts import FileSet, Piece, ScanPart, Wanted, grouped, stamp_of
from dask_polars.io.paths import File


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
    size = sum(file.size for file in files)
    pieces = [Piece(ScanPart((file.path,)), file.size) for file in files]
    return FileSet(
        format=kind.lower(),
        parts=tuple(grouped(pieces, wanted.target)),
        nfiles=len(files),
        rows=size / max(10.0 * len(own), 1.0),
        bytes=size,
        exact=False,
        distinct={},
        fields={"unified_scan_args": arguments, "scan_type": {kind: _with_schema(kind, described, own)}},
        stamp=stamp_of(files),
    )


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
