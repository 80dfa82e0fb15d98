"""
over(mapping_strategy="explode"): the rows of the groups, one group after the other, in the order of their first rows.

What is computed row by row inside of it is computed of the rows in that order. For that each row gets the number of the
first row of its group, and rows are sorted by it, so that a group may be larger than a partition::

    v.over(k, explode)  ->  select(v) <- sort(first, i) <- i.min().over(k) as first <- row index i

Anything else is an aggregation of the groups, whose lists are taken apart::

    v.head(2).over(k, explode)  ->  explode <- group_by(k, maintain_order=True).agg(v.head(2))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Shape, alias, column, columns_of, kind_of, shape, walk_expression
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, group_by_node, select_node, sort_node, with_columns_node
from dask_polars.plan.outputs import OUTPUT, Lifted, Lifter
from dask_polars.plan.window import has_rows_of_its_own, order_of


def exploded_window(lifter: Lifter, window: Mapping[str, Any]) -> Lifted | None:
    """
    Write an exploding window as a plan.

    Parameters
    ----------
    lifter
        With the rows.
    window
        The arguments of ``over``.

    Returns
    -------
    Lifted or None
        None where it is not known to be what Polars gives.
    """
    function, keys = window["function"], window["partition_by"]
    by, descending, nulls_last = order_of(window)
    if not keys or any(shape(key) is not Shape.ROW for key in [*keys, *by]):
        return None
    inside = list(walk_expression(function))
    if any(has_rows_of_its_own(item) or kind_of(item) in ("Over", "Rolling") for item in inside):
        return None
    if shape(function) is Shape.LITERAL or not (columns_of(function) or "Len" in inside):
        return None
    if shape(function) is Shape.ROW:
        node, first, number = _with_first(lifter.base, window)
        descending, nulls_last = [False, *descending, False], [False, *nulls_last, False]
        sort = [column(first), *by, column(number)]
        return Lifted(sort_node(sort, node, descending=descending, nulls_last=nulls_last), function)
    name = lifter.name()
    if by:
        node, first, number = _with_first(lifter.base, window)
        rows = sort_node([*by, column(number)], node, descending=[*descending, False], nulls_last=[*nulls_last, False])
        groups = sort_node([column(first)], group_by_node([column(first)], [alias(function, name)], rows))
    else:
        labels = [alias(key, f"{name}_{place}") for place, key in enumerate(keys)]
        groups = group_by_node(labels, [alias(function, name)], lifter.base, maintain_order=True)
    return _taken_apart(lifter, window, groups, name)


def _with_first(base: Node, window: Mapping[str, Any]) -> tuple[Node, str, str]:
    """Number the rows, and put the number of the first row of its group beside each."""
    number = f"{OUTPUT}{base.digest[:16]}"  # the same for the same rows, and none of their columns
    node = Node("MapFunction", {"input": None, "function": {"RowIndex": {"name": number, "offset": 0}}}, (base,))
    first = f"{number}_first"
    # Groups come in the order of their first rows: where they are ordered, of those that come first then.
    function = decode_expr(pl.col(number).first() if window["order_by"] else pl.col(number).min())
    of_group = {"Over": {**window, "function": function, "mapping": "GroupsToRows"}}
    return with_columns_node([alias(of_group, first)], node), first, number


def _taken_apart(lifter: Lifter, window: Mapping[str, Any], groups: Node, name: str) -> Lifted | None:
    """Take lists apart, where the groups gave lists; values of groups are what they are."""
    (dtype,) = expression_dtypes([{"Over": window}], lifter.planner.schema(lifter.base))
    found = lifter.planner.schema(groups)[name]
    if found == dtype:
        return Lifted(select_node(None, [column(name)], groups), column(name))
    if found != pl.List(dtype):
        return None
    exploded = decode_expr(pl.col(name).explode(empty_as_null=True).alias(name))
    return Lifted(select_node(None, [exploded], groups), column(name))
