"""
Joins on equal keys, and cross joins.

A side that is thought to be small is broadcast; otherwise the rows of both sides are shuffled by their keys, but for a
side that is placed by them already::

    join(left, right, on=k)  ->  join per partition <- left, broadcast right
                             or  join per partition <- shuffle left by k, shuffle right by k

Where an order is to be kept that the partitions do not have, rows carry their position through the join.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from dask_polars.dsl.expressions import Expression, Shape, kind_of, shape
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes
from dask_polars.plan.asof import lower_asof
from dask_polars.plan.colocated import JoinSide, colocated
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.grid import join_grid, lower_join_where
from dask_polars.plan.heavy import Keyed, are_none, may_be_heavy, routed_shuffle, routes_of
from dask_polars.plan.lineage import bound_of, distinct_after, renames
from dask_polars.plan.matched_keys import matched_keys
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.runtime_filters import keys_first
from dask_polars.plan.semi_filters import semi_filtered
from dask_polars.plan.shuffling import (
    POSITION,
    Nulls,
    common_dtypes,
    hash_shuffle,
    hashable,
    restore_order,
    with_position,
)
from dask_polars.plan.stages import Input, Mode, Placement, ShuffleStage, Size, Stage, walk_stages
from dask_polars.plan.steps import Question, could_be_below, is_guess

# Joins of which a side may be copied, to be broadcast or because a key is heavy: every row of the other side then meets all
# rows that it can match, and rows of the copied side that match nothing do not appear, or would appear once for each copy.
_COPIED_RIGHT = ("Inner", "Left", "Semi", "Anti", "Cross")
_COPIED_LEFT = ("Inner", "Right", "Cross")
# The sides whose order is to be kept, the one that counts first at the front.
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "None": (),
    "Left": ("left",),
    "LeftRight": ("left", "right"),
    "Right": ("right",),
    "RightLeft": ("right", "left"),
}
# The sides whose rows are part of the outcome also where they match nothing.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "Left": ("left",),
    "Right": ("right",),
    "Full": ("left", "right"),
    "Anti": ("left",),
}
# A check that keys are unique needs all rows of a key of that side in one place.
_CHECKS_LEFT = ("OneToMany", "OneToOne")
_CHECKS_RIGHT = ("ManyToOne", "OneToOne")

# A side with at most this share of the keys is worth a filter on the scan of the other one.
_FEW_KEYS = 0.5


@dataclass(frozen=True)
class Sides:
    """What a join joins."""

    node: Node
    left: Stage
    right: Stage
    left_on: tuple[Expression, ...]
    right_on: tuple[Expression, ...]
    schemas: tuple[Mapping[str, pl.DataType], Mapping[str, pl.DataType]]

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.node.fields["options"]["args"]

    @property
    def how(self) -> str:
        return self.arguments["how"]

    @property
    def order(self) -> str:
        return self.arguments["maintain_order"]

    @property
    def nulls_match(self) -> bool:
        """Whether rows with null keys may decide anything beyond themselves: by matching, or in a check of the keys."""
        return self.arguments["nulls_equal"] or self.arguments["validation"] != "ManyToMany"

    def meets_copies(self, side: str) -> bool:
        """
        Say whether rows of a side may each meet a copy of the rows of the other side.

        Rows of the other side that match nothing must not be in the outcome, where they would be once for each copy, and
        the keys of this side must not be checked, for which all rows of a key have to be in one place.
        """
        if side == "left":
            return self.how in _COPIED_RIGHT and self.arguments["validation"] not in _CHECKS_LEFT
        return self.how in _COPIED_LEFT and self.arguments["validation"] not in _CHECKS_RIGHT

    def may_be_broadcast(self, side: str) -> bool:
        """Say whether all rows of a side can be sent to each partition of the other, where their order is not wanted."""
        other, first = ("left", "Right") if side == "right" else ("right", "Left")
        return self.meets_copies(other) and not self.order.startswith(first)

    @property
    def asks_for_keys(self) -> bool:
        """Whether nothing is wanted of the right side but to know which keys it has."""
        return self.how in ("Semi", "Anti") and self.arguments["validation"] == "ManyToMany"

    def nulls(self, side: str) -> Nulls:
        """Say where the rows of a side go that have a null among their keys."""
        if self.nulls_match:
            return Nulls.TOGETHER
        return Nulls.SPREAD if side in _KEPT.get(self.how, ()) else Nulls.DROPPED


@lowers("Join")
def lower_join(planner: Planner, region: Region) -> Stage:
    """Lower a join."""
    core = region.core
    if "AsOf" in core.fields["options"]["args"]["how"]:
        return lower_asof(planner, region)
    if "NonEqui" in core.fields["condition"]:
        return lower_join_where(planner, region)
    reason = _not_distributed(core)
    if reason is not None:
        return gather_and_run(planner, region, "join", reason)
    schemas = [planner.schema(node) for node in core.inputs]
    nodes: Sequence[Node] = planner.push_down(region.build, core.inputs)
    left, right = (planner.lower(node) for node in nodes)
    condition = core.fields["condition"]["Equi"]
    left_on, right_on = tuple(condition["left_on"]), tuple(condition["right_on"])
    sides = Sides(core, left, right, left_on, right_on, (schemas[0], schemas[1]))
    if left.npartitions == 1 and right.npartitions == 1:
        return _join(planner, region, sides, "join", Mode.ALIGNED, Mode.ALIGNED)
    if sides.how == "Cross" and sides.order == "None" and not _one_fits(planner, sides):
        grid = join_grid(planner, core, left, right, schemas)
        return planner.fragment("join-grid", lambda leaves: region.over(leaves[0]), [grid], [planner.schema(core)])
    # What is shuffled below is worth to be less of, even if nothing moves here.
    sides, nodes = _filtered(planner, sides, nodes, [_moves(sides.left), _moves(sides.right)])
    found = _without_shuffle(planner, region, sides, nodes)
    if found is not None:
        return found
    before = nodes
    sides, nodes = _filtered(planner, sides, nodes, [not _moves(sides.left), not _moves(sides.right)])
    found = None if nodes is before else _without_shuffle(planner, region, sides, nodes)
    found = found or _by_matched_keys(planner, region, sides)
    if found is not None:
        return found
    if planner.asks:
        _ask_for_sizes(planner, sides)
    return _shuffle_both(planner, region, sides, nodes)


def _without_shuffle(planner: Planner, region: Region, sides: Sides, nodes: Sequence[Node]) -> Stage | None:
    """Join rows that meet where they are, or where one side is sent to all partitions of the other; None for neither."""
    together = _together(planner, sides, nodes)
    if together is not None:
        placement = _placement_after(sides.how, together.left, together.right)
        return _join(planner, region, together, "join", Mode.ALIGNED, Mode.ALIGNED, placement)
    broadcast = _side_to_broadcast(planner, sides)
    if broadcast == "right":
        return _broadcast_right(planner, region, sides)
    if broadcast == "left":
        return _broadcast_left(planner, region, sides)
    return None


def _by_matched_keys(planner: Planner, region: Region, sides: Sides) -> Stage | None:
    """Ask a large right side which keys of a small left one it has, where that is all that it is there for."""
    if not sides.asks_for_keys or _placed_alike(sides) is not None:
        return None
    found = matched_keys(planner, sides.node, sides.left, sides.right, sides.schemas)
    if found is None:
        return None
    core, keys = found
    changed = replace(sides, node=core, right=keys, right_on=sides.left_on, schemas=(sides.schemas[0], keys.schema))
    over = replace(region, core=core)
    return _join(planner, over, changed, "join-broadcast", Mode.ALIGNED, Mode.BROADCAST, sides.left.placement)


def _moves(stage: Stage) -> bool:
    """Say whether rows are shuffled on the way to a stage."""
    return any(isinstance(below, ShuffleStage) for below in walk_stages([stage]))


def _filtered(
    planner: Planner, sides: Sides, nodes: Sequence[Node], wanted: Sequence[bool]
) -> tuple[Sides, Sequence[Node]]:
    """Leave out rows that match nothing of those sides that it is wanted of; give both as they were where there are none."""
    if sides.nulls_match or sides.how == "Cross":
        return sides, nodes
    both = (JoinSide(nodes[0], sides.left, sides.left_on), JoinSide(nodes[1], sides.right, sides.right_on))
    kept = _KEPT.get(sides.how, ())
    new = list(nodes)
    for index, name in enumerate(("left", "right")):
        if wanted[index] and name not in kept:
            other = "right" if name == "left" else "left"
            fits = planner.fits(both[1 - index].stage.size, planner.options.broadcast_limit)
            sent = fits and sides.may_be_broadcast(other)
            new[index] = semi_filtered(planner, both[index], both[1 - index], sent=sent) or nodes[index]
    if all(one is other for one, other in zip(new, nodes, strict=True)):
        return sides, nodes
    return replace(sides, left=planner.lower(new[0]), right=planner.lower(new[1])), new


def _not_distributed(core: Node) -> str | None:
    arguments = core.fields["options"]["args"]
    how = arguments["how"]
    if not isinstance(how, str) or how not in ("Inner", "Left", "Right", "Full", "Semi", "Anti", "Cross"):
        return f"{how if isinstance(how, str) else kind_of(how)} joins are not distributed"
    if "Equi" not in core.fields["condition"]:
        return f"a condition of the kind {kind_of(core.fields['condition'])}"
    if arguments["slice"] is not None:
        return "a join of which only a slice is wanted"
    keys = [*core.fields["condition"]["Equi"]["left_on"], *core.fields["condition"]["Equi"]["right_on"]]
    if not all(shape(key) is Shape.ROW for key in keys):
        return "keys that are not computed row by row"
    return None


def _together(planner: Planner, sides: Sides, nodes: Sequence[Node]) -> Sides | None:
    """Find sides whose matching rows meet where they are read; None where that is not so."""
    left, right = JoinSide(nodes[0], sides.left, sides.left_on), JoinSide(nodes[1], sides.right, sides.right_on)
    found = None if sides.how == "Cross" else colocated(planner, sides.order, left, right)
    return None if found is None else replace(sides, left=found[0], right=found[1])


# ---------------------------------------------------------------- broadcast


def _one_fits(planner: Planner, sides: Sides) -> bool:
    """Say whether a side is small enough to be broadcast."""
    return any(planner.fits(stage.size, planner.options.broadcast_limit) for stage in (sides.left, sides.right))


def _side_to_broadcast(planner: Planner, sides: Sides) -> str | None:
    """Choose the side that is sent to all partitions of the other; None for neither."""
    left_fits = planner.fits(sides.left.size, planner.options.broadcast_limit)
    right_fits = planner.fits(sides.right.size, planner.options.broadcast_limit)
    may_right, may_left = sides.may_be_broadcast("right"), sides.may_be_broadcast("left")
    if sides.how == "Cross":
        left_fits = right_fits = True
    if sides.how != "Cross" and _both_placed(sides):
        return None
    right_is_smaller = sides.right.size.bytes <= sides.left.size.bytes
    if may_right and right_fits and (right_is_smaller or not (may_left and left_fits)):
        return "right"
    return "left" if may_left and left_fits else None


def _ask_for_sizes(planner: Planner, sides: Sides) -> None:
    """Ask how large a side is that would be broadcast if it were smaller than it is thought to be."""
    limit = planner.options.broadcast_limit
    both = (("left", sides.left, sides.right), ("right", sides.right, sides.left))
    # The smaller side first: where it turns out to be small enough, the other one need not be kept.
    for side, rows, other in sorted(both, key=lambda item: item[1].size.bytes):
        spared = other.size.bytes > limit  # only then it is worth to have the rows of this side wait for each other
        sent = sides.may_be_broadcast(side) or (side == "left" and sides.asks_for_keys)
        if sent and spared and could_be_below(rows.size, limit) and is_guess(rows):
            planner.questions.append(Question(rows, f"join: whether its {side} side is small enough to be broadcast"))
            return


def _broadcast_right(planner: Planner, region: Region, sides: Sides) -> Stage:
    small = planner.gather(sides.right)
    changed = Sides(sides.node, sides.left, small, sides.left_on, sides.right_on, sides.schemas)
    placement = sides.left.placement if sides.how in ("Inner", "Left", "Semi", "Anti", "Cross") else None
    return _join(planner, region, changed, "join-broadcast", Mode.ALIGNED, Mode.BROADCAST, placement)


def _broadcast_left(planner: Planner, region: Region, sides: Sides) -> Stage:
    small = planner.gather(sides.left)
    changed = Sides(sides.node, small, sides.right, sides.left_on, sides.right_on, sides.schemas)
    placement = _kept_on_the_right(planner, sides) if sides.how in ("Inner", "Right") else None
    return _join(planner, region, changed, "join-broadcast", Mode.BROADCAST, Mode.ALIGNED, placement)


def _kept_on_the_right(planner: Planner, sides: Sides) -> Placement | None:
    """Give the placement of the right side, where its columns keep their names: the left side has none of these."""
    placement = sides.right.placement
    kept = set(planner.schema(sides.node)) - set(sides.schemas[0])
    return placement if placement is not None and set(placement.columns) <= kept else None


# ---------------------------------------------------------------- shuffle


def _hash_dtypes(sides: Sides) -> tuple[pl.DataType, ...]:
    left = expression_dtypes(sides.left_on, sides.schemas[0])
    right = expression_dtypes(sides.right_on, sides.schemas[1])
    common = common_dtypes(left, right)
    if common is None:
        # Polars refuses such keys, and says so when the fragment runs.
        common = left
    return tuple(hashable(dtype) for dtype in common)


def _placed_alike(sides: Sides) -> tuple[list[int], int] | None:
    """
    Find which of the keys the rows of a side are placed by already, where that can serve the join.

    Returns
    -------
    The numbers of the keys, in the order in which they are hashed, and the number of partitions; None for neither side.
    """
    dtypes = _hash_dtypes(sides)
    candidates = []
    for stage, on in ((sides.left, sides.left_on), (sides.right, sides.right_on)):
        numbers = _numbers_of_placed_keys(stage.placement, on, dtypes, nulls_match=sides.nulls_match)
        if numbers is not None and stage.placement is not None and stage.npartitions > 1:
            candidates.append((stage.size.bytes, numbers, stage.placement.npartitions))
    if not candidates:
        return None
    _, numbers, npartitions = max(candidates, key=lambda item: item[0])
    return numbers, npartitions


def _both_placed(sides: Sides) -> bool:
    """Say whether no row of either side would have to move."""
    dtypes = _hash_dtypes(sides)
    match = sides.nulls_match
    left = _numbers_of_placed_keys(sides.left.placement, sides.left_on, dtypes, nulls_match=match)
    right = _numbers_of_placed_keys(sides.right.placement, sides.right_on, dtypes, nulls_match=match)
    same_count = sides.left.npartitions == sides.right.npartitions > 1
    return left is not None and left == right and same_count


def _numbers_of_placed_keys(
    placement: Placement | None, on: Sequence[Expression], dtypes: Sequence[pl.DataType], *, nulls_match: bool
) -> list[int] | None:
    if placement is None or (placement.nulls_anywhere and nulls_match):
        return None
    names = [key["Column"] if kind_of(key) == "Column" else None for key in on]
    numbers = [names.index(name) for name in placement.columns if name in names]
    if len(numbers) < len(placement.columns) or [dtypes[i] for i in numbers] != list(placement.dtypes):
        return None
    return numbers


def _shuffle_both(planner: Planner, region: Region, sides: Sides, nodes: Sequence[Node]) -> Stage:
    dtypes = _hash_dtypes(sides)
    placed = _placed_alike(sides)
    if placed is None:
        numbers = list(range(len(dtypes)))
        both = sides.left.size + sides.right.size
        most = max(sides.left.npartitions, sides.right.npartitions)
        npartitions = max(2, planner.partitions_for(both, most))
    else:
        numbers, npartitions = placed
    left, right = sides.left, sides.right
    # Of a semi or anti join there are no right rows.
    ordered_by = [side for side in _ORDERS[sides.order] if side == "left" or sides.how not in ("Semi", "Anti")]
    if "left" in ordered_by:
        left = with_position(left, f"{POSITION}_left")
    if "right" in ordered_by:
        right = with_position(right, f"{POSITION}_right")
    chosen = tuple(dtypes[index] for index in numbers)
    keyed = [
        Keyed(side, node, rows, [on[i] for i in numbers], chosen, sides.nulls(side))
        for side, node, rows, on in zip(
            ("left", "right"), nodes, (sides.left, sides.right), (sides.left_on, sides.right_on), strict=True
        )
    ]
    split = [item for item in keyed if sides.meets_copies(item.side) and may_be_heavy(planner, item.rows)]
    # A side that is placed by the keys already stays where it is: it could not be copied.
    routes = routes_of(planner, split, npartitions) if split and placed is None else None
    routes = None if routes is not None and are_none(routes) else routes
    left, right = (
        _shuffle(planner, item, rows, npartitions, routes) for item, rows in zip(keyed, (left, right), strict=True)
    )
    changed = Sides(sides.node, left, right, sides.left_on, sides.right_on, sides.schemas)
    if ordered_by:
        return _join_in_order(planner, region, changed, ordered_by, sides)
    return _join(planner, region, changed, "join", Mode.ALIGNED, Mode.ALIGNED, _placement_after(sides.how, left, right))


def _shuffle(planner: Planner, keyed: Keyed, rows: Stage, npartitions: int, routes: Stage | None) -> Stage:
    """Bring rows of a side, maybe with their positions, to the partitions of their keys."""
    if routes is not None:
        return routed_shuffle(planner, keyed, rows, npartitions, routes)
    operation = f"join-shuffle-{keyed.side}"
    return hash_shuffle(planner, operation, rows, keyed.keys, npartitions, keyed.dtypes, keyed.nulls)


def _placement_after(how: str, left: Stage, right: Stage) -> Placement | None:
    """
    Say where the rows of a join are.

    A column that may hold nulls for rows without a match says nothing of where these rows are: after a left join only
    the left columns do.
    """
    if how in ("Inner", "Left", "Semi", "Anti"):
        return left.placement
    # In a right join the columns of the right side keep their names only where the left side has none of that name.
    if how == "Right" and right.placement is not None and not set(right.placement.columns) & set(left.schema):
        return right.placement
    return None


def _join_in_order(planner: Planner, region: Region, sides: Sides, ordered_by: Sequence[str], before: Sides) -> Stage:
    """Join rows with their positions; what comes from no row of the first side comes last."""
    core = sides.node
    positions = [f"{POSITION}_{side}" for side in ordered_by]
    schemas = [dict(schema) for schema in sides.schemas]
    for side, position in zip(ordered_by, positions, strict=True):
        schemas[0 if side == "left" else 1][position] = pl.UInt64()
    joined = planner.fragment("join", core.with_inputs, [sides.left, sides.right], schemas, size=_rows_after(sides))
    source = before.left if ordered_by[0] == "left" else before.right
    leaf_schema = planner.schema(core)
    return restore_order(planner, "join-order", joined, source.npartitions, region, leaf_schema, positions)


# ---------------------------------------------------------------- the join itself


def _rows_after(sides: Sides) -> Size:
    """
    Guess how many rows a join gives.

    As many as its larger side, where each of its keys points to something. Of a side that was filtered, keys are missing:
    of the rows of the other side as large a share is left as there are still keys, as far as one can tell. That is the
    estimate of System R (Selinger et al., 1979): the product of the rows, over the number of different keys.
    """
    left, right = sides.left.size, sides.right.size
    if sides.how == "Cross":
        return Size(left.rows * right.rows, left.bytes * right.rows + right.bytes * left.rows)
    if sides.how in ("Semi", "Anti"):
        known = _different_keys(sides)
        return left.scaled(min(right.rows / known, 1.0) or 1.0 if sides.how == "Semi" and known > 1 else 0.5)
    if sides.how == "Left":
        return left
    if sides.how == "Right":
        return right
    doubt = (left + right).doubt
    if sides.how == "Full":
        return Size(left.rows + right.rows, left.bytes + right.bytes, doubt=doubt)
    larger = max(left.rows, right.rows)
    share = min(left.rows * right.rows / _different_keys(sides) / larger, 1.0) if larger else 1.0
    return Size(larger, left.bytes + right.bytes, doubt=doubt).scaled(share or 1.0)


def _different_keys(sides: Sides) -> float:
    """
    Guess how many different keys there were before rows were filtered: 1 where nothing is known.

    Of several keys the one with most values counts: that others are independent of it is no good guess.
    """
    bounds = [
        bound_of(key, stage.distinct or {})
        for stage, keys in ((sides.left, sides.left_on), (sides.right, sides.right_on))
        for key in keys
    ]
    return max((bound for bound in bounds if bound != math.inf), default=1.0)


def _filtered_by_keys(sides: Sides, left: Mode, right: Mode) -> list[Callable[[Node], Node]]:
    """Say what is put on top of each side, so that keys of a broadcast side that has few of them are looked for early."""
    out: list[Callable[[Node], Node]] = [lambda leaf: leaf, lambda leaf: leaf]
    if sides.how not in ("Inner", "Semi") or sides.nulls_match or len(sides.left_on) != 1:
        return out
    keys = (sides.left_on[0], sides.right_on[0])
    different = _different_keys(sides)
    for side, (rows, mode) in enumerate(((sides.left, left), (sides.right, right))):
        few = mode is Mode.BROADCAST and rows.size.rows <= _FEW_KEYS * different
        if few and kind_of(keys[side]) == "Column":
            out[side] = partial(keys_first, key=keys[side]["Column"], schema=sides.schemas[side])
    return out


def _join(
    planner: Planner,
    region: Region,
    sides: Sides,
    operation: str,
    left: Mode,
    right: Mode,
    placement: Placement | None = None,
) -> Stage:
    filtered = _filtered_by_keys(sides, left, right)
    kept = renames(planner, region)
    distinct = {**(sides.right.distinct or {}), **(sides.left.distinct or {})}
    return planner.fragment(
        operation,
        lambda leaves: region.build([put(leaf) for put, leaf in zip(filtered, leaves, strict=True)]),
        [Input(sides.left, left), Input(sides.right, right)],
        sides.schemas,
        size=_rows_after(sides),
        placement=placement.renamed(kept) if placement is not None else None,
        distinct=distinct_after(planner, region, distinct),
    )
