"""The process of a cluster: scheduler and nannies, and workers below it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.harness.processes import be_killed_first, serve


def main() -> None:
    """Start a cluster, and answer the question for its address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    be_killed_first()

    from distributed import LocalCluster

    import dask_polars  # noqa: F401  (its workers have their share of the threads)

    with LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        memory_limit=options.memory,
        dashboard_address=None,
        local_directory=str(options.scratch),
    ) as cluster:

        def answer(_: Any) -> str:
            return cluster.scheduler_address

        serve(options.fd, answer)


if __name__ == "__main__":
    main()
