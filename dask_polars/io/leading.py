"""The parts of a scan that have the rows of a slice, where footers tell how many rows files have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from dask_polars.io.parts import FileSet, Heights, ScanPart, share_of

Run = tuple[int, int]

_MOST = 256  # files whose footers are read to find out where a slice ends


def files_of_slice(files: FileSet, start: int, stop: int) -> FileSet | None:
    """
    Take from a scan what has some of its rows.

    Parameters
    ----------
    files
        The scan.
    start, stop
        The numbers of the first row, and of the first row behind.

    Returns
    -------
    FileSet, or None
        Parts with these rows alone. None where the rows of files are not known, or too many footers would tell.
    """
    if files.heights is None:
        return None
    known = _Known(files.heights, list(dict.fromkeys(path for part in files.parts for path in part.paths)))
    parts: list[ScanPart] = []
    rows, before = 0, 0
    for part in files.parts:
        if before >= stop:
            break
        pieces = known.pieces(part)
        if pieces is None:
            return None
        group: list[str] = []
        for piece, runs in pieces:
            height = sum(number for _, number in runs)
            taken = _between(runs, start - before, stop - before)
            before += height
            got = sum(number for _, number in taken)
            rows += got
            if got == height and piece.rows is None:
                group.extend(piece.paths)
            elif got:
                parts.extend(_whole(group))
                parts.append(replace(piece, rows=taken))
        parts.extend(_whole(group))
    share = rows / files.rows if files.rows else 1.0
    count = len({path for part in parts for path in part.paths})
    return replace(
        files,
        parts=tuple(parts) or (ScanPart(files.parts[0].paths[:1], rows=((0, 0),)),),
        nfiles=count,
        rows=rows,
        bytes=files.bytes * min(share, 1.0),
        exact=True,
        order=None,
        note=f"{count} of {files.nfiles} files",
    )


def _whole(group: list[str]) -> Iterator[ScanPart]:
    """Read files as a whole, if there are any, and forget them."""
    if group:
        yield ScanPart(tuple(group))
        group.clear()


def _between(runs: Sequence[Run], start: int, stop: int) -> tuple[Run, ...]:
    """Give what of some runs of rows is between the numbers that rows have within these runs."""
    taken, seen = [], 0
    for offset, number in runs:
        first, last = max(start - seen, 0), min(stop - seen, number)
        if first < last:
            taken.append((offset + first, last - first))
        seen += number
    return tuple(taken)


@dataclass
class _Known:
    """
    How many rows the row groups of files have.

    Parameters
    ----------
    heights
        Tells it of some files.
    unread
        The files that it was not asked of yet, in the order of their rows.
    """

    heights: Heights
    unread: list[str]
    rows: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    _next: int = 1

    def _ask(self, paths: Sequence[str]) -> None:
        """Find out about files: of the first one alone, then of two, of four, … that follow each other."""
        while self.unread and len(self.rows) < _MOST and not all(path in self.rows for path in paths):
            asked = self.unread[: min(self._next, _MOST - len(self.rows))]
            self.rows.update(zip(asked, self.heights(asked), strict=True))
            del self.unread[: len(asked)]
            self._next *= 2

    def pieces(self, part: ScanPart) -> list[tuple[ScanPart, tuple[Run, ...]]] | None:
        """Give files of a part one by one, and the runs of rows that are read of each; None where they are not known."""
        if part.within is not None or part.then:
            return None
        if part.rows is not None:
            return [(part, part.rows)]
        self._ask(part.paths)
        known = [heights for path in part.paths if (heights := self.rows.get(path)) is not None]
        if len(known) < len(part.paths):
            return None
        if part.share is not None:
            place, count, _ = part.share
            return [(ScanPart(part.paths, rows=(runs := share_of(known[0], place, count))), runs)]
        return [(ScanPart((path,)), ((0, sum(heights)),)) for path, heights in zip(part.paths, known, strict=True)]
