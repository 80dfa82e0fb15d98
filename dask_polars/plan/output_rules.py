"""How each expression that has rows of its own is written as nodes on frames. Those of one value come last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode, decode_expr
from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    aggregation_of,
    alias,
    column,
    kind_of,
    map_children,
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
from dask_polars.plan.order_statistics import quantile_node
from dask_polars.plan.outputs import OUTPUT, Lifted, Lifter
from dask_polars.plan.reverse import reverse_node
from dask_polars.plan.row_numbers import is_row_number
from dask_polars.plan.window_explode import exploded_window
from dask_polars.ranks import VALUE

ALL = 2**32 - 1  # Polars' way to say "to the end"

Rule = Callable[[Lifter, Any], "Lifted | None"]
RULES: dict[str, Rule] = {}
SCALAR_RULES: dict[str, Rule] = {}


def rule_for(tree: Expression) -> Rule | None:
    """Give the rule for the operation at the top of an expression."""
    return RULES.get(_operation(tree))


def scalar_rule_for(tree: Expression) -> Rule | None:
    """Give the rule for an expression that gives one value."""
    return SCALAR_RULES.get(_operation(tree))


def _operation(tree: Expression) -> str:
    """Name an operation: functions of lists, of text, … are not those of columns of the same name."""
    if kind_of(tree) == "Function":
        return "Function." + kind_of(tree["Function"]["function"])
    return f"Agg.{kind_of(tree['Agg'])}" if kind_of(tree) == "Agg" else kind_of(tree)


def _rule(*names: str, table: dict[str, Rule] = RULES) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        table.update(dict.fromkeys(names, rule))
        return rule

    return register


def _number(tree: Expression) -> int | None:
    """Give the whole number that an expression is, if it is one."""
    if kind_of(tree) != "Literal" or shape(tree) is not Shape.LITERAL:
        return None
    value = pl.select(to_expr(tree)).to_series()
    return value.item() if value.len() == 1 and value.dtype.is_integer() else None


def _inputs(tree: Expression) -> list[Expression]:
    return tree["Function"]["input"]


def _options(tree: Expression) -> Any:
    found = tree["Function"]["function"]
    return found[kind_of(found)] if isinstance(found, Mapping) else None


def _column_of(lifter: Lifter, tree: Expression) -> tuple[Node, str]:
    """Give an expression as a plan of one column, and the name of this."""
    node, (name,) = lifter.columns([tree])
    return node, name


def _indexed(node: Node) -> tuple[Node, str]:
    """Number the rows of a plan."""
    name = f"{OUTPUT}{node.digest[:16]}"  # the same for the same rows, and none of their columns
    return Node("MapFunction", {"input": None, "function": {"RowIndex": {"name": name, "offset": 0}}}, (node,)), name


def _tree(expr: pl.Expr) -> Expression:
    return decode_expr(expr)


# ---------------------------------------------------------------- the same rows, in another order or fewer of them


@_rule("Function.Reverse")
def _reverse(lifter: Lifter, tree: Expression) -> Lifted | None:
    below = _rows(lifter, _inputs(tree)[0])
    return below and replace(below, node=reverse_node(below.node))


@_rule("Slice")
def _slice(lifter: Lifter, tree: Expression) -> Lifted | None:
    offset, length = _number(tree["Slice"]["offset"]), _number(tree["Slice"]["length"])
    if tree["Slice"]["length"] == _tree(pl.lit(None)):
        length = ALL
    if offset is None or length is None or length < 0:
        return None
    below = _rows(lifter, tree["Slice"]["input"])
    return below and replace(below, node=slice_node(offset, min(length, ALL), below.node))


@_rule("Function.GatherEvery")
def _gather_every(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = _options(tree)
    below = _rows(lifter, _inputs(tree)[0])
    if below is None:
        return None
    node, index = _indexed(below.node)
    place = pl.col(index).cast(pl.Int64) - options["offset"]
    return replace(below, node=filter_node(_tree((place >= 0) & (place % options["n"] == 0)), node))


@_rule("Filter")
def _filter(lifter: Lifter, tree: Expression) -> Lifted:
    node, (value, by) = _side_by_side(lifter, [tree["Filter"]["input"], tree["Filter"]["by"]])
    return Lifted(filter_node(by, node), value)


def _rows(lifter: Lifter, tree: Expression) -> Lifted | None:
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


@_rule("Function.DropNulls")
def _drop_nulls(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, _inputs(tree)[0])
    return Lifted(filter_node(_tree(pl.col(name).is_not_null()), node), column(name))


@_rule("Function.DropNans")
def _drop_nans(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, _inputs(tree)[0])
    return Lifted(
        select_node(None, [alias({"Function": {**tree["Function"], "input": [column(name)]}}, name)], node),
        column(name),
    )


@_rule("Explode")
def _explode(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, tree["Explode"]["input"])
    exploded = {"Explode": {**tree["Explode"], "input": column(name)}}
    return Lifted(select_node(None, [alias(exploded, name)], node), column(name))


@_rule("Over")
def _over(lifter: Lifter, tree: Expression) -> Lifted | None:
    if tree["Over"]["mapping"] != "Explode":
        return Lifted(lifter.base, tree)  # as long as the rows are
    return exploded_window(lifter, tree["Over"])


# ---------------------------------------------------------------- sorted


@_rule("Sort")
def _sort(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = tree["Sort"]["options"]
    if options["limit"] is not None:
        return None
    node, name = _column_of(lifter, tree["Sort"]["expr"])
    flags = {"descending": [options["descending"]], "nulls_last": [options["nulls_last"]]}
    return Lifted(sort_node([column(name)], node, maintain_order=options["maintain_order"], **flags), column(name))


@_rule("SortBy")
def _sort_by(lifter: Lifter, tree: Expression) -> Lifted | None:
    options = tree["SortBy"]["sort_options"]
    if options["limit"] is not None:
        return None
    return _ordered(lifter, tree["SortBy"]["expr"], tree["SortBy"]["by"], options)


def _ordered(lifter: Lifter, value: Expression, by: Sequence[Expression], options: Mapping[str, Any]) -> Lifted:
    if is_row_number(value):  # which is what `arg_sort_by` sorts
        node, keys = _side_by_side(lifter, by)
        node, index = _indexed(node)
        value = column(index)
    else:
        node, (value, *keys) = _side_by_side(lifter, [value, *by])
    flags: dict[str, Any] = {
        key: list(options[key]) if len(options[key]) == len(keys) else [options[key][0]] * len(keys)
        for key in ("descending", "nulls_last")
    }
    return Lifted(sort_node(keys, node, maintain_order=options["maintain_order"], **flags), value)


@_rule("Function.ArgSort")
def _arg_sort(lifter: Lifter, tree: Expression) -> Lifted:
    options = _options(tree)
    node, name = _column_of(lifter, _inputs(tree)[0])
    node, index = _indexed(node)
    ordered = sort_node([column(name)], node, descending=[options["descending"]], nulls_last=[options["nulls_last"]])
    return Lifted(ordered, column(index))


@_rule("Function.TopK", "Function.TopKBy")
def _top_k(lifter: Lifter, tree: Expression) -> Lifted | None:
    value, count, *by = _inputs(tree)
    rows = _number(count)
    if rows is None or rows < 0:
        return None
    reverse = _options(tree)["descending"]
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


@_rule("Function.Unique")
def _unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, _inputs(tree)[0])
    return Lifted(_distinct(node, maintain_order=bool(_options(tree))), column(name))


def _distinct(node: Node, *, maintain_order: bool = False, subset: Sequence[Expression] | None = None) -> Node:
    options = {
        "subset": subset,
        "maintain_order": maintain_order,
        "keep_strategy": "First" if maintain_order else "Any",
    }
    return Node("Distinct", {"input": None, "options": options}, (node,))


def _counted(lifter: Lifter, tree: Expression, *, maintain_order: bool) -> tuple[Node, str, str]:
    """Count the rows of each value."""
    node, name = _column_of(lifter, tree)
    count = lifter.name()
    return group_by_node([column(name)], [alias("Len", count)], node, maintain_order=maintain_order), name, count


@_rule("Function.UniqueCounts")
def _unique_counts(lifter: Lifter, tree: Expression) -> Lifted:
    node, _, count = _counted(lifter, _inputs(tree)[0], maintain_order=True)
    return Lifted(node, column(count))


@_rule("Function.ValueCounts")
def _value_counts(lifter: Lifter, tree: Expression) -> Lifted:
    options = _options(tree)
    node, name, count = _counted(lifter, _inputs(tree)[0], maintain_order=False)
    amount = pl.col(count)
    if options["normalize"]:
        amount = amount / pl.col(count).sum()
    pair = pl.struct(pl.col(name).alias(output_name(_inputs(tree)[0])), amount.alias(options["name"]))
    struct = lifter.name()
    node = select_node(None, [column(count), alias(_tree(pair), struct)], node)
    if options["sort"]:
        node = sort_node([column(count)], node, descending=[True])
    return Lifted(node, column(struct))


@_rule("Function.Hist")
def _hist(lifter: Lifter, tree: Expression) -> Lifted | None:
    values, (name,) = lifter.columns(_inputs(tree)[:1])
    values = select_node(None, [alias(column(name), VALUE)], values)
    found = histogram_node(tree, values, lifter.planner.schema(values))
    return None if found is None else Lifted(found, column(VALUE))


@_rule("Function.Mode")
def _mode(lifter: Lifter, tree: Expression) -> Lifted:
    node, name, count = _counted(lifter, _inputs(tree)[0], maintain_order=_options(tree)["maintain_order"])
    return Lifted(filter_node(_tree(pl.col(count) == pl.col(count).max()), node), column(name))


@_rule("Function.ArgUnique")
def _arg_unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, _inputs(tree)[0])
    node, index = _indexed(node)
    return Lifted(_distinct(node, maintain_order=True, subset=[column(name)]), column(index))


@_rule("Function.ArgWhere")
def _arg_where(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, _inputs(tree)[0])
    node, index = _indexed(node)
    return Lifted(filter_node(column(name), node), column(index))


@_rule("Function.RLE")
def _runs(lifter: Lifter, tree: Expression) -> Lifted:
    """The runs, which are numbered, are groups."""
    node, name = _column_of(lifter, _inputs(tree)[0])
    run, length = lifter.name(), lifter.name()
    node = with_columns_node([alias(_tree(pl.col(name).rle_id()), run)], node)
    of_run = [alias("Len", length), alias(_tree(pl.col(name).first()), name)]
    node = group_by_node([column(run)], of_run, node, maintain_order=True)
    return Lifted(node, _tree(pl.struct(pl.col(length).alias("len"), pl.col(name).alias("value"))))


# ---------------------------------------------------------------- rows of several places


@_rule("Gather")
def _gather(lifter: Lifter, tree: Expression) -> Lifted:
    return _picked(lifter, tree)


def _picked(lifter: Lifter, tree: Expression) -> Lifted:
    """Pick values by the numbers of their rows."""
    node, name = _column_of(lifter, tree["Gather"]["expr"])
    numbers, _ = _column_of(lifter, tree["Gather"]["idx"])
    fields = {"input": None, "idxs": None, "null_on_oob": tree["Gather"]["null_on_oob"]}
    return Lifted(Node("Gather", fields, (node, numbers)), column(name))


@_rule("Function.Random")
def _drawn(lifter: Lifter, tree: Expression) -> Lifted | None:
    """Which rows are drawn is up to their number and the seed: Polars draws among the numbers of the rows."""
    if _options(tree)["seed"] is None or any(shape(item) is not Shape.LITERAL for item in _inputs(tree)[1:]):
        return None
    node, name = _column_of(lifter, _inputs(tree)[0])
    count = lifter.name()
    height = select_node(None, [alias(_tree(pl.len().cast(pl.Int64)), count)], node)
    among = [_tree(pl.int_range(pl.col(count).first())), *_inputs(tree)[1:]]
    numbers = lifter.gathered({"Function": {**tree["Function"], "input": among}}, node=height, unknown=False)
    fields = {"input": None, "idxs": None, "null_on_oob": False}
    return Lifted(Node("Gather", fields, (node, numbers.node)), column(name))


@_rule("Function.Append")
def _append(lifter: Lifter, tree: Expression) -> Lifted:
    (dtype,) = expression_dtypes([tree], lifter.planner.schema(lifter.base))
    name = lifter.name()
    parts = []
    for item in _inputs(tree):
        node, own = _column_of(lifter, item)
        parts.append(select_node(None, [alias(_tree(pl.col(own).cast(dtype)), name)], node))
    return Lifted(union_node(parts), column(name))


@_rule("Function.ExtendConstant")
def _extend_constant(lifter: Lifter, tree: Expression) -> Lifted | None:
    values, value, count = _inputs(tree)
    times = _number(count)
    if times is None or times < 0 or shape(value) is not Shape.LITERAL:
        return None
    node, name = _column_of(lifter, values)
    dtype = lifter.planner.schema(node)[name]
    added = pl.DataFrame(schema={name: dtype}).select(pl.col(name).extend_constant(to_expr(value), times))
    return Lifted(union_node([node, decode(added.lazy())]), column(name))


# ---------------------------------------------------------------- rows that an expression brings along


@_rule("Literal")
def _series(lifter: Lifter, tree: Expression) -> Lifted:
    name = lifter.name()
    frame = pl.select(to_expr(tree).alias(name))
    return Lifted(decode(frame.lazy()), alias(column(name), output_name(tree)))


@_rule("Function.Range", "Function.Repeat")
def _range(lifter: Lifter, tree: Expression) -> Lifted | None:
    """What no row decides is computed once; a value as often as there are rows is a column."""
    if not reads_rows(tree):
        return lifter.gathered(tree, node=empty_leaf({}), unknown=False)
    if _operation(tree) == "Function.Repeat" and _inputs(tree)[1] == "Len":
        (value, _), name = _inputs(tree), lifter.name()
        if shape(value) is Shape.LITERAL:
            return Lifted(with_columns_node([alias(value, name)], lifter.base), column(name))
    return None


@_rule("Function.IndexOf")
def _index_of(lifter: Lifter, tree: Expression) -> Lifted | None:
    value, wanted = _inputs(tree)
    if shape(wanted) is not Shape.LITERAL:
        return None
    node, name = _column_of(lifter, value)
    node, index = _indexed(node)
    found = filter_node(_tree(pl.col(name).eq_missing(to_expr(wanted))), node)
    return Lifted(found, _tree(pl.col(index).min()), scalar=True)


# ---------------------------------------------------------------- one value


@_rule("Agg.Median", "Function.Quantile", table=SCALAR_RULES)
def _quantile(lifter: Lifter, tree: Expression) -> Lifted | None:
    below = _rows(lifter, tree["Agg"]["Median"] if kind_of(tree) == "Agg" else _inputs(tree)[0])
    if below is None:
        return None
    values = select_node(None, [alias(below.tree, VALUE)], below.node)
    found = quantile_node(tree, values, lifter.planner.schema(values))
    return None if found is None else Lifted(found, column(VALUE), scalar=True)


@_rule("Agg.NUnique", table=SCALAR_RULES)
def _n_unique(lifter: Lifter, tree: Expression) -> Lifted:
    node, name = _column_of(lifter, tree["Agg"]["NUnique"])
    return Lifted(_distinct(node), _tree(pl.col(name).len()), scalar=True)


@_rule("Function.ApproxNUnique", table=SCALAR_RULES)
def _approx_n_unique(lifter: Lifter, tree: Expression) -> Lifted:
    """The sketch of the different values is that of all values."""
    node, name = _column_of(lifter, _inputs(tree)[0])
    sketch = {"Function": {**tree["Function"], "input": [column(name)]}}
    return lifter.gathered(sketch, scalar=True, node=_distinct(node), unknown=False)


@_rule("Function.ArgMin", "Function.ArgMax", "Function.MinBy", "Function.MaxBy", table=SCALAR_RULES)
def _extreme(lifter: Lifter, tree: Expression) -> Lifted:
    operation = _operation(tree)
    inputs = _inputs(tree)
    if operation.startswith("Function.Arg"):
        node, by = _column_of(lifter, inputs[0])
        node, name = _indexed(node)
    else:
        node, (name, by) = lifter.columns(inputs)
    node = filter_node(_tree(pl.col(by).is_not_null()), node)
    keys, descending = [column(by)], [operation.endswith(("Max", "MaxBy"))]
    if lifter.planner.schema(node)[by].is_float():
        keys, descending = [_tree(pl.col(by).is_nan()), *keys], [False, *descending]
    first = slice_node(0, 1, sort_node(keys, node, descending=descending))
    return Lifted(first, _tree(pl.col(name).first()), scalar=True)


@_rule("Function.Correlation", table=SCALAR_RULES)
def _spearman(lifter: Lifter, tree: Expression) -> Lifted | None:
    """The correlation of ranks, of the rows that have both values; that of values is computed in parts."""
    method = _options(tree)["method"]
    if kind_of(method) != "SpearmanRank":
        return None
    node, names = lifter.columns(_inputs(tree))
    schema = lifter.planner.schema(node)
    node = filter_node(_tree(pl.all_horizontal(pl.col(name).is_not_null() for name in names)), node)
    ranks = [lifter.name() for _ in names]
    ranked = [alias(_tree(pl.col(name).rank("average")), rank) for name, rank in zip(names, ranks, strict=True)]
    node = with_columns_node(ranked, node)
    # Of no rows at all it is not null, as that of values is.
    out = pl.corr(*ranks).fill_null(float("nan"))
    floats = [name for name in names if schema[name].is_float()]
    if method["SpearmanRank"] and floats:
        out = (
            pl.when(pl.any_horizontal(pl.col(name).is_nan().any() for name in floats)).then(float("nan")).otherwise(out)
        )
    dtype = expression_dtypes([tree], lifter.planner.schema(lifter.base))[0]
    return Lifted(node, _tree(out.cast(dtype)), scalar=True)


@_rule("Gather", table=SCALAR_RULES)
def _get(lifter: Lifter, tree: Expression) -> Lifted | None:
    place = _number(tree["Gather"]["idx"])
    if place is None:
        picked = _picked(lifter, tree)
        return Lifted(picked.node, _tree(to_expr(picked.tree).first()), scalar=True)
    node, name = _column_of(lifter, tree["Gather"]["expr"])
    # Of the rows from there on, the first one; of a row that is not there Polars says so.
    there = slice_node(place, 1, node)
    got = {"Gather": {**tree["Gather"], "expr": column(name), "idx": _tree(pl.lit(0))}}
    return lifter.gathered(got, scalar=True, node=there, unknown=False)


@_rule("Agg.First", "Agg.Last", table=SCALAR_RULES)
def _end(lifter: Lifter, tree: Expression) -> Lifted | None:
    """The first of sorted rows: those need not be sorted all."""
    name, value = aggregation_of(tree) or ("", None)
    if kind_of(value) not in ("Sort", "SortBy"):
        return None
    below = lifter.lift(value)
    span = (0, 1) if name == "First" else (-1, 1)
    found = map_children(tree, lambda _: below.tree)
    return Lifted(slice_node(*span, below.node), found, scalar=True)


__all__ = ["RULES", "SCALAR_RULES", "rule_for", "scalar_rule_for"]
