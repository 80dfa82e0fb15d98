"""Aggregations inside of other expressions: they are taken out, and put beside every row as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dask_polars.dsl.expressions import Expression, Shape, alias, column, map_children, named_like, shape
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.regions import WITH_SCALARS

SCALAR = "__dp_scalar_"


def first_free(prefix: str, taken: Iterable[str]) -> int:
    """Give the number from which on names of a prefix and a number are free."""
    numbers = [name.removeprefix(prefix) for name in taken if name.startswith(prefix)]
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


class Extraction:
    """
    Takes the aggregations out of expressions.

    Parameters
    ----------
    taken
        Names of columns that are there already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.scalars: dict[str, Expression] = {}
        self._first = first_free(SCALAR, taken)

    def beside(self, rows: Node) -> Node:
        """Put what was taken out beside the rows that it was computed from."""
        return Node(WITH_SCALARS, {}, (rows, select_node(None, list(self.scalars.values()), rows)))

    def rewrite(self, tree: Expression) -> Expression:
        if shape(tree) is Shape.SCALAR:
            key = repr(tree)
            if key not in self.scalars:
                self.scalars[key] = alias(tree, f"{SCALAR}{self._first + len(self.scalars)}")
            return column(self.scalars[key]["Alias"][1])
        return tree if shape(tree) is not Shape.MIXED else self._below(tree, self.rewrite)

    def rewrite_named(self, tree: Expression) -> Expression:
        return named_like(self.rewrite(tree), tree)

    def rewrite_inside(self, tree: Expression) -> Expression:
        """Take out only what is aggregated inside of other aggregations, as in ``(a - a.mean()).abs().sum()``."""
        return self.rewrite(tree) if shape(tree) is Shape.MIXED else self._below(tree, self.rewrite_inside)

    def _below(self, tree: Expression, rewrite: Callable[[Expression], Expression]) -> Expression:
        return map_children(tree, lambda child: named_like(rewrite(child), child)) or tree
