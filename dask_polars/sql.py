"""``SQLContext`` and ``sql``: queries in SQL over collections."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, Literal, overload

import polars as pl

from dask_polars.collection import LazyFrame
from dask_polars.delegation import unwrap


class SQLContext(pl.SQLContext):
    """
    Run queries in SQL over collections, and over all else that :class:`polars.SQLContext` takes.

    Parameters
    ----------
    frames : mapping, optional
        Collections and frames, by the names of their tables.
    register_globals : bool or int
        Whether to register the collections and frames in the variables of the caller; of a number, the most recent.
    eager : bool
        Whether :meth:`execute` computes the result.
    **named_frames
        Further frames.

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> lf = dp.from_polars(pl.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}), npartitions=2)
    >>> dp.SQLContext(t=lf).execute("SELECT k, SUM(v) AS v FROM t GROUP BY k ORDER BY k").collect().rows()
    [('a', 4), ('b', 2)]
    """

    def __init__(
        self,
        frames: Mapping[str, Any] | None = None,
        *,
        register_globals: bool | int = False,
        eager: bool = False,
        **named_frames: Any,
    ) -> None:
        super().__init__(eager=False)
        self._eager = eager
        if register_globals:
            limit = None if register_globals is True else int(register_globals)
            self.register_many(_variables_of_callers(limit))
        self.register_many(frames, **named_frames)

    def register(self, name: str, frame: Any) -> SQLContext:
        """
        Register a table.

        Parameters
        ----------
        name : str
            The name of the table.
        frame
            A collection, or what :meth:`polars.SQLContext.register` takes.

        Returns
        -------
        SQLContext
            Itself.
        """
        super().register(name, unwrap(frame))
        return self

    def register_globals(self, n: int | None = None, *, all_compatible: bool = True) -> SQLContext:
        """
        Register the collections and frames in the variables of the caller, under their names.

        Parameters
        ----------
        n : int, optional
            Only so many, the most recent.
        all_compatible : bool
            Whether frames of other libraries are registered too.

        Returns
        -------
        SQLContext
            Itself.
        """
        if all_compatible:
            super().register_globals(n, all_compatible=True)
        return self.register_many(_variables_of_callers(n))

    def execute(self, query: str, *, eager: bool | None = None) -> Any:
        """
        Run a query.

        Parameters
        ----------
        query : str
            The query.
        eager : bool, optional
            Whether to compute the result; as the context says, if not given.

        Returns
        -------
        LazyFrame or polars.DataFrame

        Raises
        ------
        polars.exceptions.PolarsError
            Where Polars does not understand the query, or a table is not known; some only once the query runs.
        """
        result = LazyFrame(super().execute(query, eager=False))
        return result.collect() if (self._eager if eager is None else eager) else result

    @classmethod
    def execute_global(cls, query: str, *, eager: bool = False) -> Any:
        """
        Run a query over the collections and frames in the variables of the caller.

        Parameters
        ----------
        query : str
            The query; its tables are the names of variables.
        eager : bool
            Whether to compute the result.

        Returns
        -------
        LazyFrame or polars.DataFrame
        """
        return cls(_variables_of_callers()).execute(query, eager=eager)


@overload
def sql(query: str, *, eager: Literal[False] = False) -> LazyFrame: ...


@overload
def sql(query: str, *, eager: Literal[True]) -> pl.DataFrame: ...


def sql(query: str, *, eager: bool = False) -> LazyFrame | pl.DataFrame:
    """
    Run a query in SQL over the collections and frames in the variables of the caller.

    Parameters
    ----------
    query : str
        The query; its tables are the names of variables.
    eager : bool
        Whether to compute the result.

    Returns
    -------
    LazyFrame or polars.DataFrame

    Raises
    ------
    polars.exceptions.PolarsError
        Where Polars does not understand the query, or a table is not known.

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> people = dp.from_polars(pl.DataFrame({"name": ["ann", "bob"], "age": [30, 20]}), npartitions=2)
    >>> dp.sql("SELECT name FROM people WHERE age > 25").collect().rows()
    [('ann',)]
    """
    result: LazyFrame | pl.DataFrame = SQLContext.execute_global(query, eager=eager)
    return result


def _variables_of_callers(limit: int | None = None) -> dict[str, Any]:
    """Find collections and frames in the variables of whoever called this module, the nearest ones first."""
    found: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            for variables in (frame.f_locals, frame.f_globals):
                _add_tables(found, variables)
        frame = frame.f_back
    names: Collection[str] = list(found) if limit is None else list(found)[:limit]
    return {name: found[name] for name in names}


def _add_tables(found: dict[str, Any], variables: Mapping[str, Any]) -> None:
    for name, value in reversed(list(variables.items())):
        if isinstance(value, (LazyFrame, pl.LazyFrame, pl.DataFrame, pl.Series)):
            found.setdefault(name, value)


__all__ = ["SQLContext", "sql"]
