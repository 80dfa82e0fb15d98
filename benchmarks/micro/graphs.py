"""How long a plan takes, and how large it is, for both collections of Dask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
from distributed.protocol import serialize, to_serialize
from distributed.utils import nbytes


@dataclass(frozen=True)
class Made:
    """A plan that was made and not run.

    Attributes
    ----------
    planning
        Seconds from the query as it is written to what is sent to the scheduler.
    graph
        Seconds from there to tasks, which a scheduler of a cluster makes of it.
    sent
        Bytes that are sent.
    tasks, size
        Number of tasks, and their bytes.
    """

    planning: float
    graph: float
    sent: int
    tasks: int
    size: int


def message_size(value: Any) -> int:
    """Give the bytes of something as a client or a scheduler sends it."""
    _, frames = serialize(to_serialize(value), on_error="raise")
    return sum(map(nbytes, frames))


def plan_polars(query: Callable[[], Any]) -> Made:
    """Plan a query of Polars with dask_polars."""
    from dask_polars.config import Options
    from dask_polars.graph.build import build_graph
    from dask_polars.graph.expr import PartsExpr
    from dask_polars.plan import plan_queries

    start = time.perf_counter()
    plan = plan_queries([query()], Options.current())
    sent = message_size(PartsExpr(plan.roots, "p2p"))
    planned = time.perf_counter()
    graph, _ = build_graph(plan.roots, p2p_shuffle=True)
    done = time.perf_counter()
    return Made(planned - start, done - planned, sent, len(graph), sum(map(message_size, graph.values())))


def plan_dask_dataframe(query: Callable[[], Any]) -> Made:
    """Plan a query of dask.dataframe."""
    start = time.perf_counter()
    expression = query().optimize().expr
    sent = message_size(expression)
    planned = time.perf_counter()
    graph = expression.__dask_graph__()
    done = time.perf_counter()
    return Made(planned - start, done - planned, sent, len(graph), sum(map(message_size, graph.values())))


def plan_alone(query: Callable[[], pl.LazyFrame]) -> float:
    """Give the seconds that Polars takes to make and to optimize a plan."""
    start = time.perf_counter()
    query().explain()
    return time.perf_counter() - start
