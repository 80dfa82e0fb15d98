"""How the methods of Polars run here: a note for the documentation of each."""

from __future__ import annotations

import inspect
from typing import Final

EACH: Final = "Runs in each partition by itself."
PARTS: Final = "Partial results of the partitions are combined, in a tree or after a shuffle."
GROUPS: Final = (
    "Aggregations that can be combined are computed in each partition first; for others rows are shuffled, so that each "
    "group is in one partition."
)
JOIN: Final = "A small side is sent to every partition of the other; otherwise both are shuffled by their keys."
FEW: Final = "Each partition gives its first candidates, and these are combined."
COUNT: Final = "Counts the rows of the partitions first, where it must know them."
PLAN: Final = "Computes nothing."
RUNS: Final = "Runs with Dask where there is a client, or where a scheduler was chosen; otherwise Polars runs it here."
WRITES: Final = (
    "Partitions are written in parallel, to a directory as files of their own; files appear when all are written. What "
    "is there is not replaced unless `dask-polars.overwrite` says so."
)
STREAMS: Final = "The partitions come to this process, one after the other."
VARIES: Final = (
    "See `explain()` for whether rows are gathered to one partition; there is a FallbackWarning if they are."
)

_FRAME: Final = {
    EACH: "cast clear drop drop_nans drop_nulls explode fill_nan filter match_to_schema remove rename set_sorted unnest "
    "unpivot",
    PARTS: "count first last max mean min null_count std sum unique var",
    GROUPS: "group_by",
    JOIN: "join update",
    FEW: "bottom_k head limit tail top_k",
    COUNT: "gather_every reverse slice with_row_index",
    PLAN: "clone collect_schema columns deserialize dtypes schema serialize show_graph width",
    RUNS: "collect_async collect_batches describe execute show",
    WRITES: "sink_csv sink_ipc sink_ndjson sink_parquet",
    STREAMS: "sink_batches sink_delta sink_iceberg",
    "Each partition is sorted after a range shuffle; equal keys stay in one partition.": "sort",
    "Expressions that go row by row run in each partition; aggregations are combined from partial results.": "select "
    "select_seq with_columns with_columns_seq",
    "Equal parts of a plan are computed once anyway; use `persist()` to keep a result on the cluster.": "cache",
    "The function is given a collection.": "pipe pipe_with_schema",
}
_GROUP_BY: Final = {
    GROUPS: "agg all first having head last len map_groups max mean median min n_unique quantile sum tail"
}


def note_on(class_name: str, method: str) -> str:
    """
    Say how a method runs.

    Parameters
    ----------
    class_name : str
        ``"LazyFrame"`` or ``"LazyGroupBy"``.
    method : str
        The name of a method or property of the class of Polars.

    Returns
    -------
    str
        One paragraph.

    Examples
    --------
    >>> from dask_polars.notes import note_on
    >>> note_on("LazyFrame", "filter")
    'Runs in each partition by itself.'
    """
    table = _FRAME if class_name == "LazyFrame" else _GROUP_BY
    return next((text for text, names in table.items() if method in names.split()), VARIES)


def with_note(documentation: str | None, class_name: str, method: str) -> str:
    """
    Put the note behind the first paragraph of a documentation.

    Parameters
    ----------
    documentation : str, optional
        That of Polars.
    class_name, method : str
        As for :func:`note_on`.

    Returns
    -------
    str
    """
    summary, _, rest = inspect.cleandoc(documentation or "").partition("\n\n")
    return "\n\n".join(part for part in (summary, f"**On Dask:** {note_on(class_name, method)}", rest) if part)
