"""
What Polars gives another type than the schema says: `quantile` of Booleans in groups, for one.

Rows that are shuffled afterwards have to be of the types that the plan says. The answer is what Polars gives when a query runs.
"""

from __future__ import annotations

import polars as pl

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.expressions import (
    Expression,
    calls_python,
    columns_of,
    function_name,
    kind_of,
    walk_expression,
)
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict

# Of numbers these have the type that the schema says, and it is not asked for.
_DOUBTFUL = (
    *("Quantile", "Interpolate", "RollingExpr", "Pow", "SumHorizontal", "TrueDivide"),
    *("EwmMean", "EwmStd", "EwmVar", "EwmSum"),
)


def another_type(node: Node, trees: list[Expression], schema: SchemaDict) -> str | None:
    """
    Say what of some expressions has another type than the schema says.

    Parameters
    ----------
    node
        The node that they are of.
    trees
        The expressions, over columns.
    schema
        The schema of the input of the node.

    Returns
    -------
    str or None
        Why the node is not to be distributed. None where types are what the schema says, and where Polars fails, as it
        does when the query runs.
    """
    doubtful = [name for tree in trees for item in walk_expression(tree) if (name := _name(item)) in _DOUBTFUL]
    plain = all(schema[name].is_float() or schema[name].is_integer() for tree in trees for name in columns_of(tree))
    if not doubtful or plain or any(map(calls_python, trees)):
        return None
    one_row = pl.LazyFrame([pl.Series(name, [None], dtype=dtype) for name, dtype in schema.items()])
    try:
        asked = to_lazyframe(node.with_inputs((decode(one_row),)))
        same = asked.collect(engine="in-memory").schema == asked.collect_schema()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return None if same else f"`{doubtful[0]}` gives another type than the schema says"


def _name(tree: Expression) -> str | None:
    if kind_of(tree) == "BinaryExpr":
        return str(tree["BinaryExpr"]["op"])
    return function_name(tree)
