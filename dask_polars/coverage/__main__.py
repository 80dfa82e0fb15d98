"""Print the table, or write the table and the page into files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dask_polars.coverage.page import page
from dask_polars.coverage.readme import insert, markdown


def main(paths: Sequence[str]) -> None:
    """Print the table, or write it into files; a file named coverage.md gets the page."""
    if not paths:
        print(markdown())
    for path in map(Path, paths):
        path.write_text(page() if path.name == "coverage.md" else insert(path.read_text(), markdown()))


if __name__ == "__main__":
    main(sys.argv[1:])
