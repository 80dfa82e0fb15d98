"""
Blocks of large files of text, which begin and end where records do.

A file is cut at equal distances, and a block moved to the first record that begins in it. Where fields may be quoted, a
line end may be part of a field: whether it is, depends on whether the number of quotes before it is even, over the whole
file. So quotes are counted first, block by block, with the first line end under both assumptions; from all counts it
follows where records begin.

A block of a CSV file is given to Polars behind the head of its file, so that it reads it as it would read the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgpack
import numpy as np
import polars as pl
from fsspec.utils import seek_delimiter

from dask_polars.dsl.cloud import CloudOptions
from dask_polars.io.paths import open_file
from dask_polars.io.storage import Storage

_HEAD = 1 << 16  # bytes in which a head is looked for first
_CHUNK = 1 << 22  # bytes whose quotes are counted at once
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
_BOM = b"\xef\xbb\xbf"


def is_compressed(data: bytes) -> bool:
    """Say whether a file that begins like this is one that Polars decompresses."""
    return data.startswith(_COMPRESSED)


# ---------------------------------------------------------------- the head of a file


@dataclass(frozen=True)
class Layout:
    """
    What of a format decides where records begin.

    Parameters
    ----------
    kind
        ``"Csv"``, ``"NDJson"`` or ``"Lines"``.
    names
        The columns that are in the file.
    eol, separator, quote
        Bytes that end a line, stand between fields, and around fields; no quote is empty.
    has_header
        Whether there is a line of names.
    skip_lines, skip_rows, skip_after
        Lines and rows that are skipped, before and after the names.
    """

    kind: str
    names: tuple[str, ...]
    eol: bytes = b"\n"
    separator: bytes = b","
    quote: bytes = b""
    has_header: bool = False
    skip_lines: int = 0
    skip_rows: int = 0
    skip_after: int = 0

    @staticmethod
    def of(kind: str, described: Mapping[str, Any], names: tuple[str, ...]) -> Layout:
        """Find the layout in what a plan says of a format."""
        if kind != "Csv":
            return Layout(kind, names)
        options = described["options"]
        parse = options["parse_options"]
        quote = parse["quote_char"]
        return Layout(
            kind,
            names,
            bytes([parse["eol_char"]]),
            bytes([parse["separator"]]),
            b"" if quote is None else bytes([quote]),
            options["has_header"],
            options["skip_lines"],
            options["skip_rows"],
            options["skip_rows_after_header"],
        )


def layout_of(scan: Mapping[str, Any]) -> Layout:
    """Find the layout of a scan."""
    ((kind, described),) = scan["fields"]["scan_type"].items()
    return Layout.of(kind, described, tuple(scan["reading"]["own"]))


@dataclass(frozen=True)
class Head:
    """
    Where the rows of a file begin, and what is put before each of its blocks.

    Parameters
    ----------
    start
        The first byte of the first row; None where the file cannot be cut.
    prefix
        Up to the first row what is in the file, or a line of names where there is none.
    """

    start: int | None
    prefix: bytes = b""


_WHOLE = Head(None)


def read_head(opened: BinaryIO, size: int, layout: Layout) -> Head:
    """
    Read the head of a file.

    Parameters
    ----------
    opened
        The file.
    size
        Its bytes.
    layout
        Its format.

    Returns
    -------
    Head
    """
    length = _HEAD
    while True:
        opened.seek(0)
        data = opened.read(min(length, size))
        if is_compressed(data):
            return _WHOLE
        if layout.kind != "Csv":
            return Head(0)
        found = head_in(data, layout)
        if found is not None:
            return found
        if length >= size:
            return _WHOLE
        length *= 4


def head_in(data: bytes, layout: Layout) -> Head | None:
    """Find the head in the first bytes of a file; None where it does not end in them."""
    place: int | None = len(_BOM) if data.startswith(_BOM) else 0
    for _ in range(layout.skip_lines):
        place = _after_record(data, place, layout.eol, b"")
    if layout.has_header:
        while place is not None and data[place : place + 2].startswith((layout.eol, b"\r" + layout.eol)):
            place = _after_record(data, place, layout.eol, b"")
    for _ in range(layout.skip_rows + layout.has_header + layout.skip_after):
        place = _after_record(data, place, layout.eol, layout.quote)
    if place is None or layout.has_header:
        return None if place is None else Head(place, data[:place])
    end = _after_record(data, place, layout.eol, layout.quote)
    return None if end is None else _without_names(place, data[place:end], layout)


def _without_names(place: int, record: bytes, layout: Layout) -> Head:
    """Give a file without names such a line; whether it has all columns is decided by its first row."""
    special = layout.eol + layout.separator + layout.quote + b"\r\n"
    names = [name.encode() for name in layout.names]
    if any(not name or name != name.strip() or set(name) & set(special) for name in names):
        return _WHOLE
    pieces = record.split(layout.quote) if layout.quote else [record]
    fields = 1 + sum(piece.count(layout.separator) for piece in pieces[::2])
    openings = {piece[-1:] for piece in pieces[:-1:2]}
    if fields != len(names) or not openings <= {layout.separator, b""}:
        return _WHOLE
    return Head(place, layout.separator.join(names) + layout.eol)


def _after_record(data: bytes, place: int | None, eol: bytes, quote: bytes) -> int | None:
    """Find the end of the record that begins at a place."""
    if place is None:
        return None
    start, quotes = place, 0
    while True:
        found = data.find(eol, start)
        if found < 0:
            return None
        quotes += data.count(quote, start, found) if quote else 0
        if quotes % 2 == 0:
            return found + 1
        start = found + 1


# ---------------------------------------------------------------- where records begin


def nominal(start: int, size: int, place: int, count: int) -> int:
    """Say where a block would begin, were it not for records."""
    return start + (size - start) * place // count


def record_from(opened: BinaryIO, place: int, start: int, size: int, eol: bytes) -> int:
    """Find the first record that begins at a place or after it, where every line is one."""
    if place <= start or place >= size:
        return min(max(place, start), size)
    opened.seek(place - 1)
    seek_delimiter(opened, eol, _HEAD)
    return opened.tell()


COUNTS = {
    "path": pl.String(),
    "place": pl.Int64(),
    "size": pl.Int64(),
    "start": pl.Int64(),
    "odd": pl.Boolean(),
    "even_at": pl.Int64(),
    "odd_at": pl.Int64(),
    "even_strays": pl.Boolean(),
    "odd_strays": pl.Boolean(),
}
STARTS = {"path": pl.String(), "place": pl.Int64(), "start": pl.Int64(), "stop": pl.Int64()}


def count_quotes(share: pl.DataFrame, scan: bytes, cloud: CloudOptions | None) -> pl.DataFrame:
    """
    Count the quotes in a block.

    Parameters
    ----------
    share
        One row: the path, and number, count and size as in :class:`~dask_polars.io.parts.ScanPart`.
    scan
        The scan.
    cloud
        How an object store is reached.

    Returns
    -------
    polars.DataFrame
        One row: whether the number of quotes is odd; where the first record begins if the number before the block is even,
        or odd; and whether a quote then opens in the middle of a field, which Polars takes for a character.
    """
    ((path, place, count, size),) = share.rows()
    layout = layout_of(msgpack.unpackb(scan, raw=False, strict_map_key=False))
    with open_file(path, Storage(cloud)) as opened:
        head = read_head(opened, size, layout)
        if head.start is None:
            found: tuple[Any, ...] = (None, False, None, None, False, False)
        else:
            # The line end before a record may be the last byte of the block before.
            first = nominal(head.start, size, place, count) - (place > 0)
            last = size if place == count - 1 else nominal(head.start, size, place + 1, count) - 1
            found = (head.start, *_count(opened, max(first, head.start), max(last, head.start), head.start, layout))
    return pl.DataFrame([(path, place, size, *found)], schema=COUNTS, orient="row")


def _count(
    opened: BinaryIO, first: int, last: int, start: int, layout: Layout
) -> tuple[bool, int | None, int | None, bool, bool]:
    eol, quote = layout.eol[0], layout.quote[0]
    before = layout.eol  # what stands before the first byte
    if first > start:
        opened.seek(first - 1)
        before = opened.read(1)
    opened.seek(first)
    quotes, place = 0, first
    at: list[int | None] = [None, None]
    strays = [False, False]
    ends = np.frombuffer(layout.eol + layout.separator + layout.quote, dtype=np.uint8)
    while place < last:
        data = opened.read(min(_CHUNK, last - place))
        if not data:
            break
        values = np.frombuffer(before + data, dtype=np.uint8)
        found = np.flatnonzero(values[1:] == quote)
        if None in at:
            lines = np.flatnonzero(values[1:] == eol)
            odd = (np.searchsorted(found, lines) + quotes) % 2
            for parity in (0, 1):
                fitting = lines[odd == parity]
                if at[parity] is None and len(fitting):
                    at[parity] = place + int(fitting[0]) + 1
        stray = ~np.isin(values[:-1][found], ends)
        for parity in (0, 1):
            strays[parity] |= bool(stray[(quotes + parity) % 2 :: 2].any())
        quotes += len(found)
        place, before = place + len(data), data[-1:]
    return quotes % 2 == 1, at[0], at[1], strays[0], strays[1]


def record_starts(counts: pl.DataFrame) -> pl.DataFrame:
    """
    Say where each block begins and ends, given the counts of all blocks.

    Parameters
    ----------
    counts
        What :func:`count_quotes` gives, of all blocks.

    Returns
    -------
    polars.DataFrame
        Path, number, first byte and end of each block. Both are null where the file is read as a whole by its first block.
    """
    out: list[tuple[Any, ...]] = []
    for (path,), blocks in counts.group_by(["path"], maintain_order=True):
        rows = blocks.sort("place").rows(named=True)
        starts = _starts_in_file(rows)
        stops = [*starts[1:], None if starts[0] is None else rows[0]["size"]]
        out.extend((path, row["place"], *span) for row, span in zip(rows, zip(starts, stops, strict=True), strict=True))
    return pl.DataFrame(out, schema=STARTS, orient="row")


def _starts_in_file(rows: list[dict[str, Any]]) -> list[int | None]:
    size, odd = rows[0]["size"], False
    starts: list[int | None] = []
    for row in rows:
        if row["start"] is None or row["odd_strays" if odd else "even_strays"]:
            return [None] * len(rows)
        starts.append(row["odd_at" if odd else "even_at"])
        odd ^= row["odd"]
    starts[0] = rows[0]["start"]
    following: int | None = size
    for place in reversed(range(len(rows))):
        # A block in which no record begins is empty.
        following = following if starts[place] is None else starts[place]
        starts[place] = following
    return starts
