"""``LazyGroupBy``: what ``group_by`` gives, until it is aggregated."""

from __future__ import annotations

from polars.lazyframe.group_by import LazyGroupBy as PolarsLazyGroupBy

from dask_polars.delegation import delegate
from dask_polars.methods import LazyGroupByMethods


@delegate(PolarsLazyGroupBy)
class LazyGroupBy(LazyGroupByMethods):
    """
    A grouped collection, with the methods of :class:`polars.lazyframe.group_by.LazyGroupBy`.

    Parameters
    ----------
    group_by : polars.lazyframe.group_by.LazyGroupBy
        What Polars gave.
    """

    def __init__(self, group_by: PolarsLazyGroupBy) -> None:
        self._lf = group_by
