"""How the tests of scans cut them, and the stage that a scan becomes."""

from __future__ import annotations

from typing import Any

import polars as pl

from dask_polars.config import Options
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import ScanStage, walk_stages

LAYOUTS = {"rows": {"dask-polars.max-rows-per-partition": 4}, "bytes": {"dask-polars.partition-size": 200}, "whole": {}}


def scan_of(lf: Any, **options: Any) -> ScanStage:
    plan = plan_queries([lf if isinstance(lf, pl.LazyFrame) else lf.to_polars()], Options.current(**options))
    (scan,) = (stage for stage in walk_stages(plan.roots) if isinstance(stage, ScanStage))
    return scan
