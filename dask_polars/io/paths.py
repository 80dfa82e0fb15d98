"""
The files that paths stand for, by the rules of Polars: a directory stands for all files below it, a pattern for what
matches it, in order.
"""

from __future__ import annotations

import glob as globbing
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

from dask_polars.io.staging import is_staging
from dask_polars.io.storage import Storage

# With as many files in one directory it is listed; fewer are asked for one by one.
_LISTED = 16
_PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class File:
    """
    A file that was found.

    Parameters
    ----------
    path
        The path, with its scheme where it has one.
    size
        Bytes on disk.
    stamp
        What changes when it is written anew.
    storage
        How it is reached.
    """

    path: str
    size: int
    stamp: str
    storage: Storage = field(default=Storage(), repr=False)

    @property
    def is_dated(self) -> bool:
        """Whether it would be seen that it was written anew."""
        return self.stamp not in ("", "None")

    def tail(self, length: int) -> bytes:
        """
        Read the end of the file, with one request.

        Parameters
        ----------
        length
            Number of bytes; fewer are given where the file has no more.

        Returns
        -------
        bytes

        Raises
        ------
        OSError
            If it cannot be read.
        """
        start = max(self.size - length, 0)
        if is_remote(self.path):
            fs, root = filesystem(self.path, self.storage)
            found: bytes = fs.cat_file(root, start=start, end=self.size)
            return found
        with open(self.path.removeprefix("file://"), "rb") as opened:
            opened.seek(start)
            return opened.read()


def is_remote(path: str) -> bool:
    """Say whether a path is one of an object store."""
    return "://" in path and not path.startswith("file://")


def filesystem(path: str, storage: Storage = Storage()) -> tuple[Any, str]:  # noqa: B008 (it is frozen)
    """Give the file system of a remote path, and the path in it."""
    return storage.filesystem(path)


def open_file(path: str, storage: Storage = Storage()) -> BinaryIO:  # noqa: B008 (it is frozen)
    """Open a file for reading bytes, local or remote."""
    if not is_remote(path):
        return open(path.removeprefix("file://"), "rb")
    fs, root = filesystem(path, storage)
    opened: BinaryIO = fs.open(root, "rb")
    return opened


def expand(
    paths: Sequence[str],
    *,
    glob: bool,
    hidden: Any,
    storage: Storage = Storage(),  # noqa: B008 (it is frozen)
) -> list[File]:
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
    storage
        How remote files are reached.

    Returns
    -------
    list of File
        In the order in which Polars reads them.
    """
    out: list[File] = []
    remote = [path for path in paths if is_remote(path)]
    alone = _files_asked_for(remote, glob, storage)
    for path in paths:
        if path in alone:
            out.append(alone[path])
        else:
            out.extend(_expand_remote(path, glob, storage) if is_remote(path) else _expand_local(path, glob))
    out = [file for file in out if not is_staging(file.path)]  # what a sink has not committed
    prefixes = tuple(hidden) if hidden else ()
    if prefixes:
        out = [file for file in out if not os.path.basename(file.path).startswith(prefixes)]
    return out


def unreadable(files: Sequence[File]) -> list[File]:
    """
    Find out which files of an object store cannot be read, after an error that does not say.

    Parameters
    ----------
    files
        The files.

    Returns
    -------
    list of File
        Those whose first bytes did not come in some seconds, of at most a thousand.
    """
    remote = [file for file in files[:1000] if is_remote(file.path)]
    pool = ThreadPoolExecutor(16)
    asked = [pool.submit(_is_unreadable, file) for file in remote]
    wait(asked, timeout=_PATIENCE)
    pool.shutdown(wait=False, cancel_futures=True)
    return [
        file
        for file, answer in zip(remote, asked, strict=True)
        if not answer.done() or answer.cancelled() or answer.result()
    ]


def _is_unreadable(file: File) -> bool:
    try:
        fs, root = filesystem(file.path, file.storage)
        fs.cat_file(root, start=0, end=1024)
    except Exception:  # whatever it is, it is about this file
        return True
    return False


# ---------------------------------------------------------------- once for a query

T = TypeVar("T")
_LISTINGS: ContextVar[dict[Any, Any] | None] = ContextVar("dask_polars_listings", default=None)


@contextmanager
def listing_once() -> Iterator[None]:
    """
    List no directory twice, as long as the block runs.

    A query is planned in such a block, so that it sees each directory as it was at one moment, and another query, however
    soon it follows, sees what was written in between.
    """
    known = _LISTINGS.get()
    token = _LISTINGS.set({} if known is None else known)
    try:
        yield
    finally:
        _LISTINGS.reset(token)


def _once(key: tuple[Any, str], find: Callable[[], T]) -> T:
    known = _LISTINGS.get()
    if known is None:
        return find()
    if key not in known:
        known[key] = find()
    found: T = known[key]
    return found


# ---------------------------------------------------------------- local files


def _expand_local(path: str, glob: bool) -> list[File]:
    return _once(("", f"{glob}:{path}"), lambda: _find_local(path.removeprefix("file://"), glob))


def _find_local(path: str, glob: bool) -> list[File]:
    if os.path.isdir(path):
        names = [os.path.join(root, name) for root, names in _walk(path) for name in names]
        return [file for file in map(_local_file, sorted(names)) if file.size]
    if glob and globbing.has_magic(path):
        names = globbing.glob(path, recursive=True, include_hidden=True)
        return [file for file in map(_local_file, filter(os.path.isfile, sorted(names))) if file.size]
    return [_local_file(path)]


def _walk(path: str) -> Iterator[tuple[str, list[str]]]:
    """Visit directories, through links too, but none from inside of itself."""
    for root, directories, names in os.walk(path, followlinks=True):
        here = os.path.realpath(root)
        targets = {name: os.path.realpath(os.path.join(root, name)) for name in directories}
        directories[:] = [name for name in directories if os.path.commonpath([here, targets[name]]) != targets[name]]
        yield root, names


def _local_file(path: str) -> File:
    try:
        found = os.stat(path)
    except OSError:
        return File(path, 0, "")  # Polars says so when the query runs, if it gets that far
    return File(path, found.st_size, str(found.st_mtime_ns))


# ---------------------------------------------------------------- object stores

_Listing = dict[str, dict[str, Any]]


def is_directory(path: str) -> bool:
    """
    Say whether a path stands for the files below it.

    Parameters
    ----------
    path
        A path without patterns. In an object store that of a directory ends with a slash, as Polars has it.

    Returns
    -------
    bool
    """
    return path.endswith("/") if is_remote(path) else os.path.isdir(path)


def _expand_remote(path: str, glob: bool, storage: Storage) -> list[File]:
    fs, root = filesystem(path, storage)
    magic = _MAGIC.search(root) if glob else None
    if magic:
        found = _listing(path, root[: magic.start()], fs, storage)
        pattern = re.compile(_regex(root))
        found = {name: info for name, info in found.items() if pattern.fullmatch(name)}
    elif is_directory(path):
        found = _listing(path, root.rstrip("/") + "/", fs, storage)
    else:
        found = {root: _info(fs, root)}
    return [
        _remote_file(path, root, name, info, storage)
        for name, info in sorted(found.items(), key=lambda item: item[0].encode())
        if info["type"] == "file" and (info["size"] or name == root)
    ]


def _remote_file(path: str, root: str, name: str, info: dict[str, Any], storage: Storage) -> File:
    """Describe a file by its name in a file system, and a path of Polars' with what it is there."""
    scheme, rest = path.split("://", 1)
    if "://" not in name:  # where it is, as in file systems of the web, the name is the path
        # What Polars wants of a container of Azure may be more than its name.
        container, authority = root.split("/", 1)[0], rest.split("/", 1)[0]
        name = f"{scheme}://{authority}{name.removeprefix(container)}"
    stamp = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("mtime") or info.get("updated")
    return File(name, info.get("size") or 0, str(stamp), storage)


def _info(fs: Any, root: str) -> dict[str, Any]:
    """Ask for one object."""
    try:
        found: dict[str, Any] = fs.info(root)
    except FileNotFoundError:
        return {"type": "file", "size": 0}  # Polars says so when the query runs, if it gets that far
    return found


def _listing(path: str, prefix: str, fs: Any, storage: Storage) -> _Listing:
    """List what starts with a prefix, in pages and not directory by directory, as Polars does."""
    return _once((storage, f"{path.split('://', 1)[0]}://{prefix}"), lambda: _list(prefix, fs))


def _list(prefix: str, fs: Any) -> _Listing:
    directory, start = prefix.rsplit("/", 1) if "/" in prefix else (prefix, "")
    out: _Listing = fs.find(directory, detail=True, **({"prefix": start} if start else {}))
    return {name: info for name, info in out.items() if name.startswith(prefix) and not name.endswith("/")}


def _files_asked_for(paths: Iterable[str], glob: bool, storage: Storage) -> dict[str, File]:
    """Find files that are named one by one, many of them in one directory, by listing what their names start with."""
    by_directory: dict[str, list[str]] = {}
    for path in paths:
        if not is_directory(path) and not (glob and _MAGIC.search(path)):
            by_directory.setdefault(path.rsplit("/", 1)[0], []).append(path)
    out: dict[str, File] = {}
    for group in by_directory.values():
        if len(group) < _LISTED:
            continue
        fs, prefix = filesystem(_common_start(min(group), max(group)), storage)
        found = _listing(group[0], prefix, fs, storage)
        for path in group:
            name = filesystem(path, storage)[1]
            if name in found:
                out[path] = _remote_file(path, name, name, found[name], storage)
    return out


def _common_start(one: str, other: str) -> str:
    return "".join(
        char for char, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    )


_MAGIC = re.compile(r"[*?\[]")
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]]*\]|.", re.DOTALL)
_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _regex(pattern: str) -> str:
    """Write a pattern as a regular expression."""
    out = []
    for part in _PARTS.findall(pattern):
        if part in _MEANINGS:
            out.append(_MEANINGS[part])
        elif part.startswith("[") and part.endswith("]") and len(part) > 1:
            out.append(f"[^{part[2:]}" if part.startswith("[!") else part)
        else:
            out.append(re.escape(part))
    return "".join(out)
