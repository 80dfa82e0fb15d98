"""
What can be left out of a scan: files and row groups of which it is known that no row passes a predicate.

Polars turns a predicate into one on statistics (``len``, and for each column its smallest and largest value and the
number of nulls); this is what decides. Statistics come from the names of directories, from the footers of Parquet
files, and from the logs of table formats. What is not known is null, and leaves nothing out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgpack
import polars as pl

from dask_polars.dsl.expressions import Expression, columns_of, to_expr, walk_expression
from dask_polars.io.footers import Footer
from dask_polars.io.parts import Values

SchemaDict = Mapping[str, pl.DataType]

_ENDLESS = (-math.inf, math.inf)
_NULL_DIRECTORY = "__HIVE_DEFAULT_PARTITION__"
_RESERVED = "len"  # what Polars calls the number of rows, in the frame of statistics


@dataclass(frozen=True)
class Predicates:
    """
    Predicates that every wanted row passes, as far as statistics can say something of them.

    Parameters
    ----------
    skips
        For each predicate the expression on statistics that says that no row passes.
    columns
        The columns that they are about, and their types.
    in_paths
        Those of them that are made of paths, and of which footers say nothing.
    """

    skips: tuple[pl.Expr, ...]
    columns: Mapping[str, pl.DataType]
    in_paths: frozenset[str] = frozenset()

    def may_pass(self, statistics: pl.DataFrame) -> list[bool]:
        """
        Say where rows may pass.

        Parameters
        ----------
        statistics
            A row for each part, with the columns of :func:`unknown`.

        Returns
        -------
        list of bool
            False where no row of a part passes.
        """
        skipped = pl.repeat(False, statistics.height, eager=True)
        for skip in self.skips:
            try:
                found = statistics.select(skip.alias("skip")).to_series()
            except pl.exceptions.PolarsError:
                continue  # the predicate fails on one of the values; where it does so on rows, Polars says it
            if found.len() == 1:  # it depends on no statistics
                found = found.new_from_index(0, statistics.height)
            skipped = skipped | found.fill_null(False)
        return [not value for value in skipped]


def predicates(filters: Sequence[Expression], schema: SchemaDict) -> Predicates | None:
    """
    Turn predicates into such on statistics.

    Parameters
    ----------
    filters
        Predicates on the columns of a scan.
    schema
        The columns of the scan.

    Returns
    -------
    Predicates, or None
        None where statistics say nothing of any of them.
    """
    skips, columns = [], {}
    for tree in filters:
        names = columns_of(tree)
        if not names or _RESERVED in names or not names <= set(schema) or _calls_python(tree):
            continue
        about = {name: schema[name] for name in schema if name in names}
        skip = _skip_of(msgpack.packb(tree), tuple(about.items()))
        if skip is not None:
            skips.append(skip)
            columns.update(about)
    return Predicates(tuple(skips), columns) if skips else None


@lru_cache(maxsize=256)  # a query is planned several times: to be shown, to run, and between its steps
def _skip_of(packed: bytes, about: tuple[tuple[str, pl.DataType], ...]) -> pl.Expr | None:
    """Turn a predicate into one on statistics; None where these say nothing of it."""
    try:
        return to_expr(msgpack.unpackb(packed, raw=False, strict_map_key=False))._skip_batch_predicate(dict(about))
    except pl.exceptions.PolarsError:
        return None  # a wrong predicate is Polars' to refuse


def _calls_python(tree: Expression) -> bool:
    """Say whether a predicate calls a function of the user's, which is not for planning."""
    return any(
        "AnonymousFunction" in item or "AnonymousAgg" in item
        for item in walk_expression(tree)
        if isinstance(item, dict)
    )


def unknown(columns: SchemaDict, rows: Sequence[int]) -> pl.DataFrame:
    """Give statistics that say nothing but the numbers of rows."""
    data = [pl.Series(_RESERVED, rows, dtype=pl.UInt32)]
    for name, dtype in columns.items():
        data.extend(pl.Series(f"{name}_{part}", [None] * len(rows), dtype=dtype) for part in ("min", "max"))
        data.append(pl.Series(f"{name}_nc", [None] * len(rows), dtype=pl.UInt32))
    return pl.DataFrame(data)


def with_unknown(statistics: pl.DataFrame, columns: SchemaDict) -> pl.DataFrame:
    """Put beside statistics of some columns such of others, that say nothing."""
    return statistics.hstack(unknown(columns, [0] * statistics.height).drop(_RESERVED))


# ---------------------------------------------------------------- names of directories


def hive_statistics(paths: Sequence[str], start: int, columns: SchemaDict) -> pl.DataFrame:
    """
    Read statistics off the names of directories.

    Parameters
    ----------
    paths
        Files.
    start
        Where, in the paths, directories begin that stand for values.
    columns
        The columns to look for, and their types.

    Returns
    -------
    polars.DataFrame
        A row for each file, which stands for one row of it.
    """
    values: dict[str, list[str | None]] = {name: [] for name in columns}
    known: dict[str, list[bool]] = {name: [] for name in columns}
    for path in paths:
        found = dict(part.split("=", 1) for part in path[start:].split("/")[:-1] if "=" in part)
        for name in columns:
            text = found.get(name)
            values[name].append(None if text is None or text == _NULL_DIRECTORY else unquote(text))
            known[name].append(text is not None)
    out = unknown(columns, [1] * len(paths))
    for name, dtype in columns.items():
        given = pl.Series(values[name], dtype=pl.String)
        value = _read(given, dtype)
        # What cannot be read as a value of the type says nothing; a directory for null has nothing but nulls.
        nulls = given.is_null().cast(pl.UInt32)
        sure = pl.Series(known[name], dtype=pl.Boolean) & (value.is_not_null() | given.is_null())
        nothing = pl.Series([None], dtype=pl.UInt32)
        out = out.with_columns(
            value.alias(f"{name}_min"), value.alias(f"{name}_max"), nulls.zip_with(sure, nothing).alias(f"{name}_nc")
        )
    return out


def _read(given: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Read values off text; null where that is not sure to be what Polars reads."""
    if dtype == pl.Date:
        return given.str.to_date("%Y-%m-%d", strict=False)
    if dtype == pl.Boolean:
        return given.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if dtype.is_numeric() or dtype == pl.String:
        return given.cast(dtype, strict=False)
    return pl.Series([None] * len(given), dtype=dtype)


# ---------------------------------------------------------------- footers


def footer_statistics(found: Sequence[Footer], columns: SchemaDict) -> pl.DataFrame:
    """
    Read statistics off footers.

    Parameters
    ----------
    found
        The footers of Parquet files.
    columns
        The columns to look for, and the types that they have in the scan.

    Returns
    -------
    polars.DataFrame
        A row for each row group of each file.
    """
    out = unknown(columns, [rows for item in found for rows in item.row_groups])
    leaves = [item.leaves(columns) for item in found]
    for name, dtype in columns.items():
        if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Boolean)):
            continue
        stats: list[Any] = []
        for item, leaf in zip(found, leaves, strict=True):
            chunks = item.flat(leaf[name])
            stats.extend([None] * len(item.row_groups) if chunks is None else [chunk.statistics for chunk in chunks])
        nulls = [None if item is None or not item.has_null_count else item.null_count for item in stats]
        bounds = [_bounds(item) for item in stats]
        try:
            low, high = (_as_series([bound[side] for bound in bounds], dtype, stats) for side in (0, 1))
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            continue  # a file has another type than the scan
        out = out.with_columns(
            low.alias(f"{name}_min"), high.alias(f"{name}_max"), pl.Series(f"{name}_nc", nulls, dtype=pl.UInt32)
        )
    return out


def values_in(statistics: pl.DataFrame, name: str) -> Iterator[Values]:
    """
    Give what statistics say of a column, as numbers.

    Parameters
    ----------
    statistics
        With the columns of :func:`unknown`.
    name
        The column.

    Yields
    ------
    Values
        For each row.
    """
    ends = [pl.col(f"{name}_{side}") for side in ("min", "max")]
    dtype = statistics.schema[f"{name}_min"]
    if dtype.is_numeric() or dtype.is_temporal():
        low, high = (
            end.to_physical().cast(pl.Float64).fill_null(value) for end, value in zip(ends, _ENDLESS, strict=True)
        )
    else:
        low, high = (pl.lit(value) for value in _ENDLESS)
    nulls = (pl.col(f"{name}_nc") / pl.col(_RESERVED)).fill_nan(0.0)
    for row in statistics.select(pl.col(_RESERVED), low.alias("low"), high.alias("high"), nulls.alias("nulls")).rows():
        yield Values(*row)


def _bounds(statistics: Any) -> tuple[Any, Any]:
    if statistics is None or not statistics.has_min_max:
        return (None, None)
    # Nanoseconds are given to pandas only; the numbers below are the same for all units.
    is_time = statistics.physical_type == "INT64" and statistics.logical_type.type in ("TIMESTAMP", "TIME")
    low, high = (statistics.min_raw, statistics.max_raw) if is_time else (statistics.min, statistics.max)
    # Long texts are cut short: they are bounds still, but that both are the same says nothing.
    return (None, None) if low == high and isinstance(low, (str, bytes)) and len(low) >= 16 else (low, high)


def _as_series(values: Sequence[Any], dtype: pl.DataType, statistics: Sequence[Any]) -> pl.Series:
    """Give bounds in the type of the scan."""
    if isinstance(dtype, (pl.Datetime, pl.Time, pl.Duration)):
        return _temporal(values, dtype, statistics)
    return pl.Series(values, dtype=dtype, strict=True)


def _temporal(values: Sequence[Any], dtype: pl.DataType, statistics: Sequence[Any]) -> pl.Series:
    units = {_unit(item) for item in statistics if item is not None and item.has_min_max}
    if len(units) != 1 or None in units or not isinstance(dtype, (pl.Datetime, pl.Time)):
        raise TypeError("not a timestamp")
    (unit,) = units
    numbers = pl.Series(values, dtype=pl.Int64, strict=True)
    if isinstance(dtype, pl.Time):
        return (numbers * {"ms": 1_000_000, "us": 1_000, "ns": 1}[str(unit)]).cast(pl.Time)
    return numbers.cast(pl.Datetime(unit, dtype.time_zone)).dt.cast_time_unit(dtype.time_unit)  # type: ignore[arg-type]


def _unit(statistics: Any) -> str | None:
    found = json.loads(statistics.logical_type.to_json())
    return {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}.get(found.get("timeUnit"))
