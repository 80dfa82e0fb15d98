"""What a run was made on and with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("dask-polars", "polars", "dask", "distributed", "pandas", "pyarrow", "duckdb", "numpy")


def pin(cores: int) -> list[int]:
    """Have this process, and all that it will start, run on the first cores only; give their numbers.

    Raises
    ------
    ValueError
        If there are not as many.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        return list(range(cores))
    there = sorted(os.sched_getaffinity(0))
    if len(there) < cores:
        raise ValueError(f"{cores} cores are wanted, {len(there)} are there")
    os.sched_setaffinity(0, there[:cores])
    return there[:cores]


def describe(cores: Sequence[int]) -> dict[str, Any]:
    """Give the machine and the versions, as JSON has them."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _processor(),
        "cores": list(cores),
        "cores of the machine": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "load": os.getloadavg()[0],
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def share_of_memory(workers: int) -> int:
    """Give the bytes of each of some workers that have a third of the memory together.

    The cluster is not alone: the other engines are there at the same time, and keep some memory between their queries.
    """
    return psutil.virtual_memory().total // 3 // workers


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
