"""
Semi and anti joins of a small left side with a large right one, whose rows then need not move.

The right side is only asked which keys of the left side it has. Each of its partitions is sent these keys and says which of
them it has; that is at most as many as there are, and goes back to the left side::

    left anti join right  ->  left anti join (right semi join keys of left, different ones of each partition, gathered)

It is the semi-join program of Bernstein and Chiu (1981), with a broadcast in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl

from dask_polars.dsl.codec import decode
from dask_polars.dsl.expressions import column, columns_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict, select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.stages import Input, Mode, Size, Stage

# The rows that say which keys there are must be at most this share of those that would move otherwise.
_MOST_LEFT = 0.5


def matched_keys(
    planner: Planner, core: Node, left: Stage, right: Stage, schemas: Sequence[SchemaDict]
) -> Stage | None:
    """
    Find rows of the right side of a semi or anti join that have all of its keys that the left side has.

    Parameters
    ----------
    planner
        The planner.
    core
        The join. It checks no keys.
    left, right
        Its sides.
    schemas
        The schemas that it was written for.

    Returns
    -------
    Stage or None
        One partition, with the schema of the right side; None where the left side is not small, or little is gained.
    """
    limit = planner.options.broadcast_limit
    size = Size.guess(min(left.size.rows * right.npartitions, right.size.rows), right.schema, doubt=left.size.doubt)
    spared = right.size.bytes - size.bytes
    if not planner.fits(left.size, limit) or spared < limit or size.bytes > _MOST_LEFT * right.size.bytes:
        return None
    condition = core.fields["condition"]["Equi"]
    names = dict.fromkeys(name for key in condition["left_on"] for name in columns_of(key))

    def different(rows: Node, columns: Sequence[str]) -> Node:
        return _unique().with_inputs((select_node(None, [column(name) for name in columns], rows),))

    def has(leaves: Sequence[Node]) -> Node:
        return different(_asked_the_other_way(core).with_inputs((leaves[1], leaves[0])), tuple(right.schema))

    keys = planner.fragment("join-keys", lambda leaves: different(leaves[0], tuple(names)), [left], [schemas[0]])
    sent = Input(planner.gather(keys), Mode.BROADCAST)
    found = planner.fragment("join-keys-found", has, [sent, Input(right)], schemas, size=size)
    return planner.tree("join-keys-combine", found, lambda leaf: different(leaf, tuple(right.schema)))


def _asked_the_other_way(core: Node) -> Node:
    """Give the join that leaves those rows of the right side that match the left side."""
    options = core.fields["options"]
    equal = core.fields["condition"]["Equi"]
    return core.with_fields(
        options={**options, "args": {**options["args"], "how": "Semi", "maintain_order": "None"}},
        condition={"Equi": {**equal, "left_on": equal["right_on"], "right_on": equal["left_on"]}},
    )


@cache
def _unique() -> Node:
    return decode(pl.LazyFrame({"": []}).unique())
