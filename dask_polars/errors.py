"""Exceptions and warnings of dask_polars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import dask
import distributed
import polars as pl

# `Client.compute` asks a collection several times for its plan: with the line of the user's, Python shows a warning once.
_OURS = tuple(str(Path(file).parent) for file in (__file__, dask.__file__, distributed.__file__, pl.__file__))


class FallbackWarning(UserWarning):
    """A part of a query is gathered to one partition, because it is not distributed (yet)."""


class FallbackError(NotImplementedError):
    """Raised in place of a :class:`FallbackWarning` where ``fallback="raise"``."""


class PlanDecodeError(NotImplementedError):
    """A plan holds something that cannot be taken apart; it can still be run whole."""


class PlanSendError(pl.exceptions.ComputeError):
    """A query holds what cannot be sent to another process, as an open file; it can only be run where it is."""


def advise(error: BaseException, fallbacks: Iterable[str] = ()) -> None:
    """
    Say in an error of a cluster what it comes from as a rule, and what to do; its type and its message stay.

    Parameters
    ----------
    error
        What a run ended with.
    fallbacks : iterable of str
        The operations of the query that all rows were gathered for.
    """
    from distributed import CancelledError, KilledWorker

    if isinstance(error, CancelledError) and "lost dependencies" in str(error):
        error.add_note(
            "dask_polars: what the query reads (of persist(), execute() or futures) is not on this cluster: it was computed on another "
            "one, whose client has to be the current one (`with client.as_current():`), or was let go of when its client was closed"
        )
    if not isinstance(error, KilledWorker):
        return
    gathered = ", ".join(fallbacks)
    text = (
        "dask_polars: a worker that dies is nearly always out of memory. Make partitions smaller "
        "(`dask-polars.partition-size`), give workers fewer threads or more memory, and look at explain() for the stage"
    )
    if gathered:
        text += f". All rows are gathered to one worker for: {gathered}"
    error.add_note(text)


def level_of_user() -> int:
    """
    Say how many frames up the code is that called this package, for :func:`warnings.warn`.

    Returns
    -------
    int
        The ``stacklevel`` for a warning that is raised by the caller of this function.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    return level
