"""
Plans as expressions of dask.dataframe.

This is the only module that knows the expressions of dask.dataframe. It is imported when a collection is made one of
dask.dataframe, since it needs pandas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dask._task_spec import Task, TaskRef
from dask.dataframe.dask_expr._collection import new_collection
from dask.dataframe.dask_expr._expr import Blockwise, Expr, PartitionsFiltered
from dask.dataframe.dask_expr._reductions import Len
from dask.dataframe.dask_expr.io.io import BlockwiseIO

from dask_polars.io.pandas_frames import ToPandas, pandas_meta
from dask_polars.plan.reread import cut_of, is_cheap, leaf_kind


@dataclass(frozen=True, eq=False)
class Query:
    """
    What an expression reads: a collection, and the plans of what was asked of it.

    Parameters
    ----------
    collection
        A :class:`dask_polars.LazyFrame`.
    """

    collection: Any
    _plans: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __dask_tokenize__(self) -> Any:
        return self.collection.__dask_tokenize__()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Query, (self.collection,))

    def plan(self, columns: list[str], partitions: tuple[int, ...] | None) -> Expr:
        """
        Give the expression that computes some columns of some partitions.

        It has all columns where not to compute the others would mean to compute something twice, which takes time, and
        could give the rows in another order.
        """
        key = (tuple(columns), partitions)
        if key not in self._plans:
            self._plans[key] = self._plan(columns, partitions)
        return self._plans[key]

    def _plan(self, columns: list[str], partitions: tuple[int, ...] | None) -> Expr:
        found = self.collection
        if columns != list(found.collect_schema()) and self._is_read_again():
            fewer = found.select(columns or list(found.collect_schema())[:1])
            # Of fewer columns, partitions may be cut otherwise, and then do not fit beside the others.
            same = cut_of(fewer._plan().roots[0]) == cut_of(found._plan().roots[0])
            found = fewer if same else found
        return (found if partitions is None else found.partitions[list(partitions)]).expr

    def _is_read_again(self) -> bool:
        return leaf_kind(self.collection.to_polars()) is not None and is_cheap(self.collection._plan().roots[0])


class PolarsPartitions(PartitionsFiltered, BlockwiseIO):
    """
    The partitions of a collection of Polars as frames of pandas.

    The optimizer of dask.dataframe tells it the columns and partitions that are needed; it then becomes
    :class:`PandasOfPlan` over a plan of these.
    """

    _parameters = ["query", "backend", "index_column", "columns", "_partitions"]
    _defaults = {"columns": None, "_partitions": None}
    _absorb_projections = True

    @property
    def _convert(self) -> ToPandas:
        columns = self.operand("columns")
        return ToPandas(
            self.operand("backend"), self.operand("index_column"), None if columns is None else tuple(columns)
        )

    @cached_property
    def _meta(self) -> Any:
        return pandas_meta(self.operand("query").collection.collect_schema(), self._convert)

    @property
    def columns(self) -> list[str]:
        return list(self._meta.columns)

    def _divisions(self) -> tuple[None, ...]:
        return (None,) * (self.operand("query").collection.npartitions + 1)

    def _simplify_up(self, parent: Expr, dependents: Any) -> Expr | None:
        if isinstance(parent, Len) and self.columns:
            return Len(self.substitute_parameters({"columns": []}))
        return super()._simplify_up(parent, dependents)

    def _lower(self) -> Expr:
        query, chosen = self.operand("query"), self.operand("_partitions")
        needed = self._convert.needed(list(query.collection.collect_schema()))
        plan = query.plan(needed, None if chosen is None else tuple(chosen))
        return PandasOfPlan(plan, self._convert, self._meta)


class PandasOfPlan(Blockwise):
    """Each partition of a plan as a frame of pandas."""

    _parameters = ["plan", "convert", "meta"]

    @cached_property
    def _meta(self) -> Any:
        return self.operand("meta")

    def _divisions(self) -> tuple[None, ...]:
        return (None,) * (self.operand("plan").npartitions + 1)

    def _broadcast_dep(self, dep: Expr) -> bool:
        return False

    def _task(self, name: Any, index: int) -> Task:
        return Task(name, self.operand("convert"), TaskRef((self.operand("plan")._name, index)))


def to_dataframe(collection: Any, backend: str, index: str | None) -> Any:
    """Make a collection of dask.dataframe."""
    return new_collection(PolarsPartitions(Query(collection), backend, index))


__all__ = ["to_dataframe"]
