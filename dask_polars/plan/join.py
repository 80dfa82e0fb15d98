"""
Joins on equal keys, and cross joins.

A side that is thought to be small is broadcast; otherwise the rows of both sides are shuffled by their keys, but for a
side that is placed by them already::

    join(left, right, on=k)  ->  join per partition <- left, broadcast right
                             or  join per partition <- shuffle left by k, shuffle right by k

Where an order is to be kept that the partitions do not have, rows carry their position through the join.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from dask_polars.dsl.expressions import Shape, kind_of, shape
from dask_polars.dsl.nodes import Node
from dask_polars.plan.asof import lower_asof
from dask_polars.plan.colocated import JoinSide, colocated
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.grid import join_grid, lower_join_where
from dask_polars.plan.heavy import Keyed, are_none, may_be_heavy, routed_shuffle, routes_of
from dask_polars.plan.join_sides import (
    KEPT,
    ORDERS,
    Sides,
    both_placed,
    different_keys,
    different_values,
    hash_dtypes,
    placed_alike,
    placement_after,
    rows_after,
)
from dask_polars.plan.lineage import distinct_after, has_no_nulls, renames
from dask_polars.plan.matched_keys import matched_keys
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.runtime_filters import keys_first
from dask_polars.plan.semi_filters import semi_filtered
from dask_polars.plan.shuffling import (
    POSITION,
    Nulls,
    hash_shuffle,
    restore_order,
    with_position,
)
from dask_polars.plan.stages import Input, Mode, Placement, Stage
from dask_polars.plan.steps import Question, could_be_below, is_guess

# A side with at most this share of the keys is worth a filter on the scan of the other one.
_FEW_KEYS = 0.5


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
    sides, nodes = _filtered(planner, sides, nodes, [sides.left.is_shuffled, sides.right.is_shuffled])
    found = _without_shuffle(planner, region, sides, nodes)
    if found is not None:
        return found
    before = nodes
    sides, nodes = _filtered(planner, sides, nodes, [not sides.left.is_shuffled, not sides.right.is_shuffled])
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
        placement = placement_after(sides.how, together.left, together.right)
        return _join(planner, region, together, "join", Mode.ALIGNED, Mode.ALIGNED, placement)
    broadcast = _side_to_broadcast(planner, sides)
    if broadcast == "right":
        return _broadcast_right(planner, region, sides)
    if broadcast == "left":
        return _broadcast_left(planner, region, sides)
    return None


def moves_both(planner: Planner, sides: Sides, nodes: Sequence[Node]) -> bool:
    """
    Say whether rows of both sides have to move to meet.

    Parameters
    ----------
    planner
        The planner.
    sides
        What is joined.
    nodes
        The plans of the sides.

    Returns
    -------
    bool
    """
    return _together(planner, sides, nodes) is None and _side_to_broadcast(planner, sides) is None


def _by_matched_keys(planner: Planner, region: Region, sides: Sides) -> Stage | None:
    """Ask a large right side which keys of a small left one it has, where that is all that it is there for."""
    if not sides.asks_for_keys or placed_alike(sides) is not None:
        return None
    found = matched_keys(planner, sides.node, sides.left, sides.right, sides.schemas)
    if found is None:
        return None
    core, keys = found
    right_on = tuple(core.fields["condition"]["Equi"]["right_on"])
    changed = replace(sides, node=core, right=keys, right_on=right_on, schemas=(sides.schemas[0], keys.schema))
    over = replace(region, core=core)
    return _join(planner, over, changed, "join-broadcast", Mode.ALIGNED, Mode.BROADCAST, sides.left.placement)


def _filtered(
    planner: Planner, sides: Sides, nodes: Sequence[Node], wanted: Sequence[bool]
) -> tuple[Sides, Sequence[Node]]:
    """Leave out rows that match nothing of those sides that it is wanted of; give both as they were where there are none."""
    if sides.nulls_match or sides.how == "Cross":
        return sides, nodes
    both = (JoinSide(nodes[0], sides.left, sides.left_on), JoinSide(nodes[1], sides.right, sides.right_on))
    kept = KEPT.get(sides.how, ())
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
    if sides.how != "Cross" and both_placed(sides):
        return None
    right_is_smaller = sides.right.size.bytes <= sides.left.size.bytes
    if may_right and right_fits and (right_is_smaller or not (may_left and left_fits)):
        return "right"
    return "left" if may_left and left_fits else None


def asks_for_sizes(planner: Planner, sides: Sides, of: int) -> bool:
    """Say whether it would be asked how large a side is (0 for the left one) before rows of both sides move."""
    return planner.asks and ("left", "right")[of] in _worth_asking(planner, sides)


def _ask_for_sizes(planner: Planner, sides: Sides) -> None:
    """Ask how large a side is that would be broadcast if it were smaller than it is thought to be."""
    for side, rows in _worth_asking(planner, sides).items():
        planner.questions.append(Question(rows, f"join: whether its {side} side is small enough to be broadcast"))
        return


def _worth_asking(planner: Planner, sides: Sides) -> dict[str, Stage]:
    """Give the sides that could turn out to be small enough to be broadcast, the smaller one first."""
    limit = planner.options.broadcast_limit
    both = (("left", sides.left, sides.right), ("right", sides.right, sides.left))
    out = {}
    # The smaller side first: where it turns out to be small enough, the other one need not be kept.
    for side, rows, other in sorted(both, key=lambda item: item[1].size.bytes):
        spared = other.size.bytes > limit  # only then it is worth to have the rows of this side wait for each other
        sent = sides.may_be_broadcast(side) or (side == "left" and sides.asks_for_keys)
        if sent and spared and could_be_below(rows.size, limit) and is_guess(rows):
            out[side] = rows
    return out


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


def _shuffle_both(planner: Planner, region: Region, sides: Sides, nodes: Sequence[Node]) -> Stage:
    dtypes = hash_dtypes(sides)
    placed = placed_alike(sides)
    if placed is None:
        numbers = list(range(len(dtypes)))
        both = sides.left.size + sides.right.size
        most = max(sides.left.npartitions, sides.right.npartitions)
        npartitions = max(2, planner.partitions_for(both, most))
    else:
        numbers, npartitions = placed
    left, right = sides.left, sides.right
    # Of a semi or anti join there are no right rows.
    ordered_by = [side for side in ORDERS[sides.order] if side == "left" or sides.how not in ("Semi", "Anti")]
    if "left" in ordered_by:
        left = with_position(left, f"{POSITION}_left")
    if "right" in ordered_by:
        right = with_position(right, f"{POSITION}_right")
    chosen = tuple(dtypes[index] for index in numbers)
    keyed = [
        Keyed(side, node, rows, [on[i] for i in numbers], chosen, _nulls(planner, sides, side, node, rows))
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
    return _join(planner, region, changed, "join", Mode.ALIGNED, Mode.ALIGNED, placement_after(sides.how, left, right))


def _nulls(planner: Planner, sides: Sides, side: str, node: Node, rows: Stage) -> Nulls:
    """
    Say where the rows of a side go that have a null among their keys.

    Where there seem to be none, they need not be spread: then all rows of a key are in one place, which a group by may need.
    """
    nulls = sides.nulls(side)
    if nulls is not Nulls.SPREAD or (rows.placement is not None and rows.placement.nulls_anywhere):
        return nulls  # what was spread before may stay where it is
    keys = sides.left_on if side == "left" else sides.right_on
    none = all(kind_of(key) == "Column" and has_no_nulls(planner, node, key["Column"]) for key in keys)
    return Nulls.TOGETHER if none else Nulls.SPREAD


def _shuffle(planner: Planner, keyed: Keyed, rows: Stage, npartitions: int, routes: Stage | None) -> Stage:
    """Bring rows of a side, maybe with their positions, to the partitions of their keys."""
    if routes is not None:
        return routed_shuffle(planner, keyed, rows, npartitions, routes)
    operation = f"join-{keyed.side}-shuffle"
    return hash_shuffle(planner, operation, rows, keyed.keys, npartitions, keyed.dtypes, keyed.nulls)


def _join_in_order(planner: Planner, region: Region, sides: Sides, ordered_by: Sequence[str], before: Sides) -> Stage:
    """Join rows with their positions; what comes from no row of the first side comes last."""
    core = sides.node
    positions = [f"{POSITION}_{side}" for side in ordered_by]
    schemas = [dict(schema) for schema in sides.schemas]
    for side, position in zip(ordered_by, positions, strict=True):
        schemas[0 if side == "left" else 1][position] = pl.UInt64()
    joined = planner.fragment("join", core.with_inputs, [sides.left, sides.right], schemas, size=rows_after(sides))
    source = before.left if ordered_by[0] == "left" else before.right
    leaf_schema = planner.schema(core)
    return restore_order(planner, "join-order", joined, source.npartitions, region, leaf_schema, positions)


# ---------------------------------------------------------------- the join itself


def _filtered_by_keys(sides: Sides, left: Mode, right: Mode) -> list[Callable[[Node], Node]]:
    """Say what is put on top of each side, so that keys of a broadcast side that has few of them are looked for early."""
    out: list[Callable[[Node], Node]] = [lambda leaf: leaf, lambda leaf: leaf]
    if sides.how not in ("Inner", "Semi") or sides.nulls_match or len(sides.left_on) != 1:
        return out
    keys = (sides.left_on[0], sides.right_on[0])
    different = different_keys(sides)
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
    distinct = different_values(sides)
    return planner.fragment(
        operation,
        lambda leaves: region.build([put(leaf) for put, leaf in zip(filtered, leaves, strict=True)]),
        [Input(sides.left, left), Input(sides.right, right)],
        sides.schemas,
        size=rows_after(sides),
        placement=placement.renamed(kept) if placement is not None else None,
        distinct=distinct_after(planner, region, distinct),
    )
