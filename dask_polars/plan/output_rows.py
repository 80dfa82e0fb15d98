"""How each expression that has rows of its own is written as nodes on frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    alias,
    column,
    output_name,
    reads_rows,
    shape,
    to_expr,
)
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import (
    empty_leaf,
    expression_dtypes,
    filter_node,
    group_by_node,
    select_node,
    slice_node,
    sort_node,
    union_node,
    with_columns_node,
)
from dask_polars.plan.histogram import histogram_node
from dask_polars.plan.output_rules import (
    column_of,
    indexed,
    inputs_of,
    number_of,
    operation_of,
    options_of,
    rule,
    tree_of,
)
from dask_polars.plan.outputs import Lifted, Lifter
from dask_polars.plan.reverse import reverse_node
from dask_polars.plan.row_numbers import is_row_number
from dask_polars.plan.window_explode import exploded_window
from dask_polars.ranks import VALUE

ALL = 2**32 - 1  # Polars' way to say "to the end"


# ---------------------------------------------------------------- the same rows, in another order or fewer of them


@rule("Function.Reverse")
def _reverse(lifter: Lifter, tree: Expression) -> Lifted | None:
    below = rows_of(lifter, inputs_of(tree)[0])
    return below and replace(below, node=reverse_node(below.node))


@rule("Slice")
def _slice(lifter: Lifter, tree: Expression) -> Lifted | None:
    offset, length = number_of(tree["Slice"]["offset"]), number_of(tree["Slice"]["length"])
    if tree["Slice"]["length"] == tree_of(pl.lit(None)):
        length = ALL
    if offset is None or length is None or length < 0:
        return None
    below = rows_of(lifter, tree["Slice"]["input"])
    return below and replace(below, node=slice_node(offset, min(length, ALL), below.node))


@rule("Function.GatherEvery")
def _gather_every(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = options_of(tree)
    below = rows_of(lifter, inputs_of(tree)[0])
    if below is None:
        return None
    node, index = indexed(below.node)
    place = pl.col(index).cast(pl.Int64) - options["offset"]
    return replace(below, node=filter_node(tree_of((place >= 0) & (place % options["n"] == 0)), node))


@rule("Filter")
def _filter(lifter: Lifter, tree: Expression) -> Lifted:
    node, (value, by) = _side_by_side(lifter, [tree["Filter"]["input"], tree["Filter"]["by"]])
    return Lifted(filter_node(by, node), value)


def rows_of(lifter: Lifter, tree: Expression) -> Lifted | None:
    """Give an expression as what is computed from single rows, so that others may be there, or in another order."""
    below = lifter.lift(tree)
    if below.scalar or shape(below.tree) is Shape.ROW:
        return None if below.scalar else below
    name = lifter.name()
    return Lifted(select_node(None, [alias(below.tree, name)], below.node), column(name))


def _side_by_side(lifter: Lifter, trees: Sequence[Expression]) -> tuple[Node, list[Expression]]:
    """
    Give expressions over the same rows, each computed from single rows.

    Without columns of their own where that is possible: then all that is filtered or sorted by the same is one plan.
    """
    lifted = [lifter.lift(tree) for tree in trees]
    if len({item.node.digest for item in lifted}) == 1 and all(shape(item.tree) is Shape.ROW for item in lifted):
        return lifted[0].node, [item.tree for item in lifted]
    node, names = lifter.columns(trees)
    return node, [column(name) for name in names]


@rule("Function.DropNulls")
def _drop_nulls(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, inputs_of(tree)[0])
    return Lifted(filter_node(tree_of(pl.col(name).is_not_null()), node), column(name))


@rule("Function.DropNans")
def _drop_nans(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, inputs_of(tree)[0])
    return Lifted(
        select_node(None, [alias({"Function": {**tree["Function"], "input": [column(name)]}}, name)], node),
        column(name),
    )


@rule("Explode")
def _explode(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, tree["Explode"]["input"])
    exploded = {"Explode": {**tree["Explode"], "input": column(name)}}
    return Lifted(select_node(None, [alias(exploded, name)], node), column(name))


@rule("Over")
def _over(lifter: Lifter, tree: Expression) -> Lifted | None:
    if tree["Over"]["mapping"] != "Explode":
        return Lifted(lifter.base, tree)  # as long as the rows are
    return exploded_window(lifter, tree["Over"])


# ---------------------------------------------------------------- sorted


@rule("Sort")
def _sort(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = tree["Sort"]["options"]
    if options["limit"] is not None:
        return None
    node, name = column_of(lifter, tree["Sort"]["expr"])
    flags = {"descending": [options["descending"]], "nulls_last": [options["nulls_last"]]}
    return Lifted(sort_node([column(name)], node, maintain_order=options["maintain_order"], **flags), column(name))


@rule("SortBy")
def _sort_by(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = tree["SortBy"]["sort_options"]
    if options["limit"] is not None:
        return None
    return _ordered(lifter, tree["SortBy"]["expr"], tree["SortBy"]["by"], options)


def _ordered(lifter: Lifter, value: Expression, by: Sequence[Expression], options: Mapping[str, Any]) -> Lifted:
    if is_row_number(value):  # which is what `arg_sort_by` sorts
        node, keys = _side_by_side(lifter, by)
        node, index = indexed(node)
        value = column(index)
    else:
        node, (value, *keys) = _side_by_side(lifter, [value, *by])
    flags: dict[str, Any] = {
        key: list(options[key]) if len(options[key]) == len(keys) else [options[key][0]] * len(keys)
        for key in ("descending", "nulls_last")
    }
    return Lifted(sort_node(keys, node, maintain_order=options["maintain_order"], **flags), value)


@rule("Function.ArgSort")
def _arg_sort(lifter: Lifter, tree: Expression) -> Lifted:
    options = options_of(tree)
    node, name = column_of(lifter, inputs_of(tree)[0])
    node, index = indexed(node)
    ordered = sort_node([column(name)], node, descending=[options["descending"]], nulls_last=[options["nulls_last"]])
    return Lifted(ordered, column(index))


@rule("Function.TopK", "Function.TopKBy")
def _top_k(lifter: Lifter, tree: Expression) -> Lifted | None:
    value, count, *by = inputs_of(tree)
    rows = number_of(count)
    if rows is None or rows < 0:
        return None
    reverse = options_of(tree)["descending"]
    node, (value, *keys) = _side_by_side(lifter, [value, *(by or [value])])
    flags = list(reverse) if isinstance(reverse, list) else [reverse]
    flags = flags if len(flags) == len(keys) else flags * len(keys)
    ordered = sort_node(
        keys,
        node,
        descending=[not flag for flag in flags],
        nulls_last=[True] * len(keys),
        maintain_order=False,
    )
    return Lifted(slice_node(0, rows, ordered), value)


# ---------------------------------------------------------------- sets of values


@rule("Function.Unique")
def _unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, inputs_of(tree)[0])
    return Lifted(distinct_of(node, maintain_order=bool(options_of(tree))), column(name))


def distinct_of(node: Node, *, maintain_order: bool = False, subset: Sequence[Expression] | None = None) -> Node:
    options = {
        "subset": subset,
        "maintain_order": maintain_order,
        "keep_strategy": "First" if maintain_order else "Any",
    }
    return Node("Distinct", {"input": None, "options": options}, (node,))


def _counted(lifter: Lifter, tree: Expression, *, maintain_order: bool) -> tuple[Node, str, str]:
    """Count the rows of each value."""
    node, name = column_of(lifter, tree)
    count = lifter.name()
    return group_by_node([column(name)], [alias("Len", count)], node, maintain_order=maintain_order), name, count


@rule("Function.UniqueCounts")
def _unique_counts(lifter: Lifter, tree: Expression) -> Lifted:
    node, _, count = _counted(lifter, inputs_of(tree)[0], maintain_order=True)
    return Lifted(node, column(count))


@rule("Function.ValueCounts")
def _value_counts(lifter: Lifter, tree: Expression) -> Lifted:
    options = options_of(tree)
    node, name, count = _counted(lifter, inputs_of(tree)[0], maintain_order=False)
    amount = pl.col(count)
    if options["normalize"]:
        amount = amount / pl.col(count).sum()
    pair = pl.struct(pl.col(name).alias(output_name(inputs_of(tree)[0])), amount.alias(options["name"]))
    struct = lifter.name()
    node = select_node(None, [column(count), alias(tree_of(pair), struct)], node)
    if options["sort"]:
        node = sort_node([column(count)], node, descending=[True])
    return Lifted(node, column(struct))


@rule("Function.Hist")
def _hist(lifter: Lifter, tree: Expression) -> Lifted | None:
    values, (name,) = lifter.columns(inputs_of(tree)[:1])
    values = select_node(None, [alias(column(name), VALUE)], values)
    found = histogram_node(tree, values, lifter.planner.schema(values))
    return None if found is None else Lifted(found, column(VALUE))


@rule("Function.Mode")
def _mode(lifter: Lifter, tree: Expression) -> Lifted:
    node, name, count = _counted(lifter, inputs_of(tree)[0], maintain_order=options_of(tree)["maintain_order"])
    return Lifted(filter_node(tree_of(pl.col(count) == pl.col(count).max()), node), column(name))


@rule("Function.ArgUnique")
def _arg_unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, inputs_of(tree)[0])
    node, index = indexed(node)
    return Lifted(distinct_of(node, maintain_order=True, subset=[column(name)]), column(index))


@rule("Function.ArgWhere")
def _arg_where(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = column_of(lifter, inputs_of(tree)[0])
    node, index = indexed(node)
    return Lifted(filter_node(column(name), node), column(index))


@rule("Function.RLE")
def _runs(lifter: Lifter, tree: Expression) -> Lifted:
    """The runs, which are numbered, are groups."""
    node, name = column_of(lifter, inputs_of(tree)[0])
    run, length = lifter.name(), lifter.name()
    node = with_columns_node([alias(tree_of(pl.col(name).rle_id()), run)], node)
    of_run = [alias("Len", length), alias(tree_of(pl.col(name).first()), name)]
    node = group_by_node([column(run)], of_run, node, maintain_order=True)
    return Lifted(node, tree_of(pl.struct(pl.col(length).alias("len"), pl.col(name).alias("value"))))


# ---------------------------------------------------------------- rows of several places


@rule("Gather")
def _gather(lifter: Lifter, tree: Expression) -> Lifted:
    return picked(lifter, tree)


def picked(lifter: Lifter, tree: Expression) -> Lifted:
    """Pick values by the numbers of their rows."""
    node, name = column_of(lifter, tree["Gather"]["expr"])
    numbers, _ = column_of(lifter, tree["Gather"]["idx"])
    fields = {"input": None, "idxs": None, "null_on_oob": tree["Gather"]["null_on_oob"]}
    return Lifted(Node("Gather", fields, (node, numbers)), column(name))


@rule("Function.Random")
def _drawn(lifter: Lifter, tree: Expression) -> Lifted | None:
    """Which rows are drawn is up to their number and the seed: Polars draws among the numbers of the rows."""
    if options_of(tree)["seed"] is None or any(shape(item) is not Shape.LITERAL for item in inputs_of(tree)[1:]):
        return None
    node, name = column_of(lifter, inputs_of(tree)[0])
    count = lifter.name()
    height = select_node(None, [alias(tree_of(pl.len().cast(pl.Int64)), count)], node)
    among = [tree_of(pl.int_range(pl.col(count).first())), *inputs_of(tree)[1:]]
    numbers = lifter.gathered({"Function": {**tree["Function"], "input": among}}, node=height, unknown=False)
    fields = {"input": None, "idxs": None, "null_on_oob": False}
    return Lifted(Node("Gather", fields, (node, numbers.node)), column(name))


@rule("Function.Append")
def _append(lifter: Lifter, tree: Expression) -> Lifted:
    (dtype,) = expression_dtypes([tree], lifter.planner.schema(lifter.base))
    name = lifter.name()
    parts = []
    for item in inputs_of(tree):
        node, own = column_of(lifter, item)
        parts.append(select_node(None, [alias(tree_of(pl.col(own).cast(dtype)), name)], node))
    return Lifted(union_node(parts), column(name))


@rule("Function.ExtendConstant")
def _extend_constant(lifter: Lifter, tree: Expression) -> Lifted | None:
    values, value, count = inputs_of(tree)
    times = number_of(count)
    if times is None or times < 0 or shape(value) is not Shape.LITERAL:
        return None
    node, name = column_of(lifter, values)
    dtype = lifter.planner.schema(node)[name]
    added = pl.DataFrame(schema={name: dtype}).select(pl.col(name).extend_constant(to_expr(value), times))
    return Lifted(union_node([node, decode(added.lazy())]), column(name))


# ---------------------------------------------------------------- rows that an expression brings along


@rule("Literal")
def _series(lifter: Lifter, tree: Expression) -> Lifted:
    name = lifter.name()
    frame = pl.select(to_expr(tree).alias(name))
    return Lifted(decode(frame.lazy()), alias(column(name), output_name(tree)))


@rule("Function.Range", "Function.Repeat")
def _range(lifter: Lifter, tree: Expression) -> Lifted | None:
    """What no row decides is computed once; a value as often as there are rows is a column."""
    if not reads_rows(tree):
        return lifter.gathered(tree, node=empty_leaf({}), unknown=False)
    if operation_of(tree) == "Function.Repeat" and inputs_of(tree)[1] == "Len":
        (value, _), name = inputs_of(tree), lifter.name()
        if shape(value) is Shape.LITERAL:
            return Lifted(with_columns_node([alias(value, name)], lifter.base), column(name))
    return None


@rule("Function.IndexOf")
def _index_of(lifter: Lifter, tree: Expression) -> Lifted | None:
    value, wanted = inputs_of(tree)
    if shape(wanted) is not Shape.LITERAL:
        return None
    node, name = column_of(lifter, value)
    node, index = indexed(node)
    found = filter_node(tree_of(pl.col(name).eq_missing(to_expr(wanted))), node)
    return Lifted(found, tree_of(pl.col(index).min()), scalar=True)
