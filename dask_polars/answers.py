"""Whether the answers of two functions are the same, be they frames of Polars, of pandas, of Arrow, or values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import polars.selectors as cs
import pyarrow as pa


@dataclass(frozen=True)
class Answer:
    """
    An answer as a frame of Polars.

    Parameters
    ----------
    frame
        The frame.
    nan_is_null
        Whether NaN stands for a missing value, as in pandas.
    """

    frame: pl.DataFrame
    nan_is_null: bool = False


def computed(result: Any) -> Any:
    """
    Run what is lazy.

    Parameters
    ----------
    result
        Anything; a `polars.LazyFrame` and a collection of Dask are run.

    Returns
    -------
    object
    """
    import dask

    if isinstance(result, pl.LazyFrame):
        return result.collect()
    return result.compute() if dask.is_dask_collection(result) else result


def answer_of(result: Any) -> Answer:
    """
    Make a frame of Polars of a result, through Arrow.

    Parameters
    ----------
    result
        A frame or a series of Polars or of pandas, a table of Arrow, or a value. The index of pandas becomes columns if
        its levels have names, which those of a group_by have; otherwise it is left out.

    Returns
    -------
    Answer

    Raises
    ------
    TypeError
        If it cannot be a column of Polars.

    Examples
    --------
    >>> from dask_polars.answers import answer_of
    >>> answer_of(3).frame.to_dict(as_series=False)
    {'value': [3]}
    """
    if isinstance(result, pl.DataFrame):
        return Answer(result)
    if isinstance(result, pl.Series):
        return Answer(result.to_frame(result.name or "value"))
    if isinstance(result, (pa.Table, pa.RecordBatch)):
        frame = pl.from_arrow(result)
        assert isinstance(frame, pl.DataFrame)
        return Answer(frame)
    if type(result).__module__.partition(".")[0] == "pandas" and hasattr(result, "index"):
        return Answer(_from_pandas(result), nan_is_null=True)
    if hasattr(result, "item") and not getattr(result, "shape", ()):
        result = result.item()  # a scalar of numpy
    return Answer(pl.DataFrame({"value": [result]}, strict=False))


def _from_pandas(result: Any) -> pl.DataFrame:
    from dask_polars.io.pandas_frames import FromPandas

    named = all(name is not None for name in result.index.names)
    if result.ndim == 1:
        result = result.to_frame("value" if result.name is None else result.name)
    return FromPandas(include_index=named, nan_to_null=True)(result)


def difference(
    left: Answer, right: Answer, *, row_order: bool = False, rel_tol: float = 1e-5, abs_tol: float = 1e-8
) -> str | None:
    """
    Say in what two answers differ.

    Types need to be alike only: integers of different widths are compared as integers, numbers of which one is a float as
    floats, dates with times as times, categories as text. The order of columns does not matter.

    Parameters
    ----------
    left, right
        The answers.
    row_order
        Whether the order of rows has to be the same. Otherwise rows are sorted, by floats last and rounded: two
        rows that differ only in floats which are nearly equal may then be taken for different ones.
    rel_tol, abs_tol
        How much floats may differ: by that part of the larger one, and by that.

    Returns
    -------
    str, optional
        None if they agree.

    Examples
    --------
    >>> import polars as pl
    >>> from dask_polars.answers import Answer, difference
    >>> one = Answer(pl.DataFrame({"k": [1, 2], "v": [0.1, 0.2]}))
    >>> difference(one, Answer(one.frame.reverse()))
    >>> difference(one, Answer(pl.DataFrame({"k": [1, 2], "v": [0.1, 0.3]})))
    "column 'v': 1 of 2 values differs, first 0.2 against 0.3"
    """
    if sorted(left.frame.columns) != sorted(right.frame.columns):
        return f"columns {left.frame.columns} against {right.frame.columns}"
    if left.frame.height != right.frame.height:
        return f"{left.frame.height:,} rows against {right.frame.height:,}"
    nan_is_null = left.nan_is_null or right.nan_is_null
    frames = left.frame, right.frame
    columns: list[tuple[pl.Series, pl.Series]] = []
    for name in left.frame.columns:
        pair = _alike(*(_plain(frame[name], nan_is_null) for frame in frames))
        if pair is None:
            return f"column {name!r}: {left.frame.schema[name]} against {right.frame.schema[name]}"
        columns.append(pair)
    first, second = (pl.DataFrame([pair[side] for pair in columns]) for side in (0, 1))
    if not row_order:
        first, second = _in_order(first), _in_order(second)
    for name in first.columns:
        found = _values_differ(first[name], second[name], rel_tol, abs_tol)
        if found is not None:
            return f"column {name!r}: {found}"
    return None


def _plain(column: pl.Series, nan_is_null: bool) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    if dtype.is_float():
        column = column.cast(pl.Float64)
        return column.fill_nan(None) if nan_is_null else column
    if dtype.is_integer():
        return column.cast(pl.Int128)
    return column


def _alike(left: pl.Series, right: pl.Series) -> tuple[pl.Series, pl.Series] | None:
    """Give two columns of one type; None if there is none."""
    types = left.dtype, right.dtype
    if types[0] == types[1]:
        return left, right
    common: Any = None
    if pl.Null in types:
        common = types[0] if types[1] == pl.Null else types[1]
    elif all(dtype.is_numeric() for dtype in types):
        common = pl.Float64
    elif all(isinstance(dtype, (pl.Date, pl.Datetime)) for dtype in types):
        zones = {dtype.time_zone for dtype in types if isinstance(dtype, pl.Datetime)}
        common = pl.Datetime("us", zones.pop()) if len(zones) == 1 else None
    elif all(isinstance(dtype, pl.Duration) for dtype in types):
        common = pl.Duration("us")
    return None if common is None else (left.cast(common), right.cast(common))


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort rows by all columns that can be sorted; floats last, and rounded."""
    exact = frame.select(~cs.float() & ~cs.nested() & ~cs.object()).columns
    floats = frame.select(cs.float()).columns
    keys = [*(pl.col(name) for name in exact), *(pl.col(name).round_sig_figs(6) for name in floats)]
    return frame.sort(keys) if keys else frame


def _values_differ(left: pl.Series, right: pl.Series, rel_tol: float, abs_tol: float) -> str | None:
    if left.dtype.is_nested():
        return _nested_differ(left, right, rel_tol, abs_tol)
    same = left.eq_missing(right)
    if left.dtype.is_float():
        largest = pl.select(pl.max_horizontal(left.abs(), right.abs())).to_series()
        near = (left - right).abs() <= abs_tol + rel_tol * largest
        same |= (near & left.is_finite() & right.is_finite()).fill_null(False)
    wrong = (~same).arg_true()
    if not wrong.len():
        return None
    verb = "differs" if wrong.len() == 1 else "differ"
    first = f"{left[wrong[0]]} against {right[wrong[0]]}"
    return f"{wrong.len():,} of {left.len():,} values {verb}, first {first}"


def _nested_differ(left: pl.Series, right: pl.Series, rel_tol: float, abs_tol: float) -> str | None:
    from polars.testing import assert_series_equal

    try:
        assert_series_equal(left, right, check_dtypes=False, rel_tol=rel_tol, abs_tol=abs_tol)
    except AssertionError:
        return "lists or structs differ"
    return None
