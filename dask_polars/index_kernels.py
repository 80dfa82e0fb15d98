"""Functions on partitions of rows that are sorted by an index: what their neighbours add, and what is computed with it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode_expr, to_expr
from dask_polars.series_kernels import send_to_rolling, with_context

INDEX, VALUE = "__dp_by_index", "__dp_by_value_"


@dataclass(frozen=True)
class Call:
    """
    A column that is computed in the order of the index.

    Parameters
    ----------
    kind
        The function.
    value
        The column of the values.
    out
        The name of the outcome.
    dtype
        Its type.
    serialized
        The expression, over the columns of the index and of the values.
    """

    kind: str
    value: str
    out: str
    dtype: pl.DataType
    serialized: bytes

    def expression(self) -> pl.Expr:
        return pl.Expr.deserialize(io.BytesIO(self.serialized))

    def computed(self, rows: pl.DataFrame) -> pl.Series:
        """Compute the column: of no rows Polars makes windows of another type than its schema says."""
        return rows.select(self.expression().alias(self.out)).to_series().cast(self.dtype)

    def name(self, what: str) -> str:
        """Name a column of what is known of a partition."""
        return f"{self.out}_{what}"

    def summary_schema(self, index: pl.DataType) -> dict[str, pl.DataType]:
        """Give the columns of :func:`summary_of`."""
        of_rows = {"first_index": index, "first": self.dtype, "last_index": index, "last": self.dtype}
        numbers = {"rows": pl.Int64(), "blanks": pl.Int64(), "missing": pl.Int64()}
        floats = dict.fromkeys(("left", "up", "down"), pl.Float64())
        return {self.name(what): dtype for what, dtype in {**of_rows, **numbers, **floats}.items()}

    def neighbour_schema(self, index: pl.DataType) -> dict[str, pl.DataType]:
        """Give the columns of :func:`neighbours_of`."""
        found = {"before_index": index, "before": self.dtype, "behind_index": index, "behind": self.dtype}
        return {self.name(what): dtype for what, dtype in found.items()}

    @property
    def interpolates(self) -> bool:
        return self.kind == "InterpolateBy"


# ---------------------------------------------------------------- windows


def send_to_windows(rows: pl.DataFrame, reach: pl.DataFrame, index: int, name: str) -> pl.DataFrame:
    """Give the rows of a partition that the windows of others need; those without an index are in none."""
    return send_to_rolling(rows.filter(pl.col(name).is_not_null()), reach, index, name)


def run_windows(rows: pl.DataFrame, context: pl.DataFrame, index: int, *calls: Call) -> pl.DataFrame:
    """Compute windows over the rows of a partition and their context, and give the former."""
    own = rows.select(INDEX, *(call.value for call in calls))
    together, before = with_context(own, context, index)
    return rows.hstack([call.computed(together).slice(before, rows.height) for call in calls])


@dataclass(frozen=True)
class Rolling:
    """
    A column that is an expression in windows by an index.

    Parameters
    ----------
    out
        The name of the outcome.
    dtype
        Its type.
    reads
        The columns that the expression reads.
    of_rows
        The column, over the index and the columns that it reads.
    of_lists
        The expression over the windows themselves, as lists of structs in a column with the name of the index. None where
        it cannot be written so.
    """

    out: str
    dtype: pl.DataType
    reads: tuple[str, ...]
    of_rows: bytes
    of_lists: bytes | None


def run_rolling(
    rows: pl.DataFrame, context: pl.DataFrame, number: int, index: bytes, *columns: Rolling
) -> pl.DataFrame:
    """Compute expressions in windows over the rows of a partition and their context, and give the former."""
    own = rows.select(
        pl.Expr.deserialize(io.BytesIO(index)), *(name for name in context.columns if name in rows.columns)
    )
    together, before = with_context(own, context, number)
    return rows.hstack([_in_windows(together, before, rows.height, column) for column in columns])


def _in_windows(together: pl.DataFrame, before: int, height: int, column: Rolling) -> pl.Series:
    own = slice(before, before + height)
    expression = pl.Expr.deserialize(io.BytesIO(column.of_rows))
    try:
        found = together.select(expression.alias(column.out)).to_series()[own]
    except Exception as error:
        # A window of the context, which is not whole, may be at fault: what fails in an own window fails again.
        if together.height == height or column.of_lists is None:
            raise
        try:
            found = _in_own_windows(together, own, decode_expr(expression)["Rolling"], column)
        except Exception:
            raise error from None  # it names what the user wrote
    return found.cast(column.dtype)


def _in_own_windows(together: pl.DataFrame, own: slice, windows: Any, column: Rolling) -> pl.Series:
    rows = {"Rolling": {**windows, "function": decode_expr(pl.struct(column.reads))}}
    lists = together.select(to_expr(rows).alias(INDEX))[own]
    of_lists = pl.Expr.deserialize(io.BytesIO(column.of_lists or b""))
    return lists.select(of_lists.alias(column.out)).to_series()


# ---------------------------------------------------------------- what one row before and one row behind say


def summary_of(rows: pl.DataFrame, *calls: Call) -> pl.DataFrame:
    """
    Say of each column what other partitions have to know of this one.

    That is the first of the known values and when it was, the same for the last one, of which means and sums give where they
    stand in the end, and how many values are missing. Where a mean or a sum comes in with another value than the first one,
    ``left`` is how much of the difference is left in the end; ``up`` and ``down`` are where it ends if it comes in with an
    infinite one.
    """
    return pl.DataFrame([value for call in calls for value in _summary(rows, call)])


def _summary(rows: pl.DataFrame, call: Call) -> list[pl.Series]:
    known = rows.select(INDEX, call.value).drop_nulls()
    ends: dict[str, Any] = {"left": None, "up": None, "down": None}
    last = known[call.value].tail(1)
    if not call.interpolates and known.height:
        last = _last(known, call)
        one_then_nothing = pl.when(pl.int_range(pl.len()) == 0).then(1.0).otherwise(0.0).alias(call.value)
        decay = _kept_of_one(call).alias(call.value)
        ends["left"] = known.with_columns(one_then_nothing).select(decay).to_series().last()
        for end, infinite in (("up", math.inf), ("down", -math.inf)):
            started = pl.when(pl.int_range(pl.len()) == 0).then(infinite).otherwise(pl.col(call.value))
            ends[end] = _last(known.with_columns(started.cast(call.dtype).alias(call.value)), call).item()
    columns = {
        "first_index": known[INDEX].head(1),
        "first": known[call.value].head(1),
        "last_index": known[INDEX].tail(1),
        "last": last,
        "rows": rows.height,
        "blanks": rows[INDEX].null_count(),
        "missing": rows[call.value].null_count(),
        **ends,
    }
    schema = call.summary_schema(rows.schema[INDEX])
    return [
        _one(call.name(what), value, dtype)
        for (what, value), dtype in zip(columns.items(), schema.values(), strict=True)
    ]


def _one(name: str, value: pl.Series | float | None, dtype: pl.DataType) -> pl.Series:
    """One value, or null where there is none: points in time are not made Python objects, which have no nanoseconds."""
    if isinstance(value, pl.Series):
        return (value if value.len() else pl.Series([None], dtype=dtype)).cast(dtype).alias(name)
    return pl.Series(name, [value], dtype=dtype)


def _last(rows: pl.DataFrame, call: Call) -> pl.Series:
    return rows.select(call.expression()).to_series().tail(1)


def _kept_of_one(call: Call) -> pl.Expr:
    """What is left of a one, by the half-life of a call."""
    tree = decode_expr(call.expression())
    function = {"EwmSumBy": tree["Function"]["function"][call.kind]}
    return to_expr({"Function": {**tree["Function"], "function": function}})


def neighbours_of(parts: pl.DataFrame, *calls: Call) -> pl.DataFrame:
    """Give for each partition the row before it and the row behind it, from the summaries of all, in order."""
    return pl.DataFrame([value for call in calls for value in _neighbours(parts, call)])


def _neighbours(parts: pl.DataFrame, call: Call) -> list[pl.Series]:
    summaries = parts.select(list(call.summary_schema(parts.schema[call.name("first_index")]))).rename(
        lambda name: name.removeprefix(f"{call.out}_")
    )
    number = pl.when(pl.col("first_index").is_not_null()).then(pl.int_range(pl.len()))
    sources = summaries.select(before=number.forward_fill().shift(1), behind=number.backward_fill().shift(-1))
    values = summaries["last"]
    if call.interpolates:
        _check_index(summaries)
    else:
        values = pl.Series(_where_it_stands(summaries, call), dtype=call.dtype)
        sources = sources.with_columns(behind=pl.lit(None, dtype=pl.Int64))  # these look back only
    found = {
        "before_index": summaries["last_index"].gather(sources["before"]),
        "before": values.gather(sources["before"]),
        "behind_index": summaries["first_index"].gather(sources["behind"]),
        "behind": summaries["first"].gather(sources["behind"]),
    }
    return [series.alias(call.name(what)) for what, series in found.items()]


def _check_index(summaries: pl.DataFrame) -> None:
    """
    Check that rows have an index, if there is something to interpolate.

    Raises
    ------
    polars.exceptions.InvalidOperationError
        The error of Polars.
    """
    rows, blanks, missing = (summaries[name].sum() for name in ("rows", "blanks", "missing"))
    if blanks and 0 < missing < rows:
        message = "null values in `by` column are not yet supported in 'interpolate_by' expression"
        raise pl.exceptions.InvalidOperationError(message)


def _where_it_stands(summaries: pl.DataFrame, call: Call) -> list[float | None]:
    """Go through the partitions in order: where a mean or a sum stands at the end of each."""
    out: list[float | None] = []
    before: int | None = None
    for number, part in enumerate(summaries.select("first", "last", "left", "up", "down").iter_rows(named=True)):
        if part["first"] is None:
            out.append(None)
            continue
        end = part["last"]
        if before is not None:
            start = _step(summaries, before, out[before], number, call)
            if math.isinf(start):
                end = part["up"] if start > 0 else part["down"]
            elif start != part["first"]:
                end = end + part["left"] * (start - part["first"])
        out.append(end)
        before = number
    return out


def _step(summaries: pl.DataFrame, before: int, value: float | None, number: int, call: Call) -> float:
    """Give the mean or sum at the first value of a partition, from where it stood before."""
    times = pl.concat([summaries["last_index"].slice(before, 1), summaries["first_index"].slice(number, 1)])
    values = pl.Series([value, summaries["first"][number]], dtype=call.dtype)
    return float(pl.DataFrame({INDEX: times, call.value: values}).select(call.expression()).to_series()[1])


def run_neighbours(rows: pl.DataFrame, neighbours: pl.DataFrame, index: int, *calls: Call) -> pl.DataFrame:
    """Compute columns over the rows of a partition and their neighbours, and give the former."""
    return rows.hstack([_computed(rows, neighbours.slice(index, 1), call) for call in calls])


def _computed(rows: pl.DataFrame, neighbours: pl.DataFrame, call: Call) -> pl.Series:
    own = rows.select(INDEX, call.value)
    around = [
        neighbours.select(
            pl.col(call.name(f"{side}_index")).alias(INDEX), pl.col(call.name(side)).alias(call.value)
        ).filter(pl.col(INDEX).is_not_null())
        for side in ("before", "behind")
    ]
    together = pl.concat([around[0], own, around[1]])
    return call.computed(together).slice(around[0].height, rows.height)
