"""
Leaves of plans: slots for partitions, probes for the optimizer, sources of ours.

A *slot* is where a partition goes. It is ``pl.LazyFrame(schema=…).pipe_with_schema(slot)``: the callable is pickled into
the plan, and unpickling it on a worker, in the thread that deserializes the plan, gives a callable that holds the frame
of the running task, so that the leaf becomes an ordinary in-memory scan (or a scan of files, where it was given one).

A *probe* stands in for the input of a region while Polars optimizes it, and remembers what could be pushed below.

A *source* is a leaf that already comes in partitions: frames in memory, persisted partitions, another collection.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import polars as pl
from polars.lazyframe.resolver import FilterExpr, LazyFrameResolver

from dask_polars.dsl.codec import decode, decode_expr, to_lazyframe
from dask_polars.dsl.nodes import ByContent, Node, transform

SchemaDict = Mapping[str, pl.DataType]

# ---------------------------------------------------------------- slots

_BOUND: ContextVar[tuple[pl.LazyFrame, ...] | None] = ContextVar("dask_polars_bound", default=None)


class Slot:
    """The callable of a leaf that waits for a partition."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return (bind_slot, (self.index,))

    def __call__(self, lf: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        return lf


class BoundSlot:
    """The callable of a leaf that holds the partition of the running task."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self.frame = frame

    def __call__(self, lf: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        """
        Give the partition, with the columns that the plan was written for.

        What was pruned from the partition comes back as nulls, so that wildcards and positions mean the same; nothing
        reads them, so that Polars drops them again.
        """
        have = self.frame.collect_schema()
        if list(have) == list(schema):
            return self.frame
        missing = [_null(name, dtype) for name, dtype in schema.items() if name not in have]
        return self.frame.with_columns(missing).select(list(schema))


@lru_cache(maxsize=1024)  # a task has dozens of them, and the next one has the same
def _null(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.lit(None, dtype=dtype).alias(name)


def bind_slot(index: int) -> Slot | BoundSlot:
    """Unpickle a slot: bound where a task is being set up, as it is otherwise."""
    frames = _BOUND.get()
    return Slot(index) if frames is None else BoundSlot(frames[index])


def slot(index: int, schema: SchemaDict) -> Node:
    """Make the leaf number ``index`` of a fragment."""
    return _slot(index, tuple(schema.items()))


@lru_cache(maxsize=1024)
def _slot(index: int, schema: tuple[tuple[str, pl.DataType], ...]) -> Node:
    return decode(pl.LazyFrame(schema=dict(schema)).pipe_with_schema(Slot(index)))


def bind(template: bytes, frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """
    Put partitions into the slots of a fragment.

    Parameters
    ----------
    template
        A serialized plan with slots.
    frames
        A lazy frame for each slot.

    Returns
    -------
    pl.LazyFrame
        The plan over these frames; nothing ran.
    """
    token = _BOUND.set(tuple(frames))
    try:
        return pl.LazyFrame.deserialize(io.BytesIO(template))
    finally:
        _BOUND.reset(token)


# ---------------------------------------------------------------- probes

_PROBES: dict[int, Probe] = {}
_PROBE_IDS = itertools.count()


@dataclass(frozen=True)
class Demand:
    """
    What a region asks of one of its inputs.

    Parameters
    ----------
    filters
        Predicates, as expression trees, that every needed row passes.
    columns
        Names of the needed columns, those that the predicates read included; None for all.
    limit
        Number of rows, from the first, that is enough; None for all.
    """

    filters: tuple[Any, ...] = ()
    columns: tuple[str, ...] | None = None
    limit: int | None = None


class Probe(LazyFrameResolver):
    """A leaf that is told by Polars' optimizer what is needed of it."""

    def __init__(self, schema: SchemaDict) -> None:
        self.index = next(_PROBE_IDS)
        self._schema = dict(schema)
        self.demand = Demand()

    def schema(self) -> dict[str, Any]:
        return self._schema

    def resolve_lazyframe(
        self,
        *,
        projection: list[str] | None,
        limit: int | None,
        filters: list[FilterExpr],
        filter_columns: list[str],
        filter_drop_columns_idx: int | None,
        existing_resolved_version_key: str | None,
    ) -> pl.LazyFrame:
        needed = None if projection is None else {*projection, *filter_columns}
        columns = None if needed is None else tuple(name for name in self._schema if name in needed)
        self.demand = Demand(tuple(decode_expr(item.expr) for item in filters), columns, limit)
        return pl.LazyFrame(schema=self._schema)

    def __reduce__(self) -> tuple[Any, ...]:
        # The plan is pickled on its way through Polars; this very object must come out again.
        return (find_probe, (self.index,))


def find_probe(index: int) -> Probe:
    """Unpickle a probe: it is the one that was pickled."""
    return _PROBES[index]


@contextmanager
def probes(schemas: Sequence[SchemaDict]) -> Iterator[list[Probe]]:
    """Make a probe for each schema, known for as long as the block runs."""
    made = [Probe(schema) for schema in schemas]
    _PROBES.update({probe.index: probe for probe in made})
    try:
        yield made
    finally:
        for probe in made:
            del _PROBES[probe.index]


def demands_of(build: Callable[[Sequence[Node]], Node], schemas: Sequence[SchemaDict]) -> tuple[Demand, ...]:
    """
    Ask Polars' optimizer what a region needs of its inputs.

    Parameters
    ----------
    build
        Builds the region over leaves in place of its inputs.
    schemas
        The schemas of the inputs.

    Returns
    -------
    tuple of Demand
        What may be pushed into each input.
    """
    slots = [slot(index, schema) for index, schema in enumerate(schemas)]
    return _demands_of(ByContent(build(slots)), tuple(tuple(schema.items()) for schema in schemas))


@lru_cache(maxsize=1024)
def _demands_of(region: ByContent, schemas: tuple[tuple[tuple[str, pl.DataType], ...], ...]) -> tuple[Demand, ...]:
    with probes([dict(schema) for schema in schemas]) as found:
        leaves = {slot(index, dict(schema)).digest: decode(found[index].lazy()) for index, schema in enumerate(schemas)}
        root = transform(region.node, lambda node: leaves.get(node.digest, node))
        # Not `_ldf.visit()`, which holds the interpreter lock while the resolver waits for it.
        to_lazyframe(root).explain(engine="in-memory")
        return tuple(probe.demand for probe in found)


# ---------------------------------------------------------------- sources


class Source(Protocol):
    """A leaf that comes in partitions already. It must be picklable."""

    @property
    def schema(self) -> SchemaDict: ...

    @property
    def token(self) -> str: ...

    def lazy(self) -> pl.LazyFrame:
        """Give the whole as one lazy frame of this process, for Polars to run."""


_PLANNING: ContextVar[dict[str, Source] | None] = ContextVar("dask_polars_planning", default=None)


@dataclass(frozen=True)
class SourceLeaf:
    """
    The callable of a leaf over a source.

    Pickled while a plan is taken apart, it is a reference, so that no data is copied; pickled otherwise (a lazy frame
    that is sent to another process) it is the source itself.
    """

    source: Source = field(repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        known = _PLANNING.get()
        if known is None:
            return (SourceLeaf, (self.source,))
        known[self.source.token] = self.source
        return (find_source_leaf, (self.source.token,))

    def __call__(self, lf: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        return self.source.lazy()


def find_source_leaf(token: str) -> SourceLeaf:
    """Unpickle a reference to a source."""
    known = _PLANNING.get()
    if known is None:
        raise pickle.UnpicklingError(f"source {token} is only known while its plan is taken apart")
    return SourceLeaf(known[token])


def source_lazyframe(source: Source) -> pl.LazyFrame:
    """Make a lazy frame that reads a source."""
    return pl.LazyFrame(schema=source.schema).pipe_with_schema(SourceLeaf(source))


SOURCE = "Source"  # the kind of node that a leaf over a source decodes to


def decode_with_sources(lf: pl.LazyFrame) -> Node:
    """Take a plan apart; its sources of ours become nodes of kind ``"Source"``."""
    known: dict[str, Source] = {}
    token = _PLANNING.set(known)
    try:
        root = decode(lf)
        return transform(root, lambda node: _source_node(node) or node)
    finally:
        _PLANNING.reset(token)


class PipeFunction:
    """
    The function of a ``pipe_with_schema``.

    Parameters
    ----------
    function
        What Polars pickled: it takes a list of plans and a list of schemas, and gives a plan.
    token
        A hash of the pickle.
    """

    def __init__(self, function: Any, token: str) -> None:
        self.function, self.token = function, token
        self._resolved: Node | None = None

    def resolve(self, node: Node, schemas: Sequence[SchemaDict]) -> Node:
        """Call the function; what it gives stands in place of the node."""
        if self._resolved is None:
            frames, fill = in_place_of(node.inputs, schemas)
            result = self.function(([lf._ldf for lf in frames], [pl.Schema(schema) for schema in schemas]))
            self._resolved = fill(decode_with_sources(pl.LazyFrame._from_pyldf(result)))
        return self._resolved


@dataclass(frozen=True, eq=False)
class _Place:
    """Stands for a part of a plan in the frame that a function of a ``pipe_with_schema`` is given."""

    node: Node
    schema: SchemaDict

    @property
    def token(self) -> str:
        return f"place-{self.node.digest}"

    def lazy(self) -> pl.LazyFrame:
        return pl.LazyFrame(schema=self.schema)


def in_place_of(
    nodes: Sequence[Node], schemas: Sequence[SchemaDict]
) -> tuple[list[pl.LazyFrame], Callable[[Node], Node]]:
    """
    Make lazy frames that stand for plans, for code that builds a query with them.

    Parameters
    ----------
    nodes
        The plans.
    schemas
        Their schemas.

    Returns
    -------
    tuple
        The lazy frames, and a function that puts the plans into a query that was built with these.
    """
    places = list(map(_Place, nodes, schemas))
    known = {place.token: place for place in places}
    return [source_lazyframe(place) for place in places], lambda root: transform(root, lambda item: _fill(item, known))


def _fill(node: Node, places: Mapping[str, _Place]) -> Node:
    if node.kind == SOURCE and node.fields["source"].token in places:
        return places[node.fields["source"].token].node
    return node


PIPE = "Pipe"  # the kind of node that a pipe_with_schema decodes to, its function at hand


def _source_node(node: Node) -> Node | None:
    if node.kind != "PipeWithSchema":
        return None
    # Three bytes (how it was pickled, two of the version of Python) stand before the pickle.
    payload = node.fields["callback"].content[3:]
    function = pickle.loads(payload)
    # Polars wraps the callable in a function of its own.
    for cell in getattr(function, "__closure__", None) or ():
        if isinstance(cell.cell_contents, SourceLeaf):
            return Node(SOURCE, {"source": cell.cell_contents.source})
    token = hashlib.sha1(payload, usedforsecurity=False).hexdigest()
    return Node(PIPE, {"function": PipeFunction(function, token)}, node.inputs)
