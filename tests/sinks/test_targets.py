"""Two sinks never write to one place, and nothing is replaced that was not there when a sink began."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.io import commit as commits
from dask_polars.io import commit_local
from dask_polars.io.targets import Target, Written

ROWS = pl.DataFrame({"v": range(7)})


def counted() -> tuple[dp.LazyFrame, list[int]]:
    seen: list[int] = []
    lf = dp.from_polars(ROWS, npartitions=3)
    return lf.map_partitions(lambda part: (seen.append(1), part)[1], schema=ROWS.schema), seen


RUNS: dict[str, Callable[..., Any]] = {
    "collect_all": lambda *sinks: dp.collect_all(sinks),
    "collect_all of Polars": lambda *sinks: pl.collect_all(
        [sink.to_polars() for sink in sinks], engine=dp.DaskEngine()
    ),
    "compute": lambda *sinks: dask.compute(*sinks),
    "persist": lambda *sinks: dask.persist(*sinks),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("names", [("x", "x"), ("x/", "x"), ("x/", "x/y.csv"), ("x/y/z.csv", "w", "x/")], ids=str)
def test_two_sinks_to_one_place_are_refused(run: str, names: tuple[str, ...], tmp_path: Path) -> None:
    lf, seen = counted()
    sinks = [lf.head(number + 1).sink_csv(f"{tmp_path}/{name}", lazy=True) for number, name in enumerate(names)]
    with dask.config.set(scheduler="sync"), pytest.raises(ValueError, match=f"the same place: {tmp_path}/x"):
        RUNS[run](*sinks)
    assert not seen
    assert not os.listdir(tmp_path)


@pytest.mark.cluster
def test_two_sinks_to_one_place_are_refused_on_a_cluster(client: Any, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    sinks = [lf.head(number + 1).sink_csv(tmp_path / "x", lazy=True) for number in range(2)]
    for run in (dask.compute, dask.persist, lambda *found: client.compute(list(found))):
        with pytest.raises(ValueError, match="the same place"):
            run(*sinks)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("run", RUNS)
def test_the_same_sink_twice_and_sinks_beside_each_other(run: str, tmp_path: Path) -> None:
    lf = dp.from_polars(ROWS, npartitions=3)
    with dask.config.set(scheduler="sync"):
        RUNS[run](*(lf.sink_csv(f"{tmp_path}/{name}", lazy=True) for name in ("x", "x2/", "y/", "y2.csv")))
    assert sorted(os.listdir(tmp_path)) == ["x", "x2", "y", "y2.csv"]
    if run in ("compute", "persist"):
        sink = lf.sink_csv(f"{tmp_path}/z", lazy=True)
        with dask.config.set(scheduler="sync"):
            RUNS[run](sink, sink)
        assert (tmp_path / "z").read_text() == ROWS.write_csv()


# ---------------------------------------------------------------- races


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_is_not_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(f"{tmp_path}/out", directory=False, run="r")
    commits.begin(target)
    Path(target.staged("part.staged")).write_text("new")
    real = commit_local.refuse_occupied

    def late(asked: commit_local.Local) -> None:
        real(asked)
        Path(asked.target.path).write_text("of somebody else")  # after it was looked for, before it is put there

    monkeypatch.setattr(commit_local, "refuse_occupied", late)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(FileExistsError):
        commits.commit(target, [(Written(target.staged("part.staged"), 1, 3), "")])
    commits.clean(target)
    assert (tmp_path / "out").read_text() == "of somebody else"
    assert os.listdir(tmp_path) == ["out"]


def no_links(*args: Any, **options: Any) -> None:
    raise PermissionError("no links in this file system")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_many_that_write_one_file_one_does(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for turn in range(20):
        path = f"{tmp_path}/{turn}"
        targets = [Target(path, directory=False, run=f"r{number}") for number in range(4)]
        barrier = threading.Barrier(len(targets))
        outcome: dict[str, str] = {}

        def write(target: Target, barrier: threading.Barrier = barrier, outcome: dict[str, str] = outcome) -> None:
            commits.begin(target)
            Path(target.staged("part.staged")).write_text(target.run)
            barrier.wait()
            try:
                commits.commit(target, [(Written(target.staged("part.staged"), 1, 2), "")])
                outcome[target.run] = "written"
            except FileExistsError as error:
                outcome[target.run] = str(error)
            commits.clean(target)

        threads = [threading.Thread(target=write, args=(target,)) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [run for run, what in outcome.items() if what == "written"]
        assert len(outcome) == 4
        assert Path(path).read_text() == winner
        assert all("overwrite" in what for what in outcome.values() if what != "written")
    assert sorted(os.listdir(tmp_path)) == sorted(map(str, range(20)))


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_the_commit_of_a_file_may_be_killed_anywhere(
    step: int, overwrite: bool, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        (tmp_path / "out").write_text("old")
    target = Target(f"{tmp_path}/out", directory=False, run="r", overwrite=overwrite)
    commits.begin(target)
    Path(target.staged("part.staged")).write_text("new")
    files = [(Written(target.staged("part.staged"), 1, 3), "")]
    calls: list[str] = []

    class Killed(BaseException):
        pass

    def stopping(real: Callable[..., Any]) -> Callable[..., Any]:
        def stop(*args: Any, **options: Any) -> Any:
            if len(calls) >= step:
                raise Killed
            calls.append(args[0])
            return real(*args, **options)

        return stop

    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace", "remove", "makedirs"):
            patch.setattr(os, name, stopping(getattr(os, name)))
        with contextlib.suppress(Killed):
            commits.commit(target, files)
    if again:
        done = commits.committed(target)
        if done is None:
            done = commits.commit(target, files)
        assert done == [Written(f"{tmp_path}/out", 1, 3)]
    commits.clean(target)
    assert os.listdir(tmp_path) in (["out"], [])
    found = (tmp_path / "out").read_text() if (tmp_path / "out").exists() else None
    assert found == "new" if again else found in ("new", "old" if overwrite else None)
