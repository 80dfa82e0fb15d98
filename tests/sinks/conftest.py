"""Fixtures that the tests of sinks share."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest


@pytest.fixture
def nothing_falls_back() -> Iterator[None]:
    with dask.config.set({"dask-polars.fallback": "raise"}):
        yield


@pytest.fixture(params=["here", "sync", "threads"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[None]:
    """No scheduler at all, and those of Dask in this process."""
    with dask.config.set({} if request.param == "here" else {"scheduler": request.param}):
        yield


@pytest.fixture
def threads() -> Iterator[None]:
    with dask.config.set(scheduler="threads"):
        yield
