"""
Expressions that are another expression once the types of the columns are known.

A function of ``pipe_with_dtype`` is given an expression and its type, and gives what stands in its place; the bounds of a
type are values. Polars resolves both before it runs a query, and here both are resolved while planning.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.dsl.expressions import (
    Expression,
    alias,
    expand,
    function_name,
    kind_of,
    map_children,
    output_name,
)
from dask_polars.dsl.nodes import Node, of_node_itself
from dask_polars.dsl.schemas import SchemaDict, expression_dtypes

_PIPE = "PipeWithDtype"
_BOUNDS = ("LowerBound", "UpperBound")
_FIELDS = {"Select": "expr", "HStack": "exprs", "Sort": "by_column"}


@of_node_itself
def mentions_types(node: Node) -> bool:
    """Say whether a node has expressions that are resolved by type."""
    names = ("expr", "exprs", "by_column", "predicate", "keys", "aggs", "predicates")
    return any(_mentions(node.fields.get(name)) for name in names)


def _mentions(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _PIPE in value or any(map(_mentions, value.values()))
    if isinstance(value, list):
        return any(map(_mentions, value))
    return isinstance(value, str) and value in _BOUNDS


def resolve_types(node: Node, schema: SchemaDict) -> Node:
    """
    Resolve the expressions of a node that depend on types.

    Parameters
    ----------
    node
        The node, which :func:`mentions_types`.
    schema
        The schema of its input.

    Returns
    -------
    Node
        The node itself where it is not known what its selectors select, and where nothing was resolved.
    """
    try:
        if node.kind in _FIELDS:
            name = _FIELDS[node.kind]
            return _changed(node, **{name: _resolved(expand(node.fields[name], schema), schema)})
        if node.kind == "Filter":
            found = _resolved(expand([node.fields["predicate"]], schema), schema)
            return _changed(node, predicate=found[0]) if len(found) == 1 else node
        if node.kind == "GroupBy":
            return _resolve_groups(node, schema)
    except ValueError:
        return node
    return node


def _resolve_groups(node: Node, schema: SchemaDict) -> Node:
    options = node.fields["options"]
    if options["dynamic"] is not None or options["rolling"] is not None:
        return node
    keys = _resolved(expand(node.fields["keys"], schema), schema, bounds=False)
    aggs = expand(node.fields["aggs"], schema, [output_name(key) for key in keys])
    having = expand(node.fields["predicates"], schema)
    return _changed(
        node,
        keys=keys,
        aggs=_resolved(aggs, schema, bounds=False),
        predicates=_resolved(having, schema, bounds=False),
    )


def _changed(node: Node, **fields: Any) -> Node:
    same = all(node.fields[name] == value for name, value in fields.items())
    return node if same else node.with_fields(**fields)


def _resolved(trees: Sequence[Expression], schema: SchemaDict, *, bounds: bool = True) -> list[Expression]:
    return [_resolve(tree, schema, bounds) for tree in trees]


def _resolve(tree: Expression, schema: SchemaDict, bounds: bool) -> Expression:
    # What is computed in groups has a bound for each of these: there Polars resolves it.
    inside = bounds and kind_of(tree) not in ("Over", "Rolling", "Agg")
    tree = map_children(tree, lambda child: _resolve(child, schema, inside)) or tree
    if kind_of(tree) == _PIPE:
        return _resolve(_called(tree[_PIPE], schema), schema, bounds)
    if bounds and function_name(tree) in _BOUNDS:
        value = pl.DataFrame(schema=schema).select(to_expr(tree)).to_series()
        return alias(decode_expr(pl.lit(value.item(), dtype=value.dtype)), output_name(tree))
    return tree


def _called(value: Mapping[str, Any], schema: SchemaDict) -> Expression:
    # Three bytes (how it was pickled, two of the version of Python) stand before the pickle.
    function = pickle.loads(bytes(value["callback"][3:]))
    inputs = [to_expr(item)._pyexpr for item in value["input"]]
    return decode_expr(pl.Expr._from_pyexpr(function((inputs, list(expression_dtypes(value["input"], schema))))))
