"""Tasks that run on a cluster while this process waits for them, or does not any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dask_polars.graph.expr import PartsExpr
from dask_polars.plan import Plan

if TYPE_CHECKING:
    from dask_polars.execution import Target


def submit(plan: Plan, target: Target) -> list[Any]:
    """
    Start a plan of one query on a cluster.

    Parameters
    ----------
    plan
        The plan.
    target
        A cluster.

    Returns
    -------
    list of distributed.Future
        One for each partition of the result.
    """
    assert target.get is not None
    assert target.client is not None
    expr = PartsExpr(plan.roots, plan.options.shuffle_method)
    return list(target.get(expr, expr.__dask_keys__(), sync=False))


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Leave the place of the running task in its worker, if there is one, to others while it waits for them."""
    from distributed import rejoin, secede
    from distributed.worker import thread_state

    away = False
    if getattr(thread_state, "key", False):
        with contextlib.suppress(Exception):  # as `Client.get` does: it is away already
            secede()
            away = True
    try:
        yield
    finally:
        if away:
            rejoin()


def abandon(futures: Iterable[Any]) -> None:
    """
    Let go of what a cluster was asked for and nobody waits for any more, whoever still holds the futures.

    The scheduler then cancels what no other future stands for. `Client.cancel` would take that from them, too: equal
    queries of a client have equal keys, and the next one may have begun.

    Parameters
    ----------
    futures : iterable of distributed.Future
        What to let go of.
    """
    for future in futures:
        future.release()
