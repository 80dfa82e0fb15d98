"""
join_where with aggregations among its conditions, which Polars computes over the product of both sides.

An aggregation of columns of one side that does not change if all rows are there several times is the same over the rows
of that side. It becomes a value beside the rows of the side that it is compared with::

    join_where(other, a > b.mean(), c < d)  ->  filter(a > s0) over join_where(other, c < d) of rows beside b.mean()

If the other side has no rows there is no outcome, whatever the value is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dask_polars.dsl.codec import to_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    aggregation_of,
    alias,
    children,
    column,
    columns_of,
    map_children,
    renamed,
    shape,
)
from dask_polars.dsl.leaves import decode_with_sources, in_place_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import WITH_SCALARS
from dask_polars.plan.reread import kept
from dask_polars.plan.scalars import SCALAR, first_free

# Those that are the same if all rows are there twice, or any number of times.
_UNCHANGED = ("Min", "Max", "Mean", "Median", "NUnique")


@dataclass
class Taken:
    """
    Aggregations that were taken out of conditions.

    Parameters
    ----------
    names
        For both sides the names that their columns have in the conditions, and those that they have there.
    first
        The first free number for the names of values.
    values
        The aggregations over a side whose values are beside the rows of a side, by both sides.
    """

    names: Mapping[str, Mapping[str, str]]
    first: int
    values: dict[tuple[str, str], dict[str, Expression]] = field(default_factory=dict)
    count: int = 0
    refused: bool = False

    def rewrite(self, tree: Expression) -> Expression:
        """Take the aggregations out of a condition."""
        read = _beside_rows(tree)
        # Beside the rows that they are compared with, so that fewer of these meet the other side.
        beside = "right" if read and read <= set(self.names["right"]) else "left"
        return self._rewritten(tree, beside)

    def _rewritten(self, tree: Expression, beside: str) -> Expression:
        if aggregation_of(tree) is None and shape(tree) in (Shape.ROW, Shape.LITERAL):
            return tree
        if aggregation_of(tree) is not None:
            side = self._side_of(tree)
            if side is not None:
                return self._value(tree, side, beside)
            self.refused = True
            return tree
        if shape(tree) not in (Shape.MIXED, Shape.SCALAR) or not children(tree):
            self.refused = True
            return tree
        return map_children(tree, lambda child: self._rewritten(child, beside)) or tree

    def _side_of(self, tree: Expression) -> str | None:
        """Say of which side an aggregation is that may be computed of it alone; None where it may not."""
        name, _ = aggregation_of(tree) or ("", None)
        below = children(tree) or ()
        if name not in _UNCHANGED or not all(shape(child) in (Shape.ROW, Shape.ROWS) for child in below):
            return None
        read = columns_of(tree)
        return next((side for side in ("left", "right") if read and read <= set(self.names[side])), None)

    def _value(self, tree: Expression, side: str, beside: str) -> Expression:
        found = self.values.setdefault((side, beside), {})
        key = repr(tree)
        if key not in found:
            name = f"{SCALAR}{self.first + self.count}"
            self.count += 1
            found[key] = alias(renamed(tree, self.names[side]), name)
        return column(found[key]["Alias"][1])

    def reads(self, side: str) -> bool:
        """Say whether a side is read for values, too."""
        return any(of == side for of, _ in self.values)

    def beside(self, side: str, nodes: Mapping[str, Node]) -> Node:
        """Put beside the rows of a side what they are compared with."""
        node = nodes[side]
        for (of, where), trees in self.values.items():
            if where == side:
                node = Node(WITH_SCALARS, {}, (node, select_node(None, list(trees.values()), nodes[of])))
        return node


def _beside_rows(tree: Expression) -> set[str]:
    """Name the columns that an expression reads row by row."""
    if aggregation_of(tree) is not None:
        return set()
    below = children(tree)
    return set().union(*map(_beside_rows, below)) if below else columns_of(tree)


def without_aggregations(planner: Planner, core: Node, names: Mapping[str, Mapping[str, str]]) -> Node | None:
    """
    Write a join_where with aggregations among its conditions without them.

    Parameters
    ----------
    planner
        The planner.
    core
        The join, of the rows that match.
    names
        For both sides the columns that they have, by the names of these in the conditions.

    Returns
    -------
    Node or None
        The same rows and columns; None where an aggregation is not known to be that of one side.
    """
    trees = core.fields["condition"]["NonEqui"]["predicates"]
    taken = Taken(names, first_free(SCALAR, planner.schema(core)))
    conditions = [tree for tree in trees if shape(tree) in (Shape.ROW, Shape.LITERAL)]
    filters = [taken.rewrite(tree) for tree in trees if shape(tree) not in (Shape.ROW, Shape.LITERAL)]
    if taken.refused:
        return None
    nodes = dict(zip(("left", "right"), core.inputs, strict=True))
    nodes = {side: kept(planner, node) if taken.reads(side) else node for side, node in nodes.items()}
    sides = [taken.beside(side, nodes) for side in nodes]
    (left, right), fill = in_place_of(sides, [planner.schema(node) for node in sides])
    suffix = core.fields["options"]["args"]["suffix"] or "_right"
    if conditions:
        joined = left.join_where(right, *map(to_expr, conditions), suffix=suffix)
    else:
        joined = left.join(right, how="cross", suffix=suffix)
    return fill(decode_with_sources(joined.filter(*map(to_expr, filters)).select(list(planner.schema(core)))))
