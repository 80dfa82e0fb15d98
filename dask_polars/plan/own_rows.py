"""
Columns and predicates that have rows of their own, beside the rows of a frame: sorted, filtered, picked, put together.

A `with_columns`, and a filter, become a select of all columns, of which `plan/outputs.py` makes plans::

    with_columns(d=a.sort().diff())  ->  select(a, b, a.sort().diff() as d)
    filter(a > a.reverse())          ->  filter(p) over select(a, b, a > a.reverse() as p)

Whether there are as many values as rows turns out when the query runs. Polars' streaming engine puts such columns beside
the others as a select does.
"""

from __future__ import annotations

from collections.abc import Sequence

from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    column,
    columns_of,
    null_column,
    output_name,
    shape,
)
from dask_polars.dsl.schemas import filter_node, select_node
from dask_polars.plan.outputs import lower_outputs
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import Stage

PREDICATE = "__dp_predicate"
ROWS = "__dp_rows"  # a column of the rows, where all else that is asked for may have another height


def lower_columns(planner: Planner, region: Region, trees: Sequence[Expression]) -> Stage | None:
    """
    Lower columns that have rows of their own.

    Parameters
    ----------
    planner
        The planner.
    region
        The region, whose core is the `with_columns`.
    trees
        The columns, without selectors.

    Returns
    -------
    Stage or None
        None where it is not known what they do.
    """
    made = {output_name(tree): tree for tree in trees}
    return _lower_beside(planner, region, made)


def lower_predicate(planner: Planner, region: Region, tree: Expression) -> Stage | None:
    """
    Lower a filter whose predicate has rows of its own.

    Parameters
    ----------
    planner
        The planner.
    region
        The region, whose core is the filter.
    tree
        The predicate, without selectors.

    Returns
    -------
    Stage or None
        None where it is not known what it does.
    """
    return _lower_beside(planner, region, {}, tree)


def _lower_beside(
    planner: Planner, region: Region, made: dict[str, Expression], predicate: Expression | None = None
) -> Stage | None:
    core = region.core
    below, schema = planner.schema(core.input), planner.schema(core)
    (demand,) = planner.demands(lambda leaves: region.over(leaves[0]), [schema])
    needed = set(schema if demand.columns is None else demand.columns)
    outputs = [
        made.get(name, column(name)) if name in needed else null_column(name, dtype) for name, dtype in schema.items()
    ]
    if predicate is not None:
        outputs.append(alias(predicate, PREDICATE))
    if not any(shape(tree) in (Shape.ROW, Shape.MIXED) for tree in outputs):
        read = {name for tree in outputs for name in columns_of(tree)}
        names = [name for name in below if name in read] or list(below)
        if not names:
            return None
        outputs.append(alias(column(names[0]), ROWS))
    select = select_node(None, outputs, core.input)
    on_top = [select_node(None, [column(name) for name in schema], select, keep_height=True)]
    if predicate is not None:
        on_top.append(filter_node(column(PREDICATE), select))
    return lower_outputs(planner, Region((*region.chain, *on_top), select), outputs)
