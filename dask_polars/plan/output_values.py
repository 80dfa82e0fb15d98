"""How each expression of one value that needs the rows of a plan is written as nodes on frames."""

from __future__ import annotations

import polars as pl

from dask_polars.dsl.expressions import (
    Expression,
    aggregation_of,
    alias,
    column,
    kind_of,
    map_children,
    to_expr,
)
from dask_polars.dsl.schemas import (
    expression_dtypes,
    filter_node,
    select_node,
    slice_node,
    sort_node,
    with_columns_node,
)
from dask_polars.plan.order_statistics import quantile_node
from dask_polars.plan.output_rows import distinct_of, picked, rows_of
from dask_polars.plan.output_rules import (
    SCALAR_RULES,
    column_of,
    indexed,
    inputs_of,
    number_of,
    operation_of,
    options_of,
    rule,
    tree_of,
)
from dask_polars.plan.outputs import Lifted, Lifter
from dask_polars.ranks import VALUE


@rule("Agg.Median", "Function.Quantile", table=SCALAR_RULES)
def _quantile(lifter: Lifter, tree: Expression) -> Lifted | None:
    below = rows_of(lifter, tree["Agg"]["Median"] if kind_of(tree) == "Agg" else inputs_of(tree)[0])
    if below is None:
        return None
    values = select_node(None, [alias(below.tree, VALUE)], below.node)
    found = quantile_node(tree, values, lifter.planner.schema(values))
    return None if found is None else Lifted(found, column(VALUE), scalar=True)


@rule("Agg.NUnique", table=SCALAR_RULES)
def _n_unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, tree["Agg"]["NUnique"])
    return Lifted(distinct_of(node), tree_of(pl.col(name).len()), scalar=True)


@rule("Function.ApproxNUnique", table=SCALAR_RULES)
def _approx_n_unique(lifter: Lifter, tree: Expression) -> Lifted:
    """The sketch of the different values is that of all values."""
    node, name = column_of(lifter, inputs_of(tree)[0])
    sketch = {"Function": {**tree["Function"], "input": [column(name)]}}
    return lifter.gathered(sketch, scalar=True, node=distinct_of(node), unknown=False)


@rule("Function.ArgMin", "Function.ArgMax", "Function.MinBy", "Function.MaxBy", table=SCALAR_RULES)
def _extreme(lifter: Lifter, tree: Expression) -> Lifted:
    operation = operation_of(tree)
    inputs = inputs_of(tree)
    if operation.startswith("Function.Arg"):
        node, by = column_of(lifter, inputs[0])
        node, name = indexed(node)
    else:
        node, (name, by) = lifter.columns(inputs)
    node = filter_node(tree_of(pl.col(by).is_not_null()), node)
    keys, descending = [column(by)], [operation.endswith(("Max", "MaxBy"))]
    if lifter.planner.schema(node)[by].is_float():
        keys, descending = [tree_of(pl.col(by).is_nan()), *keys], [False, *descending]
    first = slice_node(0, 1, sort_node(keys, node, descending=descending))
    return Lifted(first, tree_of(pl.col(name).first()), scalar=True)


@rule("Function.Correlation", table=SCALAR_RULES)
def _spearman(lifter: Lifter, tree: Expression) -> Lifted | None:
    """The correlation of ranks, of the rows that have both values; that of values is computed in parts."""
    method = options_of(tree)["method"]
    if kind_of(method) != "SpearmanRank":
        return None
    node, names = lifter.columns(inputs_of(tree))
    schema = lifter.planner.schema(node)
    node = filter_node(tree_of(pl.all_horizontal(pl.col(name).is_not_null() for name in names)), node)
    ranks = [lifter.name() for _ in names]
    ranked = [alias(tree_of(pl.col(name).rank("average")), rank) for name, rank in zip(names, ranks, strict=True)]
    node = with_columns_node(ranked, node)
    # Of no rows at all it is not null, as that of values is.
    out = pl.corr(*ranks).fill_null(float("nan"))
    floats = [name for name in names if schema[name].is_float()]
    if method["SpearmanRank"] and floats:
        out = (
            pl.when(pl.any_horizontal(pl.col(name).is_nan().any() for name in floats)).then(float("nan")).otherwise(out)
        )
    dtype = expression_dtypes([tree], lifter.planner.schema(lifter.base))[0]
    return Lifted(node, tree_of(out.cast(dtype)), scalar=True)


@rule("Gather", table=SCALAR_RULES)
def _get(lifter: Lifter, tree: Expression) -> Lifted | None:
    place = number_of(tree["Gather"]["idx"])
    if place is None:
        found = picked(lifter, tree)
        return Lifted(found.node, tree_of(to_expr(found.tree).first()), scalar=True)
    node, name = column_of(lifter, tree["Gather"]["expr"])
    # Of the rows from there on, the first one; of a row that is not there Polars says so.
    there = slice_node(place, 1, node)
    got = {"Gather": {**tree["Gather"], "expr": column(name), "idx": tree_of(pl.lit(0))}}
    return lifter.gathered(got, scalar=True, node=there, unknown=False)


@rule("Agg.First", "Agg.Last", table=SCALAR_RULES)
def _end(lifter: Lifter, tree: Expression) -> Lifted | None:
    """The first of sorted rows: those need not be sorted all."""
    name, value = aggregation_of(tree) or ("", None)
    if kind_of(value) not in ("Sort", "SortBy"):
        return None
    below = lifter.lift(value)
    span = (0, 1) if name == "First" else (-1, 1)
    found = map_children(tree, lambda _: below.tree)
    return Lifted(slice_node(*span, below.node), found, scalar=True)
