"""Functions of several collections: ``concat`` and ``collect_all``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from dask_polars.collection import LazyFrame
from dask_polars.config import Options
from dask_polars.delegation import unwrap
from dask_polars.execution import choose_target, run_queries


def concat(items: Iterable[LazyFrame | pl.LazyFrame | pl.DataFrame], **kwargs: Any) -> LazyFrame:
    """
    Put frames below or beside each other.

    Parameters
    ----------
    items
        Collections, lazy frames or frames.
    **kwargs
        As :func:`polars.concat` takes them: ``how``, ``rechunk``, ``parallel``, …

    Returns
    -------
    LazyFrame

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> one = dp.from_polars(pl.DataFrame({"v": [1]}))
    >>> dp.concat([one, one]).collect()["v"].to_list()
    [1, 1]
    """
    frames = [unwrap(item.lazy() if isinstance(item, pl.DataFrame) else item) for item in items]
    return LazyFrame(pl.concat(frames, **kwargs))


def collect_all(lazy_frames: Any, *, scheduler: Any = None, **kwargs: Any) -> list[pl.DataFrame]:
    """
    Compute several collections at once; what they have in common is computed once.

    Parameters
    ----------
    lazy_frames : sequence of LazyFrame or polars.LazyFrame
        The collections.
    scheduler : str, callable or distributed.Client, optional
        The scheduler of Dask to use.
    **kwargs
        Options, as ``fallback="raise"``; see :class:`dask_polars.DaskEngine`.

    Returns
    -------
    list of polars.DataFrame

    Examples
    --------
    >>> import dask_polars as dp, polars as pl
    >>> lf = dp.from_polars(pl.DataFrame({"v": [1, 2, 3]}))
    >>> [frame.item() for frame in dp.collect_all([lf.select(pl.len()), lf.select(pl.col("v").sum())])]
    [3, 6]
    """
    queries = [LazyFrame(item).to_polars() for item in lazy_frames]
    return run_queries(queries, choose_target(scheduler=scheduler), Options.current(**kwargs))
