"""
Rows that meet where they are read.

Files that were written in the order of a key can be cut at values of it (`io/clustering.py`): then a partition has all rows
of a group, and the matching rows of two sides of a join are in partitions of the same number. No row has to move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dask_polars.dsl.expressions import Expression, kind_of
from dask_polars.dsl.nodes import Node
from dask_polars.io.clustering import Bounds, Clusters
from dask_polars.plan.lineage import followed_down
from dask_polars.plan.planner import Planner
from dask_polars.plan.stages import MapStage, Mode, ScanStage, Stage, walk_stages

# A side that takes less memory than this is broadcast in no time.
_SMALL = 2**20
# A partition may become so many times as large as it should be.
_LARGER = 8


@dataclass(frozen=True)
class JoinSide:
    """
    A side of a join.

    Parameters
    ----------
    node
        Its plan.
    stage
        Its stage.
    keys
        The keys, as expressions over its columns.
    """

    node: Node
    stage: Stage
    keys: Sequence[Expression]


def cut_for_groups(planner: Planner, node: Node, stage: Stage, keys: Sequence[Expression]) -> Stage:
    """
    Read rows such that each partition has whole groups, where files are in the order of a key.

    Parameters
    ----------
    planner
        The planner.
    node
        The rows, as a plan.
    stage
        The stage of this plan.
    keys
        What they are grouped by.

    Returns
    -------
    Stage
        The rows, those of a group in their order; the stage itself where that cannot be.
    """
    clusters = _clusters_of(stage) if _may_be_in_order(stage, keys) else None
    if clusters is None or not any(_column(key) == clusters.column for key in keys):
        return stage
    if clusters.apart and stage.placement is not None:
        return stage
    cut = _cut(planner, node, stage, clusters, clusters.bounds)
    return stage if cut is None or _place(cut, keys) is None else cut


def colocated(planner: Planner, order: str, left: JoinSide, right: JoinSide) -> tuple[Stage, Stage] | None:
    """
    Find sides of a join whose matching rows are in partitions of the same number.

    Parameters
    ----------
    planner
        The planner.
    order
        Whose order the outcome has.
    left
        The left side.
    right
        The right side.

    Returns
    -------
    tuple of Stage, or None
        The sides, cut at the same values; None where that cannot be, or does not pay.
    """
    sides = (left, right)
    if order != "None" or min(side.stage.size.bytes for side in sides) < _SMALL:
        return None
    if not all(_may_be_in_order(side.stage, side.keys) for side in sides):
        return None
    orders = [_clusters_of(side.stage) for side in sides]
    if None in orders or not all(map(partial(_may_be_by_key, planner), sides, orders)):
        return None
    # The side that more has to be read of, whatever filters leave of it, is cut by its size, the other one at the same values.
    base = 0 if _read(left.stage) >= _read(right.stage) else 1
    bounds = orders[base].bounds  # type: ignore[union-attr]
    stages = []
    for side, clusters in zip(sides, orders, strict=True):
        assert clusters is not None
        same = clusters.apart and clusters.bounds == bounds and side.stage.placement is not None
        cut = side.stage if same else _cut(planner, side.node, side.stage, clusters, bounds)
        if cut is None:
            return None
        stages.append(cut)
    places = [_place(stage, side.keys) for stage, side in zip(stages, sides, strict=True)]
    return (stages[0], stages[1]) if None not in places and places[0] == places[1] and _same_type(stages) else None


def _read(stage: Stage) -> tuple[int, float]:
    return stage.npartitions, stage.size.bytes


def _cut(planner: Planner, node: Node, stage: Stage, clusters: Clusters, bounds: Bounds) -> Stage | None:
    """Plan rows anew, with their files cut at other values; None where that is not what comes out."""
    if not _is_read_apart(stage, clusters.bounds):
        return None
    cut = planner.cut_anew(clusters.bounds, bounds).lower(node)
    placed = cut.placement is not None and cut.placement.bounds == bounds
    if not placed or cut.npartitions != len(bounds) + 1 or not _is_read_apart(cut, bounds):
        return None
    return cut if cut.size.bytes <= _LARGER * planner.options.partition_size * cut.npartitions else None


def _column(key: Expression) -> str | None:
    return key["Column"] if kind_of(key) == "Column" else None


def _place(stage: Stage, keys: Sequence[Expression]) -> int | None:
    """Give the number of the key that the files of a stage are cut at."""
    if stage.placement is None or stage.placement.bounds is None:
        return None
    names = [_column(key) for key in keys]
    (name,) = stage.placement.columns
    return names.index(name) if name in names else None


def _same_type(stages: Sequence[Stage]) -> bool:
    types = [stage.schema[stage.placement.columns[0]] for stage in stages if stage.placement is not None]
    return types[0] == types[1]


def _may_be_in_order(stage: Stage, keys: Sequence[Expression]) -> bool:
    """Say whether the files that a stage reads may be in the order of a key."""
    scan = _scan_of(stage)
    if scan is None or scan.order is None:
        return False
    # A name that the files do not have is that of a column with another name below.
    return any(_column(key) in scan.order.columns or _column(key) not in scan.schema for key in keys)


def _may_be_by_key(planner: Planner, side: JoinSide, clusters: Clusters) -> bool:
    """
    Say whether the column that files are cut at may be one of the keys of a side; to plan the side anew would be in vain otherwise.

    Keys are followed down, as what is known of where rows are is followed up.
    """
    if _is_apart_at(side.stage, clusters.bounds):
        return _place(side.stage, side.keys) is not None
    names = [name for key in side.keys if (name := _column(key)) is not None]
    return any(_may_be_column(planner, side.node, name, clusters.column) for name in names)


def _is_apart_at(stage: Stage, bounds: Bounds) -> bool:
    return stage.placement is not None and stage.placement.bounds == bounds


def _may_be_column(planner: Planner, node: Node, name: str, column: str) -> bool:
    """Say whether a column of a plan may be, with no change, a column of files below."""
    found = followed_down(planner, node, [name])
    if found is None:
        return False
    region, below = found
    return region.core.kind != "Scan" or below == [column]


def _clusters_of(stage: Stage) -> Clusters | None:
    """Find the order of the files that a stage reads; footers are read for that."""
    scan = _scan_of(stage)
    return None if scan is None or scan.order is None else scan.order.clusters


def _scan_of(stage: Stage) -> ScanStage | None:
    """Find the files that a stage reads, partition by partition."""
    while isinstance(stage, MapStage):
        aligned = [item.stage for item in stage.sources if item.mode is Mode.ALIGNED]
        if not aligned:
            return None
        stage = aligned[0]
    return stage if isinstance(stage, ScanStage) else None


def _is_read_apart(stage: Stage, bounds: Bounds) -> bool:
    """
    Say whether a stage is, partition by partition, fragments over files of some order, and these are read nowhere else.

    Cut anew, rows with different values may change places, which must not matter to anything.
    """
    if isinstance(stage, ScanStage):
        return _is_cut_at(stage, bounds)
    if not isinstance(stage, MapStage):
        return False
    aligned = [item.stage for item in stage.sources if item.mode is Mode.ALIGNED]
    others = [below for item in stage.sources for below in item.stages() if below not in aligned]
    if any(_is_cut_at(below, bounds) for below in walk_stages(others)):
        return False
    return bool(aligned) and all(_is_read_apart(below, bounds) for below in aligned)


def _is_cut_at(stage: Stage, bounds: Bounds) -> bool:
    clusters = stage.order.clusters if isinstance(stage, ScanStage) and stage.order is not None else None
    return clusters is not None and clusters.bounds == bounds
