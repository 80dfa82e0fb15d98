"""
The files of a scan, and what is known of them before anything is read.

Polars resolves paths by itself when a query runs; here they are resolved once, while planning, so that partitions can be
made of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from dask_polars.dsl.nodes import ByContent, Node
from dask_polars.dsl.schemas import SchemaDict, schema_over
from dask_polars.io.ipc import ipc_files
from dask_polars.io.parquet import parquet_files
from dask_polars.io.parts import FileSet, Wanted, stamp_of
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
    if scan_kind(scan) == "PythonDataset":
        return table_files(scan, wanted)
    if not _is_cut(scan):
        return None
    given = _paths_of(scan)
    found = _files_at(scan, given)
    return FORMATS[scan_kind(scan)](scan, given, found, wanted) if found else None


def _is_cut(scan: Node) -> bool:
    """Say whether a scan is of a format whose files are told apart, with no option that speaks of all files at once."""
    arguments = scan.fields["unified_scan_args"]
    whole = ("deletion_files", "table_statistics", "column_mapping", "default_values", "row_count")
    return scan_kind(scan) in FORMATS and all(arguments.get(name) is None for name in whole)


def schema_of_scan(scan: Node) -> SchemaDict:
    """
    Give the schema of a scan, as Polars finds it in the files, which it is asked for again when these have changed.

    Parameters
    ----------
    scan
        A node of kind ``"Scan"``.

    Returns
    -------
    dict
        Types by column name.

    Raises
    ------
    polars.exceptions.PolarsError, OSError
        Where there is none, or it cannot be read.
    """
    paths = _paths_of(scan) if _is_cut(scan) else []
    options = Storage.of(scan).options
    stores = {("" if options is None else options.token, *path.split("/", 3)[:3]) for path in paths if is_remote(path)}
    # Where a store has not answered yet, Polars is the first to ask: it gives up sooner, and users know its errors.
    files = _files_at(scan, paths) if stores <= _ANSWERED else []
    if files and all(file.is_dated for file in files):
        return _schema_of_files(ByContent(scan), stamp_of(files))
    schema = schema_over(scan, [])
    if len(_ANSWERED) > _MANY:  # tokens that are renewed make others
        _ANSWERED.clear()
    _ANSWERED.update(stores)
    return schema


_ANSWERED: set[tuple[str, ...]] = set()  # object stores, by the token of how they are reached, scheme and bucket
_MANY = 1000


@lru_cache(maxsize=256)
def _schema_of_files(scan: ByContent, stamp: str) -> SchemaDict:
    return schema_over(scan.node, [])


def _paths_of(scan: Node) -> list[str]:
    """Give the paths of a scan, such that they mean the same in every directory; none where it reads something else."""
    sources = scan.fields["sources"]
    given = [item["inner"] for item in sources.get("Paths", ())] if isinstance(sources, Mapping) else []
    if not all(isinstance(path, str) for path in given):
        return []
    if scan.fields["unified_scan_args"]["include_file_paths"] is None:
        # The directory that a worker runs in may be another one.
        given = [path if is_remote(path) else os.path.abspath(path.removeprefix("file://")) for path in given]
    return given


def _files_at(scan: Node, given: Sequence[str]) -> list[File]:
    arguments = scan.fields["unified_scan_args"]
    hidden = arguments.get("hidden_file_prefix")
    return expand(given, glob=arguments["glob"], hidden=hidden, storage=Storage.of(scan)) if given else []


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
    given = _paths_of(scan)
    return [] if any(map(is_remote, given)) else _files_at(scan, given)
