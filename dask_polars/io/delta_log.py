"""What the log of a Delta Lake table says of a file: the values of its partition, and statistics of its columns."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq

_COLUMNS = 32  # of which the log has statistics, unless a table says otherwise
_LONGEST = 256  # characters of text in the log
_DIGITS = 15  # of a decimal that a number of JSON holds for sure


def partition_value(value: Any) -> str | None:
    """
    Write a value of a partition column as the log does.

    Examples
    --------
    >>> [partition_value(value) for value in (None, True, 7, "a b", date(2020, 1, 2))]
    [None, 'true', '7', 'a b', '2020-01-02']
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def statistics_of(metadata: pq.FileMetaData) -> bytes:
    """
    Write the statistics of a file as the log has them.

    Parameters
    ----------
    metadata
        Its footer.

    Returns
    -------
    bytes
        JSON: the number of rows, and of columns that are not nested the smallest and largest value and the number of
        nulls, as far as they are known.
    """
    names = metadata.schema.to_arrow_schema().names
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index in range(metadata.num_columns):
        column = metadata.schema.column(index)
        name = column.path
        if name not in names[:_COLUMNS] or "." in name or column.max_repetition_level:
            continue
        chunks = [metadata.row_group(group).column(index).statistics for group in range(metadata.num_row_groups)]
        if any(chunk is None or not chunk.has_null_count for chunk in chunks):
            continue
        nulls[name] = sum(chunk.null_count for chunk in chunks)
        filled = [chunk for chunk in chunks if chunk.num_values]
        if not filled or not all(chunk.has_min_max for chunk in filled):
            continue
        low = _value(min(chunk.min for chunk in filled))
        high = _value(max(chunk.max for chunk in filled))
        if low is not None and high is not None:
            smallest[name], largest[name] = low, high
    said = {"numRecords": metadata.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls}
    return json.dumps(said).encode()


def _value(value: Any) -> Any:
    """Write a bound as JSON; None where it is left out."""
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else None
    if isinstance(value, datetime):  # cut to milliseconds, which readers know
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}" + ("Z" if value.tzinfo else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value) if len(value.as_tuple().digits) <= _DIGITS else None
    return None
