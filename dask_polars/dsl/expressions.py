"""
Expression trees: how they are built, and what may be done with them on a part of the rows.

An expression of a serialized plan is a string (``"Len"``) or a map of one entry: the name of the operation, and what
belongs to it. Everything here works on these trees; nothing is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

import msgpack
import polars as pl
import polars.selectors as cs

from dask_polars.dsl.codec import decode_expr, to_expr

Expression = Any  # a string, or a map of one entry

# Where the inputs of an operation stand. A name whose value is a list holds several.
_INPUT_FIELDS: dict[str, tuple[str, ...]] = {
    "BinaryExpr": ("left", "right"),
    "Cast": ("expr",),
    "Ternary": ("predicate", "truthy", "falsy"),
    "Function": ("input",),
    "AnonymousFunction": ("input",),
    "Filter": ("input", "by"),
    "Sort": ("expr",),
    "SortBy": ("expr", "by"),
    "Gather": ("expr", "idx"),
    "Slice": ("input", "offset", "length"),
    "Explode": ("input",),
    "RenameAlias": ("expr",),
    "Eval": ("expr",),
    "Rolling": ("function", "index_column"),
    "StructEval": ("expr",),
    "PipeWithDtype": ("input",),
}
_LEAVES = ("Column", "Literal", "Selector", "Field", "DataTypeFunction")

# Functions that are only there until Polars knows the fields of a struct: each becomes a column.
_EXPANDING = ("MultipleFields", "SelectFields", "Unnest")

# Functions that are row by row, which Polars does not tell without the type of their input.
_TYPED = ("Reinterpret", "ToStruct")

# Functions whose inputs a selector is spread into, so that `struct(cs.all())` is one struct and not many.
_SPREADING = (
    "AsStruct",
    "Coalesce",
    "ConcatExpr",
    "ConcatList",
    "SumHorizontal",
    "MeanHorizontal",
    "MinHorizontal",
    "MaxHorizontal",
    "FoldHorizontal",
    "ReduceHorizontal",
    "CumFoldHorizontal",
    "CumReduceHorizontal",
    "AllHorizontal",
    "AnyHorizontal",
    "ConcatHorizontal",
    "RowEncode",
    "Format",
)


def kind_of(tree: Expression) -> str:
    """Name the operation at the top of an expression."""
    return tree if isinstance(tree, str) else next(iter(tree))


def column(name: str) -> Expression:
    """Build ``pl.col(name)``."""
    return {"Column": name}


def alias(tree: Expression, name: str) -> Expression:
    """Build ``tree.alias(name)``."""
    return {"Alias": [tree, name]}


def null_column(name: str, dtype: pl.DataType) -> Expression:
    """Build a column of nulls."""
    return alias(decode_expr(pl.lit(None, dtype=dtype)), name)


def function_name(tree: Expression) -> str | None:
    """Name the function that an expression calls (``{"Boolean": "IsNull"}`` is ``"IsNull"``), if it is a call."""
    if kind_of(tree) != "Function":
        return None
    found = tree["Function"]["function"]
    while isinstance(found, Mapping):
        name, inner = next(iter(found.items()))
        if name not in ("Boolean", "StringExpr", "TemporalExpr", "ListExpr", "ArrayExpr", "BinaryExpr", "StructExpr"):
            return name
        found = inner
    return found


def aggregation_of(tree: Expression) -> tuple[str, Any] | None:
    """Give the name and the arguments of an aggregation, ``{"Agg": {name: arguments}}``, if it is one."""
    return next(iter(tree["Agg"].items())) if kind_of(tree) == "Agg" else None


def children(tree: Expression) -> list[Expression] | None:
    """
    Give the inputs of an expression's top operation.

    Parameters
    ----------
    tree
        An expression.

    Returns
    -------
    list of expressions, or None
        None where the operation is not known here, so that nothing can be said of it.
    """
    if not isinstance(tree, str) and next(iter(tree)) in _LEAVES:
        return []
    found: list[Expression] = []

    def collect(child: Expression) -> Expression:
        found.append(child)
        return child

    return found if map_children(tree, collect) is not None else None


def map_children(tree: Expression, apply: Callable[[Expression], Expression]) -> Expression | None:
    """Rebuild an expression over other inputs; None where the operation is not known here."""
    if isinstance(tree, str):
        return tree if tree in ("Len", "Element") else None
    ((kind, value),) = tree.items()
    if kind in _LEAVES:
        return tree
    if kind == "Alias":
        return {kind: [apply(value[0]), value[1]]}
    if kind == "KeepName":
        return {kind: apply(value)}
    if kind == "Agg":
        return _map_aggregation(value, apply)
    if kind == "Over":
        return _map_over(value, apply)
    if kind not in _INPUT_FIELDS:
        return None
    changed = dict(value)
    for name in _INPUT_FIELDS[kind]:
        inner = value[name]
        changed[name] = [apply(item) for item in inner] if isinstance(inner, list) else apply(inner)
    return {kind: changed}


def _map_aggregation(value: Mapping[str, Any], apply: Callable[[Expression], Expression]) -> Expression | None:
    ((name, inner),) = value.items()
    if name in ("Std", "Var"):
        return {"Agg": {name: [apply(inner[0]), *inner[1:]]}}
    if isinstance(inner, Mapping) and "input" in inner:
        return {"Agg": {name: {**inner, "input": apply(inner["input"])}}}
    if isinstance(inner, (str, Mapping)):
        return {"Agg": {name: apply(inner)}}
    return None


def _map_over(value: Mapping[str, Any], apply: Callable[[Expression], Expression]) -> Expression | None:
    changed = {**value, "function": apply(value["function"])}
    if value["order_by"] is not None:
        changed["order_by"] = [apply(value["order_by"][0]), *value["order_by"][1:]]
    return {"Over": {**changed, "partition_by": [apply(key) for key in value["partition_by"]]}}


def walk_expression(tree: Expression) -> Iterator[Expression]:
    """Visit an expression and all below it, as far as they are known here."""
    waiting = [tree]
    while waiting:
        tree = waiting.pop()
        yield tree
        waiting.extend(reversed(children(tree) or ()))


def calls_python(tree: Expression) -> bool:
    """Say whether a function of the user's is called for an expression."""
    return any(kind_of(item) == "AnonymousFunction" for item in walk_expression(tree))


def columns_of(tree: Expression) -> set[str]:
    """Name the columns that an expression reads."""
    if kind_of(tree) == "Column":
        return {tree["Column"]}
    return set(to_expr(tree).meta.root_names())


def renamed(tree: Expression, names: Mapping[str, str]) -> Expression:
    """Give an expression over columns with other names."""
    if kind_of(tree) == "Column":
        return column(names[tree["Column"]])
    return map_children(tree, lambda child: renamed(child, names)) or tree


def reads_rows(tree: Expression) -> bool:
    """Say whether an expression reads any column, or counts the rows."""
    return bool(columns_of(tree)) or any(item == "Len" for item in walk_expression(tree))


def output_name(tree: Expression) -> str:
    """Name the column that an expression without selectors gives."""
    if kind_of(tree) == "Column":
        return str(tree["Column"])
    if kind_of(tree) == "Alias":
        return str(tree["Alias"][1])
    return to_expr(tree).meta.output_name()


def as_condition(name: str) -> Expression:
    """Give a column as a condition of ``having``, whose values Polars casts."""
    return decode_expr(pl.col(name).cast(pl.Boolean))


def named_like(tree: Expression, original: Expression) -> Expression:
    """Give an expression the name of the one that it stands for: that of a field of a struct, for one."""
    if kind_of(original) == "Literal":
        return tree
    name = output_name(original)
    return tree if output_name(tree) == name else alias(tree, name)


# ---------------------------------------------------------------- what an expression is, row by row


class Shape(Enum):
    """
    What an expression gives, and from which rows.

    LITERAL: one value that no row decides. SCALAR: one value from all rows (an aggregation, and what is computed from
    such and literals). ROW: a value for each row, from that row alone. ROWS: some values for each row, from that row
    alone (a filter, an explode). MIXED: a value for each row, from that row and from aggregations. OTHER: all else.
    """

    LITERAL = "literal"
    SCALAR = "scalar"
    ROW = "row"
    ROWS = "rows"
    MIXED = "mixed"
    OTHER = "other"


def shape(tree: Expression) -> Shape:
    """
    Say what an expression gives, and from which rows.

    Every operation is asked for by itself, over plain columns, with the rest decided from its inputs: Polars calls
    ``a / a.sum()`` separable by rows when it is asked for the whole.

    Parameters
    ----------
    tree
        An expression.

    Returns
    -------
    Shape
        ``Shape.OTHER`` where nothing is known.
    """
    kind = kind_of(tree)
    if kind in ("Column", "Selector", "Element", "Field"):
        return Shape.ROW
    if kind == "Len":
        return Shape.SCALAR
    if kind == "Literal":
        # A literal series has rows of its own, which belong to no partition.
        return Shape.OTHER if "Series" in tree["Literal"] or "Range" in tree["Literal"] else Shape.LITERAL
    below = children(tree)
    if below is None:
        return Shape.OTHER
    if function_name(tree) == "IsIn" and kind_of(below[1]) == "Literal":
        below = below[:1]  # what is looked up is the same for every row, as a list or as a series
    separable, scalar, preserving = operation_traits(tree)
    shapes = [shape(child) for child in below]
    if scalar:
        return Shape.SCALAR
    if Shape.OTHER in shapes or not separable:
        return Shape.OTHER
    if not preserving:
        return Shape.ROWS if set(shapes) <= {Shape.ROW, Shape.ROWS, Shape.LITERAL} else Shape.OTHER
    return _combine(shapes)


def _combine(shapes: Sequence[Shape]) -> Shape:
    """The shape of a row by row operation over inputs of these shapes."""
    found = set(shapes)
    if Shape.ROWS in found:
        # Two inputs that each drop rows need not drop the same.
        return Shape.ROWS if found <= {Shape.ROWS, Shape.LITERAL} and shapes.count(Shape.ROWS) == 1 else Shape.OTHER
    if Shape.MIXED in found or {Shape.ROW, Shape.SCALAR} <= found:
        return Shape.MIXED
    for candidate in (Shape.ROW, Shape.SCALAR):
        if candidate in found:
            return candidate
    return Shape.LITERAL


def operation_traits(tree: Expression) -> tuple[bool, bool, bool]:
    """Say of the top operation whether it is separable by rows, scalar, and keeps the number of rows."""
    kind = kind_of(tree)
    if kind == "AnonymousFunction":
        return _udf_traits(tree["AnonymousFunction"]["function"])
    if kind == "Eval":
        variant = tree["Eval"]["variant"]
        return kind_of(variant) in ("List", "ListAgg", "Array", "ArrayAgg"), False, True
    if kind == "StructEval":
        return all(shape(item) in (Shape.ROW, Shape.LITERAL) for item in tree["StructEval"]["evaluation"]), False, True
    if kind in ("Over", "Rolling", "Field"):
        return False, False, True
    if function_name(tree) in (*_EXPANDING, *_TYPED) or _is_sql_arithmetic(tree) or _is_bin_of_breaks(tree):
        return True, False, True
    return _asked_traits(msgpack.packb(_over_plain_columns(tree)))


def _is_bin_of_breaks(tree: Expression) -> bool:
    """Recognize bins that begin and end where the user says, and not where the values of all rows are."""
    if function_name(tree) != "Bin":
        return False
    method = tree["Function"]["function"]["Bin"]["method"]
    return kind_of(method) == "Intervals" and kind_of(method["Intervals"]["spec"]) == "Breaks"


def _is_sql_arithmetic(tree: Expression) -> bool:
    """Recognize what SQL has operators of its own for, whose types Polars decides later: `a * b`, `round(a, 1)`."""
    found = tree["Function"]["function"] if kind_of(tree) == "Function" else None
    return isinstance(found, Mapping) and kind_of(found) == "Sql" and kind_of(found["Sql"]) in ("Binary", "Round")


def _over_plain_columns(tree: Expression) -> Expression:
    if kind_of(tree) == "Slice":  # where a slice starts and ends must be a number
        return tree
    count = iter(range(1_000_000))
    return map_children(tree, lambda child: column(f"c{next(count)}"))


@lru_cache(maxsize=4096)
def _asked_traits(packed: bytes) -> tuple[bool, bool, bool]:
    meta = to_expr(msgpack.unpackb(packed, raw=False, strict_map_key=False)).meta
    try:
        return meta.is_row_separable(), meta.is_scalar(), meta.is_length_preserving()
    except pl.exceptions.PolarsError:
        # What Polars cannot tell without a schema is not known to be separable.
        return False, False, False


def _udf_traits(payload: bytes) -> tuple[bool, bool, bool]:
    """
    Read what a Python function said of itself.

    Behind the mark stand its output type, a spare, whether it works element by element, and whether it gives a scalar.
    """
    mark = b"PLPYFN\x94"
    if not payload.startswith(mark):
        return False, False, False
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    unpacker.feed(payload[len(mark) :])
    _, _, elementwise, scalar = (unpacker.unpack() for _ in range(4))
    return bool(elementwise), bool(scalar), bool(elementwise)


# ---------------------------------------------------------------- selectors


def expand(
    trees: Sequence[Expression], schema: Mapping[str, pl.DataType], keys: Sequence[str] = ()
) -> list[Expression]:
    """
    Replace selectors by the columns that they select, as Polars does.

    Parameters
    ----------
    trees
        Expressions, with selectors or without.
    schema
        The columns of the input.
    keys
        Columns that selectors leave out: the keys, in the aggregations of a group_by.

    Returns
    -------
    list of expressions
        Without selectors; an expression over a selector of several columns gives as many.

    Raises
    ------
    ValueError
        Where it is not known what an expression expands to.
    """
    if all(kind_of(tree) == "Column" for tree in trees):
        return list(trees)
    if any(function_name(item) in _EXPANDING for tree in trees for item in walk_expression(tree)):
        raise ValueError("the fields of a struct, which are columns only once its type is known")
    candidates = {name: dtype for name, dtype in schema.items() if name not in keys}
    out: list[Expression] = []
    for tree in trees:
        out.extend(_expand_one(tree, candidates))
    return out


def _selected(tree: Expression, schema: Mapping[str, pl.DataType]) -> list[str]:
    selector = to_expr(tree).meta.as_selector()
    return list(cs.expand_selector(dict(schema), selector))


def _expand_one(tree: Expression, schema: Mapping[str, pl.DataType]) -> list[Expression]:
    if kind_of(tree) == "Column":
        return [tree]
    tree = _spread(tree, schema)
    selectors = [item for item in walk_expression(tree) if kind_of(item) == "Selector"]
    if not selectors:
        return [tree]
    selected = [_selected(item, schema) for item in selectors]
    width = max(len(names) for names in selected)
    if any(len(names) not in (1, width) for names in selected):
        raise ValueError("selectors of different widths in one expression")
    out = []
    for index in range(width):
        names = iter([names[index if len(names) > 1 else 0] for names in selected])
        out.append(_substitute_selectors(tree, names))
    return out


def _substitute_selectors(tree: Expression, names: Iterator[str]) -> Expression:
    if kind_of(tree) == "Selector":
        return column(next(names))
    return map_children(tree, lambda child: _substitute_selectors(child, names)) or tree


def _spread(tree: Expression, schema: Mapping[str, pl.DataType]) -> Expression:
    """Expand the selectors among the inputs of functions that take any number of columns."""
    tree = map_children(tree, lambda child: _spread(child, schema)) or tree
    if function_name(tree) not in _SPREADING:
        return tree
    inputs = [item for child in tree["Function"]["input"] for item in _expand_one(child, schema)]
    return {"Function": {**tree["Function"], "input": inputs}}


__all__ = [
    "Expression",
    "Shape",
    "aggregation_of",
    "alias",
    "children",
    "column",
    "columns_of",
    "decode_expr",
    "expand",
    "function_name",
    "kind_of",
    "map_children",
    "named_like",
    "null_column",
    "output_name",
    "reads_rows",
    "renamed",
    "shape",
    "to_expr",
    "walk_expression",
]
