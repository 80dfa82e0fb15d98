"""
The files of a scan, and what is known of them before anything is read.

Polars resolves paths by itself when a query runs; here they are resolved once, while planning, so that partitions can be
made of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dask_polars.dsl.nodes import Node
from dask_polars.io.ipc import ipc_files
from dask_polars.io.parquet import parquet_files
from dask_polars.io.parts import FileSet, Wanted
from dask_polars.io.paths import File, expand, is_remote
from dask_polars.io.storage import Storage
from dask_polars.io.tables import table_files
from dask_polars.io.text import text_files

Finder = Callable[[Node, Sequence[str], Sequence[File], Wanted], FileSet | None]

FORMATS: dict[str, Finder] = {
    "Parquet": parquet_files,
    "Ipc": ipc_files,
    "Csv": text_files,
    "NDJson": text_files,
    "Lines": text_files,
}


def file_set(scan: Node, wanted: Wanted) -> FileSet | None:
    """
    Cut a scan into parts.

    Parameters
    ----------
    scan
        A node of kind ``"Scan"``.
    wanted
        What a query wants of it.

    Returns
    -------
    FileSet, or None
        None where the files cannot be told apart: buffers in memory, or options that speak of all files at once.
    """
    sources, arguments = scan.fields["sources"], scan.fields["unified_scan_args"]
    kind = scan_kind(scan)
    if kind == "PythonDataset":
        return table_files(scan, wanted)
    whole = ("deletion_files", "table_statistics", "column_mapping", "default_values", "row_count")
    if "Paths" not in sources or any(arguments.get(name) is not None for name in whole):
        return None
    given = [item["inner"] for item in sources["Paths"]]
    if kind not in FORMATS or not all(isinstance(path, str) for path in given):
        return None
    if arguments["include_file_paths"] is None:
        # The directory that a worker runs in may be another one.
        given = [path if is_remote(path) else os.path.abspath(path.removeprefix("file://")) for path in given]
    storage = Storage.of(scan)
    found = expand(given, glob=arguments["glob"], hidden=arguments.get("hidden_file_prefix"), storage=storage)
    return FORMATS[kind](scan, given, found, wanted) if found else None


def scan_kind(scan: Node) -> str:
    """Name the format of a scan, as plans do."""
    kind = next(iter(scan.fields["scan_type"]))
    return kind if isinstance(kind, str) else "Python"


def found_on_disk(scan: Node) -> list[File]:
    """
    Find the files of a scan that is not cut into parts.

    Parameters
    ----------
    scan
        A node of kind ``"Scan"``.

    Returns
    -------
    list of File
        Empty where they are not those of this machine, or buffers in memory.
    """
    given = [item["inner"] for item in scan.fields["sources"].get("Paths", ())]
    if any(not isinstance(path, str) or is_remote(path) for path in given):
        return []
    return expand(given, glob=scan.fields["unified_scan_args"]["glob"], hidden=None)
