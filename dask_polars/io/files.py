"""
The files of a scan, and what is known of them before anything is read.

Polars resolves paths by itself when a query runs; here they are resolved once, while planning, so that partitions can be
made of them, by the rules of Polars: a directory stands for all files below it, a pattern for what matches it, in order.
"""

from __future__ import annotations

import datetime
import glob as globbing
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.nodes import Node

_SAMPLE = 8  # footers that are read to learn how large rows are
_DISTINCT_LIMIT = 1e6


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
        given = [path if _is_remote(path) else os.path.abspath(path.removeprefix("file://")) for path in given]
    found = _expand(given, glob=arguments["glob"], hidden=arguments.get("hidden_file_prefix"))
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
    if any(not isinstance(path, str) or _is_remote(path) for path in given):
        return []
    return _expand(given, glob=scan.fields["unified_scan_args"]["glob"], hidden=None)


def stamp_of(files: Sequence[File]) -> str:
    """Hash what tells that files were written anew."""
    return hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()


# ---------------------------------------------------------------- paths


@dataclass(frozen=True)
class File:
    """A file that was found: its path, its bytes on disk, and what changes when it is written anew."""

    path: str
    size: int
    stamp: str


def _is_remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _expand(paths: Iterable[str], *, glob: bool, hidden: Any) -> list[File]:
    out: list[File] = []
    for path in paths:
        out.extend(_expand_remote(path, glob) if _is_remote(path) else _expand_local(path, glob))
    prefixes = tuple(hidden) if hidden else ()
    if prefixes:
        out = [file for file in out if not os.path.basename(file.path).startswith(prefixes)]
    return out


def _expand_local(path: str, glob: bool) -> list[File]:
    path = path.removeprefix("file://")
    if os.path.isdir(path):
        names = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
        return [file for file in map(_local_file, sorted(names)) if file.size]
    if glob and globbing.has_magic(path):
        names = globbing.glob(path, recursive=True, include_hidden=True)
        return [file for file in map(_local_file, filter(os.path.isfile, sorted(names))) if file.size]
    return [_local_file(path)]


def _local_file(path: str) -> File:
    try:
        found = os.stat(path)
    except OSError:
        return File(path, 0, "")  # Polars says so when the query runs, if it gets that far
    return File(path, found.st_size, str(found.st_mtime_ns))


def _expand_remote(path: str, glob: bool) -> list[File]:
    fs, root = fsspec.core.url_to_fs(path)
    scheme = path.split("://", 1)[0]
    if glob and globbing.has_magic(root):
        found = fs.glob(root, detail=True)
    elif fs.isdir(root):
        found = fs.find(root, detail=True)
    else:
        found = {root: fs.info(root)}
    return [
        File(f"{scheme}://{name}", info["size"], str(info.get("ETag") or info.get("LastModified") or info.get("mtime")))
        for name, info in sorted(found.items())
        if info["type"] == "file" and (info["size"] or name == root)
    ]


# ---------------------------------------------------------------- parquet


def _parquet(scan: Node, given: Sequence[str], files: Sequence[File]) -> FileSet:
    schema = dict(to_lazyframe(scan).collect_schema())
    by_path = {file.path: file for file in files}
    picked = [files[index] for index in _sample(files)]
    found = _footers(picked)
    sampled = [(file, footer) for file, footer in zip(picked, found, strict=True) if footer is not None]
    footers = [footer for _, footer in sampled]
    share = sum(file.size for file in files) / max(sum(file.size for file, _ in sampled), 1)

    def rows_of() -> list[int]:
        return [0 if footer is None else footer.rows for footer in _footers(files)]

    def rows_of_one(path: str) -> list[int]:
        (footer,) = _footers([by_path[path]])
        return [] if footer is None else list(footer.row_groups)

    return FileSet(
        format="parquet",
        paths=tuple(file.path for file in files),
        sizes=tuple(file.size for file in files),
        rows=sum(footer.rows for footer in footers) * share,
        bytes=sum(footer.memory(schema) for footer in footers) * share,
        exact=len(footers) == len(files),
        distinct=_distinct(footers, share),
        rows_of=rows_of,
        rows_of_one=rows_of_one,
        fields=_fields_for_parts(scan, given, files, schema),
        stamp=stamp_of(files),
    )


def _sample(paths: Sequence[Any]) -> list[int]:
    """Pick files from all over the list, the first and the last among them."""
    if len(paths) <= _SAMPLE:
        return list(range(len(paths)))
    return sorted({round(index * (len(paths) - 1) / (_SAMPLE - 1)) for index in range(_SAMPLE)})


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
        hive["enabled"] = bool(names or explicit) and len(given) == 1 and os.path.isdir(given[0])
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
    return len(path) if os.path.isdir(path) else 0


def _hive_names(path: str) -> list[str]:
    """Name the columns that stand in the directories of a path, as ``name=value``."""
    parts = os.path.dirname(path).split("/")
    return [part.split("=", 1)[0] for part in parts if "=" in part]


@dataclass(frozen=True)
class Footer:
    """What the footer of a Parquet file says."""

    row_groups: tuple[int, ...]
    column_bytes: Mapping[str, int]
    dictionary_bytes: Mapping[str, float]
    spans: Mapping[str, tuple[Any, Any]]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)

    def memory(self, schema: Mapping[str, pl.DataType]) -> float:
        """Estimate the bytes that the columns take in memory."""
        from dask_polars.plan.stages import width_of

        total = 0.0
        for name, dtype in schema.items():
            width = width_of({name: dtype})
            if dtype in (pl.String, pl.Binary) or dtype.is_nested():
                total += max(self.column_bytes.get(name, 0), 16 * self.rows)
            else:
                total += width * self.rows
        return total


def _footers(files: Sequence[File]) -> list[Footer | None]:
    """Read the footers of files; None where that fails, which Polars will say in its own words when the query runs."""
    if len(files) <= 2:
        return [_footer(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_footer, files))


@lru_cache(maxsize=20_000)
def _footer(file: File) -> Footer | None:
    try:
        if _is_remote(file.path):
            with fsspec.open(file.path, "rb") as opened:
                metadata = pq.read_metadata(opened)
        else:
            metadata = pq.read_metadata(file.path)
    except pa.ArrowNotImplementedError:
        return _counted(file)
    except (pa.ArrowException, OSError):
        return None
    return _digest(metadata)


def _counted(file: File) -> Footer | None:
    """Count the rows of a file with types that pyarrow does not know, as Int128."""
    try:
        rows = pl.scan_parquet(file.path, glob=False).select(pl.len()).collect(engine="in-memory").item()
    except (pl.exceptions.PolarsError, OSError):
        return None
    return Footer((rows,), {}, {}, {})


def _digest(metadata: pq.FileMetaData) -> Footer:
    column_bytes: dict[str, int] = {}
    dictionary: dict[str, float] = {}
    spans: dict[str, tuple[Any, Any]] = {}
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    for index in range(metadata.num_columns):
        chunks = [group.column(index) for group in groups]
        name = metadata.schema.column(index).path.split(".")[0]
        column_bytes[name] = column_bytes.get(name, 0) + sum(chunk.total_uncompressed_size for chunk in chunks)
        if "." in metadata.schema.column(index).path or not chunks:
            continue
        pages = [_dictionary_bytes(chunk) for chunk in chunks]
        known = [size for size in pages if size is not None]
        if len(known) == len(pages):
            dictionary[name] = max(known)
        spans.update(_span(name, chunks))
    return Footer(tuple(group.num_rows for group in groups), column_bytes, dictionary, spans)


def _dictionary_bytes(chunk: Any) -> float | None:
    """Give the size of a chunk's dictionary, where all of its values are in it."""
    if not chunk.has_dictionary_page or chunk.dictionary_page_offset is None:
        return None
    # Where a dictionary grew too large, writers go on with plain pages: then it says nothing.
    if "PLAIN" in chunk.encodings and chunk.total_uncompressed_size > 4 * chunk.num_values:
        return None
    return float(chunk.data_page_offset - chunk.dictionary_page_offset)


def _span(name: str, chunks: Sequence[Any]) -> dict[str, tuple[Any, Any]]:
    found = [chunk.statistics for chunk in chunks]
    if any(item is None or not item.has_min_max for item in found):
        return {}
    try:
        return {name: (min(item.min for item in found), max(item.max for item in found))}
    except ValueError:
        return {}  # nanoseconds, which pyarrow gives to pandas only


def _distinct(footers: Sequence[Footer], share: float) -> dict[str, float]:
    """
    Bound the number of different values of columns.

    A column of integers or dates has no more than lie between its smallest and its largest. A dictionary has no more
    values than bytes; what is not sampled is taken to be like what is.
    """
    bounds: dict[str, float] = {}
    if not footers:
        return bounds
    for name in footers[0].column_bytes:
        candidates = []
        if all(name in footer.dictionary_bytes for footer in footers):
            candidates.append(sum(footer.dictionary_bytes[name] for footer in footers) * share)
        if all(name in footer.spans for footer in footers):
            candidates.extend(_span_bound([footer.spans[name] for footer in footers], share))
        if candidates and min(candidates) < _DISTINCT_LIMIT:
            bounds[name] = min(candidates) + 1  # and null
    return bounds


def _span_bound(spans: Sequence[tuple[Any, Any]], share: float) -> list[float]:
    if len({type(value) for span in spans for value in span}) > 1:
        return []  # the files differ in the type of the column
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    if isinstance(low, bool):
        return [2.0]
    if isinstance(low, int) and isinstance(high, int):
        return [float(high - low + 1) * share]
    if isinstance(low, datetime.date) and not isinstance(low, datetime.datetime):
        return [float((high - low).days + 1) * share]
    if low == high:
        return [1.0 * share]
    return []
