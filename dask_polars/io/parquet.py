"""
Scans of Parquet files.

Of many files only a sample of footers is read, which tells how large rows are. All are read, on the cluster where there
is one, only where the sample shows that predicates leave out a good part of the row groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from threading import Lock
from typing import Any

import polars as pl

from dask_polars.dsl.codec import to_lazyframe
from dask_polars.dsl.nodes import Node
from dask_polars.io.arguments import arguments_for_parts, encoded_schema, has_schema, own_schema
from dask_polars.io.clustering import Clusters, Order, clusters_of, orders_of_sample
from dask_polars.io.columns import Columns
from dask_polars.io.footers import Footer, distinct_bounds, footers, in_threads, read_footer, sample, spread
from dask_polars.io.parts import (
    FileSet,
    Heights,
    Piece,
    ScanPart,
    Values,
    ValuesOf,
    Wanted,
    grouped,
    heights_of,
    runs,
    share_of,
    stamp_of,
)
from dask_polars.io.paths import File, is_remote
from dask_polars.io.statistics import (
    Predicates,
    footer_statistics,
    hive_statistics,
    predicates,
    values_in,
    with_unknown,
)
from dask_polars.io.storage import Storage

_FEW = 32  # files whose footers the client reads where it has to know them
_MANY = 512  # files whose footers are all read to find out whether joins and groups need no shuffle
_WORTH_IT = 0.25  # the share of row groups that have to be left out for all footers to be read
_LOOKED_AT = 128  # row groups whose values are looked at to estimate how many rows pass
_REMEMBERED = 512
# Queries are planned again and again: a scan is cut once for as long as its files are the same.
_cut_before: dict[tuple[Any, ...], FileSet] = {}
_remembering = Lock()
_CHUNK = 100  # files whose footers one task reads


def parquet_files(scan: Node, given: Sequence[str], files: Sequence[File], wanted: Wanted) -> FileSet:
    """
    Cut a scan of Parquet files into parts.

    Parameters
    ----------
    scan
        The scan.
    given
        The paths that the user gave.
    files
        The files that they stand for.
    wanted
        What a query wants of them.

    Returns
    -------
    FileSet
    """
    threads = None if wanted.cluster is None else wanted.cluster.threads
    key = (scan.digest, tuple(given), stamp_of(files), repr(replace(wanted, cluster=None)), threads)
    found = _cut_before.get(key) or _cut(scan, given, files, wanted)
    with _remembering:
        _cut_before.pop(key, None)
        _cut_before[key] = found  # the last one used is the last one that is forgotten
        if len(_cut_before) > _REMEMBERED:
            del _cut_before[next(iter(_cut_before))]
    return found


def _cut(scan: Node, given: Sequence[str], files: Sequence[File], wanted: Wanted) -> FileSet:
    fields = fields_for_parts(scan, given, files, wanted.schema)
    hive = fields["unified_scan_args"]["hive_options"]
    tests = predicates(wanted.filters, wanted.schema)
    left = [] if tests is None else not_in_directories(files, hive, tests)
    if tests is not None and not any(left):
        return nothing(fields, files)
    kept = [file for file, keep in zip(files, left, strict=True) if keep] if left else list(files)
    found = cut_parquet(files, kept, wanted, tests, fields)
    options = scan.fields["scan_type"]["Parquet"]["options"]
    if options["schema"] is not None:
        return found
    return replace(found, reading={**found.reading, "schema": encoded_schema(wanted.schema)})


def cut_parquet(
    files: Sequence[File],
    kept: Sequence[File],
    wanted: Wanted,
    tests: Predicates | None,
    fields: Mapping[str, Any],
    whole: frozenset[str] = frozenset(),
) -> FileSet:
    """
    Cut Parquet files into parts, by their footers.

    Parameters
    ----------
    files
        All files of the scan.
    kept
        Those that may have wanted rows.
    wanted
        What a query wants of them.
    tests
        What statistics can leave out; None where that is nothing.
    fields
        Fields of the scan of a part.
    whole
        Paths of files that are not cut, since they hold rows that are deleted.

    Returns
    -------
    FileSet
    """
    in_paths = _in_paths(fields["unified_scan_args"])
    tests = None if tests is None else replace(tests, in_paths=in_paths)
    own = {name: dtype for name, dtype in wanted.needed.items() if name not in in_paths}
    known = _known_footers(kept, wanted, tests)
    columns = Columns.of(fields["unified_scan_args"], wanted, in_paths)
    found = [item.unless_left_out(columns) for item in _with_kept(kept, known, tests)]
    remaining = [item for item in found if not item.kept or any(item.kept)]
    if not remaining:
        return nothing(fields, files)
    estimate = _Estimate.of([item for item in found if item.footer is not None], kept, wanted, own)
    wanted = wanted.fitted(sum(estimate.of_file(item)[1] for item in remaining))
    remaining = _with_large(remaining, estimate, wanted, tests)
    pieces = [piece for item in remaining for piece in _pieces(item, estimate, wanted, whole)]
    sizes = [estimate.of_file(item) for item in remaining]
    parts = tuple(grouped(pieces, wanted))
    return FileSet(
        format="parquet",
        parts=parts,
        nfiles=len(remaining),
        rows=sum(rows for rows, _ in sizes),
        bytes=sum(size for _, size in sizes),
        exact=not whole and all(item.footer is not None for item in remaining),
        distinct=estimate.distinct,
        fields=fields,
        stamp=stamp_of(files),
        note=_note(len(files), found, remaining),
        heights=None if whole else _heights(remaining),
        values_of=_values_of(remaining, in_paths),
        settled=frozenset(_hive_columns(fields["unified_scan_args"]["hive_options"])),
        order=None if whole else _order(parts, remaining, wanted, own),
    )


def nothing(fields: Mapping[str, Any], files: Sequence[File]) -> FileSet:
    """Give no rows at all, of the right columns."""
    return FileSet(
        format="parquet",
        parts=(ScanPart((files[0].path,), rows=((0, 0),)),),
        nfiles=0,
        rows=0,
        bytes=0,
        exact=True,
        distinct={},
        fields=fields,
        stamp=stamp_of(files),
        note=f"0 of {len(files)} files",
    )


def _heights(files: Sequence[_Known]) -> Heights | None:
    """Tell the rows of files; not where some of these are left out, as predicates may drop any of the others, too."""
    if not all(all(item.kept) for item in files):
        return None
    return heights_of(
        [item.file for item in files],
        lambda asked: [None if item is None else item.row_groups for item in footers(asked)],
    )


def _values_of(files: Sequence[_Known], in_paths: frozenset[str]) -> ValuesOf | None:
    """Tell what values there are in the row groups that are read, by a sample of them."""
    known = [item for item in files if item.footer is not None]
    kept = [(place, group) for place, item in enumerate(known) for group, keep in enumerate(item.kept) if keep]
    some = [kept[index] for index in spread(len(kept), _LOOKED_AT)]
    groups = {place: [group for other, group in some if other == place] for place, _ in some}
    found = [footer.part(groups[place]) for place in groups if (footer := known[place].footer) is not None]
    if not found:
        return None

    @cache
    def values_of(name: str, dtype: pl.DataType) -> tuple[Values, ...] | None:
        return None if name in in_paths else tuple(values_in(footer_statistics(found, {name: dtype}), name))

    return values_of


def _note(total: int, found: Sequence[_Known], remaining: Sequence[_Known]) -> str:
    """Say how many files and row groups are read, of how many."""
    groups = [keep for item in found for keep in item.kept]
    parts = [] if len(remaining) == total else [f"{len(remaining)} of {total} files"]
    if not all(groups):
        parts.append(f"{sum(groups)} of {len(groups)} row groups")
    return ", ".join(parts)


# ---------------------------------------------------------------- what is left out


@dataclass(frozen=True)
class _Known:
    """A file, its footer where that was read, and which of its row groups may have rows that are wanted."""

    file: File
    footer: Footer | None
    kept: tuple[bool, ...]

    def unless_left_out(self, columns: Columns) -> _Known:
        """Give the file as it is, but for one that is left out and does not fit: Polars is to say so, and reads it."""
        if any(self.kept) or self.footer is None or columns.fit(self.footer):
            return self
        return replace(self, kept=(True,) * len(self.kept))

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows in each row group."""
        return () if self.footer is None else self.footer.row_groups

    @property
    def rows_kept(self) -> int:
        """Rows in the row groups that may have wanted rows."""
        return sum(height for height, keep in zip(self.heights, self.kept, strict=True) if keep)


def not_in_directories(files: Sequence[File], hive: Mapping[str, Any], tests: Predicates) -> list[bool]:
    """Say which files may have wanted rows, by the names of their directories."""
    columns = {name: tests.columns[name] for name in _hive_columns(hive) if name in tests.columns}
    if not columns:
        return [True] * len(files)
    stats = hive_statistics([file.path for file in files], hive["hive_start_idx"], columns)
    return tests.may_pass(
        with_unknown(stats, {name: tests.columns[name] for name in tests.columns if name not in columns})
    )


def _in_paths(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Name the columns that are made of paths: what a file has of that name is not what they hold."""
    added = {arguments["include_file_paths"]} - {None}
    return frozenset(added.union(_hive_columns(arguments["hive_options"])))


def _hive_columns(hive: Mapping[str, Any]) -> list[str]:
    return list(hive["schema"]["fields"]) if hive["enabled"] and hive["schema"] else []


def _with_kept(files: Sequence[File], found: Sequence[Footer | None], tests: Predicates | None) -> list[_Known]:
    kept = _may_pass(found, tests)
    return [_Known(*known) for known in zip(files, found, kept, strict=True)]


def _may_pass(found: Sequence[Footer | None], tests: Predicates | None) -> list[tuple[bool, ...]]:
    """Say for each file which of its row groups may have wanted rows."""
    known = [item for item in found if item is not None]
    every = sum(len(item.row_groups) for item in known)
    passed = iter([True] * every if tests is None else tests.may_pass(_statistics(known, tests)))
    return [() if item is None else tuple(islice(passed, len(item.row_groups))) for item in found]


def _statistics(known: Sequence[Footer], tests: Predicates) -> pl.DataFrame:
    own = {name: dtype for name, dtype in tests.columns.items() if name not in tests.in_paths}
    others = {name: dtype for name, dtype in tests.columns.items() if name in tests.in_paths}
    return with_unknown(footer_statistics(known, own), others)


def _known_footers(files: Sequence[File], wanted: Wanted, tests: Predicates | None) -> list[Footer | None]:
    """Read the footers that are worth it: those of a sample, or of all files."""
    picked = sample(files)
    found = dict(zip(picked, footers([files[index] for index in picked]), strict=True))
    if len(picked) < len(files) and (wanted.limit is not None or _is_worth_it(list(found.values()), tests)):
        others = [index for index in range(len(files)) if index not in found]
        found.update(zip(others, _all_footers([files[index] for index in others], wanted), strict=True))
    return [found.get(index) for index in range(len(files))]


def _is_worth_it(found: Sequence[Footer | None], tests: Predicates | None) -> bool:
    groups = [keep for item in _may_pass(found, tests) for keep in item]
    return bool(groups) and sum(groups) <= (1 - _WORTH_IT) * len(groups)


def _order(
    parts: Sequence[ScanPart], files: Sequence[_Known], wanted: Wanted, own: Mapping[str, pl.DataType]
) -> Order | None:
    """Say what order files are in, or may be in, which is found out where a join or a grouping asks for it."""
    known = [item.footer for item in files if item.footer is not None]
    missing = [item.file for item in files if item.footer is None]
    if not missing:
        return Order.of(clusters_of(parts, {item.file.path: item.footer for item in files}, own))
    columns = orders_of_sample(known, own) if len(files) <= _MANY else frozenset[str]()
    if not columns:
        return None

    def find() -> Clusters | None:
        read = iter(footers(missing))
        found = {item.file.path: next(read) if item.footer is None else item.footer for item in files}
        return clusters_of(parts, found, {name: dtype for name, dtype in own.items() if name in columns})

    return Order(columns, find=find)


def _all_footers(files: Sequence[File], wanted: Wanted) -> list[Footer | None]:
    if wanted.cluster is None or len(files) <= 2 * _CHUNK:
        return footers(files)
    storage = files[0].storage  # of all files of a scan
    bare = [replace(file, storage=Storage()) for file in files]
    chunks = [tuple(bare[start : start + _CHUNK]) for start in range(0, len(bare), _CHUNK)]
    return [item for chunk in wanted.cluster.call("read-footers", _read_footers, chunks, storage) for item in chunk]


def _read_footers(files: Sequence[File], storage: Storage) -> list[Footer | None]:
    return in_threads(read_footer, [replace(file, storage=storage) for file in files])


# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class _Estimate:
    """
    How large files are, by the footers that were read.

    Parameters
    ----------
    rows_per_byte
        Rows for each byte on disk.
    share_kept
        The share of the rows in row groups that may have wanted rows.
    distinct
        Bounds of the number of different values in columns.
    width
        Bytes in memory of the needed columns of a row.
    """

    rows_per_byte: float
    share_kept: float
    distinct: Mapping[str, float]
    width: float

    @staticmethod
    def of(known: Sequence[_Known], files: Sequence[File], wanted: Wanted, own: Mapping[str, Any]) -> _Estimate:
        """Learn from the footers that were read; of very many, from some."""
        few = [known[index] for index in sample([item.file for item in known])]
        found = [item.footer for item in few if item.footer is not None]
        on_disk = sum(item.file.size for item in few) or 1
        rows = sum(item.rows for item in found)
        kept = sum(item.rows_kept for item in few)
        needed = wanted.needed
        width = max(sum(item.memory(needed) for item in found) / rows if rows else 0.0, 1.0)
        share = max(sum(file.size for file in files) / on_disk, 1.0)
        distinct = distinct_bounds(found, list(own), share)
        return _Estimate(rows / on_disk if rows else 1 / 64, kept / rows if rows else 1.0, distinct, width)

    def of_file(self, item: _Known) -> tuple[float, float]:
        """Give the wanted rows of a file, and what these take in memory."""
        if item.footer is not None:
            rows: float = item.rows_kept
        else:
            rows = item.file.size * self.rows_per_byte * self.share_kept
        return rows, rows * self.width


# ---------------------------------------------------------------- parts


def _with_large(found: Sequence[_Known], estimate: _Estimate, wanted: Wanted, tests: Predicates | None) -> list[_Known]:
    """Read the footers of files that are to be cut, where these are few; otherwise they are read where the files are."""
    large = [item.file for item in found if item.footer is None and wanted.is_large(estimate.of_file(item)[1])]
    if not large or len(large) > _FEW:
        return list(found)
    read = {item.file.path: item for item in _with_kept(large, footers(large), tests)}
    return [read.get(item.file.path, item) for item in found]


def _pieces(item: _Known, estimate: _Estimate, wanted: Wanted, whole: frozenset[str]) -> list[Piece]:
    """Cut a file where it is large."""
    size = estimate.of_file(item)[1]
    path = (item.file.path,)
    if item.file.path in whole:
        return [Piece(ScanPart(path), size)]
    if wanted.limit is not None and item.footer is not None:
        spans = _by_rows(item, wanted.limit)
        return [Piece(ScanPart(path, rows=span), size / len(spans)) for span in spans]
    if not wanted.is_large(size):
        return [Piece(ScanPart(path), size)]
    if item.footer is None:
        count = round(size / wanted.target)
        return [Piece(ScanPart(path, share=(place, count, item.file.size)), size / count) for place in range(count)]
    cut = runs(item.heights, item.kept, size, wanted.target)
    return [Piece(ScanPart(path, rows=spans), size / len(cut)) for spans in cut]


def _by_rows(item: _Known, limit: int) -> list[tuple[tuple[int, int], ...] | None]:
    """Cut a file into parts of at most so many rows."""
    if sum(item.heights) <= limit:
        return [None]
    (whole,) = runs(item.heights, item.kept, size=1, target=1)
    ends = [(offset, offset + height) for offset, height in whole]
    return [((start, min(limit, end - start)),) for first, end in ends for start in range(first, end, limit)]


def rows_of_share(path: str, share: tuple[int, int, int], storage: Storage) -> tuple[tuple[int, int], ...] | None:
    """
    Find the rows of one of some parts of a file, which begin where row groups do.

    Parameters
    ----------
    path
        The file.
    share
        As in :class:`~dask_polars.io.parts.ScanPart`.
    storage
        How the file is reached.

    Returns
    -------
    tuple of tuple, or None
        Runs of rows, as offset and number; None for all of them.
    """
    place, count, size = share
    found = read_footer(File(path, size, "", storage))
    if found is None:
        # It cannot be read: the first part says so in the words of Polars.
        return None if place == 0 else ()
    return share_of(found.row_groups, place, count)


# ---------------------------------------------------------------- what holds for parts


def with_estimates(scan: Node, reading: Mapping[str, Any]) -> pl.LazyFrame:
    """
    Scan files such that Polars knows how many rows there are, where that makes no other difference.

    Where a schema is given, Polars does not look into the files before it runs, and so does not know which side of a join is
    the small one, whose keys are then looked for while the other side is read. Where it finds that very schema in the first
    of the files, it need not be given. In an object store it would cost requests: footers that were looked at are read again there.

    Parameters
    ----------
    scan
        The scan of a part, with the schema of the whole.
    reading
        The schema of the whole, where it is Polars that has found it.

    Returns
    -------
    LazyFrame
    """
    if "schema" not in reading or any(is_remote(source["inner"]) for source in scan.fields["sources"]["Paths"]):
        return to_lazyframe(scan)
    options = scan.fields["scan_type"]["Parquet"]["options"]
    found = to_lazyframe(scan.with_fields(scan_type={"Parquet": {"options": {**options, "schema": None}}}))
    return found if has_schema(found, reading["schema"]) else to_lazyframe(scan)


def fields_for_parts(
    scan: Node, given: Sequence[str], files: Sequence[File], schema: Mapping[str, pl.DataType]
) -> dict[str, Any]:
    """
    Write down what Polars finds out by looking at all files, so that a part of the files means the same.

    That is the schema, which is that of the first file, and the columns that are in the names of directories.
    """
    arguments, from_paths = arguments_for_parts(scan, given, files, schema)
    options = dict(scan.fields["scan_type"]["Parquet"]["options"])
    if options["schema"] is None:
        own = own_schema(scan, files[0]) if from_paths & set(schema) else schema
        options["schema"] = encoded_schema({name: own.get(name, schema[name]) for name in schema if name in own})
    return {"unified_scan_args": arguments, "scan_type": {"Parquet": {"options": options}}}
