"""Sinks to tables of Delta Lake and Iceberg: partitions write files, and this process commits them, at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import polars as pl

from dask_polars.config import Options
from dask_polars.dsl.leaves import decode_with_sources
from dask_polars.errors import FallbackError, FallbackWarning, PlanDecodeError, PlanSendError, level_of_user
from dask_polars.execution import Target, run_plan
from dask_polars.io.delta_sink import DeltaWrite, NotInParts
from dask_polars.io.iceberg_sink import commit_iceberg, iceberg_request, outcome_is_unknown, running_sink, sink_id
from dask_polars.io.table_files import FilesRequest, begin_run, end_run, remove_run
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.planner import Planner
from dask_polars.plan.sink import write_stage


def write_iceberg(lf: pl.LazyFrame, target: Target, options: Options) -> bool:
    """
    Run the query of a ``sink_iceberg`` that is being called, and tell it the outcome.

    Parameters
    ----------
    lf
        The query.
    target
        Where it runs: on a scheduler of Dask.
    options
        What it is planned with.

    Returns
    -------
    bool
        Whether it was such a query; otherwise nothing was done.
    """
    state = running_sink()
    if state is None or len(lf.collect_schema()):
        return False
    try:
        node = decode_with_sources(lf)
    except (PlanDecodeError, pl.exceptions.ComputeError):
        return False  # it cannot be sent: Polars runs it here, and says so
    if sink_id(node) != state.sink_uuid_str:
        return False  # another query, which a function calls while the table is written
    request = iceberg_request(state, dict(Planner(options).schema(node.input)))
    plan = plan_queries([lf], options, target.client, {state.sink_uuid_str: request})
    found = _written(plan, target, request)
    try:
        commit_iceberg(state, request, found)
    except Exception as error:
        if not outcome_is_unknown(error):
            _remove(request)
        raise
    return True


def write_delta(
    lf: pl.LazyFrame,
    table: Any,
    target: Target,
    options: Options,
    stream: Callable[[], Any],
    **arguments: Any,
) -> Any:
    """
    Write a Delta Lake table.

    Parameters
    ----------
    lf
        The rows.
    table
        The path or the table, as the user gave it.
    target
        Where the query runs.
    options
        What it is planned with.
    stream
        Writes the table with the rows of all partitions, one partition after the other, in this process.
    **arguments
        As :meth:`polars.LazyFrame.sink_delta` takes them.

    Returns
    -------
    None, or deltalake.table.TableMerger
        The latter where the mode is ``"merge"``.
    """
    if target.get is None:
        return stream()
    try:
        write = DeltaWrite.of(lf.collect_schema(), table, **arguments)
        if write is None:
            return stream()  # nothing is written: that is for deltalake to say
        plan = plan_queries([lf], options, target.client)
    except NotInParts as reason:
        _say_streamed(options, str(reason))
        return stream()
    except PlanSendError:
        return stream()  # which says so
    plan = plan.over(lambda plan: (write_stage(plan.roots[0], write.request),))
    found = _written(plan, target, write.request)
    try:
        write.commit(found)
    except Exception:
        if not write.is_committed():
            _remove(write.request)
        raise
    return None


def _written(plan: Plan, target: Target, request: FilesRequest) -> pl.DataFrame:
    """Run the tasks that write, and give what they say of their files."""
    try:
        plan.announce()
        begin_run(request)
        (found,) = run_plan(plan, target)
        end_run(request)
    except BaseException:
        _remove(request)
        raise
    return found


def _remove(request: FilesRequest) -> None:
    try:
        remove_run(request)
    except Exception as error:
        text = f"files below {request.base} that are in no table could not be removed: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=level_of_user())


def _say_streamed(options: Options, reason: str) -> None:
    text = f"sink_delta streams the partitions through this process: {reason}"
    if options.fallback == "raise":
        raise FallbackError(text)
    if options.fallback == "warn":
        warnings.warn(text, FallbackWarning, stacklevel=level_of_user())
