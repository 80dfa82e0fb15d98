"""Methods of Polars' classes on ours, made by rule."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import polars as pl
from polars.lazyframe.group_by import LazyGroupBy as PolarsLazyGroupBy

from dask_polars.io.targets import as_target
from dask_polars.notes import with_note

# Methods whose code in Polars calls only public methods of the frame, to collect it or to pass it on: it is called with
# ours, so that what is collected is collected by Dask.
_ON_OURS = ("describe", "pipe")
# Methods that have an engine, but run nothing.
_NOT_RUNNING = ("explain", "show_graph")
# Methods that write files, with the ``storage_options`` of an object store, which users of fsspec write otherwise.
_TO_FILES = ("sink_csv", "sink_ipc", "sink_ndjson", "sink_parquet")

# Pyright, and so the editor, knows of a decorated class what the decorator says that it gives.
_Class = TypeVar("_Class")


def delegate(polars_class: type) -> Callable[[type[_Class]], type[_Class]]:
    """
    Give a class the public methods and properties of a class of Polars that it does not define itself.

    Where Polars takes a lazy frame, so do they, and a collection or a frame. Lazy frames that Polars gives become
    collections. What runs a query, which is what takes an engine, runs it with :class:`dask_polars.DaskEngine` unless
    it is told otherwise.

    Parameters
    ----------
    polars_class
        The class whose instances the instances of the decorated class hold, as ``_lf``.

    Returns
    -------
    callable
        A decorator of classes.
    """

    def decorate(cls: type[_Class]) -> type[_Class]:
        for name in dir(polars_class):
            if name.startswith("_"):
                continue
            member = inspect.getattr_static(polars_class, name)
            if name in vars(cls):
                _take_documentation(vars(cls)[name], member, polars_class)
            elif isinstance(member, property):
                setattr(cls, name, _property(name, member))
            elif isinstance(member, (classmethod, staticmethod)):
                setattr(cls, name, staticmethod(_constructor(getattr(polars_class, name))))
            elif inspect.isfunction(member):
                setattr(cls, name, _method(name, member))
                _take_documentation(vars(cls)[name], member, polars_class)
        return cls

    return decorate


def _take_documentation(ours: Any, theirs: Any, polars_class: type) -> None:
    if callable(ours) and (not ours.__doc__ or ours.__doc__ == theirs.__doc__):
        ours.__doc__ = with_note(theirs.__doc__, polars_class.__name__, theirs.__name__)


def _property(name: str, member: property) -> property:
    def get(self: Any) -> Any:
        return wrap(getattr(self._lf, name))

    return property(get, doc=member.__doc__)


def _constructor(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def construct(*args: Any, **kwargs: Any) -> Any:
        return wrap(function(*args, **kwargs))

    return construct


def _method(name: str, member: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(member).parameters.values())[1:]
    frames = {item.name for item in parameters if _takes_frame(item)}
    places = [index for index, item in enumerate(parameters) if item.name in frames]
    functions = name == "pipe_with_schema"
    runs = name not in _NOT_RUNNING and any(item.name == "engine" and item.default == "auto" for item in parameters)
    # The engines of Polars' cloud are not ours to choose.
    runs = runs and name != "remote"

    def prepared(value: Any) -> Any:
        if functions:
            return _OnCollections(value) if callable(value) else value
        return unwrap(value.lazy() if isinstance(value, pl.DataFrame) else value)

    @functools.wraps(member)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if name in _ON_OURS:
            return member(self, *args, **kwargs)
        if name in _TO_FILES:
            from dask_polars.io.options import translated

            kwargs = translated(args, kwargs)
        if runs and kwargs.get("engine", "auto") == "auto":
            from dask_polars.engine import DaskEngine

            kwargs["engine"] = DaskEngine()
        lead = [prepared(item) if functions or index in places else unwrap(item) for index, item in enumerate(args)]
        named = {key: prepared(item) if functions or key in frames else unwrap(item) for key, item in kwargs.items()}
        if name in _TO_FILES and lead:
            lead[0] = as_target(lead[0])
        elif name in _TO_FILES and "path" in named:
            named["path"] = as_target(named["path"])
        return wrap(getattr(self._lf, name)(*lead, **named))

    return method


def _takes_frame(parameter: inspect.Parameter) -> bool:
    """Say whether an argument is another lazy frame, by its annotation."""
    annotation = str(parameter.annotation)
    return "LazyFrame" in annotation and "Callable" not in annotation


class _OnCollections:
    """A function of lazy frames, to be given collections in their place."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, lf: pl.LazyFrame, *args: Any) -> Any:
        return unwrap(self.function(wrap(lf), *args))


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
