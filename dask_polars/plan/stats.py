"""``LazyFrame.sum()``, ``.mean()`` and the like, as aggregations of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, kind_of, to_expr

Test = Callable[[pl.DataType], bool]


def _numeric(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _numeric_or_duration(dtype: pl.DataType) -> bool:
    return _numeric(dtype) or dtype.base_type() is pl.Duration


def _averageable(dtype: pl.DataType) -> bool:
    return _numeric(dtype) or dtype.is_temporal()


def _orderable(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and not dtype.is_object() and dtype != pl.Null


_STATS: dict[str, tuple[Test, Callable[[pl.Expr, Any], pl.Expr]]] = {
    "Sum": (_numeric_or_duration, lambda e, _: e.sum()),
    "Mean": (_averageable, lambda e, _: e.mean()),
    "Median": (_averageable, lambda e, _: e.median()),
    "Min": (_orderable, lambda e, _: e.min()),
    "Max": (_orderable, lambda e, _: e.max()),
    "Var": (_numeric, lambda e, args: e.var(args["ddof"])),
    "Std": (_numeric, lambda e, args: e.std(args["ddof"])),
    "Quantile": (
        _numeric,
        lambda e, args: e.quantile(to_expr(args["quantile"]), interpolation=args["method"].lower()),
    ),
}


def stats_expressions(stats: Any, schema: Mapping[str, pl.DataType]) -> list[Expression] | None:
    """
    Write a statistic of a whole frame as one expression for each column.

    Parameters
    ----------
    stats
        What Polars' plan says: a name, or a name with its arguments.
    schema
        The columns of the frame.

    Returns
    -------
    list of expressions, or None
        None for a statistic that is not known here. Columns of types without the statistic give null.
    """
    name = kind_of(stats)
    if name not in _STATS:
        return None
    applies, build = _STATS[name]
    arguments = None if isinstance(stats, str) else stats[name]
    out = []
    for column_name, dtype in schema.items():
        if applies(dtype):
            out.append(build(pl.col(column_name), arguments))
        else:
            out.append(pl.lit(None, dtype=dtype).alias(column_name))
    return [decode_expr(expr) for expr in out]
