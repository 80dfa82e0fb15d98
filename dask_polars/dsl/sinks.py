"""
Sinks in plans: what is written where, and how to have the same written elsewhere.

A sink says what it wrote to a callback, and may ask a function for the names of its files. A :class:`Recorder` is both
of them: it is pickled into a plan as a reference, so that the very object is called that the running task holds.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import polars as pl
from polars.io.partition import FileProviderArgs, SinkedPath, SinkedPathsCallbackArgs

from dask_polars.dsl.codec import decode, encode
from dask_polars.dsl.leaves import bind, slot
from dask_polars.dsl.nodes import Node

# The names that Polars gives the formats, and the endings that it gives their files.
EXTENSIONS = {"Parquet": "parquet", "Ipc": "ipc", "Csv": "csv", "NDJson": "jsonl"}
_COMPRESSED = {"Gzip": ".gz", "Zstd": ".zst"}
# Formats whose compression is said by the ending of a name.
_CHECKED = ("Csv", "NDJson")


@dataclass(frozen=True)
class SinkPayload:
    """
    What a sink writes, and where.

    Parameters
    ----------
    kind
        ``"File"`` or ``"Partitioned"``.
    fields
        Everything else, as plans hold it. Never changed in place.
    """

    kind: str
    fields: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, node: Node) -> SinkPayload | None:
        """Read the payload of a sink; None where it writes neither a path nor below one."""
        ((kind, fields),) = node.fields["payload"].items()
        place = fields.get({"File": "target", "Partitioned": "base_path"}.get(kind, ""))
        provider = fields.get("file_path_provider")
        if not isinstance(place, Mapping) or "inner" not in place or (provider and "Function" not in provider):
            return None
        if format_of(fields) not in EXTENSIONS:
            return None
        return cls(kind, fields)

    @property
    def partitioned(self) -> bool:
        """Whether files are written below the path, as a ``pl.PartitionBy`` says."""
        return self.kind == "Partitioned"

    @property
    def path(self) -> str:
        """The file, or the directory below which files are written."""
        return self.fields["base_path" if self.partitioned else "target"]["inner"]

    @property
    def format(self) -> str:
        """The format, as Polars names it."""
        return format_of(self.fields)

    @property
    def extension(self) -> str:
        """The ending of the names of files that the user did not name."""
        options = self.fields["file_format"][self.format]
        packed = options.get("compression") if self.format in _CHECKED else None
        kind = next(iter(packed)) if isinstance(packed, Mapping) else packed
        return EXTENSIONS[self.format] + _COMPRESSED.get(kind or "", "")

    @property
    def mkdir(self) -> bool:
        """Whether missing directories above the path are made."""
        return self.partitioned or self.fields["unified_sink_args"]["mkdir"]

    @property
    def cloud_options(self) -> Any:
        """The storage options, as plans hold them."""
        return self.fields["unified_sink_args"]["cloud_options"]

    @property
    def provider(self) -> Callable[[FileProviderArgs], Any] | None:
        """The function that names files."""
        found = self.fields.get("file_path_provider")
        return None if found is None else _unpickle(found["Function"])

    @property
    def callback(self) -> Callable[[SinkedPathsCallbackArgs], Any] | None:
        """The function that is told what was written."""
        found = self.fields["unified_sink_args"]["sinked_paths_callback"]
        return None if found is None else _unpickle(found["Callback"])

    def to(self, path: str, recorder: Recorder) -> SinkPayload:
        """
        Give the same sink to another path, which tells a recorder what it wrote.

        Files that are named by Polars or by the user get names of the recorder: what is not complete has the name of no
        data. So endings are not checked here; Polars has checked the user's when it resolved the query.
        """
        fields = dict(self.fields)
        if self.format in _CHECKED:
            options = {**fields["file_format"][self.format], "check_extension": False}
            fields["file_format"] = {self.format: options}
        if self.partitioned:
            fields["base_path"] = {"inner": path}
            fields["file_path_provider"] = recorder.payload()["file_path_provider"]
        else:
            fields["target"] = {"inner": path}
        callback = recorder.payload()["unified_sink_args"]["sinked_paths_callback"]
        fields["unified_sink_args"] = {**fields["unified_sink_args"], "sinked_paths_callback": callback, "mkdir": False}
        return SinkPayload(self.kind, fields)

    def staged(self) -> SinkPayload:
        """Give a sink of one IPC file in place of this one, with its storage options."""
        fields = dict(decode(pl.LazyFrame().sink_ipc("x", compression="lz4", lazy=True)).fields["payload"]["File"])
        fields["unified_sink_args"] = {**self.fields["unified_sink_args"], "sync_on_close": "None"}
        return SinkPayload("File", fields)

    def over(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Put the sink on top of a query."""
        leaf = slot(0, dict(rows.collect_schema()))
        node = Node("Sink", {"input": None, "payload": {self.kind: self.fields}}, (leaf,))
        return bind(encode(node), [rows])

    def scan_staged(self, paths: list[str]) -> pl.LazyFrame:
        """Read IPC files that were written with the storage options of this sink, one after the other."""
        node = _ipc_scan()
        arguments = {**node.fields["unified_scan_args"], "cloud_options": self.cloud_options, "glob": False}
        sources = {"Paths": [{"inner": path} for path in paths]}
        return bind(encode(node.with_fields(sources=sources, unified_scan_args=arguments)), [])


def format_of(fields: Mapping[str, Any]) -> str:
    """Name the format that a sink writes."""
    found = fields["file_format"]
    return found if isinstance(found, str) else next(iter(found))


@cache
def _ipc_scan() -> Node:
    return decode(pl.scan_ipc("x.ipc"))


def _unpickle(value: Any) -> Any:
    # Three bytes (how it was pickled, two of the version of Python) stand before the pickle.
    return pickle.loads(bytes(value)[3:])


def hive_directory(keys: pl.DataFrame) -> str:
    """
    Name the directory of the files of a key, as Polars does where no function names them.

    Parameters
    ----------
    keys
        One row with the key, or no columns.

    Returns
    -------
    str
        Empty without a key.

    Raises
    ------
    polars.exceptions.PolarsError
        If the key has a type that cannot be written as text.

    Examples
    --------
    >>> import polars as pl
    >>> from dask_polars.dsl.sinks import hive_directory
    >>> hive_directory(pl.DataFrame({"a": ["x y"], "b": [1]}))
    'a=x%20y/b=1'
    """
    # Nulls in structs fail a strict cast to text.
    texts = [(key.name, key.cast(pl.String, strict=not isinstance(key.dtype, pl.Struct)).item()) for key in keys]
    return "/".join(f"{name}={_NULL if text is None else quote(text, safe=_SAFE)}" for name, text in texts)


# All that Polars does not write as bytes: what can be printed, but for a few.
_SAFE = "".join(set(map(chr, range(33, 127))) - set("/=:%"))
_NULL = "__HIVE_DEFAULT_PARTITION__"

# ---------------------------------------------------------------- what a running sink says

_RECORDERS: dict[int, Recorder] = {}
_IDS = itertools.count()

Naming = Callable[[FileProviderArgs], str]


class Recorder:
    """Takes note of the files that a sink writes, and names those that are named by a function."""

    def __init__(self, ending: str, naming: Naming | None = None) -> None:
        self.index = next(_IDS)
        self.ending = ending
        self.naming = naming
        self.files: list[SinkedPath] = []
        self.asked: dict[str, FileProviderArgs] = {}

    def written(self, args: SinkedPathsCallbackArgs) -> None:
        """Be told what was written."""
        self.files.extend(args.paths)

    def name(self, args: FileProviderArgs) -> str:
        """Be asked for the name of a file: one that no other file has, and that stands for the question."""
        name = f"{uuid4().hex}{self.ending}" if self.naming is None else self.naming(args)
        self.asked[name] = args
        return name

    def payload(self) -> Mapping[str, Any]:
        """Give a payload of Polars that holds the functions of this recorder."""
        parts = pl.PartitionBy("x", key="k", file_path_provider=self.name)
        sink = pl.LazyFrame({"k": []}).sink_parquet(parts, sinked_paths_callback=self.written, lazy=True)
        return decode(sink).fields["payload"]["Partitioned"]

    def __reduce__(self) -> tuple[Any, ...]:
        return (find_recorder, (self.index,))


def find_recorder(index: int) -> Recorder:
    """Unpickle a recorder: it is the one that was pickled."""
    return _RECORDERS[index]


@contextmanager
def recording(ending: str, naming: Naming | None = None) -> Iterator[Recorder]:
    """Make a recorder, which names files with an ending, known for as long as the block runs; a function may name the files, each with a name of its own."""
    recorder = Recorder(ending, naming)
    _RECORDERS[recorder.index] = recorder
    try:
        yield recorder
    finally:
        del _RECORDERS[recorder.index]
