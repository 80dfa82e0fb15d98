"""The data sets of the TPC-H tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.tpch.data import generate


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary directory of this run of pytest, the same one in all processes of pytest-xdist."""
    directory = tmp_path_factory.getbasetemp()
    return directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory


@pytest.fixture(scope="session")
def small_data(shared_directory: Path) -> Path:
    """TPC-H at scale 0.01, which is 60,000 rows of lineitem, in three files a table."""
    return generate(shared_directory / "tpch-0.01", 0.01, files_per_table=3)


@pytest.fixture(scope="session")
def tiny_data(shared_directory: Path) -> Path:
    """TPC-H at scale 0.001, in many files of few rows: several queries find nothing."""
    return generate(shared_directory / "tpch-0.001", 0.001, files_per_table=10)
