"""
Output to an object store: copies on the server, which appear one after the other.

See :mod:`dask_polars.io.commit` for what the steps are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from glob import has_magic
from uuid import uuid4

from dask_polars.io.commit_notes import COMMIT, OLD, OPEN, SAVED, as_json, from_json, refuse_occupied
from dask_polars.io.copies import Copies, Copy, copy_objects
from dask_polars.io.paths import filesystem
from dask_polars.io.storage import canonical
from dask_polars.io.targets import Target, Written

# What file systems of fsspec call the time at which an object was written.
_WRITTEN = ("LastModified", "last_modified", "updated", "mtime")


class Remote:
    """A target in an object store: nothing can be renamed, and each object appears by itself, as a whole."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.fs, self.root = filesystem(target.path, target.storage)
        self.staging = self._root(target.staging)

    def _root(self, path: str) -> str:
        """Give a path of this target as the file system writes it."""
        root: str = self.fs._strip_protocol(canonical(path))
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
        names = [name for name in self._find(self.staging) if name.startswith(f"{self.staging}/{COMMIT}")]
        return [from_json(self.fs.cat_file(name).decode()) for name in names]

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
            refuse_occupied(self)
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
            self.write(COMMIT + uuid4().hex, as_json(placed))
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
        notes = [name for name in self._find(self.staging) if name.startswith(f"{self.staging}/{SAVED}")]
        for name in notes:
            return dict(json.loads(self.fs.cat_file(name).decode()))
        token = uuid4().hex
        replaced = sorted(self._content() & set(finals))
        saved = {name: f"{self.staging}/{OLD}{token}/{number}" for number, name in enumerate(replaced)}
        if saved:
            copy_objects(self.fs, list(saved), list(saved.values()))
        self.write(SAVED + token, json.dumps(saved))
        return saved

    def _put_back(self, finals: Sequence[str], saved: Mapping[str, str], error: BaseException) -> None:
        """Have what was there before an error, and nothing else; where that fails too, the error says so."""
        try:
            self._check_open()
            if saved:
                copy_objects(self.fs, list(saved.values()), list(saved))
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
        if not self.has(OPEN):
            raise RuntimeError(f"the run that writes {self.target.path} is over")

    def clean(self) -> None:
        # First the mark of an open run. A task that finds it afterwards no more, removes what it wrote; one that found it
        # before had written everything by then, so it is on the list.
        mark = f"{self.staging}/{OPEN}"
        if self.fs.exists(mark):
            self.fs.rm_file(mark)
        self._remove(self._find(self.staging))

    def abandon(self, path: str) -> None:
        self._remove(self._find(self._root(path)))
