"""
What a join joins: its sides, what may be done with them, where their rows are, and how many there will be.

The rules are those of Polars: which rows are kept without a match, which keys are checked, and whose order counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.expressions import Expression, kind_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes
from dask_polars.plan.lineage import bound_of
from dask_polars.plan.shuffling import Nulls, common_dtypes, hashable
from dask_polars.plan.stages import Placement, Size, Stage

# Joins of which a side may be copied, to be broadcast or because a key is heavy: every row of the other side then meets all
# rows that it can match, and rows of the copied side that match nothing do not appear, or would appear once for each copy.
_COPIED_RIGHT = ("Inner", "Left", "Semi", "Anti", "Cross")
_COPIED_LEFT = ("Inner", "Right", "Cross")
# The sides whose order is to be kept, the one that counts first at the front.
ORDERS: Mapping[str, tuple[str, ...]] = {
    "None": (),
    "Left": ("left",),
    "LeftRight": ("left", "right"),
    "Right": ("right",),
    "RightLeft": ("right", "left"),
}
# The sides whose rows are part of the outcome also where they match nothing.
KEPT: Mapping[str, tuple[str, ...]] = {
    "Left": ("left",),
    "Right": ("right",),
    "Full": ("left", "right"),
    "Anti": ("left",),
}
# A check that keys are unique needs all rows of a key of that side in one place.
_CHECKS_LEFT = ("OneToMany", "OneToOne")
_CHECKS_RIGHT = ("ManyToOne", "OneToOne")


@dataclass(frozen=True)
class Sides:
    """
    What a join joins.

    Parameters
    ----------
    node
        The join.
    left, right
        The sides.
    left_on, right_on
        Their keys, as expressions.
    schemas
        The schemas that these were written for; a side may lack columns that nobody reads.
    """

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
        return Nulls.SPREAD if side in KEPT.get(self.how, ()) else Nulls.DROPPED


# ---------------------------------------------------------------- where rows are


def hash_dtypes(sides: Sides) -> tuple[pl.DataType, ...]:
    """Give the types as which keys of both sides are hashed, so that equal ones have equal hashes."""
    left = expression_dtypes(sides.left_on, sides.schemas[0])
    right = expression_dtypes(sides.right_on, sides.schemas[1])
    common = common_dtypes(left, right)
    if common is None:
        # Polars refuses such keys, and says so when the fragment runs.
        common = left
    return tuple(hashable(dtype) for dtype in common)


def placed_alike(sides: Sides) -> tuple[list[int], int] | None:
    """
    Find which of the keys the rows of a side are placed by already, where that can serve the join.

    Returns
    -------
    The numbers of the keys, in the order in which they are hashed, and the number of partitions; None for neither side.
    """
    dtypes = hash_dtypes(sides)
    candidates = []
    for stage, on in ((sides.left, sides.left_on), (sides.right, sides.right_on)):
        numbers = _numbers_of_placed_keys(stage.placement, on, dtypes, nulls_match=sides.nulls_match)
        if numbers is not None and stage.placement is not None and stage.npartitions > 1:
            candidates.append((stage.size.bytes, numbers, stage.placement.npartitions))
    if not candidates:
        return None
    _, numbers, npartitions = max(candidates, key=lambda item: item[0])
    return numbers, npartitions


def both_placed(sides: Sides) -> bool:
    """Say whether no row of either side would have to move."""
    dtypes = hash_dtypes(sides)
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


def placement_after(how: str, left: Stage, right: Stage) -> Placement | None:
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


# ---------------------------------------------------------------- how many rows


def rows_after(sides: Sides) -> Size:
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
        known = different_keys(sides)
        return left.scaled(min(right.rows / known, 1.0) or 1.0 if sides.how == "Semi" and known > 1 else 0.5)
    if sides.how == "Left":
        return left
    if sides.how == "Right":
        return right
    doubt = (left + right).doubt
    if sides.how == "Full":
        return Size(left.rows + right.rows, left.bytes + right.bytes, doubt=doubt)
    larger = max(left.rows, right.rows)
    share = min(left.rows * right.rows / different_keys(sides) / larger, 1.0) if larger else 1.0
    return Size(larger, left.bytes + right.bytes, doubt=doubt).scaled(share or 1.0)


def different_keys(sides: Sides) -> float:
    """
    Guess how many different keys there are on the side with more of them: 1 where nothing is known.

    A side has no more of them than rows. Of several keys the one with most values counts: that others are independent of it is
    no good guess.
    """
    bounds = [
        (bound_of(key, stage.distinct or {}), max(stage.size.rows, 1.0))
        for stage, keys in ((sides.left, sides.left_on), (sides.right, sides.right_on))
        for key in keys
    ]
    return max((min(bound, rows) for bound, rows in bounds if bound != math.inf), default=1.0)


def different_values(sides: Sides) -> dict[str, float]:
    """Bound the number of different values of columns of the outcome: of keys that are those of both sides by the sum."""
    left, right = sides.left.distinct or {}, sides.right.distinct or {}
    if sides.how not in ("Right", "Full"):
        return {**right, **left}
    alone = {
        name: bound for name, bound in {**left, **right}.items() if not all(name in schema for schema in sides.schemas)
    }
    return {**alone, **{name: left[name] + right[name] for name in left.keys() & right.keys()}}
