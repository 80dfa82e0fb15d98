"""The table of what is distributed: it is what the code does, and each of its queries gives the answer of Polars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dask
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dask_polars import coverage
from dask_polars.coverage.methods import missing
from dask_polars.coverage.page import Classified, classify, fallbacks, page
from dask_polars.coverage.reasons import FALLBACKS
from dask_polars.plan import plan_queries
from dask_polars.plan.planner import LOWER
from dask_polars.plan.stages import ShuffleStage, walk_stages

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs" / "coverage.md"


@pytest.fixture(scope="module")
def tables() -> Iterator[coverage.Tables]:
    with coverage.tables() as found:
        yield found


def test_the_readme_has_the_table_of_the_code() -> None:
    text = README.read_text()
    table = coverage.markdown()
    assert coverage.insert(text, table) == text, "run: python -m dask_polars.coverage README.md"


def test_rows_are_named_once() -> None:
    names = [case.operation for case in coverage.CASES if not case.operation.startswith("these")]
    assert len(set(names)) == len(names)


def test_what_is_gathered_says_why(tables: coverage.Tables) -> None:
    found = {row.operation: row for row in coverage.rows()}
    assert found["`LazyFrame.map_batches`"].reasons == ("a Python function gets the whole frame",)
    assert "**one partition**" in found["`LazyFrame.map_batches`"].small
    assert not found["`join` inner"].reasons


def test_placed_rows_are_not_shuffled_again(tables: coverage.Tables) -> None:
    _, large = coverage.small_and_large()
    for case in coverage.CASES:
        if "on the same keys" in case.operation:
            plan = plan_queries([case.query(tables).to_polars()], large)
            assert sum(isinstance(stage, ShuffleStage) for stage in walk_stages(plan.roots)) == 2, case.operation


def test_every_handler_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that gets a handler of its own gets a row, too."""
    used: set[str] = set()
    for kind, handler in list(LOWER.items()):
        monkeypatch.setitem(LOWER, kind, lambda *args, kind=kind, handler=handler: used.add(kind) or handler(*args))
    coverage.rows()
    # Sources that only Polars can read, and nodes without a handler, of which there need not be any.
    opaque = {"PythonScan", "Resolver", "Fallback"}
    assert set(LOWER) - used <= opaque


@pytest.mark.parametrize("case", coverage.CASES, ids=lambda case: re.sub(r"\W+", "-", case.operation).strip("-")[:60])
@pytest.mark.parametrize("size", ["small", "large"])
def test_the_queries_give_the_answer_of_polars(case: coverage.Case, size: str, tables: coverage.Tables) -> None:
    options = coverage.small_and_large()[size == "large"]
    names = ("partition_size", "broadcast_limit", "fallback")
    settings = {f"dask-polars.{name.replace('_', '-')}": getattr(options, name) for name in names}
    query = case.query(tables)
    with dask.config.set(settings):
        actual = query.collect(scheduler="sync")
    expected = query.to_polars().collect(engine="streaming")
    if any(name in case.operation for name in ("anything else", "map_groups")):
        # Which rows are the first is not defined.
        assert actual.shape == expected.shape
    else:
        assert_frame_equal(actual, expected, check_row_order=False, rel_tol=1e-9)


def test_the_marks_are_needed() -> None:
    with pytest.raises(ValueError, match="coverage:start"):
        coverage.insert("no marks", "table")
    text = f"a\n{coverage.START}\nold\n{coverage.END}\nz"
    assert coverage.insert(text, "new") == f"a\n{coverage.START}\nnew\n{coverage.END}\nz"


def test_steps_of_a_plan_without_exchanges() -> None:
    plan = plan_queries([pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 0)], coverage.small_and_large()[0])
    assert coverage.steps(plan) == "in each partition"


# One process plans all methods, once.
one_process = pytest.mark.xdist_group("classified")


@pytest.fixture(scope="module")
def classified() -> list[Classified]:
    return classify()


def test_every_public_method_is_on_the_page() -> None:
    """A method that Polars gets has to be looked at: give it an example, or say that it is no operation."""
    assert missing() == {"LazyFrame": set(), "LazyGroupBy": set(), "Expr": set()}


@one_process
def test_the_page_is_that_of_the_code_and_fallbacks_have_reasons(classified: list[Classified]) -> None:
    found = {f"{item.method.owner}.{item.method.name}" for item in fallbacks(classified)}
    unexplained, outdated = found - FALLBACKS.keys(), FALLBACKS.keys() - found
    assert (unexplained, outdated) == (set(), set()), "bring dask_polars/coverage/reasons.py up to date"
    assert page(classified) == PAGE.read_text(), "run: python -m dask_polars.coverage docs/coverage.md"


@one_process
@pytest.mark.parametrize(
    ("owner", "name", "expected"),
    [
        ("LazyFrame", "filter", ("fragment",)),
        ("LazyFrame", "group_by", ("shuffle",)),
        ("LazyFrame", "head", ("head",)),
        ("LazyFrame", "join", ("shuffle",)),
        ("LazyFrame", "join_where", ("pairs",)),
        ("LazyFrame", "map_batches", ("fallback",)),
        ("LazyFrame", "sink_parquet", ("written",)),
        ("LazyFrame", "with_row_index", ("carried",)),
        ("LazyGroupBy", "median", ("shuffle",)),
        ("Expr", "cum_sum", ("carried",)),
        ("Expr", "shift", ("overlap",)),
        ("Expr", "str.to_uppercase", ("fragment",)),
        ("Expr", "sum", ("tree",)),
    ],
)
def test_classes_of_methods(classified: list[Classified], owner: str, name: str, expected: tuple[str, ...]) -> None:
    assert [item.large for item in classified if (item.method.owner, item.method.name) == (owner, name)] == [expected]


@one_process
def test_small_sides_are_broadcast(classified: list[Classified]) -> None:
    (join,) = (item for item in classified if (item.method.owner, item.method.name) == ("LazyFrame", "join"))
    assert join.small == ("broadcast",)
