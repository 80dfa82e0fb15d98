"""Where a query runs: in this process by Polars alone, on a scheduler of Dask in this process, or on a cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl
from dask.base import get_scheduler
from dask.local import get_sync
from polars.lazyframe.engine_config import get_engine_affinity_override

from dask_polars.cluster import current_cluster
from dask_polars.config import Options
from dask_polars.dsl.leaves import decode_with_sources
from dask_polars.errors import PlanDecodeError, PlanSendError, level_of_user
from dask_polars.graph.expr import PartsExpr
from dask_polars.graph.names import Names
from dask_polars.io.iceberg_sink import sink_id
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.planner import Fallback
from dask_polars.profile import Journal
from dask_polars.progress import watched
from dask_polars.steps import settled


@dataclass(frozen=True)
class Target:
    """
    Where a query runs.

    Parameters
    ----------
    get
        Runs a graph of Dask; None where Polars runs the whole query by itself.
    client
        The client, where it is one of a cluster.
    """

    get: Callable[..., Any] | None
    client: Any = None


def choose_target(client: Any = None, scheduler: Any = None) -> Target:
    """
    Say where a query runs.

    Parameters
    ----------
    client : distributed.Client, optional
        A cluster to use in any case.
    scheduler : str, callable or Client, optional
        A scheduler of Dask. Otherwise the one that is configured, or that of the current client.

    Returns
    -------
    Target
    """
    chosen = client if client is not None else scheduler
    try:
        get = get_scheduler(scheduler=chosen)
    except RuntimeError as error:
        if "asynchronous" in str(error):
            error.add_note(
                "dask_polars: this would have to wait for a cluster inside of an event loop. Use "
                "`await client.compute(lf)`, which gives a polars.DataFrame, or `client.persist(lf)`; for a sink, "
                "`await client.compute(lf.sink_parquet(path, lazy=True))`"
            )
        raise
    if get is None:
        return Target(None)
    found = getattr(get, "__self__", None)
    if found is not None and hasattr(found, "scheduler_info"):
        if getattr(found, "status", "running") in ("closing", "closed"):
            raise RuntimeError(
                "the client that was to run the query is closed: make a new one, or leave it out for the current one"
            )
        from dask_polars.versions import check_cluster
        from dask_polars.workers import prepare_workers

        check_cluster(found)
        prepare_workers(found)
        return Target(get, found)
    return Target(get)


def warn_of_versions() -> None:
    """
    Warn where the current cluster could not run a query, since it has other versions.

    For graphs that Dask is given by whoever calls it: whether they go to this cluster is not known. Where they do, the
    error that follows says only that the graph could not be read.
    """
    cluster = current_cluster()
    if cluster is None:
        return
    from dask_polars.versions import VersionMismatchError, check_cluster

    try:
        check_cluster(cluster.client)
    except VersionMismatchError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=level_of_user())


def run_queries(queries: Sequence[pl.LazyFrame], target: Target, options: Options) -> list[pl.DataFrame]:
    """
    Run queries, which share their common parts.

    Parameters
    ----------
    queries
        Lazy frames of Polars.
    target
        Where they run.
    options
        What they are planned with.

    Returns
    -------
    list of polars.DataFrame
    """
    if target.get is None and any(writes(query) for query in queries):
        target, options = here(options)
    if target.get is None:
        return pl.collect_all(queries, engine=local_engine())
    try:
        plan = plan_queries(queries, options, target.client)
    except PlanSendError as error:
        Plan((), options, (Fallback("the query", str(error)),)).announce()
        return pl.collect_all(queries, engine=local_engine())
    plan.announce()
    return run_plan(plan, target)


def writes(query: pl.LazyFrame) -> bool:
    """Say whether a query is a sink."""
    if len(query.collect_schema()):
        return False
    try:
        root = decode_with_sources(query)
    except (PlanDecodeError, pl.exceptions.ComputeError):
        return False  # Polars alone knows what to do with it
    return root.kind in ("Sink", "SinkMultiple") and sink_id(root) is None  # Polars commits to tables by itself


def here(options: Options) -> tuple[Target, Options]:
    """
    Say where a sink runs that runs in this process.

    Output is written in the same way everywhere, so it is not left to Polars alone. All partitions are here anyway, so
    there is nothing to say of those that are gathered.
    """
    return Target(get_sync), replace(options, fallback="silent")


def local_engine() -> Literal["auto", "streaming"]:
    """Name the engine for queries that Polars runs in this process: its own choice, unless that is an engine of ours."""
    override = get_engine_affinity_override()
    return "auto" if override is None or override.name != "dask" else "streaming"


def run_plan(plan: Plan, target: Target) -> list[pl.DataFrame]:
    """Run a plan, and put the partitions of each of its queries together."""
    with settled(plan, target) as last, last.running(), watched(target, last) as (there, _):
        return _results(last, there)


def profile_plan(plan: Plan, target: Target) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """Run a plan as `run_plan` does, and say what it took, too."""
    journal = Journal()
    with settled(plan, target, journal) as last, last.running(), watched(target, last, profile=True) as (there, run):
        results = _results(last, there)
    return results, journal.profile(last, run)


def _results(plan: Plan, target: Target) -> list[pl.DataFrame]:
    assert target.get is not None
    expr = PartsExpr(plan.roots, plan.options.shuffle_method)
    names = Names(plan.roots)
    keys = [names.keys(stage) for stage in plan.roots]
    graph = expr if target.client is not None else expr.__dask_graph__()
    results = target.get(graph, keys)
    return [put_together(parts, stage.schema) for parts, stage in zip(results, plan.roots, strict=True)]


def put_together(parts: Sequence[pl.DataFrame], schema: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
    """Put partitions below each other; of no rows Polars may find other types than the query has."""
    filled = [part for part in parts if part.height]
    if not filled:
        return parts[0] if len(parts) == 1 or schema is None else pl.DataFrame(schema=schema)
    return filled[0] if len(filled) == 1 else pl.concat(filled, how="vertical")
