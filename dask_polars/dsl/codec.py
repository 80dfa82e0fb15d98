"""
Polars' serialized plan, to and from a tree of nodes.

``LazyFrame.serialize()`` gives ``b"DSL_VERSION"``, four bytes of version, a hash of the schema of the format as 64
characters, then MessagePack::

    {"root": key, "dataframes": [slot, …], "dsl_plans": [slot, …]}

where a slot is ``{"value": …, "version": n}``, a key is ``{"idx": i, "version": n}`` and slot 0 is empty. It is the
format that Polars pickles its plans with, and it changes between its releases: this package is the only place that
knows of it, and the range of Polars releases that it was checked against is pinned.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgpack
import polars as pl

from dask_polars.dsl.cloud import Template, hide, show
from dask_polars.dsl.nodes import Node, walk
from dask_polars.errors import PlanDecodeError

MAGIC = b"DSL_VERSION"
HEADER_LENGTH = len(MAGIC) + 4 + 64
SUPPORTED_SCHEMA_HASHES = {b"b2af60200b56e429cab31266a9391bc2b595c97c3d15312db0b29bb1dad0935c": "2.1"}

# Fields that hold the key of an input plan, where that is not the one field `input`.
INPUT_FIELDS = {
    "Join": ("input_left", "input_right"),
    "MergeSorted": ("input_left", "input_right"),
    "Gather": ("input", "idxs"),
}
INLINE_INPUTS = ("Union", "HConcat", "SinkMultiple")
LEAVES = ("Scan", "PythonScan", "DataFrameScan", "Resolver")
SINGLE_INPUT = (
    "Filter",
    "Cache",
    "Select",
    "GroupBy",
    "HStack",
    "MatchToSchema",
    "Pivot",
    "Distinct",
    "Sort",
    "Slice",
    "MapFunction",
    "Sink",
)
# Fields that hold the key of a data frame.
FRAME_FIELDS = {"DataFrameScan": "df", "Pivot": "on_columns"}


def header() -> bytes:
    """
    Give the header that the installed Polars puts before its plans.

    Returns
    -------
    bytes
        Magic, version and hash of the format's schema.
    """
    return pl.LazyFrame().serialize()[:HEADER_LENGTH]


def check_format() -> None:
    """
    Check that the installed Polars writes plans in a format that is known here.

    Raises
    ------
    ImportError
        Where it does not: nothing is guessed.
    """
    found = header()
    if not found.startswith(MAGIC) or found[-64:] not in SUPPORTED_SCHEMA_HASHES:
        known = ", ".join(sorted(set(SUPPORTED_SCHEMA_HASHES.values())))
        msg = (
            f"polars {pl.__version__} writes its plans in a format that this release of dask_polars does not know; "
            f"it knows those of polars {known}. Install one of these."
        )
        raise ImportError(msg)


def _unpacker(data: bytes) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2**31 - 1)
    unpacker.feed(data)
    return unpacker


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


@dataclass(frozen=True, eq=False)
class RawFrame:
    """
    A data frame of a plan, as it was serialized.

    Polars writes the bytes of a frame as an array of integers: they are kept as they stand and never taken apart, since
    every byte would become a Python object.
    """

    raw: bytes = field(repr=False)

    @cached_property
    def token(self) -> str:
        return hashlib.sha1(self.raw, usedforsecurity=False).hexdigest()

    def frame(self) -> pl.DataFrame:
        """Give the frame, which should be a small one."""
        return pl.concat(pl.read_ipc_stream(io.BytesIO(bytes(part))) for part in msgpack.unpackb(self.raw))


@dataclass(frozen=True, eq=False)
class ByteList:
    """Bytes of a plan, which Polars writes as an array of integers, like those of a frame: what is written is made once."""

    content: bytes = field(repr=False)

    @cached_property
    def raw(self) -> bytes:
        return msgpack.packb(list(self.content))

    @cached_property
    def token(self) -> str:
        return hashlib.sha1(self.content, usedforsecurity=False).hexdigest()


def _read_document(data: bytes) -> dict[str, Any]:
    """Read the document of a plan; its frames stay raw."""
    unpacker = _unpacker(data)
    document: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        name = unpacker.unpack()
        document[name] = _read_frames(unpacker, data) if name == "dataframes" else unpacker.unpack()
    return document


def _read_frames(unpacker: msgpack.Unpacker, data: bytes) -> list[RawFrame | None]:
    frames: list[RawFrame | None] = []
    for _ in range(unpacker.read_array_header()):
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == "value":
                start = unpacker.tell()
                unpacker.skip()
                frames.append(RawFrame(data[start : unpacker.tell()]))
            else:
                unpacker.skip()
    return frames


def decode(lf: pl.LazyFrame) -> Node:
    """
    Take a lazy frame's plan apart.

    Parameters
    ----------
    lf
        A lazy frame of Polars.

    Returns
    -------
    Node
        The root of the plan. Sub-plans that the query shares are one object.

    Raises
    ------
    PlanDecodeError
        Where the plan holds a kind of node that is not known here.
    """
    return _Decoder(_read_document(lf.serialize()[HEADER_LENGTH:])).root()


def _take(fields: dict[str, Any], name: str) -> Any:
    """Take an input out of its field, which stays, so that a plan is written again in the order it was read in."""
    value, fields[name] = fields[name], None
    return value


class _Decoder:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.done: dict[int, Node] = {}

    def root(self) -> Node:
        # Inputs stand before what reads them: in this order, plans of any depth are decoded without deep recursion.
        for index in range(1, len(self.document["dsl_plans"])):
            self.node({"idx": index})
        return self.node(self.document["root"])

    def node(self, key: Mapping[str, int]) -> Node:
        index = key["idx"]
        if index not in self.done:
            self.done[index] = self.convert(self.document["dsl_plans"][index]["value"])
        return self.done[index]

    def convert(self, value: Mapping[str, Any]) -> Node:
        ((kind, found),) = value.items()
        fields = hide(found) if kind in ("Scan", "Sink") else dict(found)
        if kind in FRAME_FIELDS:
            name = FRAME_FIELDS[kind]
            fields[name] = self.document["dataframes"][fields[name]["idx"]]
        if kind in LEAVES:
            return Node(kind, fields)
        if kind in INLINE_INPUTS:
            return Node(kind, fields, tuple(self.convert(plan) for plan in _take(fields, "inputs")))
        if kind == "PipeWithSchema":
            fields["callback"] = ByteList(bytes(fields["callback"]))
            return Node(kind, fields, tuple(self.node(key) for key in _take(fields, "input")))
        if kind == "SQL" and not fields["catalog_tables"]:
            relations = fields["relations"]
            fields["relations"] = [name for name, _ in relations]
            return Node(kind, fields, tuple(self.node(key) for _, key in relations))
        if kind in SINGLE_INPUT or kind in INPUT_FIELDS:
            names = INPUT_FIELDS.get(kind, ("input",))
            return Node(kind, fields, tuple(self.node(_take(fields, name)) for name in names))
        raise PlanDecodeError(f"plans with a node of kind {kind!r} cannot be taken apart")


def encode(root: Node) -> Template:
    """
    Write a tree of nodes as Polars would.

    Parameters
    ----------
    root
        The plan.

    Returns
    -------
    Template
        Bytes that :meth:`polars.LazyFrame.deserialize` reads, which do not show what is in them.
    """
    return Template(_written(root), root.digest)


def _written(root: Node) -> bytes:
    return header_once() + _Encoder().document(root)


_HEADER: list[bytes] = []


def header_once() -> bytes:
    """Give the header without asking Polars for it again."""
    if not _HEADER:
        _HEADER.append(header())
    return _HEADER[0]


_EMPTY_SLOT = msgpack.packb({"value": None, "version": 0})
# What stands before and behind a value of one byte.
_SLOT_START, _SLOT_END = msgpack.packb({"value": 0, "version": 1}).split(b"\x00", 1)


class _Encoder:
    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=show)
        self.plans: list[bytes] = []
        self.frames: list[RawFrame] = []
        self.keys: dict[int, dict[str, int]] = {}
        self.frame_keys: dict[int, dict[str, int]] = {}

    def document(self, root: Node) -> bytes:
        # Inputs first, so that plans of any depth are written without deep recursion.
        nodes = list(walk(root))
        keyed = {id(child) for node in nodes if node.kind not in INLINE_INPUTS for child in node.inputs}
        for node in nodes:
            if id(node) in keyed:
                self.put(node)
        key = self.put(root)
        return self.map(
            {
                "root": self.packer.pack(key),
                "dataframes": self.slots([frame.raw for frame in self.frames]),
                "dsl_plans": self.slots(self.plans),
            }
        )

    def put(self, node: Node) -> dict[str, int]:
        if id(node) not in self.keys:
            self.plans.append(self.value(node))
            self.keys[id(node)] = {"idx": len(self.plans), "version": 1}
        return self.keys[id(node)]

    def put_frame(self, value: RawFrame) -> dict[str, int]:
        if id(value) not in self.frame_keys:
            self.frames.append(value)
            self.frame_keys[id(value)] = {"idx": len(self.frames), "version": 1}
        return self.frame_keys[id(value)]

    def value(self, node: Node) -> bytes:
        kind, fields = node.kind, dict(node.fields)
        packed: dict[str, bytes] = {}
        if kind in FRAME_FIELDS:
            name = FRAME_FIELDS[kind]
            fields[name] = self.put_frame(fields[name])
        if kind in INLINE_INPUTS:
            packed["inputs"] = self.array([self.value(plan) for plan in node.inputs])
        elif kind == "PipeWithSchema":
            fields["input"] = [self.put(plan) for plan in node.inputs]
            packed["callback"] = fields["callback"].raw
        elif kind == "SQL":
            keys = [self.put(plan) for plan in node.inputs]
            fields["relations"] = [list(pair) for pair in zip(fields["relations"], keys, strict=True)]
        elif kind not in LEAVES:
            for name, plan in zip(INPUT_FIELDS.get(kind, ("input",)), node.inputs, strict=True):
                fields[name] = self.put(plan)
        if not packed:
            return self.packer.pack({kind: fields})
        inside = {name: packed[name] if name in packed else self.packer.pack(value) for name, value in fields.items()}
        return self.map({kind: self.map(inside)})

    def map(self, items: Mapping[str, bytes]) -> bytes:
        """Write a map of what is written already."""
        parts = [part for name, value in items.items() for part in (self.packer.pack(name), value)]
        return b"".join([self.packer.pack_map_header(len(items)), *parts])

    def array(self, items: Sequence[bytes]) -> bytes:
        """Write an array of what is written already."""
        return b"".join([self.packer.pack_array_header(len(items)), *items])

    def slots(self, values: Sequence[bytes]) -> bytes:
        """Write slots, the empty one before them."""
        packed = [_SLOT_START + value + _SLOT_END for value in values]
        return self.array([_EMPTY_SLOT, *packed])


def to_lazyframe(root: Node) -> pl.LazyFrame:
    """Turn a tree of nodes back into a lazy frame."""
    return pl.LazyFrame.deserialize(io.BytesIO(_written(root)))


def decode_expr(expr: pl.Expr) -> Any:
    """Take an expression apart, into the nested maps that plans hold."""
    return _unpack(expr.meta.serialize())


def to_expr(tree: Any) -> pl.Expr:
    """Turn the nested maps of an expression back into one."""
    return pl.Expr.deserialize(io.BytesIO(msgpack.packb(tree)))
