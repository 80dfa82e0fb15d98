"""Plans as pictures, in notebooks, browsers and files."""

from __future__ import annotations

import re
import webbrowser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dask
import polars as pl
import pytest

import dask_polars as dp
from dask_polars import diagram
from dask_polars.coverage import CASES, small_and_large, tables
from dask_polars.plan import plan_queries
from dask_polars.plan.stages import walk_stages
from dask_polars.stage_graph import StageGraph


def query(npartitions: int = 3) -> Any:
    lf = dp.from_polars(pl.DataFrame({"k": ["<a>", "b", "c"] * 10, "v": range(30)}), npartitions=npartitions)
    return lf.filter(pl.col("v") > pl.col("v").mean()).group_by("k").agg(pl.col("v").sum())


def boxes(text: str) -> list[tuple[float, float, float, float]]:
    names = ("x", "y", "width", "height")
    found = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}rect")
    return [tuple(float(box.attrib[name]) for name in names) for box in found]  # type: ignore[misc]


def test_tree() -> None:
    lines = query().explain(format="tree").splitlines()
    assert re.match(r"\[1\] groupby  1 partition, ~\d+ rows", lines[0])
    assert lines[1].startswith("└─ [2] GATHER  1 partition")
    assert any("├─ [5] FRAME in memory" in line for line in lines)
    assert any("└─ broadcast, one row: [" in line for line in lines)
    assert lines[-1].endswith("(as above)")
    text = dp.from_polars(pl.DataFrame({"v": range(9)}), npartitions=3).select(pl.all().shuffle())
    assert text.explain(format="tree").endswith("needs all rows at once")


def test_mermaid() -> None:
    text = query().explain(format="mermaid")
    assert text.startswith("flowchart BT\n")
    assert query().show_graph(raw_output=True) == text
    nodes = re.findall(r"^    (s\d+)\[\"", text, re.M)
    arrows = re.findall(r"^    (s\d+) -->(?:\|[^|]+\|)? (s\d+)$", text, re.M)
    assert len(nodes) == len(set(nodes)) == len(list(walk_stages(query()._plan().roots)))
    assert {end for arrow in arrows for end in arrow} == set(nodes)
    assert "-->|broadcast, one row|" in text


def test_formats_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="format must be"):
        query().explain(format="dot")


def test_boxes_of_all_operations_are_apart() -> None:
    small, large = small_and_large()
    with tables() as inputs:
        for case in CASES[::4]:
            for options in (small, large):
                plan = plan_queries([case.query(inputs).to_polars()], options)
                found = boxes(diagram.svg(StageGraph(plan.roots)))
                assert len(found) == len(list(walk_stages(plan.roots)))
                for number, (x, y, width, height) in enumerate(found):
                    for x2, y2, width2, height2 in found[:number]:
                        beside = x + width < x2 or x2 + width2 < x
                        assert beside or y + height < y2 or y2 + height2 < y, case.operation


def test_notebooks() -> None:
    text = query()._repr_html_()
    assert "<b>dask_polars.LazyFrame</b>: 1 partition, " in text
    assert "<code>String</code>" in text
    assert "2 columns" in text
    assert len(boxes(re.search("<svg.*</svg>", text, re.S)[0])) == len(list(walk_stages(query()._plan().roots)))  # type: ignore[index]
    assert query().explain(format="html") in text
    wide = dp.from_polars(pl.DataFrame({f"<{number}>": [1] for number in range(20)}))._repr_html_()
    assert "&lt;19&gt;" in wide
    assert "<details><summary>20 columns" in wide


def test_wrong_queries_in_notebooks() -> None:
    text = dp.from_polars(pl.DataFrame({"v": [1]})).select("<nope>")._repr_html_()
    assert "ColumnNotFoundError" in text
    assert "&lt;nope&gt;" in text


def test_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it was computed")

    lf = query()
    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    with dask.config.set(scheduler=collect):
        assert "stages" in lf._repr_html_()
        assert lf.show_graph(raw_output=True)


def test_files(tmp_path: Path) -> None:
    for suffix, start in ((".svg", "<svg"), (".html", "<!DOCTYPE html>"), (".mmd", "flowchart BT")):
        path = tmp_path / f"plan{suffix}"
        assert query().show_graph(show=False, output_path=path) is None
        assert path.read_text(encoding="utf-8").startswith(start)
    with pytest.raises(ValueError, match=r"\.svg, \.html or \.mmd"):
        query().show_graph(show=False, output_path=tmp_path / "plan.png")


def test_browsers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    query().show_graph()
    path = Path(opened[0].removeprefix("file://"))
    assert "<svg" in path.read_text(encoding="utf-8")
    path.unlink()
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    query().show_graph()
    assert capsys.readouterr().out.rstrip("\n") == query().explain(format="tree")


def test_the_graph_of_polars() -> None:
    lf = dp.from_polars(pl.DataFrame({"v": range(30)}), npartitions=3).filter(pl.col("v") > 3)
    assert lf.show_graph(engine="polars", raw_output=True) == lf.to_polars().show_graph(raw_output=True)


def test_profiles_are_in_the_boxes(tmp_path: Path) -> None:
    lf = query()
    result, profile = lf.profile(scheduler="sync")
    lf.show_graph(show=False, output_path=tmp_path / "plan.svg", profile=profile)
    text = (tmp_path / "plan.svg").read_text(encoding="utf-8")
    assert f"gave {result.height:,} rows" in text
    assert "as a part of [" in text
    assert "gave" not in diagram.svg(StageGraph(lf._plan().roots))
    with dask.config.set(scheduler="threads"):
        kept = dp.DaskEngine().execute(lf.to_polars())
        assert f"gave {result.height:,} rows" in kept.show_graph(raw_output=True)  # type: ignore[operator]
    with pytest.raises(ValueError, match="no stages"):
        dp.DaskEngine().execute(pl.LazyFrame({"v": [1]})).show_graph()


def test_what_was_there_already_is_said() -> None:
    lf = query()
    _, profile = lf.profile(scheduler="sync")
    text = diagram.mermaid(StageGraph(lf._plan().roots), profile.with_columns(tasks=pl.lit(0, pl.UInt32)))
    assert "was there already" in text


def test_names_on_the_dashboard() -> None:
    """Dask groups tasks by their names without the hash: these are the operations."""
    from dask.utils import key_split

    from dask_polars.graph.names import Names

    with tables() as inputs:
        for case in CASES:
            plan = plan_queries([case.query(inputs).to_polars()], small_and_large()[1])
            names = Names(plan.roots)
            for stage in walk_stages(plan.roots):
                assert key_split((names.of(stage), 0)) == stage.operation, case.operation
