"""
rolling_sum_by, ewm_mean_by, interpolate_by and their like: functions of rows in the order of another column, the index.

Rows get positions and are sorted by the index. There a partition needs little of others, which is put around its own
rows, so that Polars computes the expression over all of them; what was added is cut off, and rows go back into order::

    v.rolling_sum_by(i, "2h")  ->  back in order <- v.rolling_sum_by(i, "2h") over context and own rows <- sort by i

Windows need the rows that they reach to, as in `plan/time_windows.py`. Of all rows before, a weighted mean needs one: where
it stood, and when. An interpolation needs the nearest known values before and behind.

Rows whose index is null are in no window; they sort before all others, and Polars gives null for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import Expression, Shape, alias, column, function_name, shape
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node, sort_node, with_columns_node
from dask_polars.index_kernels import INDEX, VALUE, Call, neighbours_of, run_neighbours, run_windows, send_to_windows
from dask_polars.index_kernels import summary_of as summarized
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import StageSource
from dask_polars.plan.shuffling import POSITION
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, Size, Stage
from dask_polars.plan.time_windows import bounds_of, reach_of, send_rows
from dask_polars.plan.wide import Item, Rows, computes, dtype_of
from dask_polars.plan.window import InOrder

WINDOWS = "RollingExprBy"
_INTEGERS = (pl.Int32, pl.Int64, pl.UInt32, pl.UInt64)
_TIMES = (pl.Date, pl.Datetime)
_FLOATS = (pl.Float32, pl.Float64)


def refuses(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why something is not computed in the order of its index; what Polars refuses is left to Polars."""
    name, (value, index) = function_name(tree), tree["Function"]["input"]
    if shape(value) is Shape.LITERAL or shape(index) is Shape.LITERAL:
        return f"`{name}` of a literal"
    dtype, by = (dtype_of(item, schema).base_type() for item in (value, index))
    if name == WINDOWS:
        return _refuses_windows(tree["Function"]["function"][WINDOWS], dtype, by)
    values: tuple[Any, ...] = (*_FLOATS, *_INTEGERS)
    indices: tuple[Any, ...] = (*_TIMES, *_INTEGERS)
    if name == "InterpolateBy":
        indices = (*indices, *_FLOATS)
    else:
        if not _is_constant(tree["Function"]["function"][name]["half_life"], dtype_of(index, schema)):
            return "a half-life that is not a constant time"
        values = (*values, pl.Float16)
    return None if dtype in values and by in indices else f"`{name}` of {dtype} by {by}"


def _is_constant(half_life: Any, index: pl.DataType) -> bool:
    """Say whether a half-life is the same everywhere: months differ, and so do days where clocks are changed."""
    zoned = isinstance(index, pl.Datetime) and index.time_zone is not None
    by_calendar = half_life["months"] or (zoned and (half_life["weeks"] or half_life["days"]))
    return not (half_life["negative"] or by_calendar)


def _refuses_windows(found: Any, dtype: Any, by: Any) -> str | None:
    name, window, parameters = found["function_by"], found["options"]["window_size"], found["options"]["fn_params"]
    if by not in (*_TIMES, *_INTEGERS) or (by in _INTEGERS) is not window["parsed_int"]:
        return f"windows of another kind than an index of {by}"
    if window["negative"] or not any(window[unit] for unit in ("months", "weeks", "days", "nsecs")):
        return "windows of no length"
    if name == "RankBy" and parameters is not None and parameters.get("Rank", {}).get("method") == "Random":
        return "random ranks"
    temporal = name in ("MinBy", "MaxBy", "RankBy") and dtype.is_temporal()
    plain = (dtype.is_numeric() and dtype not in (pl.Decimal, pl.Float16)) or dtype == pl.Boolean
    return None if plain or temporal else f"`{name}` of {dtype}"


@computes(WINDOWS, "EwmMeanBy", "EwmSumBy", "InterpolateBy", refuses=refuses, moves_rows=True)
def lower_by_index(planner: Planner, rows: Rows, stage: Stage, items: Sequence[Item]) -> Stage:
    """Compute columns in the order of their index."""
    order = InOrder(planner, stage)
    alike: dict[str, list[Item]] = {}
    for item in items:
        alike.setdefault(repr(_index_of(item)), []).append(item)
    for group in alike.values():
        order.move(_computed(planner, order, group))
    return order.restored()


def _index_of(item: Item) -> Expression:
    return item.tree["Function"]["input"][1]


def _computed(planner: Planner, order: InOrder, items: Sequence[Item]) -> Stage:
    """Sort rows by the index that columns have in common, and compute these."""
    names = [*order.stage.schema, *(item.name for item in items)]
    inputs, calls = [alias(_index_of(items[0]), INDEX)], []
    for number, item in enumerate(items):
        value = to_expr(item.tree["Function"]["input"][0])
        kind = function_name(item.tree) or ""
        # Weights and interpolations are of floats: partitions hand on values of the type that these have.
        of_rows = value if kind == WINDOWS else value.cast(item.dtype)
        inputs.append(decode_expr(of_rows.alias(f"{VALUE}{number}")))
        over = {"Function": {**item.tree["Function"], "input": [column(f"{VALUE}{number}"), column(INDEX)]}}
        calls.append(Call(kind, f"{VALUE}{number}", item.name, item.dtype, to_expr(over).meta.serialize()))
    node = with_columns_node(inputs, order.leaf())
    stage = planner.lower(sort_node([column(INDEX), column(POSITION)], node))
    if stage.npartitions == 1:
        found = [decode_expr(call.expression().alias(call.out)) for call in calls]
        stage = planner.fragment(
            "by-index", lambda leaves: with_columns_node(found, leaves[0]), [stage], [stage.schema]
        )
    else:
        stage = _with_windows(planner, stage, items, calls)
        stage = _with_neighbours(planner, stage, [call for call in calls if call.kind != WINDOWS])
    kept = [column(name) for name in names]
    return planner.fragment(
        "by-index", lambda leaves: select_node(None, kept, leaves[0]), [stage], [stage.schema], distinct=stage.distinct
    )


def _needed(planner: Planner, stage: Stage, calls: Sequence[Call]) -> Stage:
    """Give the index of rows, and the values that are computed with."""
    names = [column(INDEX), *(column(call.value) for call in calls)]
    return planner.fragment(
        "by-index-values", lambda leaves: select_node(None, names, leaves[0]), [stage], [stage.schema]
    )


def _call(operation: str, like: Stage, calls: Sequence[Call], sources: Sequence[Input], function: Any) -> Stage:
    """Compute columns by a function of the rows and of what else is needed."""
    schema = {**like.schema, **{call.out: call.dtype for call in calls}}
    return CallStage(
        operation=operation,
        schema=schema,
        npartitions=like.npartitions,
        size=Size.guess(like.size.rows, schema, exact=like.size.exact, doubt=like.size.doubt),
        distinct=like.distinct,
        function=function,
        sources=tuple(sources),
        arguments=tuple(calls),
        indexed=True,
    )


# ---------------------------------------------------------------- windows


def _with_windows(planner: Planner, stage: Stage, items: Sequence[Item], calls: Sequence[Call]) -> Stage:
    """Compute windows over the rows of each partition and those of others that they reach to."""
    alike: dict[str, list[Call]] = {}
    sizes = {}
    for item, call in zip(items, calls, strict=True):
        if call.kind == WINDOWS:
            size = item.tree["Function"]["function"][WINDOWS]["options"]["window_size"]
            sizes[repr(size)] = size
            alike.setdefault(repr(size), []).append(call)
    sorted_rows = stage
    for key, group in alike.items():
        needed = _needed(planner, sorted_rows, group)
        leaf = Node(SOURCE, {"source": StageSource(needed)})
        some = decode_expr(pl.col(INDEX).drop_nulls())
        bounds = bounds_of(planner, "rolling_by", leaf, needed, some, needed.schema[INDEX])
        reach = reach_of("rolling_by", bounds, {**sizes[key], "negative": True}, ())
        sources = [Input(needed), Input(reach, Mode.BROADCAST)]
        context = send_rows(
            planner, "rolling_by", send_to_windows, sources, needed.schema, (INDEX,), needed.npartitions
        )
        stage = _call("rolling_by", stage, group, [Input(stage), Input(context)], run_windows)
    return stage


# ---------------------------------------------------------------- weights and interpolations


def _with_neighbours(planner: Planner, stage: Stage, calls: Sequence[Call]) -> Stage:
    """Compute what needs one row before a partition, and one behind it."""
    if not calls:
        return stage
    index = stage.schema[INDEX]
    needed = _needed(planner, stage, calls)
    schema = {key: dtype for call in calls for key, dtype in call.summary_schema(index).items()}
    parts = CallStage(
        operation="by-index-summary",
        schema=schema,
        npartitions=stage.npartitions,
        size=Size.guess(stage.npartitions, schema, exact=True),
        function=summarized,
        sources=(Input(needed),),
        arguments=tuple(calls),
    )
    schema = {key: dtype for call in calls for key, dtype in call.neighbour_schema(index).items()}
    neighbours = CallStage(
        operation="by-index-carry",
        schema=schema,
        npartitions=1,
        size=Size.guess(stage.npartitions, schema, exact=True),
        function=neighbours_of,
        sources=(Input(planner.gather(parts)),),
        arguments=tuple(calls),
    )
    return _call("by-index", stage, calls, [Input(stage), Input(neighbours, Mode.BROADCAST)], run_neighbours)
