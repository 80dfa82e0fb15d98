"""What a case of the catalogue is, and the data that the cases run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl

from tests.helpers import Order, Query


@dataclass(frozen=True)
class Case:
    """One query of the catalogue.

    `query` gets the tables `t.a` (every dtype), `t.b` and `t.c` (to join with), `t.ts` (sorted by time).
    `distributed` is what must run without falling back to a single partition.
    `raises` names the data sets on which Polars itself raises, `messages` says whether its message is deterministic.
    """

    name: str
    query: Query
    order: Order = "promised"
    distributed: bool = True
    raises: frozenset[str] = frozenset()
    messages: bool = True


def case(
    name: str,
    query: Query,
    order: Order = "promised",
    *,
    local: bool = False,
    raises: str = "",
    messages: bool = True,
) -> Case:
    """A case; `local` ones may fall back to one partition today."""
    return Case(name, query, order, not local, frozenset(raises.split()), messages)


NAN, INF = float("nan"), float("inf")
ROWS = 23
COLORS = pl.Enum(["red", "green", "blue", "unused"])


def pick(values: Sequence[Any], step: int, rows: int = ROWS, shift: int = 0) -> list[Any]:
    """A column of `rows` of the values, in a mixed but fixed order."""
    return [values[(i * step + shift + i // len(values)) % len(values)] for i in range(rows)]


def column(name: str, values: Sequence[Any], dtype: Any, step: int = 5, rows: int = ROWS, shift: int = 0) -> pl.Series:
    return pl.Series(name, pick(values, step, rows, shift), dtype=dtype)


@cache
def table_a() -> pl.DataFrame:
    """Every dtype, with duplicates, nulls, NaN, infinities, negative zero, empty and non-ASCII strings."""
    zone = pl.Datetime("ms", "Europe/Berlin")
    struct = pl.Struct({"p": pl.Int64, "q": pl.String})
    structs = [{"p": 1, "q": "x"}, {"p": None, "q": "y"}, None, {"p": 2, "q": None}]
    return pl.DataFrame(
        [
            pl.Series("id", range(ROWS), dtype=pl.Int64),
            column("g", ["a", "b", None, "c", "a", "", "ß"], pl.String, 3),
            column("k", [1, 2, None, 3, 1, 4, 2, 9], pl.Int32, 3),
            column("h", [1, 2, 3], pl.Int8, 2),
            column("i8", [100, -3, None, 7, 120, 99], pl.Int8),
            column("i16", [3000, -1, 0, None, 30000], pl.Int16, 3),
            column("i32", [5, None, -7, 2**30, 12, 0, 5], pl.Int32, 4),
            column("i64", [10, 20, -5, None, 10, 2**40], pl.Int64, 7),
            column("u8", [0, 255, 17, None], pl.UInt8, 3),
            column("u16", [1, 65535, None, 1, 8], pl.UInt16, 4),
            column("u32", [4, 4, None, 2**31, 6, 1], pl.UInt32, 5),
            column("u64", [2**50, 3, None, 7], pl.UInt64, 3),
            column("i128", [2**70, -5, None, 3], pl.Int128, 3),
            column("f32", [1.5, -0.25, None, 3.0, NAN], pl.Float32, 3),
            column("f64", [0.0, NAN, None, -0.0, 2.5, INF, -1.25, -INF, 1e6], pl.Float64, 4),
            column("x", [1.25, 3.5, None, -2.0, 8.75, 0.1, 3.5], pl.Float64, 4, shift=2),
            column("y", [0.5, 1.5, 2.0, 4.25, -1.0], pl.Float64, 3),
            column("b", [True, False, None, True, True], pl.Boolean, 3),
            column("s", ["apple", "Pear", "", None, "żółw 🐢", "apple", "b-1", "12"], pl.String, 3),
            column("d", [date(2024, 1, 31), date(1969, 12, 31), None, date(2024, 2, 29)], pl.Date, 3),
            column("dt", [datetime(2024, 3, 1, 12, 30), None, datetime(1960, 1, 1, 0, 0, 1)], pl.Datetime("us"), 2),
            column("dtz", [datetime(2024, 3, 31, 12), None, datetime(2024, 10, 27, 9, 30)], pl.Datetime("ms"), 2)
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Europe/Berlin")
            .cast(zone),
            column("dns", [datetime(2020, 1, 1), datetime(2021, 6, 1), None], pl.Datetime("ns"), 2),
            column("dur", [timedelta(hours=5), None, timedelta(days=-2), timedelta(seconds=1)], pl.Duration("us"), 3),
            column("tm", [time(1, 2, 3), time(23, 59, 59, 5), None], pl.Time, 2),
            column("dec", [Decimal("1.25"), Decimal("-7.10"), None, Decimal("100.00")], pl.Decimal(12, 2), 3),
            column("cat", ["u", "v", None, "w", "u"], pl.Categorical, 3),
            column("enum", ["red", "blue", None, "green", "blue"], COLORS, 3),
            column("bin", [b"\x00\xff", b"", None, b"abc"], pl.Binary, 3),
            column("lst", [[1, 2], [], None, [3, None], [1, 2]], pl.List(pl.Int64), 3),
            column("lss", [["p", "q"], ["q"], None, []], pl.List(pl.String), 3),
            column("arr", [[1, 2], None, [3, 4], [1, 2]], pl.Array(pl.Int64, 2), 3),
            column("st", structs, struct, 3),
            column("lst_st", [structs[:2], [], None, structs[3:]], pl.List(struct), 3),
            pl.Series("nul", [None] * ROWS, dtype=pl.Null),
        ]
    )


@cache
def table_b() -> pl.DataFrame:
    """To join with: wider and narrower key types, duplicate and null keys, names that collide with those of `a`."""
    rows = 17
    return pl.DataFrame(
        [
            pl.Series("bid", range(100, 100 + rows), dtype=pl.Int64),
            column("k", [2, 1, None, 7, 3, 2], pl.Int64, 5, rows),
            column("g", ["b", "a", None, "zz", ""], pl.String, 3, rows),
            column("kk", [1, 3, 5, None], pl.Int32, 3, rows),
            column("h", [3, 1, 2, 5], pl.Int8, 3, rows),
            column("x", [10.5, None, -3.25, 4.0], pl.Float64, 3, rows),
            column("f64", [0.0, NAN, 2.5, None, -1.25], pl.Float64, 3, rows),
            column("cat", ["w", "u", None, "q"], pl.Categorical, 3, rows),
            column("enum", ["green", "red", None], COLORS, 2, rows),
            column("d", [date(2024, 2, 29), date(2024, 1, 31), None, date(2030, 1, 1)], pl.Date, 3, rows),
            column("dec", [Decimal("1.25"), Decimal("3.00"), None], pl.Decimal(12, 2), 2, rows),
            column("w", [3, 1, 4, 1, 5, 9, 2, 6], pl.Int64, 3, rows),
        ]
    )


@cache
def table_c() -> pl.DataFrame:
    """A dimension table: one row per key."""
    return pl.DataFrame(
        {
            "g": ["a", "b", "c", "zz", ""],
            "label": ["first", "second", None, "unused", "blank"],
            "weight": [1.5, 2.5, None, 0.25, 3.0],
            "code": [11, 12, 13, 14, 15],
        },
        schema_overrides={"code": pl.Int16},
    )


@cache
def table_ts() -> pl.DataFrame:
    """Sorted by time, with ties."""
    start = datetime(2024, 1, 1)
    minutes = [0, 0, 7, 15, 15, 31, 60, 61, 90, 125, 126, 180, 181, 181, 240, 300, 301]
    rows = len(minutes)
    return pl.DataFrame(
        [
            pl.Series("ts", [start + timedelta(minutes=m) for m in minutes], dtype=pl.Datetime("us")),
            pl.Series("n", minutes, dtype=pl.Int64),
            column("sym", ["p", "q", "r"], pl.String, 2, rows),
            column("v", [1.0, 2.5, None, 4.0], pl.Float64, 3, rows),
        ]
    )


def constants(frame: pl.DataFrame, names: list[str]) -> list[pl.Expr]:
    """One row of some columns, which has few nulls, as literals."""
    return [pl.lit(frame.get_column(name).slice(17, 1)).first().alias(name) for name in names]


@cache
def data_set(name: str) -> dict[str, pl.DataFrame]:
    a, b, c, ts = table_a(), table_b(), table_c(), table_ts()
    keys = ["g", "k", "h", "f64", "cat", "enum", "d", "dec", "st", "lst", "b", "s"]
    if name == "empty":
        a, ts = a.clear(), ts.clear()
    elif name == "one":
        a, ts = a.slice(3, 1), ts.slice(3, 1)
    elif name == "allnull":
        a = a.head(5).with_columns(pl.lit(None, dtype=t).alias(n) for n, t in a.schema.items() if n != "id")
    elif name == "dup":
        a = a.head(9).with_columns(constants(a, keys))
    elif name == "none_right":
        b, c = b.clear(), c.clear()
    elif name != "small":
        raise ValueError(name)
    return {"a": a, "b": b, "c": c, "ts": ts}


DATA_SETS = ("small", "empty", "one", "allnull", "dup")
