"""What a run notes in its hidden directory, for whoever comes later; what stores of files and of objects share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from dask_polars.io.targets import Target, Written

OPEN, COMMIT, WHOLE, OLD, SAVED, MADE = "open", "commit-", "whole-", "old-", "saved-", "made"


class Store(Protocol):
    """Where a target is."""

    target: Target

    def occupied(self) -> bool:
        """Say whether there is something in its place."""


def refuse_occupied(store: Store) -> None:
    """Raise a FileExistsError if there is something in the place of a target that is not to be replaced."""
    target = store.target
    try:
        refused = not target.overwrite and store.occupied()
    except FileNotFoundError as error:  # of a bucket, without its name
        error.add_note(f"dask_polars: looking for what is at {target.path} already")
        raise
    if refused:
        what = "is a directory that is not empty" if target.directory else "is there already"
        raise FileExistsError(
            f"{target.path} {what}: remove it, write to another place, or replace it with the option overwrite "
            "(dask.config.set({'dask-polars.overwrite': True}), or DaskEngine(overwrite=True))"
        )


def as_json(files: Sequence[Written]) -> str:
    """Write down files."""
    return json.dumps([[file.path, file.rows, file.bytes] for file in files])


def from_json(text: str) -> list[Written]:
    """Read what :func:`as_json` has written."""
    return [Written(*item) for item in json.loads(text)]
