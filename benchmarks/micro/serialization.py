"""A frame as a message of Dask, and back: what every frame that goes from worker to worker, or to disk, costs."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl
from distributed.protocol import Serialize, dumps, loads
from distributed.utils import nbytes

from benchmarks.micro.measuring import Row, Setting, row, take_turns

NAME = "serialization"
HEIGHT = 2_000_000


def measure(setting: Setting) -> list[Row]:
    """Write and read frames of Polars, and the same ones of pandas with text as Arrow columns."""
    from dask_polars import backend

    backend.enable_wire()
    rows = []
    for case, frame in frames().items():
        apis = {"dask_polars": frame, "dask.dataframe": as_pandas(frame)}
        calls = {api: _both_ways(value) for api, value in apis.items()}
        size = frame.estimated_size()
        for api, took in take_turns(calls, max(setting.repeat, 5)).items():
            rows.append(
                row(NAME, case, "to a message and back", api, [size / seconds / 1e9 for seconds in took], "GB/s")
            )
        for api, value in apis.items():
            sent = sum(map(nbytes, dumps({"data": Serialize(value)})))
            rows.append(row(NAME, case, "message", api, [sent], "bytes"))
    return rows


def frames() -> dict[str, pl.DataFrame]:
    """Make frames of numbers, of text, and a small one."""
    random = np.random.default_rng(1)
    numbers = pl.DataFrame({f"v{i}": random.standard_normal(HEIGHT) for i in range(5)})
    keys = pl.DataFrame({"k": random.integers(1, 10_000, HEIGHT)})
    text = keys.select(
        short=pl.lit("id") + pl.col("k").cast(pl.String),
        long=pl.lit("a text that is too long to be part of its view: ") + pl.col("k").cast(pl.String),
    )
    return {"numbers": numbers, "text": text, "1000 rows": numbers.head(1000).with_columns(text.head(1000))}


def as_pandas(frame: pl.DataFrame) -> Any:
    """Give the frame as dask.dataframe has it: text as Arrow columns."""
    import pandas as pd
    import pyarrow as pa

    types = {pa.string(): pd.StringDtype("pyarrow"), pa.large_string(): pd.StringDtype("pyarrow")}
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).to_pandas(types_mapper=types.get)


def _both_ways(value: Any) -> Any:
    """Write a message, put it into one piece of memory as the network does, and read it."""

    def call() -> None:
        frames = dumps({"data": Serialize(value)})
        received = memoryview(b"".join(frames))
        ends = list(accumulate(map(nbytes, frames)))
        loads([received[start:end] for start, end in zip([0, *ends], ends, strict=False)])

    return call
