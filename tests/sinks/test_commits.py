"""Sinks write every row once, all files or none, whatever was there, fails or is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars.io import commit as commits
from dask_polars.io.targets import Target, Written
from tests.helpers import assert_empty_soon
from tests.sinks.outputs import ROWS, TARGETS, files_in, occupy

pytestmark = pytest.mark.usefixtures("nothing_falls_back")


# ---------------------------------------------------------------- what is there already


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_not_replaced(target: str, scheduler: None, tmp_path: Path) -> None:
    occupy(tmp_path, target)
    before = files_in(tmp_path)
    seen: list[int] = []
    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(lambda part: (seen.append(1), part)[1], schema=ROWS.schema)
    for attempt in (
        lambda: lf.sink_parquet(TARGETS[target](tmp_path)),
        lambda: lf.sink_parquet(TARGETS[target](tmp_path), lazy=True).collect(),
        lambda: lf.sink_parquet(TARGETS[target](tmp_path), lazy=True).compute(),
    ):
        with pytest.raises(FileExistsError, match="overwrite"):
            attempt()
    assert not seen
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_replaced_as_a_whole(target: str, scheduler: None, tmp_path: Path) -> None:
    occupy(tmp_path, target)
    lf = dp.from_polars(ROWS, npartitions=3)
    lf.to_polars().sink_parquet(TARGETS[target](tmp_path), engine=dp.DaskEngine(overwrite=True))
    assert os.listdir(tmp_path) == ["out"]
    assert not (tmp_path / "out" / "deep").exists()
    assert_frame_equal(pl.read_parquet(tmp_path / "out").sort("v"), ROWS, check_column_order=False)
    lf.head(2).sink_parquet(TARGETS[target](tmp_path), lazy=True).collect(overwrite=True)
    assert pl.read_parquet(tmp_path / "out").height == 2


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_what_fails_leaves_what_was_there(target: str, overwrite: bool, scheduler: None, tmp_path: Path) -> None:
    if overwrite:
        occupy(tmp_path, target)
    before = files_in(tmp_path)

    def fail(part: pl.DataFrame) -> pl.DataFrame:
        if 6 in part["v"]:
            raise ZeroDivisionError("a bad partition")
        return part

    lf = dp.from_polars(ROWS, npartitions=3).map_partitions(fail, schema=ROWS.schema)
    with (
        dask.config.set({"dask-polars.overwrite": overwrite}),
        pytest.raises(ZeroDivisionError, match="a bad partition"),
    ):
        lf.sink_csv(TARGETS[target](tmp_path))
    assert files_in(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if overwrite else [])


@pytest.mark.parametrize("target", TARGETS)
def test_a_failure_is_told_when_nothing_is_written_any_more(target: str, tmp_path: Path) -> None:
    started, ended, out = tmp_path / "started", tmp_path / "ended", tmp_path / "out"
    out.mkdir()

    def fail(part: pl.Series) -> pl.Series:
        if 6 in part:
            while not started.exists():
                time.sleep(0.01)
            raise ZeroDivisionError("a bad partition")
        if 0 in part:
            started.touch()
            time.sleep(0.3)
            ended.touch()
        return part

    lf = dp.from_polars(ROWS, npartitions=3).with_columns(
        pl.col("v").map_batches(fail, return_dtype=pl.Int64, is_elementwise=True)
    )
    with dask.config.set(scheduler="threads", num_workers=3), pytest.raises(Exception, match="a bad partition"):
        lf.sink_csv(TARGETS[target](out))
    assert ended.exists()
    assert not os.listdir(out)


def test_an_empty_directory_is_a_target(threads: None, tmp_path: Path) -> None:
    dp.from_polars(ROWS, npartitions=2).sink_ipc(tmp_path)
    assert files_in(tmp_path) == ["part-00000.ipc", "part-00001.ipc"]


def test_missing_directories(threads: None, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=2)
    for target in (tmp_path / "no" / "x.csv", f"{tmp_path}/no/x/"):
        with pytest.raises(FileNotFoundError, match="No such file or directory"):
            lf.sink_csv(target)
    assert not os.listdir(tmp_path)
    lf.sink_csv(tmp_path / "one" / "x.csv", mkdir=True, sync_on_close="all")
    lf.sink_csv(f"{tmp_path}/two/x/", mkdir=True, sync_on_close="data", maintain_order=False)
    assert files_in(tmp_path) == ["one/x.csv", "two/x/part-00000.csv", "two/x/part-00001.csv"]


# ---------------------------------------------------------------- the protocol


def staged(target: Target, names: dict[str, str]) -> list[tuple[Written, str]]:
    out = []
    for name, to in names.items():
        path = target.staged(name)
        Path(path).write_text(name)
        out.append((Written(path, 1, len(name)), to))
    return out


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_may_run_twice(overwrite: bool, tmp_path: Path) -> None:
    if overwrite:
        occupy(tmp_path, "directory")
    target = Target(f"{tmp_path}/out", directory=True, run="r", overwrite=overwrite)
    commits.begin(target)
    files = staged(target, {"a": "1", "b": "deep/2"})
    assert commits.committed(target) is None
    done = commits.commit(target, files)
    assert commits.committed(target) == done
    assert files_in(tmp_path / "out") == ["1", "deep/2"]
    commits.clean(target)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_commit_may_be_killed_anywhere(
    step: int, overwrite: bool, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a commit does to the file system, until it is killed; then it runs again, or all is cleaned up."""
    if overwrite:
        occupy(tmp_path, "directory")
    before = files_in(tmp_path)
    target = Target(f"{tmp_path}/out", directory=True, run="r", overwrite=overwrite)
    commits.begin(target)
    files = staged(target, {"a": "1", "b": "deep/2"})
    calls: list[str] = []

    class Killed(BaseException):
        pass

    def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
        def stop(*args: Any, **options: Any) -> Any:
            if len(calls) >= step:
                raise Killed  # and whatever is tried afterwards does not happen either
            calls.append(args[0])
            return real(*args, **options)

        return stop

    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace", "makedirs"):
            patch.setattr(os, name, stopping(getattr(os, name)))
        with contextlib.suppress(Killed):
            commits.commit(target, files)
    if again:
        if commits.committed(target) is None:
            commits.commit(target, files)
        commits.clean(target)
        assert files_in(tmp_path) == ["out/1", "out/deep/2"]
    else:
        commits.clean(target)
        assert files_in(tmp_path) in (["out/1", "out/deep/2"], before)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_tasks_of_a_run_that_is_over_write_nothing(threads: None, tmp_path: Path) -> None:
    """A task that is still running while the others failed comes too late."""
    started = threading.Event()

    def work(part: pl.DataFrame) -> pl.DataFrame:
        if 0 in part["v"]:
            started.wait(10)
            raise ZeroDivisionError
        started.set()
        time.sleep(0.5)
        return part

    lf = dp.from_polars(ROWS, npartitions=2).map_partitions(work, schema=ROWS.schema)
    with dask.config.set(num_workers=2), pytest.raises(ZeroDivisionError):
        lf.sink_csv(f"{tmp_path}/out/")
    time.sleep(1)
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- clusters


@pytest.mark.cluster
@pytest.mark.parametrize("target", TARGETS)
def test_on_a_cluster(target: str, client: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    told: list[Any] = []
    lf.sink_parquet(TARGETS[target](tmp_path), sinked_paths_callback=told.append)
    assert_frame_equal(pl.read_parquet(tmp_path / "out").sort("v"), ROWS, check_column_order=False)
    assert sum(item.num_rows for item in told[0].paths) == 7
    with pytest.raises(FileExistsError):
        lf.sink_parquet(TARGETS[target](tmp_path))
    query = lf.head(3).sink_parquet(TARGETS[target](tmp_path), lazy=True)
    query.collect(overwrite=True)
    assert pl.read_parquet(tmp_path / "out").height == 3
    dask.compute(lf.sink_csv(tmp_path / "x.csv", lazy=True))
    assert (tmp_path / "x.csv").read_text() == ROWS.write_csv()
    assert sorted(os.listdir(tmp_path)) == ["out", "x.csv"]


@pytest.mark.cluster
def test_what_fails_on_a_cluster_leaves_nothing(client: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3).with_columns(pl.col("k").str.to_integer())
    for target in TARGETS.values():
        for run in (
            lambda target=target: lf.sink_csv(target(tmp_path)),
            lambda target=target: lf.sink_csv(target(tmp_path), lazy=True).compute(),
            lambda target=target: lf.sink_csv(target(tmp_path), lazy=True).collect(background=True).fetch_blocking(),
        ):
            with pytest.raises(pl.exceptions.ComputeError, match="strict integer parsing failed"):
                run()
    assert_empty_soon(tmp_path)


MANY = pl.DataFrame({"k": [index % 5 for index in range(2000)], "v": range(2000)})


def kill_this_worker_once(mark: Path) -> None:
    """Kill the process, the first time."""
    try:
        os.mkdir(mark)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.cluster
def test_a_killed_worker_writes_each_row_once(killable: Any, tmp_path: Path) -> None:
    """Killed while it writes, after others are written; and when the files are in place, before the scheduler knows."""

    def die(part: pl.DataFrame, mark: Path) -> pl.DataFrame:
        if 1500 in part["v"]:
            kill_this_worker_once(mark)
        return part

    rows = dp.from_polars(MANY, npartitions=8)
    assert rows.select(pl.len()).collect().item() == 2000  # the workers are set up
    for name, target in TARGETS.items():
        writing, ending = tmp_path / f"{name}-writing", tmp_path / f"{name}-ending"
        for mark, lf in ((writing, rows.map_partitions(die, writing, schema=MANY.schema)), (ending, rows)):
            killable.wait_for_workers(2, timeout=60)
            path = tmp_path / f"{mark.name}-out"
            path.mkdir()
            told = (lambda args: None) if mark == writing else lambda args, mark=mark: kill_this_worker_once(mark)
            lf.sink_parquet(target(path), lazy=True, sinked_paths_callback=told).collect()
            assert mark.is_dir()
            assert os.listdir(path) == ["out"]
            found = pl.read_parquet(path / "out")
            in_order = name != "parts"
            assert_frame_equal(found if in_order else found.sort("v"), MANY, check_column_order=False)
