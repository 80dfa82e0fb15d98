"""How the pieces of a scan are put together for the threads of a cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dask_polars.io.parts import Piece, ScanPart, Wanted, grouped, runs

MIB = 2**20
TARGET = 128 * MIB


def wanted(threads: int | None, target: float = TARGET, limit: int | None = None) -> Wanted:
    cluster = cast(Any, None if threads is None else SimpleNamespace(threads=threads))
    return Wanted(schema={}, columns=(), filters=(), target=target, limit=limit, cluster=cluster)


def files(*sizes: float) -> list[Piece]:
    return [Piece(ScanPart((f"{index}.parquet",)), size * MIB) for index, size in enumerate(sizes)]


def cut(pieces: list[Piece], fitted: Wanted) -> list[float]:
    """The sizes of the partitions, in MiB; every file is in one of them, in its order."""
    size = {piece.part.paths[0]: piece.bytes / MIB for piece in pieces}
    parts = list(grouped(pieces, fitted))
    assert [path for part in parts for path in part.paths] == list(size)
    return [sum(size[path] for path in part.paths) for part in parts]


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("sizes", [[65] * 15, [30] * 60, [5] * 40, [23] * 8, [3] * 200, [40, 10, 90, 1, 60] * 8])
def test_every_thread_has_as_many_partitions(threads: int, sizes: list[float]) -> None:
    pieces = files(*sizes)
    fitted = wanted(threads).fitted(sum(sizes) * MIB)
    parts = cut(pieces, fitted)
    assert max(parts) <= max(1.25 * 128, max(sizes))
    assert fitted.count is not None
    assert fitted.count % threads == 0 or sum(sizes) / threads < 4
    # Files are as large as they are.
    assert min(len(sizes), 0.6 * fitted.count) <= len(parts) <= max(1.4 * fitted.count, 1)


def test_the_sizes_that_were_met_in_practice() -> None:
    assert cut(files(*[65] * 15), wanted(2).fitted(15 * 65 * MIB)) == [130] * 3 + [65] + [130] * 4
    assert cut(files(*[23] * 8), wanted(2).fitted(8 * 23 * MIB)) == [92, 92]
    assert len(cut(files(*[30.5] * 60), wanted(2).fitted(60 * 30.5 * MIB))) == 16


@pytest.mark.parametrize("threads", [2, 3, 4, 7])
def test_one_file_is_cut_for_every_thread(threads: int) -> None:
    for size in (40 * MIB, 120 * MIB, 1000 * MIB, 123_456_789):
        fitted = wanted(threads).fitted(size)
        assert fitted.is_large(size)
        assert len(runs([10] * 1000, [True] * 1000, size, fitted.target)) == fitted.count


def test_little_is_not_cut_for_more_threads_than_pays() -> None:
    assert cut(files(1, 1), wanted(8).fitted(2 * MIB)) == [2]
    assert len(cut(files(*[1] * 16), wanted(8).fitted(16 * MIB))) == 4


def test_without_a_cluster_partitions_are_filled_up() -> None:
    alone = wanted(None).fitted(1000 * MIB)
    assert alone == wanted(None)
    assert cut(files(*[50] * 6), alone) == [100, 100, 100]


def test_a_limit_of_rows_is_kept_with_a_cluster_too() -> None:
    limited = wanted(2, limit=10).fitted(100 * MIB)
    assert cut(files(1, 1, 1), limited) == [1, 1, 1]


def test_parts_of_files_stay_by_themselves() -> None:
    share = Piece(ScanPart(("large.parquet",), rows=((0, 10),)), 100 * MIB)
    pieces = [*files(1, 1), share, *files(1, 1)]
    parts = list(grouped(pieces, wanted(1).fitted(104 * MIB)))
    assert [part.rows for part in parts] == [None, ((0, 10),), None]
    assert [len(part.paths) for part in parts] == [2, 1, 2]


def test_nothing_is_no_partition() -> None:
    assert list(grouped([], wanted(2).fitted(0))) == []
    assert cut(files(0, 0), wanted(2).fitted(0)) == [0]
