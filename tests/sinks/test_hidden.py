"""What a sink writes before it is complete is no data to anybody else, and goes away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.dsl.sinks import hive_directory
from dask_polars.io import commit as commits
from dask_polars.io.staging import is_staging
from dask_polars.io.targets import Target
from tests.helpers import RAISED, assert_empty_soon

ROWS = pl.DataFrame({"k": ["a", "b", "a", None], "v": range(4)})
TARGETS: dict[str, Callable[[str], Any]] = {
    "file": lambda path: f"{path}/p=2.parquet",
    "directory": lambda path: f"{path}/p=2/",
    "parts": lambda path: pl.PartitionBy(f"{path}/p=2", key="k"),
}
ENDINGS = {"parquet": "parquet", "ipc": "ipc", "csv": "csv", "ndjson": "jsonl"}


def files_in(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ENDINGS)
def test_no_pattern_for_data_matches_what_is_staged(kind: str, target: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(part: pl.DataFrame) -> pl.DataFrame:
        seen.extend(files_in(tmp_path))
        return part

    lf = dp.from_polars(ROWS, npartitions=4).map_partitions(look, schema=ROWS.schema)
    with dask.config.set(scheduler="sync"):
        getattr(lf, f"sink_{kind}")(TARGETS[target](str(tmp_path)))
    written = {name for name in seen if not name.endswith(("/open", "/made"))}
    assert written
    assert all(name.endswith(".staged") and is_staging(name) and "=" not in name for name in written)
    assert not any(is_staging(name) for name in files_in(tmp_path))


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_compressed_text_is_staged_too(kind: str, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=4)
    with dask.config.set(scheduler="sync"):
        getattr(lf, f"sink_{kind}")(pl.PartitionBy(tmp_path / "out", key="k"), compression="gzip")
    names = [f"k={key}" for key in ("__HIVE_DEFAULT_PARTITION__", "a", "a", "b")]
    numbers = ["00000000", "00000000", "00000001", "00000000"]
    expected = [f"{name}/{number}.{ENDINGS[kind]}.gz" for name, number in zip(names, numbers, strict=True)]
    assert files_in(tmp_path / "out") == expected


def test_a_reader_of_the_parent_sees_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    ROWS.write_parquet(tmp_path / "x" / "f.parquet")
    seen: list[int] = []

    def look(part: pl.DataFrame) -> pl.DataFrame:
        seen.append(pl.scan_parquet(tmp_path / "**" / "*.parquet").collect(engine="streaming").height)
        return part

    lf = dp.from_polars(ROWS, npartitions=4).map_partitions(look, schema=ROWS.schema)
    with dask.config.set(scheduler="sync"):
        lf.sink_parquet(f"{tmp_path}/z/")
    assert seen == [4] * 4
    assert pl.scan_parquet(tmp_path / "**" / "*.parquet").collect().height == 8


# ---------------------------------------------------------------- the names of hive directories


def every_key() -> list[pl.DataFrame]:
    from tests.every_type import TYPES

    text = [*map(chr, range(1, 128)), "", ".", "..", "a b", "ü", "日本", "%2F", None]
    return [pl.DataFrame({"k": text}), *(TYPES.select(k=name).unique() for name in TYPES.columns)]


@pytest.mark.parametrize("keys", every_key(), ids=lambda keys: str(keys.schema["k"]))
def test_directories_are_named_as_polars_names_them(keys: pl.DataFrame, tmp_path: Path) -> None:
    """A contract: Polars names them where it names the files, which it does not here."""
    if keys.schema["k"] in (pl.List, pl.Array, pl.Binary, pl.Duration):
        pytest.skip("Polars panics, for all values or for some")
    keys.lazy().sink_ndjson(pl.PartitionBy(tmp_path / "out", key="k"), engine="streaming")
    expected = {os.path.normpath(name.rpartition("/")[0]) for name in files_in(tmp_path / "out")}
    assert {hive_directory(keys[index]) for index in range(keys.height)} == expected


def test_names_of_columns_and_no_columns() -> None:
    assert hive_directory(pl.DataFrame({"a=b": [1.5], "c": [None]})) == "a=b=1.5/c=__HIVE_DEFAULT_PARTITION__"
    assert hive_directory(pl.DataFrame(height=1)) == ""


@pytest.mark.parametrize("keys", [[[1]], [b"\xff"]], ids=["list", "bytes"])
def test_keys_that_are_no_text(keys: list[Any], tmp_path: Path) -> None:
    with dask.config.set(scheduler="sync"), pytest.raises(pl.exceptions.PolarsError):
        dp.from_polars(pl.DataFrame({"k": keys * 2, "v": [1, 2]}), npartitions=2).sink_csv(
            pl.PartitionBy(tmp_path / "out", key="k")
        )
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- failures


def failing(rows: pl.DataFrame = ROWS) -> dp.LazyFrame:
    """The last partition of four fails while it is written, after the others."""
    return dp.from_polars(rows, npartitions=4).with_columns(
        v=pl.col("v").map_elements(lambda value: value // (value - 3) + len([value]), return_dtype=pl.Int64)
    )


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_lazy_sink_that_fails_leaves_nothing(target: str, scheduler: str, tmp_path: Path) -> None:
    for run in (dask.compute, dask.persist):
        sink = failing().sink_parquet(TARGETS[target](str(tmp_path)), lazy=True)
        with pytest.raises(RAISED, match="division"):
            run(sink, scheduler=scheduler)
        for _ in range(30):  # tasks that still run find out, and remove what they wrote
            if not os.listdir(tmp_path):
                break
            time.sleep(0.1)
        assert not os.listdir(tmp_path)


def test_a_commit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    parts = pl.PartitionBy(tmp_path / "out", key="k", file_path_provider=lambda args: "../x")
    with pytest.raises(ValueError, match="file_path_provider"):
        dask.compute(dp.from_polars(ROWS, npartitions=2).sink_csv(parts, lazy=True), scheduler="sync")
    assert not os.listdir(tmp_path)


@pytest.mark.cluster
def test_lazy_sinks_that_fail_on_a_cluster(client: Any, tmp_path: Path) -> None:
    for target in TARGETS.values():
        sink = failing().sink_parquet(target(str(tmp_path)), lazy=True)
        with pytest.raises(RAISED, match="division"):
            dask.compute(sink)
        sink = failing().sink_parquet(target(str(tmp_path)), lazy=True)
        with pytest.raises(RAISED, match="division"):
            client.compute(sink).result()
    assert_empty_soon(tmp_path)


@pytest.mark.cluster
def test_tasks_that_are_repeated_find_the_files_of_the_others(client: Any, tmp_path: Path) -> None:
    mark = tmp_path / "failed"

    def fail_once(value: int) -> int:
        if value == 3 and not mark.exists():
            time.sleep(0.5)  # the others are written
            mark.touch()
            raise ZeroDivisionError
        return value

    lf = dp.from_polars(ROWS, npartitions=4)
    sink = lf.with_columns(pl.col("v").map_elements(fail_once, return_dtype=pl.Int64)).sink_parquet(
        f"{tmp_path}/out/", lazy=True
    )
    client.compute(sink, retries=2).result()
    assert mark.exists()
    assert_frame_equal(pl.read_parquet(tmp_path / "out"), ROWS)


def test_what_a_killed_run_left_is_removed_by_a_later_one(tmp_path: Path) -> None:
    old, young = (Target(f"{tmp_path}/out", directory=True, run=run) for run in ("old", "young"))
    other = Target(f"{tmp_path}/out2", directory=True, run="old")
    for target in (old, young, other):
        commits.begin(target)
        Path(target.staged("part.staged")).write_text("x")
    long_ago = time.time() - 2 * 24 * 3600
    for target in (old, other):
        for name in (target.staged("part.staged"), target.staged("open"), target.staging):
            os.utime(name, (long_ago, long_ago))
    os.utime(young.staged("open"), (long_ago, long_ago))
    with dask.config.set(scheduler="sync"):
        dp.from_polars(ROWS, npartitions=2).sink_parquet(f"{tmp_path}/out/")
    assert sorted(os.listdir(tmp_path)) == sorted(["out", Path(young.staging).name, Path(other.staging).name])


def test_what_a_killed_run_was_to_replace_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    killed = Target(f"{tmp_path}/out", directory=True, run="killed", overwrite=True)
    commits.begin(killed)
    os.rename(tmp_path / "out", killed.staged("old-token"))
    long_ago = time.time() - 2 * 24 * 3600
    for name in (killed.staged("old-token/old"), killed.staged("old-token"), killed.staged("open"), killed.staging):
        os.utime(name, (long_ago, long_ago))
    commits.begin(Target(f"{tmp_path}/out", directory=True, run="next"))
    assert files_in(tmp_path) == [".out.dask-polars-next/open", "out/old"]


# ---------------------------------------------------------------- directories that were made


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("how", ["at once", "lazy"])
def test_directories_that_a_failed_sink_made_are_removed(target: str, how: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    where = TARGETS[target](f"{tmp_path}/there/a/b")
    sink = failing().sink_parquet(where, mkdir=True, lazy=True)
    with dask.config.set(scheduler="sync"), pytest.raises(RAISED, match="division"):
        dask.compute(sink) if how == "lazy" else sink.collect()
    assert os.listdir(tmp_path) == ["there"]
    assert not os.listdir(tmp_path / "there")


def test_directories_that_are_in_use_stay(tmp_path: Path) -> None:
    target = Target(f"{tmp_path}/a/b/out", directory=True, run="r", mkdir=True)
    commits.begin(target)
    (tmp_path / "a" / "other").write_text("x")
    commits.clean(target)
    assert files_in(tmp_path) == ["a/other"]
    assert os.listdir(tmp_path / "a") == ["other"]
