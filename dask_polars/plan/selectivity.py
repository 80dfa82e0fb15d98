"""
How many rows pass the filters on top of a scan.

Of comparisons with constants it is estimated from the smallest and largest values that the files have noted of their row groups:
values are taken to lie evenly between these, and columns to have nothing to do with each other, as in System R (Selinger et
al., "Access path selection in a relational database management system", 1979). Every other filter is guessed to keep a third.

How values truly lie is not known: most may be those of a year, and one the end of time. So there is a most beside what is
thought, which is the rows of the row groups in which any may pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from dask_polars.dsl.expressions import Expression, columns_of, function_name, kind_of, renamed, to_expr
from dask_polars.io.parts import FileSet, SchemaDict, Values, ValuesOf
from dask_polars.plan.lineage import names_below
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import Share

_GUESS = 1 / 3
_LEAST_GUESS = 0.01  # of several filters of which nothing is known
_LEAST = 0.001
_EQUAL = 0.1  # the share of a value, or of a few, is at least this: some values are more frequent than others

_FLIPPED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}
_STRICT = {"Both": (False, False), "Left": (False, True), "Right": (True, False), "None": (True, True)}


def share_passing(planner: Planner, region: Region, files: FileSet | None = None) -> Share:
    """
    Estimate the share of the rows of a leaf that pass the filters on top of it.

    Parameters
    ----------
    planner
        The planner.
    region
        The region over the leaf.
    files
        The files that are read; None where the leaf is no scan of files.

    Returns
    -------
    Share
        The same for the files cut otherwise.
    """
    key = region.root.digest
    if key not in planner.shares:
        planner.shares[key] = _share_passing(planner, region, files)
    return planner.shares[key]


def _share_passing(planner: Planner, region: Region, files: FileSet | None) -> Share:
    schema = planner.schema(region.core)
    filters = [[part for part in parts if not _is_settled(part, files)] for parts in _filters(planner, region)]
    found = [[_condition(part, schema) for part in parts] for parts in filters if parts]
    conditions = [item for items in found for item in items if item is not None]
    values_of = None if files is None else files.values_of
    estimated = _estimated(conditions, values_of, schema) if conditions and values_of is not None else None
    guessed = sum(None in items for items in found) if estimated is not None else len(found)
    estimated = estimated or Share()
    guess = max(_LEAST_GUESS, _GUESS**guessed)
    return Share(max(estimated.passes * guess, min(_LEAST, guess)), max(estimated.most, _LEAST))


def _is_settled(part: Expression | None, files: FileSet | None) -> bool:
    """Say whether files of which no row passes are left out, and those of which all do are not."""
    if part is None or files is None or not files.settled:
        return False
    names = columns_of(part)
    return bool(names) and names <= files.settled


def _filters(planner: Planner, region: Region) -> Iterator[list[Expression | None]]:
    """Give the parts of each filter of a region, over the columns of its leaf; None for those that are over others."""
    names = {name: name for name in planner.schema(region.core)}
    left = sum(item.kind == "Filter" for item in region.chain)
    for item in region.nodes:
        if not left:
            return
        if item.kind == "Filter":
            left -= 1
            parts = list(_conjuncts(item.fields["predicate"]))
            yield [renamed(part, names) if columns_of(part) <= names.keys() else None for part in parts]
        names = {new: names[old] for new, old in names_below(planner, item).items() if old in names}


def _conjuncts(tree: Expression) -> Iterator[Expression]:
    waiting = [tree]
    while waiting:
        tree = waiting.pop()
        if kind_of(tree) == "BinaryExpr" and tree["BinaryExpr"]["op"] in ("And", "LogicalAnd"):
            waiting += [tree["BinaryExpr"]["right"], tree["BinaryExpr"]["left"]]
        elif function_name(tree) == "AllHorizontal":
            waiting += reversed(tree["Function"]["input"])
        else:
            yield tree


# ---------------------------------------------------------------- conditions


@dataclass(frozen=True)
class _Condition:
    """
    What values of a column have to be.

    Parameters
    ----------
    column
        Its name.
    low, high
        Expressions of the least and the greatest value; None for no limit.
    strict
        Whether these two are not among the values.
    count
        An expression of the number of values between them that are meant; None for all.
    null
        Whether only nulls are meant.
    """

    column: str
    low: pl.Expr | None = None
    high: pl.Expr | None = None
    strict: tuple[bool, bool] = (False, False)
    count: pl.Expr | None = None
    null: bool = False


def _condition(tree: Expression | None, schema: SchemaDict) -> _Condition | None:
    """Read a condition of which statistics say something off a predicate."""
    if tree is None:
        return None
    found = _comparison(tree) if kind_of(tree) == "BinaryExpr" else _call(tree)
    if found is None or (found.low is None and found.high is None):
        return found
    return found if _is_number(schema[found.column]) else None


def _is_number(dtype: pl.DataType) -> bool:
    """Say whether values of a type lie evenly between others."""
    return dtype.is_integer() or dtype.is_float() or isinstance(dtype, (pl.Date, pl.Datetime, pl.Time))


def _is_constant(tree: Expression) -> bool:
    """Say whether an expression is a value that is written there: nothing but Polars itself runs to compute it."""
    kind = kind_of(tree)
    if kind == "BinaryExpr":
        return _is_constant(tree["BinaryExpr"]["left"]) and _is_constant(tree["BinaryExpr"]["right"])
    if kind in ("Alias", "Cast"):
        return _is_constant(tree["Alias"][0] if kind == "Alias" else tree["Cast"]["expr"])
    return kind == "Literal"


def _comparison(tree: Expression) -> _Condition | None:
    fields = tree["BinaryExpr"]
    left, right, operation = fields["left"], fields["right"], fields["op"]
    if _is_constant(left):
        left, right, operation = right, left, _FLIPPED.get(operation)
    if kind_of(left) != "Column" or not _is_constant(right):
        return None
    name, value = left["Column"], to_expr(right)
    if operation in ("Lt", "LtEq"):
        return _Condition(name, high=value, strict=(False, operation == "Lt"))
    if operation in ("Gt", "GtEq"):
        return _Condition(name, low=value, strict=(operation == "Gt", False))
    return _Condition(name, value, value, count=pl.lit(1)) if operation == "Eq" else None


def _call(tree: Expression) -> _Condition | None:
    name = function_name(tree)
    if name not in ("IsBetween", "IsIn", "IsNull", "IsNotNull"):
        return None
    first, *others = tree["Function"]["input"]
    if kind_of(first) != "Column" or not all(map(_is_constant, others)):
        return None
    column, values = first["Column"], [to_expr(item) for item in others]
    if name == "IsBetween":
        closed = tree["Function"]["function"]["Boolean"]["IsBetween"]["closed"]
        return _Condition(column, values[0], values[1], _STRICT[closed])
    if name == "IsIn":
        listed = values[0].explode()
        return _Condition(column, listed.min(), listed.max(), count=listed.len())
    return _Condition(column, null=name == "IsNull")


# ---------------------------------------------------------------- estimates


@dataclass(frozen=True)
class _Limits:
    """The numbers of a condition: those that values are between, and how many of them."""

    low: float
    high: float
    count: float | None
    null: bool


def _estimated(conditions: Sequence[_Condition], values_of: ValuesOf, schema: SchemaDict) -> Share | None:
    """Estimate the share of the rows that meet all of some conditions; None where files say nothing of that."""
    columns = {item.column: schema[item.column] for item in conditions}
    values = {name: values_of(name, dtype) for name, dtype in columns.items()}
    limits = _limits(conditions, columns)
    if limits is None or any(item is None for item in values.values()):
        return None
    # Of the rows of a row group there pass as many as of each column alone, if columns have nothing to do with each other.
    groups = zip(*(item for item in values.values() if item is not None), strict=True)
    steps = [_step(dtype) for dtype in columns.values()]
    own = [[limit for item, limit in zip(conditions, limits, strict=True) if item.column == name] for name in columns]
    rows = passing = touched = 0.0
    looked_at = 0
    for group in groups:
        looked_at += 1
        shares = [_share_of_group(*item) for item in zip(group, own, steps, strict=True)]
        rows += group[0].rows
        passing += group[0].rows * math.prod(share for share, _ in shares)
        touched += group[0].rows * all(any_may for _, any_may in shares)
    if not rows:
        return Share()
    share = max(passing / rows, _LEAST)
    # These are a sample: there may be others like one of them that have what is wanted.
    return Share(share, max(touched / rows, 1 / looked_at, share))


def _limits(conditions: Sequence[_Condition], columns: SchemaDict) -> list[_Limits] | None:
    """Compute the numbers of conditions; None where a value is not of the type of its column, which Polars will say."""
    wanted = []
    for item in conditions:
        ends = [None if end is None else _number(end, columns[item.column]) for end in (item.low, item.high)]
        wanted += [*ends, item.count]
    try:
        asked = [expr.alias(str(index)) for index, expr in enumerate(wanted) if expr is not None]
        known = pl.select(asked).row(0, named=True) if asked else {}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    numbers = [known.get(str(index)) for index in range(len(wanted))]
    asked_for = [number for expr, number in zip(wanted, numbers, strict=True) if expr is not None]
    if not all(isinstance(number, int | float) for number in asked_for):
        return None  # it is compared with a null, or with what is no number
    found = []
    for item, low, high, count in zip(conditions, numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        step = _step(columns[item.column])
        start = -math.inf if low is None else low + step * item.strict[0]
        end = math.inf if high is None else high - step * item.strict[1]
        found.append(_Limits(start, end, count, item.null))
    return found


def _share_of_group(group: Values, limits: Sequence[_Limits], step: float) -> tuple[float, bool]:
    """Estimate the share of the rows of a row group with values that meet conditions on a column, and say whether any may."""
    if any(item.null for item in limits):
        return (_GUESS, True) if group.nulls is None else (group.nulls, group.nulls > 0)
    there = 1 - (group.nulls or 0.0)
    low, high = max(item.low for item in limits), min(item.high for item in limits)
    if low == -math.inf and high == math.inf:
        return there, there > 0
    low, high = max(group.low, low), min(group.high, high)
    if low > high:
        return 0.0, False
    width = group.high - group.low + step
    if not 0 < width < math.inf:
        return there * (1.0 if width == 0 else _GUESS), there > 0
    part = (high - low + step) / width
    counts = [min(max(item.count * step / width, _EQUAL), 1.0) for item in limits if item.count is not None]
    return there * min([part if not counts else 1.0, *counts]), there > 0


def _step(dtype: pl.DataType) -> float:
    """Give how far values of a type lie apart at least."""
    return 1.0 if dtype.is_integer() or isinstance(dtype, pl.Date) else 0.0


def _number(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Give what is compared with values of a type as a number."""
    return (value.cast(dtype).to_physical() if dtype.is_temporal() else value).cast(pl.Float64)


__all__ = ["share_passing"]
