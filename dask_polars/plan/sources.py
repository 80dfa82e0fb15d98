"""Leaves: scans of files, frames in memory, and what is partitioned already."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import msgpack
import polars as pl

from dask_polars.dsl.cloud import CloudOptions, without_options
from dask_polars.dsl.codec import encode, to_lazyframe
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.schemas import width_of
from dask_polars.io.blocks import COUNTS, STARTS, count_quotes, record_starts
from dask_polars.io.files import found_on_disk, scan_kind
from dask_polars.io.parts import FileSet, stamp_of
from dask_polars.plan.planner import Fallback, Planner, lowers, split_evenly
from dask_polars.plan.regions import Region
from dask_polars.plan.selectivity import share_passing
from dask_polars.plan.stages import CallStage, FrameStage, Input, MapStage, Placement, ScanStage, Size, Stage


def on_source(planner: Planner, region: Region, stage: Stage, files: FileSet | None = None) -> Stage:
    """Run a region on the partitions of a source, of files if it is a scan of some."""
    if not region.chain:
        return stage
    schema = planner.schema(region.core)
    operation = stage.operation if isinstance(stage, ScanStage) else region.chain[0].kind.lower()
    size = share_passing(planner, region, files).of(stage.size)
    return planner.fragment(
        operation,
        lambda leaves: region.over(leaves[0]),
        [stage],
        [schema],
        size=size,
        **followed(planner, region, stage),
    )


def followed(planner: Planner, region: Region, stage: Stage) -> dict[str, Any]:
    """Give the facts about a stage that are still true on top of a region's chain."""
    from dask_polars.plan.lineage import distinct_after, renames

    kept = renames(planner, region)
    distinct = distinct_after(planner, region, stage.distinct or {})
    return {"placement": stage.placement.renamed(kept) if stage.placement else None, "distinct": distinct}


# ---------------------------------------------------------------- files


@lowers("Scan")
def lower_scan(planner: Planner, region: Region) -> Stage:
    """Lower a scan of files."""
    files = planner.files_of(region)
    if files is None:
        return _whole_scan(planner, region)
    key = region.root.digest, id(files)  # which the planner keeps
    if key not in planner.scans:
        planner.scans[key] = on_source(planner, region, scan_stage(planner, region.core, files), files)
    return planner.scans[key]


def scan_stage(planner: Planner, node: Node, files: FileSet) -> ScanStage:
    """
    Make the stage of a scan of files.

    Parameters
    ----------
    planner
        The planner.
    node
        The scan.
    files
        Its files, in parts.

    Returns
    -------
    ScanStage
    """
    scan, cloud = without_options(node.with_fields(**files.fields))
    packed = msgpack.packb({"fields": dict(scan.fields), "reading": files.reading}, default=_unpackable)
    return ScanStage(
        operation=f"scan-{files.format}",
        schema=planner.schema(node),
        npartitions=len(files.parts),
        size=Size(files.rows, files.bytes, files.exact),
        distinct=files.distinct,
        placement=_apart(files),
        scan=packed,
        parts=files.parts,
        nfiles=files.nfiles,
        stamp=files.stamp,
        cloud=cloud,
        note=files.note,
        order=files.order,
        starts=_record_starts(planner, files, packed, cloud) if files.reading.get("quoted") else None,
    )


def _record_starts(planner: Planner, files: FileSet, scan: bytes, cloud: CloudOptions | None) -> Stage | None:
    """Find out where records begin in large files whose fields may be quoted: by counting the quotes before."""
    shares = {(part.paths[0], *part.share): None for part in files.parts if part.share is not None}
    if not shares:
        return None
    schema = {"path": pl.String, "place": pl.Int64, "count": pl.Int64, "size": pl.Int64}
    blocks = frame_stage(pl.DataFrame(list(shares), schema=schema, orient="row"), len(shares), files.stamp)
    counts = CallStage(
        operation="count-quotes",
        schema=COUNTS,
        npartitions=len(shares),
        size=Size.guess(len(shares), COUNTS, exact=True),
        function=count_quotes,
        sources=(Input(blocks),),
        arguments=(scan, cloud),
    )
    return CallStage(
        operation="record-starts",
        schema=STARTS,
        npartitions=1,
        size=Size.guess(len(shares), STARTS, exact=True),
        function=record_starts,
        sources=(Input(planner.gather(counts)),),
    )


def _apart(files: FileSet) -> Placement | None:
    """Say what files that lie apart say of where rows are."""
    found = None if files.order is None else files.order.known
    if found is None or not found.apart:
        return None
    return Placement((found.column,), (), len(files.parts), bounds=found.bounds)


def _whole_scan(planner: Planner, region: Region) -> Stage:
    """Lower a scan that is not cut into parts: one task reads it, and runs the region."""
    node = region.core
    kind = scan_kind(node)
    schema = planner.schema(region.root)
    found = found_on_disk(node)
    on_disk = sum(file.size for file in found)
    size = Size(on_disk / width_of(schema), on_disk) if found else Size.guess(1e6, schema)
    in_memory = "Paths" not in node.fields["sources"]
    if kind == "PythonDataset":
        reason = (
            "a table that its library reads, or whose files lack columns that have default values, is read by one task"
        )
    else:
        reason = "a buffer in memory is read by one task" if in_memory else f"{kind.upper()} files are read by one task"
    planner.fallbacks.append(Fallback(f"scan of {kind.upper()}", reason))
    return MapStage(
        operation=f"scan-{kind.lower()}",
        schema=schema,
        npartitions=1,
        size=share_passing(planner, region).of(size),
        template=encode(region.root),
        sources=(),
        fallback=reason,
        salt=stamp_of(found),
    )


def _unpackable(value: Any) -> Any:
    raise TypeError(f"a scan holds a {type(value).__name__}, which cannot be sent")


# ---------------------------------------------------------------- frames


@lowers("DataFrameScan")
def lower_frame(planner: Planner, region: Region) -> Stage:
    """Lower a frame of the client: slices of it."""
    node = region.core
    frame = to_lazyframe(node).collect(engine="in-memory")
    count = planner.partitions_for(Size(frame.height, frame.estimated_size(), True), max(frame.height, 1))
    return on_source(planner, region, frame_stage(frame, count, node.digest))


def frame_stage(frame: pl.DataFrame, npartitions: int, content: str) -> FrameStage:
    """
    Cut a frame into partitions of nearly equal height.

    Parameters
    ----------
    frame
        The frame.
    npartitions
        The number of partitions; some are empty where there are fewer rows.
    content
        A token of the frame's content.

    Returns
    -------
    FrameStage
    """
    spans = split_evenly(frame.height, npartitions)
    frames = tuple(frame.slice(span.start, len(span)) for span in spans)
    return FrameStage(
        operation="from-polars",
        schema=dict(frame.schema),
        npartitions=npartitions,
        size=Size(frame.height, frame.estimated_size(), True),
        frames=frames,
        content=content,
    )


@lowers("PythonScan", "Resolver")
def lower_opaque(planner: Planner, region: Region) -> Stage:
    """Lower a source that only Polars can read: as one partition."""
    root = region.root
    template = encode(root)
    schema = planner.schema(root)
    reason = "a source in Python is read by one task"
    planner.fallbacks.append(Fallback("scan", reason))
    return MapStage(
        operation="scan-python" if region.core.kind == "PythonScan" else "scan",
        schema=schema,
        npartitions=1,
        size=Size.guess(1e6, schema),
        template=template,
        sources=(),
        fallback=reason,
    )


# ---------------------------------------------------------------- sources of ours


@singledispatch
def source_stage(source: Any, planner: Planner) -> Stage:
    """Give the stage of a source of ours."""
    raise TypeError(f"{type(source).__name__} is not a source")


@lowers("Source")
def lower_source(planner: Planner, region: Region) -> Stage:
    """Lower a source of ours."""
    return on_source(planner, region, source_stage(region.core.fields["source"], planner))
