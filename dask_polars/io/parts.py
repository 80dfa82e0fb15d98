"""Scans in parts: what a query wants of one, what is known of its files, and what each partition reads."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from dask_polars.cluster import Cluster
from dask_polars.dsl.expressions import Expression
from dask_polars.io.paths import File

if TYPE_CHECKING:
    from dask_polars.io.clustering import Order

SchemaDict = Mapping[str, pl.DataType]
# Gives the rows of each row group of files, by their paths; None of one that cannot be read.
Heights = Callable[[Sequence[str]], list[tuple[int, ...] | None]]

# Gives what is known of the values of a column of a type in each row group of a sample of the files; None where that is nothing.
ValuesOf = Callable[[str, pl.DataType], "tuple[Values, ...] | None"]

# What is cut into equal parts is not to have one more of them for what numbers are rounded by.
_ROUNDED = 1e-6
_MOST = 1.25  # times that a partition may be larger than it should be, for there to be as many as there should be
_LEAST = 4 * 2**20  # bytes for which a task of its own pays, where a thread has nothing else to do
# A thread gets several tasks in turn: of one each, some threads would be done long before others. But each of them takes what
# is broadcast and costs some 15 ms of messages, so one of less than this does not pay.
_LEAST_IN_TURN = 64 * 2**20
_IN_TURN = 4


@dataclass(frozen=True)
class ScanPart:
    """
    What one partition reads of a scan.

    Parameters
    ----------
    paths
        Files, in order.
    rows
        Runs of rows, as offset and number, that are read of the only file; None for all rows.
    share
        ``(i, k, size)``: the i-th of k parts of nearly equal height of the only file, of this size in bytes. They begin
        where row groups do; where that is, is found out when it is read.
    within
        ``(column, start, end)``: of these rows, only those with values from a start to before an end; None for no limit.
    then
        What is read after that.
    """

    paths: tuple[str, ...]
    rows: tuple[tuple[int, int], ...] | None = None
    share: tuple[int, int, int] | None = None
    within: tuple[str, Any, Any] | None = None
    then: tuple[ScanPart, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """
    What a query wants of a scan, and how it is to be cut.

    Parameters
    ----------
    schema
        All columns of the scan.
    columns
        The columns that are needed.
    filters
        Predicates that every needed row passes.
    target
        What a partition is to take in memory, in bytes.
    limit
        How many rows a partition may have; None for any number.
    cluster
        The cluster that will read it; None where there is none.
    count
        How many partitions there should be; None where that does not matter.
    most
        What a partition of several files may take in memory, in bytes, for there to be so many.
    """

    schema: SchemaDict
    columns: tuple[str, ...]
    filters: tuple[Expression, ...]
    target: float
    limit: int | None
    cluster: Cluster | None = None
    count: int | None = None
    most: float = math.inf

    def is_large(self, size: float) -> bool:
        """Say whether a file of a size in memory is to be cut: no part is to be smaller than half of a partition."""
        return size >= (2 - _ROUNDED) * self.target

    @property
    def needed(self) -> dict[str, pl.DataType]:
        """The columns that are needed, and their types."""
        return {name: self.schema[name] for name in self.columns}

    def fitted(self, size: float) -> Wanted:
        """
        Fit the parts of a scan to the threads of the cluster.

        Parameters
        ----------
        size
            What all partitions take together in memory, in bytes.

        Returns
        -------
        Wanted
            With smaller parts, where otherwise threads would have nothing to do, and with as many for each thread, as far as
            the sizes of files allow that.
        """
        if self.cluster is None or self.limit is not None:
            return self
        threads = self.cluster.threads
        share = size / threads
        turns = max(math.ceil(share / self.target), min(int(share / _LEAST_IN_TURN), _IN_TURN), 1)
        target = max(share / turns, min(self.target, _LEAST))
        count = min(threads * turns, max(round(size / target), 1))
        return replace(self, target=target, count=count, most=_MOST * self.target)


@dataclass(frozen=True)
class FileSet:
    """
    The files of a scan, in parts.

    Parameters
    ----------
    format
        ``"parquet"``, ``"csv"``, …
    parts
        What each partition reads, in the order of the rows.
    nfiles
        The number of files that are read.
    rows
        Rows of all parts, as far as is known.
    bytes
        What the needed columns of all these rows take in memory.
    exact
        Whether the number of rows is known.
    distinct
        Bounds of the number of different values in columns.
    fields
        Fields of the scan of a part of the files that are not those of the scan of all of them.
    stamp
        A hash of what tells that a file was written anew.
    note
        What was left out, and why, for people.
    reading
        What else a worker has to know to read a part.
    order
        The order that the files may be in.
    heights
        Tells the rows of files; None where nothing does but reading them.
    values_of
        Tells what values there are in the row groups that are read; None where nothing does but reading them.
    settled
        Columns that are in the names of directories: files with other values than a filter wants are left out.
    """

    format: str
    parts: tuple[ScanPart, ...]
    nfiles: int
    rows: float
    bytes: float
    exact: bool
    distinct: Mapping[str, float]
    fields: Mapping[str, Any]
    stamp: str
    note: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    order: Order | None = None
    heights: Heights | None = None
    values_of: ValuesOf | None = None
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Values:
    """
    The values of a column in a row group, as numbers.

    Parameters
    ----------
    rows
        The number of rows.
    low, high
        The least and the greatest value; infinite where they are not known.
    nulls
        The share of the rows without a value; None where it is not known.
    """

    rows: int
    low: float
    high: float
    nulls: float | None


@dataclass(frozen=True)
class Piece:
    """
    A part that is not put together with others yet.

    Parameters
    ----------
    part
        What is read.
    bytes
        What it takes in memory.
    """

    part: ScanPart
    bytes: float


def grouped(pieces: Sequence[Piece], wanted: Wanted) -> Iterator[ScanPart]:
    """
    Put small files that follow each other together; a part of a file stays by itself.

    Parameters
    ----------
    pieces
        Files and parts of files, in the order of their rows.
    wanted
        What a query wants of them.

    Yields
    ------
    ScanPart
    """
    group: list[str] = []
    for piece, starts in zip(pieces, _starts(pieces, wanted), strict=True):
        whole = piece.part.rows is None and piece.part.share is None
        if group and (not whole or starts):
            yield ScanPart(tuple(group))
            group = []
        if whole:
            group.extend(piece.part.paths)
        else:
            yield piece.part
    if group:
        yield ScanPart(tuple(group))


def _starts(pieces: Sequence[Piece], wanted: Wanted) -> Iterator[bool]:
    """Say for each piece whether a partition starts with it, if it is put together with others."""
    total = sum(piece.bytes for piece in pieces)
    most = wanted.target if wanted.count is None else wanted.most
    before = filled = 0.0
    place = 0
    for piece in pieces:
        # Where they are to be so many, it goes where its middle falls, were all bytes cut into parts of equal size.
        middle = (before + piece.bytes / 2) / total if total else 0.0
        before += piece.bytes
        last, place = place, 0 if wanted.count is None else int(middle * wanted.count)
        starts = place != last or filled + piece.bytes > most or wanted.limit is not None
        filled = piece.bytes if starts else filled + piece.bytes
        yield starts


def runs(heights: Sequence[int], kept: Sequence[bool], size: float, target: float) -> list[tuple[tuple[int, int], ...]]:
    """
    Cut a file where row groups begin.

    Parameters
    ----------
    heights
        Rows in each row group.
    kept
        Which of them are read.
    size
        What all that are read take in memory, in bytes.
    target
        What a partition is to take in memory, in bytes.

    Returns
    -------
    list of tuple
        For each part the runs of rows that it reads, as offset and number. No row group is in two parts.
    """
    total = sum(height for height, keep in zip(heights, kept, strict=True) if keep)
    count = max(1, min(sum(kept), math.ceil(size / target - _ROUNDED)))
    parts: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    offset, before = 0, 0
    for height, keep in zip(heights, kept, strict=True):
        if keep and height:
            # A row group is where its middle falls, were the rows cut into parts of equal height.
            spans = parts[min(count - 1, (2 * before + height) * count // (2 * total))]
            if spans and sum(spans[-1]) == offset:
                spans[-1] = (spans[-1][0], spans[-1][1] + height)
            else:
                spans.append((offset, height))
            before += height
        offset += height
    return [tuple(spans) for spans in parts if spans]


def share_of(heights: Sequence[int], place: int, count: int) -> tuple[tuple[int, int], ...]:
    """Give the rows of the i-th of k parts of a file, none where it has fewer row groups than parts."""
    cut = runs(heights, [True] * len(heights), count, 1)
    return cut[place] if place < len(cut) else ()


def heights_of(files: Sequence[File], read: Callable[[Sequence[File]], list[tuple[int, ...] | None]]) -> Heights:
    """Tell the rows of files, by their paths, from what reads them."""
    by_path = {file.path: file for file in files}
    return lambda paths: read([by_path[path] for path in paths])


def stamp_of(files: Sequence[File]) -> str:
    """Hash what tells that files were written anew."""
    return hashlib.sha1(repr(files).encode(), usedforsecurity=False).hexdigest()
