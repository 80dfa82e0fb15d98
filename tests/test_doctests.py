"""The examples in the docstrings run, and there is one for everything public."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

import dask_polars as dp


def modules() -> Iterator[str]:
    for item in pkgutil.walk_packages(dp.__path__, "dask_polars."):
        yield item.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for example in finder.find(module, name):
        if not from_polars(example.docstring):
            output: list[str] = []
            runner.run(example, out=output.append)
            assert runner.failures == 0, "".join(output)


def from_polars(text: str) -> bool:
    """Say whether a docstring is one of Polars', whose examples its own tests run."""
    return text in documentation_of_polars()


def documentation_of_polars() -> set[str | None]:
    if not _KNOWN:
        classes: list[Any] = [pl.LazyFrame, importlib.import_module("polars.lazyframe.group_by").LazyGroupBy]
        _KNOWN.update(getattr(cls, name).__doc__ for cls in classes for name in dir(cls) if not name.startswith("_"))
        _KNOWN.add(pl.scan_parquet.__doc__)
    return _KNOWN


_KNOWN: set[str | None] = set()


@pytest.mark.parametrize("name", dp.__all__)
def test_everything_public_is_documented(name: str) -> None:
    thing = getattr(dp, name)
    assert thing.__doc__
    members = [thing] if inspect.isfunction(thing) else [member for key, member in vars(thing).items() if key[0] != "_"]
    for member in members:
        if callable(member) or isinstance(member, property):
            assert (member.fget if isinstance(member, property) else member).__doc__ or member.__doc__
