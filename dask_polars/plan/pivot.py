"""
pivot: a group_by with an aggregation for each new column.

It is what Polars makes of it too, where the values of the new columns are given, as they are for lazy frames::

    pivot("c", on_columns=["x", "y"], index="k", values="v", aggregate_function="sum")
        ->  group_by("k").agg(x=v.filter(c == "x").sum(), y=v.filter(c == "y").sum())
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, alias, column, expand, map_children
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import group_by_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import Planner, SchemaDict, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import Stage


@lowers("Pivot")
def lower_pivot(planner: Planner, region: Region) -> Stage:
    """Lower a pivot."""
    core = region.core
    grouped = as_group_by(core, planner.schema(core.input), planner.schema(core))
    if grouped is None or dict(planner.schema(grouped)) != dict(planner.schema(core)):
        return gather_and_run(planner, region, "pivot", "columns or values of a kind that is not looked up by groups")
    return planner.lower(region.over(grouped))


def as_group_by(node: Node, schema: SchemaDict, outcome: SchemaDict) -> Node | None:
    """
    Write a pivot as a group_by.

    Parameters
    ----------
    node
        The pivot.
    schema
        The schema of its input.
    outcome
        Its own schema.

    Returns
    -------
    Node or None
        None where values cannot be written as literals, or where there is no index to group by.
    """
    index, on, values = (_names(node.fields[name], schema) for name in ("index", "on", "values"))
    looked_up = node.fields["on_columns"].frame()
    if not index or any(dtype.is_nested() or dtype.is_object() for dtype in looked_up.dtypes):
        return None
    names = list(outcome)[len(index) :]
    if len(names) != len(values) * looked_up.height:
        return None
    made = iter(names)
    aggregations = [
        alias(
            _over(node.fields["agg"], {"Filter": {"input": column(value), "by": _is(on, looked_up, row)}}), next(made)
        )
        for value in values
        for row in range(looked_up.height)
    ]
    keys = [column(name) for name in index]
    return group_by_node(keys, aggregations, node.input, maintain_order=node.fields["maintain_order"])


def _names(selector: Any, schema: SchemaDict) -> list[str]:
    return [tree["Column"] for tree in expand([{"Selector": selector}], schema)]


def _is(on: Sequence[str], looked_up: pl.DataFrame, row: int) -> Expression:
    """Say that a row has the values of one of the new columns."""
    tests = []
    for name, values in zip(on, looked_up.get_columns(), strict=True):
        value = values[row]
        if value is not None and values.dtype.is_temporal():
            # Python has no nanoseconds.
            literal = pl.lit(values.to_physical()[row]).cast(values.dtype)
        else:
            literal = pl.lit(value, dtype=values.dtype)
        tests.append(pl.col(name).is_null() if value is None else pl.col(name).eq_missing(literal))
    return decode_expr(tests[0] if len(tests) == 1 else pl.all_horizontal(tests))


def _over(tree: Expression, values: Expression) -> Expression:
    """Aggregate the values of a group that belong to a column, in place of ``pl.element()``."""
    if tree == "Element":
        return values
    return map_children(tree, lambda child: _over(child, values)) or tree
