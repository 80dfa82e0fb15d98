"""What editors and type checkers know of a collection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.lazyframe.group_by import LazyGroupBy as PolarsLazyGroupBy

import dask_polars as dp
from dask_polars import stubs
from dask_polars.methods import LazyFrameMethods, LazyGroupByMethods
from dask_polars.notes import EACH, VARIES, note_on

ROOT = Path(__file__).parents[1]

RIGHT = """
import dask_polars as dp
import polars as pl
from polars.lazyframe.in_process import InProcessQuery

lf: dp.LazyFrame = dp.scan_parquet("x/*.parquet", n_rows=3).filter(pl.col("a") > 1)
lf = lf.join(lf.select("a"), on="a").join(pl.DataFrame({"a": [1]}), on="a").join(pl.LazyFrame({"a": [1]}), on="a")
lf = lf.group_by("a").agg(pl.len()).sort("a").unique().head(3)
lf = lf.pipe(lambda frame: frame.with_row_index()).pipe_with_schema(lambda frame, schema: frame.select(list(schema)))
lf = lf.sink_parquet("y.parquet", lazy=True)
frame: pl.DataFrame = lf.collect()
query: InProcessQuery = lf.collect(background=True)
frame = lf.describe()
schema: pl.Schema = lf.collect_schema()
lf = dp.from_polars(frame, npartitions=2).repartition(npartitions=3).persist()
number: int = lf.npartitions
frame = lf.compute()
frame = lf.collect(engine=dp.DaskEngine())
frame = lf.collect(progress=True, scheduler="sync")
lf = dp.concat([lf, dp.sql("SELECT 1")], how="diagonal")
"""

WRONG = """
import dask_polars as dp
import polars as pl

lf = dp.scan_parquet("x.parquet")
lf.filtre(pl.col("a") > 1)  # attr-defined
lf.group_by("a").aggregate(pl.len())  # attr-defined
lf.sort("a", descendign=True)  # call-arg
lf.head("three")  # arg-type
lf.join("other", on="a")  # arg-type
dp.scan_parquet("x.parquet", n_row=3)  # call-arg
lf.collect(schedulers="sync")  # call-overload
other: pl.DataFrame = lf.select("a")  # assignment
text: str = lf.collect()  # assignment
"""


def check(text: str, directory: Path) -> str:
    """Check a program as `make lint` checks this package, which leaves behind what mypy knows of it and of Polars."""
    sample = directory / "sample.py"
    sample.write_text(text)
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    command = [sys.executable, "-m", "mypy", str(sample)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert not run.stderr
    return run.stdout


def test_a_type_checker_finds_mistakes_and_nothing_else(tmp_path: Path) -> None:
    out = check(RIGHT + WRONG, tmp_path)
    lines = (RIGHT + WRONG).splitlines()
    expected = {(number, text.split("# ")[1]) for number, text in enumerate(lines, 1) if "  # " in text}
    found = {
        (int(line), code) for line, code in re.findall(r"^\S*sample\.py:(\d+): error: .*\[([a-z-]+)\]$", out, re.M)
    }
    assert found == expected, out


def test_the_declarations_are_those_of_this_polars() -> None:
    assert stubs.TARGET.read_text() == stubs.stub(), "python -m dask_polars.stubs writes them anew"


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "dask_polars/py.typed").exists()


@pytest.mark.parametrize(
    ("theirs", "ours", "declared"),
    [(pl.LazyFrame, dp.LazyFrame, LazyFrameMethods), (PolarsLazyGroupBy, dp.LazyGroupBy, LazyGroupByMethods)],
)
def test_every_method_is_declared(theirs: type, ours: type, declared: type) -> None:
    (text,) = re.findall(rf"^class {declared.__name__}:\n(.*?)(?=^class |\Z)", stubs.stub(), re.M | re.S)
    names = set(re.findall(r"^    def (\w+)\(", text, re.M))
    own = stubs.own_methods() if ours is dp.LazyFrame else set()
    assert names == {name for name in dir(theirs) if not name.startswith("_")} - own
    assert not [name for name in vars(declared) if not name.startswith("_")], "at run time there is nothing"


# ---------------------------------------------------------------- the notes

IN_EACH_PARTITION = {
    "cast": lambda lf: lf.cast({"a": pl.Float64}),
    "clear": lambda lf: lf.clear(),
    "drop": lambda lf: lf.drop("a"),
    "drop_nans": lambda lf: lf.drop_nans(),
    "drop_nulls": lambda lf: lf.drop_nulls(),
    "explode": lambda lf: lf.explode("l"),
    "fill_nan": lambda lf: lf.fill_nan(0.0),
    "filter": lambda lf: lf.filter(pl.col("a") > 1),
    "match_to_schema": lambda lf: lf.match_to_schema(lf.collect_schema()),
    "remove": lambda lf: lf.remove(pl.col("a") > 1),
    "rename": lambda lf: lf.rename({"a": "b"}),
    "set_sorted": lambda lf: lf.set_sorted("a"),
    "unnest": lambda lf: lf.unnest("s"),
    "unpivot": lambda lf: lf.select("a").unpivot(),
}


@pytest.mark.parametrize("name", [name for name in dir(pl.LazyFrame) if note_on("LazyFrame", name) == EACH])
def test_what_is_said_to_run_in_each_partition_does(name: str) -> None:
    data = pl.DataFrame({"a": [1, 2, 3], "f": [1.0, 2.0, 3.0], "l": [[1], [2], [3]], "s": [{"x": 1}] * 3})
    plan = IN_EACH_PARTITION[name](dp.from_polars(data, npartitions=3))._plan()
    assert not plan.fallbacks
    assert plan.roots[0].npartitions == 3 or name == "clear"


def test_what_is_noted_exists() -> None:
    from dask_polars import notes

    for table, theirs in ((notes._FRAME, pl.LazyFrame), (notes._GROUP_BY, PolarsLazyGroupBy)):
        noted = [name for names in table.values() for name in names.split()]
        assert len(set(noted)) == len(noted)
        assert set(noted) <= set(dir(theirs))
    assert note_on("LazyFrame", "interpolate") == VARIES


def test_documentation_of_polars_has_the_note() -> None:
    text = dp.LazyFrame.filter.__doc__
    assert text is not None
    assert text.startswith("Filter rows in the LazyFrame")
    assert f"**On Dask:** {EACH}" in text
    assert "Parameters\n----------" in text
