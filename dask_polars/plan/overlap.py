"""
Shifts, differences and windows of some rows: partitions overlap.

Each partition gets the last rows of those before it, and the first rows of those behind it, as many as expressions look
back or ahead. Polars computes the expressions over all of them, and those that were added are dropped again::

    a.rolling_sum(3)  ->  rows of the partition <- a.rolling_sum(3) over (2 rows from before, the rows)

Rows stay where they are. Where the edges of all partitions are little, they are gathered and sent to all; otherwise each
one is shuffled to where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    aggregation_of,
    column,
    columns_of,
    function_name,
    kind_of,
    shape,
)
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import per_partition
from dask_polars.plan.slice import rows_before
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, ShuffleStage, Size, Stage
from dask_polars.plan.wide import Item, Rows, computes, dtype_of, means
from dask_polars.shuffle.frames import PARTITION_COLUMN
from dask_polars.wide_kernels import SIDE, edges_of, pick_edges, send_edges, spread_edges, with_overlap

_KINDS = ("Shift", "ShiftAndFill", "Diff", "PctChange", "RollingExpr", "PeakMax", "PeakMin")


def reach(tree: Expression) -> tuple[int, int] | None:
    """
    Say how far an expression looks.

    Parameters
    ----------
    tree
        A call of a function.

    Returns
    -------
    tuple of int, or None
        How many rows back, and how many ahead. None where that is not known while planning.
    """
    name, function = function_name(tree), tree["Function"]["function"]
    if name in ("PeakMax", "PeakMin"):
        return 1, 1
    if name == "RollingExpr":
        options = function["RollingExpr"]["options"]
        size = options["window_size"]
        return (size, size) if options["center"] else (size, 0)
    parameters = tree["Function"]["input"][1:]
    if any(shape(item) is not Shape.LITERAL for item in parameters):
        return None
    count = pl.select(to_expr(parameters[0])).item()
    if not isinstance(count, int):
        return None
    return (count, 0) if count >= 0 else (0, -count)


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why an expression is not computed over partitions that overlap; None where it is."""
    name = function_name(tree)
    if name == "Diff" and tree["Function"]["function"]["Diff"] != "Ignore":
        return "`diff` that drops rows"
    return None if reach(tree) is not None else f"how far `{name}` looks is not a number"


@means("Shift", "ShiftAndFill")
def as_picked(tree: Expression, schema: SchemaDict) -> Expression | None:
    """
    Write a shift by a number of rows that is counted as one that picks rows by their numbers.

    Where the number may be null it is left alone, since Polars refuses that.
    """
    values, count, *fill = tree["Function"]["input"]
    if shape(values) is not Shape.ROW or shape(count) is not Shape.SCALAR:
        return None
    if any(shape(item) not in (Shape.LITERAL, Shape.SCALAR) for item in fill) or not _is_counted(count):
        return None
    if not dtype_of(count, schema).is_integer():
        return None
    number = pl.int_range(pl.len()) - to_expr(count).cast(pl.Int64)
    # A negative number would count from the end.
    picked = to_expr(values).gather(pl.when(number >= 0).then(number), null_on_oob=True)
    if fill:
        picked = pl.when(number.is_between(0, pl.len(), closed="left")).then(picked).otherwise(to_expr(fill[0]))
    return decode_expr(picked)


def _is_counted(tree: Expression) -> bool:
    """Say whether an expression is computed of counts and sums, which are never null."""
    kind = kind_of(tree)
    if kind == "Literal":
        return pl.select(to_expr(tree)).item() is not None
    if kind == "BinaryExpr":
        inputs = [tree[kind]["left"], tree[kind]["right"]]
        return tree[kind]["op"] in ("Plus", "Minus", "Multiply") and all(map(_is_counted, inputs))
    if kind == "Cast":
        return bool(tree[kind]["options"] == "Strict") and _is_counted(tree[kind]["expr"])
    if function_name(tree) == "Negate":
        return _is_counted(tree["Function"]["input"][0])
    counts = (aggregation_of(tree) or ("",))[0] in ("Count", "NUnique", "Sum")
    return kind == "Len" or counts or function_name(tree) == "NullCount"


@computes(*_KINDS, refuses=refuses)
def lower_overlap(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute columns over the rows of each partition and some of its neighbours."""
    reaches = [found for item in items if (found := reach(item.tree)) is not None]
    before, after = (max(counts) for counts in zip(*reaches, strict=True))
    schema = {**stage.schema, **{item.name: item.dtype for item in items}}
    names = [name for name in rows.stage.schema if any(name in columns_of(item.tree) for item in items)]
    edges = _edges(planner, rows, names, before, after)
    columns = tuple(to_expr(item.tree).alias(item.name).meta.serialize() for item in items)
    return CallStage(
        operation="overlap",
        schema=schema,
        npartitions=stage.npartitions,
        size=Size.guess(stage.size.rows, schema, exact=stage.size.exact, doubt=stage.size.doubt),
        placement=stage.placement,
        distinct=stage.distinct,
        function=with_overlap,
        sources=(Input(stage), Input(edges)),
        arguments=(tuple(schema), columns),
        lazy=True,
    )


def _edges(planner: Planner, rows: Rows, names: Sequence[str], before: int, after: int) -> Stage:
    """Give each partition the rows around it, those before it marked with 0 and those behind it with 1."""
    needed = per_partition(
        planner,
        "edges",
        lambda leaves: select_node(None, [column(name) for name in names], leaves[0], keep_height=True),
        rows.node,
        rows.stage,
    )
    count = needed.npartitions
    most = Size.guess(min(count * (before + after), 2 * needed.size.rows), needed.schema)
    schema = {**needed.schema, SIDE: pl.UInt8()}
    if not planner.is_small(most):
        return _shuffled_edges(planner, rows, needed, schema, most, before, after)
    numbered = {**schema, PARTITION_COLUMN: pl.UInt32()}
    cut = CallStage(
        operation="edges",
        schema=numbered,
        npartitions=count,
        size=most,
        function=edges_of,
        sources=(Input(needed),),
        arguments=(before, after),
        lazy=True,
        indexed=True,
    )
    spread = CallStage(
        operation="edges-spread",
        schema=numbered,
        npartitions=1,
        size=most,
        function=spread_edges,
        sources=(Input(planner.gather(cut)),),
        arguments=(count, before, after),
    )
    return CallStage(
        operation="edges-pick",
        schema=schema,
        npartitions=count,
        size=most,
        function=pick_edges,
        sources=(Input(spread, Mode.BROADCAST),),
        lazy=True,
        indexed=True,
    )


def _shuffled_edges(
    planner: Planner, rows: Rows, needed: Stage, schema: dict[str, Any], size: Size, before: int, after: int
) -> Stage:
    sent = CallStage(
        operation="edges-partition",
        schema={**schema, PARTITION_COLUMN: pl.UInt32()},
        npartitions=needed.npartitions,
        size=size,
        function=send_edges,
        sources=(Input(needed), Input(rows_before(planner, rows.node, rows.stage), Mode.BROADCAST)),
        arguments=(before, after),
        indexed=True,
    )
    return ShuffleStage(
        operation="edges-shuffle",
        schema=schema,
        npartitions=needed.npartitions,
        size=size,
        source=sent,
        keys=("neighbours",),
        kind="context",
        method=planner.options.shuffle_method,
    )
