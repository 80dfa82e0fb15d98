"""Ranges that are as long as the frame: `int_range(pl.len())`, `int_range(1, pl.len() + 1)`, `int_range(pl.len(), 0, -1)`."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from dask_polars.dsl.expressions import Expression, Shape, aggregation_of, function_name, kind_of, shape, to_expr

_TYPES = ("Int32", "Int64", "UInt32", "UInt64")  # of others rows may be too many, which is an error of Polars


@dataclass(frozen=True)
class Affine:
    """A number that is some times the number of rows, and something more."""

    lengths: int
    more: int


@dataclass(frozen=True)
class RowNumbers:
    """
    A range that gives a number for each row.

    Parameters
    ----------
    start
        The first number.
    step
        By how much the number of each row is larger than that of the row before.
    dtype
        The name of its type.
    """

    start: Affine
    step: int
    dtype: str


PLAIN = Affine(0, 0)


def row_numbers(tree: Expression) -> RowNumbers | None:
    """
    Read a range whose length is the number of rows, whatever this is.

    Parameters
    ----------
    tree
        An expression.

    Returns
    -------
    RowNumbers or None
        None for whatever else.
    """
    if function_name(tree) != "Range" or "IntRange" not in tree["Function"]["function"]["Range"]:
        return None
    options = tree["Function"]["function"]["Range"]["IntRange"]
    dtype = options["dtype"].get("Literal")
    start, stop = (_affine(item) for item in tree["Function"]["input"])
    if start is None or stop is None or dtype not in _TYPES:
        return None
    # What is subtracted from the number of rows may be more than this, which Polars counts without a sign.
    if min(start.more, stop.more) < 0 and (dtype.startswith("U") or start.lengths or stop.lengths):
        return None
    found = RowNumbers(start, options["step"], dtype)
    as_long = stop.more == start.more and stop.lengths - start.lengths == found.step and found.step != 0
    return found if as_long else None


def is_row_number(tree: Expression) -> bool:
    """Say whether an expression is ``int_range(pl.len())``."""
    found = row_numbers(tree)
    return found is not None and found.start == PLAIN and found.step == 1


def _affine(tree: Expression) -> Affine | None:
    if tree == "Len" or _is_length(tree):
        return Affine(1, 0)
    kind = kind_of(tree)
    if kind == "Cast" and tree["Cast"]["dtype"].get("Literal") in _TYPES:
        return _affine(tree["Cast"]["expr"])
    if kind == "Literal":
        number = _number(tree)
        return None if number is None else Affine(0, number)
    if kind != "BinaryExpr":
        return None
    one, other = (_affine(tree["BinaryExpr"][side]) for side in ("left", "right"))
    if one is None or other is None:
        return None
    operation = tree["BinaryExpr"]["op"]
    if operation == "Plus":
        return Affine(one.lengths + other.lengths, one.more + other.more)
    if operation == "Minus" and not other.lengths:
        return Affine(one.lengths, one.more - other.more)
    if operation == "Multiply" and not (one.lengths and other.lengths):
        return Affine(one.lengths * other.more + other.lengths * one.more, one.more * other.more)
    return None


def _is_length(tree: Expression) -> bool:
    name, value = aggregation_of(tree) or ("", {})
    return name == "Count" and value["include_nulls"] and shape(value["input"]) is Shape.ROW


def _number(tree: Expression) -> int | None:
    """Give the whole number that a literal is, if it is one."""
    if shape(tree) is not Shape.LITERAL:
        return None
    value = pl.select(to_expr(tree)).to_series()
    return value.item() if value.len() == 1 and value.dtype.is_integer() else None
