"""Functions that go through the partitions in order, and say where an exponentially weighted function stands before each."""

from __future__ import annotations

import math

import polars as pl

EWM_STATE = {"sum": pl.Float64(), "weight": pl.Float64()}


def adjusted_states(summaries: pl.Series, decay: float) -> pl.Series:
    """Give for each partition the weighted sum of all values before it, and the sum of their weights."""
    total, weight, out = 0.0, 0.0, []
    for item in summaries:
        out.append({"sum": total, "weight": weight})
        left = decay ** item["age"]
        total, weight = total * left + item["sum"], weight * left + item["weight"]
    return pl.Series(out, dtype=pl.Struct(EWM_STATE))


def recursive_states(summaries: pl.Series, alpha: float, ignore_nulls: bool) -> pl.Series:
    """Give for each partition by how much the mean at its first value differs from this value."""
    mean, since, out = None, 0.0, []
    for item in summaries:
        change = 0.0
        if item["first"] is None:
            since += item["rows"]
        else:
            if mean is not None:
                left = (1 - alpha) ** (1 if ignore_nulls else since + item["start"] + 1)
                moved = (left * mean + alpha * item["first"]) / (left + alpha)
                change = 0.0 if moved == item["first"] else moved - item["first"]
            mean, since = item["last"] + item["share"] * change, item["rows"] - 1 - item["end"]
        out.append({"sum": change, "weight": 0.0})
    return pl.Series(out, dtype=pl.Struct(EWM_STATE))


SUM_STATE = {"sum": pl.Float64()}


def sum_states(summaries: pl.Series, decay: float) -> pl.Series:
    """Give for each partition the weighted sum of all values before it; null where there are none."""
    total: float | None = None
    out = []
    for item in summaries:
        out.append({"sum": total})
        if total is not None and not (decay and math.isinf(total)):
            total *= decay ** item["age"]  # step by step, an infinite sum stays so
        if item["count"]:
            total = item["sum"] + (total or 0.0)
    return pl.Series(out, dtype=pl.Struct(SUM_STATE))
