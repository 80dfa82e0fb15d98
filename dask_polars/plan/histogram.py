"""
hist: how many values are in each bin.

Each partition counts with bins that begin and end where those of all rows do. Where the bins are not given, that is up to
the least and the greatest value, which are put beside the rows of every partition, and not counted in the end::

    a.hist(bin_count=5)  ->  sums <- [a.append(ends).hist(…) - ends.hist(…)] <- ends: [a.min(), a.max()]
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, alias, column, kind_of, to_expr
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import group_by_node, schema_over, select_node, sort_node, with_columns_node
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, SchemaDict, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import kept
from dask_polars.plan.stages import Input, Size, Stage
from dask_polars.ranks import VALUE

HISTOGRAM = "Histogram"  # a node of ours: the histogram of the only column of its input, which is called `VALUE`
BIN, COUNT, LOW, HIGH = "__dp_bin", "__dp_count", "__dp_low", "__dp_high"


def histogram_node(tree: Expression, values: Node, schema: SchemaDict) -> Node | None:
    """
    Build the node that gives a histogram.

    Parameters
    ----------
    tree
        The histogram, as the user wrote it.
    values
        A plan of one column, called ``VALUE``.
    schema
        Its schema.

    Returns
    -------
    Node or None
        None where bins are not known beforehand, and for what Polars has no histogram of.
    """
    _, *bins = tree["Function"]["input"]
    if any(kind_of(item) != "Literal" for item in bins):
        return None
    if not (schema[VALUE].is_integer() or schema[VALUE].is_float()):
        return None
    return Node(HISTOGRAM, {"tree": tree}, (values,))


def _of(tree: Expression, values: pl.Expr, *, counts: bool = False) -> pl.Expr:
    """Give the histogram of other values, or no more than its counts."""
    call = tree["Function"]
    options = call["function"]["Hist"]
    if counts:
        options = {**options, "include_category": False, "include_breakpoint": False}
    inputs = [decode_expr(values), *call["input"][1:]]
    return to_expr({"Function": {**call, "input": inputs, "function": {"Hist": options}}})


def _schema(node: Node, inputs: Sequence[SchemaDict]) -> SchemaDict:
    return schema_over(select_node(None, [_whole(node)], node.input), inputs)


def _whole(node: Node) -> Expression:
    return alias(decode_expr(_of(node.fields["tree"], pl.col(VALUE))), VALUE)


OUR_SCHEMAS[HISTOGRAM] = _schema


@lowers(HISTOGRAM)
def lower_histogram(planner: Planner, region: Region) -> Stage:
    """Lower a histogram of a column."""
    core = region.core
    schema, tree = planner.schema(core.input), core.fields["tree"]
    whole = select_node(None, [_whole(core)], core.input)
    (needed,) = planner.push_down(whole.with_inputs, [core.input])
    source = kept(planner, needed)
    rows = planner.lower(source)
    if rows.npartitions == 1:
        return planner.fragment("hist", lambda leaves: region.over(whole.with_inputs(leaves)), [rows], [schema])
    low, high = pl.col(LOW).first(), pl.col(HIGH).first()
    value = pl.col(VALUE)
    extremes = [decode_expr(value.min().alias(LOW)), decode_expr(value.max().alias(HIGH))]
    ends = planner.gather(planner.lower(select_node(None, extremes, source)))
    beside = _of(tree, value.append(low).append(high), counts=True) - _of(tree, low.append(high), counts=True)
    parts = planner.fragment(
        "hist-partial",
        lambda leaves: _numbered(select_node(None, [decode_expr(beside.alias(COUNT))], leaves[0])),
        [Input(rows, scalars=ends)],
        [{**schema, **ends.schema}],
        size=Size.guess(10 * rows.npartitions, {BIN: pl.UInt32(), COUNT: pl.UInt32()}),
    )
    combined = planner.tree("hist-combine", parts, _summed)
    out = planner.schema(core)[VALUE]
    # What the bins are does not depend on how many values are in them.
    found = _of(tree, low.append(high))
    count = pl.col(COUNT)
    if isinstance(out, pl.Struct):
        names = [field.name for field in out.fields]
        found = pl.struct(count.alias(name) if name == "count" else found.struct.field(name) for name in names)
    else:
        found = count
    return planner.fragment(
        "hist",
        lambda leaves: region.over(select_node(None, [decode_expr(found.alias(VALUE))], _summed(leaves[0], LOW, HIGH))),
        [Input(combined, scalars=ends)],
        [{**combined.schema, **ends.schema}],
    )


def _numbered(node: Node) -> Node:
    numbered = with_columns_node([decode_expr(pl.int_range(pl.len(), dtype=pl.UInt32).alias(BIN))], node)
    return select_node(None, [column(BIN), column(COUNT)], numbered)


def _summed(node: Node, *kept_too: str) -> Node:
    """Add up what was counted for each bin."""
    aggregated = [pl.col(COUNT).sum(), *(pl.col(name).first() for name in kept_too)]
    return sort_node([column(BIN)], group_by_node([column(BIN)], [decode_expr(item) for item in aggregated], node))


__all__ = ["HISTOGRAM", "histogram_node", "lower_histogram"]
