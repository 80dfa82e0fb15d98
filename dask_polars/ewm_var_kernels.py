"""Functions on partitions for exponentially weighted variances: what is known of each, and what is carried to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

_FLOAT = pl.Float64()
_ENDS = ("count", "infinite", "mean", "var")
# What is known of a partition, and of all before one, by whether weights are adjusted.
PARTS = {
    "adjusted": dict.fromkeys((*_ENDS, "weight", "squares", "age"), _FLOAT),
    "recursive": dict.fromkeys((*_ENDS, "rows", "first", "start", "end", "room", "share"), _FLOAT),
}
STATES = {
    "adjusted": dict.fromkeys((*_ENDS, "weight", "squares"), _FLOAT),
    "recursive": dict.fromkeys(("count", "infinite", "change", "var", "room"), _FLOAT),
}
Options = Mapping[str, Any]
X = pl.col("x")
HAS = X.is_not_null()


def _kind(options: Options) -> str:
    return "adjusted" if options["adjust"] else "recursive"


def _row(options: Options, rows: pl.DataFrame) -> pl.DataFrame:
    """Compute of each row of a partition what its values so far say, as if nothing was before it."""
    shared = {"alpha": options["alpha"], "min_samples": 1, "ignore_nulls": options["ignore_nulls"]}
    moments = rows.with_columns(
        mean=X.ewm_mean(adjust=options["adjust"], **shared),
        var=X.ewm_var(adjust=options["adjust"], bias=True, **shared),
    )
    return (_weights if options["adjust"] else _shares)(moments, options, shared)


def _weights(rows: pl.DataFrame, options: Options, shared: Mapping[str, Any]) -> pl.DataFrame:
    """Add how often weights have decayed since before the partition, their sum, and that of their squares."""
    decay = 1 - options["alpha"]
    ones: pl.Expr = pl.when(HAS).then(1.0)
    if options["ignore_nulls"]:
        age: pl.Expr = HAS.cast(pl.Int64).cum_sum()
    else:
        age, ones = pl.int_range(1, pl.len() + 1), ones.fill_null(0.0)
    squares = ones.ewm_sum(**{**shared, "alpha": 1 - decay * decay})
    return rows.with_columns(age=age, weight=ones.ewm_sum(**shared), squares=squares)


def _shares(rows: pl.DataFrame, options: Options, shared: Mapping[str, Any]) -> pl.DataFrame:
    """
    Add the places of values, the share of the weight that the first one has, and the ``room`` of the weights.

    That is one less the sum of their squares, where their sum is one. It is what Polars divides a variance by, whatever the
    values are; zeros and ones by turns have a variance.
    """
    decay = 1 - options["alpha"]
    turns = pl.when(HAS).then(X.cum_count() % 2).cast(pl.Float64)
    rows = rows.with_columns(
        place=pl.when(HAS).then(pl.int_range(pl.len())),
        biased=turns.ewm_var(adjust=False, bias=True, **shared),
        fair=turns.ewm_var(adjust=False, bias=False, **shared),
    )
    steps = pl.lit(1) if options["ignore_nulls"] else pl.col("place") - pl.col("place").forward_fill().shift(1)
    later = HAS & (HAS.cast(pl.Int64).cum_sum() > 1)
    left = pl.when(later).then(decay**steps)
    share = (left / (left + options["alpha"])).fill_null(1.0).cum_prod()
    room = pl.when(pl.col("fair") > 0).then(pl.col("biased") / pl.col("fair")).otherwise(0.0)
    return rows.with_columns(share=share, room=room)


def part_of(values: pl.Series, options: Options) -> pl.Series:
    """Say of a partition how many values it has, and where it stands at its end."""
    rows = _row(options, values.alias("x").to_frame())
    at_values = rows.filter(HAS)
    last: dict[str, Any] = dict.fromkeys(rows.columns)
    if at_values.height:
        last = at_values.row(-1, named=True)
    part = {"count": at_values.height, "infinite": (~at_values["x"].is_finite()).sum(), **last}
    if options["adjust"]:
        age = rows["age"][-1] if rows.height else 0
        left = (1 - options["alpha"]) ** (age - (last["age"] or 0))
        decayed = {"weight": (last["weight"] or 0.0) * left, "squares": (last["squares"] or 0.0) * left * left}
        part |= {"age": age, **decayed}
    else:
        ends = {"first": at_values["x"].first(), "start": rows["place"].min(), "end": rows["place"].max()}
        part |= {"rows": rows.height, **ends}
    return _one(part, PARTS[_kind(options)]).alias(values.name)


def _one(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.Series:
    return pl.DataFrame({name: [values[name]] for name in schema}, schema=schema).to_struct()


def states_before(parts: pl.Series, options: Options) -> pl.Series:
    """Go through the partitions in order, and give for each what is known of all values before it."""
    walk = (_adjusted if options["adjust"] else _recursive)(parts, options)
    return pl.Series(parts.name, list(walk), dtype=pl.Struct(STATES[_kind(options)]))


def _adjusted(parts: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Mapping[str, float]]:
    state = dict.fromkeys(STATES["adjusted"], 0.0)
    for part in parts:
        yield state
        state = _after(state, part, options)


def _after(state: Mapping[str, float], part: Mapping[str, Any], options: Options) -> dict[str, float]:
    """Give what is known after a partition of what is known before it: two sets of weighted values put together."""
    left = (1 - options["alpha"]) ** part["age"]
    old = {**state, "weight": state["weight"] * left, "squares": state["squares"] * left * left}
    if not part["count"]:
        return old
    if not state["count"]:
        return {name: part[name] for name in state}
    total = old["weight"] + part["weight"] or 1.0  # with no weight left, nothing of them will be seen
    change = part["mean"] - old["mean"]
    spread = old["weight"] * part["weight"] / total * change * change
    return {
        **{name: old[name] + part[name] for name in ("count", "infinite", "weight", "squares")},
        "mean": old["mean"] + change * part["weight"] / total,
        "var": (old["weight"] * old["var"] + part["weight"] * part["var"] + spread) / total,
    }


def _recursive(parts: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Mapping[str, float]]:
    """
    Go through partitions whose weights are shares of one, and give where each stands at its first value.

    That is by how much the mean there differs from the value, the variance, and the room of the weights.
    """
    alpha = options["alpha"]
    count = infinite = mean = var = room = since = 0.0
    for part in parts:
        change = first_var = first_room = 0.0
        if part["count"] and count:
            left = (1 - alpha) ** (1 if options["ignore_nulls"] else since + part["start"] + 1)
            weight = left + alpha
            moved = mean + (part["first"] - mean) * (alpha / weight)
            change, back = moved - part["first"], mean - moved
            first_var = (left * (var + back * back) + alpha * change * change) / weight
            first_room = (left * left * room + 2 * alpha * left) / (weight * weight)
        yield {"count": count, "infinite": infinite, "change": change, "var": first_var, "room": first_room}
        if part["count"]:
            share, first = part["share"], part["first"] - part["mean"]
            mean = part["mean"] + share * change
            var = moved_variance(part["var"], share, change, first_var, first)
            room = part["room"] + share * share * first_room
            since, count, infinite = part["rows"] - 1 - part["end"], count + part["count"], infinite + part["infinite"]
        else:
            since += part["rows"]


def moved_variance(var: Any, share: Any, change: Any, first_var: Any, first: Any) -> Any:
    """
    Give a variance where the first value stands for others before it.

    Parameters
    ----------
    var
        The variance with this value alone.
    share
        Its share of the weight.
    change
        By how much the mean of what it stands for differs from it.
    first_var
        The variance of what it stands for.
    first
        By how much it differs from the mean.

    Returns
    -------
    float or pl.Expr
    """
    return var + share * first_var + share * change * ((1 - share) * change + 2 * first)


def column_of(beside: pl.Series, options: Options, *, root: bool) -> pl.Series:
    """
    Compute variances of the rows of a partition and of what is before them.

    Parameters
    ----------
    beside
        Structs of the values, ``x``, and of what is carried, ``state``, which is the same in each row.
    options
        Those of the call.
    root
        Whether standard deviations are wanted.

    Returns
    -------
    pl.Series
    """
    state = beside.struct.field("state").head(1).to_list()
    if not state or not state[0]["count"]:
        return pl.Series(beside.name, [None], dtype=pl.Float64).new_from_index(0, beside.len())
    rows = _row(options, beside.struct.field("x").alias("x").to_frame())
    rows = (_with_weights if options["adjust"] else _with_first)(rows, state[0], options)
    # A mean that was not finite once is NaN or infinite for ever, and so no difference from it is a number.
    infinite = (HAS & ~X.is_finite()).cast(pl.Int64).cum_sum() + state[0]["infinite"] > 0
    both = pl.col("both")
    value = pl.when(infinite).then(float("nan")).when(both < 0).then(0.0).otherwise(both)
    enough = HAS & (HAS.cast(pl.Int64).cum_sum() + state[0]["count"] >= options["min_periods"])
    if not options["bias"]:
        enough = enough & (pl.col("room") > 0)
        value = value * pl.col("scale") / pl.col("room")
    value = value.sqrt() if root else value
    return rows.select(pl.when(enough).then(value).alias(beside.name)).to_series()


def _with_weights(rows: pl.DataFrame, state: Mapping[str, float], options: Options) -> pl.DataFrame:
    left = (1 - options["alpha"]) ** pl.col("age")
    rows = rows.with_columns(
        rest=left * state["weight"],
        squares=pl.col("squares") + left * left * state["squares"],
        change=pl.col("mean") - state["mean"],
    )
    weight, rest = pl.col("weight"), pl.col("rest")
    total = weight + rest
    spread = weight * rest / total * pl.col("change") * pl.col("change")
    both = (weight * pl.col("var") + rest * state["var"] + spread) / total
    return rows.with_columns(both=both, scale=total * total, room=total * total - pl.col("squares"))


def _with_first(rows: pl.DataFrame, state: Mapping[str, float], options: Options) -> pl.DataFrame:
    share = pl.col("share")
    first = X.drop_nulls().first() - pl.col("mean")
    # As Polars does, by way of the squares: what is less than the last digit of one is nothing.
    room = 1 - (1 - (pl.col("room") + share * share * state["room"]))
    both = moved_variance(pl.col("var"), share, state["change"], state["var"], first)
    return rows.with_columns(both=both, scale=pl.lit(1.0), room=room)
