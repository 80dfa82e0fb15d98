"""
How Polars objects travel between processes, and to disk: as their Arrow buffers.

Buffers are taken one by one, and not as an Arrow IPC stream: Dask receives every large buffer into an allocation of its own,
and a stream would first have to be joined, which costs as much as the data is large. Only buffers that are cut by a slice at a
place that is not a byte, and list offsets, are ever copied.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import polars as pl
import pyarrow as pa

from dask_polars.arrow_types import arrow_table, contains, is_arrow, is_view, needs_python
from dask_polars.sizeof import VIEW_SIZE

# (length, numbers of buffers, children, dictionary): all that is to be known of an array but its type
Layout = tuple[int, list[int | None], list[Any], Any]

# Smaller buffers share one frame: a frame costs Dask some microseconds, wherever it goes.
POOLED_BELOW = 32 * 2**10
# Polars copies a buffer that is not aligned.
ALIGNMENT = 64
# Chunks that are smaller than this on average are joined before they travel.
SMALL_CHUNK = 2**20
INT32_MAX = 2**31 - 1


class Wire:
    """Whether frames leave the process in this format; another process has to know it."""

    enabled = False


# ---------------------------------------------------------------- arrays to buffers, and back


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


# ---------------------------------------------------------------- frames of buffers


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


def _large_chunks(df: pl.DataFrame) -> pl.DataFrame:
    chunks = df.n_chunks()
    return df.rechunk() if chunks > 1 and df.estimated_size() < chunks * SMALL_CHUNK else df


def _dump_other(s: pl.Series) -> tuple[str, bytes]:
    """A column that Arrow has no type for."""
    if needs_python(s.dtype):
        return "python", cloudpickle.dumps((s.name, s.dtype, s.to_list()))
    return "polars", pickle.dumps(s.rechunk())  # as in `_dump`


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
    return df.estimated_size() < POOLED_BELOW * df.width and not any(needs_python(t) for t in df.dtypes)


def _dump(df: pl.DataFrame) -> tuple[dict, list[memoryview]]:
    if not df.width or _is_small(df):
        # Of several chunks, Polars would wait for its threads here and hold the interpreter lock, which these may wait for
        # in a Python function of another query; so on the event loop of a worker, and for ever.
        return {"height": df.height}, [memoryview(df.rechunk().serialize())] if df.width else []
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
    table = arrow_table(df)
    batches = table.to_batches()
    compact = [
        contains(s.dtype, (pl.String, pl.Binary)) and _wastes_text(s, [batch.column(i) for batch in batches])
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


# ---------------------------------------------------------------- what Dask calls


def _check_recipient(obj: Any, kind: type, context: dict | None) -> None:
    """Leave an object to pickle, which always works, where the format may be unknown to the other side."""
    # Only what goes over a comm has a recipient; what is spilled is read by the process that wrote it.
    remote = context is not None and "recipient" in context
    if type(obj) is not kind or (remote and not Wire.enabled):
        raise NotImplementedError


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
