"""Exchanges that move rows between partitions: by the hash of keys, and back into their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, column, kind_of, output_name, to_expr
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, filter_node, select_node, sort_node, with_columns_node
from dask_polars.kernels import add_position
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import CallStage, Input, Placement, SchemaDict, ShuffleStage, Stage
from dask_polars.shuffle.frames import PARTITION_COLUMN

POSITION = "__dp_position"
_POSITION_BITS = 40  # a partition has fewer than 2**40 rows, and there are fewer than 2**24 partitions


def key_dtypes(keys: Sequence[Expression], schema: Mapping[str, pl.DataType]) -> tuple[pl.DataType, ...]:
    """Give the types that keys are cast to before they are hashed, so that equal values have equal hashes."""
    return tuple(hashable(dtype) for dtype in expression_dtypes(keys, schema))


def hashable(dtype: pl.DataType) -> pl.DataType:
    """Give the type in which values of a type are hashed."""
    if dtype.base_type() is pl.Enum:
        return pl.String()
    if dtype.is_float():
        return pl.Float64()
    if dtype.is_signed_integer() and dtype != pl.Int128:
        return pl.Int64()
    return without_categories(dtype)


def without_categories(dtype: pl.DataType) -> pl.DataType:
    """Give a type with text in place of categories: the number behind a category is one process's own."""
    if isinstance(dtype, pl.Categorical):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(without_categories(_inner(dtype)))
    if isinstance(dtype, pl.Array):
        return pl.Array(without_categories(_inner(dtype)), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct(
            {
                field.name: without_categories(field.dtype())
                if isinstance(field.dtype, type)
                else without_categories(field.dtype)
                for field in dtype.fields
            }
        )
    return dtype


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return dtype.inner() if isinstance(dtype.inner, type) else dtype.inner


def common_dtypes(left: Sequence[pl.DataType], right: Sequence[pl.DataType]) -> tuple[pl.DataType, ...] | None:
    """Give the types in which the keys of two sides compare; None where there is none."""
    out = []
    for one, other in zip(left, right, strict=True):
        if one == other:
            out.append(one)
            continue
        try:
            both = pl.concat(
                [pl.DataFrame(schema={"k": one}), pl.DataFrame(schema={"k": other})], how="vertical_relaxed"
            )
        except pl.exceptions.PolarsError:
            return None
        out.append(hashable(both.schema["k"]))
    return tuple(out)


_HASHED_ALONE = (pl.Int64(), pl.UInt64(), pl.String())


def partition_expression(
    keys: Sequence[Expression], dtypes: Sequence[pl.DataType], npartitions: int, name: str = PARTITION_COLUMN
) -> Expression:
    """Build the expression that gives the partition of a row."""
    cast = [
        to_expr(key).cast(dtype, strict=False).alias(f"k{i}")
        for i, (key, dtype) in enumerate(zip(keys, dtypes, strict=True))
    ]
    # A struct of one number or text has the same groups as that itself, and takes twice as long.
    key = cast[0] if len(cast) == 1 and dtypes[0] in _HASHED_ALONE else pl.struct(cast)
    number = key.hash() % npartitions
    return decode_expr(number.cast(pl.UInt32).alias(name))


class Nulls(Enum):
    """Where rows with null keys go: to the partition of their hash, to all partitions in turn, or nowhere."""

    TOGETHER = "together"
    SPREAD = "spread"
    DROPPED = "dropped"


def numbered(
    rows: Node,
    keys: Sequence[Expression],
    dtypes: Sequence[pl.DataType],
    count: int,
    nulls: Nulls,
    name: str = PARTITION_COLUMN,
    spread_from: int = 0,
) -> Node:
    """
    Give each row the number of the partition, or of the bucket, that its keys belong to.

    Parameters
    ----------
    rows
        The rows.
    keys
        Expressions over its columns.
    dtypes
        The types to hash the keys in.
    count
        How many numbers there are.
    nulls
        What becomes of rows that have a null among their keys.
    name
        The column of the numbers.
    spread_from
        The first number for rows whose null keys are spread.

    Returns
    -------
    Node
    """
    number = partition_expression(keys, dtypes, count, name)
    if nulls is Nulls.TOGETHER or any(dtype.is_nested() for dtype in dtypes):  # a struct of nulls is not null
        return with_columns_node([number], rows)
    is_null = pl.any_horizontal(to_expr(key).is_null() for key in keys)
    if nulls is Nulls.DROPPED:
        return with_columns_node([number], filter_node(decode_expr(~is_null), rows))
    in_turn = (pl.int_range(pl.len(), dtype=pl.UInt32) % count + spread_from).cast(pl.UInt32)
    spread = decode_expr(pl.when(is_null).then(in_turn).otherwise(to_expr(number)).alias(name))
    return with_columns_node([spread], rows)


def hash_shuffle(
    planner: Planner,
    operation: str,
    stage: Stage,
    keys: Sequence[Expression],
    npartitions: int,
    dtypes: Sequence[pl.DataType] | None = None,
    nulls: Nulls = Nulls.TOGETHER,
) -> Stage:
    """
    Bring all rows with equal keys into the same partition.

    Parameters
    ----------
    planner
        The planner.
    operation
        The name of the tasks.
    stage
        The rows.
    keys
        Expressions over its columns.
    npartitions
        The number of partitions to make.
    dtypes
        The types to hash the keys in; those of :func:`key_dtypes`, if not given.
    nulls
        Where rows go that have a null among their keys, which in a join match nothing. Rows that are in their place
        already stay there.

    Returns
    -------
    Stage
        With the same columns, and a placement where the keys are columns.
    """
    if npartitions == 1:
        return planner.gather(stage)
    dtypes = tuple(dtypes if dtypes is not None else key_dtypes(keys, stage.schema))
    names = tuple(key["Column"] for key in keys if kind_of(key) == "Column")
    placement = Placement(names, dtypes, npartitions) if len(names) == len(keys) else None
    if placement is not None and _is_in_place(stage.placement, placement, nulls):
        return stage
    if placement is not None and nulls is Nulls.SPREAD and not any(dtype.is_nested() for dtype in dtypes):
        placement = replace(placement, nulls_anywhere=True)
    sent = planner.fragment(
        f"{operation}-partition",
        lambda leaves: numbered(leaves[0], keys, dtypes, npartitions, nulls),
        [stage],
        [stage.schema],
    )
    labels = tuple(output_name(key) for key in keys)
    return shuffle_rows(planner, operation, sent, stage, npartitions, labels, "hash", placement)


def _is_in_place(found: Placement | None, wanted: Placement, nulls: Nulls) -> bool:
    """Say whether rows are where they should be, but for those with null keys, where these may be anywhere."""
    if found is None or (found.nulls_anywhere and nulls is Nulls.TOGETHER):
        return False
    return replace(found, nulls_anywhere=False) == wanted


def shuffle_rows(
    planner: Planner,
    operation: str,
    sent: Stage,
    like: Stage,
    npartitions: int,
    keys: tuple[str, ...],
    kind: str,
    placement: Placement | None,
) -> ShuffleStage:
    """
    Send each row to the partition that one of its columns names.

    Parameters
    ----------
    planner
        The planner.
    operation
        The name of the tasks.
    sent
        The rows with the column of partitions.
    like
        A stage of the same columns and about the size, without that column.
    npartitions
        The number of partitions to make.
    keys
        What decides where a row goes, for people.
    kind
        ``"hash"`` or ``"order"``.
    placement
        Where rows are known to be afterwards.

    Returns
    -------
    ShuffleStage
    """
    return ShuffleStage(
        operation=operation,
        schema=like.schema,
        npartitions=npartitions,
        size=like.size,
        placement=placement,
        distinct=like.distinct,
        source=sent,
        keys=keys,
        kind=kind,
        method=planner.options.shuffle_method,
    )


def with_position(stage: Stage, name: str = POSITION) -> Stage:
    """Put beside each row where it is: its partition and its place in it, as one number that grows with the rows."""
    return CallStage(
        operation="with-position",
        schema={**stage.schema, name: pl.UInt64()},
        npartitions=stage.npartitions,
        size=stage.size,
        placement=stage.placement,
        distinct=stage.distinct,
        function=add_position,
        sources=(Input(stage),),
        arguments=(name, _POSITION_BITS),
        lazy=True,
        indexed=True,
    )


def restore_order(
    planner: Planner,
    operation: str,
    stage: Stage,
    npartitions: int,
    region: Region,
    leaf_schema: SchemaDict,
    positions: Sequence[str] = (POSITION,),
) -> Stage:
    """
    Bring rows back into the order that :func:`with_position` saw.

    Parameters
    ----------
    planner
        The planner.
    operation
        The name of the tasks.
    stage
        Rows with columns of positions.
    npartitions
        The number of partitions that the first positions were given in.
    region
        What comes on top of the rows once they are in order.
    leaf_schema
        The schema of the rows, without positions, that the region's chain was written for.
    positions
        The columns of positions, the one that counts first at the front. Rows without a position come last.

    Returns
    -------
    Stage
        The rows in order, without their positions.
    """
    if stage.npartitions > 1:
        out = max(1, min(stage.npartitions, npartitions))
        source = pl.col(positions[0]) // (1 << _POSITION_BITS)
        number = (source * out // npartitions).fill_null(out - 1).cast(pl.UInt32).alias(PARTITION_COLUMN)
        sent = planner.fragment(
            f"{operation}-partition",
            lambda leaves: with_columns_node([decode_expr(number)], leaves[0]),
            [stage],
            [stage.schema],
        )
        stage = (
            shuffle_rows(planner, operation, sent, stage, out, ("row order",), "order", None)
            if out > 1
            else planner.gather(stage)
        )
    names = [column(name) for name in leaf_schema]

    def build(leaves: Sequence[Node]) -> Node:
        last = [True] * len(positions)
        ordered = sort_node([column(name) for name in positions], leaves[0], nulls_last=last, maintain_order=True)
        return region.over(select_node(None, names, ordered))

    return planner.fragment(operation, build, [stage], [{**leaf_schema, **dict.fromkeys(positions, pl.UInt64())}])
