"""Blocks of files of text as Polars reads them: each behind the head of its file, with the options of the scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import polars as pl

from dask_polars.dsl.cloud import CloudOptions
from dask_polars.io.blocks import Layout, head_in, layout_of, nominal, read_head, record_from
from dask_polars.io.paths import open_file
from dask_polars.io.storage import Storage


def scan_block(
    scan: Mapping[str, Any],
    path: str,
    share: tuple[int, int, int],
    cloud: CloudOptions | None,
    starts: pl.DataFrame | None,
    whole: Callable[[], pl.LazyFrame],
) -> pl.LazyFrame:
    """
    Scan a block of a file; it is read when the query runs.

    Parameters
    ----------
    scan
        The scan.
    path
        The file.
    share
        Number, count and size, as in :class:`~dask_polars.io.parts.ScanPart`.
    cloud
        How an object store is reached.
    starts
        What :func:`record_starts` gives, where fields may be quoted.
    whole
        Scans the whole file, which cannot be cut.

    Returns
    -------
    polars.LazyFrame
    """
    schema = pl.LazyFrame.deserialize(scan["reading"]["schema"]).collect_schema()
    place, count, size = share
    span = None
    if starts is not None:
        span = starts.row(by_predicate=(pl.col("path") == path) & (pl.col("place") == place))[2:]
    read = partial(_read, scan, path, place, count, size, cloud, span)
    return pl.LazyFrame(schema=schema).pipe_with_schema(_Block(read, whole if place == 0 else None))


class _Block:
    """The callable of a leaf that reads a block when Polars asks for it."""

    def __init__(self, read: Callable[[], pl.LazyFrame | None], whole: Callable[[], pl.LazyFrame] | None) -> None:
        self.read, self.whole = read, whole
        self.frame: pl.LazyFrame | None = None

    def __call__(self, lf: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        if self.frame is None:
            found = self.read()
            if found is None:
                found = lf if self.whole is None else self.whole()
            self.frame = found
        return self.frame


def _read(
    scan: Mapping[str, Any],
    path: str,
    place: int,
    count: int,
    size: int,
    cloud: CloudOptions | None,
    span: tuple[int | None, int | None] | None,
) -> pl.LazyFrame | None:
    """Read a block; None where the file cannot be cut."""
    layout = layout_of(scan)
    with open_file(path, Storage(cloud)) as opened:
        head = read_head(opened, size, layout)
        if head.start is None:
            return None
        if span is None:
            places = (nominal(head.start, size, number, count) for number in (place, place + 1))
            start, stop = (record_from(opened, at, head.start, size, layout.eol) for at in places)
        elif span[0] is None or span[1] is None:
            return None
        else:
            start, stop = span[0], span[1]
        opened.seek(start)
        data = opened.read(max(stop - start, 0))
    lazy = scan_bytes(head.prefix + data, scan)
    name = scan["fields"]["unified_scan_args"]["include_file_paths"]
    return lazy if name is None else lazy.with_columns(pl.lit(path).alias(name))


def scan_bytes(data: bytes, scan: Mapping[str, Any]) -> pl.LazyFrame:
    """
    Scan rows of a file, behind the prefix of its head.

    Parameters
    ----------
    data
        The bytes.
    scan
        The scan: ``fields`` as in a plan, ``reading`` with the schema and the names of the columns in files.

    Returns
    -------
    polars.LazyFrame
    """
    ((kind, described),) = scan["fields"]["scan_type"].items()
    if kind == "Lines":
        return pl.scan_lines(data, name=described["name"])
    every = pl.LazyFrame.deserialize(scan["reading"]["schema"]).collect_schema()
    schema = {name: every[name] for name in scan["reading"]["own"]}
    options = described["options"]
    if kind == "NDJson":
        return pl.scan_ndjson(
            data, schema=schema, ignore_errors=options["ignore_errors"], low_memory=options["low_memory"]
        )
    return pl.scan_csv(data, schema=schema, **csv_arguments(options, scan["fields"]["unified_scan_args"]))


def sample_of(data: bytes, scan: Mapping[str, Any]) -> pl.DataFrame:
    """Read the first rows of a file, to learn how large they are; those with errors count too."""
    ((kind, described),) = scan["fields"]["scan_type"].items()
    if kind == "Lines":
        return pl.scan_lines(data, name=described["name"]).collect(engine="in-memory")
    options = {**described["options"], "ignore_errors": True, "raise_if_empty": False}
    lenient = {**scan["fields"], "scan_type": {kind: {**described, "options": options}}}
    if kind == "Csv" and not options["has_header"]:
        # Names for what has none: those of the columns, as if each row had all of them.
        layout = Layout.of(kind, described, tuple(scan["reading"]["own"]))
        head = head_in(data, layout)
        if head is None or head.start is None:
            return pl.DataFrame()
        data = head.prefix + data[head.start :]
    return scan_bytes(data, {**scan, "fields": lenient}).collect(engine="in-memory")


def csv_arguments(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    Say as arguments of ``scan_csv`` what a plan says, for bytes that begin with the head of a file.

    Parameters
    ----------
    options
        The options of the format.
    arguments
        Those that scans of all formats have.

    Returns
    -------
    dict
    """
    parse = options["parse_options"]
    headed = options["has_header"]
    drift = {
        "extra_columns": arguments["extra_columns_policy"].lower(),
        "missing_columns": arguments["missing_columns_policy"].lower(),
    }
    return {
        "has_header": True,
        "skip_lines": options["skip_lines"] if headed else 0,
        "skip_rows": options["skip_rows"] if headed else 0,
        "skip_rows_after_header": options["skip_rows_after_header"] if headed else 0,
        "new_columns": options["column_names_overwrite"] if headed else None,
        "separator": chr(parse["separator"]),
        "quote_char": None if parse["quote_char"] is None else chr(parse["quote_char"]),
        "eol_char": chr(parse["eol_char"]),
        "null_values": _null_values(parse["null_values"]),
        "empty_string_is_null": parse["missing_is_null"],
        "encoding": "utf8" if parse["encoding"] == "Utf8" else "utf8-lossy",
        "try_parse_dates": parse["try_parse_dates"],
        "decimal_comma": parse["decimal_comma"],
        "truncate_ragged_lines": parse["truncate_ragged_lines"],
        "ignore_errors": options["ignore_errors"],
        "raise_if_empty": options["raise_if_empty"],
        "low_memory": options["low_memory"],
        **{name: policy for name, policy in drift.items() if policy != "raise"},
    }


def _null_values(found: Mapping[str, Any] | None) -> Any:
    if found is None:
        return None
    ((kind, values),) = found.items()
    return dict(values) if kind == "Named" else values
