"""
Parts of a plan that are read more than once, and are computed once.

Equal parts of a plan are equal stages anyway. But what reads a part asks it for the columns that it needs, and for no others: two
readers with different needs would have it computed twice::

    (lines join parts)[price, quantity] join group_by((lines join parts)[quantity])

So a query with such a part is planned again, where all readers read what any of them needs. Readers whose filters leave few rows
are left alone: all rows are only computed where somebody needs all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from dask_polars.dsl.expressions import column, null_column
from dask_polars.dsl.leaves import SOURCE
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import select_node
from dask_polars.plan.planner import Planner
from dask_polars.plan.regions import Region
from dask_polars.plan.reread import StageSource
from dask_polars.plan.stages import FrameStage, KeyStage, ScanStage, Stage, walk_stages

# How many times as large as what is read for it a part may be that is kept in place of being computed again.
_LARGER = 2


def read_once(planner: Planner, node: Node, region: Region) -> Region:
    """
    Put a region on top of what is computed once of its core.

    Parameters
    ----------
    planner
        The planner, which knows the parts that are shared.
    node
        The plan of the region.
    region
        The region.

    Returns
    -------
    Region
        The same one where its core is not shared.
    """
    columns = planner.shared[region.core.digest]
    whole = select_node(None, [column(name) for name in columns], region.core, keep_height=True)
    if whole.digest == node.digest:
        return region
    source = Node(SOURCE, {"source": StageSource(planner.lower(whole))})
    schema = planner.schema(region.core)
    if len(columns) == len(schema):
        return Region(region.chain, source)
    # What no reader needs is not computed, but what stands on it may name all columns.
    padded = [column(name) if name in columns else null_column(name, dtype) for name, dtype in schema.items()]
    return Region((*region.chain, select_node(None, padded, source, keep_height=True)), source)


def shared_parts(planner: Planner, roots: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """
    Find the parts of a plan that are computed more than once.

    Parameters
    ----------
    planner
        The planner that has made the plan.
    roots
        The stages that give its results.

    Returns
    -------
    dict
        The columns that any reader needs, by the digests of the nodes.
    """
    candidates = [readers for readers in planner.readers.values() if len(readers) > 1]
    if not candidates:
        return {}
    there = {stage.token for stage in walk_stages(roots)}
    out: dict[str, tuple[str, ...]] = {}
    for readers in candidates:
        read = [(region, stage) for region, stage in readers.values() if stage.token in there]
        if len({stage.token for _, stage in read}) > 1:
            columns = _all_columns(planner, [region for region, _ in read])
            if columns is not None and _is_worth_keeping(read[0][1]):
                out[read[0][0].core.digest] = columns
    return out


def _all_columns(planner: Planner, regions: Sequence[Region]) -> tuple[str, ...] | None:
    """Give the columns of a core that any of some regions needs; None where none of them needs all rows."""
    schema = planner.schema(regions[0].core)
    needed: set[str] = set()
    everything = False
    for region in regions:
        if not region.chain:
            return tuple(schema)
        (demand,) = planner.demands(region.over_first, [schema])
        needed |= set(schema if demand.columns is None else demand.columns)
        everything = everything or not demand.filters
    return tuple(name for name in schema if name in needed) if everything else None


def _is_worth_keeping(stage: Stage) -> bool:
    """Say whether a part is not much larger than what would be read again for it."""
    sources = [below for below in walk_stages([stage]) if isinstance(below, (ScanStage, FrameStage, KeyStage))]
    return stage.size.bytes <= _LARGER * sum(source.size.bytes for source in sources)
