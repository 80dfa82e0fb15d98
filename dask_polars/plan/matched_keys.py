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
from dask_polars.dsl.expressions import alias, column
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import SchemaDict, expression_dtypes, select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import StageSource
from dask_polars.plan.stages import Input, Mode, Size, Stage

# The rows that say which keys there are must be at most this share of those that would move otherwise.
_MOST_LEFT = 0.5
_KEY = "__dp_key_"


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
        The same join with the keys that were found in place of its right side, and these, in one partition, as columns of their
        own. None where the left side is not small, or little is gained.
    """
    condition = core.fields["condition"]["Equi"]
    left_on = condition["left_on"]
    schema = {f"{_KEY}{index}": dtype for index, dtype in enumerate(expression_dtypes(left_on, schemas[0]))}
    size = Size.guess(min(left.size.rows * right.npartitions, right.size.rows), schema, doubt=left.size.doubt)
    spared = right.size.bytes - size.bytes
    limit = planner.options.broadcast_limit
    if not planner.fits(left.size, limit) or spared < limit or size.bytes > _MOST_LEFT * right.size.bytes:
        return None

    def different(rows: Node) -> Node:
        return _unique().with_inputs((rows,))

    def keys_of(leaves: Sequence[Node]) -> Node:
        named = [alias(key, name) for key, name in zip(left_on, schema, strict=True)]
        return different(select_node(None, named, leaves[0]))

    own = [column(name) for name in schema]
    options = core.fields["options"]
    arguments = {**options["args"], "how": "Semi", "maintain_order": "None"}
    has = core.with_fields(options={**options, "args": arguments}, condition={"Equi": {**condition, "left_on": own}})
    keys = planner.fragment("join-keys", keys_of, [left], [schemas[0]])
    sent = Input(planner.gather(keys), Mode.BROADCAST)
    found = planner.fragment("join-keys-found", has.with_inputs, [sent, Input(right)], [schema, schemas[1]], size=size)
    gathered = planner.tree("join-keys-combine", found, different)
    among_these = core.with_fields(condition={"Equi": {**condition, "right_on": own}})
    return among_these.with_inputs((core.inputs[0], Node(SOURCE, {"source": StageSource(gathered)}))), gathered


@cache
def _unique() -> Node:
    return decode(pl.LazyFrame({"": []}).unique())
