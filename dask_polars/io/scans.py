"""Collections from files and frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import polars as pl
from dask.utils import parse_bytes

from dask_polars.collection import LazyFrame
from dask_polars.dsl.leaves import source_lazyframe
from dask_polars.io.options import translated, translated_for_delta, translated_for_iceberg
from dask_polars.io.sources import FrameSource, Repartition

P = ParamSpec("P")


def _signed_as(theirs: Callable[P, Any]) -> Callable[[Callable[..., LazyFrame]], Callable[P, LazyFrame]]:
    """Give a function the documentation and the arguments of one of Polars, for type checkers, too."""
    return functools.wraps(theirs)


@_signed_as(pl.scan_parquet)
def scan_parquet(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_parquet(*args, **translated(args, kwargs)))


@_signed_as(pl.scan_csv)
def scan_csv(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_csv(*args, **translated(args, kwargs)))


@_signed_as(pl.scan_ndjson)
def scan_ndjson(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_ndjson(*args, **translated(args, kwargs)))


@_signed_as(pl.scan_ipc)
def scan_ipc(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_ipc(*args, **translated(args, kwargs)))


@_signed_as(pl.scan_lines)
def scan_lines(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_lines(*args, **translated(args, kwargs)))


@_signed_as(pl.scan_delta)
def scan_delta(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_delta(*args, **translated_for_delta(args, kwargs)))


@_signed_as(pl.scan_iceberg)
def scan_iceberg(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_iceberg(*args, **translated_for_iceberg(args, kwargs)))


@_signed_as(pl.scan_pyarrow_dataset)
def scan_pyarrow_dataset(*args: Any, **kwargs: Any) -> LazyFrame:
    return LazyFrame(pl.scan_pyarrow_dataset(*args, **kwargs))


def from_polars(
    frame: pl.DataFrame | pl.LazyFrame | LazyFrame,
    *,
    npartitions: int | None = None,
    partition_size: int | str | None = None,
) -> LazyFrame:
    """
    Make a collection of a frame of Polars.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        The rows. A lazy frame stays as it is, and nothing is computed.
    npartitions : int, optional
        How many partitions to make. If neither this nor ``partition_size`` is given, partitions are of the configured
        size.
    partition_size : int or str, optional
        Bytes of a partition in memory, as ``"100 MiB"``.

    Returns
    -------
    LazyFrame

    Raises
    ------
    ValueError
        If both are given, or one that is not positive.
    TypeError
        If ``frame`` is no frame of Polars.

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> dp.from_polars(pl.DataFrame({"v": range(6)}), npartitions=3).npartitions
    3
    """
    if npartitions is not None and partition_size is not None:
        raise ValueError("from_polars takes npartitions or partition_size, not both")
    size = None if partition_size is None else parse_bytes(partition_size)
    if any(value is not None and value < 1 for value in (npartitions, size)):
        raise ValueError("npartitions and partition_size must be positive")
    if isinstance(frame, pl.DataFrame):
        return LazyFrame(source_lazyframe(FrameSource(frame, npartitions, size)))
    if not isinstance(frame, (pl.LazyFrame, LazyFrame)):
        raise TypeError(f"from_polars takes a frame of Polars, not a {type(frame).__name__}")
    collection = LazyFrame(frame)
    if npartitions is None and size is None:
        return collection
    derive = Repartition(npartitions, size)
    columns = tuple(collection.to_polars().collect_schema().items())
    return collection._derived(derive, columns, ("repartition", npartitions, size))
