"""
Selects and filters that need more than a row at a time.

A select of aggregations becomes partial aggregations, combined in a tree::

    select(a.sum() / len)  ->  select(f(p0, p1)) <- combine <- [select(a.sum() as p0, len as p1)] per partition

Aggregations inside other expressions become values that are put beside every row::

    filter(a > a.mean())  ->  filter(a > s0) over rows beside select(a.mean() as s0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    column,
    columns_of,
    expand,
    null_column,
    output_name,
    reads_rows,
    shape,
)
from dask_polars.dsl.leaves import Demand
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import empty_leaf, expression_dtypes, select_node
from dask_polars.plan.decompose import Decomposition, counts_values
from dask_polars.plan.fallback import gather_and_run, lower_fallback, operation_of
from dask_polars.plan.own_rows import lower_columns, lower_predicate
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import WITH_SCALARS, Region, is_row_wise, keeps_height
from dask_polars.plan.reread import kept, reads_again
from dask_polars.plan.scalars import Extraction
from dask_polars.plan.stages import Input, Mode, Size, Stage
from dask_polars.plan.wide import with_columns_of_other_rows, without_columns

_ONE_VALUE = {Shape.LITERAL, Shape.SCALAR}


@lowers("Select")
def lower_select(planner: Planner, region: Region) -> Stage:
    """Lower a select that is not row by row."""
    trees = _expanded(planner, region.core, region.core.fields["expr"])
    if trees is None:
        return lower_fallback(planner, region)
    shapes = {shape(tree) for tree in trees}
    one_value = shapes <= _ONE_VALUE and not keeps_height(region.core)
    if shapes <= {Shape.LITERAL} or (one_value and not any(map(reads_rows, trees))):
        # One row, whatever is below: nothing needs to be computed for it.
        leaf = empty_leaf(planner.schema(region.core.input))
        root = region.build([leaf])
        return planner.fragment("literal", lambda _: root, [], [], size=Size.guess(1, planner.schema(root), exact=True))
    wide = _lower_with_wide(planner, region, "expr", trees)
    if wide is not None:
        return wide
    if one_value:
        core = region.core.with_fields(expr=trees)
        return _lower_nested(planner, region, core) or _lower_aggregation(planner, Region(region.chain, core))
    if Shape.ROWS in shapes or Shape.OTHER in shapes:
        found = _outputs(planner, region, trees)
        if found is not None:
            return found
    return _lower_with_scalars(planner, region, "expr", trees)


def _outputs(planner: Planner, region: Region, trees: Sequence[Expression]) -> Stage | None:
    from dask_polars.plan.outputs import lower_outputs

    return None if keeps_height(region.core) else lower_outputs(planner, region, trees)


@lowers("HStack")
def lower_with_columns(planner: Planner, region: Region) -> Stage:
    """Lower a with_columns that is not row by row."""
    trees = _expanded(planner, region.core, region.core.fields["exprs"])
    if trees is None:
        return lower_fallback(planner, region)
    return _lower_rows(planner, region, "exprs", trees)


@lowers("Filter")
def lower_filter(planner: Planner, region: Region) -> Stage:
    """Lower a filter that is not row by row."""
    predicate = region.core.fields["predicate"]
    probe = select_node(None, [predicate], region.core.input)
    trees = _expanded(planner, probe, [predicate])
    if trees is None or len(trees) != 1:
        return lower_fallback(planner, region)
    return _lower_rows(planner, region, "predicate", trees)


def _expanded(planner: Planner, node: Node, trees: Sequence[Expression]) -> list[Expression] | None:
    """Expand selectors; None where the outcome is not what Polars makes of them."""
    try:
        expanded = expand(trees, planner.schema(node.input))
    except ValueError:
        return None
    name = "exprs" if node.kind == "HStack" else "expr"
    same = list(planner.schema(node.with_fields(**{name: expanded})).items()) == list(planner.schema(node).items())
    return expanded if same else None


# ---------------------------------------------------------------- aggregations of all rows


def _lower_nested(planner: Planner, region: Region, core: Node) -> Stage | None:
    """Lower aggregations of what is computed with other aggregations: these come first."""
    extraction = Extraction(planner.schema(core.input))
    trees = [extraction.rewrite_inside(tree) for tree in core.fields["expr"]]
    if not extraction.scalars:
        return None
    return planner.lower(region.over(core.with_inputs((extraction.beside(core.input),)).with_fields(expr=trees)))


def _lower_aggregation(planner: Planner, region: Region) -> Stage:
    core = region.core
    schema = planner.schema(core.input)
    taken = Decomposition(lambda tree: expression_dtypes([tree], schema)[0], whole=True)
    finals = taken.finals(core.fields["expr"])
    if finals is not None and any(counts_values(tree) for tree in core.fields["expr"]):
        # Different values travel as lists of one row, which is right for few of them only.
        (source,) = planner.push_down(core.with_inputs, [core.input])
        if not planner.is_small(planner.lower(source).size):
            return _outputs(planner, region, core.fields["expr"]) or lower_fallback(planner, region)
    if finals is None:
        found = _outputs(planner, region, core.fields["expr"])
        return found or gather_and_run(planner, region, "select", taken.reason or "not decomposable", "aggregate")
    partials = list(taken.partials.values())
    partial = select_node(None, [item.expression for item in partials], core.input)
    (source,) = planner.push_down(partial.with_inputs, [core.input])
    rows = planner.lower(source)
    one_row_each = Size.guess(rows.npartitions, planner.schema(partial), exact=True)
    parts = planner.fragment("aggregate-partial", partial.with_inputs, [rows], [schema], size=one_row_each)
    combines = [item.combine for item in partials]
    combined = planner.tree("aggregate-combine", parts, lambda leaf: select_node(None, combines, leaf))

    def build(leaves: Sequence[Node]) -> Node:
        last = select_node(None, finals, select_node(None, combines, leaves[0]))
        return region.over(cast_to(planner, last, planner.schema(core)))

    one_row = Size.guess(1, planner.schema(core), exact=True)
    return planner.fragment("aggregate", build, [combined], [parts.schema], size=one_row)


def cast_to(planner: Planner, node: Node, schema: Any) -> Node:
    """Give a node the types of the user's query, where its own differ."""
    found = planner.schema(node)
    if dict(found) == dict(schema):
        return node
    casts = []
    for name, dtype in schema.items():
        tree = column(name)
        casts.append(tree if found[name] == dtype else cast(tree, dtype))
    return select_node(None, casts, node)


def key_names(core: Node) -> list[str]:
    """Name the key columns of the outcome of a group_by."""
    return [output_name(key) for key in core.fields["keys"]]


def finished_groups(planner: Planner, core: Node, groups: Node, finals: Sequence[Expression]) -> Node:
    """
    Make the outcome of a group_by of partial results that were combined.

    Parameters
    ----------
    planner
        The planner.
    core
        The group_by.
    groups
        Its keys, and the columns that the final expressions are over.
    finals
        Its aggregations, computed from these.

    Returns
    -------
    Node
        With the schema of the group_by.
    """
    node = select_node(None, [*(column(name) for name in key_names(core)), *finals], groups)
    return cast_to(planner, node, planner.schema(core))


def cast(tree: Expression, dtype: Any) -> Expression:
    """Build ``tree.cast(dtype)``."""
    return decode_expr(to_expr(tree).cast(dtype))


# ---------------------------------------------------------------- what needs other rows, inside of expressions


def _lower_rows(planner: Planner, region: Region, field: str, trees: Sequence[Expression]) -> Stage:
    wide = _lower_with_wide(planner, region, field, trees)
    if wide is not None:
        return wide
    if all(shape(tree) not in (Shape.ROWS, Shape.OTHER) for tree in trees):
        return _lower_with_scalars(planner, region, field, trees)
    own = lower_predicate(planner, region, trees[0]) if field == "predicate" else lower_columns(planner, region, trees)
    return own if own is not None else lower_fallback(planner, region)


def _lower_with_wide(planner: Planner, region: Region, field: str, trees: Sequence[Expression]) -> Stage | None:
    """Make columns of what needs other rows; None where there is nothing of the kind."""
    core = region.core
    found = with_columns_of_other_rows(planner, core.input, trees, named=field != "predicate")
    if found is None:
        return None
    if found.reason is not None:
        return gather_and_run(planner, region, operation_of(region), found.reason)
    changed: Any = found.trees[0] if field == "predicate" else found.trees
    node = core.with_inputs((found.rows,)).with_fields(**{field: changed})
    return planner.lower(region.over(node if core.kind == "Select" else without_columns(planner, core, node)))


def _lower_with_scalars(planner: Planner, region: Region, field: str, trees: Sequence[Expression]) -> Stage:
    core = region.core
    extraction = Extraction(planner.schema(core.input))
    if field == "predicate":
        changed: Any = extraction.rewrite(trees[0])
    else:
        changed = [extraction.rewrite_named(tree) for tree in trees]
    if not extraction.scalars:
        return lower_fallback(planner, region)
    node = core.with_inputs((extraction.beside(core.input),)).with_fields(**{field: changed})
    if not is_row_wise(node):
        return lower_fallback(planner, region)
    return planner.lower(region.over(node if core.kind == "Select" else without_columns(planner, core, node)))


@lowers(WITH_SCALARS)
def lower_with_scalars(planner: Planner, region: Region) -> Stage:
    """Lower rows beside the values of one row, which are broadcast."""
    rows, scalars = region.core.inputs
    names = set(planner.schema(scalars))
    schema = planner.schema(region.core)
    (demand,) = planner.demands(lambda leaves: region.over(leaves[0]), [schema])
    demand = _without(demand, names)
    needed = planner.restrict(rows, demand)
    if not reads_again(planner, planner.lower(needed)) and scalars.inputs[:1] == (rows,):
        rows, scalars = _read_once(planner, rows, scalars, demand)
        needed = planner.restrict(rows, demand)
    source = Input(planner.lower(needed), Mode.ALIGNED, scalars=planner.gather(planner.lower(scalars)))
    return planner.fragment("with-scalars", lambda leaves: region.over(leaves[0]), [source], [schema])


def _read_once(planner: Planner, rows: Node, scalars: Node, demand: Demand) -> tuple[Node, Node]:
    """Compute the rows once, with the columns that are needed for themselves and for the values beside them."""
    (other,) = planner.demands(scalars.with_inputs, [planner.schema(rows)])
    both = None
    if demand.columns is not None and other.columns is not None:
        both = tuple(name for name in planner.schema(rows) if name in {*demand.columns, *other.columns})
    full = planner.schema(rows)
    once = kept(planner, planner.restrict(rows, Demand(columns=both)))
    # What was left out is not read, but expressions may be about all columns.
    missing = [null_column(name, dtype) for name, dtype in full.items()]
    known = planner.schema(once)
    padded = select_node(None, [column(t["Alias"][1]) if t["Alias"][1] in known else t for t in missing], once)
    return padded, scalars.with_inputs((padded,))


def _without(demand: Demand, names: set[str]) -> Demand:
    """Keep of a demand what is about the rows, not about the values beside them."""
    filters = tuple(tree for tree in demand.filters if not columns_of(tree) & names)
    columns = None if demand.columns is None else tuple(name for name in demand.columns if name not in names)
    return Demand(filters, columns, demand.limit)


__all__ = ["cast_to", "lower_filter", "lower_select", "lower_with_columns", "lower_with_scalars"]
