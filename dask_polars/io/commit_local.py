"""
Output to a file system: renames make it appear at once.

See :mod:`dask_polars.io.commit` for what the steps are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from uuid import uuid4

from dask_polars.io.commit_notes import COMMIT, MADE, OLD, OPEN, WHOLE, as_json, from_json, refuse_occupied
from dask_polars.io.targets import Target, Written

_TRIES = 3
_COPIED = ".copied"


class Local:
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
            self.write(MADE, json.dumps(made))

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
        for token in self._tokens(COMMIT):
            whole = self.target.staged(WHOLE + token)
            if not os.path.lexists(whole) or _is_same(whole, self.target.path):
                with open(self.target.staged(COMMIT + token)) as file:
                    return from_json(file.read())
        return None

    def commit(self, files: Sequence[tuple[str, str]], placed: Sequence[Written]) -> None:
        token = uuid4().hex
        whole = self.target.staged(WHOLE + token)
        if self.target.directory:
            os.makedirs(whole)
        for source, to in files:
            self._link(source, os.path.join(whole, to) if to else whole)
        refuse_occupied(self)
        self.write(COMMIT + token, as_json(placed))
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
        replaced = self.target.staged(OLD + token)
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
            refuse_occupied(self)
            raise

    def _appear(self, whole: str) -> None:
        """Give a file the name of the target, unless there is something by now: a rename would replace it."""
        path = self.target.path
        try:
            os.link(whole, path)
        except FileExistsError:
            refuse_occupied(self)
            raise
        except OSError:  # there are no links in this file system: whoever makes the name first has it
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                refuse_occupied(self)
                raise
            os.replace(whole, path)
        else:
            os.remove(whole)

    def clean(self) -> None:
        if not os.path.lexists(self.target.path):
            for token in self._tokens(OLD):  # whoever was to replace it was killed in between
                with contextlib.suppress(OSError):
                    os.rename(self.target.staged(OLD + token), self.target.path)
        made = self._made()
        # First the mark of an open run, so that tasks that still run do not start to write anew.
        with contextlib.suppress(OSError):
            os.remove(self.target.staged(OPEN))
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
        with contextlib.suppress(FileNotFoundError), open(self.target.staged(MADE)) as file:
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
