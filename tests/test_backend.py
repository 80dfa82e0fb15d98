"""What Dask knows of Polars frames: sizes, serialization, tokens."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import pickle
import subprocess
import sys
from typing import Any

import dask
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from dask.sizeof import sizeof
from dask.tokenize import tokenize
from distributed.protocol import deserialize, deserialize_bytes, serialize, serialize_bytes
from polars.testing import assert_frame_equal, assert_series_equal

from dask_polars import backend, serialization

backend.register()

LONG = "a text that is too long to be inlined in a view"
DAY, MOMENT = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3)
STRUCT_ENUM = pl.Struct({"a": pl.List(pl.Enum(["a", "b"])), "b": pl.Int8})


def _columns() -> dict[str, pl.Series]:
    values: dict[str, tuple[list[Any], Any]] = {
        **{str(t): ([1, None, 3], t) for t in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Float16)},
        **{str(t): ([1, None, 3], t) for t in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)},
        "f32": ([1.5, None, float("nan")], pl.Float32),
        "f64": ([-0.0, None, float("inf")], pl.Float64),
        "i128": ([1, None, 2**100], pl.Int128),
        "u128": ([1, None, 2**100], pl.UInt128),
        "bool": ([True, None, False], pl.Boolean),
        "str": (["a", None, LONG], pl.String),
        "bin": ([b"a", None, LONG.encode()], pl.Binary),
        "date": ([DAY, None, None], pl.Date),
        "time": ([dt.time(1, 2), None, dt.time(3)], pl.Time),
        "datetime": ([MOMENT, None, MOMENT], pl.Datetime("us")),
        "tz": ([MOMENT, None, MOMENT], pl.Datetime("ms", "Europe/Berlin")),
        "duration": ([dt.timedelta(1), None, dt.timedelta(0, 1)], pl.Duration("ns")),
        "decimal": ([decimal.Decimal("1.23"), None, decimal.Decimal(-7)], pl.Decimal(38, 5)),
        "cat": (["a", None, LONG], pl.Categorical),
        "cat_named": (["x", None, "y"], pl.Categorical(pl.Categories("backend", namespace="t", physical=pl.UInt8))),
        "enum": (["a", None, "b"], pl.Enum(["b", "a"])),
        "enum_empty": ([None, None, None], pl.Enum([])),
        "null": ([None, None, None], pl.Null),
        "list": ([[1, 2], None, []], pl.List(pl.Int8)),
        "list_str": ([[LONG, "a"], None, [None]], pl.List(pl.String)),
        "list_null": ([[None], None, []], pl.List(pl.Null)),
        "list_cat": ([["a"], None, ["b", None]], pl.List(pl.Categorical)),
        "list_i128": ([[1], None, []], pl.List(pl.Int128)),
        "list_struct": ([[{"a": [LONG]}], None, []], pl.List(pl.Struct({"a": pl.List(pl.String)}))),
        "array": ([[1, 2], None, [3, None]], pl.Array(pl.Int8, 2)),
        "array_2d": ([[[1, 2], [3, 4]], None, [[5, 6], None]], pl.Array(pl.Int8, (2, 2))),
        "array_empty": ([[], None, []], pl.Array(pl.Int8, 0)),
        "array_enum": ([["a", "b"], None, ["b", "a"]], pl.Array(pl.Enum(["a", "b"]), 2)),
        "struct": ([{"a": ["b"], "b": 1}, None, {"a": None, "b": None}], STRUCT_ENUM),
        "struct_empty": ([{}, None, {}], pl.Struct([])),
        "object": ([dt.UTC, None, int], pl.Object),
    }
    return {name: pl.Series("x", given, dtype=dtype) for name, (given, dtype) in values.items()}


COLUMNS = _columns()
# Offsets within a byte, at its border, and none; empty, one row, many.
SLICES = [(0, None), (1, 1), (3, 77), (8, 50), (0, 0)]


@pytest.fixture(params=["buffers", "default"])
def pooled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small frames are serialized by Polars: have them go as buffers, too."""
    if request.param == "buffers":
        monkeypatch.setattr(serialization, "POOLED_BELOW", 0)
    return request.param


def through_bytes(obj: Any) -> Any:
    return deserialize_bytes(serialize_bytes(obj))


def assert_same(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert left.schema == right.schema
    objects = [name for name, dtype in left.schema.items() if dtype == pl.Object]
    for name in objects:
        assert left[name].to_list() == right[name].to_list()
    assert_frame_equal(left.drop(objects), right.drop(objects))


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("sliced", SLICES, ids=str)
def test_every_dtype_comes_back(name: str, sliced: tuple[int, int | None], pooled: str) -> None:
    s = COLUMNS[name]
    if s.dtype != pl.Object:
        s = pl.concat([s] * 50, rechunk=True)
    df = s.to_frame().slice(*sliced)
    header, frames = serialize(df)
    assert header["serializer"] == "dask"
    again = deserialize(header, [bytes(frame) for frame in frames])
    assert_same(df, again)
    assert_same(df, through_bytes(df))
    assert tokenize(df, ensure_deterministic=True) == tokenize(again, ensure_deterministic=True)
    assert sizeof(df) >= 1000


def test_all_dtypes_in_one_frame(pooled: str) -> None:
    df = pl.DataFrame([s.alias(name) for name, s in COLUMNS.items()])
    assert_same(df, through_bytes(df))


@pytest.mark.parametrize("df", [pl.DataFrame(), pl.DataFrame(height=7), pl.DataFrame({"": [1]})], ids=repr)
def test_frames_of_no_columns_keep_their_height(df: pl.DataFrame, pooled: str) -> None:
    again = through_bytes(df)
    assert again.shape == df.shape
    assert again.columns == df.columns


def test_series_and_lazyframe(pooled: str) -> None:
    s = pl.Series("name", ["b", None, LONG])
    assert_series_equal(s, through_bytes(s))
    lf = pl.LazyFrame({"a": [1, 2, 3]}).filter(pl.col("a") > 1)
    assert_frame_equal(lf.collect(), through_bytes(lf).collect())


def test_sorted_flags_are_kept(pooled: str) -> None:
    df = pl.DataFrame({"up": [1, 2], "down": [2, 1], "none": [1, 2]})
    df = df.with_columns(pl.col("up").set_sorted(), pl.col("down").set_sorted(descending=True))
    assert through_bytes(df).flags == df.flags


def test_subclasses_are_left_to_pickle() -> None:
    class Mine(pl.DataFrame):
        pass

    header, _ = serialize(Mine({"a": [1]}))
    assert header["serializer"] == "pickle"


def test_frames_in_collections() -> None:
    df = pl.DataFrame({"a": np.arange(100_000)})
    both = through_bytes({"x": df, "y": df.head(1)})
    assert_frame_equal(both["x"], df)
    assert_frame_equal(both["y"], df.head(1))


def address_range(s: pl.Series) -> tuple[int, int]:
    buffer = s.to_arrow(compat_level=pl.CompatLevel.newest()).buffers()[1]
    return buffer.address, buffer.address + buffer.size


def address(view: Any) -> int:
    return pa.py_buffer(view).address


def test_large_buffers_are_not_copied() -> None:
    df = pl.DataFrame({"a": np.arange(200_000), "s": [f"{LONG}{i}" for i in range(200_000)]})
    header, frames = serialize(df)
    held = {b.address for b in df["s"].to_arrow(compat_level=pl.CompatLevel.newest()).buffers() if b}
    assert address_range(df["a"])[0] in {address(frame) for frame in frames}
    # What is no view of the frame's own memory is small: the pool.
    copied = [f for f in frames if address(f) not in held | {address_range(df["a"])[0]}]
    assert sum(len(f) for f in copied) < 400_000
    assert_frame_equal(deserialize(header, frames), df)
    assert address_range(deserialize(header, frames)["a"]) == address_range(df["a"])


def test_a_slice_sends_its_rows_only() -> None:
    df = pl.DataFrame(
        {
            "a": np.arange(100_000),
            "s": [f"{LONG}{i}" for i in range(100_000)],
            "l": pl.Series([[LONG + str(i)] for i in range(100_000)]),
        }
    )
    part = df.slice(50_001, 8_000)
    header, frames = serialize(part)
    assert "meta" in header["sub-header"]
    assert sum(len(f) for f in frames) < 4 * part.estimated_size()
    assert_frame_equal(deserialize(header, frames), part)
    start, end = address_range(df["a"])
    assert any(start <= address(f) < end for f in frames)


def test_chunks_that_share_text_are_sent_once() -> None:
    df = pl.DataFrame({"s": [f"{LONG}{i}" for i in range(200_000)]})
    parts = pl.concat([df[i : i + 50_000] for i in range(0, 200_000, 50_000)], rechunk=False)
    header, frames = serialize(parts)
    assert sum(len(f) for f in frames) < 1.2 * sizeof(df)
    again = deserialize(header, frames)
    assert again.n_chunks() == 4
    assert_frame_equal(again, df)


def test_text_that_is_repeated_is_sent_once() -> None:
    right = pl.DataFrame({"k": [0], "s": ["x" * 1000]})
    df = pl.DataFrame({"k": [0] * 100_000}).join(right, on="k")
    assert sum(len(f) for f in serialize(df)[1]) < 3_000_000
    assert sizeof(df) < 3_000_000
    exploded = pl.DataFrame({"s": ["x" * 1000]}).select(pl.col("s").repeat_by(10_000).explode())
    assert sizeof(exploded) <= exploded.estimated_size() + 16 * 10_000 + 1000


def test_text_is_not_multiplied_to_save_some(pooled: str) -> None:
    """Few of many long texts are used, many times each: to write them out takes more than to send what is not used."""
    right = pl.DataFrame({"k": range(100), "s": [f"{i:01000}" for i in range(100)]})
    df = pl.DataFrame({"k": [7] * 50_000}).join(right, on="k")
    assert sum(len(f) for f in serialize(df)[1]) < 2_000_000
    assert_frame_equal(df, through_bytes(df))


def test_small_chunks_are_joined() -> None:
    df = pl.concat([pl.DataFrame({"a": np.arange(10_000)}) for _ in range(20)], rechunk=False)
    again = through_bytes(df)
    assert again.n_chunks() == 1
    assert_frame_equal(again, df)


@pytest.mark.parametrize("shift", [0, 1, 8])
def test_readonly_and_unaligned_memory_is_safe(shift: int) -> None:
    df = pl.DataFrame({"a": np.arange(50_000), "b": np.arange(50_000) % 3 == 0})
    header, frames = serialize(df)
    moved = [memoryview(bytes(shift) + bytes(frame))[shift:] for frame in frames]
    before = [bytes(m) for m in moved]
    again = deserialize(header, moved)
    # Everything that Polars does in place.
    s = again["a"]
    s[0] = 17
    again = again.with_columns(pl.col("a").sort(descending=True), pl.col("b").fill_null(True))
    again.extend(df).insert_column(0, pl.Series("z", range(100_000)))
    assert s[0] == 17
    assert [bytes(m) for m in moved] == before


def test_the_wire_is_used_only_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    df = pl.DataFrame({"a": [1]})
    monkeypatch.setattr(serialization.Wire, "enabled", False)
    assert serialize(df)[0]["serializer"] == "dask"
    remote = {"recipient": {}}
    header, frames = serialize(df, context=remote)
    assert header["serializer"] == "pickle"
    assert_frame_equal(pickle.loads(frames[0]), df)
    backend.enable_wire()
    assert serialize(df, context=remote)[0]["serializer"] == "dask"


def test_sizes() -> None:
    numbers = pl.DataFrame({"a": np.arange(1_000_000)})
    assert sizeof(numbers) == pytest.approx(8_000_000, rel=0.01)
    # A slice counts by what it shows.
    assert sizeof(numbers.head(1000)) == pytest.approx(9_000, rel=0.01)
    short = pl.Series(["a"] * 100_000)
    assert sizeof(short) == pytest.approx(1_600_000, rel=0.01)
    assert sizeof(pl.LazyFrame({"a": [1]})) > 1000
    texts = pl.Series([[f"{LONG}{i}"] for i in range(10_000)])
    assert 500_000 < sizeof(texts) < 2_000_000
    assert sizeof(pl.Series([bytes(10_000)] * 3, dtype=pl.Object)) > 10_000


TOKENS = """
import sys
import polars as pl
from dask.tokenize import tokenize
from dask_polars import backend

backend.register()
if sys.argv[1] == "other":
    pl.Series(["zzz", "b"], dtype=pl.Categorical)  # gives the categories below other codes
df = pl.DataFrame({"a": [1, None, 3], "s": ["x", None, "y"], "l": [[1], None, []]})
df = df.with_columns(c=pl.Series(["a", "b", None], dtype=pl.Categorical), i=pl.col("a").cast(pl.Int128))
lf = df.lazy().filter(pl.col("a") > 1).group_by("s").agg(pl.col("a").sum())
things = [df, df["s"], lf, pl.col("a").sum().over("b"), df.schema, pl.Enum(["a"]), pl.Int8, pl.List(pl.Int8)]
print([tokenize(thing, ensure_deterministic=True) for thing in things])
"""


def test_tokens_are_the_same_in_two_processes() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", TOKENS, arg], capture_output=True, text=True, check=True)
        for arg in ("one", "other")
    ]
    first, second = (eval(run.stdout) for run in runs)
    assert first == second
    assert len(set(first)) == len(first)


def test_tokens_depend_on_content_only() -> None:
    df = pl.DataFrame({"a": range(100), "s": [f"{LONG}{i}" for i in range(100)]})
    chunked = pl.concat([df[:30], df[30:]], rechunk=False)
    longer = pl.concat([df.head(1), df])[1:]
    assert tokenize(df) == tokenize(chunked) == tokenize(longer)
    hidden = pl.DataFrame({"a": [1, 2]}).select(pl.when(pl.col("a") > 1).then("a"))
    assert tokenize(hidden) == tokenize(pl.DataFrame({"a": [None, 2]}))
    assert tokenize(pl.Int8) == tokenize(pl.Int8())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pl.Series([1, 2]), pl.Series([2, 1])),
        (pl.Series([1, None]), pl.Series([None, 1])),
        (pl.Series([0.0]), pl.Series([-0.0])),
        (pl.Series(["ab", "c"]), pl.Series(["a", "bc"])),
        (pl.Series([1], dtype=pl.Int8), pl.Series([1], dtype=pl.Int16)),
        (pl.Series("a", [1]), pl.Series("b", [1])),
        (pl.Series([[1], [2]]), pl.Series([[1, 2], []])),
        (pl.Series([[], None], dtype=pl.List(pl.Int8)), pl.Series([None, []], dtype=pl.List(pl.Int8))),
        (pl.Series([None] * 2), pl.Series([None] * 3)),
        (pl.Series([{"a": None}]), pl.Series([None], dtype=pl.Struct({"a": pl.Null}))),
        (pl.Enum(["a"]), pl.Enum(["b"])),
        (pl.Datetime("us"), pl.Datetime("ms")),
        (pl.col("a"), pl.col("b")),
        (pl.Schema({"a": pl.Int8, "b": pl.Int8}), pl.Schema({"b": pl.Int8, "a": pl.Int8})),
    ],
)
def test_tokens_differ(left: Any, right: Any) -> None:
    assert tokenize(left) != tokenize(right)


def test_a_plan_that_cannot_be_serialized_has_a_token() -> None:
    lf = pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}).lazy()
    assert tokenize(lf)


@pytest.mark.cluster
def test_spilling() -> None:
    """A worker holds more frames than its memory allows, and has them all."""
    from distributed import Client, LocalCluster

    from dask_polars.workers import install_preloads

    def make(i: int) -> pl.DataFrame:
        rng = np.random.default_rng(i)
        return pl.DataFrame({"i": rng.integers(0, 9, 1_000_000), "f": rng.random(1_000_000)}).with_columns(
            s=pl.col("i").cast(pl.String)
        )

    def held(dask_worker: Any) -> tuple[int, int, int]:
        data = dask_worker.data
        return len(data.memory), len(data.disk), int(data.fast.total_weight)

    # The limit is on what the worker knows it holds; that of the process would depend on the allocator.
    limits = {"target": 0.3, "spill": False, "pause": False, "terminate": False}
    settings = {f"distributed.worker.memory.{name}": value for name, value in limits.items()}
    with dask.config.set(settings):
        install_preloads()
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="400MB", dashboard_address=None) as local,
            Client(local, set_as_default=False) as client,
        ):
            futures = client.map(make, range(10), pure=False)
            client.gather(client.map(len, futures))
            _, on_disk, managed = next(iter(client.run(held).values()))
            size = sizeof(make(0))
            assert on_disk >= 5
            assert managed <= 0.3 * 400e6
            # Results of `len` are there, too.
            assert managed == pytest.approx(size * (10 - on_disk), rel=0.05)
            for i, future in enumerate(futures):
                assert_frame_equal(future.result(), make(i))


BESIDE_FUNCTIONS = """
import os, threading, time

import polars as pl

from dask_polars import serialization

rows = pl.DataFrame({"a": range(2000), "i": pl.Series(range(2000), dtype=pl.Int128)})
parts = pl.concat([part for part in rows.iter_slices(100)], rechunk=False)
assert parts.n_chunks() > 1
query = rows.lazy().with_columns(pl.col("a").map_elements(lambda a: a + 1, return_dtype=pl.Int64).alias(n) for n in "xyz")


def forever():
    while True:
        query.collect(engine="in-memory")


for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
for _ in range(100):
    assert serialization.deserialize_dataframe(*serialization.serialize_dataframe(parts)).equals(rows)
    assert serialization.deserialize_series(*serialization.serialize_series(parts["a"])).len() == 2000
print("done", flush=True)
os._exit(0)
"""


def test_chunks_are_serialized_beside_python_functions() -> None:
    """Polars by itself would wait here for its threads, while these wait for the interpreter."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BESIDE_FUNCTIONS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "done", done.stderr
