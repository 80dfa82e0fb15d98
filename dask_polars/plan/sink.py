"""Sinks: every partition is written by its own task, and the files appear together at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from dask_polars.dsl.sinks import SinkPayload
from dask_polars.io.commit import check_free, clean
from dask_polars.io.iceberg_sink import sink_id
from dask_polars.io.storage import Storage
from dask_polars.io.table_files import FOUND, FilesRequest, write_files
from dask_polars.io.targets import Target, means_directory, target_path
from dask_polars.io.writing import DONE, REPORT, Request, begin_run, end_run, end_runs, finish, write_part
from dask_polars.plan.fallback import lower_fallback
from dask_polars.plan.planner import Planner, lowers
from dask_polars.plan.regions import Region
from dask_polars.plan.stages import CallStage, Input, Mode, Size, Stage


@dataclass(frozen=True, eq=False)
class Output:
    """
    A sink of a plan, for whoever runs the plan.

    Parameters
    ----------
    request
        What it writes.
    committed
        The stage that says what was written.
    """

    request: Request
    committed: Stage

    def check(self) -> None:
        """Refuse to write where something is already."""
        check_free(self.request.target)

    def clean(self) -> None:
        """Remove what is left of the run."""
        clean(self.request.target)


def refuse_same_targets(paths: Sequence[str]) -> None:
    """
    Refuse to run sinks together that write to the same place.

    Parameters
    ----------
    paths
        Where each of them writes.

    Raises
    ------
    ValueError
        If two of them are the same, or one is below another.

    Examples
    --------
    >>> from dask_polars.plan.sink import refuse_same_targets
    >>> refuse_same_targets(["/data/a", "/data/b"])
    >>> refuse_same_targets(["/data/a", "/data/a/b.csv"])
    Traceback (most recent call last):
    ValueError: two sinks that run together write to the same place: /data/a/b.csv is in /data/a
    """
    known = set(paths)
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"two sinks that run together write to the same place: {path}")
        above = path.rpartition("/")[0]
        while above and above not in known:
            above = above.rpartition("/")[0]
        if above:
            raise ValueError(f"two sinks that run together write to the same place: {path} is in {above}")


def targets_of(stages: Sequence[Stage]) -> list[Target]:
    """List where the sinks write that stages are the ends of, themselves or what they are made of."""
    found: dict[Target, None] = {}
    seen: set[int] = set()
    stack = list(stages)
    while stack:
        stage = stack.pop()
        if id(stage) in seen:
            continue
        seen.add(id(stage))
        if isinstance(stage, CallStage) and stage.function is end_run:
            found[stage.arguments[0]] = None
        stack.extend(stage.inputs)
    return list(found)


@lowers("Sink")
def lower_sink(planner: Planner, region: Region) -> Stage:
    """Lower a sink to files."""
    table = planner.tables.get(sink_id(region.core) or "")
    if table is not None:
        return write_stage(planner.lower(region.core.input), table)
    payload = SinkPayload.of(region.core)
    schema = planner.schema(region.core.input)
    if payload is None or region.chain:
        return lower_fallback(planner, region)
    rows = planner.lower(region.core.input)
    if not schema:  # how many rows there are of no columns is lost where partitions are staged
        rows = planner.gather(rows)
    target = Target(
        path=target_path(payload.path),
        directory=payload.partitioned or means_directory(payload.path),
        run=uuid4().hex[:12],
        overwrite=planner.options.overwrite,
        mkdir=payload.mkdir,
        storage=Storage.of(region.core),
    )
    request = Request(payload, target, rows.npartitions, tuple(schema.items()))
    done = _commit(planner, _write(rows, request), request)
    planner.outputs.append(Output(request, done))
    return CallStage(
        operation="end-sink",
        schema={},
        npartitions=1,
        size=Size(0, 0, True),
        function=end_run,
        sources=(Input(done),),
        arguments=(target,),
    )


def write_stage(rows: Stage, request: FilesRequest) -> Stage:
    """
    Write files of a table: whoever runs the plan commits what they say.

    Parameters
    ----------
    rows
        What is written.
    request
        How.

    Returns
    -------
    Stage
        Of a row for each file, with the columns of ``FOUND``.
    """
    return CallStage(
        operation="write-table",
        schema=FOUND,
        npartitions=rows.npartitions,
        size=Size.guess(rows.npartitions, FOUND),
        function=write_files,
        sources=(Input(rows),),
        arguments=(request,),
        content=f"write-table-{request.run}",
        indexed=True,
        streams=True,
        note="as Parquet, which no reader of the table sees before the commit",
    )


def _write(rows: Stage, request: Request) -> Stage:
    target = request.target
    begun = CallStage(
        operation="begin-sink",
        schema={},
        npartitions=1,
        size=Size(1, 1, True),
        function=begin_run,
        sources=(),
        arguments=(target,),
    )
    how = "as IPC" if request.merged else f"as {request.payload.format}"
    return CallStage(
        operation="stage" if request.merged else "write",
        schema=REPORT,
        npartitions=rows.npartitions,
        size=Size.guess(rows.npartitions, REPORT),
        function=write_part,
        sources=(Input(rows), Input(begun, Mode.BROADCAST)),
        arguments=(request,),
        indexed=True,
        streams=True,
        note=f"{how}, hidden beside the target",
    )


def _commit(planner: Planner, written: Stage, request: Request) -> Stage:
    count = written.npartitions
    reports = written if count == 1 else planner.regroup(written, [range(count)], "reports")
    return CallStage(
        operation="merge" if request.merged else "commit",
        schema=DONE,
        npartitions=1,
        size=Size.guess(1, DONE),
        function=finish,
        sources=(Input(reports),),
        arguments=(request,),
        note=_describe(request),
    )


def _describe(request: Request) -> str:
    path = request.target.path
    if request.payload.partitioned:
        return f"files below {path}/, as PartitionBy says"
    if request.target.directory:
        ending = request.payload.extension
        last = request.npartitions - 1
        return f"{request.npartitions} files: {path}/part-00000.{ending}" + (f" to {last:05}" if last else "")
    return f"one file: {path}" + (", as a stream of what was staged" if request.merged else "")


@lowers("SinkMultiple")
def lower_sinks(planner: Planner, region: Region) -> Stage:
    """Lower several sinks: all of them are written."""
    if region.chain:
        return lower_fallback(planner, region)
    return CallStage(
        operation="sinks",
        schema={},
        npartitions=1,
        size=Size(0, 0, True),
        function=end_runs,
        sources=tuple(Input(planner.gather(planner.lower(node))) for node in region.core.inputs),
    )
