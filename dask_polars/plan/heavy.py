"""
Heavy keys: shuffles of the two sides of a join that do not put most of the rows into one partition.

The rows of each bucket of hashes are counted first, many more buckets than partitions. A bucket that alone would fill more
than a partition is *heavy*: its rows of one side are dealt out to several partitions in turn, and those of the other side
go to each of these::

    join(left, right, on=k)  ->  join per partition <- left: a row of a heavy bucket goes to one of its partitions
                                                    <- right: a row of a heavy bucket goes to all of its partitions
                                 routes (buckets and their partitions) <- counts of each partition

Each pair of rows with equal keys still meets exactly once. Any routes give the same rows: counts decide about sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, column, output_name
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import group_by_node, select_node
from dask_polars.heavy_kernels import BUCKET, ROUTES, ROWS, Share, choose_routes, send_by_routes
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import is_cheap, per_partition
from dask_polars.plan.shuffling import Nulls, numbered, shuffle_rows
from dask_polars.plan.stages import CallStage, Input, KeyStage, Mode, Size, Stage
from dask_polars.plan.steps import Question

# Buckets of hashes for each partition: so a bucket that is heavy has many times the rows of an ordinary one.
BUCKETS = 16


@dataclass(frozen=True)
class Keyed:
    """
    A side of a join, by its keys.

    Parameters
    ----------
    side
        ``"left"`` or ``"right"``.
    node
        Its rows, as a plan.
    rows
        The stage of this plan.
    keys
        Expressions over its columns.
    dtypes
        The types that keys are hashed in, the same on both sides.
    nulls
        Where rows with null keys go.
    """

    side: str
    node: Node
    rows: Stage
    keys: Sequence[Expression]
    dtypes: Sequence[pl.DataType]
    nulls: Nulls


def may_be_heavy(planner: Planner, rows: Stage) -> bool:
    """Say whether there is so much of a side that a key could make one partition far too large."""
    limit = planner.options.count_keys_above
    return limit is not None and rows.size.bytes > limit


def routes_of(planner: Planner, split: Sequence[Keyed], npartitions: int) -> Stage:
    """
    Find the heavy buckets of hashes, and choose partitions for their rows.

    Parameters
    ----------
    planner
        The planner.
    split
        The sides whose rows may be dealt out to several partitions.
    npartitions
        The number of partitions that rows are shuffled to.

    Returns
    -------
    Stage
        One partition, with a row for each heavy bucket.
    """
    counts = tuple(Input(_counts(planner, keyed, npartitions * BUCKETS)) for keyed in split)
    target = planner.options.partition_size
    shares = tuple(
        Share(keyed.side, target / _row_bytes(keyed.rows.size), _row_bytes(keyed.rows.size)) for keyed in split
    )
    routes = CallStage(
        operation="heavy-keys",
        schema=ROUTES,
        npartitions=1,
        size=Size.guess(0, ROUTES),
        function=choose_routes,
        sources=counts,
        arguments=(shares, npartitions),
        note="buckets of hashes with more rows than a partition should have",
    )
    if planner.asks and routes.token not in planner.known:
        about = "join: whether there are keys that have to be split"
        # What is not read from files again is kept, or counting would compute it twice.
        computed = [keyed.rows for keyed in split if not (is_cheap(keyed.rows) or isinstance(keyed.rows, KeyStage))]
        planner.questions.extend(Question(stage, about) for stage in (*computed, routes))
    return planner.as_known(routes)


def are_none(routes: Stage) -> bool:
    """Say whether it is known that no bucket is heavy."""
    return routes.size.exact and routes.size.rows == 0


def _row_bytes(size: Size) -> float:
    return max(1.0, size.bytes / max(size.rows, 1.0))


def _counts(planner: Planner, keyed: Keyed, buckets: int) -> Stage:
    nulls = Nulls.TOGETHER if keyed.nulls is Nulls.TOGETHER else Nulls.DROPPED  # those that are spread are not counted

    def build(leaves: Sequence[Node]) -> Node:
        rows = numbered(leaves[0], keyed.keys, keyed.dtypes, buckets, nulls, BUCKET)
        alone = select_node(None, [column(BUCKET)], rows)
        return group_by_node([column(BUCKET)], [decode_expr(pl.len().cast(pl.UInt64).alias(ROWS))], alone)

    size = Size.guess(buckets * keyed.rows.npartitions, {BUCKET: pl.UInt32(), ROWS: pl.UInt64()})
    counts = per_partition(planner, f"count-keys-{keyed.side}", build, keyed.node, keyed.rows, size=size)
    # Of many partitions there are many counts, too: a tree, so that no task has all of them.
    total = decode_expr(pl.col(ROWS).sum())
    return planner.tree(f"count-keys-{keyed.side}", counts, lambda leaf: group_by_node([column(BUCKET)], [total], leaf))


def routed_shuffle(planner: Planner, keyed: Keyed, rows: Stage, npartitions: int, routes: Stage) -> Stage:
    """
    Bring rows of a side of a join to where those of the other side are that have the same keys.

    Parameters
    ----------
    planner
        The planner.
    keyed
        The side.
    rows
        Its rows, maybe with more columns.
    npartitions
        The number of partitions to make.
    routes
        What :func:`routes_of` gave for both sides.

    Returns
    -------
    Stage
        With the same columns. Rows of equal keys need not be in one partition.
    """
    total = npartitions * BUCKETS
    sent = planner.fragment(
        f"join-{keyed.side}-shuffle-partition",
        # Rows whose null keys are spread are of no bucket that could be heavy.
        lambda leaves: numbered(leaves[0], keyed.keys, keyed.dtypes, total, keyed.nulls, BUCKET, spread_from=total),
        [rows],
        [rows.schema],
    )
    schema: Mapping[str, pl.DataType] = {**rows.schema, BUCKET: pl.UInt32()}
    routed = CallStage(
        operation=f"join-{keyed.side}-shuffle-route",
        schema=schema,
        npartitions=rows.npartitions,
        size=rows.size,
        function=send_by_routes,
        sources=(Input(sent), Input(routes, Mode.BROADCAST)),
        arguments=(keyed.side, npartitions),
        lazy=True,
        indexed=True,
        note="rows of heavy keys go to several partitions",
    )
    labels = tuple(output_name(key) for key in keyed.keys)
    return shuffle_rows(planner, f"join-{keyed.side}-shuffle", routed, rows, npartitions, labels, "hash", None)
