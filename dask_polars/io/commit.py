"""
Output that appears as a whole or not at all.

Files are written below a hidden directory beside the target, under names that no two attempts share. Then the files of
those attempts that succeeded are put together there, and take the place of the target at once: by renaming, or in an
object store by copies on the server, which appear one after the other. That may be done twice, or partly: what was done is
noted beside the files, and whoever comes later sees it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from glob import has_magic
from uuid import uuid4

from dask_polars.io.copies import Copies, Copy
from dask_polars.io.paths import filesystem, is_remote
from dask_polars.io.targets import Target, Written

_TRIES = 3
_OPEN, _COMMIT, _WHOLE, _OLD, _SAVED, _MADE = "open", "commit-", "whole-", "old-", "saved-", "made"
_COPIED = ".copied"
# What file systems of fsspec call the time at which an object was written.
_WRITTEN = ("LastModified", "last_modified", "updated", "mtime")
_LONG = 24 * 3600.0  # seconds in which nothing was written: nobody writes any more


# ---------------------------------------------------------------- steps of a run


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
    try:
        refused = not target.overwrite and _store(target).occupied()
    except FileNotFoundError as error:  # of a bucket, without its name
        error.add_note(f"dask_polars: looking for what is at {target.path} already")
        raise
    if refused:
        what = "is a directory that is not empty" if target.directory else "is there already"
        raise FileExistsError(
            f"{target.path} {what}: remove it, write to another place, or replace it with the option overwrite "
            "(dask.config.set({'dask-polars.overwrite': True}), or DaskEngine(overwrite=True))"
        )


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
    store.write(_OPEN, "")
    for run in store.runs_before(time.time() - _LONG):
        clean(replace(target, run=run))


def is_open(target: Target) -> bool:
    """Say whether a run goes on: it was begun, and not cleaned up."""
    return _store(target).has(_OPEN)


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


def _store(target: Target) -> _Local | _Remote:
    return _Remote(target) if is_remote(target.path) else _Local(target)


def _as_json(files: Sequence[Written]) -> str:
    return json.dumps([[file.path, file.rows, file.bytes] for file in files])


def _from_json(text: str) -> list[Written]:
    return [Written(*item) for item in json.loads(text)]


# ---------------------------------------------------------------- a file system


class _Local:
    """A target in a file system, which has renames."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def occupied(self) -> bool:
        path = self.target.path
        if self.target.directory and os.path.isdir(path):
            with os.scandir(path) as found:
                return any(True for _ in found)
        return os.path.lexists(path)

    def write(self, name: str, text: str) -> None:
        if not os.path.isdir(self.target.staging):
            self._make()
        part = self.target.staged(f"{name}.{uuid4().hex}")
        with open(part, "w") as file:
            file.write(text)
        os.replace(part, self.target.staged(name))

    def _make(self) -> None:
        staging = self.target.staging
        made = _missing(os.path.dirname(staging))
        if self.target.mkdir:
            os.makedirs(staging, exist_ok=True)
        else:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(staging)
            except FileNotFoundError:
                error = FileNotFoundError(f"No such file or directory (os error 2): {self.target.path}")
                error.add_note("dask_polars: the directory above it is missing; `mkdir=True` makes it")
                raise error from None
        if made:
            self.write(_MADE, json.dumps(made))

    def runs_before(self, when: float) -> list[str]:
        """Name the runs in whose hidden directories nothing has changed since."""
        above, prefix = self.target.beside
        with os.scandir(above) as found:
            runs = [entry.path for entry in found if entry.name.startswith(prefix)]
        return [path[len(above) + 1 + len(prefix) :] for path in runs if _last_change(path) < when]

    def has(self, name: str) -> bool:
        return os.path.exists(self.target.staged(name))

    def committed(self) -> list[Written] | None:
        # The whole was renamed, so it is no longer where it was put together: nothing else takes it from there. Or it is
        # one file, which has both names.
        for token in self._tokens(_COMMIT):
            whole = self.target.staged(_WHOLE + token)
            if not os.path.lexists(whole) or _is_same(whole, self.target.path):
                with open(self.target.staged(_COMMIT + token)) as file:
                    return _from_json(file.read())
        return None

    def commit(self, files: Sequence[tuple[str, str]], placed: Sequence[Written]) -> None:
        token = uuid4().hex
        whole = self.target.staged(_WHOLE + token)
        if self.target.directory:
            os.makedirs(whole)
        for source, to in files:
            self._link(source, os.path.join(whole, to) if to else whole)
        check_free(self.target)
        self.write(_COMMIT + token, _as_json(placed))
        self._swap(whole, token)

    def _link(self, source: str, to: str) -> None:
        if not os.path.exists(source):
            raise FileNotFoundError(
                f"{source} was written by a task, and is not to be seen by the one that puts the files of "
                f"{self.target.path} together: all workers need the same file system"
            )
        os.makedirs(os.path.dirname(to), exist_ok=True)
        try:
            os.link(source, to)  # not moved: whoever does the same again finds it in its place
        except OSError:
            shutil.copyfile(source, source + _COPIED)
            os.replace(source + _COPIED, to)  # under the name of data only when it is complete

    def _swap(self, whole: str, token: str) -> None:
        path = self.target.path
        if not self.target.directory:
            if self.target.overwrite:
                os.replace(whole, path)
            else:
                self._appear(whole)
            return
        if not self.target.overwrite or not os.path.lexists(path):
            self._rename(whole)
            return
        replaced = self.target.staged(_OLD + token)
        os.rename(path, replaced)
        try:
            os.rename(whole, path)
        except BaseException:
            os.rename(replaced, path)
            raise
        shutil.rmtree(replaced, ignore_errors=True)  # what is left of it goes with the hidden directory

    def _rename(self, whole: str) -> None:
        """Give a directory the name of the target, unless there are files by now."""
        try:
            os.rename(whole, self.target.path)
        except OSError:
            check_free(self.target)
            raise

    def _appear(self, whole: str) -> None:
        """Give a file the name of the target, unless there is something by now: a rename would replace it."""
        path = self.target.path
        try:
            os.link(whole, path)
        except FileExistsError:
            check_free(self.target)
            raise
        except OSError:  # there are no links in this file system: whoever makes the name first has it
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                check_free(self.target)
                raise
            os.replace(whole, path)
        else:
            os.remove(whole)

    def clean(self) -> None:
        if not os.path.lexists(self.target.path):
            for token in self._tokens(_OLD):  # whoever was to replace it was killed in between
                with contextlib.suppress(OSError):
                    os.rename(self.target.staged(_OLD + token), self.target.path)
        made = self._made()
        # First the mark of an open run, so that tasks that still run do not start to write anew.
        with contextlib.suppress(OSError):
            os.remove(self.target.staged(_OPEN))
        for _ in range(_TRIES):  # a task that still runs may make a file meanwhile
            shutil.rmtree(self.target.staging, ignore_errors=True)
            if not os.path.lexists(self.target.staging):
                break
        else:
            shutil.rmtree(self.target.staging)
        for directory in made:
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(directory)

    def _made(self) -> list[str]:
        """List the directories that this run made above the target, from below."""
        with contextlib.suppress(FileNotFoundError), open(self.target.staged(_MADE)) as file:
            made: list[str] = json.loads(file.read())
            return made
        return []

    def abandon(self, path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.remove(path)
        with contextlib.suppress(OSError):
            os.rmdir(self.target.staging)

    def _tokens(self, prefix: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.target.staging) as found:
            names = [entry.name.removeprefix(prefix) for entry in found if entry.name.startswith(prefix)]
            return [name for name in names if "." not in name]
        return []


def _missing(path: str) -> list[str]:
    """List a directory and those above it that are not there, from below."""
    out = []
    while path and not os.path.lexists(path):
        out.append(path)
        path = os.path.dirname(path)
    return out


def _last_change(path: str) -> float:
    """Say when something below a directory was last written; nothing is older than what is gone by now."""
    try:
        return max(
            os.lstat(name).st_mtime for root, _, names in os.walk(path) for name in (root, *_joined(root, names))
        )
    except (OSError, ValueError):
        return time.time()


def _joined(root: str, names: Sequence[str]) -> list[str]:
    return [os.path.join(root, name) for name in names]


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


# ---------------------------------------------------------------- an object store


class _Remote:
    """A target in an object store: nothing can be renamed, and each object appears by itself, as a whole."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.fs, self.root = filesystem(target.path, target.storage)
        self.staging = self._root(target.staging)

    def _root(self, path: str) -> str:
        """Give a path of this target as the file system writes it."""
        root: str = self.fs._strip_protocol(path)
        return root

    def _find(self, root: str) -> list[str]:
        self.fs.invalidate_cache()
        found: list[str] = self.fs.find(root)
        return found

    def _content(self) -> set[str]:
        """List the objects that a reader of the target would read."""
        if not self.target.directory:
            self.fs.invalidate_cache()
            return {self.root} if self.fs.exists(self.root) else set()
        marks = {self.root, f"{self.root}/"}  # some tools write an object for a directory
        return {name for name in self._find(self.root) if name not in marks and not name.startswith(self.staging)}

    def occupied(self) -> bool:
        return bool(self._content())

    def write(self, name: str, text: str) -> None:
        self.fs.pipe_file(f"{self.staging}/{name}", text.encode())

    def has(self, name: str) -> bool:
        self.fs.invalidate_cache()
        found: bool = self.fs.exists(f"{self.staging}/{name}")
        return found

    def _begun(self) -> list[list[Written]]:
        names = [name for name in self._find(self.staging) if name.startswith(f"{self.staging}/{_COMMIT}")]
        return [_from_json(self.fs.cat_file(name).decode()) for name in names]

    def runs_before(self, when: float) -> list[str]:
        """Name the runs in whose hidden directories nothing was written since."""
        above, prefix = self.target.beside
        start = f"{self._root(above)}/{prefix}"
        self.fs.invalidate_cache()
        last: dict[str, float] = {}
        for name, info in self.fs.find(self._root(above), prefix=prefix, detail=True).items():
            if name.startswith(start):
                run = name.removeprefix(start).split("/", 1)[0]
                written = next((info[key] for key in _WRITTEN if isinstance(info.get(key), datetime)), None)
                last[run] = max(last.get(run, 0.0), time.time() if written is None else written.timestamp())
        return [run for run, time_ in last.items() if time_ < when]

    def committed(self) -> list[Written] | None:
        return None  # copying again does no harm

    def commit(self, files: Sequence[tuple[str, str]], placed: Sequence[Written]) -> None:
        begun = self._begun()
        if not begun:  # otherwise what is there is what an earlier attempt has copied
            check_free(self.target)
        finals = [self._root(file.path) for file in placed]
        before = {self._root(file.path) for files in begun for file in files}
        stale = (self._content() if self.target.overwrite else before) - set(finals)
        sources = [self._root(source) for source, _ in files]
        sizes = [file.bytes for file in placed]
        copies = Copies(self.fs, [Copy(*item) for item in zip(sources, finals, sizes, strict=True)])
        try:
            # First all that takes long: nothing is seen of it, and nothing that was there is touched.
            copies.prepare()
            self._check_open()
            saved = self._saved(finals)
            self.write(_COMMIT + uuid4().hex, _as_json(placed))
        except BaseException as error:
            error.add_note(
                f"dask_polars: the files of {self.target.path} could not all be copied; those that were there remain"
            )
            copies.abort()
            raise
        try:
            copies.appear()
        except BaseException as error:
            error.add_note(f"dask_polars: the files of {self.target.path} could not all be copied into place")
            if len(finals) > 1 or not self.target.overwrite:
                self._put_back(finals, saved, error)
            raise
        self._remove_stale(sorted(stale))

    def _saved(self, finals: Sequence[str]) -> dict[str, str]:
        """
        Copy what is about to be replaced to the hidden directory, and give where to by where it was.

        An attempt before this one may have replaced some of it: what it has saved, is what was there. One object takes the place of
        another at once, or does not.
        """
        if not self.target.overwrite or len(finals) < 2:
            return {}
        notes = [name for name in self._find(self.staging) if name.startswith(f"{self.staging}/{_SAVED}")]
        for name in notes:
            return dict(json.loads(self.fs.cat_file(name).decode()))
        token = uuid4().hex
        replaced = sorted(self._content() & set(finals))
        saved = {name: f"{self.staging}/{_OLD}{token}/{number}" for number, name in enumerate(replaced)}
        if saved:
            self.fs.copy(list(saved), list(saved.values()))
        self.write(_SAVED + token, json.dumps(saved))
        return saved

    def _put_back(self, finals: Sequence[str], saved: Mapping[str, str], error: BaseException) -> None:
        """Have what was there before an error, and nothing else; where that fails too, the error says so."""
        try:
            self._check_open()
            if saved:
                self.fs.copy(list(saved.values()), list(saved))
            self._remove_all([name for name in finals if name not in saved])
        except Exception as other:
            error.add_note(
                f"dask_polars: what was in {self.target.path} before could not be put back, so files of both runs may be "
                f"there; write them again: {other}"
            )

    def _remove_stale(self, names: Sequence[str]) -> None:
        try:
            self._remove(names)  # they were listed a moment ago: to ask for each would have readers see both for longer
        except BaseException as error:
            error.add_note(
                f"dask_polars: {self.target.path} has all of the new files, but not all of those that they replace could be "
                "removed; write them again"
            )
            raise

    def _remove_all(self, names: Sequence[str]) -> None:
        there = [name for name in names if self.fs.exists(name)]
        self._remove(there)

    def _remove(self, names: Sequence[str]) -> None:
        """Remove objects; fsspec takes some names for patterns."""
        patterns = [name for name in names if has_magic(name)]
        plain = sorted({*names} - {*patterns})
        if plain:
            self.fs.rm(plain)
        for name in patterns:
            self.fs.rm_file(name)

    def _check_open(self) -> None:
        """Raise where this attempt is too late: whoever wrote here since must not lose it."""
        if not self.has(_OPEN):
            raise RuntimeError(f"the run that writes {self.target.path} is over")

    def clean(self) -> None:
        # First the mark of an open run. A task that finds it afterwards no more, removes what it wrote; one that found it
        # before had written everything by then, so it is on the list.
        mark = f"{self.staging}/{_OPEN}"
        if self.fs.exists(mark):
            self.fs.rm_file(mark)
        self._remove(self._find(self.staging))

    def abandon(self, path: str) -> None:
        self._remove(self._find(self._root(path)))
