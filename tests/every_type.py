"""A frame with a column of every type, with nulls, empty values and NaN."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl


def every_type() -> pl.DataFrame:
    """Give four rows of every type that Polars has, but for `Object`."""
    day = dt.datetime(2024, 5, 17, 12, 30, 1, 5)
    kinds = pl.Enum(["x", "y", "z"])
    columns = {
        **{f"i{bits}": pl.Series([-1, None, 3, 2], dtype=getattr(pl, f"Int{bits}")) for bits in (8, 16, 32, 64, 128)},
        **{f"u{bits}": pl.Series([1, None, 3, 2], dtype=getattr(pl, f"UInt{bits}")) for bits in (8, 16, 32, 64, 128)},
        **{
            f"f{bits}": pl.Series([0.5, None, float("nan"), -0.0], dtype=getattr(pl, f"Float{bits}"))
            for bits in (16, 32, 64)
        },
        "bool": pl.Series([True, None, False, True]),
        "text": pl.Series(["", None, 'q"uo,te', "line\nbreak ü"]),
        "bytes": pl.Series([b"", None, b"\x00\xff", b"x"]),
        "date": pl.Series([day.date(), None, dt.date(1900, 1, 1), day.date()]),
        "time": pl.Series([dt.time(1, 2, 3, 4), None, dt.time(), dt.time(23)]),
        **{f"at_{unit}": pl.Series([day, None, day, day], dtype=pl.Datetime(unit)) for unit in ("ms", "us", "ns")},
        "zoned": pl.Series([day, None, day, day], dtype=pl.Datetime("us")).dt.replace_time_zone("Europe/Berlin"),
        **{
            f"for_{unit}": pl.Series(
                [dt.timedelta(1), None, dt.timedelta(0), dt.timedelta(hours=-1)], dtype=pl.Duration(unit)
            )
            for unit in ("ms", "us", "ns")
        },
        "decimal": pl.Series([Decimal("1.25"), None, Decimal("-3.50"), Decimal("0.01")], dtype=pl.Decimal(20, 2)),
        "category": pl.Series(["p", None, "q", "p"], dtype=pl.Categorical),
        "enum": pl.Series(["x", None, "z", "x"], dtype=kinds),
        "list": pl.Series([[1, None], None, [], [3]], dtype=pl.List(pl.Int64)),
        "lists": pl.Series([[["a"], []], None, [None], [["b", None]]], dtype=pl.List(pl.List(pl.String))),
        "array": pl.Series([[1, 2], None, [3, None], [4, 5]], dtype=pl.Array(pl.Int32, 2)),
        "struct": pl.Series([{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}, {"a": 2, "b": []}]),
        "categories": pl.Series([["p", None], None, [], ["q"]], dtype=pl.List(pl.Categorical)),
        "structs": pl.Series(
            [[{"e": "x", "d": Decimal("1.5")}], None, [None], [{"e": None, "d": None}]],
            dtype=pl.List(pl.Struct({"e": kinds, "d": pl.Decimal(10, 1)})),
        ),
        "null": pl.Series([None] * 4, dtype=pl.Null),
    }
    return pl.DataFrame(columns)


TYPES = every_type()
