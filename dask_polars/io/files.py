"""
The files of a scan, and what is known of them before anything is read.

Polars resolves paths by itself when a query runs; here they are resolved once, while planning, so that partitions can be
made of them, by the rules of Polars: a directory stands for all files below it, a pattern for what matches it, in order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.nodes import Node
from dask_polars.io.footers import distinct_bounds, footers, sample
from dask_polars.io.paths import File, expand, is_directory, is_remote
from dask_polars.io.storage import Storage


@dataclass(frozen=True)
class FileSet:
    """
    Files, and what is known of them.

    Parameters
    ----------
    format
        ``"parquet"``, ``"csv"``, …
    paths
        Files, in the order of their rows.
    sizes
        Bytes on disk of each.
    rows
        Rows of all of them, as far as is known.
    bytes
        What all rows take in memory.
    exact
        Whether the number of rows is known.
    distinct
        Bounds of the number of different values in columns.
    rows_of
        Counts the rows of each file exactly; None where that would mean to read them.
    rows_of_one
        Counts the rows in each row group of a file, of which there are none where they cannot be read; None where files
        have no row groups.
    fields
        Fields of the scan of a part of the files that are not those of the scan of all of them.
    stamp
        A hash of what tells that a file was written anew.
    """

    format: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: float
    bytes: float
    exact: bool
    distinct: Mapping[str, float]
    rows_of: Callable[[], list[int]] | None
    rows_of_one: Callable[[str], list[int]] | None
    fields: Mapping[str, Any]
    stamp: str


def file_set(scan: Node) -> FileSet | None:
    """
    Find the files of a scan.

    Parameters
    ----------
    scan
        A node of kind ``"Scan"``.

    Returns
    -------
    FileSet, or None
        None where the files cannot be told apart: buffers in memory, or options that speak of all files at once.
    """
    sources, arguments = scan.fields["sources"], scan.fields["unified_scan_args"]
    kind = next(iter(scan.fields["scan_type"]))
    whole = ("deletion_files", "table_statistics", "column_mapping", "default_values", "row_count")
    if "Paths" not in sources or any(arguments.get(name) is not None for name in whole):
        return None
    given = [item["inner"] for item in sources["Paths"]]
    if kind != "Parquet" or not all(isinstance(path, str) for path in given):
        return None
    if arguments["include_file_paths"] is None:
        # The directory that a worker runs in may be another one.
        given = [path if is_remote(path) else os.path.abspath(path.removeprefix("file://")) for path in given]
    storage = Storage.of(scan)
    found = expand(given, glob=arguments["glob"], hidden=arguments.get("hidden_file_prefix"), storage=storage)
    return _parquet(scan, given, found) if found else None


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


def stamp_of(files: Sequence[File]) -> str:
    """Hash what tells that files were written anew."""
    return hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()


# ---------------------------------------------------------------- parquet


def _parquet(scan: Node, given: Sequence[str], files: Sequence[File]) -> FileSet:
    schema = dict(to_lazyframe(scan).collect_schema())
    by_path = {file.path: file for file in files}
    picked = [files[index] for index in sample(files)]
    found = footers(picked)
    sampled = [(file, footer) for file, footer in zip(picked, found, strict=True) if footer is not None]
    known = [footer for _, footer in sampled]
    share = sum(file.size for file in files) / max(sum(file.size for file, _ in sampled), 1)

    def rows_of() -> list[int]:
        return [0 if footer is None else footer.rows for footer in footers(files)]

    def rows_of_one(path: str) -> list[int]:
        (footer,) = footers([by_path[path]])
        return [] if footer is None else list(footer.row_groups)

    return FileSet(
        format="parquet",
        paths=tuple(file.path for file in files),
        sizes=tuple(file.size for file in files),
        rows=sum(footer.rows for footer in known) * share,
        bytes=sum(footer.memory(schema) for footer in known) * share,
        exact=len(known) == len(files),
        distinct=distinct_bounds(known, share),
        rows_of=rows_of,
        rows_of_one=rows_of_one,
        fields=_fields_for_parts(scan, given, files, schema),
        stamp=stamp_of(files),
    )


def _fields_for_parts(
    scan: Node, given: Sequence[str], files: Sequence[File], schema: Mapping[str, pl.DataType]
) -> dict[str, Any]:
    """
    Write down what Polars finds out by looking at all files, so that a part of the files means the same.

    That is the schema, which is that of the first file, and the columns that are in the names of directories.
    """
    arguments, options = dict(scan.fields["unified_scan_args"]), dict(scan.fields["scan_type"]["Parquet"]["options"])
    hive = dict(arguments["hive_options"])
    start = min(map(_hive_start, given))
    explicit = list(hive["schema"]["fields"]) if hive["schema"] else []
    names = [name for name in _hive_names(files[0].path[start:]) if name in schema]
    if hive["enabled"] is None:
        hive["enabled"] = bool(names or explicit) and len(given) == 1 and is_directory(given[0])
    if not hive["enabled"]:
        names, explicit = [], []
    elif names and not explicit:
        hive["schema"] = _encoded_schema({name: schema[name] for name in names})
    arguments.update(hive_options={**hive, "hive_start_idx": start}, glob=False, expand_paths=False)
    if options["schema"] is None:
        added = {*names, *explicit, arguments["include_file_paths"]}
        own = _own_schema(scan, files[0]) if added & set(schema) else schema
        options["schema"] = _encoded_schema({name: own.get(name, schema[name]) for name in schema if name in own})
    return {"unified_scan_args": arguments, "scan_type": {"Parquet": {"options": options}}}


def _own_schema(scan: Node, file: File) -> Mapping[str, pl.DataType]:
    """Give the columns that are in a file, without those that are made of its path."""
    arguments = dict(scan.fields["unified_scan_args"])
    hive = {**arguments["hive_options"], "enabled": False, "schema": None}
    arguments.update(hive_options=hive, include_file_paths=None, glob=False)
    one = scan.with_fields(sources={"Paths": [{"inner": file.path}]}, unified_scan_args=arguments)
    return to_lazyframe(one).collect_schema()


def _encoded_schema(schema: Mapping[str, pl.DataType]) -> Any:
    """Write a schema as plans do."""
    return decode(pl.LazyFrame(schema=schema)).fields["schema"]


def _hive_start(path: str) -> int:
    """Say from where on, in the paths that come of a given one, Polars takes the names of directories for columns."""
    return len(path) if is_directory(path) else 0


def _hive_names(path: str) -> list[str]:
    """Name the columns that stand in the directories of a path, as ``name=value``."""
    parts = os.path.dirname(path).split("/")
    return [part.split("=", 1)[0] for part in parts if "=" in part]
