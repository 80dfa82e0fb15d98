"""
Rows of tables that are deleted though their files still hold them: which parts of a scan have to know of which.

Such rows are counted from the beginning of their file. Files that have any are read as a whole, by one part each or with
other whole files: a run of rows of such a file would not be the rows that footers speak of.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

NAME = "deletions"  # in what a worker has to know to read a part


@dataclass(frozen=True)
class Deletions:
    """
    The deleted rows of a scan.

    Parameters
    ----------
    files
        The paths of the files that have any.
    of_all
        What the scan of any part says of them, whatever its files are; None where it depends on these.
    by_path
        What the scan of a part says of each of its files.
    """

    files: frozenset[str] = frozenset()
    of_all: Any = None
    by_path: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Any, paths: Sequence[str], vectors: pl.DataFrame | None) -> Deletions:
        """
        Read what the scan of a whole table says.

        Parameters
        ----------
        said
            The field of the scan; None where no row is deleted.
        paths
            The paths of its files.
        vectors
            The files of a Delta Lake table that have deleted rows.

        Returns
        -------
        Deletions
        """
        if said is None:
            return cls()
        ((kind, found),) = said.items()
        if kind == "Iceberg":
            by_path = {paths[index]: entry for index, entry in found.items()}
            return cls(frozenset(by_path), by_path=by_path)
        if vectors is None or not vectors.height:
            return cls()
        return cls(frozenset(path.removeprefix("file://") for path in vectors["filepath"]), of_all=said)


def deletions_of_part(reading: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Say which rows of some files are deleted, as arguments of their scan: by the numbers that they have in it."""
    by_path = reading.get(NAME)
    if by_path is None:
        return {}
    entries = {index: by_path[path] for index, path in enumerate(paths) if path in by_path}
    return {"deletion_files": {"Iceberg": entries} if entries else None}


class HeldTable:
    """
    A Delta Lake table that can be pickled with a scan, which asks it for the deleted rows when it runs.

    Parameters
    ----------
    table
        The table.
    """

    def __init__(self, table: Any) -> None:
        self._held = table
        self.vectors = pl.DataFrame(table.deletion_vectors())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def deletion_vectors(self) -> pl.DataFrame:
        """Give the files that have deleted rows, and which rows are left of each."""
        return self.vectors

    def __reduce__(self) -> tuple[Any, ...]:
        sink = io.BytesIO()
        self.vectors.write_ipc(sink, compression="zstd")
        return (Vectors, (sink.getvalue(),))


class Vectors:
    """The deleted rows of a Delta Lake table, in place of the table."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def deletion_vectors(self) -> pl.DataFrame:
        """Give the files that have deleted rows, and which rows are left of each."""
        return pl.read_ipc(io.BytesIO(self.packed))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Vectors, (self.packed,))
