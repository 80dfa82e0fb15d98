"""
sort: a sample of the keys gives ranges, rows are shuffled by range, and every range is sorted.

Keys are compared in the encoding that Polars itself sorts rows by, so that any number of keys, each with its direction
and its place for nulls, is one comparison. Rows with equal keys stay in order through the shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr
from dask_polars.dsl.expressions import Expression, Shape, alias, column, expand, output_name, shape, to_expr
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import expression_dtypes, select_node, with_columns_node
from dask_polars.kernels import SORT_KEY, range_boundaries, range_partition, sample_keys
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import per_partition
from dask_polars.plan.scalars import Extraction
from dask_polars.plan.shuffling import without_categories
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, ShuffleStage, Size, Stage
from dask_polars.plan.wide import as_long_as_rows, with_columns_of_other_rows, with_key_columns, without_columns
from dask_polars.shuffle.frames import PARTITION_COLUMN


@lowers("Sort")
def lower_sort(planner: Planner, region: Region) -> Stage:
    """Lower a sort."""
    core = region.core
    schema = planner.schema(core.input)
    try:
        expanded = [expand([item], schema) for item in core.fields["by_column"]]
    except ValueError:
        return gather_and_run(planner, region, "sort", "its selectors are not understood")
    core = core.with_fields(
        by_column=[key for keys in expanded for key in keys],
        sort_options=_options_for(core.fields["sort_options"], [len(keys) for keys in expanded]),
    )
    region = Region(region.chain, core)
    keys = core.fields["by_column"]
    found = with_columns_of_other_rows(planner, core.input, keys)
    if found is not None and found.reason is None:
        # Keys that need other rows: `sort(pl.len().over("k"))`.
        ordered = core.with_inputs((found.rows,)).with_fields(by_column=found.trees)
        return planner.lower(region.over(without_columns(planner, core, ordered)))
    extraction = Extraction(schema)
    keys = [extraction.rewrite_named(key) for key in keys]
    if extraction.scalars and all(shape(key) is Shape.ROW for key in keys):
        # Keys that need aggregations: `sort((a - a.mean()).abs())`.
        ordered = core.with_inputs((extraction.beside(core.input),)).with_fields(by_column=keys)
        return planner.lower(region.over(select_node(None, [column(name) for name in schema], ordered)))
    if not all(shape(key) is Shape.ROW for key in keys) and all(map(as_long_as_rows, keys)):
        # Keys that are in another order than the rows: `sort(a.reverse())`.
        beside, names = with_key_columns(core.input, keys)
        ordered = core.with_inputs((beside,)).with_fields(by_column=[column(name) for name in names])
        return planner.lower(region.over(select_node(None, [column(name) for name in schema], ordered)))
    if core.fields["slice"] is not None or not all(shape(key) is Shape.ROW for key in keys):
        return gather_and_run(planner, region, "sort", "keys that are not computed row by row")
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    outputs = planner.partitions_for(rows.size, rows.npartitions)
    if outputs == 1:
        return planner.fragment("sort", region.build, [planner.gather(rows)], [schema], distinct=rows.distinct)
    encoded = encode_keys(keys, core.fields["sort_options"], schema)
    return _by_range(planner, region, source, rows, keys, encoded, outputs)


def _options_for(options: Mapping[str, Any], widths: Sequence[int]) -> dict[str, Any]:
    """Give each column of a selector the options of the selector; one option alone is for all."""
    changed = dict(options)
    for name in ("descending", "nulls_last"):
        given = options[name]
        each = given if len(given) == len(widths) else [given[0]] * len(widths)
        changed[name] = [flag for flag, width in zip(each, widths, strict=True) for _ in range(width)]
    return changed


def encode_keys(keys: Sequence[Expression], options: Mapping[str, Any], schema: SchemaDict) -> Expression:
    """Build the expression that encodes the keys of a row as bytes that compare as the rows sort."""
    flags = {"descending": options["descending"], "nulls_last": options["nulls_last"], "broadcast_nulls": None}
    return _encode(keys, {"Ordered": flags}, schema)


def encode_groups(keys: Sequence[Expression], schema: SchemaDict) -> Expression:
    """Build the expression that encodes the keys of a row as Polars orders groups by, where it says no other order."""
    return _encode(keys, "Unordered", schema)


def _encode(keys: Sequence[Expression], variant: Any, schema: SchemaDict) -> Expression:
    inputs = []
    for key, dtype in zip(keys, expression_dtypes(keys, schema), strict=True):
        # The number behind a category is one process's own; categories sort by their names.
        named = without_categories(dtype)
        inputs.append(key if named == dtype else decode_expr(to_expr(key).cast(named)))
    tree = {"Function": {"input": inputs, "function": {"RowEncode": variant}}}
    return alias(decode_expr(to_expr(tree).cast(pl.Binary)), SORT_KEY)


def _by_range(
    planner: Planner,
    region: Region,
    source: Node,
    rows: Stage,
    keys: Sequence[Expression],
    encoded: Expression,
    outputs: int,
) -> Stage:
    shuffled = range_shuffle(planner, "sort", source, rows, encoded, [output_name(key) for key in keys], outputs)
    schema = planner.schema(region.core.input)
    return planner.fragment("sort", region.build, [shuffled], [schema], distinct=rows.distinct)


def key_ranges(planner: Planner, operation: str, source: Node, rows: Stage, encoded: Expression, outputs: int) -> Stage:
    """
    Sample the keys of rows, and give the keys at which ranges of about as many rows each start.

    Parameters
    ----------
    planner
        The planner.
    operation
        What the names of the tasks start with.
    source
        The rows, as a plan.
    rows
        The stage of this plan.
    encoded
        Gives the key of a row as bytes, in the column ``SORT_KEY``.
    outputs
        The number of ranges.

    Returns
    -------
    Stage
        One partition; the first range starts nowhere.
    """
    only_keys = per_partition(
        planner, f"{operation}-keys", lambda leaves: select_node(None, [encoded], leaves[0]), source, rows
    )
    sampled_schema = {SORT_KEY: pl.Binary(), "weight": pl.Float64()}
    samples = CallStage(
        operation=f"{operation}-sample",
        schema=sampled_schema,
        npartitions=rows.npartitions,
        size=Size.guess(1000 * rows.npartitions, sampled_schema),
        function=sample_keys,
        sources=(Input(only_keys),),
        arguments=(max(20, math.ceil(200 * outputs / rows.npartitions)),),
    )
    return CallStage(
        operation=f"{operation}-ranges",
        schema={SORT_KEY: pl.Binary()},
        npartitions=1,
        size=Size.guess(outputs, {SORT_KEY: pl.Binary()}),
        function=range_boundaries,
        sources=(Input(planner.gather(samples)),),
        arguments=(outputs,),
    )


def range_shuffle(
    planner: Planner,
    operation: str,
    source: Node,
    rows: Stage,
    encoded: Expression,
    labels: Sequence[str],
    outputs: int,
) -> Stage:
    """
    Bring rows into ranges of their encoded keys; rows of an outcome are in the order of the input.

    Parameters
    ----------
    planner
        The planner.
    operation
        What the names of the tasks start with.
    source
        The rows, as a plan.
    rows
        The stage of this plan.
    encoded
        Gives the key of a row as bytes, in the column ``SORT_KEY``.
    labels
        The keys, for people.
    outputs
        The number of ranges.

    Returns
    -------
    Stage
        With the columns of the rows.
    """
    boundaries = key_ranges(planner, operation, source, rows, encoded, outputs)
    with_key = planner.fragment(
        f"{operation}-partition", lambda leaves: with_columns_node([encoded], leaves[0]), [rows], [rows.schema]
    )
    sent = CallStage(
        operation=f"{operation}-partition",
        schema={**rows.schema, PARTITION_COLUMN: pl.UInt32()},
        npartitions=rows.npartitions,
        size=rows.size,
        function=range_partition,
        sources=(Input(with_key), Input(boundaries, Mode.BROADCAST)),
    )
    return ShuffleStage(
        operation=f"{operation}-shuffle",
        schema=rows.schema,
        npartitions=outputs,
        size=rows.size,
        distinct=rows.distinct,
        source=sent,
        keys=tuple(labels),
        kind="range",
        method=planner.options.shuffle_method,
    )
