"""Measurements of parts: planning, shuffling, serialization, plans of many partitions, scans of many files."""

MICRO: dict[str, str] = {
    "planning": "planning of the TPC-H queries: seconds, tasks, bytes",
    "partitions": "a plan of as many partitions as there are files, made and not run",
    "serialization": "a frame as a message of Dask and back",
    "shuffle": "a P2P shuffle of a table in memory",
    "files": "an aggregation over many small files",
}
"""The micro-benchmarks, each a module of this package, and what they measure."""

CLUSTERED = frozenset({"planning", "shuffle", "files"})
"""Those that have a cluster."""
