"""Which columns of a region's core are still there on top of its chain, and under which names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from dask_polars.dsl.expressions import (
    Expression,
    Shape,
    columns_of,
    expand,
    function_name,
    kind_of,
    output_name,
    shape,
)
from dask_polars.dsl.nodes import Node
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region, find_region, function_of, is_row_wise, simplify


def keeps_rows(node: Node) -> bool:
    """Say whether a node gives one row for each row of its input, from that row, in the same order."""
    if node.kind == "Select":
        return is_row_wise(node) and [shape(tree) for tree in node.fields["expr"]] != [Shape.ROWS]
    if node.kind == "MapFunction":
        return function_of(node) == "Rename"
    return node.kind == "HStack" and is_row_wise(node)


def renames(planner: Planner, region: Region) -> dict[str, str]:
    """
    Follow the columns of a region's core up through its chain.

    Parameters
    ----------
    planner
        The planner.
    region
        The region.

    Returns
    -------
    dict
        New names by old ones, of the columns whose values are unchanged. A column that is there under several names
        has one of them.
    """
    names = {name: name for name in planner.schema(region.core)}
    for node in region.nodes:
        step = _step(planner, node)
        names = {old: step[new] for old, new in names.items() if new in step}
    return names


def names_below(planner: Planner, node: Node) -> dict[str, str]:
    """
    Say which columns of its input those of a row by row node are.

    Parameters
    ----------
    planner
        The planner.
    node
        The node.

    Returns
    -------
    dict
        Old names by new ones, of the columns whose values are unchanged.
    """
    return {new: old for old, new in _step(planner, node).items()}


def input_of_join(planner: Planner, node: Node, name: str) -> int | None:
    """Say which input of a join has a column of its outcome, of the same name; such as have got another name are not followed."""
    left, right = (planner.schema(child) for child in node.inputs)
    return 0 if name in left else 1 if name in right else None


def equal_keys(node: Node) -> list[tuple[str, str]] | None:
    """Give the pairs of columns that a join compares; None where it is another join, or does anything else."""
    if node.kind != "Join" or "Equi" not in node.fields["condition"]:
        return None
    arguments = node.fields["options"]["args"]
    condition = node.fields["condition"]["Equi"]
    pairs = list(zip(condition["left_on"], condition["right_on"], strict=True))
    plain = all(kind_of(key) == "Column" for pair in pairs for key in pair)
    if not plain or arguments["slice"] is not None or arguments["validation"] != "ManyToMany":
        return None
    return [(left["Column"], right["Column"]) for left, right in pairs]


# The joins that put no nulls into columns of the left side, for rows of the other one without a match, and of the right one.
_NOT_FILLED = (("Inner", "Left", "Semi", "Anti", "Cross"), ("Inner", "Right", "Cross"))
# How many times as many rows there may be as a sample of footers says.
_SAMPLED = 2


def followed_down(
    planner: Planner, node: Node, names: Sequence[str], *, filled: bool = True
) -> tuple[Region, list[str]] | None:
    """
    Follow columns down to where they come from, through joins.

    Parameters
    ----------
    planner
        The planner.
    node
        A plan.
    names
        Some of its columns.
    filled
        Whether to follow them through joins that put nulls into them, beside rows without a match.

    Returns
    -------
    tuple of Region and list of str, or None
        The lowest region that they all come from, over what is no join, and the columns of its core with these values; None where
        there is none.
    """
    while True:
        region = find_region(simplify(node, planner.schema), planner.schema)
        for item in region.chain:
            below = names_below(planner, item)
            if not all(name in below for name in names):
                return None
            names = [below[name] for name in names]
        if region.core.kind != "Join":
            return region, list(names)
        index, *others = {input_of_join(planner, region.core, name) for name in names}
        if others or index is None:
            return None
        how = region.core.fields["options"]["args"]["how"]
        if how in ("Right", "Full") and any(name in planner.schema(region.core.inputs[1 - index]) for name in names):
            return None  # keys of that name are those of both sides
        if not filled and how not in _NOT_FILLED[index]:
            return None
        node = region.core.inputs[index]


def has_no_nulls(planner: Planner, node: Node, name: str) -> bool:
    """Say whether a column is thought to have no nulls: it is that of files, of which samples have none."""
    found = followed_down(planner, node, [name], filled=False)
    if found is None or found[0].core.kind != "Scan":
        return False
    core, (below,) = found[0].core, found[1]
    dtype = planner.schema(core)[below]
    known = [files.values_of(below, dtype) for files in planner.cut_so_far(core) if files.values_of is not None]
    return bool(known) and all(values is not None and all(part.nulls == 0 for part in values) for values in known)


def most_combinations(planner: Planner, node: Node, names: Sequence[str]) -> float:
    """Bound the number of combinations of the values of columns by the rows of the files that they all come from."""
    found = followed_down(planner, node, names) if names else None
    if found is None or found[0].core.kind != "Scan":
        return math.inf
    # What is read for these rows is among it, with the filters that were pushed there.
    rows = (files.rows if files.exact else _SAMPLED * files.rows for files in planner.cut_so_far(found[0].core))
    return max(rows, default=math.inf) + 1  # beside rows without a match they are null


def distinct_after(planner: Planner, region: Region, known: Mapping[str, float]) -> dict[str, float]:
    """
    Bound the number of different values of the columns on top of a region's chain.

    Parameters
    ----------
    planner
        The planner.
    region
        The region.
    known
        Bounds for the columns of its core.

    Returns
    -------
    dict
        Bounds for those columns of which anything is known: what is computed row by row has no more values than what it
        is computed of has combinations.
    """
    schema = planner.schema(region.core)
    bounds = {name: bound for name, bound in known.items() if name in schema}
    for node in region.nodes:
        if not bounds:
            break
        step = _step(planner, node)
        bounds = {
            **{step[name]: bound for name, bound in bounds.items() if name in step},
            **_computed(planner, node, bounds),
        }
    return bounds


def _computed(planner: Planner, node: Node, bounds: Mapping[str, float]) -> dict[str, float]:
    """Bound the columns that a node computes."""
    if not bounds or node.kind not in ("Select", "HStack"):
        return {}
    trees = expanded(planner, node)
    if trees is None:
        return {}
    found = ((output_name(tree), bound_of(tree, bounds)) for tree in trees)
    return {name: bound for name, bound in found if bound != math.inf}


def bound_of(tree: Expression, bounds: Mapping[str, float]) -> float:
    """
    Bound the number of different values of an expression.

    Parameters
    ----------
    tree
        The expression.
    bounds
        Those of columns.

    Returns
    -------
    float
        Infinity where nothing is known.
    """
    if kind_of(tree) == "Column":
        return bounds.get(tree["Column"], math.inf)
    found = shape(tree)
    if found is Shape.LITERAL:
        return 1.0
    if found is not Shape.ROW:
        return math.inf
    combinations = math.prod(bounds.get(name, math.inf) for name in columns_of(tree))
    return min(combinations, _most_values(tree, combinations))


# Of how many values parts of a time are, and null.
_PARTS_OF_TIME = {
    "Month": 13,
    "Quarter": 5,
    "Week": 54,
    "WeekDay": 8,
    "Day": 32,
    "OrdinalDay": 367,
    "Hour": 25,
    "Minute": 61,
    "Second": 61,
}
_DAYS_IN_YEAR = 365
_YEARS = 100  # that times are thought to lie in, if they are not more than the days of so many years
_COMPARISONS = ("Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq")  # not And and Or, which integers have, too
_TRUTHS = (
    "IsBetween",
    "IsIn",
    "IsNull",
    "IsNotNull",
    "IsNan",
    "IsFinite",
    "IsLeapYear",
    "StartsWith",
    "EndsWith",
)


def _most_values(tree: Expression, combinations: float) -> float:
    """Bound the number of values of an expression by what it computes at last."""
    while kind_of(tree) in ("Alias", "Cast"):
        tree = tree["Alias"][0] if kind_of(tree) == "Alias" else tree["Cast"]["expr"]
    if kind_of(tree) == "BinaryExpr":
        return 3 if tree["BinaryExpr"]["op"] in _COMPARISONS else math.inf
    name = function_name(tree)
    if name == "Year":
        return max(_YEARS, combinations / _DAYS_IN_YEAR)
    return 3 if name in _TRUTHS else _PARTS_OF_TIME.get(name or "", math.inf)


def expanded(planner: Planner, node: Node) -> Sequence[Expression] | None:
    """
    Give the expressions of a select or of a ``with_columns``.

    Parameters
    ----------
    planner
        The planner.
    node
        The node.

    Returns
    -------
    sequence of expressions, or None
        Without selectors; None where it is not known what these select.
    """
    if node.digest not in planner.expanded:
        planner.expanded[node.digest] = None
        with suppress(ValueError):
            trees = node.fields["expr" if node.kind == "Select" else "exprs"]
            planner.expanded[node.digest] = expand(trees, planner.schema(node.input))
    return planner.expanded[node.digest]


def _step(planner: Planner, node: Node) -> Mapping[str, str]:
    """Follow the columns of the input of a row by row node: new names by old ones."""
    if node.digest not in planner.steps:
        planner.steps[node.digest] = _found_step(planner, node)
    return planner.steps[node.digest]


def _found_step(planner: Planner, node: Node) -> dict[str, str]:
    schema = planner.schema(node.input)
    if node.kind == "Filter":
        return {name: name for name in schema}
    if node.kind in ("Select", "HStack"):
        trees = expanded(planner, node)
        if trees is None:
            return {}
        moved = _moved(trees)
        if node.kind == "Select":
            return moved
        changed = {output_name(tree) for tree in trees}
        return {**moved, **{name: name for name in schema if name not in changed}}
    if node.kind == "MapFunction":
        return _step_of_function(node, schema)
    return {}


def _moved(trees: Sequence[Expression]) -> dict[str, str]:
    out: dict[str, str] = {}
    for tree in trees:
        if kind_of(tree) == "Column":
            out[tree["Column"]] = tree["Column"]
        elif kind_of(tree) == "Alias" and kind_of(tree["Alias"][0]) == "Column":
            out.setdefault(tree["Alias"][0]["Column"], tree["Alias"][1])
    return out


def _step_of_function(node: Node, schema: Mapping[str, object]) -> dict[str, str]:
    name = function_of(node)
    if name == "Rename":
        function = node.fields["function"]["Rename"]
        new = dict(zip(function["existing"], function["new"], strict=True))
        return {column: new.get(column, column) for column in schema}
    return {column: column for column in schema} if name == "Hint" else {}
