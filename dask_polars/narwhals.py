"""
Narwhals on collections: its operations on lazy frames of Polars, with a collection inside.

A collection has the methods of :class:`polars.LazyFrame`, so what Narwhals does for Polars does for it. The classes of
Narwhals that are extended here are not public (plugins have no others to extend); tests/test_narwhals.py is their contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import polars as pl
from narwhals._polars.dataframe import PolarsDataFrame, PolarsLazyFrame
from narwhals._polars.namespace import PolarsNamespace
from narwhals._utils import Implementation

import dask_polars


class DaskPolarsLazyFrame(PolarsLazyFrame):
    """A collection as Narwhals sees it."""

    # Libraries take what is Polars to be a `pl.LazyFrame`, which a collection is not.
    _implementation = Implementation.UNKNOWN

    @property
    def _backend_version(self) -> tuple[int, ...]:
        return Implementation.POLARS._backend_version()

    @staticmethod
    def _is_native(obj: Any) -> Any:  # type: ignore[override]
        return isinstance(obj, dask_polars.LazyFrame)

    def __narwhals_namespace__(self) -> DaskPolarsNamespace:
        return DaskPolarsNamespace(version=self._version)

    def __native_namespace__(self) -> ModuleType:
        return dask_polars

    def __repr__(self) -> str:
        return "DaskPolarsLazyFrame"


class DaskPolarsNamespace(PolarsNamespace):
    """The functions of Narwhals for collections: expressions are those of Polars."""

    _implementation = Implementation.UNKNOWN

    @property
    def _backend_version(self) -> tuple[int, ...]:
        return Implementation.POLARS._backend_version()

    @property
    def _lazyframe(self) -> type[DaskPolarsLazyFrame]:
        return DaskPolarsLazyFrame

    def is_native(self, obj: Any) -> Any:  # type: ignore[override]
        """Say whether an object is one that Narwhals does not need to wrap first."""
        return isinstance(obj, dask_polars.LazyFrame) or super().is_native(obj)

    def concat(self, items: Iterable[Any], *, how: Any) -> Any:
        """Put frames below or beside each other."""
        natives = [item.native for item in items]
        if all(isinstance(native, pl.DataFrame) for native in natives):
            return PolarsDataFrame(pl.concat(natives, how=_how(how)), version=self._version)
        return self._collection(dask_polars.concat(natives, how=_how(how)))

    def scan_csv(self, source: Any, *, separator: str = ",", **kwds: Any) -> Any:
        """Scan CSV files with :func:`dask_polars.scan_csv`."""
        return self._collection(dask_polars.scan_csv(source, separator=separator, **kwds))

    def scan_parquet(self, source: Any, **kwds: Any) -> Any:
        """Scan Parquet files with :func:`dask_polars.scan_parquet`."""
        return self._collection(dask_polars.scan_parquet(source, **kwds))

    def _collection(self, native: Any) -> DaskPolarsLazyFrame:
        return DaskPolarsLazyFrame(native, version=self._version)


def _how(how: str) -> Any:
    return "horizontal_extend" if how == "horizontal" else how
