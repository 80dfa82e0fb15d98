"""Where a sink writes, and what it wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from dask_polars.io.paths import is_remote
from dask_polars.io.staging import staging_prefix
from dask_polars.io.storage import Storage


@dataclass(frozen=True)
class Written:
    """
    A file that was written.

    Parameters
    ----------
    path
        Where it is.
    rows
        Number of rows.
    bytes
        Size on disk, in bytes.
    """

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Target:
    """
    Where output is to appear.

    Parameters
    ----------
    path
        A file or a directory: an absolute path, or one with a scheme. No slash stands at the end.
    directory
        Whether it is a directory.
    run
        What tells this run from others.
    overwrite
        Whether what is there is replaced.
    mkdir
        Whether missing directories above it are made.
    storage
        How an object store is reached.
    """

    path: str
    directory: bool
    run: str
    overwrite: bool = False
    mkdir: bool = False
    storage: Storage = field(default=Storage(), repr=False)

    @property
    def staging(self) -> str:
        """The hidden directory beside it."""
        above, prefix = self.beside
        return f"{above}/{prefix}{self.run}"

    @property
    def beside(self) -> tuple[str, str]:
        """Where the hidden directories are of all runs that write the target, and what their names start with."""
        above, _, name = self.path.rpartition("/")
        if above.endswith(":/"):  # a bucket has nothing beside it
            above = self.path
        return above, staging_prefix(name)

    def staged(self, name: str) -> str:
        """Give a path in the hidden directory."""
        return f"{self.staging}/{name}"


def target_path(path: str) -> str:
    """
    Make the path of a target absolute.

    Parameters
    ----------
    path
        As the user wrote it.

    Returns
    -------
    str
        Without a slash at its end.
    """
    if is_remote(path):
        return path.rstrip("/")
    local = os.path.abspath(os.path.expanduser(path.removeprefix("file://")))
    return os.path.realpath(local) if os.path.islink(local) else local


def means_directory(path: str) -> bool:
    """Say whether a path that the user wrote is one of a directory: it ends with a slash, or it is there already."""
    return path.endswith(("/", os.sep)) or (not is_remote(path) and os.path.isdir(target_path(path)))


def as_target(path: Any) -> Any:
    """Write the path of a directory that is there such that Polars takes it for a target: it has no use for one itself."""
    if isinstance(path, (str, os.PathLike)) and not is_remote(os.fspath(path)) and means_directory(os.fspath(path)):
        return f"file://{target_path(os.fspath(path))}/"
    return path
