"""Data sets on disk: made once, complete or absent."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any


def make(
    directory: str | PathLike[str], marker: str, made_with: Mapping[str, Any], write: Callable[[Path, Path], None]
) -> Path:
    """Make a data set unless it is there already.

    It is made beside `directory` and then moved into place, so `directory` is complete or absent, also when the program is
    interrupted or when two programs make the same data set at the same time.

    Parameters
    ----------
    directory
        Where the data set goes.
    marker
        Name of a file that tells what the data set was made with. It is there when, and only when, it is complete.
    made_with
        What to write there.
    write
        Called with an empty directory for scratch files and with the directory to fill.

    Returns
    -------
    Path
        `directory`.

    Raises
    ------
    FileExistsError
        If `directory` holds something else than this data set.
    """
    directory, made_with = Path(directory), dict(made_with)
    if is_made(directory, marker, made_with):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
        scratch, made = Path(temporary, "scratch"), Path(temporary, "made")
        scratch.mkdir()
        made.mkdir()
        write(scratch, made)
        (made / marker).write_text(json.dumps(made_with) + "\n")
        try:
            made.rename(directory)
        except OSError:
            # Another program was faster: its data set is as good as this one.
            if not is_made(directory, marker, made_with):
                raise
    return directory


def is_made(directory: Path, marker: str, made_with: Mapping[str, Any]) -> bool:
    """Tell whether `directory` is this data set; raise if it is anything else but absent or empty."""
    file = directory / marker
    if not file.is_file():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise FileExistsError(f"{directory} is not empty, and has no {marker}: give another directory")
        return False
    found = json.loads(file.read_text())
    if found != dict(made_with):
        raise FileExistsError(f"{directory} is a data set made with {found}, not {made_with}: delete it first")
    return True


def size(directory: str | PathLike[str]) -> int:
    """Give the bytes of the Parquet files of a data set."""
    return sum(file.stat().st_size for file in Path(directory).rglob("*.parquet"))
