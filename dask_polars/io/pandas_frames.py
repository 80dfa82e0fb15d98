"""
Frames of pandas and frames of Polars, one made of the other through Arrow.

pandas is optional: it is imported where a function of this module runs, and never with dask_polars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pyarrow as pa

from dask_polars.io.produced import Columns, checked

if TYPE_CHECKING:
    import pandas as pd

Backend = Literal["pyarrow", "numpy_nullable"]
BACKENDS = ("pyarrow", "numpy_nullable")

# Types of pandas that are an array of numpy and a mask, by the type of Arrow.
_NULLABLE = {f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NULLABLE |= {"float": "Float32", "double": "Float64", "bool": "boolean"}


def require_dataframes() -> None:
    """
    Check that dask.dataframe can be used.

    Raises
    ------
    ImportError
        If pandas is missing; it says how to get it.
    """
    try:
        import dask.dataframe  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'collections of dask.dataframe need pandas: pip install "dask[dataframe]", or "dask-polars[dataframe]"'
        ) from error


# ---------------------------------------------------------------- from Polars to pandas


@dataclass(frozen=True)
class ToPandas:
    """
    Makes frames of pandas, all of the same types.

    Parameters
    ----------
    backend
        ``"pyarrow"``: columns are those of Arrow; ``"numpy_nullable"``: numbers and times are arrays of numpy, with a mask
        where there may be nulls.
    index
        The column that becomes the index; None for the numbers of the rows in each partition.
    columns
        The columns, if they are not all.
    """

    backend: Backend
    index: str | None = None
    columns: tuple[str, ...] | None = None

    def needed(self, columns: Sequence[str]) -> list[str]:
        """Name the columns of Polars that are read, of these."""
        return [name for name in columns if self.columns is None or name in self.columns or name == self.index]

    def __call__(self, frame: pl.DataFrame) -> pd.DataFrame:
        import pandas as pd

        height = frame.height
        frame = frame.select(self.needed(frame.columns))
        if not frame.width:
            return pd.DataFrame(index=pd.RangeIndex(height), columns=pd.Index([], dtype=str))
        # A row of nulls in place of none: the categories of an enum are only there with a chunk.
        table = (frame if height else frame.clear(1)).to_arrow(compat_level=pl.CompatLevel.oldest())
        out = table.unify_dictionaries().to_pandas(types_mapper=self._dtype, ignore_metadata=True)
        out = _text_categories(out if height else out.iloc[:0])
        out = out if self.index is None else out.set_index(self.index)
        return out if self.columns is None else out[list(self.columns)]

    def _dtype(self, dtype: pa.DataType) -> Any:
        """Give the type of pandas of a type of Arrow; None for what pandas makes of it on its own."""
        import pandas as pd

        if pa.types.is_dictionary(dtype):
            return None  # a category, of categories that are strings of Arrow
        if pa.types.is_large_string(dtype):
            return pd.StringDtype("pyarrow")  # as all that dask.dataframe reads
        if self.backend == "numpy_nullable":
            if pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype):
                return None
            if str(dtype) in _NULLABLE:
                return pd.api.types.pandas_dtype(_NULLABLE[str(dtype)])
        return pd.ArrowDtype(dtype)


def _text_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Make categories text where there are none: pandas does not put partitions together whose categories differ in type."""
    import pandas as pd

    text = pd.Index(["a"])[:0]
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype) and not len(dtype.categories):
            frame[name] = frame[name].cat.set_categories(text)
    return frame


def pandas_meta(schema: Mapping[str, pl.DataType], convert: ToPandas) -> pd.DataFrame:
    """
    Give a frame of pandas without rows, of the types that partitions will have.

    Raises
    ------
    TypeError
        For a column that Arrow, or pandas, has no type for.
    """
    from dask.dataframe.utils import clear_known_categories

    for name, dtype in schema.items():
        try:
            ToPandas(convert.backend)(pl.DataFrame(schema={name: dtype}))
        except BaseException as error:
            if not isinstance(error, (Exception, pl.exceptions.PanicException)):
                raise
            raise TypeError(f"column {name!r} is {dtype}, which has no type in pandas: cast or drop it") from error
    meta = convert(pl.DataFrame(schema=schema))
    unknown = [name for name in meta.columns if isinstance(schema[name], pl.Categorical)]
    return clear_known_categories(meta, cols=unknown) if unknown else meta


# ---------------------------------------------------------------- from pandas to Polars


@dataclass(frozen=True)
class FromPandas:
    """
    Makes frames of Polars of partitions of pandas.

    Parameters
    ----------
    include_index
        Whether the index becomes a column.
    nan_to_null
        Whether NaN in floats of numpy means that there is no value.
    overrides
        Types that columns are cast to.
    columns
        Names and types that the frames must have.
    """

    include_index: bool
    nan_to_null: bool
    overrides: Columns = ()
    columns: Columns | None = None

    def __call__(self, part: pd.DataFrame, number: int = 0) -> pl.DataFrame:
        frame = self._convert(part)
        if self.columns is None:
            return frame
        said = dict(self.columns)
        what = f"partition {number} of the collection of dask.dataframe"
        casts = {name: dtype for name, dtype in self.overrides if name in frame.columns}
        casts |= {name: said[name] for name in said if _fits(frame.schema.get(name), said[name])}
        return checked(frame.cast(casts), said, what)  # type: ignore[arg-type, return-value]

    def schema(self, meta: pd.DataFrame) -> dict[str, pl.DataType]:
        """Give the columns that partitions with the types of a frame have."""
        import pandas as pd
        from dask.dataframe.utils import has_known_categories

        found = dict(self._convert(meta).schema)
        labelled = meta.reset_index() if self.include_index else meta
        for position, name in enumerate(found):
            dtype = labelled.dtypes.iloc[position]
            if pd.api.types.is_object_dtype(dtype):
                found[name] = pl.String()  # as dask.dataframe takes them to be
            elif isinstance(dtype, pd.CategoricalDtype) and found[name] in (pl.Null, pl.Categorical):
                known = dtype.ordered and has_known_categories(labelled.iloc[:, position])
                found[name] = pl.Enum(list(dtype.categories)) if known else pl.Categorical()
        unknown = [name for name, _ in self.overrides if name not in found]
        if unknown:
            raise ValueError(f"schema_overrides names columns that are not there: {unknown}")
        return {**found, **dict(self.overrides)}

    def _convert(self, part: pd.DataFrame) -> pl.DataFrame:
        part = part.reset_index() if self.include_index else part
        names = [str(name) for name in part.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"columns of the collection have the same name: {names}")
        arrays = [pa.array(part.iloc[:, n], from_pandas=self.nan_to_null) for n in range(len(names))]
        found = pl.from_arrow(pa.table([_chunked(array) for array in arrays], names=names), rechunk=False)
        assert isinstance(found, pl.DataFrame)
        return found


def _fits(found: Any, said: pl.DataType) -> bool:
    """Say whether a column is cast without having been told to: only nulls, or a category of known ones."""
    return found == pl.Null or (found == pl.Categorical and isinstance(said, pl.Enum))


def _chunked(array: Any) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
