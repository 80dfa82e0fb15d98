"""
Selects whose outputs have rows of their own: each output is a plan of its own.

`select(c.a.sort(), c.b.unique().len(), c.g.value_counts())` has three outputs, none of them row by row. Each is written
as nodes on frames, which are lowered as if the user had written them::

    a.sort()           ->  select(a) then sort
    b.unique().len()   ->  select(b) then unique then select(len)
    g.value_counts()   ->  group_by(g).agg(len) then select(struct)

What is computed from the same rows stays together; the rest is put beside each other (`plan/hconcat.py`), and what is
one value is put beside every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    children,
    column,
    function_name,
    kind_of,
    map_children,
    named_like,
    operation_traits,
    output_name,
    reads_rows,
    shape,
    walk_expression,
)
from dask_polars.dsl.nodes import Node, walk
from dask_polars.dsl.schemas import expression_dtypes, select_node
from dask_polars.plan.decompose import Decomposition, counts_values
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.hconcat import beside_node
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, lowers
from dask_polars.plan.regions import WITH_SCALARS, Region, describe
from dask_polars.plan.reread import kept
from dask_polars.plan.stages import Size, Stage
from dask_polars.plan.wide import as_long_as_rows, is_moving

GATHERED = "GatheredSelect"  # a node of ours: a select that is run on all rows at once
OUTPUT = "__dp_output_"


@dataclass(frozen=True)
class Lifted:
    """
    An expression, as what is computed row by row from the rows of a plan.

    Parameters
    ----------
    node
        The plan.
    tree
        An expression over its columns.
    scalar
        Whether it is one value, which is there beside every row of others: then the expression aggregates the rows, or
        there is only one.
    """

    node: Node
    tree: Expression
    scalar: bool = False


class NotLifted(Exception):
    """An expression is not known well enough to be written as a plan."""


def lower_outputs(planner: Planner, region: Region, trees: Sequence[Expression]) -> Stage | None:
    """
    Lower a select whose outputs are not all computed row by row, or in parts.

    Parameters
    ----------
    planner
        The planner.
    region
        The region, whose core is the select.
    trees
        Its outputs, without selectors.

    Returns
    -------
    Stage or None
        None where no output has rows of its own.
    """
    core = region.core.with_fields(expr=list(trees))
    schema = planner.schema(core.input)
    (source,) = planner.push_down(core.with_inputs, [core.input])
    lifter = Lifter(planner, source)
    try:
        found = [lifter.lift(tree) for tree in trees]
    except NotLifted:
        return None
    if all(item is not None and item.node is source and not item.scalar for item in found):
        return None
    rows = planner.lower(source)
    as_written = not any(map(_is_unknown, found)) and not any(map(_panics, trees))
    if planner.partitions_for(rows.size, rows.npartitions) == 1 and as_written:
        # The few columns that are needed fit into one partition.
        build = Region(region.chain, core).build
        return planner.fragment("select", build, [planner.gather(rows)], [schema])
    base = kept(planner, source)
    if base is not source:
        lifter = Lifter(planner, base)
        found = [lifter.lift(tree) for tree in trees]
    node, over = lifter.together(found)
    outputs = [_named(tree, output_name(original)) for tree, original in zip(over, trees, strict=True)]
    from dask_polars.plan.select import cast_to

    return planner.lower(region.over(cast_to(planner, select_node(None, outputs, node), planner.schema(core))))


class Lifter:
    """
    Writes expressions over the rows of a plan as plans.

    Parameters
    ----------
    planner
        The planner.
    base
        The rows.
    """

    def __init__(self, planner: Planner, base: Node) -> None:
        self.planner, self.base = planner, base
        self._names = 0

    def name(self) -> str:
        """Make up the name of a column."""
        self._names += 1
        return f"{OUTPUT}{self._names}"

    # ------------------------------------------------------------ expressions

    def lift(self, tree: Expression) -> Lifted:
        """
        Write an expression as a plan.

        Parameters
        ----------
        tree
            An expression over the rows, without selectors.

        Returns
        -------
        Lifted

        Raises
        ------
        NotLifted
            Where it is not known what the expression does.
        """
        found = shape(tree)
        if found in (Shape.ROW, Shape.MIXED):
            return Lifted(self.base, tree)
        if found is Shape.LITERAL or (found is Shape.SCALAR and not reads_rows(tree)):
            return Lifted(self.base, tree, scalar=True)
        if found is Shape.SCALAR:
            return self._scalar(tree)
        if kind_of(tree) == "Alias":
            below = self.lift(tree["Alias"][0])
            return replace(below, tree=alias(below.tree, tree["Alias"][1]))
        from dask_polars.plan.output_rules import rule_for

        rule = rule_for(tree)
        if rule is not None:
            lifted = rule(self, tree)
            if lifted is not None:
                return lifted
            return self.gathered(tree)
        return self._operation(tree)

    def _operation(self, tree: Expression) -> Lifted:
        """An operation that is not known to change the number of rows: on whatever rows its inputs have."""
        below = children(tree)
        if kind_of(tree) in ("Rolling", "StructEval"):
            return Lifted(self.base, tree)  # as long as the rows are
        if below is None:
            raise NotLifted
        separable, scalar, preserving = operation_traits(tree)
        if is_moving(tree):
            preserving = True  # the number of rows that it looks back is a literal, of which Polars was not told
        if not preserving or scalar or not below:
            return self.gathered(tree)
        lifted = [self.lift(child) for child in below]
        if all(
            item.node is self.base and (not item.scalar or item.tree is child)
            for item, child in zip(lifted, below, strict=True)
        ):
            return Lifted(self.base, tree)
        if not separable and len({item.node.digest for item in lifted if not item.scalar}) > 1:
            raise NotLifted
        node, over = self.together(lifted)
        items = iter(named_like(new, old) for new, old in zip(over, below, strict=True))
        return Lifted(node, map_children(tree, lambda _: next(items)))

    def _scalar(self, tree: Expression) -> Lifted:
        from dask_polars.plan.output_rules import scalar_rule_for

        if kind_of(tree) == "Alias":
            inner = self.lift(tree["Alias"][0])
            return replace(inner, tree=alias(inner.tree, tree["Alias"][1]))
        rule = scalar_rule_for(tree)
        value = rule(self, tree) if rule is not None else None
        if value is not None:
            return value
        if self._in_parts(tree, self.base) and not counts_values(tree):
            return Lifted(self.base, tree, scalar=True)
        below = children(tree)
        if not below:
            return self.gathered(tree, scalar=True)
        shapes = {shape(child) for child in below}
        lifted = [self.lift(child) for child in below]
        if shapes <= {Shape.SCALAR, Shape.LITERAL}:
            # A computation on top of aggregations.
            node, over = self.together(lifted)
            return Lifted(node, _rebuilt(tree, below, over), scalar=True)
        moved = [item for item in lifted if not (item.scalar and kind_of(item.tree) == "Literal")]
        alike = len({item.node.digest for item in moved}) == 1 and moved[0].node is not self.base
        if alike or all(map(as_long_as_rows, below)):
            node, over = self._as_columns(lifted)
            changed = _rebuilt(tree, below, over)
            if self._in_parts(changed, node):
                return Lifted(node, changed, scalar=True)
        return self.gathered(tree, scalar=True)

    def _as_columns(self, items: Sequence[Lifted]) -> tuple[Node, list[Expression]]:
        """Give expressions over one plan row by row: what needs other rows of it becomes a column."""
        node, over = self.together(items)
        if all(shape(tree) in (Shape.ROW, Shape.LITERAL) for tree in over):
            return node, over
        made = {self.name(): tree for tree in over if shape(tree) is not Shape.LITERAL}
        names = iter(made)
        return (
            select_node(None, [alias(tree, name) for name, tree in made.items()], node),
            [tree if shape(tree) is Shape.LITERAL else column(next(names)) for tree in over],
        )

    def _in_parts(self, tree: Expression, node: Node) -> bool:
        schema = self.planner.schema(node)
        taken = Decomposition(lambda item: expression_dtypes([item], schema)[0], whole=True)
        return taken.finals([tree]) is not None

    # ------------------------------------------------------------ plans

    def gathered(
        self, tree: Expression, *, scalar: bool = False, node: Node | None = None, unknown: bool = True
    ) -> Lifted:
        """
        Run an expression on all rows at once, with no more columns than it reads.

        Parameters
        ----------
        tree
            The expression.
        scalar
            Whether it gives one value.
        node
            The rows; those that the expression was written for, if not given.
        unknown
            Whether there is no other way. Then it is not done in silence even where there are few rows.
        """
        name = self.name()
        fields = {"expr": [alias(tree, name)], "unknown": unknown, "reason": f"{describe(tree)} needs all rows at once"}
        return Lifted(Node(GATHERED, fields, (self.base if node is None else node,)), column(name), scalar)

    def columns(self, trees: Sequence[Expression]) -> tuple[Node, list[str]]:
        """Compute some expressions over the same rows: give a plan of their columns, and the names of these."""
        node, over = self.together([self.lift(tree) for tree in trees])
        names = [self.name() for _ in over]
        return select_node(None, [alias(tree, name) for tree, name in zip(over, names, strict=True)], node), names

    def together(self, items: Sequence[Lifted]) -> tuple[Node, list[Expression]]:
        """
        Bring expressions over several plans into one plan.

        Parameters
        ----------
        items
            The expressions.

        Returns
        -------
        tuple
            A plan, and the expressions over it.
        """
        literal = [item.scalar and not reads_rows(item.tree) for item in items]
        nodes = {item.node.digest: item.node for item, plain in zip(items, literal, strict=True) if not plain}
        if not nodes:
            return self.base, [item.tree for item in items]
        alone = len(nodes) == 1 and len({item.scalar for item, p in zip(items, literal, strict=True) if not p}) == 1
        (first, *_) = nodes.values()
        if alone and not (self._one_row(items, literal) and self._aggregates(items, literal)):
            return first, [item.tree for item in items]
        names = [self.name() for _ in items]
        over = [item.tree if plain else column(name) for item, name, plain in zip(items, names, literal, strict=True)]

        def parts(scalar: bool) -> list[Node]:
            out = []
            for digest, node in nodes.items():
                trees = [
                    alias(item.tree, name)
                    for item, name, plain in zip(items, names, literal, strict=True)
                    if not plain and item.node.digest == digest and item.scalar is scalar
                ]
                if trees:
                    out.append(select_node(None, trees, node))
            return out

        rows, scalars = parts(False), parts(True)
        beside = [part[0] if len(part) == 1 else beside_node(part) for part in (rows, scalars) if part]
        return (beside[0] if len(beside) == 1 else Node(WITH_SCALARS, {}, tuple(beside))), over

    @staticmethod
    def _one_row(items: Sequence[Lifted], literal: Sequence[bool]) -> bool:
        return all(item.scalar for item, plain in zip(items, literal, strict=True) if not plain)

    @staticmethod
    def _aggregates(items: Sequence[Lifted], literal: Sequence[bool]) -> bool:
        """Say whether one of the values is an aggregation of rows, not a column of one row."""
        return any(shape(item.tree) is Shape.SCALAR for item, plain in zip(items, literal, strict=True) if not plain)


def _is_unknown(item: Lifted) -> bool:
    return any(node.kind == GATHERED and node.fields["unknown"] for node in walk(item.node))


def _panics(tree: Expression) -> bool:
    """Recognize `rle`, which in Polars 2.1 panics over a frame of several chunks, as gathered partitions are."""
    return any(function_name(item) == "RLE" for item in walk_expression(tree))


def _named(tree: Expression, name: str) -> Expression:
    return tree if output_name(tree) == name else alias(tree, name)


def _rebuilt(tree: Expression, below: Sequence[Expression], over: Sequence[Expression]) -> Any:
    items = iter(named_like(new, old) for new, old in zip(over, below, strict=True))
    return map_children(tree, lambda _: next(items))


# ---------------------------------------------------------------- all rows at once


def _gathered_schema(node: Node, inputs: Sequence[Any]) -> Any:
    from dask_polars.dsl.schemas import schema_over

    return schema_over(select_node(None, node.fields["expr"], node.input), inputs)


OUR_SCHEMAS[GATHERED] = _gathered_schema


@lowers(GATHERED)
def lower_gathered(planner: Planner, region: Region) -> Stage:
    """Lower a select that is run on all rows at once."""
    select = select_node(None, region.core.fields["expr"], region.core.input)
    whole = Region(region.chain, select)
    (source,) = planner.push_down(whole.build, [select.input])
    rows = planner.lower(source)
    if not region.core.fields["unknown"] and planner.partitions_for(rows.size, rows.npartitions) == 1:
        schema = planner.schema(select.input)
        size = Size.guess(rows.size.rows, planner.schema(whole.root))
        return planner.fragment("select", whole.build, [planner.gather(rows)], [schema], size=size)
    return gather_and_run(planner, whole, "select", region.core.fields["reason"])
