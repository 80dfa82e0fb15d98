"""
ewm_var, ewm_std: exponentially weighted variances, carried from partition to partition.

The variance is that of the values with their weights, so two sets of values, those before the partition and those of its
rows so far, are put together by their weights, means and variances; nothing is the difference of large numbers.

With ``adjust=False`` weights are shares of one. There the first value of the partition, as Polars sees it, stands for
what is carried and itself: at each row it has a share of the weight, and its mean and variance are put in.

Without ``bias`` the variance is divided by ``1 - sum(w**2) / sum(w)**2``. Where that is zero to as many digits as there
are, Polars gives null: one weight has all others disappear.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl

from dask_polars.ewm_var_kernels import PARTS, STATES, column_of, part_of, states_before
from dask_polars.plan.ewm import Ewm


def ewm_var(x: pl.Expr, own: pl.Expr, options: Mapping[str, Any], prefix: str, *, root: bool) -> Ewm:
    """
    Say how an ``ewm_var`` or an ``ewm_std`` is computed in parts.

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
    root
        Whether it is the standard deviation.

    Returns
    -------
    Ewm
    """
    kind = "adjusted" if options["adjust"] else "recursive"
    x = x.cast(pl.Float64)
    part, state = f"{prefix}part", f"{prefix}state"
    # As one expression of Polars this would be of hundreds, which are slow to plan in each partition.
    summary = x.map_batches(partial(part_of, options=dict(options)), return_dtype=pl.Struct(PARTS[kind]))
    carry = pl.col(part).map_batches(
        partial(states_before, options=dict(options)), return_dtype=pl.Struct(STATES[kind])
    )
    beside = pl.struct(x.alias("x"), pl.col(state).alias("state"))
    both = beside.map_batches(partial(column_of, options=dict(options), root=root), return_dtype=pl.Float64)
    nothing_before = pl.col(state).struct.field("count") == 0
    return Ewm({part: summary}, {state: carry}, pl.when(nothing_before).then(own).otherwise(both))
