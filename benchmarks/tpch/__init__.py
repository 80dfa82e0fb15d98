"""The TPC-H queries on Polars and on dask_polars: data, queries, runner."""
