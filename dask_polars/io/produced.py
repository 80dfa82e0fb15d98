"""Collections from functions and from tasks: each call, or each result, is a partition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
from dask.delayed import Delayed
from dask.tokenize import tokenize
from dask.utils import funcname
from polars.io.plugins import register_io_source

from dask_polars.collection import LazyFrame
from dask_polars.dsl.leaves import source_lazyframe
from dask_polars.graph.foreign import delayed_graph
from dask_polars.io.sources import computed_when_read
from dask_polars.plan.planner import Planner
from dask_polars.plan.reread import leaf_kind
from dask_polars.plan.sources import source_stage
from dask_polars.plan.stages import ProduceStage, SchemaDict, Size, Stage

Columns = tuple[tuple[str, pl.DataType], ...]
Schema = Mapping[str, Any]

# Nothing is known of the rows before the functions are called.
_ROWS_OF_A_CALL = 1e6


@dataclass(frozen=True)
class ProducedSource:
    """
    Partitions that a function gives.

    Parameters
    ----------
    function
        Called with the arguments of a partition; gives a frame, lazy or not, with these columns.
    items
        The arguments of each partition.
    columns
        Names and types of the columns.
    label
        The name of the tasks.
    content
        A token of the function and its arguments.
    graph
        The tasks that the arguments refer to.
    again
        Whether the frames are scans of files.
    """

    function: Callable[..., pl.DataFrame | pl.LazyFrame]
    items: tuple[tuple[Any, ...], ...] = field(repr=False)
    columns: Columns
    label: str
    content: str
    graph: Mapping[Any, Any] = field(default_factory=dict, repr=False)
    again: bool = False

    @cached_property
    def schema(self) -> SchemaDict:
        return dict(self.columns)

    @cached_property
    def token(self) -> str:
        return tokenize(self.content, [(name, str(dtype)) for name, dtype in self.columns])

    def lazy(self) -> pl.LazyFrame:
        if self.graph:
            return computed_when_read(self)
        return register_io_source(self._read, schema=self.schema, is_pure=True)

    def _read(
        self, columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """Call the function for one partition after the other, in this process, until there are enough rows."""
        missing = rows
        for item in self.items:
            part = self.function(*item).lazy()
            part = part if missing is None else part.head(missing).collect(engine="streaming").lazy()
            if missing is not None:
                missing -= part.select(pl.len()).collect().item()
            part = part if predicate is None else part.filter(predicate)
            yield (part if columns is None else part.select(columns)).collect(engine="streaming")
            if missing is not None and missing <= 0:
                return


@source_stage.register
def _produced_stage(source: ProducedSource, planner: Planner) -> Stage:
    return ProduceStage(
        operation=source.label,
        schema=source.schema,
        npartitions=len(source.items),
        size=Size.guess(_ROWS_OF_A_CALL * len(source.items), source.schema),
        function=source.function,
        items=source.items,
        content=source.token,
        graph=source.graph,
        again=source.again,
    )


# ---------------------------------------------------------------- what a function gives


def as_polars(value: Any, what: str) -> pl.DataFrame | pl.LazyFrame:
    """
    Make a frame of Polars of a frame of another library, through Arrow.

    Parameters
    ----------
    value
        A frame of Polars, a table of Arrow, a data frame of pandas, or anything else that gives a stream of Arrow.
    what
        What gave it, for the message of the error.

    Returns
    -------
    polars.DataFrame or polars.LazyFrame

    Raises
    ------
    TypeError
        If it is nothing of that kind.
    """
    if isinstance(value, (pl.DataFrame, pl.LazyFrame)):
        return value
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return pl.from_pandas(value)
    if isinstance(value, (pa.Table, pa.RecordBatch, pa.RecordBatchReader)):
        return pl.DataFrame(pl.from_arrow(value))
    columns = (pl.Series, pa.ChunkedArray) if pandas is None else (pl.Series, pa.ChunkedArray, pandas.Series)
    if hasattr(value, "__arrow_c_stream__") and not isinstance(value, (LazyFrame, *columns)):
        return pl.DataFrame(value)
    raise TypeError(
        f"{what} must give a frame: a DataFrame or LazyFrame of Polars, a table of Arrow or a DataFrame of pandas, "
        f"not a {type(value).__name__}"
    )


def schema_difference(found: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Say in which columns two schemas differ; nothing where they are equal."""
    out = [f"column {name!r} is missing" for name in said if name not in found]
    out += [f"there is a column {name!r} more" for name in found if name not in said]
    both = [name for name in said if name in found and found[name] != said[name]]
    out += [f"column {name!r} is {found[name]}, not {said[name]}" for name in both]
    if not out and list(found) != list(said):
        out.append(f"the columns are in the order {list(found)}, not {list(said)}")
    return "; ".join(out)


def checked(frame: pl.DataFrame | pl.LazyFrame, said: Mapping[str, Any], what: str) -> pl.DataFrame | pl.LazyFrame:
    """Give a frame back if it has the columns that were said; otherwise fail, and say who gave it and what differs."""
    difference = schema_difference(frame.collect_schema(), said)
    if difference:
        raise pl.exceptions.SchemaError(f"{what} gave other columns than the schema says: {difference}")
    return frame


@dataclass(frozen=True)
class Call:
    """A function of the user's, called for each partition."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    columns: Columns | None = None

    def __call__(self, *item: Any) -> pl.DataFrame | pl.LazyFrame:
        what = f"{funcname(self.function)}({', '.join(map(_short, item))}) of from_map"
        frame = as_polars(self.function(*item, *self.args, **self.kwargs), what)
        return frame if self.columns is None else checked(frame, dict(self.columns), what)


@dataclass(frozen=True)
class Take:
    """The result of a task, as a partition."""

    columns: Columns | None = None

    def __call__(self, value: Any, number: int = 0) -> pl.DataFrame | pl.LazyFrame:
        what = f"the delayed value number {number} of from_delayed"
        frame = as_polars(value, what)
        return frame if self.columns is None else checked(frame, dict(self.columns), what)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


# ---------------------------------------------------------------- front doors


def from_map(
    function: Callable[..., Any],
    *iterables: Iterable[Any],
    args: Sequence[Any] | None = None,
    schema: Schema | None = None,
    label: str | None = None,
    **kwargs: Any,
) -> LazyFrame:
    """
    Make a collection by calling a function once for each partition.

    If the function gives lazy frames, these become part of the query: ``dp.from_map(pl.scan_parquet, paths)`` reads the
    columns and rows that the query needs, and no others.

    Parameters
    ----------
    function
        Called with one value of each iterable, then ``args`` and ``kwargs``. It gives a DataFrame or LazyFrame of
        Polars, or what can be made one: a table of Arrow, a DataFrame of pandas (without its index).
    *iterables
        The values. All are of the same length, which is the number of partitions.
    args : sequence, optional
        Further arguments, the same for all partitions.
    schema : mapping, optional
        Names and types of the columns. If it is not given, the first call is made here, at once, to find out; of a lazy
        frame only the schema is asked for.
    label : str, optional
        The name of the tasks, in place of that of the function.
    **kwargs
        Further arguments by name, the same for all partitions.

    Returns
    -------
    LazyFrame

    Raises
    ------
    TypeError
        If an argument is no iterable; or if the function gives no frame.
    ValueError
        If there is no iterable, or no value in it, or if their lengths differ.
    polars.exceptions.SchemaError
        When the query runs, if a call gives other columns than the schema says.

    See Also
    --------
    dask.dataframe.from_map

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> def squares(start, stop):
    ...     return pl.DataFrame({"n": range(start, stop)}).with_columns(square=pl.col("n") ** 2)
    >>> lf = dp.from_map(squares, [0, 3, 6], [3, 6, 9])
    >>> lf.npartitions, lf.select(pl.col("square").sum()).collect().item()
    (3, 204)
    """
    if not callable(function):
        raise TypeError(f"from_map takes a function, not a {type(function).__name__}")
    for values in iterables:
        if not isinstance(values, Iterable):
            raise TypeError(f"from_map takes iterables, not a {type(values).__name__}")
    lists = [list(values) for values in iterables]
    if not lists:
        raise ValueError("from_map needs at least one iterable")
    if len({len(values) for values in lists}) > 1:
        raise ValueError(f"the iterables of from_map are of different lengths: {[len(values) for values in lists]}")
    items = tuple(zip(*lists, strict=True))
    if not items:
        raise ValueError("the iterables of from_map are empty")
    call = Call(function, tuple(args or ()), kwargs)
    again = False
    if schema is None:
        first = call(*items[0])
        schema = first.collect_schema()
        again = isinstance(first, pl.LazyFrame) and leaf_kind(first) == "Scan"
    columns = tuple(pl.Schema(schema).items())
    content = tokenize("from_map", function, items, call.args, kwargs)
    name = label or funcname(function)
    call = Call(function, call.args, kwargs, columns)
    return LazyFrame(source_lazyframe(ProducedSource(call, items, columns, name, content, again=again)))


def from_delayed(values: Any, *, schema: Schema | None = None, label: str = "from-delayed") -> LazyFrame:
    """
    Make a collection whose partitions are delayed values, or futures.

    Parameters
    ----------
    values : dask.delayed.Delayed, distributed.Future, or an iterable of these
        Each gives a DataFrame or LazyFrame of Polars, or what can be made one: a table of Arrow, a DataFrame of pandas
        (without its index).
    schema : mapping, optional
        Names and types of the columns. If it is not given, the first value is computed to find out.
    label : str
        The name of the tasks.

    Returns
    -------
    LazyFrame

    Raises
    ------
    TypeError
        If there is something else among the values, or if a value gives no frame.
    ValueError
        If there are no values.
    polars.exceptions.SchemaError
        When the query runs, if a value has other columns than the schema says.

    See Also
    --------
    dask.dataframe.from_delayed

    Examples
    --------
    >>> import dask, dask_polars as dp, polars as pl
    >>> parts = [dask.delayed(pl.DataFrame)({"n": [i, i + 1]}) for i in range(3)]
    >>> dp.from_delayed(parts, schema={"n": pl.Int64}).filter(pl.col("n") > 1).collect()["n"].to_list()
    [2, 2, 3]
    """
    given = [values] if hasattr(values, "key") else list(values)
    if not given:
        raise ValueError("from_delayed needs at least one value")
    graph, references = delayed_graph(given)
    if schema is None:
        schema = Take()(_compute_one(given[0])).collect_schema()
    columns = tuple(pl.Schema(schema).items())
    items = tuple((reference, number) for number, reference in enumerate(references))
    content = tokenize("from_delayed", [reference.key for reference in references])
    return LazyFrame(source_lazyframe(ProducedSource(Take(columns), items, columns, label, content, graph)))


def _compute_one(value: Any) -> Any:
    import dask

    return dask.compute(value)[0] if isinstance(value, Delayed) else value.result()
