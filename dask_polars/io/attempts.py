"""
The attempts to write that run in this process.

Schedulers in this process say that a run has failed as soon as one of its tasks has, while others are still running in
threads. These would leave files behind for a moment, where a user looks who has just heard of the failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

_running: Counter[str] = Counter()
_changed = Condition()


@contextmanager
def attempting(run: str) -> Iterator[None]:
    """
    Count an attempt to write, as long as it lasts.

    Parameters
    ----------
    run
        What tells the run of a sink from others.
    """
    with _changed:
        _running[run] += 1
    try:
        yield
    finally:
        with _changed:
            _running[run] -= 1
            if not _running[run]:
                del _running[run]
            _changed.notify_all()


def wait_for_attempts(run: str) -> None:
    """
    Wait until no attempt of a run is left in this process.

    Parameters
    ----------
    run
        What tells the run of a sink from others.

    Examples
    --------
    >>> from dask_polars.io.attempts import attempting, wait_for_attempts
    >>> with attempting("5ad0c6f1b2e3"):
    ...     pass  # write
    >>> wait_for_attempts("5ad0c6f1b2e3")
    """
    with _changed:
        _changed.wait_for(lambda: run not in _running)
