"""Rows in reverse: of each partition, and of the partitions."""

from __future__ import annotations

from collections.abc import Sequence

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import column, to_expr
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.lineage import distinct_after
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, SchemaDict, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import Stage

REVERSE = "Reverse"  # a node of ours: the rows of its input, the last one first


def reverse_node(source: Node) -> Node:
    """Put the rows of a node in reverse."""
    return Node(REVERSE, {}, (source,))


def _schema(node: Node, inputs: Sequence[SchemaDict]) -> SchemaDict:
    return inputs[0]


OUR_SCHEMAS[REVERSE] = _schema


@lowers(REVERSE)
def lower_reverse(planner: Planner, region: Region) -> Stage:
    """Lower rows in reverse."""
    core = region.core
    (source,) = planner.push_down(lambda leaves: region.over(leaves[0]), [core.input])
    rows = planner.lower(source)
    schema = planner.schema(core.input)
    turned = planner.regroup(rows, [[index] for index in reversed(range(rows.npartitions))], "reverse")

    def build(leaves: Sequence[Node]) -> Node:
        backwards = [decode_expr(to_expr(column(name)).reverse()) for name in schema]
        node = select_node(None, backwards, leaves[0]) if backwards else leaves[0]
        return region.over(node)

    return planner.fragment(
        "reverse", build, [turned], [schema], distinct=distinct_after(planner, region, rows.distinct or {})
    )
