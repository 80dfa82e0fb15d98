"""Sinks to files: each partition is written by its own task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.partition import PartitionBy

from dask_polars.batches import streamed
from dask_polars.config import Options
from dask_polars.errors import PlanSendError
from dask_polars.execution import Target, here, local_engine, run_plan
from dask_polars.io.targets import Written, as_target
from dask_polars.io.writing import told
from dask_polars.plan import Fallback, Plan, plan_queries


def sink_files(
    name: str,
    lf: pl.LazyFrame,
    path: Any,
    target: Target,
    options: Options,
    batches: Callable[..., Any],
    optimizations: dict[str, Any],
    **arguments: Any,
) -> None:
    """
    Write files.

    Parameters
    ----------
    name
        The method of Polars that writes them.
    lf
        The rows.
    path
        Where to, as the user gave it.
    target
        Where the query runs.
    options
        What it is planned with.
    batches
        Runs the query, and gives its partitions one by one.
    optimizations
        As an argument of the method, or nothing; for what Polars runs in this process.
    **arguments
        Further arguments of the method.
    """

    def sink(query: pl.LazyFrame, **how: Any) -> Any:
        return getattr(query, name)(path, **arguments, **how)

    if not isinstance(path, (str, Path, PartitionBy)):
        # A file object of this process: what it is given comes here, partition by partition.
        if target.get is None:
            sink(lf, engine=local_engine(), **optimizations)
            return
        in_order = arguments.get("maintain_order", True)
        found = batches(lf, maintain_order=in_order, lazy=True, **optimizations)
        with streamed(found, lf.collect_schema()) as stream:
            sink(stream, engine=local_engine())
        return
    # A function of this process is called in this process.
    callback = arguments.pop("sinked_paths_callback", None)
    path = as_target(path)
    try:
        _write(sink(lf, lazy=True), target, options, callback)
    except PlanSendError as error:
        Plan((), options, (Fallback("the query", str(error)),)).announce()
        tell = {} if callback is None else {"sinked_paths_callback": callback}
        sink(lf, engine=local_engine(), **optimizations, **tell)


def _write(sink: pl.LazyFrame, target: Target, options: Options, callback: Any) -> None:
    """Run a sink, and tell a function of this process what was written."""
    if target.get is None:
        target, options = here(options)
    plan = plan_queries([sink], options, target.client)
    plan.announce()
    *_, done = run_plan(plan.over(lambda plan: (*plan.roots, plan.outputs[0].committed)), target)
    if callback is not None:
        callback(told([Written(*row) for row in done.rows()]))
