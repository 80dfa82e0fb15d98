"""The methods of Polars on collections. Written by `python -m dask_polars.stubs`; do not edit."""

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import timedelta
from io import IOBase
from pathlib import Path
from polars import DataType
from polars import Expr
from polars._dependencies import numpy as np
from polars._dependencies import polars_cloud as pc
from polars._typing import ArrowSchemaExportable
from polars._typing import AsofJoinStrategy
from polars._typing import ClosedInterval
from polars._typing import ColumnNameOrSelector
from polars._typing import CsvQuoteStyle
from polars._typing import EngineType
from polars._typing import FillNullStrategy
from polars._typing import IntoExpr
from polars._typing import IntoExprColumn
from polars._typing import IpcCompression
from polars._typing import JoinBuildSide
from polars._typing import JoinStrategy
from polars._typing import JoinValidation
from polars._typing import JoinWhereStrategy
from polars._typing import Label
from polars._typing import MaintainOrderJoin
from polars._typing import ParquetCompression
from polars._typing import ParquetMetadata
from polars._typing import PivotAgg
from polars._typing import PolarsDataType
from polars._typing import PythonDataType
from polars._typing import QuantileMethod
from polars._typing import SchemaDict
from polars._typing import SerializationFormat
from polars._typing import StartBy
from polars._typing import StorageOptionsDict
from polars._typing import SyncOnCloseMethod
from polars._typing import UniqueKeepStrategy
from polars._utils.async_ import _GeventDataFrameResult
from polars.dataframe import DataFrame
from polars.interchange.protocol import CompatLevel
from polars.io.cloud import CredentialProviderFunction
from polars.io.parquet.encryption import ParquetEncryptionProperties
from polars.io.partition import PartitionBy
from polars.io.partition import SinkedPathsCallback
from polars.lazyframe.engine import _CollectBatches
from polars.lazyframe.opt_flags import QueryOptFlags
from polars.lazyframe.query_result import QueryResult
from polars.lazyframe.resolver._resolver import LazyFrameResolver
from polars.schema import Schema
from typing import Any
from typing import Concatenate
from typing import IO
from typing import Literal
from typing import ParamSpec, TypeVar
from typing import overload
import polars.io.iceberg
import pyiceberg.table
import polars as pl
from dask_polars.collection import LazyFrame
from dask_polars.group_by import LazyGroupBy

P = ParamSpec('P')
T = TypeVar('T')

class LazyFrameMethods:

    @staticmethod
    def from_lazyframe_resolver(resolver: LazyFrameResolver) -> LazyFrame:
        """Create a LazyFrame from a LazyFrame resolver.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    @classmethod
    def deserialize(cls, source: str | bytes | Path | IOBase, *, format: SerializationFormat='binary') -> LazyFrame:
        """Read a logical plan from a file to construct a LazyFrame.

        Computes nothing.
        """

    @property
    def columns(self) -> list[str]:
        """Get the column names.

        Computes nothing.
        """

    @property
    def dtypes(self) -> list[DataType]:
        """Get the column data types.

        Computes nothing.
        """

    @property
    def schema(self) -> Schema:
        """Get an ordered mapping of column names to their data type.

        Computes nothing.
        """

    @property
    def width(self) -> int:
        """Get the number of columns.

        Computes nothing.
        """

    @overload
    def serialize(self, file: None=..., *, format: Literal['binary']=...) -> bytes:
        ...

    @overload
    def serialize(self, file: None=..., *, format: Literal['json']) -> str:
        ...

    @overload
    def serialize(self, file: IOBase | str | Path, *, format: SerializationFormat=...) -> None:
        ...

    def pipe(self, function: Callable[Concatenate[LazyFrame, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Offers a structured way to apply a sequence of user-defined functions (UDFs).

        The function is given a collection.
        """

    def pipe_with_schema(self, function: Callable[[LazyFrame, Schema], LazyFrame]) -> LazyFrame:
        """Allows to alter the lazy frame during the plan stage with the resolved schema.

        The function is given a collection.
        """

    def describe(self, percentiles: Sequence[float] | float | None=..., *, interpolation: QuantileMethod='nearest') -> DataFrame:
        """Creates a summary of statistics for a LazyFrame, returning a DataFrame.

        Runs with Dask where there is a client, or where a scheduler was chosen; otherwise Polars runs it here.
        """

    def inspect(self, fmt: str='{}') -> LazyFrame:
        """Inspect a node in the computation graph.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def sort(self, by: IntoExpr | Iterable[IntoExpr], *more_by: IntoExpr, descending: bool | Sequence[bool]=False, nulls_last: bool | Sequence[bool]=False, maintain_order: bool=False, multithreaded: bool=True) -> LazyFrame:
        """Sort the LazyFrame by the given columns.

        Each partition is sorted after a range shuffle; equal keys stay in one partition.
        """

    def sql(self, query: str, *, table_name: str='self') -> LazyFrame:
        """Execute a SQL query against the LazyFrame.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def top_k(self, k: int, *, by: IntoExpr | Iterable[IntoExpr], reverse: bool | Sequence[bool]=False) -> LazyFrame:
        """Return the `k` largest rows.

        Each partition gives its first candidates, and these are combined.
        """

    def bottom_k(self, k: int, *, by: IntoExpr | Iterable[IntoExpr], reverse: bool | Sequence[bool]=False) -> LazyFrame:
        """Return the `k` smallest rows.

        Each partition gives its first candidates, and these are combined.
        """

    def execute(self, *, optimizations: QueryOptFlags=..., engine: EngineType='auto', **_kwargs: Any) -> QueryResult:
        """Execute the query into a `QueryResult`.

        Runs with Dask where there is a client, or where a scheduler was chosen; otherwise Polars runs it here.
        """

    @overload
    def collect_async(self, *, gevent: Literal[True], engine: EngineType='auto', optimizations: QueryOptFlags=...) -> _GeventDataFrameResult[DataFrame]:
        ...

    @overload
    def collect_async(self, *, gevent: Literal[False]=False, engine: EngineType='auto', optimizations: QueryOptFlags=...) -> Awaitable[DataFrame]:
        ...

    def collect_schema(self) -> Schema:
        """Resolve the schema of this LazyFrame.

        Computes nothing.
        """

    @overload
    def sink_parquet(self, path: str | Path | IO[bytes] | PartitionBy, *, compression: ParquetCompression='zstd', compression_level: int | None=None, statistics: bool | str | dict[str, bool]=True, row_group_size: int | None=None, data_page_size: int | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[False]=..., engine: EngineType='auto', metadata: ParquetMetadata | None=None, arrow_schema: ArrowSchemaExportable | None=None, encryption: ParquetEncryptionProperties | None=None, optimizations: QueryOptFlags=..., sinked_paths_callback: SinkedPathsCallback | None=None) -> None:
        ...

    @overload
    def sink_parquet(self, path: str | Path | IO[bytes] | PartitionBy, *, compression: ParquetCompression='zstd', compression_level: int | None=None, statistics: bool | str | dict[str, bool]=True, row_group_size: int | None=None, data_page_size: int | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[True], engine: EngineType='auto', metadata: ParquetMetadata | None=None, arrow_schema: ArrowSchemaExportable | None=None, encryption: ParquetEncryptionProperties | None=None, optimizations: QueryOptFlags=..., sinked_paths_callback: SinkedPathsCallback | None=None) -> LazyFrame:
        ...

    def sink_iceberg(self, target: str | pyiceberg.table.Table, *, mode: Literal['append', 'overwrite'], schema_mode: Literal['merge', 'overwrite'] | None=None, overwrite_filter: Expr | pyiceberg.expressions.BooleanExpression | str | None=None, partition_overwrite: Literal['dynamic'] | None=None, create_if_not_exists: bool=False, create_namespace_if_not_exists: bool=False, snapshot_properties: dict[str, str] | None=None, catalog: pyiceberg.catalog.Catalog | polars.io.iceberg.IcebergCatalogConfig | None=None, storage_options: StorageOptionsDict | None=None, compression: ParquetCompression='zstd', compression_level: int | None=None, row_group_size: int | None=None, maintain_order: bool=True, engine: EngineType='auto') -> pl.DataFrame:
        """Sink a LazyFrame to an Iceberg table.

        The partitions come to this process, one after the other.
        """

    @overload
    def sink_ipc(self, path: str | Path | IO[bytes] | PartitionBy, *, compression: IpcCompression | None='uncompressed', compat_level: CompatLevel | None=None, record_batch_size: int | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[False]=..., engine: EngineType='auto', optimizations: QueryOptFlags=..., _record_batch_statistics: bool=False, sinked_paths_callback: SinkedPathsCallback | None=None) -> None:
        ...

    @overload
    def sink_ipc(self, path: str | Path | IO[bytes] | PartitionBy, *, compression: IpcCompression | None='uncompressed', compat_level: CompatLevel | None=None, record_batch_size: int | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[True], engine: EngineType='auto', optimizations: QueryOptFlags=..., _record_batch_statistics: bool=False, sinked_paths_callback: SinkedPathsCallback | None=None) -> LazyFrame:
        ...

    @overload
    def sink_csv(self, path: str | Path | IO[bytes] | IO[str] | PartitionBy, *, include_bom: bool=False, compression: Literal['uncompressed', 'gzip', 'zstd']='uncompressed', compression_level: int | None=None, check_extension: bool=True, include_header: bool=True, separator: str=',', line_terminator: str='\n', quote_char: str='"', batch_size: int=1024, datetime_format: str | None=None, date_format: str | None=None, time_format: str | None=None, float_scientific: bool | None=None, float_precision: int | None=None, decimal_comma: bool=False, null_value: str | None=None, quote_style: CsvQuoteStyle | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[False]=..., engine: EngineType='auto', optimizations: QueryOptFlags=...) -> None:
        ...

    @overload
    def sink_csv(self, path: str | Path | IO[bytes] | IO[str] | PartitionBy, *, include_bom: bool=False, compression: Literal['uncompressed', 'gzip', 'zstd']='uncompressed', compression_level: int | None=None, check_extension: bool=True, include_header: bool=True, separator: str=',', line_terminator: str='\n', quote_char: str='"', batch_size: int=1024, datetime_format: str | None=None, date_format: str | None=None, time_format: str | None=None, float_scientific: bool | None=None, float_precision: int | None=None, decimal_comma: bool=False, null_value: str | None=None, quote_style: CsvQuoteStyle | None=None, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[True], engine: EngineType='auto', optimizations: QueryOptFlags=...) -> LazyFrame:
        ...

    @overload
    def sink_ndjson(self, path: str | Path | IO[bytes] | IO[str] | PartitionBy, *, compression: Literal['uncompressed', 'gzip', 'zstd']='uncompressed', compression_level: int | None=None, check_extension: bool=True, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[False]=..., engine: EngineType='auto', optimizations: QueryOptFlags=...) -> None:
        ...

    @overload
    def sink_ndjson(self, path: str | Path | IO[bytes] | IO[str] | PartitionBy, *, compression: Literal['uncompressed', 'gzip', 'zstd']='uncompressed', compression_level: int | None=None, check_extension: bool=True, maintain_order: bool=True, storage_options: StorageOptionsDict | None=None, credential_provider: CredentialProviderFunction | Literal['auto'] | None='auto', sync_on_close: SyncOnCloseMethod | None=None, mkdir: bool=False, lazy: Literal[True], engine: EngineType='auto', optimizations: QueryOptFlags=...) -> LazyFrame:
        ...

    @overload
    def sink_batches(self, function: Callable[[DataFrame], bool | None], *, chunk_size: int | None=None, maintain_order: bool=True, lazy: Literal[False]=..., engine: EngineType='auto', optimizations: QueryOptFlags=...) -> None:
        ...

    @overload
    def sink_batches(self, function: Callable[[DataFrame], bool | None], *, chunk_size: int | None=None, maintain_order: bool=True, lazy: Literal[True], engine: EngineType='auto', optimizations: QueryOptFlags=...) -> LazyFrame:
        ...

    def collect_batches(self, *, chunk_size: int | None=None, maintain_order: bool=True, lazy: bool=False, engine: EngineType='auto', optimizations: QueryOptFlags=...) -> _CollectBatches:
        """Evaluate the query in streaming mode and get a generator that returns chunks.

        Runs with Dask where there is a client, or where a scheduler was chosen; otherwise Polars runs it here.
        """

    def cache(self) -> LazyFrame:
        """Cache the result once the execution of the physical plan hits this node.

        Equal parts of a plan are computed once anyway; use `persist()` to keep a result on the cluster.
        """

    def cast(self, dtypes: Mapping[ColumnNameOrSelector | PolarsDataType, PolarsDataType | PythonDataType] | PolarsDataType | pl.DataTypeExpr | Schema, *, strict: bool=True) -> LazyFrame:
        """Cast LazyFrame column(s) to the specified dtype(s).

        Runs in each partition by itself.
        """

    def clear(self, n: int=0) -> LazyFrame:
        """Create an empty copy of the current LazyFrame, with zero to 'n' rows.

        Runs in each partition by itself.
        """

    def clone(self) -> LazyFrame:
        """Create a copy of this LazyFrame.

        Computes nothing.
        """

    def filter(self, *predicates: IntoExprColumn | Iterable[IntoExprColumn] | bool | list[bool] | np.ndarray[Any, Any], **constraints: Any) -> LazyFrame:
        """Filter rows in the LazyFrame based on a predicate expression.

        Runs in each partition by itself.
        """

    def remove(self, *predicates: IntoExprColumn | Iterable[IntoExprColumn] | bool | list[bool] | np.ndarray[Any, Any], **constraints: Any) -> LazyFrame:
        """Remove rows, dropping those that match the given predicate expression(s).

        Runs in each partition by itself.
        """

    def select(self, *exprs: IntoExpr | Iterable[IntoExpr], **named_exprs: IntoExpr) -> LazyFrame:
        """Select columns from this LazyFrame.

        Expressions that go row by row run in each partition; aggregations are combined from partial results.
        """

    def select_seq(self, *exprs: IntoExpr | Iterable[IntoExpr], **named_exprs: IntoExpr) -> LazyFrame:
        """Select columns from this LazyFrame.

        Expressions that go row by row run in each partition; aggregations are combined from partial results.
        """

    def group_by(self, *by: IntoExpr | Iterable[IntoExpr], maintain_order: bool=False, **named_by: IntoExpr) -> LazyGroupBy:
        """Start a group by operation.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def rolling(self, index_column: IntoExpr, *, period: str | timedelta, offset: str | timedelta | None=None, closed: ClosedInterval='right', group_by: IntoExpr | Iterable[IntoExpr] | None=None) -> LazyGroupBy:
        """Create rolling groups based on a temporal or integer column.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def group_by_dynamic(self, index_column: IntoExpr, *, every: str | timedelta, period: str | timedelta | None=None, offset: str | timedelta | None=None, include_boundaries: bool=False, closed: ClosedInterval='left', label: Label='left', group_by: IntoExpr | Iterable[IntoExpr] | None=None, start_by: StartBy='window') -> LazyGroupBy:
        """Group based on a time value (or index value of type Int32, Int64).

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def join_asof(self, other: LazyFrame | pl.LazyFrame | pl.DataFrame, *, left_on: str | None | Expr=None, right_on: str | None | Expr=None, on: str | None | Expr=None, by_left: str | Sequence[str] | None=None, by_right: str | Sequence[str] | None=None, by: str | Sequence[str] | None=None, strategy: AsofJoinStrategy='backward', suffix: str='_right', tolerance: str | int | float | timedelta | None=None, allow_parallel: bool=True, force_parallel: bool=False, coalesce: bool=True, allow_exact_matches: bool=True, check_sortedness: bool=True) -> LazyFrame:
        """Perform an asof join.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def join(self, other: LazyFrame | pl.LazyFrame | pl.DataFrame, on: str | Expr | Sequence[str | Expr] | None=None, how: JoinStrategy='inner', *, left_on: str | Expr | Sequence[str | Expr] | None=None, right_on: str | Expr | Sequence[str | Expr] | None=None, suffix: str='_right', validate: JoinValidation='m:m', nulls_equal: bool=False, coalesce: bool | None=None, maintain_order: MaintainOrderJoin | None=None, build_side: JoinBuildSide='auto', allow_parallel: bool=True, force_parallel: bool=False) -> LazyFrame:
        """Add a join operation to the Logical Plan.

        A small side is sent to every partition of the other; otherwise both are shuffled by their keys.
        """

    def join_where(self, other: LazyFrame | pl.LazyFrame | pl.DataFrame, *predicates: Expr | Iterable[Expr], how: JoinWhereStrategy='inner', suffix: str='_right') -> LazyFrame:
        """Perform a join based on one or multiple (in)equality predicates.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def gather(self, indices: int | Sequence[int] | IntoExpr | pl.Series | np.ndarray[Any, Any] | (LazyFrame | pl.LazyFrame | pl.DataFrame), *, null_on_oob: bool=False) -> LazyFrame:
        """Selects rows from this LazyFrame at the given indices.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def with_columns(self, *exprs: IntoExpr | Iterable[IntoExpr], **named_exprs: IntoExpr) -> LazyFrame:
        """Add columns to this LazyFrame.

        Expressions that go row by row run in each partition; aggregations are combined from partial results.
        """

    def with_columns_seq(self, *exprs: IntoExpr | Iterable[IntoExpr], **named_exprs: IntoExpr) -> LazyFrame:
        """Add columns to this LazyFrame.

        Expressions that go row by row run in each partition; aggregations are combined from partial results.
        """

    def drop(self, *columns: ColumnNameOrSelector | Iterable[ColumnNameOrSelector], strict: bool=True) -> LazyFrame:
        """Remove columns from the DataFrame.

        Runs in each partition by itself.
        """

    def rename(self, mapping: Mapping[str, str] | Callable[[str], str], *, strict: bool=True) -> LazyFrame:
        """Rename column names.

        Runs in each partition by itself.
        """

    def reverse(self) -> LazyFrame:
        """Reverse the DataFrame.

        Counts the rows of the partitions first, where it must know them.
        """

    def shift(self, n: int | IntoExprColumn=1, *, fill_value: IntoExpr | None=None) -> LazyFrame:
        """Shift values by the given number of indices.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def slice(self, offset: int, length: int | None=None) -> LazyFrame:
        """Get a slice of this DataFrame.

        Counts the rows of the partitions first, where it must know them.
        """

    def limit(self, n: int=5) -> LazyFrame:
        """Get the first `n` rows.

        Each partition gives its first candidates, and these are combined.
        """

    def head(self, n: int=5) -> LazyFrame:
        """Get the first `n` rows.

        Each partition gives its first candidates, and these are combined.
        """

    def tail(self, n: int=5) -> LazyFrame:
        """Get the last `n` rows.

        Each partition gives its first candidates, and these are combined.
        """

    def last(self) -> LazyFrame:
        """Get the last row of the DataFrame.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def first(self) -> LazyFrame:
        """Get the first row of the DataFrame.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def with_row_index(self, name: str='index', offset: int=0) -> LazyFrame:
        """Add a row index as the first column in the LazyFrame.

        Counts the rows of the partitions first, where it must know them.
        """

    def gather_every(self, n: int, offset: int=0) -> LazyFrame:
        """Take every nth row in the LazyFrame and return as a new LazyFrame.

        Counts the rows of the partitions first, where it must know them.
        """

    def fill_null(self, value: Any | Expr | None=None, strategy: FillNullStrategy | None=None, limit: int | None=None, *, matches_supertype: bool=True) -> LazyFrame:
        """Fill null values using the specified value or strategy.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def fill_nan(self, value: int | float | Expr | None) -> LazyFrame:
        """Fill floating point NaN values.

        Runs in each partition by itself.
        """

    def std(self, ddof: int=1) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their standard deviation value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def var(self, ddof: int=1) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their variance value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def max(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their maximum value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def min(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their minimum value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def sum(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their sum value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def mean(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their mean value.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def median(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their median value.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def null_count(self) -> LazyFrame:
        """Aggregate the columns in the LazyFrame as the sum of their null value count.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def quantile(self, quantile: float | Expr, interpolation: QuantileMethod='nearest') -> LazyFrame:
        """Aggregate the columns in the LazyFrame to their quantile value.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def explode(self, columns: ColumnNameOrSelector | Iterable[ColumnNameOrSelector], *more_columns: ColumnNameOrSelector, empty_as_null: bool=False, keep_nulls: bool=True) -> LazyFrame:
        """Explode the DataFrame to long format by exploding the given columns.

        Runs in each partition by itself.
        """

    def unique(self, subset: IntoExpr | Collection[IntoExpr] | None=None, *, keep: UniqueKeepStrategy='any', maintain_order: bool=False) -> LazyFrame:
        """Drop duplicate rows from this LazyFrame.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def drop_nans(self, subset: ColumnNameOrSelector | Collection[ColumnNameOrSelector] | None=None) -> LazyFrame:
        """Drop all rows that contain one or more NaN values.

        Runs in each partition by itself.
        """

    def drop_nulls(self, subset: ColumnNameOrSelector | Collection[ColumnNameOrSelector] | None=None) -> LazyFrame:
        """Drop all rows that contain one or more null values.

        Runs in each partition by itself.
        """

    def pivot(self, on: ColumnNameOrSelector | Sequence[ColumnNameOrSelector], on_columns: Sequence[Any] | pl.Series | pl.DataFrame, *, index: ColumnNameOrSelector | Sequence[ColumnNameOrSelector] | None=None, values: ColumnNameOrSelector | Sequence[ColumnNameOrSelector] | None=None, aggregate_function: PivotAgg | Expr | None=None, maintain_order: bool=False, separator: str='_', column_naming: Literal['auto', 'combine']='auto') -> LazyFrame:
        """Create a spreadsheet-style pivot table as a DataFrame.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def unpivot(self, on: ColumnNameOrSelector | Sequence[ColumnNameOrSelector] | None=None, *, index: ColumnNameOrSelector | Sequence[ColumnNameOrSelector] | None=None, variable_name: str | None=None, value_name: str | None=None) -> LazyFrame:
        """Unpivot a DataFrame from wide to long format.

        Runs in each partition by itself.
        """

    def map_batches(self, function: Callable[[DataFrame], DataFrame], *, predicate_pushdown: bool=False, projection_pushdown: bool=False, slice_pushdown: bool=False, schema: None | SchemaDict=None, validate_output_schema: bool=True, streamable: bool=False) -> LazyFrame:
        """Apply a custom function.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def interpolate(self) -> LazyFrame:
        """Interpolate intermediate values. The interpolation method is linear.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def unnest(self, columns: ColumnNameOrSelector | Collection[ColumnNameOrSelector] | None=None, *more_columns: ColumnNameOrSelector, separator: str | None=None) -> LazyFrame:
        """Decompose struct columns into separate columns for each of their fields.

        Runs in each partition by itself.
        """

    def merge_sorted(self, other: LazyFrame | pl.LazyFrame | pl.DataFrame, key: str | Sequence[str], *, maintain_order: bool=False) -> LazyFrame:
        """Take two sorted DataFrames and merge them by the sorted key.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def set_sorted(self, column: str | list[str], *more_columns: str, descending: bool | list[bool]=False, nulls_last: bool | list[bool]=False) -> LazyFrame:
        """Flag a column as sorted.

        Runs in each partition by itself.
        """

    def update(self, other: LazyFrame | pl.LazyFrame | pl.DataFrame, on: str | Sequence[str] | None=None, how: Literal['left', 'inner', 'full']='left', *, left_on: str | Sequence[str] | None=None, right_on: str | Sequence[str] | None=None, include_nulls: bool=False, maintain_order: MaintainOrderJoin | None='left') -> LazyFrame:
        """Update the values in this `LazyFrame` with the values in `other`.

        A small side is sent to every partition of the other; otherwise both are shuffled by their keys.
        """

    def count(self) -> LazyFrame:
        """Return the number of non-null elements for each column.

        Partial results of the partitions are combined, in a tree or after a shuffle.
        """

    def remote(self, context: pc.ClientContext | None=None, *, plan_type: pc._typing.PlanTypePreference='dot', n_retries: int=0, engine: pc._typing.Engine='auto', scaling_mode: pc._typing.ScalingMode='auto') -> pc.LazyFrameRemote:
        """Run a query remotely on Polars Cloud.

        See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are.
        """

    def match_to_schema(self, schema: SchemaDict | Schema, *, missing_columns: Literal['insert', 'raise'] | Mapping[str, Literal['insert', 'raise'] | Expr] | Expr='raise', missing_struct_fields: Literal['insert', 'raise'] | Mapping[str, Literal['insert', 'raise']]='raise', extra_columns: Literal['ignore', 'raise']='raise', extra_struct_fields: Literal['ignore', 'raise'] | Mapping[str, Literal['ignore', 'raise']]='raise', integer_cast: Literal['upcast', 'forbid'] | Mapping[str, Literal['upcast', 'forbid']]='forbid', float_cast: Literal['upcast', 'forbid'] | Mapping[str, Literal['upcast', 'forbid']]='forbid') -> LazyFrame:
        """Match or evolve the schema of a LazyFrame into a specific schema.

        Runs in each partition by itself.
        """

class LazyGroupByMethods:

    def having(self, *predicates: IntoExpr | Iterable[IntoExpr]) -> LazyGroupBy:
        """Filter groups with a list of predicates after aggregation.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def agg(self, *aggs: IntoExpr | Iterable[IntoExpr], **named_aggs: IntoExpr) -> LazyFrame:
        """Compute aggregations for each group of a group by operation.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def map_groups(self, function: Callable[[DataFrame], DataFrame], schema: SchemaDict | None) -> LazyFrame:
        """Apply a custom/user-defined function (UDF) over the groups as a new DataFrame.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def head(self, n: int=5) -> LazyFrame:
        """Get the first `n` rows of each group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def tail(self, n: int=5) -> LazyFrame:
        """Get the last `n` rows of each group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def all(self) -> LazyFrame:
        """Aggregate the groups into Series.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def len(self, name: str | None=None) -> LazyFrame:
        """Return the number of rows in each group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def first(self, *, ignore_nulls: bool=False) -> LazyFrame:
        """Aggregate the first values in the group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def last(self, *, ignore_nulls: bool=False) -> LazyFrame:
        """Aggregate the last values in the group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def max(self) -> LazyFrame:
        """Reduce the groups to the maximal value.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def mean(self) -> LazyFrame:
        """Reduce the groups to the mean values.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def median(self) -> LazyFrame:
        """Return the median per group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def min(self) -> LazyFrame:
        """Reduce the groups to the minimal value.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def n_unique(self) -> LazyFrame:
        """Count the unique values per group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def quantile(self, quantile: float, interpolation: QuantileMethod='nearest') -> LazyFrame:
        """Compute the quantile per group.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """

    def sum(self) -> LazyFrame:
        """Reduce the groups to the sum.

        Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each group is in one partition.
        """
