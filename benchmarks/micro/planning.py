"""Planning of the TPC-H queries: seconds, tasks and bytes of each."""

from __future__ import annotations

from functools import partial

import polars as pl

from benchmarks.harness.workloads import WORKLOADS
from benchmarks.micro.graphs import Made, plan_alone, plan_dask_dataframe, plan_polars
from benchmarks.micro.measuring import Row, Setting, row

NAME = "planning"


def measure(setting: Setting) -> list[Row]:
    """Plan every query with each API in turns; nothing is run but what planning itself runs."""
    workload, directory = WORKLOADS["tpch"](), str(setting.tpch)
    rows = []
    for query in workload.queries:
        lazy = partial(workload.lazy_frame, query, directory, pl.scan_parquet)
        ours: list[Made] = []
        theirs: list[Made] = []
        alone: list[float] = []
        for _ in range(setting.repeat):
            ours.append(plan_polars(lazy))
            theirs.append(plan_dask_dataframe(partial(workload.dask_dataframe, query, directory)))
            alone.append(plan_alone(lazy))
        for api, made in (("dask_polars", ours), ("dask.dataframe", theirs)):
            rows += rows_of(NAME, f"Q{query}", api, made)
        rows.append(row(NAME, f"Q{query}", "planning", "polars", alone, "s"))
    return rows


def rows_of(name: str, case: str, api: str, made: list[Made]) -> list[Row]:
    """Give the rows of plans that were made several times."""
    return [
        row(name, case, "planning", api, [plan.planning for plan in made], "s"),
        row(name, case, "tasks of the graph", api, [plan.graph for plan in made], "s"),
        row(name, case, "sent", api, [plan.sent for plan in made], "bytes"),
        row(name, case, "tasks", api, [plan.tasks for plan in made]),
        row(name, case, "graph", api, [plan.size for plan in made], "bytes"),
    ]
