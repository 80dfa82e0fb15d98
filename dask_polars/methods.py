"""
The methods of Polars on a collection, for editors and type checkers: methods.pyi declares them.

There is nothing here at run time, when :mod:`dask_polars.delegation` makes the methods. ``python -m dask_polars.stubs``
writes the declarations from the source of the installed Polars; a test compares.
"""


class LazyFrameMethods:
    """The methods of :class:`polars.LazyFrame` that :class:`dask_polars.LazyFrame` does not define itself."""


class LazyGroupByMethods:
    """The methods of :class:`polars.lazyframe.group_by.LazyGroupBy`."""
