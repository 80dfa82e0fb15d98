"""The planner: one module for each operation, registered on one dispatch."""

from dask_polars.plan import (
    distinct,
    fallback,
    group_by,
    hconcat,
    join,
    merge_sorted,
    order_statistics,
    outputs,
    reverse,
    row_index,
    select,
    sink,
    slice,
    sort,
    sources,
    union,
)
from dask_polars.plan.planner import Fallback, Planner
from dask_polars.plan.query import Plan, plan_queries

__all__ = [
    "Fallback",
    "Plan",
    "Planner",
    "distinct",
    "fallback",
    "group_by",
    "hconcat",
    "join",
    "merge_sorted",
    "order_statistics",
    "outputs",
    "plan_queries",
    "reverse",
    "row_index",
    "select",
    "sink",
    "slice",
    "sort",
    "sources",
    "union",
]
