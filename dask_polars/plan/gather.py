"""
gather: rows picked by their numbers, in the order of these and as often as they say.

The rows are numbered, those that are picked at all are kept, and each number finds its row in a join::

    gather(numbers)  ->  numbers left join (row index of the rows, semi join numbers), in the order of the numbers

Negative numbers count from the end, so the rows are counted. Whether a number is out of bounds is for Polars to say: it
picks from a column of as many nulls, which takes no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import alias
from dask_polars.dsl.leaves import decode_with_sources, in_place_of
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, SchemaDict, lowers
from dask_polars.plan.regions import WITH_SCALARS, Region
from dask_polars.plan.stages import Stage

NUMBERS = "RowNumbers"  # a node of ours: the numbers of rows, from the first one, out of what a user picks them by
NUMBER = "__dp_gather_number"
ROWS = "__dp_gather_rows"
INDEX = "__dp_gather_index"


@lowers("Gather")
def lower_gather(planner: Planner, region: Region) -> Stage:
    """Lower a gather of rows."""
    core = region.core
    rows, picked = planner.push_down(region.build, core.inputs)
    if planner.lower(rows).npartitions == 1 and planner.lower(picked).npartitions == 1:
        return gather_and_run(planner, region, "gather", "of one partition")
    schema = planner.schema(core.inputs[0])
    count = select_node(None, [alias(decode_expr(pl.len().cast(pl.Int64)), ROWS)], rows)
    fields = {"null_on_oob": core.fields["null_on_oob"]}
    numbers = Node(NUMBERS, fields, (Node(WITH_SCALARS, {}, (picked, count)),))
    known = planner.schema(rows)
    (wanted, found), fill = in_place_of([numbers, rows], [planner.schema(numbers), known])
    found = found.with_row_index(INDEX).with_columns(pl.col(INDEX).cast(pl.Int64))
    found = found.join(wanted, left_on=INDEX, right_on=NUMBER, how="semi")
    out = wanted.join(found, left_on=NUMBER, right_on=INDEX, how="left", maintain_order="left")
    # Columns that nothing above needs were not asked for.
    columns = [
        pl.col(name) if name in known else pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items()
    ]
    # As many rows as were picked, also where no column of theirs is needed.
    kept = out.with_columns(columns).select(list(schema))
    return planner.lower(region.over(fill(decode_with_sources(kept))))


def _schema(node: Node, inputs: Sequence[SchemaDict]) -> SchemaDict:
    return {NUMBER: pl.Int64()}


OUR_SCHEMAS[NUMBERS] = _schema


@lowers(NUMBERS)
def lower_numbers(planner: Planner, region: Region) -> Stage:
    """Lower the numbers of rows, partition by partition."""
    core = region.core
    schema = planner.schema(core.input)
    picked = pl.col(next(name for name in schema if name != ROWS)).cast(pl.Int64)
    rows = pl.col(ROWS)
    number = pl.when(picked < 0).then(picked + rows).otherwise(picked)
    if not core.fields["null_on_oob"]:
        among = pl.repeat(None, rows.first().fill_null(0), dtype=pl.Null)
        number = pl.when(among.gather(picked).is_null()).then(number)
    tree = alias(decode_expr(number), NUMBER)
    source = planner.lower(core.input)
    return planner.fragment(
        "gather-numbers", lambda leaves: region.over(select_node(None, [tree], leaves[0])), [source], [schema]
    )
