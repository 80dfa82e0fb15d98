"""
Joins where any row of one side may match any row of the other: join_where, and cross joins of two large sides.

A side that is small is broadcast. Otherwise it is cut into pieces of the size of what may be broadcast, and each piece
meets each partition of the larger side: a grid of fragments::

    join_where  ->  join_where for each pair <- partitions of the larger side, pieces of the smaller one

Rows of a side that match nothing can only be told once all pairs are known: they are what is left of the side by an anti
join with the positions of the rows that matched. An equality among the conditions makes an ordinary join, and a filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    column,
    columns_of,
    kind_of,
    null_column,
    renamed,
    shape,
)
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, filter_node, select_node, union_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import Planner, split_evenly
from dask_polars.plan.products import without_aggregations
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import StageSource
from dask_polars.plan.shuffling import POSITION, with_position
from dask_polars.plan.stages import Input, Mode, RegroupStage, SchemaDict, Size, Stage

# Which side may be broadcast: the other side's rows then meet all rows that they can match.
_BROADCAST = {"Inner": ("right", "left"), "Left": ("right",), "Right": ("left",), "Full": ()}
# The sides whose rows without a match are kept.
_KEPT = {"Inner": (), "Left": ("left",), "Right": ("right",), "Full": ("left", "right")}


def lower_join_where(planner: Planner, region: Region) -> Stage:
    """Lower a join_where."""
    core = region.core
    arguments = core.fields["options"]["args"]
    how, predicates = arguments["how"], core.fields["condition"]["NonEqui"]["predicates"]
    if how not in _KEPT or arguments["slice"] is not None or arguments["maintain_order"] != "None":
        return gather_and_run(planner, region, "join_where", "a slice, or an order that is to be kept")
    if not all(shape(tree) in (Shape.ROW, Shape.LITERAL) for tree in predicates):
        right_names = {new: old for old, new in _names(planner, core)["right"].items()}
        names = {"left": {name: name for name in planner.schema(core.inputs[0])}, "right": right_names}
        over_sides = without_aggregations(planner, core, names) if how == "Inner" else None
        if over_sides is not None:
            return planner.lower(region.over(over_sides))
        return gather_and_run(planner, region, "join_where", "conditions that are not computed row by row")
    equal = _with_equality(planner, core) if how == "Inner" else None
    if equal is not None:
        return planner.lower(region.over(equal))
    left, right = (planner.lower(node) for node in planner.push_down(region.build, core.inputs))
    small = _small_side(planner, how, left, right)
    if left.npartitions == right.npartitions == 1 or small is not None:
        modes = [Mode.BROADCAST if side == small else Mode.ALIGNED for side in ("left", "right")]
        sides = [
            planner.gather(side) if mode is Mode.BROADCAST else side
            for side, mode in ((left, modes[0]), (right, modes[1]))
        ]
        inputs = [Input(side, mode) for side, mode in zip(sides, modes, strict=True)]
        operation = "join-broadcast" if small is not None else "join"
        schemas = [planner.schema(node) for node in core.inputs]
        return planner.fragment(operation, region.build, inputs, schemas, size=_size(left, right))
    if how == "Inner":
        grid = join_grid(planner, core, left, right, [planner.schema(node) for node in core.inputs])
        return planner.fragment("join-grid", lambda leaves: region.over(leaves[0]), [grid], [planner.schema(core)])
    return _with_unmatched(planner, region, left, right)


def _small_side(planner: Planner, how: str, left: Stage, right: Stage) -> str | None:
    """Choose the side that is sent to all partitions of the other; None for neither."""
    stages = {"left": left, "right": right}
    fitting = [side for side in _BROADCAST[how] if planner.fits(stages[side].size, planner.options.broadcast_limit)]
    return min(fitting, key=lambda side: stages[side].size.bytes, default=None)


def _size(left: Stage, right: Stage) -> Size:
    """Guess what comes out, of which nothing is known: as much as both sides have, and maybe many times of it."""
    both = left.size + right.size
    return Size(both.rows, both.bytes, doubt=10 * both.doubt)


# ---------------------------------------------------------------- the grid


def join_grid(planner: Planner, core: Node, left: Stage, right: Stage, schemas: Sequence[SchemaDict]) -> Stage:
    """
    Join each partition of the larger side with each piece of the smaller one.

    Parameters
    ----------
    planner
        The planner.
    core
        A join that gives for two parts of its inputs what it gives of them for the whole.
    left, right
        Its inputs.
    schemas
        The schemas that it is written for.

    Returns
    -------
    Stage
        With a partition for each pair.
    """
    if right.size.bytes <= left.size.bytes:
        right = _pieces(planner, right)
    else:
        left = _pieces(planner, left)
    pairs = [(one, other) for one in range(left.npartitions) for other in range(right.npartitions)]
    sides = [_repeated(left, [one for one, _ in pairs]), _repeated(right, [other for _, other in pairs])]
    return planner.fragment("join-grid", core.with_inputs, sides, schemas, size=_size(left, right))


def _pieces(planner: Planner, stage: Stage) -> Stage:
    """Put partitions together to as much as may be broadcast."""
    limit = max(planner.options.broadcast_limit, 1)
    count = min(stage.npartitions, math.ceil(stage.size.bytes / limit))
    return (
        stage if count == stage.npartitions else planner.regroup(stage, split_evenly(stage.npartitions, max(count, 1)))
    )


def _repeated(stage: Stage, parts: Sequence[int]) -> Stage:
    """Give partitions of a stage, each as often as it is asked for."""
    return RegroupStage(
        operation="repeat",
        schema=stage.schema,
        npartitions=len(parts),
        size=stage.size,
        sources=(stage,),
        groups=tuple(((0, part),) for part in parts),
    )


# ---------------------------------------------------------------- rows without a match


def _with_unmatched(planner: Planner, region: Region, left: Stage, right: Stage) -> Stage:
    core = region.core
    arguments = core.fields["options"]["args"]
    kept = _KEPT[arguments["how"]]
    stages = {"left": left, "right": right}
    schemas = {side: dict(planner.schema(node)) for side, node in zip(stages, core.inputs, strict=True)}
    for side in kept:
        stages[side] = with_position(stages[side], _position(side))
        schemas[side][_position(side)] = pl.UInt64()
    inner = _with_arguments(core, how="Inner")
    matched = _leaf(join_grid(planner, inner, stages["left"], stages["right"], list(schemas.values())))
    out = planner.schema(core)
    parts = [select_node(None, [column(name) for name in out], matched)]
    for side in kept:
        parts.append(_unmatched(planner, core, side, stages[side], matched))
    return planner.lower(region.over(union_node(parts)))


def _unmatched(planner: Planner, core: Node, side: str, rows: Stage, matched: Node) -> Node:
    """Select the rows of a side that are in no pair, with nulls for the columns of the other side."""
    key = [column(_position(side))]
    anti = _with_arguments(core, how="Anti").with_fields(condition={"Equi": {"left_on": key, "right_on": key}})
    alone = anti.with_inputs([_leaf(rows), select_node(None, key, matched)])
    names = {new: old for old, new in _names(planner, core)[side].items()}
    columns = []
    for name, dtype in planner.schema(core).items():
        known = names.get(name)
        found = known is not None and known in rows.schema
        columns.append(alias(column(str(known)), name) if found else null_column(name, dtype))
    return select_node(None, columns, alone, keep_height=True)


def _position(side: str) -> str:
    return f"{POSITION}_{side}"


def _leaf(stage: Stage) -> Node:
    return Node(SOURCE, {"source": StageSource(stage)})


def _with_arguments(core: Node, **changed: object) -> Node:
    options = core.fields["options"]
    return core.with_fields(options={**options, "args": {**options["args"], **changed}})


def _names(planner: Planner, core: Node) -> dict[str, dict[str, str]]:
    """Give for both sides the names that their columns have in the outcome."""
    left, right = (planner.schema(node) for node in core.inputs)
    suffix = core.fields["options"]["args"]["suffix"] or "_right"
    new = {name: f"{name}{suffix}" if name in left else name for name in right}
    return {"left": {name: name for name in left}, "right": new}


# ---------------------------------------------------------------- equalities


def _with_equality(planner: Planner, core: Node) -> Node | None:
    """Write a join with equalities among its conditions as an ordinary join with a filter; None where there is none."""
    names = _names(planner, core)
    right_names = {new: old for old, new in names["right"].items()}
    left_on, right_on, rest = [], [], []
    for tree in core.fields["condition"]["NonEqui"]["predicates"]:
        pair = _sides_of_equality(tree, set(names["left"]), right_names)
        if pair is None:
            rest.append(tree)
        else:
            left_on.append(pair[0])
            right_on.append(pair[1])
    left, right = (planner.schema(node) for node in core.inputs)
    if not left_on or expression_dtypes(left_on, left) != expression_dtypes(right_on, right):
        return None
    node: Node = _with_arguments(core, coalesce="KeepColumns").with_fields(
        condition={"Equi": {"left_on": left_on, "right_on": right_on}}
    )
    if list(planner.schema(node).items()) != list(planner.schema(core).items()):
        return None
    for tree in rest:
        node = filter_node(tree, node)
    return node


def _sides_of_equality(tree: Expression, left: set[str], right: dict[str, str]) -> tuple[Expression, Expression] | None:
    """Give what is compared on the left and on the right, in the names of these; None where it is something else."""
    if kind_of(tree) != "BinaryExpr" or tree["BinaryExpr"]["op"] != "Eq":
        return None
    pair = [tree["BinaryExpr"]["left"], tree["BinaryExpr"]["right"]]
    if any(shape(side) is not Shape.ROW for side in pair):
        return None
    for one, other in (pair, reversed(pair)):
        if columns_of(one) <= left and columns_of(other) <= set(right):
            return one, renamed(other, right)
    return None
