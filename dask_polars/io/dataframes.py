"""Collections from dask.dataframe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from dask._task_spec import TaskRef
from dask.tokenize import tokenize

from dask_polars.collection import LazyFrame
from dask_polars.dsl.leaves import source_lazyframe
from dask_polars.graph.foreign import ExpressionGraph
from dask_polars.io.pandas_frames import FromPandas, require_dataframes
from dask_polars.io.produced import ProducedSource


def from_dask_dataframe(
    ddf: Any,
    *,
    include_index: bool | None = None,
    nan_to_null: bool = True,
    schema_overrides: Mapping[str, Any] | None = None,
) -> LazyFrame:
    """
    Make a collection of one of dask.dataframe. Nothing is computed.

    Partitions go through Arrow. Columns of numbers without missing values, and columns of Arrow, are not copied; strings of
    Arrow stay what they are, and are written once in the layout of Polars. Categories become an enum where they are known
    and ordered, otherwise a categorical.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame
        The collection.
    include_index : bool, optional
        Whether the index becomes a column, the first one, called as by ``reset_index()``. If it is not given, an index
        that has a name does, and one that has none is left out.
    nan_to_null : bool
        Whether NaN in floats of numpy means that there is no value, as it does in pandas.
    schema_overrides : mapping, optional
        Types of some columns, by name, that these are cast to. Without it, columns of Python objects are taken to be
        strings.

    Returns
    -------
    LazyFrame

    Raises
    ------
    ImportError
        If pandas is not installed.
    TypeError
        If ``ddf`` is no DataFrame of dask.dataframe.
    ValueError
        For names of columns that are not unique, or that an override names and that are not there.
    polars.exceptions.SchemaError
        When the query runs, if a partition has other columns than the collection says.

    See Also
    --------
    dask_polars.LazyFrame.to_dask_dataframe

    Examples
    --------
    >>> import dask.dataframe as dd, dask_polars as dp, pandas as pd, polars as pl
    >>> ddf = dd.from_pandas(pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}), npartitions=2)
    >>> dp.from_dask_dataframe(ddf).group_by("k").agg(pl.col("v").sum()).sort("k").collect().rows()
    [('a', 4), ('b', 2)]
    """
    require_dataframes()
    import dask.dataframe as dd

    if not isinstance(ddf, dd.DataFrame):
        hint = "; use its to_frame()" if isinstance(ddf, (dd.Series, dd.Index)) else ""
        raise TypeError(f"from_dask_dataframe takes a DataFrame of dask.dataframe, not a {type(ddf).__name__}{hint}")
    meta = ddf._meta
    index = meta.index.name is not None if include_index is None else include_index
    overrides = tuple(pl.Schema(schema_overrides or {}).items())
    columns = tuple(FromPandas(index, nan_to_null, overrides).schema(meta).items())
    convert = FromPandas(index, nan_to_null, overrides, columns)
    optimized = ddf.optimize()
    items = tuple((TaskRef(key), number) for number, key in enumerate(optimized.__dask_keys__()))
    content = tokenize("from_dask_dataframe", optimized._name, convert)
    graph = ExpressionGraph(optimized.expr)
    return LazyFrame(source_lazyframe(ProducedSource(convert, items, columns, "from-dask-dataframe", content, graph)))
