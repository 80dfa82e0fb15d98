"""
rolling and group_by_dynamic.

With groups, each group goes to one partition; Polars puts groups in the order of their encoded keys, so partitions are
ranges of that encoding.

Without groups the rows stay where they are, and what a window needs of other partitions is sent there. The first and the
last value of the index in each partition say which rows those are::

    rolling  ->  rolling over context and own rows, without the rows of the context
                 <- own rows, shuffle of the rows that other partitions need <- bounds of each partition

Windows of a group_by_dynamic that do not overlap are keys of an ordinary group_by, so that aggregations in parts are
combined, however many partitions a window spans::

    group_by_dynamic  ->  sort by window <- group_by(window) <- rows with their windows <- bounds of each partition

The first row of all decides where windows start: each partition is given that row, so that Polars itself counts from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dask_polars.dsl.codec import encode
from dask_polars.dsl.expressions import Expression, Shape, alias, as_condition, column, null_column, output_name, shape
from dask_polars.dsl.leaves import SOURCE, slot
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import filter_node, group_by_node, select_node, sort_node
from dask_polars.plan.fallback import gather_and_run
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import StageSource, per_partition
from dask_polars.plan.sort import encode_groups, range_shuffle
from dask_polars.plan.stages import CallStage, Input, Mode, SchemaDict, ShuffleStage, Size, Stage
from dask_polars.series_kernels import (
    BOUNDS,
    INDEX,
    LABEL,
    LOWER,
    OWN,
    REACH,
    ROW,
    SENT_BY,
    UPPER,
    assign_windows,
    checked_rows,
    index_bounds,
    run_dynamic,
    run_rolling,
    send_to_dynamic,
    send_to_rolling,
    window_reach,
)
from dask_polars.shuffle.frames import PARTITION_COLUMN

HAVING = "__dp_having_"
_OPERATIONS = {"dynamic": "group_by_dynamic", "rolling": "rolling"}
_INTEGERS = {"dynamic": (pl.Int32, pl.Int64), "rolling": (pl.Int32, pl.Int64, pl.UInt32, pl.UInt64)}


def window_kind(core: Node) -> str | None:
    """Say whether a group_by has windows: ``"dynamic"``, ``"rolling"`` or None."""
    options = core.fields["options"]
    return next((kind for kind in _OPERATIONS if options[kind] is not None), None)


def windows_of(core: Node) -> Mapping[str, Any]:
    """Give the options of the windows of a group_by."""
    kind = window_kind(core)
    assert kind is not None
    return core.fields["options"][kind]


def lower_windows(planner: Planner, region: Region) -> Stage:
    """
    Lower a group_by with windows.

    Parameters
    ----------
    planner
        The planner.
    region
        With a ``GroupBy`` as its core that has windows, and no selectors.

    Returns
    -------
    Stage
    """
    core = region.core
    kind = window_kind(core)
    assert kind is not None
    reason = _not_distributed(planner, core, kind)
    if reason is not None:
        return gather_and_run(planner, region, _OPERATIONS[kind], reason)
    (source,) = planner.push_down(region.build, [core.input])
    rows = planner.lower(source)
    if core.fields["keys"]:
        return _by_group(planner, region, source, rows, kind)
    if rows.npartitions == 1:
        rows = _checked(planner, core, rows) if kind == "dynamic" else rows
        return planner.fragment(_OPERATIONS[kind], region.build, [rows], [planner.schema(core.input)])
    if kind == "rolling" or _overlap(windows_of(core)):
        return _in_partitions(planner, region, source, rows, kind)
    return _as_groups(planner, region, source, rows)


def _not_distributed(planner: Planner, core: Node, kind: str) -> str | None:
    """Say why windows are not distributed; what Polars refuses is refused by Polars, which gets all rows then."""
    if core.fields["options"]["slice"] is not None:
        return "a slice of the windows"
    if core.fields["apply"] is not None:
        return "a function of whole windows"
    if not all(shape(key) in (Shape.ROW, Shape.LITERAL) for key in core.fields["keys"]):
        return "keys that are not computed row by row"
    windows = windows_of(core)
    dtype = planner.schema(core.input)[windows["index_column"]]
    integer = dtype.base_type() in _INTEGERS[kind]
    if not integer and dtype.base_type() not in (pl.Date, pl.Datetime):
        return f"an index of type {dtype}"
    steps = [windows[name] for name in ("every", "period", "offset") if name in windows]
    if any(step["parsed_int"] is not integer for step in steps if _is_some(step)):
        return "windows of another kind than the index"
    if any(step["negative"] or not _is_some(step) for step in steps if step is not windows["offset"]):
        return "windows of no length"
    return None


def _is_some(duration: Mapping[str, Any]) -> bool:
    return any(duration[name] for name in ("months", "weeks", "days", "nsecs"))


def _overlap(windows: Mapping[str, Any]) -> bool:
    return windows["every"] != windows["period"]


# ---------------------------------------------------------------- groups


def _by_group(planner: Planner, region: Region, source: Node, rows: Stage, kind: str) -> Stage:
    from dask_polars.plan.group_by import is_placed

    core = region.core
    operation = _OPERATIONS[kind]
    if rows.npartitions > 1 and not is_placed(rows.placement, core.fields["keys"]):
        outputs = max(2, planner.partitions_for(rows.size, rows.npartitions))
        schema = planner.schema(core.input)
        keys = core.fields["keys"]
        labels = [output_name(key) for key in keys]
        rows = range_shuffle(planner, operation, source, rows, encode_groups(keys, schema), labels, outputs)
    return planner.fragment(operation, region.build, [rows], [planner.schema(core.input)])


# ---------------------------------------------------------------- windows that need rows of other partitions


def _checked(planner: Planner, core: Node, rows: Stage) -> Stage:
    """Check rows in one partition; the streaming engine of Polars does not check them for a group_by_dynamic."""
    return CallStage(
        operation="group_by_dynamic-check",
        schema=rows.schema,
        npartitions=1,
        size=rows.size,
        function=checked_rows,
        sources=(Input(rows),),
        arguments=("group_by_dynamic", windows_of(core)["index_column"]),
    )


def _call(
    planner: Planner,
    operation: str,
    core: Node,
    function: Any,
    sources: Sequence[Input],
    template: bytes,
    *,
    npartitions: int,
) -> Stage:
    digest = hashlib.sha1(template, usedforsecurity=False).hexdigest()
    return CallStage(
        operation=operation,
        schema=planner.schema(core),
        npartitions=npartitions,
        size=Size.guess(sources[0].stage.size.rows, planner.schema(core), doubt=sources[0].stage.size.doubt),
        function=function,
        sources=tuple(sources),
        arguments=(template,),
        indexed=True,
        content=f"{function.__qualname__}-{digest}",
    )


def bounds_of(
    planner: Planner, operation: str, source: Node, rows: Stage, index: Expression, dtype: pl.DataType
) -> Stage:
    """Learn of each partition how many rows it has, whether they are sorted, and where they start and end."""
    only = per_partition(
        planner, f"{operation}-index", lambda leaves: select_node(None, [index], leaves[0]), source, rows
    )
    schema = {**BOUNDS, "first": dtype, "last": dtype}
    bounds = CallStage(
        operation=f"{operation}-bounds",
        schema=schema,
        npartitions=rows.npartitions,
        size=Size.guess(rows.npartitions, schema, exact=True),
        function=index_bounds,
        sources=(Input(only),),
    )
    return planner.gather(bounds)


def reach_of(operation: str, bounds: Stage, lower: Any, upper: tuple[Any, ...]) -> Stage:
    """Say of each partition, from the bounds of all, whose rows its windows reach to, in one partition."""
    return CallStage(
        operation=f"{operation}-reach",
        schema=REACH,
        npartitions=1,
        size=Size.guess(bounds.size.rows, REACH, exact=True),
        function=window_reach,
        sources=(Input(bounds),),
        arguments=(operation, lower, upper),
    )


def _in_partitions(planner: Planner, region: Region, source: Node, rows: Stage, kind: str) -> Stage:
    """
    Compute the windows of each partition over its rows and their context.

    Windows of the context are not whole, and an aggregation may fail in such: so they are cut off before anything is
    computed of them, which a condition on the windows would be. It becomes a column, and a filter afterwards.
    """
    core = region.core
    conditions = [alias(tree, f"{HAVING}{index}") for index, tree in enumerate(core.fields["predicates"])]
    if kind == "dynamic":
        conditions.append(alias({"Agg": {"First": column(OWN)}}, OWN))
    every = core.with_fields(aggs=[*core.fields["aggs"], *conditions], predicates=[])
    stage = _with_context(planner, every, source, rows, kind)
    if not conditions and not region.chain:
        return stage
    names = [column(name) for name in planner.schema(core)]

    def build(leaves: Sequence[Node]) -> Node:
        (node,) = leaves
        for tree in conditions:
            node = filter_node(as_condition(output_name(tree)), node)
        return region.over(select_node(None, names, node) if conditions else node)

    return planner.fragment(stage.operation, build, [stage], [stage.schema])


def _with_context(planner: Planner, core: Node, source: Node, rows: Stage, kind: str) -> Stage:
    operation = _OPERATIONS[kind]
    windows = windows_of(core)
    name = windows["index_column"]
    bounds = bounds_of(planner, operation, source, rows, column(name), rows.schema[name])
    lower, upper = (windows["offset"], (windows["offset"], windows["period"]))
    reach = reach_of(operation, bounds, *((lower, upper) if kind == "rolling" else (None, (windows["period"],))))
    context = send_rows(
        planner,
        operation,
        send_to_rolling if kind == "rolling" else send_to_dynamic,
        [Input(rows), Input(reach, Mode.BROADCAST)],
        rows.schema,
        (name,),
        rows.npartitions,
    )
    flag = {} if kind == "rolling" else {OWN: pl.Boolean()}
    node = core.with_inputs((slot(0, {**planner.schema(core.input), **flag}),))
    function = run_rolling if kind == "rolling" else run_dynamic
    sources = [Input(rows), Input(context)]
    return _call(planner, operation, node, function, sources, encode(node), npartitions=rows.npartitions)


def send_rows(
    planner: Planner,
    operation: str,
    function: Any,
    sources: Sequence[Input],
    schema: SchemaDict,
    arguments: tuple[Any, ...],
    npartitions: int,
) -> Stage:
    """Send copies of rows to the partitions that need them as their context."""
    size = sources[0].stage.size.scaled(0.1)
    sent = CallStage(
        operation=f"{operation}-send",
        schema={**schema, PARTITION_COLUMN: pl.UInt32(), SENT_BY: pl.UInt32()},
        npartitions=sources[0].stage.npartitions,
        size=size,
        function=function,
        sources=tuple(sources),
        arguments=arguments,
        indexed=True,
    )
    return ShuffleStage(
        operation=f"{operation}-context",
        schema={**schema, SENT_BY: pl.UInt32()},
        npartitions=npartitions,
        size=size,
        source=sent,
        keys=("rows that other partitions need",),
        kind="context",
        method=planner.options.shuffle_method,
    )


# ---------------------------------------------------------------- windows as groups


def _as_groups(planner: Planner, region: Region, source: Node, rows: Stage) -> Stage:
    """Rows with their windows, grouped by window."""
    core = region.core
    windows = windows_of(core)
    name = windows["index_column"]
    dtype = rows.schema[name]
    bounds = bounds_of(planner, "group_by_dynamic", source, rows, column(name), dtype)
    template = _assigning(planner, core, dtype)
    added = {key: value for key, value in planner.schema(template).items() if key != ROW}
    assigned = CallStage(
        operation="group_by_dynamic-windows",
        schema={**rows.schema, **added},
        npartitions=rows.npartitions,
        size=Size.guess(rows.size.rows, {**rows.schema, **added}, doubt=rows.size.doubt),
        distinct=rows.distinct,
        function=assign_windows,
        sources=(Input(rows), Input(bounds, Mode.BROADCAST)),
        arguments=(name, encode(template)),
    )
    leaf = Node(SOURCE, {"source": StageSource(assigned)})
    # Aggregations that nobody reads may be of columns that were not asked for.
    wanted = {**planner.schema(core.input), **added}
    padded = [column(key) if key in assigned.schema else null_column(key, dtype) for key, dtype in wanted.items()]
    return planner.lower(region.over(_grouped(planner, core, select_node(None, padded, leaf, keep_height=True))))


def _assigning(planner: Planner, core: Node, dtype: pl.DataType) -> Node:
    """Build what gives the windows of an index, and the rows in each."""
    windows = {**windows_of(core), "index_column": INDEX, "include_boundaries": True}
    options = {**core.fields["options"], "dynamic": windows}
    leaf = slot(0, {INDEX: dtype, ROW: pl.Int64()})
    node = core.with_fields(aggs=[column(ROW)], predicates=[], options=options).with_inputs((leaf,))
    lower, upper, label = (column(item) for item in list(planner.schema(node))[:3])
    return select_node(None, [alias(lower, LOWER), alias(upper, UPPER), alias(label, LABEL), column(ROW)], node)


def _grouped(planner: Planner, core: Node, assigned: Node) -> Node:
    windows = windows_of(core)
    names = list(planner.schema(core))
    # The first value in a window is its label, or else what Polars says for the window, where all rows have the same.
    first = windows["label"] == "DataPoint"
    label = {"Agg": {"First": column(windows["index_column"])}} if first else _any_of(LABEL)
    found = [alias(label, LABEL)]
    out = [alias(column(LABEL), windows["index_column"])]
    if windows["include_boundaries"]:
        found.append(alias(_any_of(UPPER), UPPER))
        out = [alias(column(LOWER), names[0]), alias(column(UPPER), names[1]), *out]
    aggs = core.fields["aggs"]
    groups = group_by_node([column(LOWER)], [*found, *aggs], assigned).with_fields(predicates=core.fields["predicates"])
    out += [column(output_name(tree)) for tree in aggs]
    return select_node(None, out, sort_node([column(LOWER)], groups))


def _any_of(name: str) -> Expression:
    return {"Agg": {"First": column(name)}}
