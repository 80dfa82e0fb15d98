"""The benchmarks run, on little data and few queries, from the data to the page."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.datasets import make
from benchmarks.h2o import data as h2o_data
from benchmarks.h2o import duckdb as h2o_sql
from benchmarks.h2o import queries as h2o
from benchmarks.harness.processes import Child, Died
from benchmarks.harness.workloads import WORKLOADS
from benchmarks.results import geometric_mean, ratios, seconds
from benchmarks.tables import bytes_table, failures, layout, queries_table
from benchmarks.tpch import dask_dataframe, duckdb
from benchmarks.tpch.data import generate
from benchmarks.tpch.queries import QUERIES
from dask_polars.counters import Watch, worker_counters

ROOT = Path(__file__).parent.parent


def record(engine: str, took: float | None, **changes: Any) -> dict[str, Any]:
    """Make a record as a race makes it."""
    row = {
        "workload": "tpch",
        "size": 1.0,
        "query": "1",
        "engine": engine,
        "repeat": 0,
        "status": "ok" if took is not None else "timeout",
        "seconds": took,
        "error": "",
        "warnings": [],
        "peaks": [100, 300],
        "before": [100, 100],
        "answer": "same",
    }
    return {**row, **dict.fromkeys(("read", "read_disk", "shuffled", "transferred", "spilled"), 0), **changes}


@pytest.fixture(scope="module")
def little_h2o(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(h2o_data.generate(tmp_path_factory.mktemp("h2o") / "data", 2_000, rows_per_file=700))


@pytest.fixture(scope="module")
def little_tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named as a run names it."""
    return generate(tmp_path_factory.mktemp("tpch") / "tpch-0.01-files-of-20000", 0.01, rows_per_file=20_000)


@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_a_run_writes_results_and_a_page(tmp_path: Path, little_tpch: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--scale=0.01",
        "--no-scaling",
        "--repeat=1",
        "--cores=1",
        "--name=run",
    ]
    command += ["--queries=6,13", "--engines=polars,dask_polars", "--rows-per-file=20000", "--memory=1GB"]
    command += [f"--data={little_tpch.parent}", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "out" / "run.json").read_text())["records"]
    found = {(row["query"], row["engine"], row["status"], row["answer"]) for row in records}
    assert found == {
        (query, engine, "ok", answer)
        for query in ("6", "13")
        for engine, answer in (("polars", "reference"), ("dask_polars", "same"))
    }
    assert all(row["seconds"] > 0 and min(row["peaks"]) > 10_000_000 for row in records)
    assert "geometric mean" in done.stdout
    page = (tmp_path / "out" / "run.html").read_text()
    assert "geometric mean" in page
    assert page.count("<svg") == (2 if importlib.util.find_spec("matplotlib") else 0)
    assert not list((tmp_path / "out").glob("scratch*"))


def test_a_child_that_dies_and_one_that_is_slow(tmp_path: Path) -> None:
    arguments = ["--engine=none"]  # is not known
    child = Child("benchmarks.harness.child", arguments, tmp_path / "log", {})
    with pytest.raises(Died, match="status 2"):
        child.ask(("counters", None), 60)
    child.close()
    silent = Child("benchmarks.harness.child", arguments, tmp_path / "log", {})
    with pytest.raises(TimeoutError):
        silent.ask(("counters", None), 0.0)
    silent.close(patience=0.0)
    assert not silent.alive


@pytest.mark.parametrize("exact", [True, False], ids=["kernel", "sampled"])
def test_the_peak_of_memory_is_seen(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exact:
        monkeypatch.setattr("dask_polars.counters._forget_peak", lambda pid: False)
    watch = Watch([os.getpid()])
    block = bytearray(os.urandom(1) * 100_000_000)
    time.sleep(0.3)
    del block
    usage = watch.stop([os.getpid()])
    assert usage.peaks[0] - usage.before[0] > 90_000_000


@pytest.mark.cluster
def test_bytes_that_are_shuffled_are_counted(client: Any) -> None:
    import dask_polars as dp

    frame = dp.from_polars(pl.DataFrame({"k": range(20_000), "v": range(20_000)}), npartitions=3)
    before = worker_counters(client)
    assert frame.group_by("k").agg(pl.col("v").median()).collect().height == 20_000
    after = worker_counters(client)
    assert before.pids == after.pids
    assert after.shuffled - before.shuffled > 20_000
    assert after.spilled == before.spilled


def test_all_apis_have_all_queries() -> None:
    assert QUERIES.keys() == duckdb.QUERIES.keys()
    assert h2o.QUERIES.keys() == h2o_sql.QUERIES.keys()
    assert WORKLOADS["h2o"]().queries == tuple(h2o.QUERIES)


@pytest.mark.parametrize("question", list(h2o.QUERIES))
def test_h2o(question: str, little_h2o: str) -> None:
    """Polars and DuckDB give the same rows; dask_polars too."""
    import dask_polars as dp

    expected = h2o.QUERIES[question](h2o.tables(little_h2o)).collect()
    columns = expected.columns
    check = {"check_row_order": False, "rel_tol": 1e-6, "abs_tol": 1e-9}
    query = h2o.QUERIES[question](h2o.tables(little_h2o, dp.scan_parquet))
    pl.testing.assert_frame_equal(query.collect(scheduler="sync").select(columns), expected, **check)
    sql = pytest.importorskip("duckdb")
    if question == "g9":
        return  # the correlation of few rows may be of no variance: null in one, not a number in the other
    answer = pl.DataFrame(sql.sql(h2o_sql.statement(question, little_h2o)).to_arrow_table())
    pl.testing.assert_frame_equal(answer.select(columns).cast(dict(expected.schema)), expected, **check)


def test_join_keys_are_in_both_tables_for_the_most_part(little_h2o: str) -> None:
    tables = h2o.tables(little_h2o)
    assert tables.big.join(tables.x, on="id3").select(pl.len()).collect().item() == 1_800
    assert tables.x.select(pl.col("id3").n_unique()).collect().item() == 2_000


def test_dask_dataframe_gives_the_same(little_tpch: Path) -> None:
    pytest.importorskip("pandas")
    import dask

    workload, directory = WORKLOADS["tpch"](), str(little_tpch)
    assert dask_dataframe.QUERIES.keys() == QUERIES.keys()
    with dask.config.set(scheduler="sync"):
        for query in ("4", "18"):
            expected = workload.lazy_frame(query, directory, pl.scan_parquet).collect()
            answer = workload.dask_dataframe(query, directory).compute().reset_index(drop=True)
            workload.compare(query, pl.from_pandas(answer), expected)


def test_files_by_rows(little_tpch: Path) -> None:
    count = {table: len(list((little_tpch / table).iterdir())) for table in ("lineitem", "orders", "nation")}
    assert count == {"lineitem": 3, "orders": 1, "nation": 1}
    assert pl.scan_parquet(little_tpch / "orders").select(pl.len()).collect().item() == 15_000


def test_a_wrong_answer_and_a_failure_are_shown() -> None:
    rows = [record("polars", 1.0), record("dask_polars", 3.0, answer="different: values"), record("duckdb", None)]
    header, body = queries_table(rows)
    assert header == ["query", "polars", "dask_polars", "duckdb", "dask_polars / polars"]
    assert body[0] == ["1", "1.000", "3.000 ≠", "timeout", "3.00"]
    assert "300 B" in layout(*bytes_table(rows))
    assert failures(rows) == [
        "tpch 1, query 1, dask_polars: answer is different: values",
        "tpch 1, query 1, duckdb: timeout: ",
    ]


def test_medians_and_ratios() -> None:
    rows = [record("polars", took, repeat=i) for i, took in enumerate([1.0, 9.0, 2.0])] + [record("duckdb", 4.0)]
    assert seconds(rows[:3]) == 2.0
    assert ratios(rows, "duckdb", "polars") == {"1": 2.0}
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert seconds([record("polars", 1.0), record("polars", None)]) is None


def test_a_data_set_is_made_once_and_never_mixed_up(tmp_path: Path) -> None:
    made = []

    def write(scratch: Path, directory: Path) -> None:
        made.append(scratch.is_dir())
        (directory / "file").write_text("data")

    for _ in range(2):
        make(tmp_path / "set", "marker", {"rows": 1}, write)
    assert made == [True]
    with pytest.raises(FileExistsError, match="delete it first"):
        make(tmp_path / "set", "marker", {"rows": 2}, write)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
