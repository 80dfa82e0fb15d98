"""The cluster that a query will run on, as far as it is asked while planning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

from dask.base import get_scheduler


@dataclass(frozen=True)
class Cluster:
    """
    The cluster that a query will run on.

    Parameters
    ----------
    client
        A client of it.
    """

    client: Any

    @cached_property
    def threads(self) -> int:
        """The number of threads of all workers, asked once for a plan; 1 while there are none."""
        return max(1, sum(self.client.nthreads().values()))

    def call(self, name: str, function: Callable[..., Any], items: Sequence[Any], shared: Any = None) -> list[Any]:
        """
        Call a function with each of some arguments, on the workers.

        Parameters
        ----------
        name
            What the tasks are called.
        function
            The function.
        items
            The arguments.
        shared
            Another argument of all the calls: it is sent once to each worker.

        Returns
        -------
        list
            The results, in order.
        """
        common = self.client.scatter(shared, hash=False)
        keys = [f"{name}-{uuid4().hex}" for _ in items]
        futures = self.client.map(function, items, [common] * len(items), key=keys, pure=False)
        found: list[Any] = self.client.gather(futures)
        return found


def current_cluster(client: Any = None) -> Cluster | None:
    """Give the cluster of a client, or of the current one; None where there is none that can be asked now."""
    if client is None:
        try:
            client = getattr(get_scheduler(), "__self__", None)
        except RuntimeError:  # the client is asynchronous, or this is its event loop: it must not be waited for
            return None
    usable = hasattr(client, "nthreads") and not getattr(client, "asynchronous", True)
    return Cluster(client) if usable else None
