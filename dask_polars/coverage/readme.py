"""
The table of the README.

Nothing in it is written by hand but the queries: each is planned twice over a frame of many partitions, once as if the
data were small and once as if it were large, and the exchanges are read off the stages of the plans. The README has the
table between two marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dask_polars.coverage.cases import CASES, Case
from dask_polars.coverage.tables import Tables, small_and_large, tables
from dask_polars.coverage.words import steps
from dask_polars.plan import Fallback, plan_queries

__all__ = ["END", "START", "Row", "insert", "markdown", "rows"]

START, END = "<!-- coverage:start -->", "<!-- coverage:end -->"


@dataclass(frozen=True)
class Row:
    """
    How an operation runs.

    Parameters
    ----------
    operation
        What the user writes, as Markdown.
    small, large
        The steps, where little data is moved, and where much is.
    reasons
        Why it is gathered to one partition; empty where it is distributed.
    """

    operation: str
    small: str
    large: str
    reasons: tuple[str, ...] = ()


def _row(case: Case, inputs: Tables) -> Row:
    query = case.query(inputs).to_polars()
    small, large = (plan_queries([query], options) for options in small_and_large())
    found: Iterable[Fallback] = {**dict.fromkeys(small.fallbacks), **dict.fromkeys(large.fallbacks)}
    return Row(case.operation, steps(small), steps(large), tuple(item.reason for item in found))


def rows() -> list[Row]:
    """
    Plan a query for each operation, and say how it runs.

    Returns
    -------
    list of Row
    """
    with tables() as inputs:
        return [_row(case, inputs) for case in CASES]


def markdown() -> str:
    """
    Write the table.

    Returns
    -------
    str
        Two tables in Markdown: what is distributed, and what is not.
    """
    found = rows()
    distributed = [row for row in found if not row.reasons]
    lines = ["| operation | how it runs, little data | much data |", "|---|---|---|"]
    lines += [
        f"| {row.operation} | {row.small} | {'the same' if row.large == row.small else row.large} |"
        for row in distributed
    ]
    lines += ["", "Gathered to one partition today:", "", "| operation | why |", "|---|---|"]
    lines += [f"| {row.operation} | {'; '.join(row.reasons)} |" for row in found if row.reasons]
    return "\n".join(lines)


def insert(text: str, table: str) -> str:
    """
    Put the table between the marks of a text.

    Parameters
    ----------
    text
        Holds both marks.
    table
        What comes between them.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Where a mark is missing.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the text has no {START} and {END}")
    return f"{before}{start}\n{table}\n{end}{after}"
