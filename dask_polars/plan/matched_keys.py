"""
Semi and anti joins of a small left side with a large right one, whose rows then need not move.

The right side is only asked which keys of the left side it has. Each of its partitions is sent these keys and says which of
them it has; that is at most as many as there are, and goes back to the left side::

    left anti join right  ->  left anti join (keys of left semi join right, for each partition of right, gathered)

It is the semi-join program of Bernstein and Chiu (1981), with a broadcast in each direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl

from dask_polars.dsl.codec import decode
from dask_polars.dsl.expressions import column, columns_of
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict, select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import StageSource
from dask_polars.plan.stages import Input, Mode, Size, Stage

# The rows that say which keys there are must be at most this share of those that would move otherwise.
_MOST_LEFT = 0.5


def matched_keys(
    planner: Planner, core: Node, left: Stage, right: Stage, schemas: Sequence[SchemaDict]
) -> tuple[Node, Stage] | None:
    """
    Find the keys of the left side of a semi or anti join that its right side has.

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
    tuple of Node and Stage, or None
        The same join with the keys that were found in place of its right side, and these, in one partition: the columns of the left
        side that keys are made of. None where the left side is not small, or little is gained.
    """
    condition = core.fields["condition"]["Equi"]
    names = dict.fromkeys(name for key in condition["left_on"] for name in columns_of(key))
    schema = {name: schemas[0][name] for name in names}
    size = Size.guess(min(left.size.rows * right.npartitions, right.size.rows), schema, doubt=left.size.doubt)
    spared = right.size.bytes - size.bytes
    limit = planner.options.broadcast_limit
    if not planner.fits(left.size, limit) or spared < limit or size.bytes > _MOST_LEFT * right.size.bytes:
        return None

    def different(rows: Node) -> Node:
        return _unique().with_inputs((select_node(None, [column(name) for name in names], rows),))

    options = core.fields["options"]
    arguments = {**options["args"], "how": "Semi", "maintain_order": "None"}
    has = core.with_fields(options={**options, "args": arguments})
    keys = planner.fragment("join-keys", lambda leaves: different(leaves[0]), [left], [schemas[0]])
    sent = Input(planner.gather(keys), Mode.BROADCAST)
    found = planner.fragment("join-keys-found", has.with_inputs, [sent, Input(right)], [schema, schemas[1]], size=size)
    gathered = planner.tree("join-keys-combine", found, different)
    among_these = core.with_fields(condition={"Equi": {**condition, "right_on": condition["left_on"]}})
    return among_these.with_inputs((core.inputs[0], Node(SOURCE, {"source": StageSource(gathered)}))), gathered


@cache
def _unique() -> Node:
    return decode(pl.LazyFrame({"": []}).unique())
