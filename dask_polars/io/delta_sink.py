"""
Sinks to Delta Lake tables: which can be written in parts, what the parts write, and the commit.

Only what is sure to give the table that ``deltalake`` would give is written in parts: columns that need at most a change of
their unit of time, and tables that ask nothing of their writers. All else is left to ``deltalake``, rows and all.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import polars as pl
from polars.io.partition import FileProviderArgs

from dask_polars.dsl.codec import decode, encode, to_lazyframe
from dask_polars.dsl.leaves import slot
from dask_polars.dsl.sinks import SinkPayload
from dask_polars.io.delta_log import partition_value, statistics_of
from dask_polars.io.paths import is_remote
from dask_polars.io.storage import Storage
from dask_polars.io.table_files import FilesRequest

# Arguments of `write_deltalake` that a commit takes, and those that are about rows that are there or about files.
_KEPT = {"partition_by", "name", "description", "schema_mode", "commit_properties", "post_commithook_properties"}
# Features that ask nothing of a writer unless the schema or the configuration says more, which is looked at.
_HARMLESS = {"timestampNtz", "appendOnly", "invariants"}
_PLAIN = (pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Float32, pl.Float64, pl.String, pl.Binary, pl.Date)
_KEYS = (pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.String, pl.Date)
_BYTES_PER_FILE = 512 * 2**20  # in memory


class NotInParts(Exception):
    """Says why a table is not written in parts."""


@dataclass(frozen=True)
class DeltaWrite:
    """
    A table that is written in parts.

    Parameters
    ----------
    uri
        Where the table is.
    table
        The table; None where it is to be made.
    mode
        ``"append"``, ``"overwrite"``, ``"error"`` or ``"ignore"``.
    schema
        The columns, as ``deltalake`` says it.
    keys
        The columns that the table is partitioned by.
    request
        What partitions write.
    storage_options
        How ``deltalake`` reaches the table.
    options
        What else goes to the commit.
    """

    uri: str
    table: Any
    mode: str
    schema: Any
    keys: tuple[str, ...]
    request: FilesRequest
    storage_options: dict[str, str] | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        columns: Mapping[str, pl.DataType],
        target: Any,
        *,
        mode: str = "error",
        storage_options: Mapping[str, Any] | None = None,
        credential_provider: Any = "auto",
        delta_write_options: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> DeltaWrite | None:
        """
        Say how a table is written.

        Parameters
        ----------
        columns
            The columns of the rows.
        target
            A path, or a table.
        mode, storage_options, credential_provider, delta_write_options, **others
            As :meth:`polars.LazyFrame.sink_delta` takes them.

        Returns
        -------
        DeltaWrite, or None
            None where nothing is written.

        Raises
        ------
        NotInParts
            Where it has to be left to ``deltalake``.
        """
        from deltalake import Schema

        if mode not in ("append", "overwrite", "error", "ignore"):
            raise NotInParts(f"mode={mode!r} needs the rows of the table")
        given = {name: value for name, value in (delta_write_options or {}).items() if value is not None}
        for name in sorted(set(given) - _KEPT):
            raise NotInParts(f"the option {name!r} is for the writer of deltalake")
        table, uri = _find(target, storage_options, credential_provider)
        if table is not None and mode in ("error", "ignore"):
            return None
        wanted = _as_delta(columns)
        by = given.pop("partition_by", None) or []
        keys = [by] if isinstance(by, str) else list(by)
        if table is not None:
            keys = _keys_of_table(table, keys, given)
            _check_table(table, mode, wanted)
            schema = table.schema()
            wanted = {name: wanted[name] for name in pl.Schema(schema)}
        else:
            schema = Schema.from_arrow(
                pl.DataFrame(schema=wanted).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
            )
        given.pop("schema_mode", None)
        _check_keys(keys, wanted)
        request = _request(uri, table, columns, wanted, keys, storage_options, credential_provider)
        options = _strings(storage_options)
        return cls(uri, table, mode, schema, tuple(keys), request, options, given)

    def commit(self, found: pl.DataFrame) -> None:
        """
        Make files part of the table, in one version of it.

        Parameters
        ----------
        found
            The files.

        Raises
        ------
        deltalake.exceptions.DeltaError
            Where ``deltalake`` refuses.
        """
        from deltalake.transaction import AddAction, create_table_with_add_actions

        now = int(time.time() * 1000)
        actions = []
        for name, _, size, packed, stats in found.iter_rows():
            keys = pl.read_ipc(io.BytesIO(packed))
            values = {key: partition_value(keys[key][0]) for key in self.keys}
            actions.append(AddAction(name, size, values, now, True, stats.decode()))
        if self.table is not None:
            told = {name: value for name, value in self.options.items() if name not in ("name", "description")}
            self.table.create_write_transaction(actions, self.mode, self.schema, list(self.keys), **told)
            return
        create_table_with_add_actions(
            self.uri,
            self.schema,
            actions,
            mode=self.mode,  # type: ignore[arg-type]
            partition_by=list(self.keys),
            storage_options=self.storage_options,
            **self.options,
        )

    def is_committed(self) -> bool:
        """Say whether files of this run are in the table; a table that cannot be asked is taken to have them."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            table = DeltaTable(self.uri, storage_options=self.storage_options)
            return any(f"-{self.request.run}-" in path for path in table.file_uris())
        except TableNotFoundError:
            return False
        except Exception:
            return True  # the files of a table are not removed


# ---------------------------------------------------------------- the table


def _find(target: Any, storage_options: Any, credential_provider: Any) -> tuple[Any, str]:
    """Give the table, None where there is none yet, and where it is."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    if isinstance(target, DeltaTable):
        if is_remote(target.table_uri):
            raise NotInParts("a DeltaTable does not say how workers reach its object store: give its path")
        return target, _directory(target.table_uri)
    if not isinstance(target, (str, Path)):
        raise NotInParts(f"the target is a {type(target).__name__}")
    path = str(target)
    if is_remote(path) and credential_provider not in ("auto", None):
        raise NotInParts("a credential provider is asked by this process")
    uri = path if is_remote(path) else str(Path(path.removeprefix("file://")).expanduser().resolve())
    try:
        return DeltaTable(uri, storage_options=_strings(storage_options)), _directory(uri)
    except TableNotFoundError:
        return None, _directory(uri)


def _directory(uri: str) -> str:
    return f"{uri if is_remote(uri) else uri.removeprefix('file://')}".rstrip("/") + "/"


def _strings(storage_options: Mapping[str, Any] | None) -> dict[str, str] | None:
    if storage_options is None:
        return None
    return {name: value for name, value in storage_options.items() if isinstance(value, str)}


def _keys_of_table(table: Any, given: list[str], options: Mapping[str, Any]) -> list[str]:
    keys = list(table.metadata().partition_columns)
    if given and given != keys:
        raise NotInParts("partition_by differs from the table")
    return keys


def _check_table(table: Any, mode: str, wanted: Mapping[str, pl.DataType]) -> None:
    """Refuse what asks more of a writer than to write files."""
    protocol, configuration = table.protocol(), table.metadata().configuration
    features = set(protocol.writer_features or ())
    if protocol.min_writer_version not in (1, 2, 7) or features - _HARMLESS:
        extra = ", ".join(sorted(features - _HARMLESS)) or f"version {protocol.min_writer_version}"
        raise NotInParts(f"the table asks more of its writers: {extra}")
    for name in configuration:
        if name.startswith("delta.") and name not in ("delta.checkpointInterval", "delta.logRetentionDuration"):
            raise NotInParts(f"the table is configured with {name}")
    if _asks_more(json.loads(table.schema().to_json())):
        raise NotInParts("the table has columns that are not nullable, or with rules of their own")
    there = dict(pl.Schema(table.schema()))
    if there != dict(wanted):
        raise NotInParts("the columns are not those of the table")


def _asks_more(value: Any) -> bool:
    """Say whether a schema has anything but nullable columns."""
    if isinstance(value, list):
        return any(map(_asks_more, value))
    if not isinstance(value, dict):
        return False
    flags = [value.get(name, True) for name in ("nullable", "containsNull", "valueContainsNull")]
    return not all(flags) or bool(value.get("metadata")) or any(map(_asks_more, value.values()))


# ---------------------------------------------------------------- columns


def _as_delta(columns: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Give the types that columns have in a table."""
    return {name: _delta_type(name, dtype) for name, dtype in columns.items()}


def _delta_type(name: str, dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, _PLAIN):
        return dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns":
        return pl.Datetime("us", None if dtype.time_zone is None else "UTC")
    if isinstance(dtype, pl.Decimal):
        return dtype
    if isinstance(dtype, pl.List) and _delta_type(name, dtype.inner) == dtype.inner:  # type: ignore[arg-type]
        return dtype
    if isinstance(dtype, pl.Struct) and all(_delta_type(name, item.dtype) == item.dtype for item in dtype.fields):  # type: ignore[arg-type]
        return dtype
    raise NotInParts(f"column {name!r} of type {dtype} is converted by deltalake")


def _check_keys(keys: list[str], wanted: Mapping[str, pl.DataType]) -> None:
    for name in keys:
        if name not in wanted:
            raise NotInParts(f"there is no column {name!r} to partition by")
        if not isinstance(wanted[name], _KEYS):
            raise NotInParts(
                f"how values of {wanted[name]} are written as names of directories is for deltalake to say"
            )
    if len(keys) == len(wanted):
        raise NotInParts("all columns are partition columns")


# ---------------------------------------------------------------- what is written


def _request(
    uri: str,
    table: Any,
    columns: Mapping[str, pl.DataType],
    wanted: Mapping[str, pl.DataType],
    keys: list[str],
    storage_options: Mapping[str, Any] | None,
    credential_provider: Any,
) -> FilesRequest:
    rows = to_lazyframe(slot(0, columns)).select(
        pl.col(name) if columns[name] == dtype else pl.col(name).cast(dtype) for name, dtype in wanted.items()
    )
    places = pl.PartitionBy(
        uri,
        key=keys or None,
        include_key=False if keys else None,
        file_path_provider=_unnamed,
        approximate_bytes_per_file=_BYTES_PER_FILE,
    )
    lazy = rows.sink_parquet(
        places,
        compression="snappy",
        storage_options=None if storage_options is None else dict(storage_options),
        credential_provider=credential_provider,
        mkdir=True,
        lazy=True,
    )
    sink = decode(lazy)
    return FilesRequest(
        base=uri,
        payload=SinkPayload("Partitioned", sink.fields["payload"]["Partitioned"]),
        template=encode(sink.input),
        run=uuid4().hex[:12],
        folder=_folder,
        digest=statistics_of,
        storage=Storage.of(sink),
    )


def _unnamed(args: FileProviderArgs) -> str:
    raise NotImplementedError("the names of files are given by the tasks that write them")


def _folder(keys: pl.DataFrame) -> str:
    """Name the directory of some partition values, as ``deltalake`` does."""
    parts = []
    for name in keys.columns:
        value = partition_value(keys[name][0])
        parts.append(
            f"{quote(name, safe='')}={'__HIVE_DEFAULT_PARTITION__' if value is None else quote(value, safe='')}/"
        )
    return "".join(parts)
