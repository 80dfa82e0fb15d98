"""
Functions that run on the partitions of time series, where a window may reach over the partitions.

The rows are sorted by an index column, partition after partition. What is known of each partition (how many rows, the
first and the last value of the index) is a row of the *bounds*. From these follows the *reach* of each partition: which
rows of other partitions its windows need. Such rows are sent there as its *context*.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import polars as pl

from dask_polars.dsl.leaves import bind
from dask_polars.shuffle.frames import PARTITION_COLUMN

SENT_BY = "__dp_sent_by"  # the partition that a row of a context comes from
OWN = "__dp_own"  # whether a row is one of the partition itself
LOWER, UPPER, LABEL = "__dp_lower", "__dp_upper", "__dp_label"  # the window that a row is in
INDEX, ROW = "__dp_index", "__dp_row"

KEY = "__dp_key"  # what an as-of join compares, in the type that both sides have in common

BOUNDS = {"rows": pl.UInt64(), "nulls": pl.UInt64(), "nulls_at": pl.String(), "sorted": pl.Boolean()}
REACH = {"first": pl.Int64(), "last": pl.Int64(), "low": pl.Int64(), "high": pl.Int64(), "previous": pl.UInt32()}

# Days that a step by calendar may be off, where it is computed in UTC in place of local time.
_SLACK = "4d"

Duration = Mapping[str, Any]  # as the plan has it: months, weeks, days, nsecs, negative, parsed_int


# ---------------------------------------------------------------- what is known of each partition


def index_bounds(index: pl.DataFrame) -> pl.DataFrame:
    """Say of the index of a partition how many rows it has, whether they are sorted, and where they start and end."""
    values = index.to_series()
    some = values.drop_nulls()
    facts = [values.len(), values.null_count(), _where_nulls_are(values), some.is_sorted()]
    counts = pl.DataFrame([facts], schema=BOUNDS, orient="row")
    ends = [some.first(), some.last()]
    return counts.with_columns(
        pl.Series(name, [value], dtype=values.dtype) for name, value in zip(("first", "last"), ends, strict=True)
    )


def _where_nulls_are(values: pl.Series) -> str:
    """Write down the runs of nulls (N) and of values (V) in an index: ``"NV"`` for nulls first."""
    runs = values.is_null().rle().struct.field("value")
    return "".join("N" if null else "V" for null in runs.head(4))


def check_sorted(bounds: pl.DataFrame, operation: str) -> None:
    """
    Check that the index is sorted in each partition, and from each to the next; nulls are for the caller.

    Raises
    ------
    polars.exceptions.InvalidOperationError
        Where it is not: the error of Polars.
    """
    values = bounds.filter(pl.col("first").is_not_null())
    steps_back = values.select((pl.col("first") < pl.col("last").shift(1)).any()).item()
    if steps_back or not bounds["sorted"].all():
        raise pl.exceptions.InvalidOperationError(_not_sorted(operation))


def _not_sorted(operation: str) -> str:
    return f"argument in operation '{operation}' is not sorted, please sort the 'expr/series/column' first"


def check_index(bounds: pl.DataFrame, operation: str) -> None:
    """
    Check that an index of windows has no nulls and is sorted.

    Raises
    ------
    polars.exceptions.ComputeError
        Where it has nulls: the error of Polars.
    polars.exceptions.InvalidOperationError
        Where it is not sorted. For ``group_by_dynamic`` the streaming engine of Polars does not check that, and gives
        windows that are not those of the rows; the in-memory engine gives this error.
    """
    if bounds["nulls"].sum():
        raise pl.exceptions.ComputeError(f"null values in `{operation}` not supported, fill nulls.")
    check_sorted(bounds, operation)


def checked_rows(rows: pl.DataFrame, operation: str, name: str) -> pl.DataFrame:
    """Check the index of rows that are in one partition, and give the rows."""
    check_index(index_bounds(rows.select(name)), operation)
    return rows


def ticks(values: pl.Series) -> pl.Series:
    """Give an index as integers: points in time by their number of units since 1970 in UTC."""
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    return values.to_physical().cast(pl.Int64)


def window_reach(
    bounds: pl.DataFrame, operation: str, lower: Duration | None, upper: tuple[Duration, ...]
) -> pl.DataFrame:
    """
    Say for each partition which values of the index its windows may reach to.

    Parameters
    ----------
    bounds
        What is known of each partition.
    operation
        What the user called, for errors.
    lower
        From the first value of a partition to the lowest one that it needs; None where it needs none before it.
    upper
        From the last value to the highest one, step by step.

    Returns
    -------
    pl.DataFrame
        A row for each partition: ``first`` and ``last``, ``low`` and ``high`` as ticks, and the number of the nearest
        partition before it that is not empty. Nulls for a partition that is empty.
    """
    check_index(bounds, operation)
    first, last = bounds["first"], bounds["last"]
    low = ticks(first)
    if lower is not None:
        low = moved(first, (lower,), back=True)
        if _by_calendar(lower):
            # Polars never moves the start of a window back, though by calendar a later row may have an earlier start (a
            # month after the 30th and 31st of January): so rows of the days before are needed, too.
            days_before = ticks(first).cast(_points(first)).dt.offset_by(f"-{_SLACK}").to_physical()
            low = pl.select(pl.min_horizontal(low, days_before)).to_series()
    number = pl.int_range(bounds.height, dtype=pl.UInt32, eager=True)
    filled = pl.select(pl.when(bounds["rows"] > 0).then(number)).to_series()
    columns = {"first": ticks(first), "last": ticks(last), "low": low, "high": moved(last, upper, back=False)}
    return pl.DataFrame({**columns, "previous": filled.forward_fill().shift(1)}, schema=REACH)


def moved(values: pl.Series, durations: tuple[Duration, ...], *, back: bool) -> pl.Series:
    """Move values of an index, in doubt too far ``back`` or too far ahead; as ticks."""
    numbers = ticks(values)
    if not values.dtype.is_temporal():
        for item in durations:
            numbers = numbers + (-item["nsecs"] if item["negative"] else item["nsecs"])
        return numbers
    points = numbers.cast(_points(values))
    for item in durations:
        points = points.dt.offset_by(_as_text(item))
    if any(map(_by_calendar, durations)):
        points = points.dt.offset_by(f"-{_SLACK}" if back else _SLACK)
    return points.to_physical()


def _points(values: pl.Series) -> pl.Datetime:
    """Give the type of an index of times in UTC."""
    return pl.Datetime(values.dtype.time_unit if isinstance(values.dtype, pl.Datetime) else "us")


def _by_calendar(item: Duration) -> bool:
    return bool(item["months"] or item["weeks"] or item["days"])


def _as_text(item: Duration) -> str:
    sign = "-" if item["negative"] else ""
    return f"{sign}{item['months']}mo{item['weeks']}w{item['days']}d{item['nsecs']}ns"


# ---------------------------------------------------------------- rows for other partitions


def send_to_rolling(rows: pl.DataFrame, reach: pl.DataFrame, index: int, name: str) -> pl.DataFrame:
    """Give the rows of a partition that the windows of others need: from its end for later ones, from its start else."""
    values = ticks(rows[name])
    start, stop = values.search_sorted(reach["low"], "left"), values.search_sorted(reach["high"], "right")
    number = pl.int_range(reach.height, dtype=pl.UInt32, eager=True)
    spans = pl.DataFrame({"to": number, "start": start, "stop": stop}).filter(reach["first"].is_not_null())
    spans = spans.filter(pl.col("to") != index).with_columns(
        start=pl.when(pl.col("to") > index).then("start").otherwise(0),
        stop=pl.when(pl.col("to") > index).then(rows.height).otherwise("stop"),
    )
    return _copies(rows, index, spans)


def send_to_dynamic(rows: pl.DataFrame, reach: pl.DataFrame, index: int, name: str) -> pl.DataFrame:
    """
    Give the rows of a partition that the windows of others need.

    An earlier partition gets the rows that its windows reach to. A later one gets the last row before it, which shows
    which of its windows started before it, and the first row of all, where the first window is.
    """
    number = pl.int_range(reach.height, dtype=pl.UInt32, eager=True)
    stop = ticks(rows[name]).search_sorted(reach["high"], "right")
    spans = pl.DataFrame({"to": number, "stop": stop, "previous": reach["previous"], "first": reach["first"]})
    spans = spans.filter(pl.col("first").is_not_null())
    is_first = reach["first"][index] is not None and reach["previous"][index] is None
    earlier = spans.filter(pl.col("to") < index).select("to", "stop", start=0)
    later = spans.filter(pl.col("to") > index)
    anchors = later.filter(is_first).select("to", start=0, stop=1)
    last = later.filter(pl.col("previous") == index).select("to", start=rows.height - 1, stop=rows.height)
    parts = [part.select("to", pl.col("start", "stop").cast(pl.Int64)) for part in (earlier, anchors, last)]
    return _copies(rows, index, pl.concat(parts))


def _copies(rows: pl.DataFrame, index: int, spans: pl.DataFrame) -> pl.DataFrame:
    """Copy runs of rows for the partitions that they are sent to."""
    if rows.height == 0:
        spans = spans.clear()
    picks = (
        spans.filter(pl.col("stop") > pl.col("start"))
        .select("to", row=pl.int_ranges("start", "stop"))
        .explode("row")
        .unique(maintain_order=True)
    )
    return rows[picks["row"].cast(pl.UInt32)].with_columns(
        picks["to"].cast(pl.UInt32).alias(PARTITION_COLUMN), pl.lit(index, dtype=pl.UInt32).alias(SENT_BY)
    )


def with_context(own: pl.DataFrame, context: pl.DataFrame, index: int) -> tuple[pl.DataFrame, int]:
    """Put the context around the rows of a partition; say how many come before them."""
    sent_by, rows = context[SENT_BY], context.select(own.columns)
    before, after = rows.filter(sent_by < index), rows.filter(sent_by > index)
    flagged = [
        part.with_columns(pl.lit(part is own).alias(OWN)) for part in (before, own, after) if part.height or part is own
    ]
    return pl.concat(flagged), before.height


# ---------------------------------------------------------------- windows


def run_rolling(own: pl.DataFrame, context: pl.DataFrame, index: int, template: bytes) -> pl.LazyFrame:
    """Run a rolling over a partition and its context; it gives a row for each row, and those of the context are cut."""
    rows, before = with_context(own, context, index)
    return bind(template, [rows.drop(OWN).lazy()]).slice(before, own.height)


def run_dynamic(own: pl.DataFrame, context: pl.DataFrame, index: int, template: bytes) -> pl.LazyFrame:
    """
    Run a group_by_dynamic over a partition and its context, from the first window that starts in it to the last one.

    The fragment tells by the column ``OWN`` of a window whether it starts in the partition. Polars computes nothing of
    windows that are sliced off, which are not whole.
    """
    windows = bind(template, [with_context(own, context, index)[0].lazy()])
    starting = windows.select(OWN).collect(engine="in-memory").to_series().arg_true()
    return windows.slice(starting[0], starting[-1] - starting[0] + 1) if starting.len() else windows.clear()


def assign_windows(rows: pl.DataFrame, bounds: pl.DataFrame, name: str, template: bytes) -> pl.DataFrame:
    """
    Put beside each row the window that it is in.

    Parameters
    ----------
    rows
        The rows of a partition. A row that is in two windows comes twice, one that is in none is left out.
    bounds
        What is known of each partition. The first row of all decides where windows start.
    name
        The index column.
    template
        The group_by_dynamic over the columns ``INDEX`` and ``ROW``, which gives ``LOWER``, ``UPPER``, ``LABEL`` and the
        rows of each window.

    Returns
    -------
    pl.DataFrame
        The rows, and three more columns.
    """
    check_index(bounds, "group_by_dynamic")
    anchor = bounds["first"].drop_nulls().head(1)
    places = pl.concat([pl.repeat(-1, anchor.len(), eager=True, dtype=pl.Int64), pl.int_range(rows.height, eager=True)])
    values = pl.concat([anchor, rows[name]]) if rows.height else anchor
    windows = bind(template, [pl.LazyFrame({INDEX: values, ROW: places})]).collect(engine="in-memory")
    spread = windows.explode(ROW).filter(pl.col(ROW) >= 0)
    return rows[spread[ROW].cast(pl.UInt32)].with_columns(spread.select(LOWER, UPPER, LABEL))


# ---------------------------------------------------------------- as-of joins


def check_asof(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """
    Check that the keys of both sides are sorted; left ones may have nulls first or last, right nulls match nothing.

    Raises
    ------
    polars.exceptions.InvalidOperationError
        Where they are not: the error of Polars.
    """
    runs = "".join(run for run, _ in itertools.groupby("".join(left["nulls_at"])))
    if runs not in ("", "N", "V", "NV", "VN"):
        raise pl.exceptions.InvalidOperationError(_not_sorted("asof_join"))
    check_sorted(left, "asof_join")
    check_sorted(right, "asof_join")


def asof_reach(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Put the bounds of the partitions of both sides below each other, once they are checked."""
    check_asof(left, right)
    sides = [
        bounds.with_row_index("number").select("number", "first", "last", pl.lit(side).alias("side"))
        for bounds, side in ((left, "left"), (right, "right"))
    ]
    return pl.concat(sides).filter(pl.col("first").is_not_null())


def checked_right(right: pl.DataFrame, left_bounds: pl.DataFrame, right_bounds: pl.DataFrame) -> pl.DataFrame:
    """Check the keys of both sides, and give the rows of the right one."""
    check_asof(left_bounds, right_bounds)
    return right


def send_to_asof(rows: pl.DataFrame, reach: pl.DataFrame, index: int, strategy: str) -> pl.DataFrame:
    """
    Give the rows of a right partition that rows of left partitions may match.

    These are the rows within the bounds of the left partition, the last one before it, and the first ones after it, as
    the strategy asks for. More would do no harm.
    """
    rows = rows.filter(pl.col(KEY).is_not_null())
    keys = rows[KEY]
    to = reach.filter(pl.col("side") == "left")
    others = reach.filter(pl.col("side") == "right")
    start, stop = keys.search_sorted(to["first"], "left"), keys.search_sorted(to["last"], "right")
    if strategy in ("Backward", "Nearest"):
        later = others.filter(pl.col("number") > index)["first"].head(1)
        nearest = (later >= to["first"]) if later.len() else pl.repeat(True, to.height, eager=True)
        start = start.zip_with(~(nearest & (start > 0)), start.cast(pl.Int64) - 1)
    if strategy in ("Forward", "Nearest"):
        stop = _with_next(keys, to["last"], stop, others.filter(pl.col("number") < index)["last"].tail(1))
    columns = {"to": to["number"], "start": start, "stop": stop}
    return _copies(rows.drop(KEY), index, pl.DataFrame(columns))


def _with_next(keys: pl.Series, last: pl.Series, stop: pl.Series, earlier: pl.Series) -> pl.Series:
    """Extend spans by the first key after them, and what is equal to it, unless an earlier partition has one."""
    nearest = pl.repeat(True, last.len(), eager=True)
    if earlier.len() and keys.len() and not (earlier == keys.head(1)).all():
        nearest = earlier <= last
    more = nearest & (stop < keys.len())
    following = keys.gather(stop.clip(upper_bound=max(keys.len() - 1, 0))) if keys.len() else keys.clear()
    return stop.zip_with(~more, keys.search_sorted(following, "right")) if keys.len() else stop
