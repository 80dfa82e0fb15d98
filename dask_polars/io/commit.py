"""
Output that appears as a whole or not at all.

Files are written below a hidden directory beside the target, under names that no two attempts share. Then the files of
those attempts that succeeded are put together there, and take the place of the target at once: by renaming, or in an
object store by copies on the server, which appear one after the other. That may be done twice, or partly: what was done is
noted beside the files, and whoever comes later sees it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from dask_polars.io.commit_local import Local
from dask_polars.io.commit_notes import OPEN, refuse_occupied
from dask_polars.io.commit_remote import Remote
from dask_polars.io.paths import is_remote
from dask_polars.io.targets import Target, Written

_LONG = 24 * 3600.0  # seconds in which nothing was written: nobody writes any more


def check_free(target: Target) -> None:
    """
    Refuse to write where something is already.

    Parameters
    ----------
    target
        The target.

    Raises
    ------
    FileExistsError
        If there is a file, or a directory with files, and the target does not say that it is to be replaced.
    """
    refuse_occupied(_store(target))


def begin(target: Target) -> None:
    """
    Make the hidden directory of a run, and remove those of runs that ended long ago, without cleaning up.

    Parameters
    ----------
    target
        The target.

    Raises
    ------
    FileNotFoundError
        If the directory above the target is missing, and is not to be made.
    """
    store = _store(target)
    store.write(OPEN, "")
    for run in store.runs_before(time.time() - _LONG):
        clean(replace(target, run=run))


def is_open(target: Target) -> bool:
    """Say whether a run goes on: it was begun, and not cleaned up."""
    return _store(target).has(OPEN)


def committed(target: Target) -> list[Written] | None:
    """Give what this run has put into place; None where it has not."""
    return _store(target).committed()


def commit(target: Target, files: Sequence[tuple[Written, str]]) -> list[Written]:
    """
    Put files into place.

    Parameters
    ----------
    target
        The target.
    files
        Files in the hidden directory, and where each of them goes: a path below the target if that is a directory,
        nothing if it is a file.

    Returns
    -------
    list of Written
        The same files, in their places.

    Raises
    ------
    FileExistsError
        If there is something in that place, and it is not to be replaced.
    FileNotFoundError
        If a file that a task has written is not to be seen here.
    """
    placed = [Written(f"{target.path}/{to}" if to else target.path, file.rows, file.bytes) for file, to in files]
    _store(target).commit([(file.path, to) for file, to in files], placed)
    return placed


def clean(target: Target) -> None:
    """
    Remove the hidden directory, whatever the run came to, and the directories that it made above, where they are empty.

    What was to be replaced, and was not, is put back.
    """
    _store(target).clean()


def abandon(target: Target, path: str) -> None:
    """Remove what a task has written to the hidden directory, and that too where nothing is left in it."""
    _store(target).abandon(path)


def _store(target: Target) -> Local | Remote:
    return Remote(target) if is_remote(target.path) else Local(target)
