"""What the footers of Parquet files say."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.io.paths import File

_GUESSED = 64 * 1024  # bytes in which a footer is thought to be
_SAMPLE = 8  # footers that are read to learn how large rows are
_DISTINCT_LIMIT = 1e6


def sample(paths: Sequence[File]) -> list[int]:
    """Pick files from all over the list, the first and the last among them."""
    if len(paths) <= _SAMPLE:
        return list(range(len(paths)))
    return sorted({round(index * (len(paths) - 1) / (_SAMPLE - 1)) for index in range(_SAMPLE)})


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


def footers(files: Sequence[File]) -> list[Footer | None]:
    """Read the footers of files; None where that fails, which Polars will say in its own words when the query runs."""
    if len(files) <= 2:
        return [_footer(file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_footer, files))


@lru_cache(maxsize=20_000)
def _footer(file: File) -> Footer | None:
    try:
        metadata = pq.read_metadata(pa.BufferReader(_end(file)))
    except pa.ArrowNotImplementedError:
        return _counted(file)
    except (pa.ArrowException, OSError):
        return None
    return _digest(metadata)


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


def distinct_bounds(found: Sequence[Footer], share: float) -> dict[str, float]:
    """
    Bound the number of different values of columns.

    A column of integers or dates has no more than lie between its smallest and its largest. A dictionary has no more
    values than bytes; what is not sampled is taken to be like what is.
    """
    bounds: dict[str, float] = {}
    if not found:
        return bounds
    for name in found[0].column_bytes:
        candidates = []
        if all(name in footer.dictionary_bytes for footer in found):
            candidates.append(sum(footer.dictionary_bytes[name] for footer in found) * share)
        if all(name in footer.spans for footer in found):
            candidates.extend(_span_bound([footer.spans[name] for footer in found], share))
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
