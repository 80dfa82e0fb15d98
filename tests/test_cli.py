"""The command ``dask-polars``."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from dask_polars import doctor, versions
from dask_polars.cli import cli

ROOT = Path(__file__).parents[1]

SCRIPT = """
import sys

import polars as pl

import beside

assert __name__ == "__main__"
lf = pl.scan_parquet(sys.argv[1]).with_columns(w=pl.col("v").map_elements(beside.twice, return_dtype=pl.Int64))
result = lf.group_by("k").agg(pl.col("w").sum()).sort("k").collect()
lf.sink_parquet(sys.argv[2])
eager = pl.DataFrame({"a": [1, 2]}).filter(pl.col("a") > 1)
print("engine:", pl.Config.state().get("engine_affinity", "none"), "rows:", result.rows(), "eager:", eager.item())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    pl.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]}).write_parquet(tmp_path / "in.parquet")
    (tmp_path / "beside.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def command(*arguments: Any, cwd: Path, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = [sys.executable, "-m", "dask_polars", *map(str, arguments)]
    return subprocess.run(whole, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_the_command_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert declared == {"dask-polars": "dask_polars.cli:main"}


def test_run_with_workers_of_its_own(script: Path) -> None:
    done = command("run", "--workers", 1, script, "in.parquet", "out.parquet", cwd=script.parent)
    assert done.returncode == 0, done.stderr
    assert "rows: [('a', 8), ('b', 4)] eager: 2" in done.stdout
    assert pl.read_parquet(script.parent / "out.parquet")["w"].to_list() == [2, 4, 6]


@pytest.mark.cluster
def test_run_on_a_cluster(client: Any, tmp_path: Path) -> None:
    """Tasks have run there, and what the script ends with is what the command ends with."""
    path = tmp_path / "script.py"
    path.write_text(
        "import os, sys, polars as pl\n"
        "pid = pl.col('v').map_batches(lambda s: pl.Series([os.getpid()]), return_dtype=pl.Int64)\n"
        "print('pid', pl.LazyFrame({'v': [1]}).select(pid).collect().item())\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    address = client.scheduler.address
    done = invoke("run", "--scheduler", address, "--fallback", "silent", path, "3")
    assert done.exit_code == 3
    pids = {f"pid {pid}" for pid in client.run(os.getpid).values()}
    assert done.output.strip() in pids
    path.write_text(
        "import polars as pl\nlf = pl.LazyFrame({'v': [1]})\npl.concat([lf, lf]).map_batches(lambda df: df).collect()\n"
    )
    refused = invoke("run", "--scheduler", address, "--fallback", "raise", path)
    assert type(refused.exception).__name__ == "FallbackError"


def test_run_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    missing = invoke("run", tmp_path / "none.py")
    assert missing.exit_code == 2
    assert "none.py" in missing.output
    both = invoke("run", "--scheduler", "tcp://h:1", "--workers", 1, tmp_path / "x.py")
    assert both.exit_code == 2
    assert "give one of them" in both.output


def test_options_may_come_behind_the_script(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import sys\nprint(sys.argv[1:])\n")
    both = invoke("run", path, "--scheduler=tcp://h:1", "--workers", 1)
    assert both.exit_code == 2
    assert "give one of them" in both.output
    given = invoke("explain", path, "-h", "--month", "3", "--", "--workers", "5")
    assert "['-h', '--month', '3', '--workers', '5']" in given.output


def test_no_scheduler_answers(tmp_path: Path) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        done = invoke("doctor", "--scheduler", "tcp://127.0.0.1:9")
    assert done.exit_code == 2
    assert "no scheduler answers at tcp://127.0.0.1:9" in done.output


def test_explain_runs_nothing(script: Path) -> None:
    done = command("explain", script, "in.parquet", "out.parquet", cwd=script.parent)
    assert done.returncode == 0, done.stderr
    assert "query 1" in done.stdout
    assert "SCAN parquet" in done.stdout
    assert "query 2" in done.stdout
    assert "out.parquet" in done.stdout
    assert "rows: [] eager: 2" in done.stdout
    assert not (script.parent / "out.parquet").exists()


def test_explain_of_all_ways_to_run(tmp_path: Path) -> None:
    path = tmp_path / "ways.py"
    path.write_text(
        "import asyncio, polars as pl\n"
        "lf = pl.LazyFrame({'v': [1, 2]})\n"
        "assert lf.collect(background=True).fetch_blocking().height == 0\n"
        "assert pl.collect_all([lf, lf.head(1)])[1].schema == lf.collect_schema()\n"
        "assert list(lf.collect_batches()) == []\n"
        "async def main(): return await lf.collect_async()\n"
        "assert asyncio.run(main()).columns == ['v']\n"
        "lf.sink_batches(print)\n"
        f"lf.sink_csv(open({str(tmp_path / 'o.csv')!r}, 'wb'))\n"
        "assert lf.execute().n_rows_total == 0\n"
    )
    done = invoke("explain", path)
    assert done.exit_code == 0, (done.output, done.exception)
    assert [line for line in done.output.splitlines() if line.startswith("query")] == [
        f"query {i}" for i in range(1, 9)
    ]
    assert not (tmp_path / "o.csv").read_text()


def test_explain_stops_where_rows_are_missed(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import polars as pl\nprint(pl.LazyFrame({'v': [1]}).collect().row(0))\n")
    done = invoke("explain", tmp_path / "x.py")
    assert done.exit_code == 1
    assert "query 1" in done.output
    assert "whose results had no rows here" in done.output
    (tmp_path / "y.py").write_text("print(1)")
    assert "runs no lazy query" in invoke("explain", tmp_path / "y.py").output


@pytest.mark.cluster
def test_doctor(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = client.scheduler.address
    done = invoke("doctor", "--scheduler", address)
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith("No problems.")
    for word in ("client", "scheduler", "polars", pl.__version__, *client.nthreads(), "Polars threads", "memory"):
        assert word in done.output
    missing = invoke("doctor", "--scheduler", address, "--s3", "memory://nothing-here")
    assert missing.exit_code == 1
    assert "worker" in missing.output
    assert "cannot list memory://nothing-here: FileNotFoundError" in missing.output
    probe = versions._probe
    monkeypatch.setattr(versions, "_probe", lambda names: {**probe(names), "polars": "2.1.9"})
    monkeypatch.setattr(doctor.workers, "describe_threads", lambda reports: "too many threads")
    report = doctor.examine(_Elsewhere(client, probe))
    assert "different versions" in report.problems[0]
    assert "pip install polars==2.1.9" in report.problems[0]
    assert "too many threads" in report.text()


class _Elsewhere:
    """A client whose cluster has other versions than this process, which was told a lie."""

    def __init__(self, client: Any, probe: Any) -> None:
        self._client, self._probe = client, probe

    def run_on_scheduler(self, function: Any, *arguments: Any) -> Any:
        return self._client.run_on_scheduler(self._probe, *arguments)

    def run(self, function: Any, *arguments: Any, **options: Any) -> Any:
        asked = self._probe if arguments else function
        return self._client.run(asked, *arguments, **options)


@pytest.mark.cluster
def test_bench(client: Any, tmp_path: Path) -> None:
    arguments = ["--rows", 1000, "--repeat", 1, "--directory", tmp_path / "data"]
    done = invoke("bench", "--scheduler", client.scheduler.address, *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    lines = [line for line in done.output.splitlines() if line.startswith(("scan", "group_by", "join", "sort"))]
    assert len(lines) == 4
    assert all(float(number) >= 0 for line in lines for number in line.split()[-3:])
    assert not list((tmp_path / "data").iterdir())
