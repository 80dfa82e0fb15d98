"""
Whether the columns of a Parquet file are those of its scan.

Polars looks at each file, also where statistics say that it has no row that is wanted: one that does not fit is an error. So
only a file that fits may be left out. (A file that the names of its directories leave out, Polars does not look at either.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from dask_polars.io.footers import Footer
from dask_polars.io.parts import Wanted


@dataclass
class Columns:
    """
    The columns that files must have.

    Parameters
    ----------
    schema
        Those of the scan that are in files.
    needed
        Those of these that are read, whose types must fit.
    in_paths
        Those that are made of paths; files may have columns of these names.
    extra, missing
        Whether others, and fewer, are an error.
    """

    schema: Mapping[str, pl.DataType]
    needed: frozenset[str]
    in_paths: frozenset[str]
    extra: bool
    missing: bool
    _fitting: list[Any] = field(default_factory=list)

    @staticmethod
    def of(arguments: Mapping[str, Any], wanted: Wanted, in_paths: frozenset[str]) -> Columns:
        """
        Say what a scan wants of its files.

        Parameters
        ----------
        arguments
            The ``unified_scan_args`` of the scan.
        wanted
            What a query wants of it.
        in_paths
            The columns that are made of paths.

        Returns
        -------
        Columns
        """
        return Columns(
            schema={name: dtype for name, dtype in wanted.schema.items() if name not in in_paths},
            needed=frozenset(wanted.columns) - in_paths,
            in_paths=in_paths,
            extra=arguments["extra_columns_policy"] == "Raise",
            missing=arguments["missing_columns_policy"] == "Raise",
        )

    def fit(self, footer: Footer) -> bool:
        """
        Say whether Polars would read a file without a complaint.

        Parameters
        ----------
        footer
            Its footer.

        Returns
        -------
        bool
            False where that is not known.
        """
        if footer.metadata is None:
            return False
        schema = footer.metadata.schema
        if any(schema.equals(known) for known in self._fitting):
            return True
        try:
            found = pl.DataFrame(schema.to_arrow_schema().empty_table()).schema
        except (pa.ArrowException, pl.exceptions.PolarsError):
            return False
        if self._fits(found):
            self._fitting = [*self._fitting[-7:], schema]
            return True
        return False

    def _fits(self, found: Mapping[str, pl.DataType]) -> bool:
        if self.extra and not found.keys() <= self.schema.keys() | self.in_paths:
            return False
        if self.missing and not self.needed <= found.keys():
            return False
        return all(found[name] == self.schema[name] for name in self.needed & found.keys())
