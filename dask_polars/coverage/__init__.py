"""
What is distributed, and how: made by planning a small query for each operation.

There are a table in the README, by topic (``cases.py``), and a page with every public method (``page.py``); tests hold
both against the code::

    python -m dask_polars.coverage                    # print the table
    python -m dask_polars.coverage README.md          # write it into a file, between the marks
    python -m dask_polars.coverage docs/coverage.md   # write the page
"""

from __future__ import annotations

from dask_polars.coverage.cases import CASES, Case
from dask_polars.coverage.readme import END, START, Row, insert, markdown, rows
from dask_polars.coverage.tables import NPARTITIONS, Tables, small_and_large, tables
from dask_polars.coverage.words import steps

__all__ = [
    "CASES",
    "END",
    "NPARTITIONS",
    "START",
    "Case",
    "Row",
    "Tables",
    "insert",
    "markdown",
    "rows",
    "small_and_large",
    "steps",
    "tables",
]
