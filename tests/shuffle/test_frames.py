"""Frames: split, bytes, concat."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from dask_polars.shuffle.encoding import from_bytes, iter_bytes, iter_chunks, join_bytes, join_shards, to_bytes
from dask_polars.shuffle.frames import PARTITION_COLUMN, ShuffleError, check_sendable, concat, group, validate

#: One column of every dtype that can be sent, four rows each.
EVERY_DTYPE = pl.DataFrame(
    [
        *(
            pl.Series(str(dtype), [1, None, 3, 0], dtype=dtype)
            for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
        ),
        pl.Series("int128", [1, None, -(2**100), 2**100], dtype=pl.Int128),
        pl.Series("uint128", [1, None, 3, 2**127], dtype=pl.UInt128),
        pl.Series("float32", [1.5, None, float("nan"), -0.0], dtype=pl.Float32),
        pl.Series("float64", [1.5, None, float("nan"), float("inf")]),
        pl.Series("decimal", ["1.25", None, "-3", "0"]).cast(pl.Decimal(20, 3)),
        pl.Series("boolean", [True, None, False, True]),
        pl.Series("string", ["", None, "a string of more than twelve bytes", "é"]),
        pl.Series("binary", [b"", None, b"\x00\xff", b"bytes of more than twelve bytes"]),
        pl.Series("date", [dt.date(2020, 1, 1), None, dt.date(1, 1, 1), dt.date(9999, 1, 1)]),
        pl.Series("time", [dt.time(1, 2, 3), None, dt.time(0), dt.time(23, 59)]),
        pl.Series("datetime", [dt.datetime(2020, 1, 1), None, None, None], dtype=pl.Datetime("us")),
        pl.Series("datetime tz", [dt.datetime(2020, 7, 1), None, None, None], dtype=pl.Datetime("ns", "Europe/Paris")),
        pl.Series("duration", [dt.timedelta(1), None, dt.timedelta(-1), None], dtype=pl.Duration("ms")),
        pl.Series("null", [None] * 4, dtype=pl.Null),
        pl.Series("categorical", ["b", None, "a", "b"], dtype=pl.Categorical),
        pl.Series("named", ["b", None, "a", "b"], dtype=pl.Categorical(pl.Categories("dp-test", physical=pl.UInt8))),
        pl.Series("enum", ["b", None, "a", "b"], dtype=pl.Enum(["a", "b", "unused"])),
        pl.Series("list", [[1, None], None, [], [3]], dtype=pl.List(pl.Int8)),
        pl.Series("list of null", [[None], None, [], [None]], dtype=pl.List(pl.Null)),
        pl.Series("list of string", [["a string of more than twelve bytes"], None, [], ["a", None]]),
        pl.Series("list of categorical", [["a"], None, [], ["b", None]], dtype=pl.List(pl.Categorical)),
        pl.Series("array", [[1, 2], None, [3, None], [0, 0]], dtype=pl.Array(pl.Int16, 2)),
        pl.Series("array 2d", [[[1], [2]], None, [[3], [None]], None], dtype=pl.Array(pl.Int16, (2, 1))),
        pl.Series("struct", [{"a": 1, "b": "x"}, None, {"a": None, "b": None}, {"a": 2, "b": "y"}]),
        pl.Series("struct of enum", [{"e": "a"}] * 4, dtype=pl.Struct({"e": pl.Enum(["a"])})),
        pl.Series("empty struct", [{}] * 4, dtype=pl.Struct([])),
        pl.Series("deep", [[{"a": [["x"]]}], None, [], [None]]),
    ]
)


def with_partition(frame: pl.DataFrame, partition: list[int]) -> pl.DataFrame:
    """The frame, with its partition column."""
    return frame.with_columns(pl.Series(PARTITION_COLUMN, partition, dtype=pl.UInt32))


def naive_split(frame: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """What `split` must return."""
    outputs = sorted(frame[PARTITION_COLUMN].unique())
    return {j: frame.filter(pl.col(PARTITION_COLUMN) == j).drop(PARTITION_COLUMN) for j in outputs}


@given(st.lists(st.integers(0, 5), max_size=40))
def test_split_keeps_rows_and_their_order(partition: list[int]) -> None:
    frame = with_partition(pl.DataFrame({"row": range(len(partition))}, schema={"row": pl.Int64}), partition)
    expected = naive_split(frame)
    found = group(frame).parts()
    assert list(found) == list(expected)
    for j, part in found.items():
        assert_frame_equal(part, expected[j])


def test_split_of_a_large_frame_is_stable() -> None:
    frame = pl.select(row=pl.int_range(200_000)).with_columns(
        (pl.col("row").hash(3) % 4_000_000_000 % 300).cast(pl.UInt32).alias(PARTITION_COLUMN)
    )
    parts = group(frame).parts()
    assert len(parts) == 300
    assert all(part["row"].is_sorted() for part in parts.values())
    assert sum(part.height for part in parts.values()) == frame.height


def test_split_of_every_dtype() -> None:
    parts = group(with_partition(EVERY_DTYPE, [9, 2, 9, 4_294_967_295])).parts()
    assert list(parts) == [2, 9, 4_294_967_295]
    assert_frame_equal(parts[9], EVERY_DTYPE[[0, 2]], categorical_as_str=True)


def test_split_of_empty_and_zero_width_frames() -> None:
    assert group(with_partition(EVERY_DTYPE.clear(), [])).parts() == {}
    parts = group(with_partition(pl.DataFrame(height=3), [1, 0, 1])).parts()
    assert {j: part.shape for j, part in parts.items()} == {0: (1, 0), 1: (2, 0)}


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize("rows", [slice(None), slice(0), slice(1, 3)])
def test_every_dtype_round_trips(compression: str, rows: slice) -> None:
    frame = EVERY_DTYPE[rows]
    found = from_bytes(to_bytes(frame, compression=compression))  # type: ignore[arg-type]
    assert found.schema == frame.schema
    assert_frame_equal(found, frame)


DTYPES = st.recursive(
    st.sampled_from([pl.Int64(), pl.String(), pl.Binary(), pl.Boolean(), pl.Null(), pl.Categorical()]),
    lambda inner: st.one_of(
        st.builds(pl.List, inner),
        st.builds(pl.Array, inner, st.just(2)),
        st.lists(inner, max_size=2).map(lambda fields: pl.Struct({f"f{k}": field for k, field in enumerate(fields)})),
    ),
    max_leaves=4,
)


def values(dtype: pl.DataType) -> st.SearchStrategy:
    """Values of a dtype, nulls included."""
    if isinstance(dtype, pl.List):
        some: st.SearchStrategy = st.lists(values(dtype.inner), max_size=3)  # type: ignore[arg-type]
    elif isinstance(dtype, pl.Array):
        some = st.lists(values(dtype.inner), min_size=2, max_size=2)  # type: ignore[arg-type]
    elif isinstance(dtype, pl.Struct):
        some = st.fixed_dictionaries({field.name: values(field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    else:
        texts = st.text(st.characters(codec="utf-8"), max_size=20)
        some = {
            pl.Int64(): st.integers(-(2**63), 2**63 - 1),
            pl.String(): texts,
            pl.Binary(): st.binary(max_size=20),
            pl.Boolean(): st.booleans(),
            pl.Null(): st.none(),
            pl.Categorical(): texts,
        }[dtype]
    return st.none() | some


@st.composite
def series(draw: st.DrawFn) -> pl.Series:
    """A series of any dtype."""
    dtype = draw(DTYPES)
    return pl.Series("x", draw(st.lists(values(dtype), max_size=8)), dtype=dtype)


@settings(max_examples=60)
@given(series(), st.data())
def test_slices_of_any_nested_dtype_round_trip(column: pl.Series, data: st.DataObject) -> None:
    partition = data.draw(st.lists(st.integers(0, 3), min_size=len(column), max_size=len(column)))
    frame = with_partition(column.to_frame(), partition)
    for j, part in group(frame).parts().items():
        found = from_bytes(to_bytes(part))
        assert found.schema == part.schema
        expected = frame.filter(pl.col(PARTITION_COLUMN) == j).drop(PARTITION_COLUMN)
        assert found.to_dicts() == expected.to_dicts()


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
@pytest.mark.parametrize("columns", ["plain", "all", "none"])
@pytest.mark.parametrize("heights", [[1, 2, 1], [0, 4, 0], [4], [1] * 4])
def test_parts_of_a_frame_as_bytes(columns: str, heights: list[int], compression: Any) -> None:
    plain = EVERY_DTYPE.select(pl.exclude("string", "binary")).select(pl.col(pl.Int8, pl.Float64, pl.Boolean, pl.Date))
    frame = {"plain": plain, "all": EVERY_DTYPE, "none": pl.DataFrame(height=4)}[columns]
    data = memoryview(join_bytes(frame, heights, tag=3, compression=compression))
    starts = [sum(heights[:k]) for k in range(len(heights))]
    parts = [frame.slice(start, height) for start, height in zip(starts, heights, strict=True)]
    shards = list(iter_bytes(data))
    assert [(shard.tag, shard.height) for shard in shards] == [(3, height) for height in heights]
    for shard, chunk, part in zip(shards, iter_chunks(data), parts, strict=True):
        assert_frame_equal(shard.frame, part)
        assert_frame_equal(from_bytes(chunk), part)  # each can be read without the others
    assert_frame_equal(join_shards(shards, frame.schema), frame)


def test_no_parts_are_no_bytes() -> None:
    assert join_bytes(EVERY_DTYPE.clear(), []).size == 0
    assert join_bytes(pl.DataFrame({"a": [1]}).clear(), []).size == 0


def test_shards_of_both_layouts_of_text() -> None:
    short, long = (pl.DataFrame({"a": [text, None], "b": [1, 2]}) for text in ("short", "longer than twelve bytes"))
    data = b"".join(to_bytes(frame, tag=i) for i, frame in enumerate([short, long, long, short]))
    frame = join_shards(list(iter_bytes(data)), short.schema)
    assert_frame_equal(frame, pl.concat([short, long, long, short]))
    assert frame.n_chunks() == 1


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
@pytest.mark.parametrize("nparts", [1, 10, 3_000])
def test_what_cannot_be_compressed_has_room(nparts: int, compression: Any) -> None:
    numbers = np.random.default_rng(0).integers(0, 2**64, 300_000, dtype=np.uint64, endpoint=False)
    frame = pl.DataFrame({"a": numbers}).with_columns(b=pl.when(pl.col("a") % 3 > 0).then(pl.col("a") % 2 == 0))
    data = memoryview(join_bytes(frame, [frame.height // nparts] * nparts, compression=compression))
    shards = list(iter_bytes(data))
    assert len(shards) == nparts
    assert_frame_equal(join_shards(shards, frame.schema), frame)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 2000), st.data())
def test_room_is_enough(numbers: list[int], width: int, data: st.DataObject) -> None:
    # Bits, offsets and padding of small parts take more than the rows.
    columns = data.draw(st.lists(st.sampled_from(["i", "b", "s", "l", "n"]), min_size=1, max_size=6))
    values = {"i": 1, "b": True, "s": "short", "l": "x" * width, "n": None}
    frame = pl.DataFrame(
        {
            f"{k}{kind}": pl.Series(
                [None if n == 0 else values[kind] for n in numbers],
                dtype=pl.Boolean if kind in "bn" else pl.Int64 if kind == "i" else pl.String,
            )
            for k, kind in enumerate(columns)
        }
    )
    heights = [1] * frame.height
    for compression in ("uncompressed", "lz4", "zstd"):
        shards = iter_bytes(memoryview(join_bytes(frame, heights, compression=compression)))
        assert_frame_equal(join_shards(list(shards), frame.schema), frame)


def test_rows_of_some_outputs() -> None:
    grouped = group(with_partition(pl.DataFrame({"a": range(6)}), [3, 1, 3, 0, 5, 1]))
    assert (grouped.rows["a"].to_list(), dict(grouped.heights)) == ([3, 1, 5, 0, 2, 4], {0: 1, 1: 2, 3: 2, 5: 1})
    for outputs, expected in (([0, 1, 2], [3, 1, 5]), ([0, 3], [3, 0, 2]), ([2, 4], []), ([3, 5, 9], [0, 2, 4])):
        assert grouped.of(outputs)["a"].to_list() == expected


def test_zero_width_frames_keep_their_height() -> None:
    assert from_bytes(to_bytes(pl.DataFrame(height=4))).shape == (4, 0)
    assert concat([pl.DataFrame(height=4), pl.DataFrame(height=3)], {}).shape == (7, 0)
    assert concat([], {}).shape == (0, 0)


def test_concatenated_bytes_are_all_read() -> None:
    data = to_bytes(EVERY_DTYPE, tag=7) + to_bytes(pl.DataFrame(height=2), tag=1) + to_bytes(EVERY_DTYPE[:1], tag=2**40)
    found = list(iter_bytes(memoryview(data)))
    assert [(shard.tag, shard.frame.height) for shard in found] == [(7, 4), (1, 2), (2**40, 1)]


def test_damaged_bytes_are_an_error() -> None:
    data = to_bytes(pl.DataFrame({"a": [1, 2]}))
    for damaged in (data[:-1], data[:10], data + b"x", b"", data + data):
        with pytest.raises(ShuffleError):
            from_bytes(damaged)
    with pytest.raises(ShuffleError, match="3 rows was read back with 2"):
        from_bytes(data[:8] + (3).to_bytes(8, "little") + data[16:])


@pytest.mark.parametrize("dtype", [pl.String(), pl.List(pl.String()), pl.Struct({"a": pl.String()})])
def test_a_slice_does_not_carry_the_buffers_of_its_frame(dtype: pl.DataType) -> None:
    text = pl.format("a string of more than twelve bytes {}", pl.int_range(20_000))
    wrapped = {pl.String: text, pl.List: pl.concat_list(text), pl.Struct: pl.struct(a=text)}[type(dtype)]
    frame = pl.select(x=wrapped)
    assert frame.schema == {"x": dtype}
    whole = len(to_bytes(frame, compression="uncompressed"))
    parts = sum(len(to_bytes(frame[k : k + 200], compression="uncompressed")) for k in range(0, 20_000, 200))
    assert parts < 1.3 * whole


@pytest.mark.parametrize("dtype", [pl.String(), pl.Binary()])
def test_short_text_beside_long_text(dtype: pl.DataType) -> None:
    texts = {"short": ["", "twelve bytes", None], "long": ["", "more than twelve bytes", None], "": ["a", "b", "c"]}
    frame = pl.DataFrame({name: values * 50 for name, values in texts.items()}).with_columns(pl.all().cast(dtype))
    for part in (frame, frame[1:2], frame[3:100], frame[2:3]):
        for compression in ("uncompressed", "lz4"):
            assert_frame_equal(from_bytes(to_bytes(part, compression=compression)), part)


def test_what_cannot_be_sent_is_a_type_error() -> None:
    for frame in (
        pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}),
        pl.DataFrame({"a": pl.Series([[]], dtype=pl.Array(pl.Int8, 0))}),
    ):
        with pytest.raises(TypeError, match=r"column 'a' of dtype .* cannot be sent"):
            to_bytes(frame)
        with pytest.raises(TypeError):
            check_sendable({"a": pl.List(frame.schema["a"])})


def test_concat() -> None:
    schema = EVERY_DTYPE.schema
    assert_frame_equal(concat([], schema), EVERY_DTYPE.clear())
    assert_frame_equal(concat([EVERY_DTYPE], schema), EVERY_DTYPE)
    both = concat([EVERY_DTYPE, EVERY_DTYPE[:1]], schema)
    assert_frame_equal(both, pl.concat([EVERY_DTYPE, EVERY_DTYPE[:1]]))
    assert both.n_chunks() == 1


def test_validate() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    good = with_partition(frame, [0, 2])
    validate(good, {"a": pl.Int64()}, 3, "here")
    with pytest.raises(ShuffleError, match="here: a row goes to output partition 2 of only 2"):
        validate(good, {"a": pl.Int64()}, 2, "here")
    with pytest.raises(ShuffleError, match="here: the frame has the columns"):
        validate(good, {"a": pl.Int32()}, 3, "here")
    with pytest.raises(ShuffleError, match="needs a column"):
        validate(frame, {"a": pl.Int64()}, 3, "here")
    with pytest.raises(ShuffleError, match="1 rows have no output partition"):
        validate(with_partition(frame, [0, None]), {"a": pl.Int64()}, 3, "here")  # type: ignore[list-item]
