"""
The files of a scan, and what is known of them before anything is read.

Polars resolves paths by itself when a query runs; here they are resolved once, while planning, so that partitions can be
made of them, by the rules of Polars: a directory stands for all files below it, a pattern for what matches it, in order.
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dask_polars.dsl.codec import to_lazyframe
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
        Counts the rows in each row group of a file; None where there are no such.
    arguments
        What the scan of a part of the files is to be called with; None for the same as that of all of them.
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
    arguments: Mapping[str, Any] | None


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
    if kind not in ("Parquet",) or not all(isinstance(path, str) for path in given):
        return _whole_scan(scan, kind)
    found = _expand(given, glob=arguments["glob"], hidden=arguments.get("hidden_file_prefix"))
    if found is None or not found:
        return _whole_scan(scan, kind)
    paths, sizes = tuple(path for path, _ in found), tuple(size for _, size in found)
    return _parquet(scan, given, paths, sizes)


def _whole_scan(scan: Node, kind: str) -> FileSet | None:
    return None


# ---------------------------------------------------------------- paths


def _expand(paths: Sequence[str], *, glob: bool, hidden: Any) -> list[tuple[str, int]] | None:
    out: list[tuple[str, int]] = []
    for path in paths:
        found = (
            _expand_remote(path, glob)
            if "://" in path and not path.startswith("file://")
            else _expand_local(path, glob)
        )
        if found is None:
            return None
        out.extend(found)
    prefixes = tuple(hidden) if hidden else ()
    if prefixes:
        out = [item for item in out if not os.path.basename(item[0]).startswith(prefixes)]
    return out


def _expand_local(path: str, glob: bool) -> list[tuple[str, int]]:
    path = path.removeprefix("file://")
    if os.path.isdir(path):
        found = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
        return [(name, os.path.getsize(name)) for name in sorted(found) if os.path.getsize(name)]
    if glob and globbing.has_magic(path):
        names = [name for name in sorted(globbing.glob(path, recursive=True)) if os.path.isfile(name)]
        return [(name, os.path.getsize(name)) for name in names]
    return [(path, os.path.getsize(path))]


def _expand_remote(path: str, glob: bool) -> list[tuple[str, int]] | None:
    fs, root = fsspec.core.url_to_fs(path)
    scheme = path.split("://", 1)[0]
    if glob and globbing.has_magic(root):
        found = fs.glob(root, detail=True)
    elif fs.isdir(root):
        found = fs.find(root, detail=True)
    else:
        found = {root: fs.info(root)}
    return [(f"{scheme}://{name}", info["size"]) for name, info in sorted(found.items()) if info["type"] == "file"]


# ---------------------------------------------------------------- parquet


def _parquet(scan: Node, given: Sequence[str], paths: tuple[str, ...], sizes: tuple[int, ...]) -> FileSet:
    schema = dict(to_lazyframe(scan).collect_schema())
    sample = _sample(paths)
    footers = _footers([paths[index] for index in sample], [sizes[index] for index in sample])
    sampled_rows = sum(footer.rows for footer in footers)
    sampled_bytes = sum(footer.memory(schema) for footer in footers)
    share = sum(sizes) / max(sum(sizes[index] for index in sample), 1)
    exact = len(sample) == len(paths)

    def rows_of() -> list[int]:
        return [footer.rows for footer in _footers(paths, sizes)]

    def rows_of_one(path: str) -> list[int]:
        (footer,) = _footers([path], [sizes[paths.index(path)]])
        return list(footer.row_groups)

    return FileSet(
        format="parquet",
        paths=paths,
        sizes=sizes,
        rows=sampled_rows * share,
        bytes=sampled_bytes * share,
        exact=exact,
        distinct=_distinct(footers, share),
        rows_of=rows_of,
        rows_of_one=rows_of_one,
        arguments=_arguments_for_parts(scan, given, paths, schema) if len(paths) > 1 else None,
    )


def _sample(paths: Sequence[str]) -> list[int]:
    """Pick files from all over the list, the first and the last among them."""
    if len(paths) <= _SAMPLE:
        return list(range(len(paths)))
    return sorted({round(index * (len(paths) - 1) / (_SAMPLE - 1)) for index in range(_SAMPLE)})


def _arguments_for_parts(
    scan: Node, given: Sequence[str], paths: Sequence[str], schema: Mapping[str, pl.DataType]
) -> dict[str, Any]:
    """
    Write down what Polars finds out by looking at all files, so that a part of the files means the same.

    That is the schema, which is that of the first file, and the columns that are in the names of directories.
    """
    arguments = dict(scan.fields["unified_scan_args"])
    hive = dict(arguments["hive_options"])
    names = _hive_names(given, paths) if hive["enabled"] is not False else []
    explicit = hive["schema"]["fields"] if hive["schema"] else {}
    in_paths = [name for name in names if name in schema]
    if hive["enabled"] is None:
        hive["enabled"] = bool(in_paths) and len(given) == 1 and os.path.isdir(given[0])
        in_paths = in_paths if hive["enabled"] else []
    if in_paths and not explicit:
        hive["schema"] = _encoded_schema(scan, {name: schema[name] for name in in_paths})
    hive["hive_start_idx"] = 0
    arguments["hive_options"] = hive
    added = {*in_paths, *explicit, arguments["include_file_paths"]}
    first = pl.read_parquet_schema(paths[0]) if "://" not in paths[0] and added & set(schema) else None
    own = {name: dtype for name, dtype in schema.items() if name not in added or (first is not None and name in first)}
    if arguments["schema"] is None:
        arguments["schema"] = _encoded_schema(scan, own)
    return arguments


def _encoded_schema(scan: Node, schema: Mapping[str, pl.DataType]) -> Any:
    """Write a schema as plans do."""
    from dask_polars.dsl.codec import decode

    return decode(pl.LazyFrame(schema=schema)).fields["schema"]


def _hive_names(given: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Name the columns that stand in the directories of a path, as ``name=value``."""
    parts = os.path.dirname(paths[0]).split("/")
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


def _footers(paths: Sequence[str], sizes: Sequence[int]) -> list[Footer]:
    def read(index: int) -> Footer:
        path = paths[index]
        stamp = os.stat(path).st_mtime_ns if "://" not in path else sizes[index]
        return _footer(path, stamp)

    if len(paths) <= 2:
        return [read(index) for index in range(len(paths))]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(read, range(len(paths))))


@lru_cache(maxsize=20_000)
def _footer(path: str, stamp: int) -> Footer:
    try:
        if "://" in path:
            with fsspec.open(path, "rb") as file:
                metadata = pq.read_metadata(file)
        else:
            metadata = pq.read_metadata(path)
    except pa.ArrowNotImplementedError:
        # Types that pyarrow does not know, as Int128: Polars counts the rows.
        return Footer((pl.scan_parquet(path).select(pl.len()).collect(engine="in-memory").item(),), {}, {}, {})
    except (pa.ArrowInvalid, OSError) as error:
        error.add_note(f"while reading the footer of {path}")
        raise
    return _digest(metadata)


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
    low, high = min(item.min for item in found), max(item.max for item in found)
    return {name: (low, high)}


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
    import datetime

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
