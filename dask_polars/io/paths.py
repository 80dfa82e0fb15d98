"""
The files that paths stand for, by the rules of Polars: a directory stands for all files below it, a pattern for what
matches it, in order.
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import fsspec


@dataclass(frozen=True)
class File:
    """A file that was found: its path, its bytes on disk, and what changes when it is written anew."""

    path: str
    size: int
    stamp: str


def is_remote(path: str) -> bool:
    """Say whether a path is one of an object store."""
    return "://" in path and not path.startswith("file://")


def expand(paths: Iterable[str], *, glob: bool, hidden: Any) -> list[File]:
    """
    Find the files that paths stand for.

    Parameters
    ----------
    paths
        Files, directories and patterns, local or remote.
    glob
        Whether ``*`` and the like are patterns.
    hidden
        Prefixes of the names of files that are left out.

    Returns
    -------
    list of File
        In the order in which Polars reads them.
    """
    out: list[File] = []
    for path in paths:
        out.extend(_expand_remote(path, glob) if is_remote(path) else _expand_local(path, glob))
    prefixes = tuple(hidden) if hidden else ()
    if prefixes:
        out = [file for file in out if not os.path.basename(file.path).startswith(prefixes)]
    return out


def _expand_local(path: str, glob: bool) -> list[File]:
    path = path.removeprefix("file://")
    if os.path.isdir(path):
        names = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
        return [file for file in map(_local_file, sorted(names)) if file.size]
    if glob and globbing.has_magic(path):
        names = globbing.glob(path, recursive=True, include_hidden=True)
        return [file for file in map(_local_file, filter(os.path.isfile, sorted(names))) if file.size]
    return [_local_file(path)]


def _local_file(path: str) -> File:
    try:
        found = os.stat(path)
    except OSError:
        return File(path, 0, "")  # Polars says so when the query runs, if it gets that far
    return File(path, found.st_size, str(found.st_mtime_ns))


def _expand_remote(path: str, glob: bool) -> list[File]:
    fs, root = filesystem(path)
    scheme = path.split("://", 1)[0]
    if glob and globbing.has_magic(root):
        found = fs.glob(root, detail=True)
    elif fs.isdir(root):
        found = fs.find(root, detail=True)
    else:
        found = {root: fs.info(root)}
    return [
        File(f"{scheme}://{name}", info["size"], str(info.get("ETag") or info.get("LastModified") or info.get("mtime")))
        for name, info in sorted(found.items())
        if info["type"] == "file" and (info["size"] or name == root)
    ]


def filesystem(path: str) -> tuple[Any, str]:
    """Give the file system of a remote path, and the path in it."""
    found: tuple[Any, str] = fsspec.core.url_to_fs(path)
    return found
