"""
The planner: from a plan tree to stages.

A plan is cut into *regions*: row by row nodes on top of at most one wide node (or a leaf). A region is what becomes a
fragment. Its inputs are asked, through Polars' own optimizer, for no more than the region needs, and lowered in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from typing import Any

import polars as pl

from dask_polars.cluster import Cluster
from dask_polars.config import Options
from dask_polars.dsl.codec import encode
from dask_polars.dsl.expressions import Expression, alias, calls_python, column, columns_of
from dask_polars.dsl.leaves import PIPE, SOURCE, Demand, demands_of, slot
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import filter_node, schema_over, select_node
from dask_polars.io.clustering import Bounds, Order, cut_by
from dask_polars.io.files import file_set, schema_of_scan
from dask_polars.io.parts import FileSet, Wanted
from dask_polars.io.statistics import predicates
from dask_polars.io.table_files import FilesRequest
from dask_polars.plan.regions import WITH_SCALARS, Region, find_region, keeps_rows, simplify
from dask_polars.plan.stages import (
    Input,
    MapStage,
    Mode,
    ReduceStage,
    RegroupStage,
    ScanStage,
    Share,
    Size,
    Stage,
    walk_stages,
)

# How many times above a limit something could be, at worst, that is guessed to be below it.
DOUBT_ALLOWED = 4

SchemaDict = Mapping[str, pl.DataType]
Handler = Callable[["Planner", Region], Stage]
LOWER: dict[str, Handler] = {}
# The schemas of nodes that are ours alone, from those of their inputs.
OUR_SCHEMAS: dict[str, Callable[[Node, Sequence[SchemaDict]], SchemaDict]] = {}


def lowers(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a function as the one that lowers regions with a core of these kinds."""

    def register(handler: Handler) -> Handler:
        LOWER.update(dict.fromkeys(kinds, handler))
        return handler

    return register


@dataclass(frozen=True)
class Fallback:
    """A part of a query that is gathered to one partition, and why."""

    operation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.reason}"


@dataclass
class Planner:
    """
    Lowers one query, or several that share their common parts.

    Parameters
    ----------
    options
        What to plan with.
    cluster
        The cluster that it will run on; None where there is none.
    fallbacks
        What was gathered to one partition, and why.
    outputs
        The sinks, as :class:`dask_polars.plan.sink.Output`.
    tables
        What sinks to tables write, by what is in their plans: these are committed by whoever runs the plan.
    known
        Stages that have run, by the tokens of the stages as they were planned.
    questions
        What it would be good to know before the query runs, as :class:`dask_polars.plan.steps.Question`.
    met
        The tokens of known stages that were come across.
    shared
        The columns that are needed of parts that are read more than once, by the digests of their nodes.
    reused
        The digests of nodes that more than one other node reads.
    readers
        Which regions there are over a node that is no leaf, and their stages, by the digest of the node and the tokens of the stages.
    expanded, steps
        The expressions of nodes, and which columns they keep, by their digests: see :mod:`dask_polars.plan.lineage`.
    scans
        The stages of regions over scans of files, by the digest of the region and the id of the files. Other planners of the same
        query share them.
    shares
        The shares of the rows of scans that pass the filters of regions, by the digests of these.
    """

    options: Options
    cluster: Cluster | None = None
    fallbacks: list[Fallback] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    tables: Mapping[str, FilesRequest] = field(default_factory=dict)
    known: Mapping[str, Stage] = field(default_factory=dict)
    questions: list[Any] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reused: Set[str] = frozenset()
    readers: dict[str, dict[str, tuple[Region, Stage]]] = field(default_factory=dict)
    expanded: dict[str, Sequence[Expression] | None] = field(default_factory=dict)
    steps: dict[str, Mapping[str, str]] = field(default_factory=dict)
    scans: dict[tuple[str, int], Stage] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    _stages: dict[str, Stage] = field(default_factory=dict)
    _schemas: dict[str, SchemaDict] = field(default_factory=dict)
    _files: dict[tuple[str, str, Bounds | None], FileSet | None] = field(default_factory=dict)
    _cuts: Mapping[Bounds, Bounds] = field(default_factory=dict)
    _before: Planner | None = None
    _anew: dict[frozenset[tuple[Bounds, Bounds]], Planner] = field(default_factory=dict)

    # ------------------------------------------------------------ lowering

    def lower(self, node: Node) -> Stage:
        """
        Give the stage that computes a node.

        Parameters
        ----------
        node
            The root of a plan.

        Returns
        -------
        Stage
            With the schema of the node.
        """
        if node.digest not in self._stages:
            self._stages[node.digest] = self._as_before(node) or self._lower_anew(node)
        return self._stages[node.digest]

    def _lower_anew(self, node: Node) -> Stage:
        region = find_region(simplify(node, self.schema), self.schema)
        if region.core.digest in self.shared:
            from dask_polars.plan.shared import read_once

            region = read_once(self, node, region)
        handler = LOWER.get(region.core.kind, LOWER["Fallback"])
        stage = self.as_known(handler(self, region))
        if region.core.inputs:
            self.readers.setdefault(region.core.digest, {})[stage.token] = region, stage
        return stage

    def _as_before(self, node: Node) -> Stage | None:
        """Give the stage that the planner before has made, where nothing is read for it that is cut otherwise here."""
        stage = self._before._stages.get(node.digest) if self._before is not None else None
        if stage is None or any(self._cut_otherwise(below.order) for below in _scans_of(stage)):
            return None
        return stage

    def _cut_otherwise(self, order: Order | None) -> bool:
        return order is not None and order.clusters is not None and order.clusters.bounds in self._cuts

    def as_known(self, stage: Stage) -> Stage:
        """Give a stage as it is known if it has run already."""
        if not self.known or stage.token not in self.known:
            return stage
        self.met.add(stage.token)
        return self.known[stage.token]

    @property
    def asks(self) -> bool:
        """Whether decisions can be made again: the query may run in steps."""
        return self.options.adaptive and self.cluster is not None

    def schema(self, node: Node) -> SchemaDict:
        """Give the schema of a node, as Polars resolves it."""
        if node.digest in self._schemas:
            return self._schemas[node.digest]
        stack = [node]
        while stack:  # not by recursion: plans may be thousands of nodes deep
            below = [child for child in stack[-1].inputs if child.digest not in self._schemas]
            if stack[-1].digest in self._schemas:
                stack.pop()
            elif below and stack[-1].kind != PIPE:
                stack.extend(below)
            else:
                top = stack.pop()
                self._schemas[top.digest] = self._resolve_schema(top)
        return self._schemas[node.digest]

    def _resolve_schema(self, node: Node) -> SchemaDict:
        if node.kind == SOURCE:
            return dict(node.fields["source"].schema)
        if node.kind == "Scan":
            return schema_of_scan(node)
        if node.kind == PIPE:
            return self.schema(simplify(node, self.schema))
        if node.kind == WITH_SCALARS:
            rows, scalars = node.inputs
            return {**self.schema(rows), **self.schema(scalars)}
        schemas = [self.schema(child) for child in node.inputs]
        return OUR_SCHEMAS.get(node.kind, schema_over)(node, schemas)

    def files_of(self, region: Region) -> FileSet | None:
        """
        Cut a scan into parts, by what a region needs of it.

        Rows that are read twice have to be cut in the same way, whichever columns are read of them: the columns of the
        first time count.

        Parameters
        ----------
        region
            A region over a scan.

        Returns
        -------
        FileSet, or None
            None where the scan cannot be cut.
        """
        schema = self.schema(region.core)
        demand = self.demands(region.over_first, [schema])[0] if region.chain else Demand()
        filters = tuple(tree for tree in demand.filters if predicates([tree], schema) is not None)
        key = (region.core.digest, repr(filters))
        if (*key, None) not in self._files:
            columns = tuple(schema) if demand.columns is None else demand.columns
            options = self.options
            wanted = Wanted(
                schema=schema,
                columns=columns,
                filters=filters,
                target=options.partition_size,
                limit=options.max_rows_per_partition,
                cluster=self.cluster,
            )
            self._files[*key, None] = file_set(region.core, wanted)
        files = self._files[*key, None]
        if files is None or not self._cuts or not self._cut_otherwise(files.order):
            return files
        assert files.order is not None
        assert files.order.clusters is not None
        bounds = self._cuts[files.order.clusters.bounds]
        if (*key, bounds) not in self._files:
            self._files[*key, bounds] = cut_by(files, bounds) or files
        return self._files[*key, bounds]

    def cut_so_far(self, core: Node) -> list[FileSet]:
        """Give the files of a scan in each way that they were cut so far: nothing is read or cut to know more of them."""
        return [files for key, files in self._files.items() if key[0] == core.digest and files is not None]

    def cut_anew(self, bounds: Bounds, others: Bounds) -> Planner:
        """
        Give a planner that cuts files otherwise.

        Parameters
        ----------
        bounds
            The values at which the scans that are meant are cut.
        others
            The values at which they are to be cut.

        Returns
        -------
        Planner
            It takes no notes of fallbacks: this one has them already.
        """
        cuts = {**self._cuts, bounds: others}
        key = frozenset(cuts.items())
        if key not in self._anew:
            self._anew[key] = replace(self, _cuts=cuts, _stages={}, _before=self, fallbacks=[])
        return self._anew[key]

    def sharing(self, shared: Mapping[str, tuple[str, ...]]) -> Planner:
        """
        Give a planner for the same queries that has parts of them computed once.

        Parameters
        ----------
        shared
            The columns that are needed of these parts, by the digests of their nodes.

        Returns
        -------
        Planner
        """
        clean: dict[str, Any] = {"fallbacks": [], "outputs": [], "questions": [], "met": set(), "readers": {}}
        return replace(self, shared=shared, **clean, _stages={}, _before=None, _anew={})

    # ------------------------------------------------------------ asking for less

    def demands(self, build: Callable[[Sequence[Node]], Node], schemas: Sequence[SchemaDict]) -> list[Demand]:
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
        list of Demand
            What may be pushed into each input.
        """
        return list(demands_of(build, schemas))

    def push_down(self, build: Callable[[Sequence[Node]], Node], inputs: Sequence[Node]) -> list[Node]:
        """Give the inputs of a region, each asked for no more than the region needs."""
        schemas = [self.schema(node) for node in inputs]
        demands = self.demands(build, schemas)
        return [self.restrict(node, demand) for node, demand in zip(inputs, demands, strict=True)]

    def restrict(self, node: Node, demand: Demand) -> Node:
        """Apply to an input what the region above it demands."""
        for predicate in demand.filters:
            node = filter_node(predicate, node)
        if demand.columns is not None and len(demand.columns) < len(self.schema(node)):
            node = select_node(None, [column(name) for name in demand.columns], node, keep_height=True)
        return node

    # ------------------------------------------------------------ building stages

    def fragment(
        self,
        operation: str,
        build: Callable[[Sequence[Node]], Node],
        sources: Sequence[Input | Stage],
        schemas: Sequence[SchemaDict],
        *,
        size: Size | None = None,
        **facts: Any,
    ) -> MapStage:
        """
        Make the stage that runs a region on each partition.

        Parameters
        ----------
        operation
            The name of its tasks.
        build
            Builds the region over slots.
        sources
            The inputs.
        schemas
            The schemas that the region was written for; columns that an input lacks are nulls that nothing reads.
        size
            What it is thought to give; that of the first input, if not given.
        **facts
            Placement, distinct and the like, of the stage.

        Returns
        -------
        MapStage
        """
        items = tuple(item if isinstance(item, Input) else Input(item) for item in sources)
        leaves = [slot(index, schema) for index, schema in enumerate(schemas)]
        self._schemas.update({leaf.digest: schema for leaf, schema in zip(leaves, schemas, strict=True)})
        root = build(leaves)
        schema = self.schema(root)
        aligned = [item.stage for item in items if item.mode is Mode.ALIGNED]
        rows = size if size is not None else items[0].stage.size
        return MapStage(
            operation=operation,
            schema=schema,
            npartitions=aligned[0].npartitions if aligned else 1,
            size=Size.guess(rows.rows, schema, exact=rows.exact, doubt=rows.doubt),
            template=encode(root),
            sources=items,
            **facts,
        )

    def reduction(
        self, stage: MapStage, rows: Node, leaf: Node, each: Node | None, keys: Sequence[Expression]
    ) -> MapStage:
        """
        Have each task of a fragment see whether it makes fewer rows of those that there are.

        Parameters
        ----------
        stage
            The fragment, over one input.
        rows
            The plan of this input.
        leaf
            What stands for it.
        each
            What the fragment would give of each row alone, over that leaf; None where that is not known.
        keys
            Columns and expressions, not all of them literals, whose values say which rows become one.

        Returns
        -------
        MapStage
            The stage as it was where it is not known how to leave rows alone, where it is not cheap to look at the keys, or where there
            may be many rows for each that is read: Polars would not hold all of them at once, and to look at them does.
        """
        if each is None or dict(self.schema(each)) != dict(stage.schema) or any(map(calls_python, keys)):
            return stage
        region = find_region(simplify(rows, self.schema), self.schema)
        if region.core.inputs or not all(node.kind == "Filter" or keeps_rows(node) for node in region.chain):
            return stage
        sampled = select_node(None, [alias(key, f"k{index}") for index, key in enumerate(keys)], leaf)
        if any(dtype.is_nested() or dtype.is_object() for dtype in self.schema(sampled).values()):
            return stage
        given = {item.name: getattr(stage, item.name) for item in fields(stage) if item.init}
        read = tuple(sorted({name for key in keys for name in columns_of(key)}))
        return ReduceStage(**given, each=encode(each), keys=encode(sampled), read=read)

    def regroup(self, stage: Stage, groups: Sequence[Sequence[int]], operation: str = "concat") -> Stage:
        """Put whole partitions of a stage together."""
        return RegroupStage(
            operation=operation,
            schema=stage.schema,
            npartitions=len(groups),
            size=stage.size,
            distinct=stage.distinct,
            sources=(stage,),
            groups=tuple(tuple((0, part) for part in group) for group in groups),
        )

    def gather(self, stage: Stage) -> Stage:
        """Put all partitions into one."""
        return stage if stage.npartitions == 1 else self.regroup(stage, [range(stage.npartitions)], "gather")

    def tree(self, operation: str, stage: Stage, combine: Callable[[Node], Node]) -> Stage:
        """
        Combine partial results, some at once, until they are in one partition.

        Parameters
        ----------
        operation
            The name of the tasks.
        stage
            Partial results.
        combine
            Builds what combines several partial results into one of the same schema.

        Returns
        -------
        Stage
            One partition, of partial results that have not been combined for the last time.
        """
        while stage.npartitions > self.options.split_every:
            count = math.ceil(stage.npartitions / self.options.split_every)
            groups = split_evenly(stage.npartitions, count)
            grouped = self.regroup(stage, groups, "tree")
            stage = self.fragment(operation, lambda leaves: combine(leaves[0]), [grouped], [stage.schema])
        return self.gather(stage)

    def partitions_for(self, size: Size, most: int) -> int:
        """Say into how many partitions something of a size should go, from 1 to ``most``."""
        target = self.options.partition_size
        wanted = max(math.ceil(size.bytes / target), math.ceil(size.most / (DOUBT_ALLOWED * target)))
        if self.options.max_rows_per_partition is not None:
            wanted = max(wanted, math.ceil(size.rows / self.options.max_rows_per_partition))
        return max(1, min(wanted, most))

    def is_small(self, size: Size) -> bool:
        """Say whether something fits into one partition."""
        return self.fits(size, self.options.partition_size)

    def fits(self, size: Size, limit: float) -> bool:
        """Say whether something is thought to be below a limit, and could not be far above it either."""
        return size.bytes <= limit and size.most <= DOUBT_ALLOWED * limit

    def fall_back(self, operation: str, reason: str, stages: Sequence[Stage]) -> None:
        """Note that an operation is gathered to one partition, where there is more than one."""
        if any(stage.npartitions > 1 for stage in stages):
            found = Fallback(operation, reason)
            if found not in self.fallbacks:
                self.fallbacks.append(found)


def _scans_of(stage: Stage) -> Iterator[ScanStage]:
    return (below for below in walk_stages([stage]) if isinstance(below, ScanStage))


def split_evenly(count: int, parts: int) -> list[range]:
    """Split ``range(count)`` into runs of nearly equal length."""
    return [range(index * count // parts, (index + 1) * count // parts) for index in range(parts)]
