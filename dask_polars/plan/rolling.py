"""
rolling as an expression: any expression, in windows by the values of another column, by which the rows are sorted.

Rows stay where they are. As in `plan/time_windows.py`, what is known of the index in each partition says how far its
windows reach, and the rows that they reach to are sent there. Polars computes the expression over all of them, and the
values of the rows that were sent are cut off::

    v.median().rolling(i, "2h")  ->  v.median().rolling(i, "2h") over context and own rows <- bounds of each partition

Polars finds the windows of the rows that were sent too, and these are not whole. Where the expression fails, that may be
the fault of such a window, so it is computed once more for the windows of the own rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    column,
    columns_of,
    kind_of,
    map_children,
    shape,
    walk_expression,
)
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.index_kernels import INDEX, Rolling, run_rolling
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import StageSource, per_partition
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, Size, Stage
from dask_polars.plan.time_windows import bounds_of, reach_of, send_rows
from dask_polars.plan.wide import Item, Rows, computes, dtype_of
from dask_polars.plan.window import has_rows_of_its_own
from dask_polars.series_kernels import send_to_rolling

_INTEGERS = (pl.Int32, pl.Int64, pl.UInt32, pl.UInt64)
_TIMES = (pl.Date, pl.Datetime)


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why windows are not computed in partitions; what Polars refuses is left to Polars."""
    windows = tree["Rolling"]
    if shape(windows["index_column"]) is Shape.LITERAL:
        return "`rolling` by a literal"
    inside = list(walk_expression(windows["function"]))
    if any(has_rows_of_its_own(item) for item in inside):
        return "a literal series inside of `rolling`"
    if any(kind_of(item) == "Rolling" for item in inside):
        return "`rolling` inside of `rolling`"
    by = dtype_of(windows["index_column"], schema).base_type()
    integer = by in _INTEGERS
    if not integer and by not in _TIMES:
        return f"`rolling` by {by}"
    period, offset = windows["period"], windows["offset"]
    if any(step["parsed_int"] is not integer for step in (period, offset) if _is_some(step)):
        return "windows of another kind than the index"
    return "windows of no length" if period["negative"] or not _is_some(period) else None


def _is_some(duration: Mapping[str, Any]) -> bool:
    return any(duration[name] for name in ("months", "weeks", "days", "nsecs"))


@computes("Rolling", refuses=refuses)
def lower_rolling(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute columns in windows; those of the same windows share the rows that are sent."""
    alike: dict[str, list[Item]] = {}
    for item in items:
        windows = item.tree["Rolling"]
        alike.setdefault(repr([windows[name] for name in ("index_column", "period", "offset")]), []).append(item)
    for group in alike.values():
        stage = _computed(planner, rows, stage, group)
    return stage


def _computed(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    windows = items[0].tree["Rolling"]
    read = {name for item in items for name in columns_of(item.tree["Rolling"]["function"])}
    index = alias(windows["index_column"], INDEX)
    wanted = [index, *(column(name) for name in rows.stage.schema if name in read)]
    needed = per_partition(
        planner, "rolling-values", lambda leaves: select_node(None, wanted, leaves[0]), rows.node, rows.stage
    )
    leaf = Node(SOURCE, {"source": StageSource(needed)})
    bounds = bounds_of(planner, "rolling", leaf, needed, column(INDEX), needed.schema[INDEX])
    reach = reach_of("rolling", bounds, windows["offset"], (windows["offset"], windows["period"]))
    sources = [Input(needed), Input(reach, Mode.BROADCAST)]
    context = send_rows(planner, "rolling", send_to_rolling, sources, needed.schema, (INDEX,), needed.npartitions)
    schema = {**stage.schema, **{item.name: item.dtype for item in items}}
    return CallStage(
        operation="rolling",
        schema=schema,
        npartitions=stage.npartitions,
        size=Size.guess(stage.size.rows, schema, exact=stage.size.exact, doubt=stage.size.doubt),
        placement=stage.placement,
        distinct=stage.distinct,
        function=run_rolling,
        sources=(Input(stage), Input(context)),
        arguments=(to_expr(index).meta.serialize(), *(_call(item) for item in items)),
        indexed=True,
    )


def _call(item: Item) -> Rolling:
    """Write a column over the index as it is sent, and over the rows of a window as a list of structs."""
    windows = item.tree["Rolling"]
    of_rows = {"Rolling": {**windows, "index_column": column(INDEX)}}
    of_lists = _of_elements(windows["function"])
    alone = None if of_lists is None else decode_expr(pl.col(INDEX).list.agg(to_expr(of_lists)))
    return Rolling(
        item.name,
        item.dtype,
        tuple(sorted(columns_of(windows["function"]))),
        to_expr(of_rows).meta.serialize(),
        None if alone is None else to_expr(alone).meta.serialize(),
    )


def _of_elements(tree: Expression) -> Expression | None:
    """Write an expression over columns as one over the elements of a list, which are structs of these columns."""
    if kind_of(tree) == "Column":
        return decode_expr(pl.element().struct.field(tree["Column"]))
    if tree == "Len":
        return decode_expr(pl.element().len())
    missing = False

    def below(child: Expression) -> Expression:
        nonlocal missing
        found = _of_elements(child)
        missing = missing or found is None
        return found

    rebuilt = map_children(tree, below)
    return None if missing else rebuilt
