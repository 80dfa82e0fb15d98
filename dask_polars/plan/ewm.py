"""
ewm_mean: exponentially weighted means, carried from partition to partition.

With ``adjust=True`` the mean of a row is ``sum(d**k * x) / sum(d**k)`` over the values that are ``k`` steps back, where
``d = 1 - alpha``. Both sums are those of the partition plus what is carried, which has decayed with each step since.

With ``adjust=False`` it is the mean before, and the value of the row, in fixed shares: what the first value of a partition
is changed by through what is carried changes all that follow by shares of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from dask_polars.dsl.expressions import Expression
from dask_polars.plan.stages import SchemaDict
from dask_polars.plan.wide import dtype_of
from dask_polars.wide_kernels import EWM_STATE, adjusted_states, recursive_states


@dataclass(frozen=True)
class Ewm:
    """
    An ``ewm_mean``, as it is computed in parts.

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
    """Say why an ``ewm_mean`` is not carried; None where it is."""
    dtype = dtype_of(tree["Function"]["input"][0], schema)
    return None if dtype.is_integer() or dtype.is_float() else f"`ewm_mean` of {dtype}"


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


def _state(prefix: str, names: list[str], function: Any) -> pl.Expr:
    """Go through the partitions in order, each with its summaries."""
    fields = [pl.col(f"{prefix}{name}").cast(pl.Float64).alias(name) for name in names]
    return pl.struct(fields).map_batches(function, return_dtype=pl.Struct(EWM_STATE))


def _adjusted(x: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    alpha = options["alpha"]
    decay = 1 - alpha
    has = x.is_not_null()
    # Steps since before the partition, and the sum of the weights of the values so far.
    if options["ignore_nulls"]:
        age = has.cast(pl.Int64).cum_sum()
        weight = (1 - decay**age) / alpha
    else:
        age = pl.int_range(1, pl.len() + 1)
        one = has.cast(pl.Float64)
        # What is known to Polars is the sum of alpha * d**k, but for the first row, which counts in full.
        weight = (one.ewm_mean(alpha=alpha, adjust=False, min_samples=1) - decay**age * one.first()) / alpha
    total = _own(x, options) * weight
    left = decay ** (age.last() - age.filter(has).last())
    summaries = {
        f"{prefix}sum": (total.drop_nulls().last() * left).fill_null(0.0),
        f"{prefix}weight": (weight.filter(has).last() * left).fill_null(0.0),
        f"{prefix}age": age.last().fill_null(0),
    }
    state = _state(prefix, ["sum", "weight", "age"], partial(adjusted_states, decay=decay))
    carries = {f"{prefix}{name}": state.struct.field(name) for name in EWM_STATE}
    carried = [decay**age * pl.col(f"{prefix}{name}") for name in EWM_STATE]
    return Ewm(summaries, carries, (total + carried[0]) / (weight + carried[1]))


def _recursive(x: pl.Expr, options: Mapping[str, Any], prefix: str) -> Ewm:
    alpha = options["alpha"]
    decay = 1 - alpha
    has, row = x.is_not_null(), pl.int_range(pl.len())
    place = pl.when(has).then(row)
    # Steps from the value before to each value.
    steps: pl.Expr = pl.lit(1) if options["ignore_nulls"] else place - place.forward_fill().shift(1)
    first = has & (has.cast(pl.Int64).cum_sum() == 1)
    share = pl.when(has & ~first).then(decay**steps / (decay**steps + alpha)).otherwise(1.0).cum_prod()
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
    state = _state(prefix, ["rows", "first", "start", "end", "last", "share"], function)
    carries = {f"{prefix}sum": state.struct.field("sum")}
    return Ewm(summaries, carries, own + share * pl.col(f"{prefix}sum"))
