"""
The Narwhals plugin of dask_polars, as Narwhals looks for it: the entry point ``narwhals.plugins``.

Narwhals loads every plugin as soon as it is given an object that it does not know. That must neither cost programs that
use neither Dask nor Polars the import of both, nor fail where these cannot be imported; so this package imports nothing.
"""

from __future__ import annotations

from typing import Any

NATIVE_PACKAGE = "dask_polars"


def is_native(native_object: object, /) -> bool:
    """
    Say whether an object is a collection of dask_polars.

    Parameters
    ----------
    native_object
        Any object. Narwhals asks only if dask_polars was imported already.

    Returns
    -------
    bool
    """
    from dask_polars import LazyFrame

    return isinstance(native_object, LazyFrame)


def __narwhals_namespace__(version: Any) -> Any:
    """
    Give what Narwhals calls for a collection.

    Parameters
    ----------
    version : narwhals._utils.Version
        The version of the API of Narwhals.

    Returns
    -------
    dask_polars.narwhals.DaskPolarsNamespace
    """
    from dask_polars.narwhals import DaskPolarsNamespace

    return DaskPolarsNamespace(version=version)
