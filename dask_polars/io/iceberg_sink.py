"""
Sinks to Iceberg tables: what Polars would write, as a request for each partition, and Polars' own commit.

The state of such a sink is private to Polars, and nothing but this module knows it: it says which files are to be written,
with which columns, keys and order, and it commits them, once, whatever is asked of the table (a schema that changes, a
filter of what is replaced). ``tests/test_table_sinks.py`` has the contract.
"""

from __future__ import annotations

import inspect
import io
import sys
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from dask_polars.dsl.codec import decode, encode, to_lazyframe
from dask_polars.dsl.leaves import slot
from dask_polars.dsl.nodes import Node
from dask_polars.dsl.sinks import SinkPayload
from dask_polars.io.storage import Storage
from dask_polars.io.table_files import FilesRequest

_SINK = inspect.unwrap(pl.LazyFrame.sink_iceberg).__code__


def sink_id(node: Node) -> str | None:
    """Give what tells a sink to an Iceberg table from others; None for any other node."""
    found = node.fields["payload"].get("Iceberg") if node.kind == "Sink" else None
    return None if found is None else found["sink_uuid_str"]


def running_sink() -> Any:
    """
    Find the state of the ``sink_iceberg`` that is being called.

    A plan has a copy of it, while the caller takes the outcome from the one that it made.

    Returns
    -------
    polars.io.iceberg._sink.IcebergSinkState, or None
        None where the query that is to be run is not that of a ``sink_iceberg``.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _SINK:
            return frame.f_locals.get("sink_state")
        frame = frame.f_back  # type: ignore[assignment]
    return None


def iceberg_request(state: Any, schema: dict[str, pl.DataType]) -> FilesRequest:
    """
    Say what partitions write.

    Parameters
    ----------
    state
        The state of the sink. The table is made where it is missing and the sink is to make it.
    schema
        The columns of the rows.

    Returns
    -------
    FilesRequest

    Raises
    ------
    Exception
        What Polars and pyiceberg raise, before anything is written.
    """
    resolved = state._attach_resolved_sink(to_lazyframe(slot(0, schema))._ldf)
    sink = decode(pl.LazyFrame._from_pyldf(resolved))
    payload = SinkPayload("Partitioned", sink.fields["payload"]["Partitioned"])
    return FilesRequest(
        base=payload.path,
        payload=payload,
        template=encode(sink.input),
        run=state.sink_uuid_str,
        folder=_no_folder,
        digest=_whole_footer,
        storage=Storage.of(sink),
    )


def commit_iceberg(state: Any, request: FilesRequest, found: pl.DataFrame) -> None:
    """Make files part of the table, in one snapshot."""
    files = [
        (f"{request.base}{name}", rows, size, footer, pl.read_ipc(io.BytesIO(keys)))
        for name, rows, size, keys, footer in found.iter_rows()
    ]
    state.commit(files)


def outcome_is_unknown(error: BaseException) -> bool:
    """Say whether a commit that has failed may have done its work."""
    from pyiceberg.exceptions import CommitStateUnknownException

    return isinstance(error, CommitStateUnknownException)


def _no_folder(keys: pl.DataFrame) -> str:
    return ""  # the values of keys are in the metadata of the table


def _whole_footer(metadata: pq.FileMetaData) -> bytes:
    sink = io.BytesIO()
    metadata.write_metadata_file(sink)
    return sink.getvalue()
