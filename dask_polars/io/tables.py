"""
Scans of tables: Delta Lake and Apache Iceberg.

A plan holds such a table as a Python object, which Polars asks for a scan of Parquet files when a query runs. Here it is
asked while planning: the log of the table names the files, with their sizes, rows and statistics, so that no footer has to
be read to leave files out.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from polars.io.delta._dataset import DeltaDataset

from dask_polars.dsl.codec import decode
from dask_polars.dsl.expressions import columns_of
from dask_polars.dsl.nodes import Node
from dask_polars.io.arguments import encoded_schema
from dask_polars.io.deletions import NAME, Deletions, HeldTable
from dask_polars.io.parquet import cut_parquet, not_in_directories, nothing
from dask_polars.io.parts import FileSet, Wanted
from dask_polars.io.paths import File
from dask_polars.io.statistics import Predicates, predicates, with_unknown
from dask_polars.io.storage import Storage

# In front of a pickled object Polars writes the version of Python.
_HEADER = 3


def table_files(scan: Node, wanted: Wanted) -> FileSet | None:
    """
    Cut the scan of a table into parts.

    Parameters
    ----------
    scan
        A node of kind ``"Scan"`` over a dataset of Python.
    wanted
        What a query wants of it.

    Returns
    -------
    FileSet, or None
        None where columns that files lack have values other than null, or the table is not read by Polars itself.
    """
    resolved, vectors = _resolve(scan, wanted)
    if resolved.kind != "Scan" or "Parquet" not in resolved.fields["scan_type"]:
        return None
    arguments = resolved.fields["unified_scan_args"]
    if arguments["default_values"] is not None:  # they are said by the numbers of files
        return None
    files = _files(resolved)
    if not files:
        return None
    deletions = Deletions.of(arguments["deletion_files"], [file.path for file in files], vectors)
    fields = _fields_for_parts(resolved, wanted, deletions)
    tests = predicates(wanted.filters, wanted.schema)
    stats = _statistics(arguments)
    kept = list(files)
    if tests is not None:
        by_name = not_in_directories(files, arguments["hive_options"], tests)
        by_log = [True] * len(files) if stats is None else _may_pass(tests, stats)
        kept = [file for file, *keep in zip(files, by_name, by_log, strict=True) if all(keep)]
    if not kept:
        return nothing(fields, files)
    found = cut_parquet(files, kept, wanted, tests, fields, whole=deletions.files)
    return replace(found, reading={NAME: deletions.by_path}) if deletions.by_path else found


def resolve_table(scan: Node, wanted: Wanted) -> Node:
    """Ask the table for the scan of its files, with statistics of the columns that predicates are about."""
    return _resolve(scan, wanted)[0]


def _resolve(scan: Node, wanted: Wanted) -> tuple[Node, pl.DataFrame | None]:
    """Ask the table for the scan of its files, and a Delta Lake table for those that have deleted rows."""
    packed = scan.fields["scan_type"]["PythonDataset"]["dataset_object"]["dataset_object"]
    dataset = pickle.loads(bytes(packed[_HEADER:]))
    columns = {name for tree in wanted.filters for name in columns_of(tree)}
    held = None
    if isinstance(dataset, DeltaDataset) and "deletionVectors" in (dataset.table().protocol().reader_features or ()):
        held = HeldTable(dataset.table())
        dataset.table_.set(held)  # type: ignore[arg-type]
    lazy, _ = dataset.to_dataset_scan(filter_columns=sorted(columns) or None)
    return decode(lazy), None if held is None else held.vectors


def _files(scan: Node) -> list[File]:
    storage = Storage.of(scan)
    paths = [item["inner"].removeprefix("file://") for item in scan.fields["sources"]["Paths"]]
    sizes: Sequence[int] = scan.fields["unified_scan_args"]["source_sizes"] or [0] * len(paths)
    # Tables never write a file anew.
    return [File(path, size, "", storage) for path, size in zip(paths, sizes, strict=True)]


def _statistics(arguments: Any) -> pl.DataFrame | None:
    packed = arguments["table_statistics"]
    return None if packed is None else pl.read_ipc_stream(io.BytesIO(packed))


def _may_pass(tests: Predicates, statistics: pl.DataFrame) -> list[bool]:
    known = {name for name in tests.columns if {f"{name}_min", f"{name}_max", f"{name}_nc"} <= set(statistics.columns)}
    return tests.may_pass(with_unknown(statistics, {k: v for k, v in tests.columns.items() if k not in known}))


def _fields_for_parts(scan: Node, wanted: Wanted, deletions: Deletions) -> dict[str, Any]:
    """Give the fields of a scan of some of the files: their columns are those of the table."""
    arguments, options = dict(scan.fields["unified_scan_args"]), dict(scan.fields["scan_type"]["Parquet"]["options"])
    hive = arguments["hive_options"]
    in_paths = set(hive["schema"]["fields"]) if hive["enabled"] and hive["schema"] else set()
    options["schema"] = encoded_schema({name: dtype for name, dtype in wanted.schema.items() if name not in in_paths})
    arguments.update(glob=False, expand_paths=False, table_statistics=None, row_count=None, source_sizes=None)
    arguments["deletion_files"] = deletions.of_all
    return {**scan.fields, "unified_scan_args": arguments, "scan_type": {"Parquet": {"options": options}}}
