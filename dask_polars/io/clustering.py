"""
Files that were written in the order of a column.

The smallest and largest values of their row groups tell so. Then the files can be cut at values of that column, such that
all rows with the same value are read by the same partition, and two tables can be cut at the same values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import polars as pl

from dask_polars.io.footers import Footer
from dask_polars.io.parts import FileSet, ScanPart

Bounds = tuple[Any, ...]

# How many times as many rows may be read, where row groups have values of more than one part.
_READ_AGAIN = 1.5


@dataclass(frozen=True)
class RowGroup:
    """A row group: where it is, and the smallest and largest value of the column that files are in the order of."""

    path: str
    offset: int
    height: int
    low: Any
    high: Any


@dataclass(frozen=True)
class Clusters:
    """
    The order of the files of a scan.

    Parameters
    ----------
    column
        The column. It has no nulls.
    bounds
        The values at which parts begin, but the first one.
    apart
        Whether equal values are in the same part, as the files are cut now.
    groups
        The row groups, in the order of their rows.
    """

    column: str
    bounds: Bounds
    apart: bool
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True, eq=False)
class Order:
    """
    The order that files may be in.

    Parameters
    ----------
    columns
        The columns that they may be in the order of, by what was read while planning.
    known
        The order, where all footers were read.
    find
        Reads the other footers, and gives the order.
    """

    columns: frozenset[str]
    known: Clusters | None = None
    find: Callable[[], Clusters | None] = lambda: None

    @staticmethod
    def of(clusters: Clusters | None) -> Order | None:
        """Give an order that is known."""
        return None if clusters is None else Order(frozenset({clusters.column}), clusters)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the footers behind: a stage that is sent somewhere is run there, and not planned."""
        return Order, (frozenset(),)

    @cached_property
    def clusters(self) -> Clusters | None:
        """The order, if there is one: footers are read where they have to be."""
        return self.known or self.find()


def clusters_of(
    parts: Sequence[ScanPart], footers: Mapping[str, Footer | None], columns: Mapping[str, pl.DataType]
) -> Clusters | None:
    """
    Find a column that files are in the order of.

    Parameters
    ----------
    parts
        The parts of a scan.
    footers
        The footers of its files.
    columns
        The columns to look at, and their types.

    Returns
    -------
    Clusters, or None
        None where there is no such column, or not all footers are known.
    """
    known = all(part.share is None and footers.get(path) is not None for part in parts for path in part.paths)
    if not known or len(parts) < 2:
        return None
    return next((found for name in _candidates(columns) if (found := _clusters_by(name, parts, footers))), None)


def orders_of_sample(sample: Sequence[Footer], columns: Mapping[str, pl.DataType]) -> frozenset[str]:
    """
    Find the columns that files may be in the order of, by the footers of some of them.

    Parameters
    ----------
    sample
        Footers, in the order of the files.
    columns
        The columns to look at, and their types.

    Returns
    -------
    frozenset of str
    """
    return frozenset(name for name in _candidates(columns) if len(sample) > 1 and _spans_ascend(name, sample))


def _candidates(columns: Mapping[str, pl.DataType]) -> Iterator[str]:
    return (name for name, dtype in columns.items() if dtype.is_integer() or dtype == pl.Date)


def _spans_ascend(name: str, sample: Sequence[Footer]) -> bool:
    spans: list[tuple[Any, Any]] = []
    for footer in sample:
        chunks = footer.flat(footer.leaves([name])[name])
        bounds = [] if chunks is None else [_bounds(chunk.statistics) for chunk in chunks]
        if not bounds or any(low is None for low, _ in bounds) or len({type(low) for low, _ in bounds}) > 1:
            return False
        spans.append((min(low for low, _ in bounds), max(high for _, high in bounds)))
    if len({type(low) for low, _ in spans}) > 1:
        return False
    return all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(spans))


def _clusters_by(name: str, parts: Sequence[ScanPart], footers: Mapping[str, Footer | None]) -> Clusters | None:
    firsts = [next(_groups_of(name, part, footers), None) for part in parts[:2]]
    if not _begin_in_order(firsts):
        return None  # most columns are found out by two row groups
    cut = [list(_groups_of(name, part, footers)) for part in parts]
    kinds = {type(value) for groups in cut for group in groups for value in (group.low, group.high)}
    if not all(cut) or len(kinds) != 1 or kinds == {type(None)}:
        return None  # there are nulls, or files with other types
    spans = [(min(group.low for group in groups), max(group.high for group in groups)) for groups in cut]
    if not all(one[0] < other[0] for one, other in pairwise(spans)):
        return None
    apart = all(one[1] < other[0] for one, other in pairwise(spans))
    groups = tuple(group for part in cut for group in part)
    return Clusters(name, tuple(low for low, _ in spans[1:]), apart, groups)


def _begin_in_order(firsts: Sequence[RowGroup | None]) -> bool:
    one, other = firsts
    return bool(one and other and type(one.high) is type(other.low) is not type(None) and one.high <= other.low)


def _groups_of(name: str, part: ScanPart, footers: Mapping[str, Footer | None]) -> Iterator[RowGroup]:
    """List the row groups that a part reads rows of."""
    for path in part.paths:
        footer = footers[path]
        assert footer is not None
        chunks = footer.flat(footer.leaves([name])[name])
        offset = 0
        for index, height in enumerate(footer.row_groups):
            if height and _is_read(part, offset, height):
                low, high = (None, None) if chunks is None else _bounds(chunks[index].statistics)
                yield RowGroup(path, offset, height, low, high)
            offset += height


def _is_read(part: ScanPart, offset: int, height: int) -> bool:
    return part.rows is None or any(start < offset + height and offset < start + rows for start, rows in part.rows)


def _bounds(statistics: Any) -> tuple[Any, Any]:
    known = statistics is not None and statistics.has_min_max and statistics.has_null_count
    return (statistics.min, statistics.max) if known and statistics.null_count == 0 else (None, None)


# ---------------------------------------------------------------- cutting anew


def cut_by(files: FileSet, bounds: Bounds) -> FileSet | None:
    """
    Cut a scan at values of the column that its files are in the order of.

    The rows are the same, and rows with equal values are in the same part, in their order; others may change places.

    Parameters
    ----------
    files
        A scan of files in the order of a column.
    bounds
        The values at which parts begin, but the first one.

    Returns
    -------
    FileSet, or None
        None where much would be read more than once.
    """
    clusters = None if files.order is None else files.order.clusters
    if clusters is None:
        return None
    heights: dict[str, int] = {}
    for group in clusters.groups:
        heights[group.path] = heights.get(group.path, 0) + group.height
    spans = list(zip((None, *bounds), (*bounds, None), strict=True))
    chosen: list[list[RowGroup]] = [[] for _ in spans]
    for group in clusters.groups:
        for groups in chosen[bisect_right(bounds, group.low) : bisect_right(bounds, group.high) + 1]:
            groups.append(group)
    if sum(group.height for groups in chosen for group in groups) > _READ_AGAIN * sum(heights.values()):
        return None
    nothing = ScanPart((clusters.groups[0].path,), rows=((0, 0),))
    parts = []
    for found, (start, end) in zip(chosen, spans, strict=True):
        inside = all(_is_inside(group, start, end) for group in found)
        within = None if inside else (clusters.column, start, end)
        parts.append(_part_of(found, heights, within) if found else nothing)
    order = Order.of(replace(clusters, bounds=bounds, apart=True))
    return replace(files, parts=tuple(parts), order=order)


def _is_inside(group: RowGroup, start: Any, end: Any) -> bool:
    return (start is None or group.low >= start) and (end is None or group.high < end)


def _part_of(groups: Iterable[RowGroup], heights: Mapping[str, int], within: tuple[str, Any, Any] | None) -> ScanPart:
    """Make a part of row groups: of whole files where it has all of their row groups."""
    parts = []
    for path, found in groupby(groups, key=lambda group: group.path):
        rows: list[tuple[int, int]] = []
        for group in found:
            if rows and sum(rows[-1]) == group.offset:
                rows[-1] = (rows[-1][0], rows[-1][1] + group.height)
            else:
                rows.append((group.offset, group.height))
        whole = sum(height for _, height in rows) == heights[path]
        parts.append(ScanPart((path,), rows=None if whole else tuple(rows), within=within))
    return replace(parts[0], then=tuple(parts[1:]))
