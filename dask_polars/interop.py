"""What a collection gives to other libraries."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


class Interop:
    """The part of :class:`dask_polars.LazyFrame` by which other libraries read it."""

    def to_dask_dataframe(self, *, index: str | None = None, dtype_backend: str = "pyarrow") -> Any:
        """
        Make a collection of dask.dataframe, with the same partitions. Nothing is computed.

        Partitions go through Arrow; with the backend ``"pyarrow"`` nothing but strings is copied. The types of the
        columns are decided by the schema alone, so that they are the same in all partitions, with nulls or without. If
        dask.dataframe needs some of the columns only, no others are converted, and, where partitions come straight from
        files, no others are read.

        Parameters
        ----------
        index : str, optional
            The column that becomes the index. Otherwise the index numbers the rows of each partition. In both cases
            dask.dataframe knows nothing of its order.
        dtype_backend : {"pyarrow", "numpy_nullable"}
            ``"pyarrow"`` for columns of Arrow (``int64[pyarrow]``). ``"numpy_nullable"`` for arrays of numpy where there
            are such: numbers and booleans with a mask (``Int64``), dates with times as ``datetime64``, the rest as with
            ``"pyarrow"``; there NaN is a missing value, as pandas has it. With both, strings are ``string[pyarrow]``, as is all text that dask.dataframe reads, and
            categories and enums are categories.

        Returns
        -------
        dask.dataframe.DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed.
        TypeError
            For a column that pandas has no type for, as Int128.
        ValueError
            If the backend is none of these, or the index no column.

        See Also
        --------
        dask_polars.from_dask_dataframe

        Examples
        --------
        >>> import dask_polars as dp, polars as pl
        >>> lf = dp.from_polars(pl.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}), npartitions=2)
        >>> ddf = lf.to_dask_dataframe()
        >>> int(ddf.groupby("k").v.sum().compute()["a"])
        4
        """
        from dask_polars.io.pandas_frames import BACKENDS, require_dataframes

        require_dataframes()
        from dask_polars.graph.dataframes import to_dataframe

        if dtype_backend not in BACKENDS:
            raise ValueError(f"dtype_backend must be one of {BACKENDS}, not {dtype_backend!r}")
        columns = self.collect_schema().names()  # type: ignore[attr-defined]
        if index is not None and index not in columns:
            raise ValueError(f"there is no column {index!r} to be the index; there are {columns}")
        return to_dataframe(self, dtype_backend, index)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """
        Give the rows as a stream of Arrow, partition by partition; each call runs the query anew.

        Parameters
        ----------
        requested_schema
            A capsule with the schema that the reader would like to have.

        Returns
        -------
        capsule
            For ``pyarrow.RecordBatchReader.from_stream``, ``polars.DataFrame``, DuckDB and others.
        """
        batches = self.collect_batches(maintain_order=True, lazy=True)  # type: ignore[attr-defined]
        if requested_schema is None:
            return batches.__arrow_c_stream__()
        return pa.RecordBatchReader.from_stream(batches).__arrow_c_stream__(requested_schema)
