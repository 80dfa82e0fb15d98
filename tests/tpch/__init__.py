"""All TPC-H queries, against plain Polars."""
