"""
ewm_mean, ewm_sum: exponentially weighted means and sums, carried from partition to partition.

With ``adjust=True`` the mean of a row is ``sum(d**k * x) / sum(d**k)`` over the values that are ``k`` steps back, where
``d = 1 - alpha``. Both sums are those of the partition plus what is carried, which has decayed with each step since.

With ``adjust=False`` it is the mean before, and the value of the row, in fixed shares: what the first value of a partition
is changed by through what is carried changes all that follow by shares of it.

A sum is that of the partition and what is carried, which has decayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from dask_polars.dsl.expressions import Expression, function_name
from dask_polars.ewm_kernels import EWM_STATE, SUM_STATE, adjusted_states, recursive_states, sum_states
from dask_polars.plan.stages import SchemaDict
from dask_polars.plan.wide import dtype_of


@dataclass(frozen=True)
class Ewm:
    """
    An exponentially weighted function, as it is computed in parts.

    Parameters
    ----------
    summaries, carries
        By name: see :class:`dask_polars.plan.carried.Carry`.
    column
        The column.
    """

    summaries: Mapping[str, pl.Expr]
    carries: Mapping[str, pl.Expr]
    column: pl.Expr


def refuses_ewm(tree: Expression, schema: SchemaDict) -> str | None:
    """Say why an exponentially weighted function is not carried; None where it is."""
    dtype, name = dtype_of(tree["Function"]["input"][0], schema), function_name(tree) or ""
    if name in ("EwmVar", "EwmStd") and dtype in (pl.Float32, pl.Float16):
        # Which weights are so small that there is no variance is decided by the digits that are there.
        return f"`{name}` of {dtype}, which Polars computes with few digits"
    (options,) = (value["options"] for value in tree["Function"]["function"].values())
    if 1 - options["alpha"] == 1:
        return "weights that do not decay"
    return None if dtype.is_integer() or dtype.is_float() else f"`{name}` of {dtype}"


def ewm_mean(x: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    """
    Say how an ``ewm_mean`` is computed in parts.

    Parameters
    ----------
    x
        The values.
    options
        Those of the call.
    prefix
        What the names of summaries and carries start with.

    Returns
    -------
    Ewm
    """
    found = (_adjusted if options["adjust"] else _recursive)(x, options, prefix)
    # The least number of values counts from the first row of all.
    count = x.is_not_null().cast(pl.Int64)
    # Polars moves a mean by a share of the difference from it: by NaN, once it is infinite.
    infinite = x.cast(pl.Float64).is_infinite().cast(pl.Int64)
    summaries = {**found.summaries, f"{prefix}count": count.sum(), f"{prefix}infinite": infinite.sum()}
    counts, infinities = pl.col(f"{prefix}count"), pl.col(f"{prefix}infinite")
    carries = {
        **found.carries,
        f"{prefix}before": counts.cum_sum() - counts,
        f"{prefix}spoilt": infinities.cum_sum() - infinities,
    }
    enough = x.is_not_null() & (pl.col(f"{prefix}before") + count.cum_sum() >= options["min_periods"])
    spoilt = pl.col(f"{prefix}spoilt") > 0
    return Ewm(summaries, carries, pl.when(enough & spoilt).then(float("nan")).when(enough).then(found.column))


def _own(x: pl.Expr, options: Mapping[str, Any]) -> pl.Expr:
    """The mean of the rows of the partition alone."""
    return x.cast(pl.Float64).ewm_mean(
        alpha=options["alpha"], adjust=options["adjust"], min_samples=1, ignore_nulls=options["ignore_nulls"]
    )


def state_before(
    prefix: str, names: Iterable[str], function: Any, state: Mapping[str, pl.DataType] = EWM_STATE
) -> pl.Expr:
    """Go through the partitions in order, each with its summaries, and give the state before each."""
    fields = [pl.col(f"{prefix}{name}").cast(pl.Float64).alias(name) for name in names]
    return pl.struct(fields).map_batches(function, return_dtype=pl.Struct(state))


def steps_of(x: pl.Expr, options: Mapping[str, Any]) -> pl.Expr:
    """How often weights have decayed at each row, since before the partition."""
    return x.is_not_null().cast(pl.Int64).cum_sum() if options["ignore_nulls"] else pl.int_range(1, pl.len() + 1)


def weights_of(x: pl.Expr, alpha: float, options: Mapping[str, Any]) -> pl.Expr:
    """Sum the weights of the values of the partition so far, at each value; each decays by ``1 - alpha`` with a step."""
    ones: pl.Expr = pl.when(x.is_not_null()).then(1.0)
    ones = ones if options["ignore_nulls"] else ones.fill_null(0.0)
    return ones.ewm_sum(alpha=alpha, min_samples=1, ignore_nulls=options["ignore_nulls"])


def decayed(x: pl.Expr, age: pl.Expr, decay: float) -> pl.Expr:
    """What is left at the end of the partition of what its last value had."""
    return decay ** (age.last() - age.filter(x.is_not_null()).last())


def shares_of_first(x: pl.Expr, options: Mapping[str, Any]) -> tuple[pl.Expr, pl.Expr]:
    """Give the places of the values, and the share that the first one has of each mean, with ``adjust=False``."""
    decay = 1 - options["alpha"]
    has = x.is_not_null()
    place = pl.when(has).then(pl.int_range(pl.len()))
    # Steps from the value before to each value.
    steps: pl.Expr = pl.lit(1) if options["ignore_nulls"] else place - place.forward_fill().shift(1)
    first = has & (has.cast(pl.Int64).cum_sum() == 1)
    factor = pl.when(has & ~first).then(decay**steps / (decay**steps + options["alpha"])).otherwise(1.0)
    return place, factor.cum_prod()


def ewm_sum(x: pl.Expr, own: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    """
    Say how an ``ewm_sum`` is computed in parts.

    Parameters
    ----------
    x
        The values.
    own
        The call, which is right where there are no values before.
    options
        Those of the call.
    prefix
        What the names of summaries and carries start with.

    Returns
    -------
    Ewm
    """
    decay = 1 - options["alpha"]
    x = x.cast(pl.Float64)
    count, age = x.is_not_null().cast(pl.Int64), steps_of(x, options)
    total = x.ewm_sum(alpha=options["alpha"], min_samples=1, ignore_nulls=options["ignore_nulls"])
    last = total.drop_nulls().last()
    summaries = {
        # Step by step, an infinite sum stays so; with no weight at all it is lost.
        f"{prefix}sum": pl.when(last.is_infinite() & (decay > 0)).then(last).otherwise(last * decayed(x, age, decay)),
        f"{prefix}count": count.sum(),
        f"{prefix}age": age.last().fill_null(0),
    }
    state = state_before(prefix, ["sum", "count", "age"], partial(sum_states, decay=decay), SUM_STATE)
    counts = pl.col(f"{prefix}count")
    carries = {f"{prefix}sum": state.struct.field("sum"), f"{prefix}before": counts.cum_sum() - counts}
    carry = pl.col(f"{prefix}sum")
    left = pl.when(carry.is_infinite() & (decay > 0)).then(carry).otherwise(decay**age * carry)
    enough = pl.col(f"{prefix}before") + count.cum_sum() >= options["min_periods"]
    return Ewm(summaries, carries, pl.when(carry.is_null()).then(own).when(enough).then(total + left))


def _adjusted(x: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    alpha = options["alpha"]
    decay = 1 - alpha
    has = x.is_not_null()
    age, weight = steps_of(x, options), weights_of(x, alpha, options)
    total = _own(x, options) * weight
    left = decayed(x, age, decay)
    summaries = {
        f"{prefix}sum": (total.drop_nulls().last() * left).fill_null(0.0),
        f"{prefix}weight": (weight.filter(has).last() * left).fill_null(0.0),
        f"{prefix}age": age.last().fill_null(0),
    }
    state = state_before(prefix, ["sum", "weight", "age"], partial(adjusted_states, decay=decay))
    carries = {f"{prefix}{name}": state.struct.field(name) for name in EWM_STATE}
    carried = [decay**age * pl.col(f"{prefix}{name}") for name in EWM_STATE]
    return Ewm(summaries, carries, (total + carried[0]) / (weight + carried[1]))


def _recursive(x: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    alpha = options["alpha"]
    place, share = shares_of_first(x, options)
    own = _own(x, options)
    summaries = {
        f"{prefix}rows": pl.len(),
        f"{prefix}first": x.drop_nulls().first(),
        f"{prefix}start": place.min(),
        f"{prefix}end": place.max(),
        f"{prefix}last": own.drop_nulls().last(),
        f"{prefix}share": share.last(),
    }
    function = partial(recursive_states, alpha=alpha, ignore_nulls=options["ignore_nulls"])
    state = state_before(prefix, ["rows", "first", "start", "end", "last", "share"], function)
    carries = {f"{prefix}sum": state.struct.field("sum")}
    return Ewm(summaries, carries, own + share * pl.col(f"{prefix}sum"))
