"""
The rules for expressions that have rows of their own, by their operations: how each is written as nodes on frames.

The rules themselves are in `output_rows.py`, and those for expressions of one value in `output_values.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    kind_of,
    shape,
    to_expr,
)
from dask_polars.dsl.nodes import Node
from dask_polars.plan.outputs import OUTPUT, Lifted, Lifter

Rule = Callable[[Lifter, Any], "Lifted | None"]
RULES: dict[str, Rule] = {}
SCALAR_RULES: dict[str, Rule] = {}


def rule_for(tree: Expression) -> Rule | None:
    """Give the rule for the operation at the top of an expression."""
    return RULES.get(operation_of(tree))


def scalar_rule_for(tree: Expression) -> Rule | None:
    """Give the rule for an expression that gives one value."""
    return SCALAR_RULES.get(operation_of(tree))


def operation_of(tree: Expression) -> str:
    """Name an operation: functions of lists, of text, … are not those of columns of the same name."""
    if kind_of(tree) == "Function":
        return "Function." + kind_of(tree["Function"]["function"])
    return f"Agg.{kind_of(tree['Agg'])}" if kind_of(tree) == "Agg" else kind_of(tree)


def rule(*names: str, table: dict[str, Rule] = RULES) -> Callable[[Rule], Rule]:
    def register(handler: Rule) -> Rule:
        table.update(dict.fromkeys(names, handler))
        return handler

    return register


def number_of(tree: Expression) -> int | None:
    """Give the whole number that an expression is, if it is one."""
    if kind_of(tree) != "Literal" or shape(tree) is not Shape.LITERAL:
        return None
    value = pl.select(to_expr(tree)).to_series()
    return value.item() if value.len() == 1 and value.dtype.is_integer() else None


def inputs_of(tree: Expression) -> list[Expression]:
    return tree["Function"]["input"]


def options_of(tree: Expression) -> Any:
    found = tree["Function"]["function"]
    return found[kind_of(found)] if isinstance(found, Mapping) else None


def column_of(lifter: Lifter, tree: Expression) -> tuple[Node, str]:
    """Give an expression as a plan of one column, and the name of this."""
    node, (name,) = lifter.columns([tree])
    return node, name


def indexed(node: Node) -> tuple[Node, str]:
    """Number the rows of a plan."""
    name = f"{OUTPUT}{node.digest[:16]}"  # the same for the same rows, and none of their columns
    return Node("MapFunction", {"input": None, "function": {"RowIndex": {"name": name, "offset": 0}}}, (node,)), name


def tree_of(expr: pl.Expr) -> Expression:
    return decode_expr(expr)
