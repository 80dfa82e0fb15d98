"""Run a micro-benchmark in a process of its own, with a cluster of its own where it needs one."""

from __future__ import annotations

import argparse
import importlib
import shutil
from pathlib import Path
from typing import Any

from benchmarks.harness.processes import Child, Died, be_killed_first, serve
from benchmarks.harness.race import STARTING, Limits
from benchmarks.micro import CLUSTERED
from benchmarks.micro.measuring import Row, Setting, make_files


def run_micro(name: str, data: Path, limits: Limits, out: Path, options: argparse.Namespace) -> list[Row]:
    """Run a micro-benchmark; what fails or takes too long gives a row that says so.

    Parameters
    ----------
    name
        Of the micro-benchmark.
    data
        Directory of data sets.
    limits
        What it may use; it may take ten times as long as a query.
    out
        Directory for logs and temporary files.
    options
        `tpch` and `h2o`, the directories of data sets, `files`, `repeat`, and `shuffled`, bytes.
    """
    many = data / f"files-{options.files}"
    if name in ("files", "partitions"):
        print(f"making {many}, unless it is there", flush=True)
        many = make_files(many, options.files)
    scratch, logs = out.resolve() / "scratch-micro", out / "logs"
    scratch.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    threads = {"POLARS_MAX_THREADS": str(limits.cores)}
    arguments = ["--name", name, "--repeat", str(options.repeat), "--many-files", str(many.resolve())]
    arguments += ["--shuffled", str(options.shuffled)]
    arguments += ["--tpch", str(options.tpch.resolve()), "--h2o", str(options.h2o.resolve())]
    cluster = child = None
    try:
        if name in CLUSTERED:
            of_cluster = ["--workers", str(limits.cores), "--memory", str(limits.memory), "--scratch", str(scratch)]
            log = logs / f"micro-{name}-cluster.log"
            cluster = Child("benchmarks.harness.cluster", of_cluster, log, {"POLARS_MAX_THREADS": "1"})
            arguments += ["--address", cluster.ask("address", STARTING)]
        child = Child("benchmarks.micro.run", arguments, logs / f"micro-{name}.log", threads)
        return child.ask("run", 10 * limits.timeout)
    except (TimeoutError, Died) as error:
        said = f"{error}; see {logs}"
        return [
            {"name": name, "case": "", "measure": "", "api": "", "value": None, "unit": "", "runs": [], "error": said}
        ]
    finally:
        for process in (child, cluster):
            if process is not None:
                process.close(patience=5.0)
        shutil.rmtree(scratch, ignore_errors=True)


def main() -> None:
    """Be the process of a micro-benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--repeat", type=int, required=True)
    for directory in ("--tpch", "--h2o", "--many-files"):
        parser.add_argument(directory, type=Path, required=True)
    parser.add_argument("--address")
    parser.add_argument("--shuffled", type=float, required=True)
    options = parser.parse_args()
    be_killed_first()
    client = None
    if options.address:
        from distributed import Client

        client = Client(options.address)
    setting = Setting(options.tpch, options.h2o, options.many_files, options.repeat, client, options.shuffled)
    measure = importlib.import_module(f"benchmarks.micro.{options.name}").measure

    def answer(_: Any) -> list[Row]:
        return measure(setting)

    serve(options.fd, answer)
    if client is not None:
        client.close()


if __name__ == "__main__":
    main()
