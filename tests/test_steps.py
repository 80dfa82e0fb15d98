"""Queries on a cluster that run in steps: what is guessed wrong is found out before the rest is planned."""

from __future__ import annotations

import re
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import dask_polars as dp
from dask_polars import steps
from dask_polars.config import Options
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.stages import FrameStage, KeyStage, RegroupStage, ScanStage, ShuffleStage, walk_stages
from dask_polars.plan.steps import could_be_below, is_guess
from tests.helpers import assert_same

SMALL: dict[str, Any] = {"dask-polars.broadcast-limit": 2000, "dask-polars.partition-size": 4000}
MANY = pl.DataFrame({"k": [index % 500 for index in range(2000)], "v": range(2000)})
MORE = pl.DataFrame({"k": [index % 500 for index in range(1500)], "w": range(1500)})
FEW = pl.col("w") < 20  # a hundredth of the rows; the guess is a third


@pytest.fixture
def small() -> Iterator[None]:
    with dask.config.set(SMALL):
        yield


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that a query took: those whose questions were answered, and the last one."""
    plans: list[Plan] = []
    settled = steps._Steps.taken
    run = steps._Steps._run

    def noted(self: Any, plan: Plan) -> Any:
        plans.append(plan)
        return run(self, plan)

    def taken(self: Any, plan: Plan) -> Plan:
        plans.append(settled(self, plan))
        return plans[-1]

    monkeypatch.setattr(steps._Steps, "_run", noted)
    monkeypatch.setattr(steps._Steps, "taken", taken)
    return plans


def kinds(plan: Plan, kind: type) -> list[str]:
    return [stage.operation for stage in walk_stages(plan.roots) if isinstance(stage, kind)]


def tables() -> tuple[dp.LazyFrame, dp.LazyFrame]:
    return dp.from_polars(MANY, npartitions=6), dp.from_polars(MORE, npartitions=4)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_a_side_that_is_smaller_than_thought_is_broadcast(client: Any, ran: list[Plan]) -> None:
    many, more = tables()
    got = many.join(more.filter(FEW), on="k").collect()
    assert_frame_equal(got, MANY.join(MORE.filter(FEW), on="k"), check_row_order=False)
    first, last = ran
    assert kinds(first, ShuffleStage) == ["join-left-shuffle", "join-right-shuffle"]
    assert kinds(last, ShuffleStage) == []
    (kept,) = [stage for stage in walk_stages(last.roots) if isinstance(stage, KeyStage)]
    assert kept.size.rows == MORE.filter(FEW).height
    assert kept.size.exact


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_a_side_that_is_as_large_as_thought_is_shuffled_from_where_it_is(client: Any, ran: list[Plan]) -> None:
    many, more = tables()
    got = many.join(more.filter(pl.col("w") >= 20), on="k").collect()
    assert_frame_equal(got, MANY.join(MORE.filter(pl.col("w") >= 20), on="k"), check_row_order=False)
    assert len(ran) == 2
    assert len(kinds(ran[-1], ShuffleStage)) == 2
    assert kinds(ran[-1], KeyStage) == ["filter"]


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_few_groups_are_combined_in_a_tree(client: Any, ran: list[Plan]) -> None:
    many, _ = tables()
    groups = [pl.col("v") % 3]
    assert_frame_equal(
        many.group_by(groups).agg(pl.col("k").sum()).collect(),
        MANY.group_by(groups).agg(pl.col("k").sum()),
        check_row_order=False,
    )
    first, last = ran
    assert kinds(first, ShuffleStage) == ["groupby-shuffle"]
    assert kinds(last, ShuffleStage) == []
    assert "gather" in kinds(last, RegroupStage)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_steps_stand_on_each_other(client: Any, ran: list[Plan]) -> None:
    def query(many: Any, more: Any) -> Any:
        joined = many.join(more.filter(FEW), on="k").group_by("v").agg(pl.len().alias("n"))
        return joined.join(many, on="v", how="left", maintain_order="left").sort("v", "k", "n")

    assert_frame_equal(query(*tables()).collect(), query(MANY, MORE))
    assert len(ran) > 2


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_keys_without_heavy_ones_stay_placed(client: Any, ran: list[Plan]) -> None:
    many, more = tables()
    query = many.join(more, on="k").group_by("k").agg(pl.col("v").median())
    with dask.config.set({"dask-polars.count-keys-above": 0}):
        got = query.collect()
    assert_frame_equal(got.sort("k"), MANY.join(MORE, on="k").group_by("k").agg(pl.col("v").median()).sort("k"))
    assert len(kinds(ran[0], ShuffleStage)) == 3
    assert len(kinds(ran[-1], ShuffleStage)) == 2


@pytest.mark.cluster
def test_heavy_keys_are_counted_once(client: Any, ran: list[Plan]) -> None:
    skewed = MANY.with_columns(k=pl.when(pl.col("v") % 10 == 0).then("k").otherwise(7))

    def query(t: Any) -> Any:
        return t.a.join(t.b, on="v").join(t.c, on="k", how="left")

    config = {**SMALL, "dask-polars.broadcast-limit": 0, "dask-polars.count-keys-above": 0}
    data = {"a": skewed, "b": skewed.select("v", x="k"), "c": MORE.head(100)}
    assert_same(query, data, order="any", npartitions=4, config=config, client=client)
    assert "heavy-keys" in kinds(ran[-1], KeyStage)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_sinks_and_several_queries_run_in_steps(client: Any, ran: list[Plan], tmp_path: Path) -> None:
    many, more = tables()
    query = many.join(more.filter(FEW), on="k")
    expected = MANY.join(MORE.filter(FEW), on="k").sort("v", "w")
    query.sink_parquet(tmp_path / "out.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet").sort("v", "w"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert len(ran) == 2
    one, other = dp.collect_all([query, query.select(pl.len())])
    assert_frame_equal(one.sort("v", "w"), expected)
    assert other.item() == expected.height
    assert len(ran) == 4


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_profiles_show_what_ran_in_each_step(
    client: Any, ran: list[Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many, more = tables()
    query = many.join(more.filter(FEW), on="k").group_by("v").agg(pl.len().alias("n"))
    expected = MANY.join(MORE.filter(FEW), on="k").group_by("v").agg(pl.len().alias("n")).sort("v")
    result, profile = query.profile()
    assert_frame_equal(result.sort("v"), expected)
    rows = {(row["step"], row["operation"]): row for row in profile.iter_rows(named=True)}
    side, parts = rows[1, "select"], rows[2, "groupby-partial"]
    assert (side["tasks"], side["rows_estimated"], side["rows_out"]) == (4, 500, MORE.filter(FEW).height)
    assert (parts["tasks"], parts["rows_out"], parts["bytes_out"] > 0) == (6, expected.height, True)
    assert rows[3, "groupby"]["rows_in"] == expected.height
    assert profile["step"].is_sorted()
    assert profile["stage"].n_unique() == profile.height
    assert not set(profile["operation"]) & {"sizes", "join-left-shuffle"}

    graph: Any = query.show_graph(raw_output=True, profile=profile)
    assert f"step 1: gave {side['rows_out']} rows" in graph
    assert "PARTITIONS of another graph" not in graph
    # What ran in a step is below what was planned on it: each box but the result has a reader.
    boxes, reads = (set(re.findall(pattern, graph, re.M)) for pattern in (r"^    (s\d+)\[", r"^    (s\d+) -->"))
    assert boxes - reads == {"s1"}
    with pytest.raises(ValueError, match="the frame that profile"):
        query.show_graph(raw_output=True, profile=profile.filter(pl.col("tasks") > 0))

    assert len(ran) == 3
    kept = dp.DaskEngine().execute(query.to_polars())
    assert len(ran) == 6
    assert_frame_equal(kept.lazy().collect().sort("v"), expected)
    same = ["step", "stage", "operation", "tasks", "rows_out", "rows_estimated"]
    assert_frame_equal(kept.profile().select(same), profile.select(same))
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    kept.show_graph()
    printed = capsys.readouterr().out
    assert "groupby-partial  6 partitions" in printed
    assert "as above" not in printed


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_batches_come_after_steps(client: Any, ran: list[Plan]) -> None:
    many, more = tables()
    query = many.join(more.filter(FEW), on="k").to_polars()
    batches = dp.DaskEngine().collect_batches(query, lazy=True)
    assert not ran
    assert_frame_equal(pl.concat(batches).sort("v", "w"), MANY.join(MORE.filter(FEW), on="k").sort("v", "w"))
    assert len(ran) == 2
    given_up = dp.DaskEngine().collect_batches(query)
    keys = [key for stage in walk_stages(ran[-1].roots) if isinstance(stage, KeyStage) for key in stage.keys]
    next(given_up)
    del given_up
    wait_until_forgotten(client, keys)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_graphs_that_are_made_beforehand_have_no_steps(client: Any, ran: list[Plan]) -> None:
    many, more = tables()
    query = many.join(more.filter(FEW), on="k")
    expected = MANY.join(MORE.filter(FEW), on="k").sort("v", "w")
    assert_frame_equal(query.compute().sort("v", "w"), expected)
    assert_frame_equal(query.persist().collect().sort("v", "w"), expected)
    with dask.config.set({"dask-polars.adaptive": False}):
        assert_frame_equal(dp.LazyFrame(query.to_polars()).collect().sort("v", "w"), expected)
    assert not any(plan.questions for plan in ran)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_explain_says_what_is_decided_again(client: Any) -> None:
    many, more = tables()
    query = many.join(more.filter(FEW), on="k")
    assert "Decided again when it runs on the cluster:\n  - join: whether its right side" in query.explain()
    assert "Decided again" in query.explain(format="tree")
    assert "Decided again" not in many.join(more, on="k").explain()


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_has_run_is_let_go_of_when_a_query_is_given_up(
    client: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    kept: list[Any] = []

    def interrupted(stage: Any, sizes: Any, graph: Any, keys: Any) -> Any:
        kept.extend(keys)
        raise error

    monkeypatch.setattr(steps, "kept_stage", interrupted)
    many, more = tables()
    with pytest.raises(error):
        many.join(more.filter(FEW), on="k").collect()
    assert kept
    wait_until_forgotten(client, kept)


def wait_until_forgotten(client: Any, keys: list[Any]) -> None:
    deadline = time.monotonic() + 20
    while client.run_on_scheduler(is_known, keys=keys) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not client.run_on_scheduler(is_known, keys=keys)


def is_known(keys: list[Any], dask_scheduler: Any) -> bool:
    return any(key in dask_scheduler.tasks for key in keys)


@pytest.mark.cluster
@pytest.mark.usefixtures("small")
def test_an_error_below_is_that_of_polars(client: Any) -> None:
    many, more = tables()
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from `i64` to `i8`"):
        many.join(more.filter(pl.col("w").cast(pl.Int8) < 20), on="k").collect()


def test_what_is_a_guess() -> None:
    many, more = tables()

    def root(lf: dp.LazyFrame) -> Any:
        return plan_queries([lf.to_polars()], Options.current()).roots[0]

    assert isinstance(root(many), FrameStage)
    assert not is_guess(root(many))
    assert not is_guess(root(many.with_columns(x=pl.col("v") + 1).select("x")))
    assert is_guess(root(many.filter(pl.col("v") > 1).select("v")))
    assert is_guess(root(many.join(more, on="k")))
    assert is_guess(root(many.map_partitions(lambda part: part)))


def test_sizes_of_files_are_no_guess(tmp_path: Path) -> None:
    MANY.write_parquet(tmp_path / "a.parquet")
    plan = plan_queries([pl.scan_parquet(tmp_path / "*.parquet").select("v")], Options.current())
    assert kinds(plan, ScanStage)
    assert not is_guess(plan.roots[0])


def test_what_could_be_below_a_limit() -> None:
    from dask_polars.plan.stages import Size

    assert [could_be_below(Size(1, size), 10) for size in (9, 10, 11, 1000, 1001)] == [False, False, True, True, False]
