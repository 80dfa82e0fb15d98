"""Benchmarks of dask_polars."""
