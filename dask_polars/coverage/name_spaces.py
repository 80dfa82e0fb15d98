"""An example of every public method of the name spaces of ``pl.Expr``, as ``pl.Expr.str``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time

import polars as pl

from dask_polars.coverage.expressions import given, plain

__all__ = ["NAME_SPACES"]

k, v, s, d, t = (pl.col(name) for name in ("k", "v", "s", "d", "t"))
lists, records, pairs = pl.col("l"), pl.col("st"), pl.col("b").repeat_by(2)
arrays = lists.list.to_array(2)
maps = pl.struct(key=s, value=v).repeat_by(1).list.to_map()
categories, binary = s.cast(pl.Categorical), s.cast(pl.Binary)
extended = k.ext.to(pl.Extension("example.number", pl.Int64))
element = pl.element()

_ARRAYS = """
arg_max arg_min explode first head last len max mean median min n_unique reverse shift sort std sum tail to_list
to_struct unique var
"""
_LISTS = """
arg_max arg_min diff drop_nulls explode first head last len max mean median min n_unique reverse shift sort std sum tail
unique var
"""
_DATES = """
century date day days_in_month epoch hour is_business_day is_leap_year iso_year microsecond millennium millisecond minute
month month_end month_start nanosecond ordinal_day quarter second time timestamp to_string week weekday year
"""
_DURATIONS = """
total_days total_hours total_microseconds total_milliseconds total_minutes total_nanoseconds total_seconds
"""
_STRINGS = """
escape_regex len_bytes len_chars normalize reverse strip_chars strip_chars_end strip_chars_start to_integer to_lowercase
to_titlecase to_uppercase
"""

_ARRAY = {
    **plain(arrays.arr, _ARRAYS),
    **plain(pairs.list.to_array(2).arr, "all any"),
    **given(arrays.arr, "contains count_matches", 1),
    "agg": arrays.arr.agg(element.sum()),
    "dot": arrays.arr.dot(arrays),
    "eval": arrays.arr.eval(element + 1),
    "get": arrays.arr.get(0),
    "join": arrays.cast(pl.Array(pl.String, 2)).arr.join("-"),
    "slice": arrays.arr.slice(0, 1),
}
_LIST = {
    **plain(lists.list, _LISTS),
    **plain(pairs.list, "all any"),
    **given(lists.list, "concat set_difference set_intersection set_symmetric_difference set_union", lists),
    **given(lists.list, "contains count_matches", 1),
    "agg": lists.list.agg(element.sum()),
    "eval": lists.list.eval(element.rank()),
    "filter": lists.list.filter(element > 1),
    "gather": lists.list.gather([0]),
    "gather_every": lists.list.gather_every(2),
    "get": lists.list.get(0),
    "item": lists.list.head(1).list.item(),
    "join": lists.cast(pl.List(pl.String)).list.join("-"),
    "sample": lists.list.sample(1, seed=1),
    "slice": lists.list.slice(0, 1),
    "to_array": lists.list.to_array(2),
    "to_map": maps,
    "to_struct": lists.list.to_struct(["x", "y"]),
}
_BINARY = {
    **given(binary.bin, "contains ends_with starts_with", b"1"),
    "decode": binary.bin.encode("hex").bin.decode("hex"),
    "encode": binary.bin.encode("hex"),
    "get": binary.bin.get(0),
    **given(binary.bin, "head tail", 1),
    "reinterpret": binary.bin.reinterpret(dtype=pl.UInt8),
    "size": binary.bin.size(),
    "slice": binary.bin.slice(0, 1),
}
_CATEGORY = {
    **plain(categories.cat, "len_bytes len_chars physical"),
    **given(categories.cat, "ends_with starts_with", "1"),
    "slice": categories.cat.slice(0, 1),
    "to": categories.cat.physical().cat.to(pl.Categorical),
}
_TIME = {
    **plain(t.dt, _DATES),
    **plain(pl.duration(hours=v).dt, _DURATIONS),
    **plain(t.dt.replace_time_zone("Europe/Paris").dt, "base_utc_offset dst_offset"),
    **given(t.dt, "round truncate", "1h"),
    "add_business_days": d.dt.add_business_days(1, roll="forward"),
    "cast_time_unit": t.dt.cast_time_unit("ms"),
    "combine": t.dt.combine(time(1)),
    "convert_time_zone": t.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Paris"),
    "offset_by": t.dt.offset_by("1mo"),
    "replace": t.dt.replace(year=2000),
    "replace_time_zone": t.dt.replace_time_zone("UTC"),
    "strftime": t.dt.strftime("%Y"),
}
_STRING = {
    **plain(s.str, _STRINGS),
    **given(
        s.str, "contains count_matches ends_with extract_all find starts_with strip_prefix strip_suffix split", "1"
    ),
    **given(s.str, "contains_any extract_many find_many", ["1"]),
    **given(s.str, "pad_end pad_start zfill", 5),
    **given(s.str, "head tail", 1),
    **given(s.str, "replace replace_all", "1", "2"),
    "decode": s.str.encode("hex").str.decode("hex"),
    "encode": s.str.encode("hex"),
    "extract": s.str.extract("(1)"),
    "extract_groups": s.str.extract_groups("(1)"),
    "join": s.str.join("-"),
    "json_decode": s.str.json_decode(pl.Int64),
    "json_path_match": s.str.json_path_match("$.a"),
    "replace_many": s.str.replace_many(["1"], ["2"]),
    "slice": s.str.slice(0, 1),
    "split_exact": s.str.split_exact("1", 1),
    "splitn": s.str.splitn("1", 2),
    "strptime": s.str.strptime(pl.Date, "%Y", strict=False),
    "to_date": s.str.to_date("%Y-%m-%d", strict=False),
    "to_datetime": s.str.to_datetime("%Y-%m-%d %H:%M", strict=False),
    "to_decimal": s.str.to_decimal(scale=1),
    "to_time": s.str.to_time("%H:%M", strict=False),
}
_STRUCT = {
    "drop": records.struct.drop(["x"]),
    "eval": records.struct.eval(z=pl.field("x") + 1),
    "field": records.struct.field("x"),
    "json_encode": records.struct.json_encode(),
    "rename_fields": records.struct.rename_fields(["p", "q"]),
    "unnest": records.struct.unnest(),
    "with_fields": records.struct.with_fields(z=pl.field("x") + 1),
}
_MAP = {
    **plain(maps.map, "entries keys len values"),
    **given(maps.map, "contains_key get", "1"),
}
_NAME = {
    **plain(v.name, "keep to_lowercase to_uppercase"),
    **given(v.name, "prefix strip_prefix strip_suffix suffix", "x"),
    **given(records.name, "prefix_fields suffix_fields", "x"),
    "map": v.name.map(str.upper),
    "map_fields": records.name.map_fields(str.upper),
    "replace": v.name.replace("v", "w"),
}
_EXTENSION = {"to": extended, "storage": extended.ext.storage()}

_BY_SPACE: Mapping[str, Mapping[str, pl.Expr]] = {
    "arr": _ARRAY,
    "bin": _BINARY,
    "cat": _CATEGORY,
    "dt": _TIME,
    "ext": _EXTENSION,
    "list": _LIST,
    "map": _MAP,
    "name": _NAME,
    "str": _STRING,
    "struct": _STRUCT,
}
NAME_SPACES: Mapping[str, pl.Expr] = {
    f"{space}.{name}": example for space, found in _BY_SPACE.items() for name, example in found.items()
}
