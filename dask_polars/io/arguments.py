"""What Polars finds out by looking at all files of a scan, written down so that a part of the files means the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.dsl.nodes import Node
from dask_polars.io.paths import File, is_directory


def arguments_for_parts(
    scan: Node, given: Sequence[str], files: Sequence[File], schema: Mapping[str, pl.DataType]
) -> tuple[dict[str, Any], set[str]]:
    """
    Write down which columns are made of paths.

    Parameters
    ----------
    scan
        The scan of all files.
    given
        The paths as the user gave them.
    files
        The files that they stand for.
    schema
        The schema of the scan.

    Returns
    -------
    tuple
        The arguments that scans of all formats have, and the names of the columns that are made of paths.
    """
    arguments = dict(scan.fields["unified_scan_args"])
    hive = dict(arguments["hive_options"])
    asked = [item["inner"] for item in scan.fields["sources"]["Paths"]]
    start = min(_hive_start(path, original) for path, original in zip(given, asked, strict=True))
    explicit = list(hive["schema"]["fields"]) if hive["schema"] else []
    names = [name for name in _hive_names(files[0].path[start:]) if name in schema]
    if hive["enabled"] is None:
        hive["enabled"] = bool(names or explicit) and len(given) == 1 and is_directory(given[0])
    if not hive["enabled"]:
        names, explicit = [], []
    elif names and not explicit:
        hive["schema"] = encoded_schema({name: schema[name] for name in names})
    arguments.update(hive_options={**hive, "hive_start_idx": start}, glob=False, expand_paths=False)
    added = {*names, *explicit, arguments["include_file_paths"]}
    return arguments, added - {None}


def own_schema(scan: Node, file: File) -> Mapping[str, pl.DataType]:
    """Give the columns that are in a file, without those that are made of its path."""
    arguments = dict(scan.fields["unified_scan_args"])
    hive = {**arguments["hive_options"], "enabled": False, "schema": None}
    arguments.update(hive_options=hive, include_file_paths=None, glob=False)
    one = scan.with_fields(sources={"Paths": [{"inner": file.path}]}, unified_scan_args=arguments)
    return to_lazyframe(one).collect_schema()


def encoded_schema(schema: Mapping[str, pl.DataType]) -> Any:
    """Write a schema as plans do."""
    return _encoded(tuple(schema.items()))


@lru_cache(maxsize=256)  # many parts of a scan have the same one
def _encoded(items: tuple[tuple[str, pl.DataType], ...]) -> Any:
    return decode(pl.LazyFrame(schema=dict(items))).fields["schema"]


def has_schema(lazy: pl.LazyFrame, schema: Any) -> bool:
    """
    Say whether Polars finds a schema, which is given as plans write it: these columns, in this order.

    What it cannot read has another one: it says so when the query runs.
    """
    try:
        found = encoded_schema(lazy.collect_schema())
    except (pl.exceptions.PolarsError, OSError):
        return False
    return list(found["fields"].items()) == list(schema["fields"].items())


def _hive_start(path: str, asked: str) -> int:
    """Say from where on, in the paths that come of a given one, Polars takes the names of directories for columns."""
    if is_directory(path):
        return len(path)
    # Of a relative path, what the working directory is called does not count.
    return len(path) - len(os.path.relpath(path)) if path != asked and not os.path.isabs(asked) else 0


def _hive_names(path: str) -> list[str]:
    """Name the columns that stand in the directories of a path, as ``name=value``."""
    parts = os.path.dirname(path).split("/")
    return [part.split("=", 1)[0] for part in parts if "=" in part]
