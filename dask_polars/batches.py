"""Results in batches, partition by partition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa
from dask._task_spec import DataNode, cull
from polars.io.plugins import register_io_source

from dask_polars.execution import Target
from dask_polars.futures import abandon, aside, submit
from dask_polars.graph.expr import PartsExpr
from dask_polars.plan import Plan
from dask_polars.steps import settled


class Batches:
    """
    The result of a query in batches: an iterator of frames, and a stream of Arrow.

    Parameters
    ----------
    frames
        The batches.
    schema
        Their columns.
    """

    def __init__(self, frames: Iterator[pl.DataFrame], schema: pl.Schema) -> None:
        self._frames, self._schema = frames, schema

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> pl.DataFrame:
        return next(self._frames)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        level = pl.CompatLevel.newest()
        schema = pl.DataFrame(schema=self._schema).to_arrow(compat_level=level).schema
        found = (batch for frame in self for batch in frame.to_arrow(compat_level=level).to_batches())
        return pa.RecordBatchReader.from_batches(schema, found).__arrow_c_stream__(requested_schema)


def batches_of(plan: Plan, target: Target, *, chunk_size: int | None, in_order: bool, lazy: bool) -> Batches:
    """
    Run a plan of one query, on a cluster in steps, and give its partitions one by one.

    A partition is let go of, on a cluster, as soon as it is here.

    Parameters
    ----------
    plan
        The plan.
    target
        Where it runs.
    chunk_size
        Rows of a batch; None for batches as they come.
    in_order
        Whether batches come in the order of the rows.
    lazy
        Whether to start only when the first batch is asked for.

    Returns
    -------
    Batches
    """
    parts: Iterator[pl.DataFrame]
    if target.client is None:
        parts = _run_here(plan, target)
    else:
        run = _run_there(plan, target, in_order)
        if not lazy:
            next(run)
        parts = (part for part in run if part is not None)
    filled = (part for part in parts if part.height)
    frames = filled if chunk_size is None else _rechunked(filled, chunk_size)
    return Batches(frames, pl.Schema(plan.roots[0].schema))


def _run_here(plan: Plan, target: Target) -> Iterator[pl.DataFrame]:
    """Run a plan in this process: partition by partition, unless these share tasks, which would run more than once."""
    assert target.get is not None
    expr = PartsExpr(plan.roots, plan.options.shuffle_method)
    graph, keys = expr.__dask_graph__(), expr.__dask_keys__()
    parts = [cull(graph, [key]) for key in keys]
    tasks = [name for part in parts for name, task in part.items() if not isinstance(task, DataNode)]
    if len(set(tasks)) == len(tasks):
        for part, key in zip(parts, keys, strict=True):
            yield from target.get(part, [key])
    else:
        yield from target.get(graph, keys)


def _run_there(plan: Plan, target: Target, in_order: bool) -> Iterator[pl.DataFrame | None]:
    """Run a plan on a cluster: give None when the last step has begun, and then the partitions."""
    with settled(plan, target) as last, last.running():
        futures = submit(last, target)
        yield None
        yield from _fetched(futures, in_order)


def _fetched(futures: list[Any], in_order: bool) -> Iterator[pl.DataFrame]:
    left = {future.key: future for future in futures}
    futures.clear()
    try:
        for key in list(left) if in_order else _as_they_come(left):
            part = _result(left[key])
            del left[key]  # let go of on the cluster
            yield part
    except BaseException:  # Ctrl-C, and a stream that is given up
        abandon(left.values())
        raise


def _as_they_come(futures: Mapping[Any, Any]) -> Iterator[Any]:
    from distributed import as_completed

    arriving = as_completed(list(futures.values()))
    while not arriving.is_empty():
        with aside():
            key = next(arriving).key
        yield key


def _result(future: Any) -> pl.DataFrame:
    with aside():
        return future.result()


@contextlib.contextmanager
def streamed(batches: Iterable[pl.DataFrame], schema: pl.Schema) -> Iterator[pl.LazyFrame]:
    """
    Give batches as a lazy frame that takes them one by one while it runs, once.

    Parameters
    ----------
    batches
        The batches.
    schema
        Their columns.

    Yields
    ------
    polars.LazyFrame
        An error of the batches is raised as it is when the block ends, not as Polars reports it.
    """
    failed: list[BaseException] = []

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        try:
            for batch in batches:
                frame = batch if predicate is None else batch.filter(predicate)
                yield frame if columns is None else frame.select(columns)
        except Exception as error:
            failed.append(error)
            raise

    try:
        yield register_io_source(read, schema=schema)
    except Exception:
        if failed:
            raise failed[0] from None
        raise


def _rechunked(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Give the same rows in frames of equal height, but for the last one."""
    kept: list[pl.DataFrame] = []
    for frame in frames:
        kept.append(frame)
        if sum(item.height for item in kept) < size:
            continue
        whole = pl.concat(kept)
        full = whole.height - whole.height % size
        yield from whole.head(full).iter_slices(size)
        kept = [whole.slice(full)] if full < whole.height else []
    if kept:
        yield pl.concat(kept)
