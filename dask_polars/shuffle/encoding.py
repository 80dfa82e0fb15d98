"""Frames as bytes, and read back. Knows nothing of Dask.

A shard is a header, and what Arrow IPC makes of the rows. Columns of plain types are written and read by pyarrow: a schema and one record
batch, cut out of the batch of the whole input, so that a shard costs little beside its bytes (measured for a million rows of
nine columns that go to 1,000 outputs: 26 ms to write and 45 to read, where streams of their own took 250 and 200). What has
other columns is a stream by Polars.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from typing import Literal, TypeAlias

import polars as pl
import pyarrow as pa

from dask_polars.shuffle.frames import SchemaLike, ShuffleError, check_sendable, concat, walk

Compression: TypeAlias = Literal["uncompressed", "lz4", "zstd"]
Buffer: TypeAlias = bytes | bytearray | memoryview

# Tag, height, bytes that follow, and how many of these are the schema of a record batch: none of a stream of Polars. The
# number of bytes makes the format self-delimiting, because Polars reads only the first of concatenated IPC streams,
# silently. The height is needed because IPC does not carry that of a frame without columns.
_HEADER = struct.Struct("<QQQQ")

# Columns of these types are written and read by pyarrow, whose buffers are those of Polars. Measured for 4 million rows of
# 4 numbers: 52 ms to write and 31 ms to read 128 MB, where Polars, which copies several times, takes 260 and 224 ms.
_PLAIN = frozenset(
    {
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64),
        *(pl.Boolean, pl.String, pl.Binary, pl.Date, pl.Datetime, pl.Duration, pl.Time, pl.Decimal),
    }
)

# What cutting a batch may add to a buffer of one part of it: padding, a byte of bits, an offset more.
_ROUNDED = 32  # bytes


@dataclass(frozen=True)
class Shard:
    """Rows read back from bytes, with the number they were written under.

    Attributes
    ----------
    tag
        The number given to `to_bytes`; in a shuffle the input partition.
    height
        Number of rows.
    data
        The rows; those of a batch are still where the bytes are, if they are not compressed.
    """

    tag: int
    height: int
    data: pa.RecordBatch | pl.DataFrame

    @property
    def frame(self) -> pl.DataFrame:
        """The rows as a frame."""
        return self.data if isinstance(self.data, pl.DataFrame) else _frame_of(self.data)


def to_bytes(frame: pl.DataFrame, *, tag: int = 0, compression: Compression = "lz4") -> bytes:
    """Write a frame as bytes. Bytes of several frames may be concatenated, `iter_bytes` reads them all.

    Parameters
    ----------
    frame
        Any frame without Object columns.
    tag
        A number that is stored next to the frame.
    compression
        Of the Arrow IPC messages.

    Returns
    -------
    bytes
    """
    return join_bytes(frame, [frame.height], tag=tag, compression=compression).to_pybytes()


def join_bytes(
    frame: pl.DataFrame, heights: Sequence[int], *, tag: int = 0, compression: Compression = "lz4"
) -> pa.Buffer:
    """Write a frame cut into parts: what `to_bytes` returns for each of them, one behind the other.

    Parameters
    ----------
    frame
        Any frame without Object columns.
    heights
        Rows of the parts, together those of the frame.
    tag, compression
        As in `to_bytes`.

    Returns
    -------
    pyarrow.Buffer

    Examples
    --------
    >>> data = join_bytes(pl.DataFrame({"a": [1, 2, 3]}), [2, 1], tag=5)
    >>> [(shard.tag, shard.frame["a"].to_list()) for shard in iter_bytes(memoryview(data))]
    [(5, [1, 2]), (5, [3])]
    """
    check_sendable(frame.schema)
    if frame.width and all(dtype.base_type() in _PLAIN for dtype in frame.dtypes):
        return _by_pyarrow(frame, heights, tag, compression)
    return _by_polars(frame, heights, tag, compression)


def _by_pyarrow(frame: pl.DataFrame, heights: Sequence[int], tag: int, compression: Compression) -> pa.Buffer:
    if not heights:
        return pa.py_buffer(b"")
    batch = _batch_of(frame)
    schema = batch.schema.serialize().to_pybytes()
    # Room for all of it at once, since a sink that grows copies what it has; but compressed it may be longer, or much shorter.
    room = pa.allocate_buffer(_room(batch, len(heights), len(schema))) if compression == "uncompressed" else None
    sink = pa.BufferOutputStream() if room is None else pa.FixedSizeBufferWriter(room)
    codec = None if compression == "uncompressed" else compression
    writer = pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec))
    # With its first batch it writes the schema, which is left out: each shard has its own, as it may be read without others.
    writer.write_batch(batch.slice(0, 0))
    ends = [sink.tell()]
    row = 0
    for height in heights:
        sink.write(bytes(_HEADER.size))  # how long the message becomes is not known yet
        sink.write(schema)
        writer.write_batch(batch.slice(row, height))
        ends.append(sink.tell())
        row += height
    written = bytearray(sink.getvalue()) if room is None else room
    view = memoryview(written).cast("B")
    for height, (start, end) in zip(heights, pairwise(ends), strict=True):
        _HEADER.pack_into(view, start, tag, height, end - start - _HEADER.size, len(schema))
    return pa.py_buffer(view[ends[0] : ends[-1]])


def _batch_of(frame: pl.DataFrame) -> pa.RecordBatch:
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    long = [name for name in table.column_names if _is_elsewhere(table.column(name))]
    if long:
        # It would be written with all text of the frame that a slice was taken from; the older layout has that of the slice.
        older = frame.select(long).to_arrow(compat_level=pl.CompatLevel.oldest())
        for name in long:
            table = table.set_column(table.column_names.index(name), name, older.column(name))
    arrays = [column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _is_elsewhere(column: pa.ChunkedArray) -> bool:
    """Say whether the text of a column is in buffers of its own: views of up to twelve bytes hold it themselves."""
    if column.type not in (pa.string_view(), pa.binary_view()):
        return False
    return any(buffer is not None and buffer.size for chunk in column.chunks for buffer in chunk.buffers()[2:])


def _room(batch: pa.RecordBatch, nparts: int, schema: int) -> int:
    """Bytes that are enough for a batch in parts: those of it as one, and what is there once for each part."""
    buffers = sum(len(array.buffers()) for array in batch.columns)
    once = _HEADER.size + schema + pa.ipc.get_record_batch_size(batch.slice(0, 0)) + _ROUNDED * buffers
    return pa.ipc.get_record_batch_size(batch) + (nparts + 1) * once


def _by_polars(frame: pl.DataFrame, heights: Sequence[int], tag: int, compression: Compression) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    row = 0
    for height in heights:
        part = io.BytesIO()
        if frame.width:
            frame.slice(row, height).write_ipc_stream(
                part, compression=compression, compat_level=_compat_level(frame.schema)
            )
        stream = part.getbuffer()
        sink.write(_HEADER.pack(tag, height, stream.nbytes, 0))
        sink.write(stream)
        row += height
    return sink.getvalue()


def from_bytes(buf: Buffer) -> pl.DataFrame:
    """Read the one frame that `to_bytes` wrote.

    Parameters
    ----------
    buf
        Output of `to_bytes`.

    Returns
    -------
    pl.DataFrame

    Raises
    ------
    ShuffleError
        If the buffer does not hold exactly one frame, or not with the announced height.
    """
    shards = list(iter_bytes(buf))
    if len(shards) != 1:
        raise ShuffleError(f"expected the bytes of one frame, found {len(shards)}")
    return shards[0].frame


def iter_bytes(*bufs: Buffer) -> Iterator[Shard]:
    """Read concatenated outputs of `to_bytes`.

    Parameters
    ----------
    *bufs
        Any number of frames in each.

    Yields
    ------
    Shard

    Raises
    ------
    ShuffleError
        If the buffer is cut off, or a frame does not have the announced height.
    """
    schemas: dict[bytes, pa.Schema] = {}
    for chunk in chain.from_iterable(map(iter_chunks, bufs)):
        tag, height, length, schema = _HEADER.unpack_from(chunk)
        content = chunk[_HEADER.size :]
        data: pa.RecordBatch | pl.DataFrame
        if not length:
            data = pl.DataFrame(height=height)
        elif schema:
            data = _read_batch(content[:schema], content[schema:], schemas)
        else:
            data = pl.read_ipc_stream(bytes(content))  # Polars does not read from a memoryview
        found = data.height if isinstance(data, pl.DataFrame) else data.num_rows
        if found != height:
            raise ShuffleError(f"a shard of {height} rows was read back with {found}")
        yield Shard(tag, height, data)


def _read_batch(schema: memoryview, message: memoryview, schemas: dict[bytes, pa.Schema]) -> pa.RecordBatch:
    """Read what pyarrow has written; what is not compressed is not copied. Equal schemas are read once."""
    try:
        key = bytes(schema)
        if key not in schemas:
            schemas[key] = pa.ipc.read_schema(pa.py_buffer(key))
        return pa.ipc.read_record_batch(pa.py_buffer(message), schemas[key])
    except (pa.ArrowException, OSError) as error:
        raise ShuffleError(f"a shard cannot be read: {error}") from error


def iter_chunks(buf: Buffer) -> Iterator[memoryview]:
    """Cut concatenated outputs of `to_bytes` apart, without reading the frames and without a copy.

    Parameters
    ----------
    buf
        Any number of frames.

    Yields
    ------
    memoryview
        The bytes of one frame.
    """
    view = memoryview(buf)
    start = 0
    while start < view.nbytes:
        if view.nbytes - start < _HEADER.size:
            raise ShuffleError("a shard is cut off")
        length = _HEADER.size + _HEADER.unpack_from(view, start)[2]
        if view.nbytes - start < length:
            raise ShuffleError("a shard is cut off")
        yield view[start : start + length]
        start += length


def join_shards(shards: Sequence[Shard], schema: SchemaLike) -> pl.DataFrame:
    """Put the rows of shards below each other.

    Parameters
    ----------
    shards
        Of the same columns; may be empty.
    schema
        Of the result when there are no shards.

    Returns
    -------
    pl.DataFrame
        In one chunk.
    """
    frames: list[pl.DataFrame] = []
    # Batches of the same layout (text is in two) become one frame of as many chunks: half the time of as many frames. Polars
    # makes one chunk of them, in its own memory: pyarrow asks for large pages, which took twice as long to fill.
    for layout, run in groupby(shards, key=_layout):
        parts = [shard.data for shard in run]
        frames += parts if layout is None else [_frame_of(pa.Table.from_batches(parts), rechunk=True)]
    return concat(frames, schema)


def _layout(shard: Shard) -> pa.Schema | None:
    return None if isinstance(shard.data, pl.DataFrame) else shard.data.schema


def _frame_of(data: pa.RecordBatch | pa.Table, rechunk: bool = False) -> pl.DataFrame:
    frame = pl.from_arrow(data, rechunk=rechunk)
    assert isinstance(frame, pl.DataFrame)
    frame.columns = data.schema.names  # `from_arrow` gives a name to a column that has the empty one
    return frame


def _compat_level(schema: SchemaLike) -> pl.CompatLevel | None:
    """Write nested strings without views.

    Views inside of a list or a struct are written with the whole buffers of the frame that a slice was taken from:
    100 slices then weigh 70 times their rows. The older Arrow layout has only the bytes of the slice. Views of a
    top-level column are compacted by Polars.
    """
    for dtype in schema.values():
        if dtype.is_nested() and any(part in (pl.String, pl.Binary) for part in walk(dtype)):
            return pl.CompatLevel.oldest()
    return None
