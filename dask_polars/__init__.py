"""Polars LazyFrames as the partitions of a Dask collection."""

from dask_polars import backend, config, workers
from dask_polars.dsl.codec import check_format
from dask_polars.versions import check_local

check_local()
check_format()
config.load_defaults()
backend.register()
workers.install_preloads()

from dask_polars.collection import LazyFrame  # noqa: E402
from dask_polars.comparison import Comparison, compare  # noqa: E402
from dask_polars.engine import DaskEngine  # noqa: E402
from dask_polars.errors import FallbackError, FallbackWarning  # noqa: E402
from dask_polars.functions import collect_all, concat  # noqa: E402
from dask_polars.group_by import LazyGroupBy  # noqa: E402
from dask_polars.io.dataframes import from_dask_dataframe  # noqa: E402
from dask_polars.io.produced import from_delayed, from_map  # noqa: E402
from dask_polars.io.scans import (  # noqa: E402
    from_polars,
    scan_csv,
    scan_delta,
    scan_iceberg,
    scan_ipc,
    scan_lines,
    scan_ndjson,
    scan_parquet,
    scan_pyarrow_dataset,
)
from dask_polars.results import DaskQueryResult  # noqa: E402
from dask_polars.shuffle.frames import ShuffleError  # noqa: E402
from dask_polars.sql import SQLContext, sql  # noqa: E402

__version__ = "0.1.0"

# For Narwhals, which is given the module as a `backend`: `nw.scan_parquet(path, backend=dask_polars)`.
from narwhals_dask_polars import __narwhals_namespace__ as __narwhals_namespace__  # noqa: E402

__all__ = [
    "Comparison",
    "DaskEngine",
    "DaskQueryResult",
    "FallbackError",
    "FallbackWarning",
    "LazyFrame",
    "LazyGroupBy",
    "SQLContext",
    "ShuffleError",
    "collect_all",
    "compare",
    "concat",
    "from_dask_dataframe",
    "from_delayed",
    "from_map",
    "from_polars",
    "scan_csv",
    "scan_delta",
    "scan_iceberg",
    "scan_ipc",
    "scan_lines",
    "scan_ndjson",
    "scan_parquet",
    "scan_pyarrow_dataset",
    "sql",
]
