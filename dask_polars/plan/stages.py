"""
Stages: the distributed plan.

A stage has partitions; each is computed from partitions of the stages below. There are few kinds, and they know nothing
of the operations of Polars: what runs on a partition is a fragment (a serialized plan) or a function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from dask_polars.dsl.cloud import CloudOptions, Template
from dask_polars.dsl.schemas import width_of
from dask_polars.io.parts import ScanPart

if TYPE_CHECKING:
    from dask_polars.io.clustering import Order

SchemaDict = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Size:
    """
    How much there is of something, as far as it is known while planning.

    Parameters
    ----------
    rows
        Number of rows.
    bytes
        Size in memory, in bytes.
    exact
        Whether the number of rows is known, not guessed.
    doubt
        How many times as much it could be, if guesses of what filters drop are wrong.
    """

    rows: float
    bytes: float
    exact: bool = False
    doubt: float = 1.0

    @staticmethod
    def guess(rows: float, schema: SchemaDict, *, exact: bool = False, doubt: float = 1.0) -> Size:
        """Guess the bytes from the number of rows."""
        return Size(rows, rows * width_of(schema), exact, doubt)

    @property
    def most(self) -> float:
        """The bytes that it could be."""
        return self.bytes * self.doubt

    def scaled(self, factor: float) -> Size:
        """Give a share of it, as far as one can guess."""
        return Size(self.rows * factor, self.bytes * factor, doubt=self.doubt / factor)

    def __add__(self, other: Size) -> Size:
        total = self.bytes + other.bytes
        doubt = (self.most + other.most) / total if total else max(self.doubt, other.doubt)
        return Size(self.rows + other.rows, total, self.exact and other.exact, doubt)


@dataclass(frozen=True)
class Share:
    """
    The share of the rows that pass.

    Parameters
    ----------
    passes
        What is thought.
    most
        What it could be.
    """

    passes: float = 1.0
    most: float = 1.0

    def of(self, size: Size) -> Size:
        """Give what is left of something."""
        return Size(size.rows * self.passes, size.bytes * self.passes, doubt=size.doubt * self.most / self.passes)


@dataclass(frozen=True)
class Placement:
    """
    A fact: all rows with equal values in these columns are in the same partition.

    Parameters
    ----------
    columns
        Names of columns, in the order in which they are hashed.
    dtypes
        The types that they are cast to before hashing; none where rows lie apart otherwise.
    npartitions
        The number of partitions that the hash is spread over.
    nulls_anywhere
        Whether rows with a null in one of the columns are left out of this, and may be in any partition.
    bounds
        The values of the only column at which partitions begin, but the first one, where rows were not hashed but are in
        files that are in its order.
    """

    columns: tuple[str, ...]
    dtypes: tuple[pl.DataType, ...]
    npartitions: int
    nulls_anywhere: bool = False
    bounds: tuple[Any, ...] | None = None

    def renamed(self, names: Mapping[str, str]) -> Placement | None:
        """Follow the columns to their new names; nothing is known where one is gone."""
        if any(name not in names for name in self.columns):
            return None
        return replace(self, columns=tuple(names[name] for name in self.columns))


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """
    A step of a distributed plan, with one or more partitions.

    Parameters
    ----------
    operation
        What it does, for people: the name of its tasks.
    schema
        Names and types of the columns that its partitions have.
    npartitions
        The number of partitions.
    size
        What all partitions together are thought to hold.
    placement
        Where rows are known to be.
    distinct
        Upper bounds of the number of different values in some of the columns.
    is_shuffled
        Whether rows are shuffled on the way to it: what is below is known when it is made, however deep.
    """

    operation: str
    schema: SchemaDict
    npartitions: int
    size: Size
    placement: Placement | None = None
    distinct: Mapping[str, float] | None = None
    is_shuffled: bool = field(init=False)

    def __post_init__(self) -> None:
        shuffled = isinstance(self, ShuffleStage) or any(stage.is_shuffled for stage in self.inputs)
        object.__setattr__(self, "is_shuffled", shuffled)

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The stages that it reads."""
        return ()

    def identity(self) -> tuple[Any, ...]:
        """What, with the inputs, decides its content."""
        raise NotImplementedError

    @cached_property
    def token(self) -> str:
        """A hash of its content: equal stages of different queries are computed once."""
        parts = (type(self).__name__, self.npartitions, *self.identity(), *(stage.token for stage in self.inputs))
        return hashlib.sha1(repr(parts).encode(), usedforsecurity=False).hexdigest()[:20]

    @property
    def name(self) -> str:
        """The name of its tasks."""
        return f"{self.operation}-{self.token}"


class Mode(Enum):
    """Which partition of an input a partition reads: the one of the same number, or the only one there is."""

    ALIGNED = "aligned"
    BROADCAST = "broadcast"


@dataclass(frozen=True)
class Input:
    """
    An input of a fragment or a function.

    Parameters
    ----------
    stage
        The stage that is read.
    mode
        Which of its partitions.
    scalars
        A stage of one row, whose values are put beside every row of the input, as literals.
    """

    stage: Stage
    mode: Mode = Mode.ALIGNED
    scalars: Stage | None = None

    def stages(self) -> Iterator[Stage]:
        """The stages that it reads."""
        yield self.stage
        if self.scalars is not None:
            yield self.scalars


@dataclass(frozen=True, eq=False, kw_only=True)
class ScanStage(Stage):
    """
    Files, a part of them for each partition. Nothing is read before a fragment says what it needs.

    Parameters
    ----------
    scan
        The scan, without its files and how an object store is reached.
    parts
        What each partition reads.
    nfiles
        The number of files that are read.
    stamp
        A hash of what tells that files were written anew.
    cloud
        How an object store is reached: what is in it is in no name.
    note
        What was left out, and why, for people.
    order
        The order that the files may be in.
    starts
        A stage of one partition, that says where the blocks of large files begin; None where each finds out by itself.
    """

    scan: bytes
    parts: tuple[ScanPart, ...]
    nfiles: int
    stamp: str
    cloud: CloudOptions | None = None
    note: str = ""
    order: Order | None = None
    starts: Stage | None = None

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return () if self.starts is None else (self.starts,)

    def identity(self) -> tuple[Any, ...]:
        return (self.scan, self.parts, self.stamp, self.cloud.token if self.cloud else "")


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameStage(Stage):
    """Frames that the client holds, one for each partition."""

    frames: tuple[pl.DataFrame, ...]
    content: str

    def identity(self) -> tuple[Any, ...]:
        return (self.content, tuple(frame.height for frame in self.frames))


@dataclass(frozen=True, eq=False, kw_only=True)
class KeyStage(Stage):
    """Partitions that are, or will be, the results of tasks of some other graph."""

    graph: Mapping[Any, Any]
    keys: tuple[Any, ...]

    def identity(self) -> tuple[Any, ...]:
        return (self.keys,)


@dataclass(frozen=True, eq=False, kw_only=True)
class ProduceStage(Stage):
    """
    Partitions that a function makes of what is no frame: of the arguments of a call, or of the result of a task.

    Parameters
    ----------
    function
        Called with the arguments of a partition; gives a frame, lazy or not.
    items
        The arguments of each partition; references to tasks stand for their results.
    content
        A token of all this.
    graph
        The tasks, results or futures that the arguments refer to.
    again
        Whether it costs nothing but reading to have a partition twice: the frames are scans of files.
    """

    function: Callable[..., Any]
    items: tuple[tuple[Any, ...], ...]
    content: str
    graph: Mapping[Any, Any]
    again: bool = False

    def identity(self) -> tuple[Any, ...]:
        return (self.content,)


@dataclass(frozen=True, eq=False, kw_only=True)
class MapStage(Stage):
    """
    A fragment, run for each partition.

    Parameters
    ----------
    template
        The fragment.
    sources
        What is put into its slots.
    fallback
        Why it is run as a whole, where it is.
    salt
        What else decides the content: that files were written anew, or that there is an effect which is wanted again.
    """

    template: Template
    sources: tuple[Input, ...]
    fallback: str | None = None
    salt: str = ""

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return tuple(stage for item in self.sources for stage in item.stages())

    def identity(self) -> tuple[Any, ...]:
        return (self.template.token, self.salt, tuple((item.mode.value, item.scalars is None) for item in self.sources))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReduceStage(MapStage):
    """
    A fragment that makes fewer rows of those of a partition, unless it would hardly do so.

    Where nearly each row has keys of its own, to find that out takes as long as everything else, and is done once more when the rows
    of all partitions are together. So each task looks at a sample of its keys first.

    Parameters
    ----------
    each
        What runs in place of the fragment then: it gives what that would give of each row alone.
    keys
        Gives the columns whose values say which rows become one.
    read
        The columns that these are computed of.
    """

    each: Template
    keys: Template
    read: tuple[str, ...]

    def identity(self) -> tuple[Any, ...]:
        return (*super().identity(), self.each.token, self.keys.token)


@dataclass(frozen=True, eq=False, kw_only=True)
class CallStage(Stage):
    """
    A function of a module, called for each partition.

    Parameters
    ----------
    function
        Called with the frames of the inputs, then ``arguments``; with the number of the partition before these where
        ``indexed``.
    lazy
        Whether it takes and gives lazy frames, and so can be part of a larger fragment.
    streams
        Whether it takes lazy frames, runs them itself, and gives a frame: no partition need be in memory as a whole.
    note
        What it does, for people.
    content
        A hash of the function and the arguments, where these do not say by themselves what they are.
    """

    function: Callable[..., Any]
    sources: tuple[Input, ...]
    arguments: tuple[Any, ...] = ()
    lazy: bool = False
    streams: bool = False
    indexed: bool = False
    note: str = ""
    content: str | None = None

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return tuple(stage for item in self.sources for stage in item.stages())

    def identity(self) -> tuple[Any, ...]:
        what = self.content or f"{self.function.__module__}.{self.function.__qualname__}{self.arguments!r}"
        return (what, self.indexed, tuple(item.mode.value for item in self.sources))


@dataclass(frozen=True, eq=False, kw_only=True)
class RegroupStage(Stage):
    """
    Partitions put together from whole partitions of others, in order: a gather, a union, a level of a tree.

    Parameters
    ----------
    groups
        For each partition the pairs (number of the input, number of its partition) that it holds.
    """

    sources: tuple[Stage, ...]
    groups: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return self.sources

    def identity(self) -> tuple[Any, ...]:
        return (self.groups,)


@dataclass(frozen=True, eq=False, kw_only=True)
class ShuffleStage(Stage):
    """
    Every row goes to the partition that a column of the input names.

    Rows of an output partition are in the order of the input: of its partitions, and of the rows in each.

    Parameters
    ----------
    source
        The input. Each of its partitions has the column of partition numbers.
    keys
        What decides where a row goes, for people.
    kind
        ``"hash"``, ``"range"`` or ``"order"``.
    method
        How the rows get there: ``"auto"``, ``"p2p"`` or ``"tasks"``.
    """

    source: Stage
    keys: tuple[str, ...]
    kind: str
    method: str

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (self.source,)

    def identity(self) -> tuple[Any, ...]:
        return (self.kind, self.method)


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadStage(Stage):
    """
    The first rows of the whole, from as few partitions as it takes.

    Partitions are taken in waves of growing width; one whose predecessors gave enough rows is not computed.

    Parameters
    ----------
    source
        The input, each partition of which gives at most ``rows`` rows.
    rows
        How many rows are wanted.
    width
        How many partitions the first wave has.
    counts
        Whether the input gives numbers of rows in place of rows. The outcome has the number of each partition, which
        is 0 of those that are not computed.
    """

    source: Stage
    rows: int
    width: int = 1
    counts: bool = False

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return (self.source,)

    def identity(self) -> tuple[Any, ...]:
        return (self.rows, self.width, self.counts)


def walk_stages(roots: Sequence[Stage]) -> Iterator[Stage]:
    """Visit every stage once, inputs first; stages of equal content count as one."""
    seen: set[str] = set()
    stack: list[tuple[Stage, bool]] = [(root, False) for root in reversed(roots)]
    while stack:  # not by recursion: plans may be thousands of stages deep
        stage, ready = stack.pop()
        if ready:
            yield stage
        elif stage.token not in seen:
            seen.add(stage.token)
            stack.append((stage, True))
            stack.extend((item, False) for item in reversed(stage.inputs))
