"""
Quantiles of all rows, exactly, without sorting them all.

A sample of the values gives ranges, as for a sort; the values in each range are counted; and only the values of those
ranges travel in which the wanted ranks are, each different value once, with its count::

    quantile(0.5)  ->  value of the rank <- values of range 3, counted <- rows per range <- ranges <- sample
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    aggregation_of,
    alias,
    column,
    function_name,
    kind_of,
    map_children,
    to_expr,
)
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import filter_node, schema_over, select_node, with_columns_node
from dask_polars.kernels import SORT_KEY
from dask_polars.plan.planner import OUR_SCHEMAS, Planner, SchemaDict, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import kept
from dask_polars.plan.select import cast_to
from dask_polars.plan.sort import encode_keys, key_ranges
from dask_polars.plan.stages import CallStage, Input, Mode, Size, Stage
from dask_polars.ranks import COUNT, NULLS, RANGE, VALUE, count_ranges, pick_ranges, rows_before_ranges, value_of_ranks

QUANTILE = "Quantile"  # a node of ours: a quantile of the only column of its input, which is called `VALUE`


def quantile_node(tree: Expression, values: Node, schema: SchemaDict) -> Node | None:
    """
    Build the node that gives a median or a quantile.

    Parameters
    ----------
    tree
        The median or quantile, as the user wrote it.
    values
        A plan of one column, called ``VALUE``.
    schema
        Its schema.

    Returns
    -------
    Node or None
        None for quantiles that are not known numbers from 0 to 1, and for types whose values have no such order.
    """
    dtype = schema[VALUE]
    if not (dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean):
        return None
    over_values = map_children(tree, lambda child: child if kind_of(child) == "Literal" else column(VALUE))
    fields = {
        "tree": alias(over_values, VALUE),
        "median": False,
        "listed": False,
        "method": "Linear",
        "as_they_are": False,
    }
    aggregation = aggregation_of(tree)
    if aggregation is not None and aggregation[0] == "Median":
        return Node(QUANTILE, {**fields, "median": True, "quantiles": [0.5]}, (values,))
    if function_name(tree) != "Quantile":
        return None
    wanted = _numbers(tree["Function"]["input"][1])
    if not wanted or not all(isinstance(item, (int, float)) and 0 <= item <= 1 for item in wanted):
        return None
    listed = isinstance(schema_over(select_node(None, [fields["tree"]], values), [schema])[VALUE], pl.List)
    method = tree["Function"]["function"]["Quantile"]["method"]
    quantiles = [float(item) for item in wanted]
    return Node(QUANTILE, {**fields, "quantiles": quantiles, "listed": listed, "method": method}, (values,))


def sorted_values_node(values: Node, places: Sequence[float | tuple[int, int]]) -> Node:
    """
    Build the node that gives values as they are, by where they are among all in their order.

    Parameters
    ----------
    values
        A plan of one column, called ``VALUE``.
    places
        From 0, the first value, to 1, the last one; as ``(1, 3)`` for a third of the way, which no float is. Between two
        values it is the lower one.

    Returns
    -------
    Node
        Of one list of them; of nulls where there are no values.
    """
    last = pl.col(VALUE).count().cast(pl.Int64) - 1
    if any(isinstance(place, tuple) for place in places):
        above, below = (pl.lit(pl.Series(part, dtype=pl.Int64)) for part in zip(*places, strict=True))
        numbers = above * last // below
    else:
        numbers = (pl.lit(pl.Series(places, dtype=pl.Float64)) * last).floor().cast(pl.Int64)
    picked = pl.col(VALUE).drop_nulls().sort().gather(numbers, null_on_oob=True).implode()
    fields = {
        "tree": alias(decode_expr(picked), VALUE),
        "median": False,
        "listed": True,
        "method": "Lower",
        "quantiles": [list(place) if isinstance(place, tuple) else place for place in places],
        "as_they_are": True,
    }
    return Node(QUANTILE, fields, (values,))


def _numbers(tree: Expression) -> list[Any] | None:
    if kind_of(tree) != "Literal":
        return None
    value = pl.select(to_expr(tree)).to_series()
    if isinstance(value.dtype, pl.List):
        value = value.explode()
    return value.to_list()


def _schema(node: Node, inputs: Sequence[SchemaDict]) -> SchemaDict:
    return schema_over(select_node(None, [node.fields["tree"]], node.input), inputs)


OUR_SCHEMAS[QUANTILE] = _schema


@lowers(QUANTILE)
def lower_quantile(planner: Planner, region: Region) -> Stage:
    """Lower a quantile of a column."""
    core = region.core
    schema = planner.schema(core.input)
    (needed,) = planner.push_down(lambda leaves: select_node(None, [core.fields["tree"]], leaves[0]), [core.input])
    # Nulls are in no place, but there may be another value where Polars counts from when there are some.
    source = kept(planner, needed)
    rows = planner.lower(source)
    outputs = planner.partitions_for(rows.size, rows.npartitions)
    one_row = Size.guess(1, planner.schema(core), exact=True)
    if outputs == 1:

        def whole(leaves: Sequence[Node]) -> Node:
            return region.over(select_node(None, [core.fields["tree"]], leaves[0]))

        return planner.fragment("quantile", whole, [planner.gather(rows)], [schema], size=one_row)
    value = _by_ranks(planner, core, source, rows, outputs, schema)
    out = planner.schema(core)
    return planner.fragment(
        "quantile",
        lambda leaves: region.over(cast_to(planner, leaves[0], out)),
        [value],
        [value.schema],
        size=one_row,
    )


def _by_ranks(planner: Planner, core: Node, source: Node, rows: Stage, outputs: int, schema: SchemaDict) -> Stage:
    options = {"descending": [False], "nulls_last": [False]}
    encoded = encode_keys([column(VALUE)], options, schema)
    present = filter_node(decode_expr(pl.col(VALUE).is_not_null()), source)
    found = key_ranges(planner, "quantile", present, planner.lower(present), encoded, outputs)
    boundaries = Input(found, Mode.BROADCAST)
    keyed = planner.fragment(
        "quantile-keys", lambda leaves: with_columns_node([encoded], leaves[0]), [rows], [rows.schema]
    )
    counts = _call(
        planner,
        "quantile-partial",
        count_ranges,
        [Input(keyed), boundaries],
        {RANGE: pl.UInt32(), COUNT: pl.UInt64()},
        outputs * rows.npartitions,
    )
    before = _call(
        planner,
        "quantile-ranges",
        rows_before_ranges,
        [Input(planner.gather(counts))],
        {RANGE: pl.UInt32(), COUNT: pl.UInt64(), "before": pl.UInt64(), NULLS: pl.UInt64()},
        outputs,
    )
    quantiles = tuple(Fraction(*item) if isinstance(item, list) else item for item in core.fields["quantiles"])
    method, as_they_are = core.fields["method"], core.fields["as_they_are"]
    picked = _call(
        planner,
        "quantile-pick",
        pick_ranges,
        [Input(keyed), boundaries, Input(before, Mode.BROADCAST)],
        {VALUE: schema[VALUE], RANGE: pl.UInt32(), COUNT: pl.UInt64()},
        rows.size.rows / outputs * len(quantiles),
        (quantiles, method, as_they_are),
    )
    return _call(
        planner,
        "quantile-value",
        value_of_ranks,
        [Input(planner.gather(picked)), Input(before)],
        planner.schema(core),
        1,
        (quantiles, method, as_they_are, core.fields["median"], core.fields["listed"]),
    )


def _call(
    planner: Planner,
    operation: str,
    function: Any,
    sources: Sequence[Input],
    schema: SchemaDict,
    rows: float,
    arguments: tuple[Any, ...] = (),
) -> Stage:
    return CallStage(
        operation=operation,
        schema=schema,
        npartitions=sources[0].stage.npartitions,
        size=Size.guess(rows, schema),
        function=function,
        sources=tuple(sources),
        arguments=arguments,
    )


__all__ = ["QUANTILE", "SORT_KEY", "lower_quantile", "quantile_node", "sorted_values_node"]
