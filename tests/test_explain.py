"""``explain`` tells how a query is distributed."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import dask
import polars as pl
import pytest

import dask_polars as dp

DATA = pl.DataFrame({"k": ["a", "b", "a", "c"] * 25, "v": range(100)})


def frame(npartitions: int = 2) -> Any:
    return dp.from_polars(DATA, npartitions=npartitions)


def without_fragments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("|"))


def test_golden() -> None:
    query = frame().filter(pl.col("v") > 3).group_by("k").agg(pl.col("v").sum()).sort("k")
    text = query.explain()
    assert without_fragments(text) == textwrap.dedent(
        """\
        [1] sort  1 partition, ~33 rows, ~1.30 kiB
          [2] groupby  1 partition, ~33 rows, ~1.30 kiB
            [3] GATHER  1 partition, ~33 rows, ~1.30 kiB
              [4] groupby-partial  2 partitions, ~33 rows, ~1.30 kiB
                [5] filter  2 partitions, ~33 rows, ~1.30 kiB
                  [6] FRAME in memory  2 partitions, 100 rows, ~900 B"""
    )
    assert 'FILTER col("v") > 3' in text
    assert 'BY [col("k")]' in text
    again = frame().filter(pl.col("v") > 3).group_by("k").agg(pl.col("v").sum()).sort("k")
    assert again.explain() == text


def test_shuffles_say_kind_keys_partitions_and_bytes() -> None:
    with dask.config.set({"dask-polars.broadcast-limit": 0}):
        text = frame(3).join(frame(2), on="k").explain()
    assert re.search(r"SHUFFLE \(hash\) by k  join-left-shuffle  \d partitions, 100 rows, ~900 B", text)
    assert re.search(r"SHUFFLE \(hash\) by k  join-right-shuffle  \d partitions, ~?100 rows, ~", text)
    assert "INNER JOIN" in text
    with dask.config.set({"dask-polars.partition-size": 100}):
        text = frame(3).sort("v", "k").explain()
    assert "SHUFFLE (range) by v, k  sort-shuffle  3 partitions" in text


def test_broadcasts_and_shared_stages() -> None:
    text = frame(3).join(frame(2), on="k").explain()
    assert "join-broadcast  3 partitions" in text
    assert "broadcast:" in text
    lf = frame(3).with_columns(w=pl.col("v") + 1)
    text = lf.filter(pl.col("w") > lf.select(pl.col("w").mean()).collect().item()).explain()
    assert "FILTER" in text
    assert "broadcast, one row:" in frame().filter(pl.col("v") > pl.col("v").mean()).explain()
    assert "(as above)" in frame().filter(pl.col("v") > pl.col("v").mean()).explain()


def test_fallbacks_are_given_with_their_reasons() -> None:
    text = frame().select(pl.all().shuffle()).explain()
    assert "fallback  (not distributed: `Random` needs all rows at once)" in text
    assert "GATHER  1 partition" in text
    assert text.endswith("Gathered to one partition:\n  - select: `Random` needs all rows at once")
    assert "Gathered to one" not in frame(1).select(pl.all().shuffle()).explain()
    assert "Gathered to one" not in frame().select("v").explain()


def test_head_and_scans(tmp_path: Path) -> None:
    for index in range(3):
        DATA.write_parquet(tmp_path / f"{index}.parquet")
    options = {"aws_secret_access_key": "SECRET"}
    lf = dp.scan_parquet(tmp_path / "*.parquet", storage_options=options)
    with dask.config.set({"dask-polars.max-rows-per-partition": 50}):
        text = lf.head(5).explain()
        assert "HEAD 5  as few partitions as it takes" in text
        assert "SCAN parquet  3 files  6 partitions, 300 rows" in text
        assert "SECRET" not in text
    assert "SECRET" not in lf.filter(pl.col("v") > 1).explain()
    assert "SECRET" not in repr(lf)


def test_the_plan_of_polars() -> None:
    lf = frame().filter(pl.col("v") > 3)
    assert lf.explain(engine="polars") == lf.to_polars().explain()
    assert lf.explain(engine="streaming") == lf.to_polars().explain(engine="streaming")
    assert lf.explain(engine="polars", optimized=False) == lf.to_polars().explain(optimized=False)
    assert lf.explain(engine="polars", format="tree") == lf.to_polars().explain(format="tree")
    with pytest.raises(ValueError, match="engine"):
        lf.explain(engine="nothing")


def test_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def collected(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(pl.LazyFrame, "collect", collected)
    frame().map_partitions(lambda part: part).join(frame(), on="k").sort("v").head(3).explain()


def test_errors_are_those_of_polars() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        frame().select("zz").explain()
