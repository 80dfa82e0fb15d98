"""What a run took, by stage: on every scheduler, without a change of what runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from distributed import futures_of, wait
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars import measure
from dask_polars.config import Options
from dask_polars.coverage import CASES, tables
from dask_polars.execution import choose_target, profile_plan
from dask_polars.observe import observed, reporters
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import walk_stages
from dask_polars.profile import SCHEMA

LOCAL = ["sync", "threads", "processes"]
KEYS = 7
ROWS = 1000
FILES = 4


@pytest.fixture(autouse=True)
def small_partitions() -> Iterator[None]:
    with dask.config.set({"dask-polars.max-rows-per-partition": ROWS, "dask-polars.broadcast-limit": 0}):
        yield


@pytest.fixture
def query(tmp_path: Path) -> Any:
    for number in range(FILES):
        part = pl.DataFrame({"k": [row % KEYS for row in range(ROWS)], "v": range(ROWS), "unused": range(ROWS)})
        part.write_parquet(tmp_path / f"{number}.parquet", compression="uncompressed")
    names = dp.from_polars(pl.DataFrame({"k": range(KEYS), "name": list("abcdefg")}), npartitions=2)
    left = dp.scan_parquet(tmp_path / "*.parquet").filter(pl.col("v") >= 10)
    return left.join(names, on="k").group_by("name").agg(pl.col("v").median()).sort("name")


def row(profile: pl.DataFrame, operation: str) -> dict[str, Any]:
    return profile.row(by_predicate=pl.col("operation") == operation, named=True)


def check(profile: pl.DataFrame, lf: Any) -> None:
    """Compare with what is known of the query."""
    assert profile.schema == pl.Schema(SCHEMA)
    kept = FILES * (ROWS - 10)
    plan = lf._plan()
    found = reporters(plan.roots)
    assert profile["operation"].to_list() == [item.stage.operation for item in found.values()]
    assert profile["tasks"].to_list() == [item.expected for item in found.values()]
    assert profile["partitions"].to_list() == [item.stage.npartitions for item in found.values()]

    scan = row(profile, "join-left-shuffle-partition")
    assert [name.split("] ")[1] for name in scan["fused"]] == ["scan-parquet", "scan-parquet"]
    assert (scan["rows_in"], scan["rows_out"], scan["files"]) == (FILES * ROWS, kept, FILES)
    assert scan["bytes_shuffled"] == 0
    shuffle = row(profile, "join-left-shuffle")
    assert (shuffle["rows_in"], shuffle["rows_out"], shuffle["files"]) == (kept, kept, 0)
    assert shuffle["bytes_shuffled"] > 0
    assert shuffle["rows_estimated"] == round(
        next(s for s in walk_stages(plan.roots) if s.operation == "join-left-shuffle").size.rows
    )
    last = row(profile, "sort")
    assert (last["rows_in"], last["rows_out"]) == (KEYS, KEYS)
    assert last["bytes_out"] == lf.collect(scheduler="sync").estimated_size()
    for item in profile.iter_rows(named=True):
        assert timedelta(0) < item["wall_max"] <= item["wall"]
        assert item["cpu"] >= timedelta(0)
        assert item["bytes_spilled"] == 0


@pytest.mark.parametrize("scheduler", LOCAL)
def test_local(query: Any, scheduler: str) -> None:
    result, profile = query.profile(scheduler=scheduler)
    assert_frame_equal(result, query.to_polars().collect(engine="streaming"))
    check(profile, query)
    assert not measure.takers


def test_without_a_scheduler(query: Any) -> None:
    result, profile = query.profile()
    assert result.equals(query.collect())
    check(profile, query)


@pytest.mark.cluster
def test_cluster(query: Any, client: Any) -> None:
    for _ in range(2):
        result, profile = query.profile()
        assert_frame_equal(result, query.to_polars().collect(engine="streaming"))
        check(profile, query)
    assert row(profile, "join-left-shuffle")["wall"] > timedelta(0)


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the system does not count what processes read")
def test_bytes_read_are_those_of_the_columns(tmp_path: Path) -> None:
    values = pl.DataFrame({"a": range(200_000), "b": range(200_000)})
    values.write_parquet(tmp_path / "0.parquet", compression="uncompressed", use_pyarrow=False)
    lf = dp.scan_parquet(tmp_path / "0.parquet").select(pl.col("a").sum())
    lf.profile(scheduler="sync")  # what is imported for the first time is read from files, too
    with dask.config.set({"dask-polars.max-rows-per-partition": None}):
        _, profile = lf.profile(scheduler="sync")
        _, whole = dp.scan_parquet(tmp_path / "0.parquet").select(pl.all().sum()).profile(scheduler="sync")
    size = (tmp_path / "0.parquet").stat().st_size
    assert 0.3 * size < profile["bytes_read"].sum() < 0.7 * size
    assert 0.9 * size < whole["bytes_read"].sum() < 1.2 * size


def test_head_reads_one_file(query: Any, tmp_path: Path) -> None:
    lf = dp.scan_parquet(tmp_path / "*.parquet")
    assert lf.npartitions == FILES
    result, profile = lf.head(5).profile(scheduler="threads")
    assert result.height == 5
    assert profile.select("operation", "files", "rows_out").rows() == [("head", 1, 5), ("slice", 0, 5)]


def test_skew() -> None:
    rows = pl.DataFrame({"k": [0] * 900 + list(range(1, 101)), "v": range(1000)})
    lf = dp.from_polars(rows, npartitions=4)
    _, profile = lf.group_by("k").agg(pl.col("v").median()).profile(scheduler="sync")
    assert row(profile, "groupby-shuffle")["skew"] > 1.5
    _, even = lf.select(pl.col("v") + 1).profile(scheduler="sync")
    assert even["skew"].to_list() == [1.0]


def test_engines(query: Any) -> None:
    with dask.config.set(scheduler="threads"):
        result, profile = dp.DaskEngine().profile(query.to_polars())
        assert result.equals(query.collect())
        check(profile, query)
        again, _ = query.profile(engine=dp.DaskEngine())
        assert again.equals(result)
    with pytest.raises(ValueError, match="an engine or a scheduler"):
        query.profile(engine=dp.DaskEngine(), scheduler="sync")


def test_results_that_stay(query: Any) -> None:
    with dask.config.set(scheduler="threads"):
        result = query.to_polars()
        kept = dp.DaskEngine().execute(result)
    check(kept.profile(), query)
    alone = dp.DaskEngine().execute(pl.LazyFrame({"v": [1]}))
    assert alone.profile().height == 0  # Polars ran it


@pytest.mark.cluster
def test_results_that_stay_on_a_cluster(query: Any, client: Any) -> None:
    kept = dp.DaskEngine().execute(query.to_polars())
    check(kept.profile(), query)
    assert kept.n_rows_total == KEYS


@pytest.mark.cluster
def test_what_is_there_already_is_shared(query: Any, client: Any) -> None:
    kept = query.persist()
    wait(futures_of(kept))
    result, profile = query.profile()
    assert result.height == KEYS
    assert profile["tasks"].sum() == 0
    assert profile["rows_out"].null_count() == profile.height


@pytest.mark.cluster
def test_nothing_is_sent_unless_asked_for(query: Any, client: Any) -> None:
    before = len(client.get_events(measure.TOPIC))
    query.collect()
    assert len(client.get_events(measure.TOPIC)) == before
    query.profile()
    assert len(client.get_events(measure.TOPIC)) > before


@pytest.mark.parametrize("scheduler", LOCAL[:2])
def test_errors_stay_what_they_are(scheduler: str) -> None:
    lf = dp.from_polars(pl.DataFrame({"v": ["1", "x"]}), npartitions=2).select(pl.col("v").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError, match="x"):
        lf.profile(scheduler=scheduler)
    assert not measure.takers


def test_every_stage_that_runs_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of a plan before it runs is what reports, for every operation that is distributed."""
    # Fewer partitions than the table is made with, but still more than `split-every`: tasks are what takes the time.
    monkeypatch.setattr(import_module("dask_polars.coverage.tables"), "NPARTITIONS", 5)
    cuts: dict[str, Any] = {"max_rows_per_partition": 200, "partition_size": 6000, "split_every": 4}
    options = Options.current(fallback="silent", broadcast_limit=1, **cuts)
    target = choose_target(scheduler="sync")
    with tables() as inputs:
        for case in CASES:
            query = case.query(inputs)
            if isinstance(query, list):
                continue  # sinks that run together
            plan = plan_queries([query.to_polars()], options)
            with observed(target, plan.roots) as (there, run), plan.running():
                from dask_polars.execution import _results

                _results(plan, there)
            records = run.records()
            assert set(records) == set(run.reporters), case
            for token, item in run.reporters.items():
                assert len(records[token]) <= item.expected, (case, item.stage.operation)
                assert records[token], (case, item.stage.operation)


def test_a_plan_of_several_queries() -> None:
    lf = dp.from_polars(pl.DataFrame({"v": range(10)}), npartitions=2)
    both = [lf.select(pl.col("v").sum()).to_polars(), lf.filter(pl.col("v") > 3).to_polars()]
    plan = plan_queries(both, Options.current())
    results, profile = profile_plan(plan, choose_target(scheduler="sync"))
    assert [frame.height for frame in results] == [1, 6]
    assert profile["stage"].n_unique() == profile.height


def test_bytes_spilled(tmp_path: Path) -> None:
    """They are counted by what a worker of distributed says of its memory."""
    from distributed.spill import SpillBuffer

    class Worker:
        data = SpillBuffer(str(tmp_path), target=1)

    channel = measure.WorkerChannel("run", Worker())
    channel.worker.data["before"] = pl.DataFrame({"v": range(1000)})
    assert measure._newly_spilled(channel) == 0  # it begins to count
    channel.worker.data["one"] = pl.DataFrame({"v": range(1000)})
    assert measure._newly_spilled(channel) > 1000
    assert measure._newly_spilled(channel) == 0


@pytest.mark.cluster
def test_the_dashboard_names_operations(query: Any, client: Any, tmp_path: Path) -> None:
    from distributed import performance_report

    with performance_report(str(tmp_path / "report.html")):
        _, profile = query.profile()
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    names = client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    for name in ("groupby", "join-left-shuffle-transfer", "shuffle-barrier"):
        assert name in names
        assert name in report
    assert set(profile["operation"]) > {"groupby", "join-left-shuffle"}
    assert {name for name in names if "fragments" in name} <= {"fragments"}  # one line for what tasks share
