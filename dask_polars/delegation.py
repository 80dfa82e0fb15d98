"""Methods of Polars' classes on ours, made by rule."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from polars.lazyframe.group_by import LazyGroupBy as PolarsLazyGroupBy

# Arguments that are other frames; a frame of Polars is taken there as a lazy one.
_FRAME_ARGUMENTS = ("other", "others")
# Class methods of Polars that make lazy frames, and what only its own code calls.
_SKIPPED = ("deserialize", "from_lazyframe_resolver")


def delegate(polars_class: type) -> Callable[[type], type]:
    """
    Give a class the public methods and properties of a class of Polars that it does not define itself.

    Parameters
    ----------
    polars_class
        The class whose instances the instances of the decorated class hold, as ``_lf``.

    Returns
    -------
    callable
        A decorator of classes.
    """

    def decorate(cls: type) -> type:
        for name in dir(polars_class):
            own = name in vars(cls)
            if name.startswith("_") or name in _SKIPPED:
                continue
            member = inspect.getattr_static(polars_class, name)
            if own:
                _take_documentation(vars(cls)[name], member)
            elif isinstance(member, property):
                setattr(cls, name, _property(name, member))
            elif isinstance(member, (classmethod, staticmethod)):
                continue
            elif callable(member):
                setattr(cls, name, _method(name, member))
        return cls

    return decorate


def _take_documentation(ours: Any, theirs: Any) -> None:
    if callable(ours) and not ours.__doc__:
        ours.__doc__ = theirs.__doc__


def _property(name: str, member: property) -> property:
    def get(self: Any) -> Any:
        return wrap(getattr(self._lf, name))

    return property(get, doc=member.__doc__)


def _method(name: str, member: Callable[..., Any]) -> Callable[..., Any]:
    try:
        signature = inspect.signature(member)
    except (TypeError, ValueError):
        signature = None
    frame_names = set(_FRAME_ARGUMENTS) & set(signature.parameters if signature else ())

    @functools.wraps(member)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        lead = args
        if frame_names and lead and isinstance(lead[0], pl.DataFrame):
            lead = (lead[0].lazy(), *lead[1:])
        named = {
            key: value.lazy() if key in frame_names and isinstance(value, pl.DataFrame) else value
            for key, value in kwargs.items()
        }
        result = getattr(self._lf, name)(*unwrap(lead), **unwrap(named))
        return wrap(result)

    return method


def unwrap(value: Any) -> Any:
    """Replace collections in arguments by the lazy frames that they hold."""
    from dask_polars.collection import LazyFrame

    if isinstance(value, LazyFrame):
        return value._lf
    if type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    if type(value) is dict:
        return {key: unwrap(item) for key, item in value.items()}
    return value


def wrap(value: Any) -> Any:
    """Make a collection of a lazy frame; what is no lazy frame stays what it is."""
    from dask_polars.collection import LazyFrame
    from dask_polars.group_by import LazyGroupBy

    if isinstance(value, pl.LazyFrame):
        return LazyFrame(value)
    if isinstance(value, PolarsLazyGroupBy):
        return LazyGroupBy(value)
    return value


__all__ = ["Mapping", "delegate", "unwrap", "wrap"]
