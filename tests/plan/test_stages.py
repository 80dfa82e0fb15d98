"""Which stages, exchanges and tasks a query becomes."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars.config import Options
from dask_polars.dsl.codec import decode, to_lazyframe
from dask_polars.graph.build import build_graph
from dask_polars.plan import Plan, plan_queries
from dask_polars.plan.planner import Planner
from dask_polars.plan.stages import HeadStage, MapStage, ShuffleStage, Stage, walk_stages

FRAME = pl.DataFrame({"k": [1, 2, 3, 4] * 6, "v": range(24), "s": ["a", "b", "c", None] * 6})
OTHER = pl.DataFrame({"k": [1, 2, 5, 6], "w": [1.0, 2.0, 3.0, 4.0]})


def count_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.len())


def plan(lf: dp.LazyFrame, **options: Any) -> Plan:
    return plan_queries([lf.to_polars()], Options.current(**options))


def stages(lf: dp.LazyFrame, **options: Any) -> list[Stage]:
    return list(walk_stages(plan(lf, **options).roots))


def shuffles(lf: dp.LazyFrame, **options: Any) -> list[ShuffleStage]:
    return [stage for stage in stages(lf, **options) if isinstance(stage, ShuffleStage)]


def tasks(lf: dp.LazyFrame, **options: Any) -> Counter[str]:
    graph, _ = build_graph(plan(lf, **options).roots, p2p_shuffle=True)
    names = (key[0] if isinstance(key, tuple) else key for key in graph)
    return Counter("-".join(name.split("-")[:-1]) for name in names)


@pytest.fixture
def left() -> dp.LazyFrame:
    return dp.from_polars(FRAME, npartitions=6)


@pytest.fixture
def right() -> dp.LazyFrame:
    return dp.from_polars(OTHER, npartitions=3)


SHUFFLED = {"broadcast_limit": 0, "partition_size": 100}


def test_a_join_of_small_things_is_a_broadcast(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    query = left.join(right, on="k")
    assert not shuffles(query)
    assert tasks(query)["join-broadcast"] == 6


def test_a_join_of_large_things_shuffles_both_sides(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    found = shuffles(left.join(right, on="k"), **SHUFFLED)
    assert sorted(stage.operation for stage in found) == ["join-left-shuffle", "join-right-shuffle"]
    assert len({stage.npartitions for stage in found}) == 1


def test_a_group_by_on_the_key_of_a_join_moves_nothing(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    joined = left.join(right, on="k")
    assert len(shuffles(joined.group_by("k").agg(pl.col("v").median()), **SHUFFLED)) == 2
    assert len(shuffles(joined.group_by("w").agg(pl.col("v").median()), **SHUFFLED)) == 3


@pytest.mark.parametrize("how", ["left", "right", "full", "anti"])
def test_null_keys_that_match_nothing_are_spread(how: Any) -> None:
    rows = pl.DataFrame({"k": [None] * 40, "v": range(40)}, schema={"k": pl.Int64, "v": pl.Int64})
    many, few = dp.from_polars(rows, npartitions=5), dp.from_polars(OTHER, npartitions=3)
    joined = few.join(many, on="k", how=how) if how == "right" else many.join(few, on="k", how=how)
    heights = joined.filter(pl.col("k").is_null() & pl.col("v").is_not_null()).map_partitions(count_rows)
    with dask.config.set({"dask-polars.broadcast-limit": 0, "dask-polars.partition-size": 100}):
        parts = heights.collect(scheduler="sync")["len"].to_list()
    assert sum(parts) == 40
    assert len(parts) > 1
    assert max(parts) <= 40 / len(parts) + 5


@pytest.mark.parametrize("how", ["inner", "semi"])
def test_null_keys_are_dropped_before_the_shuffle(how: Any, left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    for stage in shuffles(left.join(right, on="k", how=how), **SHUFFLED):
        assert isinstance(stage.source, MapStage)
        fragment = pl.LazyFrame.deserialize(io.BytesIO(stage.source.template))
        assert 'FILTER col("k").is_not_null()' in fragment.explain(optimized=False)


def test_null_keys_that_are_anywhere_are_together_for_a_group_by(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    """A second join on the same key does without a shuffle of the left side, a group_by does not."""
    joined = left.join(right, on="k", how="left")
    assert len(shuffles(joined.join(right.with_columns(pl.col("w") + 1), on="k", how="left"), **SHUFFLED)) == 3
    assert len(shuffles(joined.group_by("k").agg(pl.col("v").median()), **SHUFFLED)) == 3
    equal = joined.join(right.with_columns(pl.col("w") + 1), on="k", how="left", nulls_equal=True)
    assert len(shuffles(equal, **SHUFFLED)) == 4


def test_keys_of_files_that_have_no_nulls_are_placed_for_a_group_by(tmp_path: Path, right: dp.LazyFrame) -> None:
    for name, frame in {"full": FRAME, "nulls": FRAME.with_columns(pl.col("k").replace(4, None))}.items():
        (tmp_path / name).mkdir()
        for index in range(3):
            frame.slice(index * 10).write_parquet(tmp_path / name / f"{index}.parquet")
    full, nulls = (dp.scan_parquet(tmp_path / name) for name in ("full", "nulls"))

    def moved(query: dp.LazyFrame, key: str = "k") -> int:
        return len(shuffles(query.group_by(key).agg(pl.col("v").median()), max_rows_per_partition=12, **SHUFFLED))

    renamed = full.filter(pl.col("v") > 1).rename({"k": "key"}).with_columns(pl.col("v") + 1)
    assert moved(nulls.join(right, on="k", how="left")) == 3
    assert moved(full.join(right, on="k", how="left")) == 2
    assert moved(renamed.join(right, left_on="key", right_on="k", how="left"), "key") == 2
    # Rows without a match have nulls there, whatever is in the files.
    assert moved(right.join(full, on="k", how="full", coalesce=True).join(right, on="k", how="left")) > 3


def test_there_are_no_more_groups_than_rows_that_their_keys_come_from(tmp_path: Path) -> None:
    """The number of rows of a table is known, however much of it passes a filter and whatever it is joined with."""
    parts = pl.DataFrame({"k": range(50), "a": [f"a{i}" for i in range(50)], "b": [i % 7 for i in range(50)]})
    parts.write_parquet(tmp_path / "parts.parquet")
    pl.DataFrame({"k": [i % 50 for i in range(5000)], "v": range(5000)}).write_parquet(tmp_path / "rows.parquet")
    few = dp.scan_parquet(tmp_path / "parts.parquet").filter(pl.col("a").str.contains("1"))
    joined = dp.scan_parquet(tmp_path / "rows.parquet").join(few.rename({"b": "c"}), on="k")

    def most(query: dp.LazyFrame) -> float:
        (groups,) = (stage for stage in stages(query) if stage.operation == "groupby")
        return groups.size.rows * groups.size.doubt

    assert most(joined.group_by("a", "c").agg(pl.col("v").n_unique())) == pytest.approx(51)
    # Keys of two tables, or of one that is there twice, have more combinations.
    again = joined.join(few.select("k", d="a"), left_on="v", right_on="k")
    for keys in (("a", "v"), ("a", "d"), ("a", pl.col("c") + 1)):
        assert most(again.group_by(*keys).agg(pl.len())) > 51


def test_rows_with_a_right_key_of_null_are_not_thought_to_be_placed(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    """After a left join with both keys kept, the right ones are null where nothing matched: on any partition."""
    joined = left.join(right, left_on="k", right_on="k", how="left", coalesce=False)
    assert len(shuffles(joined.group_by("k_right").agg(pl.col("v").median()), **SHUFFLED)) == 3


def test_an_overwritten_key_is_not_placed(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    joined = left.join(right, on="k").with_columns(k=pl.col("k") % 2)
    assert len(shuffles(joined.group_by("k").agg(pl.col("v").median()), **SHUFFLED)) == 3


def test_a_renamed_key_is_placed(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    joined = left.join(right, on="k").rename({"k": "key"})
    assert len(shuffles(joined.group_by("key").agg(pl.col("v").median()), **SHUFFLED)) == 2


def test_a_second_join_on_the_same_key_moves_one_side(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    query = left.join(right, on="k").join(right.with_columns(pl.col("w") + 1), on="k")
    assert len(shuffles(query, **SHUFFLED)) == 3


def test_scans_filters_and_partial_aggregations_are_one_task(tmp_path: Path) -> None:
    for index in range(4):
        FRAME.write_parquet(tmp_path / f"{index}.parquet")
    query = dp.scan_parquet(tmp_path).filter(pl.col("v") > 3).group_by("k").agg(pl.col("v").sum())
    found = tasks(query, max_rows_per_partition=24)
    assert found["groupby-partial"] == 4
    assert {name for name in found if name.startswith("scan")} <= {"scan-parquet-files", "scan-parquet-fragment"}


def test_what_is_broadcast_in_few_pieces_is_put_together_by_its_readers() -> None:
    few, many = (dp.from_polars(FRAME, npartitions=count).filter(pl.col("v") > 3) for count in (4, 12))
    large = dp.from_polars(pl.concat([FRAME] * 40), npartitions=20)

    def gathers(small: dp.LazyFrame, large: dp.LazyFrame) -> int:
        query = large.join(small, on="k")
        # Partitions of the small side are tasks of their own; those of the other one read all of them, or what is gathered.
        graph, _ = build_graph(plan(query).roots, p2p_shuffle=True)
        reads = [len({key for key in task.dependencies if "filter" in str(key)}) for task in graph.values()]
        assert max(reads) == small.npartitions
        return tasks(query)["gather"]

    assert gathers(few, large) == 0
    assert gathers(many, large) == 1
    assert gathers(many, large.partitions[:5]) == 0


def test_the_producer_and_the_consumer_of_a_shuffle_are_part_of_its_tasks(left: dp.LazyFrame) -> None:
    found = tasks(left.filter(pl.col("v") > 1).group_by("k").agg(pl.col("v").median()), **SHUFFLED)
    transfers, outputs = found["groupby-shuffle-transfer"], found["groupby"]
    assert transfers == 6
    # The frames of the client, the fragments of two stages, the barrier: nothing else.
    assert sum(found.values()) - transfers - outputs <= 6 + 4


def test_a_head_stops_at_the_first_files_that_give_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        FRAME.write_parquet(tmp_path / f"{index:02}.parquet")
    query = dp.scan_parquet(tmp_path).head(5)
    assert any(isinstance(stage, HeadStage) for stage in stages(query, max_rows_per_partition=24))
    read: list[str] = []
    from dask_polars.graph import worker

    original = worker.as_frame

    def spy(frame: Any) -> pl.DataFrame:
        read.extend(file.path for file in getattr(frame, "files", ()))
        return original(frame)

    monkeypatch.setattr(worker, "as_frame", spy)
    import dask

    with dask.config.set({"dask-polars.max-rows-per-partition": 24}):
        assert query.collect(scheduler="sync").equals(FRAME.head(5))
    assert {Path(path).name for path in read} == {"00.parquet"}


def test_limits_cross_exchanges(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    """The first rows of a left join need no more than the first rows of its left side."""
    query = left.join(right, on="k", how="left", maintain_order="left").head(3)
    (join,) = [stage for stage in stages(query) if stage.operation.startswith("join")]
    assert isinstance(join, MapStage)
    assert join.sources[0].stage.size.rows <= 3


def test_predicates_and_projections_cross_exchanges(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    query = left.join(right, on="k").filter(pl.col("v") > 20).select("k", "w")
    (source,) = [stage for stage in stages(query, **SHUFFLED) if stage.schema.keys() == {"k", "v"}][:1]
    assert isinstance(source, MapStage)
    sent = [stage for stage in shuffles(query, **SHUFFLED) if stage.operation == "join-left-shuffle"]
    assert set(sent[0].schema) == {"k", "v"}, "the column s is not sent"
    assert 'col("v")' in dp.LazyFrame(query.to_polars()).explain()


def test_common_parts_of_queries_are_planned_once(left: dp.LazyFrame) -> None:
    base = left.group_by("k").agg(pl.col("v").median())
    both = plan_queries(
        [base.filter(pl.col("k") > 1).to_polars(), base.filter(pl.col("k") > 1).select("v", "k").to_polars()],
        Options.current(**SHUFFLED),
    )
    assert len([stage for stage in walk_stages(both.roots) if isinstance(stage, ShuffleStage)]) == 1


def test_rows_behind_an_exchange_are_computed_once_for_their_own_mean(left: dp.LazyFrame) -> None:
    medians = left.group_by("k").agg(pl.col("v").median())
    query = medians.filter(pl.col("v") > pl.col("v").mean())
    assert len(shuffles(query, **SHUFFLED)) == 1


def test_deep_plans_are_walked_without_recursion(left: dp.LazyFrame) -> None:
    planner = Planner(Options.current())
    (stage,) = plan(left).roots
    for _ in range(3000):
        stage = planner.regroup(stage, [range(stage.npartitions)])
        assert stage.token  # each is hashed when it is made
    assert not stage.is_shuffled
    assert [below.token for below in walk_stages([stage, stage])][-1] == stage.token
    assert len(list(walk_stages([stage, stage]))) == 3001


def test_equal_queries_have_equal_names(left: dp.LazyFrame, right: dp.LazyFrame) -> None:
    def query(value: int) -> str:
        lf = left.join(right, on="k").filter(pl.col("v") > value).group_by("s").agg(pl.col("w").mean())
        return plan(lf, **SHUFFLED).roots[0].name

    assert query(1) == query(1)
    assert query(1) != query(2)


def test_ten_thousand_partitions() -> None:
    """Graphs stay small: a fragment is there once for each stage, not once for each task."""
    import pickle

    frame = pl.DataFrame({"k": range(10_000), "v": range(10_000)})
    lf = dp.from_polars(frame, npartitions=10_000)
    query = lf.join(lf.group_by("k").agg(pl.col("v").sum()), on="k").group_by("v").agg(pl.len())
    graph, _ = build_graph(plan(query, broadcast_limit=0).roots, p2p_shuffle=True)
    assert len(pickle.dumps(graph)) < 30e6


def test_a_slice_of_groups_is_a_slice(left: dp.LazyFrame) -> None:
    """It is never in a plan that Polars made of a query, but a plan has a place for it."""
    groups = left.to_polars().group_by("k", maintain_order=True).agg(pl.col("v").sum())
    node = decode(groups)
    sliced = node.with_fields(options={**node.fields["options"], "slice": [1, 2]})
    assert not plan_queries([to_lazyframe(sliced)], Options.current()).fallbacks
    found = dp.LazyFrame(to_lazyframe(sliced)).collect(scheduler="sync")
    assert found.equals(left.group_by("k", maintain_order=True).agg(pl.col("v").sum()).collect(scheduler="sync")[1:3])
