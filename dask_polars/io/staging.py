"""
The names of what a sink writes before it is complete.

A reader of a directory above the target may come while a sink runs, or after one was killed. So no name there ends as data
does, and no directory's name looks like the value of a column. Only while a commit puts the files of a directory together do
they have their names, for as long as that takes.
"""

from __future__ import annotations

import re

# The ending of files that are written, and not in their place yet.
STAGED = ".staged"
_MARK = ".dask-polars-"
_STAGING = re.compile(r"\..*\.dask-polars-[0-9a-zA-Z]+")


def staging_prefix(name: str) -> str:
    """
    Give what the names of the hidden directories of all runs start with that write a target.

    Parameters
    ----------
    name
        The name of the target, without directories.

    Returns
    -------
    str
        A hidden name, and none of a hive partition.

    Examples
    --------
    >>> from dask_polars.io.staging import staging_prefix
    >>> staging_prefix("year=2024")
    '.year-2024.dask-polars-'
    """
    return f".{name.replace('=', '-')}{_MARK}"


def is_staging(path: str) -> bool:
    """
    Say whether a path is in the hidden directory of a sink, which is not data.

    Parameters
    ----------
    path
        A path of a file or a directory, local or remote.

    Returns
    -------
    bool

    Examples
    --------
    >>> from dask_polars.io.staging import is_staging
    >>> is_staging("/data/.out.dask-polars-5ad0c6f1b2e3/part-00000.staged"), is_staging("/data/out/part-00000.parquet")
    (True, False)
    """
    return _MARK in path and any(_STAGING.fullmatch(part) for part in path.split("/"))
