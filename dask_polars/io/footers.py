"""What the footers of Parquet files say: rows, bytes and dictionaries of columns, their smallest and largest values."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.schemas import width_of
from dask_polars.io.paths import File, is_remote

_GUESSED = 64 * 1024  # bytes in which a footer is thought to be
_SAMPLE = 8  # footers that are read to learn how large rows are
_PACKING = 8  # how many values a byte of a compressed dictionary may stand for
_OVERLAPPING = (
    2  # times that files reach over all values together, from which on they are not thought to be side by side
)
_PAGE_HEADER = 10  # bytes that the header of a page takes, at least
_READERS = 16  # footers that are read at the same time


def sample(files: Sequence[File]) -> list[int]:
    """Pick files from all over the list, the first and the last among them."""
    return spread(len(files), _SAMPLE)


def spread(count: int, most: int) -> list[int]:
    """Pick numbers below a count, at most so many, from all over, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


@dataclass(frozen=True, eq=False)
class Footer:
    """
    The footer of a Parquet file.

    Parameters
    ----------
    row_groups
        Rows in each row group.
    metadata
        What pyarrow read; None where the file has types that it does not know.
    groups
        The numbers of these row groups in the file; None for all of them.
    """

    row_groups: tuple[int, ...]
    metadata: pq.FileMetaData | None
    groups: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        return sum(self.row_groups)

    def part(self, groups: Sequence[int]) -> Footer:
        """Give what is known of some of the row groups."""
        return Footer(tuple(self.row_groups[group] for group in groups), self.metadata, tuple(groups))

    def leaves(self, columns: Iterable[str]) -> dict[str, list[int]]:
        """Give the numbers of the leaves that each of some columns has; a nested one may have several."""
        found: dict[str, list[int]] = {name: [] for name in columns}
        if self.metadata is not None:
            for index in range(self.metadata.num_columns):
                name = self.metadata.schema.column(index).path.split(".")[0]
                if name in found:
                    found[name].append(index)
        return found

    def chunks(self, leaf: int) -> list[Any]:
        """Give what is known of a leaf in each row group."""
        assert self.metadata is not None
        groups = range(self.metadata.num_row_groups) if self.groups is None else self.groups
        return [self.metadata.row_group(group).column(leaf) for group in groups]

    def flat(self, leaves: Sequence[int]) -> list[Any] | None:
        """Give the chunks of a column that is not nested; None of any other."""
        if self.metadata is None or len(leaves) != 1 or "." in self.metadata.schema.column(leaves[0]).path:
            return None
        return self.chunks(leaves[0]) or None

    def memory(self, schema: Mapping[str, pl.DataType]) -> float:
        """Estimate the bytes that columns take in memory."""
        total = 0.0
        variable = {name for name, dtype in schema.items() if dtype in (pl.String, pl.Binary) or dtype.is_nested()}
        leaves = self.leaves(variable)
        for name, dtype in schema.items():
            if name in variable:
                stored = sum(chunk.total_uncompressed_size for leaf in leaves[name] for chunk in self.chunks(leaf))
                total += max(stored, 16 * self.rows)
            else:
                total += width_of({name: dtype}) * self.rows
        return total


# ---------------------------------------------------------------- reading


def footers(files: Sequence[File]) -> list[Footer | None]:
    """Read the footers of files; None where that fails, which Polars will say in its own words when the query runs."""
    return in_threads(footer, files)


def in_threads(function: Callable[[File], Any], files: Sequence[File]) -> list[Any]:
    """Call a function with each of some files, which it reads, several at a time."""
    # The footer of a file on disk is read in the time that a thread takes to start.
    if len(files) <= 2 or (len(files) <= _READERS and not any(is_remote(file.path) for file in files)):
        return [function(file) for file in files]
    with ThreadPoolExecutor(_READERS) as pool:
        parts = [files[start :: 4 * _READERS] for start in range(min(4 * _READERS, len(files)))]
        found = list(pool.map(lambda part: [function(file) for file in part], parts))
    return [found[index % len(parts)][index // len(parts)] for index in range(len(files))]


@lru_cache(maxsize=1_000)
def footer(file: File) -> Footer | None:
    """Read the footer of a file; None where that fails."""
    return read_footer(file)


def read_footer(file: File) -> Footer | None:
    """Read the footer of a file, and do not remember it."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(_end(file)))
    except pa.ArrowNotImplementedError:
        return _counted(file)
    except (pa.ArrowException, OSError):
        return None
    return Footer(tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)), metadata)


def _end(file: File) -> bytes:
    """Read a file's footer, with what is before it if that is not much: it is not known before how long it is."""
    end = file.tail(_GUESSED)
    length = int.from_bytes(end[-8:-4], "little") + 8
    return end if length <= len(end) or len(end) >= file.size else file.tail(length)


def _counted(file: File) -> Footer | None:
    """Count the rows of a file with types that pyarrow does not know, as Int128."""
    try:
        scan = to_lazyframe(file.storage.on(decode(pl.scan_parquet(file.path, glob=False))))
        rows = scan.select(pl.len()).collect(engine="in-memory").item()
    except (pl.exceptions.PolarsError, OSError):
        return None
    return Footer((rows,), None)


# ---------------------------------------------------------------- numbers of different values


def distinct_bounds(found: Sequence[Footer], columns: Iterable[str], share: float) -> dict[str, float]:
    """
    Bound the number of different values of columns.

    A column of integers or dates has no more than lie between its smallest and its largest. A dictionary has no more
    values than bytes, and one of text no more than a fifth; what is not sampled is taken to be like what is. Files are taken
    to have other values each, unless all have the same smallest and the same largest one: then they are taken to have
    about the same. So it is with the spans of integers where those of the files overlap. There are no more values than rows.
    """
    bounds: dict[str, float] = {}
    found = [item for item in found if item.rows]  # those without rows have no values, and say nothing of any
    leaves = [item.leaves(columns) for item in found]
    for name in columns:
        chunks = [item.flat(leaf[name]) for item, leaf in zip(found, leaves, strict=True)]
        known = [part for part in chunks if part is not None]
        if not known or len(known) < len(chunks):
            continue
        candidates = [
            sum(item.rows for item in found) * share,
            *_dictionary_bound(known, share),
            *_span_bound(known, share),
        ]
        bounds[name] = min(candidates) + 1  # and null
    return bounds


def _dictionary_bound(files: Sequence[Sequence[Any]], share: float) -> list[float]:
    sizes = []
    for chunks in files:
        pages = [_dictionary_bytes(chunk) for chunk in chunks]
        known = [size for size in pages if size is not None]
        if len(known) < len(pages):
            return []
        # Row groups of the same range of values are taken to have the same values.
        sizes.append(sum(known) if _is_in_order(chunks) else max(known))
    return [2 * max(sizes) if _have_the_same_ends(files) else sum(sizes) * share]


def _have_the_same_ends(files: Sequence[Sequence[Any]]) -> bool:
    """Say whether the smallest and the largest value of a column are the same in several files."""
    found = [[chunk.statistics for chunk in chunks] for chunks in files]
    if len(found) < 2 or any(item is None or not item.has_min_max for chunks in found for item in chunks):
        return False
    try:
        ends = {(min(item.min for item in chunks), max(item.max for item in chunks)) for chunks in found}
    except (TypeError, ValueError):
        return False
    return len(ends) == 1


def _is_in_order(chunks: Sequence[Any]) -> bool:
    """Say whether row groups have values of their own, as those of a file that was written in the order of a column."""
    found = [chunk.statistics for chunk in chunks]
    if len(found) < 2 or any(item is None or not item.has_min_max for item in found):
        return False
    try:
        return all(one.max <= other.min for one, other in pairwise(found))
    except (TypeError, ValueError):
        return False


def _dictionary_bytes(chunk: Any) -> float | None:
    """Bound the number of values in a chunk's dictionary, where all of its values are in it."""
    if not chunk.has_dictionary_page or chunk.dictionary_page_offset is None:
        return None
    # Where a dictionary grew too large, writers go on with plain pages: then it says nothing.
    if "PLAIN" in chunk.encodings and chunk.total_uncompressed_size > 4 * chunk.num_values:
        return None
    # A value takes at least a byte; the sizes of pages are those after compression, which makes numbers in order tiny.
    packing = 1 if chunk.compression == "UNCOMPRESSED" else _PACKING
    size = max(chunk.data_page_offset - chunk.dictionary_page_offset - _PAGE_HEADER, 1)
    # The length of a text takes four bytes.
    return float(packing * size) / (5 if chunk.physical_type == "BYTE_ARRAY" else 1)


def _span_bound(files: Sequence[Sequence[Any]], share: float) -> list[float]:
    stated = [[chunk.statistics for chunk in chunks] for chunks in files]
    if any(item is None for items in stated for item in items):
        return []
    files_with_values = [kept for items in stated if (kept := [item for item in items if not _is_all_null(item)])]
    found = [item for items in files_with_values for item in items]
    if not found:
        return [0.0] if share <= 1 else []  # those that were not read may have any
    if not all(item.has_min_max for item in found):
        return []
    try:
        low, high = min(item.min for item in found), max(item.max for item in found)
    except (TypeError, ValueError):
        return []  # the files differ in the type of the column; nanoseconds, which pyarrow gives to pandas only
    if isinstance(low, bool):
        return [2.0]
    span = _span(low, high)
    if span is None:
        return [1.0 * share] if low == high else []
    # Files that each reach over much of the span are like those that were not sampled; files side by side have others beside.
    each = sum(_span(min(s.min for s in items), max(s.max for s in items)) or 0.0 for items in files_with_values)
    return [span if each >= _OVERLAPPING * span else span * share]


def _is_all_null(statistics: Any) -> bool:
    """Say whether a column has no value in a row group, whose smallest and largest one are missing for that reason."""
    return not statistics.has_min_max and statistics.has_null_count and not statistics.num_values


def _span(low: Any, high: Any) -> float | None:
    """Count the values from one to another, where they can be counted."""
    if isinstance(low, int) and isinstance(high, int):
        return float(high - low + 1)
    if isinstance(low, datetime.date) and not isinstance(low, datetime.datetime):
        return float((high - low).days + 1)
    return None
