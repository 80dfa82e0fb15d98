"""Partitions of a collection: picking them, and functions that are called with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import polars as pl

from dask_polars.io.sources import PickPartitions

if TYPE_CHECKING:
    from dask_polars.dask_collection import DaskCollection

Frame = TypeVar("Frame", bound="DaskCollection")


class Partitions(Generic[Frame]):
    """The partitions of a collection, to pick from."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return self.frame.npartitions

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, item: int | slice | Sequence[int]) -> Frame:
        everything = range(len(self))
        if isinstance(item, slice):
            numbers = tuple(everything[item])
        else:
            numbers = tuple(everything[index] for index in (item if isinstance(item, Sequence) else [item]))
        if not numbers:
            raise IndexError("no partition is picked")
        columns = tuple(self.frame._lf.collect_schema().items())
        return self.frame._derived(PickPartitions(numbers), columns, ("partitions", numbers))


class Call:
    """A function of the user's, with its arguments, and the columns that it has to give."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        columns: tuple[tuple[str, Any], ...] | None,
    ) -> None:
        self.function, self.args, self.kwargs, self.columns = function, args, kwargs, columns

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame | pl.LazyFrame:
        out = self.function(frame, *self.args, **self.kwargs)
        if not isinstance(out, (pl.DataFrame, pl.LazyFrame)):
            raise TypeError(f"the function of map_partitions must give a frame, not a {type(out).__name__}")
        given = tuple(out.lazy().collect_schema().items())
        if self.columns is not None and given != self.columns:
            said, found = dict(self.columns), dict(given)
            raise pl.exceptions.SchemaError(f"the function of map_partitions gave {found}, its schema says {said}")
        return out
