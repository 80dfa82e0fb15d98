"""
What must not be taken for sorted is an error, also where the streaming engine of Polars does not see it; and random
windows, functions by an index and as-of joins over random partitions.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from tests.helpers import frame_difference

c = pl.col
FULL = os.environ.get("CATALOGUE") == "full"  # as in `test_catalogue.py`
QUERIES: dict[str, Callable[[Any], Any]] = {
    "rolling": lambda lf: lf.rolling("i", period="2i").agg(c("v")),
    "dynamic": lambda lf: lf.group_by_dynamic("i", every="2i").agg(c("v").sum()),
    "dynamic_whole": lambda lf: lf.group_by_dynamic("i", every="2i").agg(c("v").median()),
    "dynamic_overlap": lambda lf: lf.group_by_dynamic("i", every="2i", period="3i").agg(c("v")),
    "asof_left": lambda lf: lf.join_asof(pl.LazyFrame({"i": [1, 2, 4]}), on="i"),
    "asof_right": lambda lf: lf.sort("i").join_asof(lf, on="i", strategy="nearest"),
}
ORDERS = {
    "down": [6, 5, 4, 3, 2, 1],
    "inside": [1, 3, 2, 4, 5, 6],
    "between": [4, 5, 6, 1, 2, 3],
    "last": [1, 2, 3, 4, 6, 5],
}


@pytest.mark.parametrize("broadcast", ["64 MiB", 0])
@pytest.mark.parametrize("npartitions", [1, 2, 6])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("query", QUERIES)
def test_unsorted(query: str, order: str, npartitions: int, broadcast: int | str) -> None:
    frame = pl.DataFrame({"i": ORDERS[order], "v": range(6)})
    lazy = QUERIES[query](dp.from_polars(frame, npartitions=npartitions))
    with (
        dask.config.set({"dask-polars.broadcast-limit": broadcast}),
        pytest.raises(pl.exceptions.InvalidOperationError, match="is not sorted"),
    ):
        lazy.collect(scheduler="sync")


CLOSED = ("left", "right", "both", "none")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


def cut_anywhere(frame: pl.DataFrame, rng: random.Random) -> Any:
    """Partitions of any height."""
    cuts = sorted(rng.randrange(frame.height + 1) for _ in range(rng.choice([1, 3, 9])))
    ends = zip([0, *cuts], [*cuts, frame.height], strict=True)
    return dp.concat([dp.from_polars(frame[start:stop], npartitions=1) for start, stop in ends])


def random_index(rng: random.Random, rows: int) -> tuple[pl.Series, Callable[[], str]]:
    """A sorted index, and what makes steps that fit it."""
    kind = rng.choice(["integers", "times", "dates", "zone"])
    if kind == "integers":
        dtype = rng.choice([pl.Int32, pl.Int64])
        values = sorted(rng.randrange(-50, 300) for _ in range(rows))
        return pl.Series("t", values, dtype=dtype), lambda: f"{rng.randrange(1, 60)}i"
    days = rng.choice([3, 40, 700])
    units = [("h", 40), ("d", 20)] + ([("mo", 4), ("w", 5)] if days > 10 else [("m", 90)])
    start = datetime(2024, rng.choice([1, 3, 10]), rng.randrange(1, 29))
    seconds = sorted(rng.randrange(days * 86400) for _ in range(rows))
    index = pl.Series("t", [start + timedelta(seconds=value) for value in seconds], dtype=pl.Datetime("us"))
    if kind == "dates":
        index = index.cast(pl.Date)
    if kind == "zone":
        index = index.dt.replace_time_zone("UTC").dt.convert_time_zone(rng.choice(ZONES))

    def step() -> str:
        unit, most = rng.choice(units)
        return f"{rng.randrange(1, most)}{unit}"

    return index, step


Windows = Callable[..., Any]


def random_windows(rng: random.Random, step: Callable[[], str]) -> Windows:
    offset = rng.choice([None, "", "-"])
    shared: dict[str, Any] = {"closed": rng.choice(CLOSED), "group_by": rng.choice([None, None, "k"])}
    if offset is not None:
        shared["offset"] = offset + step()
    kind = rng.random()
    period = step()
    if kind < 0.3:
        keys = shared.pop("group_by")

        def columns(lf: Any, aggregations: list[pl.Expr], *_: pl.Expr) -> Any:
            found = [item.rolling("t", period=period, **shared) for item in aggregations]
            return lf.with_columns(item.over(keys) if keys else item for item in found)

        return columns
    if kind < 0.6:
        return lambda lf, aggregations, *having: (
            lf.rolling("t", period=period, **shared).having(having).agg(aggregations)
        )
    shared |= {"every": step(), "period": rng.choice([None, step()]), "include_boundaries": True}
    shared |= {"label": rng.choice(["left", "right", "datapoint"]), "start_by": rng.choice(["window", "datapoint"])}
    return lambda lf, aggregations, *having: lf.group_by_dynamic("t", **shared).having(having).agg(aggregations)


def only_in(windows: list[list[int]]) -> pl.Expr:
    """An aggregation that fails in any other window of rows: in one that is cut off, for one."""
    known = {(), *map(tuple, windows)}

    def checked(rows: pl.Series) -> int:
        if tuple(rows) not in known:
            raise ValueError(f"{rows.to_list()} is no window")
        return rows.len()

    return c("i").map_batches(checked, returns_scalar=True, return_dtype=pl.Int64).alias("checked")


def same(query: Callable[[Any, Any], Any], frames: tuple[pl.DataFrame, ...], rng: random.Random) -> None:
    ours = query(*(cut_anywhere(frame, rng) for frame in frames))
    plain = query(*(frame.lazy() for frame in frames))
    try:
        expected = plain.collect()
    except pl.exceptions.PolarsError as error:
        with pytest.raises(type(error)):
            ours.collect(scheduler="sync")
        return
    assert frame_difference(expected, ours.collect(scheduler="sync")) is None


@pytest.mark.parametrize("seed", range(60 if FULL else 40))
def test_random_windows(seed: int) -> None:
    rng = random.Random(seed)
    rows = rng.choice([1, 5, 40, 150])
    index, step = random_index(rng, rows)
    columns = {
        "i": range(rows),
        "v": rng.choices([None, 1.5, 2.0, -3.0], k=rows),
        "k": rng.choices(["a", "b", None], k=rows),
    }
    frame = pl.DataFrame(columns, schema={"i": pl.Int64, "v": pl.Float64, "k": pl.String}).with_columns(index)
    windows = random_windows(rng, step)
    aggregations = [c("i").alias("rows"), c("v").sum(), c("i").first()]
    known = windows(frame.lazy(), [c("i").alias("rows")]).collect()["rows"].to_list()
    having = [pl.len() > 1, c("i").max() >= 3] if rng.random() < 0.3 else []
    same(lambda lf: windows(lf, [*aggregations, only_in(known)], *having), (frame,), rng)


@pytest.mark.parametrize("seed", range(60 if FULL else 40))
def test_random_asof(seed: int) -> None:
    rng = random.Random(seed)
    span = rng.choice([5, 30, 300])
    frames = []
    for name in ("left", "right"):
        rows = rng.choice([1, 5, 30, 120])
        keys = [None] * rng.choice([0, 0, 2]) + sorted(rng.randrange(span) for _ in range(rows))
        groups = rng.choices(["a", "b", None], k=len(keys))
        columns = {"t": keys, "k": groups, name: list(range(len(keys)))}
        frames.append(pl.DataFrame(columns, schema={"t": pl.Int64, "k": pl.String, name: pl.Int64}))
    options: dict[str, Any] = {"strategy": rng.choice(["backward", "forward", "nearest"])}
    options |= {"allow_exact_matches": rng.random() < 0.7, "coalesce": rng.random() < 0.7}
    options |= {"by": rng.choice([None, None, "k"]), "tolerance": rng.choice([None, rng.randrange(40)])}
    with dask.config.set({"dask-polars.broadcast-limit": rng.choice([0, 0, "64 MiB"])}):
        same(lambda left, right: left.join_asof(right, on="t", **options), tuple(frames), rng)


def by_index(rng: random.Random, step: Callable[[], str]) -> pl.Expr:
    """A function of rows in the order of `t`."""
    name = rng.choice([*("sum", "mean", "min", "max", "std", "median", "rank"), "ewm", "ewm", "interpolate"])
    if name == "ewm":
        return getattr(c("v"), rng.choice(["ewm_mean_by", "ewm_sum_by"]))("t", half_life=step())
    if name == "interpolate":
        return c("v").interpolate_by("t")
    closed = rng.choice(("right", "both") if name == "rank" else CLOSED)
    return getattr(c("v"), f"rolling_{name}_by")("t", step(), min_samples=rng.choice([1, 2]), closed=closed)


@pytest.mark.parametrize("seed", range(40))
def test_random_functions_by_index(seed: int) -> None:
    """In any order of rows, with nulls in the index and values that are not finite."""
    rng = random.Random(seed)
    rows = rng.choice([1, 5, 20, 60])
    index, step = random_index(rng, rows)
    if rng.random() < 0.6:
        index = index.shuffle(seed)
    if rng.random() < 0.3:
        index = index.gather([place if rng.random() < 0.8 else None for place in range(rows)])
    odd = rng.choice([[], [], [float("inf")], [float("nan"), float("inf"), -float("inf")]])
    values = rng.choices([1.5, 2.0, -3.0, None, None, *odd], k=rows)
    frame = pl.DataFrame({"i": range(rows), "v": values}, schema={"i": pl.Int64, "v": pl.Float64}).with_columns(index)
    exprs = [by_index(rng, step).alias(f"e{place}") for place in range(rng.choice([1, 3]))]
    # As if partitions were large: rows are sorted into several, not into one.
    with dask.config.set({"dask-polars.partition-size": rng.choice(["100 B", "1 kB"])}):
        same(lambda lf: lf.with_columns(exprs), (frame,), rng)
