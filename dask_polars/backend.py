"""
What Dask must know about Polars objects: how big they are, how they travel, and what they are called.

A frame travels as its Arrow buffers. Buffers are taken one by one, and not as an Arrow IPC stream: Dask receives every large
buffer into an allocation of its own, and a stream would first have to be joined, which costs as much as the data is large.
Only buffers that are cut by a slice at a place that is not a byte, and list offsets, are ever copied.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import polars as pl
import pyarrow as pa
from dask.sizeof import sizeof
from dask.tokenize import normalize_token
from distributed.protocol.serialize import dask_deserialize, dask_serialize

Buffers = list[pa.Buffer | None]
# (length, numbers of buffers, children, dictionary): all that is to be known of an array but its type
Layout = tuple[int, list[int | None], list[Any], Any]

# Smaller buffers share one frame: a frame costs Dask some microseconds, wherever it goes.
POOLED_BELOW = 32 * 2**10
# Polars copies a buffer that is not aligned.
ALIGNMENT = 64
# Chunks that are smaller than this on average are joined before they travel.
SMALL_CHUNK = 2**20
# Nothing is known of the frames within a LazyFrame without serializing them, which takes a second per 100 MB.
LAZYFRAME_SIZE = 16 * 2**10
VIEW_SIZE = 16
INT32_MAX = 2**31 - 1

# What Arrow carries with no loss. Int128, UInt128, Map and extension types go as Polars serializes them.
_ARROW_DTYPES = frozenset(
    {
        pl.Int8,
        pl.Int16,
        pl.Int32,
        pl.Int64,
        pl.UInt8,
        pl.UInt16,
        pl.UInt32,
        pl.UInt64,
        pl.Float16,
        pl.Float32,
        pl.Float64,
        pl.Boolean,
        pl.String,
        pl.Binary,
        pl.Date,
        pl.Datetime,
        pl.Duration,
        pl.Time,
        pl.Decimal,
        pl.Categorical,
        pl.Enum,
        pl.Null,
    }
)


# --------------------------------------------------------------------------------------------------------------------
# registration


class _State:
    registered = False
    wire = False


def register() -> None:
    """
    Tell Dask about Polars objects: their size, their serialization, and their tokens.

    It can be called any number of times. Frames leave the process in our format only after :func:`enable_wire`.
    """
    from dask_polars import tokens

    if _State.registered:
        return
    sizes: dict[type, Callable] = {
        pl.DataFrame: sizeof_dataframe,
        pl.Series: sizeof_series,
        pl.LazyFrame: sizeof_lazyframe,
    }
    for kind, size in sizes.items():
        sizeof.register(kind, size)
    for kind, dump, load in (
        (pl.DataFrame, serialize_dataframe, deserialize_dataframe),
        (pl.Series, serialize_series, deserialize_series),
        (pl.LazyFrame, serialize_lazyframe, deserialize_lazyframe),
    ):
        dask_serialize.register(kind, dump)
        dask_deserialize.register(kind, load)
    tokenizers: dict[type, Callable] = {
        pl.DataFrame: tokens.token_dataframe,
        pl.Series: tokens.token_series,
        pl.LazyFrame: tokens.token_lazyframe,
        pl.Expr: tokens.token_expr,
        pl.Schema: tokens.token_schema,
        pl.DataType: tokens.token_dtype,
        type(pl.Int64): tokens.token_dtype,
    }
    for kind, token in tokenizers.items():
        normalize_token.register(kind, token)
    _State.registered = True


def enable_wire() -> None:
    """
    Send frames to other processes as buffers, and no longer as pickles, from now on.

    A process that does not know our format cannot read it. So this is called where the other side is known to be able to:
    on workers when they are set up, and on a client once all workers are. Spilling to disk does not need it.
    """
    register()
    _State.wire = True


def _check_recipient(obj: Any, kind: type, context: dict | None) -> None:
    """Leave an object to pickle, which always works, where the format may be unknown to the other side."""
    # Only what goes over a comm has a recipient; what is spilled is read by the process that wrote it.
    remote = context is not None and "recipient" in context
    if type(obj) is not kind or (remote and not _State.wire):
        raise NotImplementedError


# --------------------------------------------------------------------------------------------------------------------
# size


def sizeof_dataframe(df: pl.DataFrame) -> int:
    """
    Bytes of memory that the rows of a frame take.

    Notes
    -----
    What a slice shows is counted, not the buffers that it shares with the frame it was cut from. So the slices of a frame
    add up to the frame; but one small slice keeps the whole frame alive and does not say so.
    """
    return 1000 + sum(_series_bytes(s) for s in df.get_columns())


def sizeof_series(s: pl.Series) -> int:
    """Bytes of memory that the values of a series take, as for :func:`sizeof_dataframe`."""
    return 500 + _series_bytes(s)


def sizeof_lazyframe(lf: pl.LazyFrame) -> int:
    """A constant: frames in memory within the plan are not counted, as they cannot be reached without a copy."""
    return LAZYFRAME_SIZE


def _series_bytes(s: pl.Series) -> int:
    visible = int(s.estimated_size())
    dtype = s.dtype
    if dtype == pl.Object:
        return visible + sizeof(s.to_list())
    if not _contains(dtype, (pl.String, pl.Binary)):
        return visible
    # Polars counts the text of every string, also where many share one text (after a join), and no views at all.
    held = _held_bytes(s)
    if dtype.is_nested():
        return min(held, VIEW_SIZE * (visible + len(s)))
    return min(held, visible + VIEW_SIZE * len(s))


def _held_bytes(s: pl.Series) -> int:
    chunks = _arrow_table(s.to_frame()).column(0).chunks if is_arrow(s.dtype) else []
    # Chunks of one column share buffers of text, so each buffer is counted once.
    buffers = {b.address: b.size for chunk in chunks for b in chunk.buffers() if b is not None}
    return sum(buffers.values()) if chunks else int(s.estimated_size()) + VIEW_SIZE * len(s)


def _contains(dtype: pl.DataType, wanted: Sequence[type[pl.DataType]]) -> bool:
    return any(leaf.base_type() in wanted for leaf in _leaves(dtype))


def _leaves(dtype: pl.DataType) -> Iterable[pl.DataType]:
    match dtype:
        case pl.List() | pl.Array():
            yield from _leaves(_instance(dtype.inner))
        case pl.Struct():
            for field in dtype.fields:
                yield from _leaves(_instance(field.dtype))
        case _:
            yield dtype


def _instance(dtype: Any) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype


def is_arrow(dtype: pl.DataType) -> bool:
    match dtype:
        case pl.Array():
            # Polars 2.1 cannot read an array of width zero that has nulls.
            return dtype.size > 0 and is_arrow(_instance(dtype.inner))
        case pl.List():
            return is_arrow(_instance(dtype.inner))
        case pl.Struct():
            return all(is_arrow(_instance(field.dtype)) for field in dtype.fields)
        case _:
            return dtype.base_type() in _ARROW_DTYPES


def _needs_python(dtype: pl.DataType) -> bool:
    """Whether Polars itself has no serialization for a type."""
    match dtype:
        case pl.Array():
            return dtype.size == 0 or _needs_python(_instance(dtype.inner))
        case pl.List():
            return _needs_python(_instance(dtype.inner))
        case pl.Struct():
            return any(_needs_python(_instance(field.dtype)) for field in dtype.fields)
        case _:
            return dtype == pl.Object


# --------------------------------------------------------------------------------------------------------------------
# arrays to buffers, and back


class _Packer:
    """Collects the buffers of arrays, each of them once."""

    def __init__(self) -> None:
        self.buffers: list[pa.Buffer] = []
        self._numbers: dict[tuple[int, int], int] = {}

    def add(self, buffer: pa.Buffer | None) -> int | None:
        if buffer is None:
            return None
        # The buffers in the list stay alive, so that an address means one buffer only.
        key = (buffer.address, buffer.size)
        if key not in self._numbers or not buffer.size:
            self._numbers[key] = len(self.buffers)
            self.buffers.append(buffer)
        return self._numbers[key]

    def pack(self, array: pa.Array, compact: bool = False) -> Layout:
        """Take an array apart, with no more than what its slice shows; also of its text, with `compact`."""
        dtype, length = array.type, len(array)
        if pa.types.is_dictionary(dtype):
            return length, [], [self.pack(array.indices)], self.pack(array.dictionary)
        if pa.types.is_null(dtype):
            return length, [None], [], None
        if compact and is_view(dtype):
            array = _compact_text(array)
        offset, buffers = array.offset, array.buffers()
        validity = self.add(_crop_bits(buffers[0], offset, length))
        if pa.types.is_struct(dtype):
            # `field` applies the offset of the struct; `flatten` would merge the nulls as well.
            return length, [validity], [self.pack(array.field(i), compact) for i in range(dtype.num_fields)], None
        if pa.types.is_fixed_size_list(dtype):
            width = dtype.list_size
            child = array.values.slice(offset * width, length * width)
            return length, [validity], [self.pack(child, compact)], None
        if pa.types.is_large_list(dtype):
            offsets, child = _crop_list(array, buffers[1])
            return length, [validity, self.add(offsets)], [self.pack(child, compact)], None
        if pa.types.is_boolean(dtype):
            return length, [validity, self.add(_crop_bits(buffers[1], offset, length))], [], None
        width = VIEW_SIZE if is_view(dtype) else dtype.bit_width // 8
        data = buffers[1].slice(offset * width, length * width)
        return length, [validity, self.add(data), *map(self.add, buffers[2:])], [], None


def _unpack(dtype: pa.DataType, layout: Layout, buffers: Sequence[pa.Buffer]) -> pa.Array:
    length, numbers, children, dictionary = layout
    if pa.types.is_dictionary(dtype):
        indices = _unpack(dtype.index_type, children[0], buffers)
        values = _unpack(dtype.value_type, dictionary, buffers)
        return pa.DictionaryArray.from_arrays(indices, values, ordered=dtype.ordered, safe=False)
    parts = [_unpack(dtype.field(i).type, child, buffers) for i, child in enumerate(children)]
    found = [None if number is None else buffers[number] for number in numbers]
    return pa.Array.from_buffers(dtype, length, found, children=parts or None)


def is_view(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(dtype) or pa.types.is_binary_view(dtype))


def _crop_bits(bits: pa.Buffer | None, offset: int, length: int) -> pa.Buffer | None:
    if bits is None:
        return None
    first, shift = divmod(offset, 8)
    last = (offset + length + 7) // 8
    if not shift:
        return bits.slice(first, last - first)
    raw = np.frombuffer(bits, dtype=np.uint8)[first:last]
    following = np.append(raw[1:], np.uint8(0))
    shifted = (raw >> np.uint8(shift)) | (following << np.uint8(8 - shift))
    return pa.py_buffer(shifted[: (length + 7) // 8].tobytes())


def _crop_list(array: pa.Array, buffer: pa.Buffer) -> tuple[pa.Buffer, pa.Array]:
    if not len(array):
        return pa.py_buffer(bytes(8)), array.values.slice(0, 0)
    raw = buffer.slice(array.offset * 8, (len(array) + 1) * 8)
    offsets = np.frombuffer(raw, dtype=np.int64)
    start, end = int(offsets[0]), int(offsets[-1])
    if start:
        raw = pa.py_buffer(offsets - start)
    return raw, array.values.slice(start, end - start)


def _text_buffers(array: pa.Array) -> Iterable[pa.Buffer]:
    """The buffers that views point into, at any depth; a dictionary has only what its rows use."""
    dtype = array.type
    if is_view(dtype):
        yield from array.buffers()[2:]
    elif pa.types.is_struct(dtype):
        for i in range(dtype.num_fields):
            yield from _text_buffers(array.field(i))
    elif pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        yield from _text_buffers(array.values)


def _wastes_text(s: pl.Series, chunks: Sequence[pa.Array]) -> bool:
    """Whether less than half of the text that a column holds belongs to its rows, as after a slice or a filter."""
    # Chunks share buffers, so they are judged together.
    held = sum({b.address: b.size for chunk in chunks for b in _text_buffers(chunk)}.values())
    if held < POOLED_BELOW:
        return False
    visible = int(s.estimated_size())
    return 2 * visible < held and visible < INT32_MAX


def _compact_text(array: pa.Array) -> pa.Array:
    # The size that Polars estimates may be too low where rows share a text: written out, that could be any number of bytes.
    lengths = np.frombuffer(array.buffers()[1], dtype=np.int32).reshape(-1, 4)[array.offset :, 0][: len(array)]
    if lengths.sum(dtype=np.int64) >= min(sum(b.size for b in array.buffers()[2:]), INT32_MAX):
        return array
    plain = pa.large_string() if pa.types.is_string_view(array.type) else pa.large_binary()
    return array.cast(plain).cast(array.type)


# --------------------------------------------------------------------------------------------------------------------
# frames of buffers


def _join_frames(meta: bytes, buffers: Sequence[pa.Buffer]) -> tuple[dict, list[memoryview]]:
    """Put small buffers into one frame, and leave large ones where they are."""
    pool, frames, places = bytearray(), [], []
    for buffer in buffers:
        if buffer.size < POOLED_BELOW:
            pool.extend(bytes(-len(pool) % ALIGNMENT))
            places.append((0, len(pool), buffer.size))
            pool.extend(memoryview(buffer))
        else:
            frames.append(memoryview(buffer).cast("B"))
            places.append((len(frames), 0, buffer.size))
    return {"meta": meta, "places": places}, [memoryview(pool), *frames]


def _split_frames(header: dict, frames: Sequence[Any]) -> list[pa.Buffer]:
    wholes = [pa.py_buffer(memoryview(frame)) for frame in frames]
    return [wholes[number].slice(start, size) for number, start, size in header["places"]]


def _arrow_table(df: pl.DataFrame) -> pa.Table:
    return df.to_arrow(compat_level=pl.CompatLevel.newest())


def _large_chunks(df: pl.DataFrame) -> pl.DataFrame:
    chunks = df.n_chunks()
    return df.rechunk() if chunks > 1 and df.estimated_size() < chunks * SMALL_CHUNK else df


def _dump_other(s: pl.Series) -> tuple[str, bytes]:
    """A column that Arrow has no type for."""
    if _needs_python(s.dtype):
        return "python", cloudpickle.dumps((s.name, s.dtype, s.to_list()))
    return "polars", pickle.dumps(s)


def _load_other(how: str, state: pa.Buffer) -> pl.Series:
    loaded = pickle.loads(state)
    if how == "polars":
        return loaded
    name, dtype, values = loaded
    return pl.Series(name, values, dtype=dtype)


def _sorted_columns(df: pl.DataFrame) -> dict[str, bool]:
    """The columns known to be sorted, and whether they descend. Arrow has no place for it."""
    flags = ((s.name, s.flags) for s in df.get_columns())
    return {name: known["SORTED_DESC"] for name, known in flags if known["SORTED_ASC"] or known["SORTED_DESC"]}


def _is_small(df: pl.DataFrame) -> bool:
    """Whether all buffers would be copied anyway. Polars copies a frame of few rows faster than we take it apart."""
    return df.estimated_size() < POOLED_BELOW * df.width and not any(_needs_python(t) for t in df.dtypes)


def _dump(df: pl.DataFrame) -> tuple[dict, list[memoryview]]:
    if not df.width or _is_small(df):
        return {"height": df.height}, [memoryview(df.serialize())] if df.width else []
    plain = [name for name, dtype in df.schema.items() if is_arrow(dtype)]
    others = {name: _dump_other(df.get_column(name)) for name in df.columns if name not in set(plain)}
    packer = _Packer()
    schema, layouts = b"", list[list[Layout]]()
    if plain:
        schema, layouts = _pack_columns(packer, _large_chunks(df.select(plain) if others else df))
    states = {name: (how, packer.add(pa.py_buffer(state))) for name, (how, state) in others.items()}
    meta = pickle.dumps((df.columns, schema, layouts, states, _sorted_columns(df)))
    header, frames = _join_frames(meta, packer.buffers)
    return {"height": df.height, **header}, frames


def _pack_columns(packer: _Packer, df: pl.DataFrame) -> tuple[bytes, list[list[Layout]]]:
    table = _arrow_table(df)
    batches = table.to_batches()
    compact = [
        _contains(s.dtype, (pl.String, pl.Binary)) and _wastes_text(s, [batch.column(i) for batch in batches])
        for i, s in enumerate(df.get_columns())
    ]
    layouts = [[packer.pack(*pair) for pair in zip(batch.columns, compact, strict=True)] for batch in batches]
    return table.schema.serialize().to_pybytes(), layouts


def _load(header: dict, frames: Sequence[Any]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(height=header["height"])
    if "meta" not in header:
        return pl.DataFrame.deserialize(io.BytesIO(frames[0]))
    columns, schema, layouts, states, known = pickle.loads(header["meta"])
    buffers = _split_frames(header, frames)
    df = _load_arrow(schema, layouts, buffers) if schema else pl.DataFrame(height=header["height"])
    if states:
        df = df.with_columns(_load_other(how, buffers[number]) for how, number in states.values()).select(columns)
    if known:
        df = df.with_columns(df.get_column(name).set_sorted(descending=down) for name, down in known.items())
    return df


def _load_arrow(schema: bytes, layouts: list[list[Layout]], buffers: Sequence[pa.Buffer]) -> pl.DataFrame:
    fields = pa.ipc.read_schema(pa.py_buffer(schema))
    batches = [
        pa.RecordBatch.from_arrays(
            [_unpack(dtype, one, buffers) for dtype, one in zip(fields.types, layout, strict=True)], schema=fields
        )
        for layout in layouts
    ]
    frame = pl.from_arrow(pa.Table.from_batches(batches, schema=fields), rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    # `from_arrow` gives a name to a column that has the empty one.
    frame.columns = fields.names
    return frame


def serialize_dataframe(df: pl.DataFrame, context: dict | None = None) -> tuple[dict, list[memoryview]]:
    """
    Take a frame apart into a header and its buffers, without a copy of the large ones.

    Parameters
    ----------
    df : pl.DataFrame
    context : dict, optional
        What Dask knows of the connection.

    Returns
    -------
    header : dict
    frames : list of memoryview
        Views of the memory of `df`, which they keep alive.

    Raises
    ------
    NotImplementedError
        For a subclass, and where the other side may not know the format: Dask then pickles.

    Notes
    -----
    A slice sends its rows only. Chunks of less than 1 MiB are joined, larger ones are kept: a copy of large data costs more
    than any number of large chunks does.
    """
    _check_recipient(df, pl.DataFrame, context)
    return _dump(df)


def deserialize_dataframe(header: dict, frames: Sequence[Any]) -> pl.DataFrame:
    """
    Put a frame together again, over the memory of `frames`.

    Polars never writes to memory that came through Arrow, so that the frames may be read-only.
    """
    return _load(header, frames)


def serialize_series(s: pl.Series, context: dict | None = None) -> tuple[dict, list[memoryview]]:
    """Take a series apart, as for :func:`serialize_dataframe`."""
    _check_recipient(s, pl.Series, context)
    return _dump(s.to_frame())


def deserialize_series(header: dict, frames: Sequence[Any]) -> pl.Series:
    """Put a series together again."""
    return _load(header, frames).to_series()


def serialize_lazyframe(lf: pl.LazyFrame, context: dict | None = None) -> tuple[dict, list[memoryview]]:
    """Serialize a plan, in a frame of its own; frames in memory within it are copied by Polars."""
    _check_recipient(lf, pl.LazyFrame, context)
    return {}, [memoryview(lf.serialize())]


def deserialize_lazyframe(header: dict, frames: Sequence[Any]) -> pl.LazyFrame:
    """Read a plan."""
    return pl.LazyFrame.deserialize(io.BytesIO(frames[0]))
