"""Schemas of plan nodes, asked of Polars one node at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.nodes import ByContent, Node, walk

SchemaDict = Mapping[str, pl.DataType]

# Bytes that a value takes in memory, where its type says so; for the rest a guess.
_WIDTHS = {
    pl.String: 32,
    pl.Binary: 48,
    pl.List: 64,
    pl.Array: 64,
    pl.Struct: 48,
    pl.Boolean: 1,
    pl.Date: 4,
    pl.Null: 0,
}
_BITS = {"8": 1, "16": 2, "32": 4, "64": 8, "128": 16}


def empty_leaf(schema: SchemaDict) -> Node:
    """Make a leaf of no rows."""
    return _empty_leaf(tuple(schema.items()))


@lru_cache(maxsize=1024)
def _empty_leaf(items: tuple[tuple[str, pl.DataType], ...]) -> Node:
    return decode(pl.LazyFrame(schema=dict(items)))


def schema_of(lf: pl.LazyFrame) -> SchemaDict:
    """
    Give the schema of a query.

    Parameters
    ----------
    lf
        The query. For a scan Polars lists and reads files.

    Returns
    -------
    dict
        Types by column name.

    Raises
    ------
    polars.exceptions.PolarsError
        Where the query is wrong.
    OSError
        Where an object store does not answer.
    """
    for attempt in range(_ATTEMPTS - 1):
        try:
            return dict(lf.collect_schema())
        except OSError as error:
            # All other requests Polars repeats by itself.
            if _BROKEN_LIST not in str(error):
                raise
            time.sleep(0.1 * 2**attempt)
    return dict(lf.collect_schema())


def schema_at_hand(lf: pl.LazyFrame) -> SchemaDict | None:
    """
    Give the schema of a query if that is known without a request to an object store or a table.

    Parameters
    ----------
    lf
        The query.

    Returns
    -------
    dict, or None
        None where it is not, and where the query is wrong, which is for whoever runs it.
    """
    try:
        if any(map(_is_far, walk(decode(lf)))):
            return None
        return dict(lf.collect_schema())
    except (Exception, pl.exceptions.PanicException):  # whatever it is, it is no reason not to be printed
        return None


def _is_far(node: Node) -> bool:
    """Say whether a node is a scan of an object store, or of what only its own library can tell about."""
    if node.kind != "Scan":
        return False
    kind, sources = node.fields["scan_type"], node.fields["sources"]
    if "PythonDataset" in kind or "Anonymous" in kind:
        return True
    paths = sources.get("Paths", ()) if isinstance(sources, Mapping) else ()
    return any("://" in path["inner"] and not path["inner"].startswith("file://") for path in paths)


_ATTEMPTS = 6
_BROKEN_LIST = "Error getting list response body"


def schema_over(node: Node, inputs: Sequence[SchemaDict]) -> SchemaDict:
    """
    Give the schema of a node, from those of its inputs.

    Parameters
    ----------
    node
        A node; what is below it is not looked at.
    inputs
        The schemas of its inputs.

    Returns
    -------
    dict
        Types by column name.

    Raises
    ------
    polars.exceptions.PolarsError
        Where the node does not fit its inputs: the error of Polars.
    """
    root = node.with_inputs([empty_leaf(schema) for schema in inputs])
    # What a scan has is asked anew: its files may not be what they were.
    return dict(_schema_of(ByContent(root)) if inputs else schema_of(to_lazyframe(root)))


@lru_cache(maxsize=2048)
def _schema_of(plan: ByContent) -> SchemaDict:
    return to_lazyframe(plan.node).collect_schema()


def select_node(template: Node | None, expressions: Sequence[Any], source: Node, *, keep_height: bool = False) -> Node:
    """Build ``select(expressions)`` over a node, with the options of ``template`` where it is a select."""
    options = {
        "run_parallel": True,
        "duplicate_check": True,
        "should_broadcast": True,
        "maintain_dataframe_height": keep_height,
    }
    if template is not None and template.kind == "Select":
        options = {**template.fields["options"]}
    return Node("Select", {"expr": list(expressions), "input": None, "options": options}, (source,))


def with_columns_node(expressions: Sequence[Any], source: Node) -> Node:
    """Build ``with_columns(expressions)`` over a node."""
    options = {
        "run_parallel": True,
        "duplicate_check": True,
        "should_broadcast": True,
        "maintain_dataframe_height": False,
    }
    return Node("HStack", {"input": None, "exprs": list(expressions), "options": options}, (source,))


def filter_node(predicate: Any, source: Node) -> Node:
    """Build ``filter(predicate)`` over a node."""
    return Node("Filter", {"input": None, "predicate": predicate}, (source,))


def slice_node(offset: int, length: int, source: Node) -> Node:
    """Build ``slice(offset, length)`` over a node."""
    return Node("Slice", {"input": None, "offset": offset, "len": length}, (source,))


def sort_node(
    by: Sequence[Any],
    source: Node,
    *,
    descending: Sequence[bool] | None = None,
    nulls_last: Sequence[bool] | None = None,
    maintain_order: bool = True,
) -> Node:
    """Build ``sort(by)`` over a node."""
    options = {
        "descending": list(descending or [False] * len(by)),
        "nulls_last": list(nulls_last or [False] * len(by)),
        "multithreaded": True,
        "maintain_order": maintain_order,
        "limit": None,
    }
    return Node("Sort", {"input": None, "by_column": list(by), "slice": None, "sort_options": options}, (source,))


def union_node(inputs: Sequence[Node]) -> Node:
    """Build the vertical concatenation of nodes of equal schemas."""
    args = {
        "parallel": True,
        "rechunk": False,
        "to_supertypes": False,
        "diagonal": False,
        "strict": False,
        "from_partitioned_ds": False,
        "maintain_order": True,
    }
    return Node("Union", {"inputs": None, "args": args}, tuple(inputs))


def group_by_node(keys: Sequence[Any], aggs: Sequence[Any], source: Node, *, maintain_order: bool = False) -> Node:
    """Build ``group_by(keys).agg(aggs)`` over a node."""
    fields = {
        "input": None,
        "keys": list(keys),
        "aggs": list(aggs),
        "predicates": [],
        "maintain_order": maintain_order,
        "options": {"dynamic": None, "rolling": None, "slice": None},
        "apply": None,
    }
    return Node("GroupBy", fields, (source,))


def expression_dtypes(expressions: Sequence[Any], schema: SchemaDict) -> tuple[pl.DataType, ...]:
    """Give the types of expressions over columns."""
    named = [{"Alias": [tree, f"e{index}"]} for index, tree in enumerate(expressions)]
    return tuple(schema_over(select_node(None, named, empty_leaf({})), [schema]).values())


def width_of(schema: SchemaDict) -> float:
    """Guess how many bytes a row takes in memory."""
    return max(float(sum(_width_of_type(dtype.base_type()) for dtype in schema.values())), 1.0)


@cache
def _width_of_type(dtype: type[pl.DataType]) -> int:
    digits = "".join(char for char in str(dtype) if char.isdigit())
    return _WIDTHS.get(dtype, _BITS.get(digits, 8))
