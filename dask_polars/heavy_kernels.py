"""Functions on partitions for heavy keys: which buckets of hashes are split, and where their rows go."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.shuffle.frames import PARTITION_COLUMN

BUCKET = "__dp_bucket"
ROWS = "__dp_rows"

_SPLIT, _TARGETS, _TURN = "__dp_split", "__dp_targets", "__dp_turn"

#: Columns of routes: a heavy bucket, the side whose rows are dealt out, and the partitions that they go to.
ROUTES: dict[str, pl.DataType] = {BUCKET: pl.UInt32(), _SPLIT: pl.String(), _TARGETS: pl.List(pl.UInt32())}


@dataclass(frozen=True)
class Share:
    """
    What a partition should have of a side of a join.

    Parameters
    ----------
    side
        ``"left"`` or ``"right"``.
    rows
        Rows that a partition should have at most.
    row_bytes
        Bytes of a row.
    """

    side: str
    rows: float
    row_bytes: float


def choose_routes(*values: Any) -> pl.DataFrame:
    """
    Choose what is split, and the partitions that it goes to: those with the least in them.

    Parameters
    ----------
    *values
        For each side that may be split the rows of its buckets, a row for each bucket and partition; then the shares of
        these sides, and the number of partitions. Without heavy buckets, the partition of a bucket is the rest of its
        number by that of the partitions.

    Returns
    -------
    polars.DataFrame
        A row for each heavy bucket.
    """
    *counted, shares, npartitions = values
    counts = [dict(frame.group_by(BUCKET).agg(pl.col(ROWS).sum()).iter_rows()) for frame in counted]
    load = [0.0] * npartitions
    for rows, share in zip(counts, shares, strict=True):
        for bucket, count in rows.items():
            load[bucket % npartitions] += count * share.row_bytes
    out = []
    # The largest ones choose first.
    for size, count, bucket, place in sorted(_heavy(counts, shares, npartitions), reverse=True):
        load[bucket % npartitions] -= size
        targets = sorted(range(npartitions), key=lambda part: (load[part], part))[:count]
        for target in targets:
            load[target] += size / count
        out.append((bucket, shares[place].side, sorted(targets)))
    return pl.DataFrame(out, schema=ROUTES, orient="row").sort(BUCKET)


def _heavy(
    counts: list[dict[int, int]], shares: tuple[Share, ...], npartitions: int
) -> Iterator[tuple[float, int, int, int]]:
    """Find the heavy buckets: their bytes, into how many parts they are split, their numbers, and on which side."""
    # An even load is what a partition gets anyway, and no bucket is split for less.
    wanted = [
        max(share.rows, sum(rows.values()) / npartitions, 1.0) for rows, share in zip(counts, shares, strict=True)
    ]
    for bucket in sorted({bucket for rows in counts for bucket in rows}):
        found = [
            (rows[bucket] * share.row_bytes, min(npartitions, math.ceil(rows[bucket] / most)), bucket, place)
            for place, (rows, share, most) in enumerate(zip(counts, shares, wanted, strict=True))
            if rows.get(bucket, 0) > most
        ]
        if found:
            yield max(found)  # heavy on both sides: the smaller one is repeated


def send_by_routes(rows: pl.LazyFrame, routes: pl.LazyFrame, index: int, side: str, npartitions: int) -> pl.LazyFrame:
    """
    Say for each row to which partition it goes; those of buckets that the other side splits go to several.

    Parameters
    ----------
    rows
        Rows with their bucket.
    routes
        What :func:`choose_routes` gave.
    index
        The number of the partition: partitions take turns in different order.
    side
        The side that the rows are of.
    npartitions
        The number of partitions to make.

    Returns
    -------
    polars.LazyFrame
        The rows in their order, with the partition in place of the bucket.
    """
    found = routes.collect(engine="in-memory")
    home = (pl.col(BUCKET) % npartitions).cast(pl.UInt32)
    if found.height == 0:
        return rows.with_columns(home.alias(PARTITION_COLUMN)).drop(BUCKET)
    targets = pl.col(_TARGETS)
    turn = targets.list.get(pl.col(_TURN) % targets.list.len()).alias(PARTITION_COLUMN)
    numbered = rows.with_columns((pl.int_range(pl.len(), dtype=pl.UInt64) + index).alias(_TURN))
    looked_up = numbered.join(found.lazy(), on=BUCKET, how="left", maintain_order="left")
    added = [BUCKET, _SPLIT, _TARGETS, _TURN]
    if (found[_SPLIT] == side).all():
        return looked_up.with_columns(pl.coalesce(turn, home).alias(PARTITION_COLUMN)).drop(added)
    one = pl.concat_list(pl.when(pl.col(_SPLIT) == side).then(turn).otherwise(home))
    repeated = pl.when(pl.col(_SPLIT) != side).then(targets).otherwise(one)
    return looked_up.with_columns(repeated.alias(PARTITION_COLUMN)).drop(added).explode(PARTITION_COLUMN)
