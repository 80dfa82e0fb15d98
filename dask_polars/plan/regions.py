"""Regions: row by row nodes on top of at most one wide node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from dask_polars.dsl.expressions import Expression, Shape, kind_of, shape
from dask_polars.dsl.leaves import PIPE
from dask_polars.dsl.nodes import Node, of_node_itself
from dask_polars.dsl.schemas import select_node, slice_node
from dask_polars.dsl.sql import SQL, resolve_sql
from dask_polars.dsl.typed import mentions_types, resolve_types
from dask_polars.plan.stats import stats_expressions

SchemaOf = Callable[[Node], Mapping[str, pl.DataType]]

WITH_SCALARS = "WithScalars"  # a node of ours: rows (the first input) beside the values of one row (the second)

# Functions on frames that give the same rows for a part of the rows as for all. `Unpivot` gives them in another order,
# which Polars does not promise.
_ROW_WISE_FUNCTIONS = ("Rename", "Explode", "Unnest", "Unpivot", "FillNan", "Hint", "DropNulls", "Rechunk")


# Those that give a row for each row.
_KEEPING_ROWS = ("Rename", "Unnest", "FillNan", "Hint", "Rechunk")


@dataclass(frozen=True)
class Region:
    """
    A part of a plan that one fragment runs.

    Parameters
    ----------
    chain
        Row by row nodes, the top one first.
    core
        What they stand on: a wide node, or a leaf.
    """

    chain: tuple[Node, ...]
    core: Node

    @property
    def root(self) -> Node:
        """The region as it was."""
        return self.nodes[-1] if self.nodes else self.core

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The row by row nodes, each over the one below it, the lowest one first."""
        return tuple(self._put_over(self.core))

    def over(self, node: Node) -> Node:
        """Put the row by row nodes on top of another node."""
        return [node, *self._put_over(node)][-1]

    def _put_over(self, node: Node) -> Iterator[Node]:
        for item in reversed(self.chain):
            node = item.with_inputs((node,))
            yield node

    def over_first(self, leaves: Sequence[Node]) -> Node:
        """Put the row by row nodes on top of a leaf in place of the core."""
        return self.over(leaves[0])

    def build(self, leaves: Sequence[Node]) -> Node:
        """Give the region over other inputs of its core."""
        return self.over(self.core.with_inputs(leaves))


def find_region(node: Node, schema_of: SchemaOf) -> Region:
    """Cut a region off the top of a plan."""
    chain = []
    while is_row_wise(node):
        chain.append(node)
        node = simplify(node.input, schema_of)
    return Region(tuple(chain), node)


@of_node_itself
def is_row_wise(node: Node) -> bool:
    """Say whether a node gives the same rows for a part of the rows as for all of them."""
    if node.kind == "Filter":
        return shape(node.fields["predicate"]) in (Shape.ROW, Shape.LITERAL)
    if node.kind == "HStack":
        return all(shape(tree) in (Shape.ROW, Shape.LITERAL) for tree in node.fields["exprs"])
    if node.kind == "Select":
        return is_row_wise_select(node)
    if node.kind == "MapFunction":
        return function_of(node) in _ROW_WISE_FUNCTIONS
    return node.kind == "MatchToSchema"


def keeps_rows(node: Node) -> bool:
    """Say whether a node, which is row by row, gives a row for each row."""
    if node.kind == "Select":
        return all(shape(tree) in (Shape.ROW, Shape.LITERAL) for tree in node.fields["expr"])
    if node.kind == "MapFunction":
        return function_of(node) in _KEEPING_ROWS
    return node.kind in ("HStack", "MatchToSchema")


def is_row_wise_select(node: Node) -> bool:
    """Say whether a select gives the same rows for a part of the rows as for all of them."""
    shapes = [shape(tree) for tree in node.fields["expr"]]
    if shapes == [Shape.ROWS]:
        return True  # alone, it may drop rows
    if not set(shapes) <= {Shape.ROW, Shape.LITERAL}:
        return False
    # Only literals: one row, whatever is below, unless the height is to be kept.
    return Shape.ROW in shapes or keeps_height(node)


def keeps_height(node: Node) -> bool:
    """Say whether a select gives as many rows as its input has, whatever it selects."""
    return bool(node.fields["options"]["maintain_dataframe_height"])


def function_of(node: Node) -> str:
    """Name the function of a ``MapFunction``."""
    return kind_of(node.fields["function"])


def simplify(node: Node, schema_of: SchemaOf) -> Node:
    """Write the top node of a plan with fewer kinds of nodes."""
    while True:
        simpler = _simplify_once(node, schema_of)
        if simpler is node:
            return node
        node = simpler


def _simplify_once(node: Node, schema_of: SchemaOf) -> Node:
    if node.kind == "Cache":
        return node.input  # equal parts of a plan are computed once anyway
    if node.kind == "MapFunction" and function_of(node) == "Stats":
        expressions = stats_expressions(node.fields["function"]["Stats"], schema_of(node.input))
        if expressions is not None:
            select = select_node(None, expressions, node.input)
            if dict(schema_of(select)) == dict(schema_of(node)):
                return select
    if node.kind == "Scan":
        return _simplify_scan(node)
    if len(node.inputs) == 1 and mentions_types(node):
        return resolve_types(node, schema_of(node.input))
    if node.kind == SQL:
        return resolve_sql(node, [schema_of(child) for child in node.inputs]) or node
    if node.kind == PIPE:
        return node.fields["function"].resolve(node, [schema_of(child) for child in node.inputs])
    return node


def _simplify_scan(node: Node) -> Node:
    """Take what counts rows over all files (the number of rows, the row index) out of a scan."""
    arguments = node.fields["unified_scan_args"]
    row_index, rows = arguments["row_index"], arguments["pre_slice"]
    if row_index is None and rows is None:
        return node
    plain: Node = node.with_fields(unified_scan_args={**arguments, "row_index": None, "pre_slice": None})
    if row_index is not None:
        plain = Node("MapFunction", {"input": None, "function": {"RowIndex": row_index}}, (plain,))
    if rows is not None:
        ((direction, span),) = rows.items()
        offset = span["offset"] if direction == "Positive" else -span["offset_from_end"]
        plain = slice_node(offset, span["len"], plain)
    return plain


def describe(tree: Expression) -> str:
    """Name what an expression does that is not row by row, for people."""
    from dask_polars.dsl.expressions import children, function_name

    below = children(tree)
    if below is not None:
        for child in below:
            if shape(child) is Shape.OTHER:
                return describe(child)
    name = function_name(tree) or kind_of(tree)
    if kind_of(tree) == "Agg":
        name = kind_of(tree["Agg"])
    return f"`{name}`"
