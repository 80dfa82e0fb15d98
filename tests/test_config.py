"""The name space ``dask-polars`` of the configuration of Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.config import Options, defaults

MIB = 2**20


def test_defaults() -> None:
    assert Options.current() == Options(
        fallback="warn",
        partition_size=128 * MIB,
        max_rows_per_partition=None,
        broadcast_limit=64 * MIB,
        shuffle_method="auto",
        split_every=8,
        count_keys_above=1024 * MIB,
        adaptive=True,
        overwrite=False,
    )
    assert dask.config.get("dask-polars.partition-size") == "128 MiB"
    assert set(defaults()["dask-polars"]) == {name.replace("_", "-") for name in Options.__dataclass_fields__}


def test_set() -> None:
    with dask.config.set({"dask-polars.partition-size": "1 kiB", "dask_polars.split_every": "4"}):
        assert Options.current().partition_size == 1024
        assert Options.current().split_every == 4
    with dask.config.set({"dask-polars": {"fallback": "raise"}}):
        assert Options.current().fallback == "raise"
        assert Options.current().split_every == 8
    assert Options.current() == Options.current()


def test_overrides() -> None:
    with dask.config.set({"dask-polars.fallback": "raise"}):
        assert Options.current(fallback="silent").fallback == "silent"
        assert Options.current(fallback=None).fallback == "raise"
        assert Options.current(partition_size=10).partition_size == 10
        assert Options.current(broadcast_limit=0).broadcast_limit == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fallback", "loud"),
        ("fallback", 1),
        ("partition-size", 0),
        ("partition-size", "-1 MiB"),
        ("partition-size", "many"),
        ("max-rows-per-partition", 0),
        ("max-rows-per-partition", "x"),
        ("broadcast-limit", "few"),
        ("broadcast-limit", -1),
        ("shuffle-method", "disk"),
        ("split-every", 1),
        ("split-every", "x"),
    ],
)
def test_wrong_values(name: str, value: Any) -> None:
    with dask.config.set({f"dask-polars.{name}": value}), pytest.raises(ValueError, match=name):
        Options.current()
    with pytest.raises(ValueError, match=name):
        Options.current(**{name.replace("-", "_"): value})


def test_a_name_that_is_no_option() -> None:
    with (
        dask.config.set({"dask_polars.fallbak": "raise"}),
        pytest.warns(UserWarning, match=r"dask-polars.fallbak is no option of dask_polars: did you mean fallback\?"),
    ):
        Options.current()


def test_environment() -> None:
    code = "from dask_polars.config import Options; o = Options.current(); print(o.partition_size, o.fallback, o.split_every)"
    given = {"DASK_DASK_POLARS__PARTITION_SIZE": "2 MiB", "DASK_DASK_POLARS__FALLBACK": "silent"}
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [str(2 * MIB), "silent", "8"]


def test_the_configuration_decides() -> None:
    lf = dp.from_polars(pl.DataFrame({"v": range(100)}))
    assert lf.npartitions == 1
    with dask.config.set({"dask-polars.max-rows-per-partition": 10}):
        assert lf.npartitions == 10
    with dask.config.set({"dask-polars.partition-size": 200}):
        assert lf.npartitions == 4
    with dask.config.set({"dask-polars.fallback": "raise", "dask-polars.max-rows-per-partition": 10}):
        with pytest.raises(dp.FallbackError):
            lf.select(pl.all().shuffle()).collect(scheduler="sync")
        with pytest.raises(dp.FallbackError):
            lf.select(pl.all().shuffle()).compute(scheduler="sync")
