"""The process of an engine."""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness.engines import ENGINES, Engine, Setting, open_engine
from benchmarks.harness.processes import be_killed_first, serve
from benchmarks.harness.workloads import WORKLOADS


class Session:
    """Answers requests: `("counters",)`, `("run", query)` and `("finish", path)`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.result: Any = None

    def __call__(self, request: tuple[str, Any]) -> dict[str, Any]:
        kind, argument = request
        try:
            return {"status": "ok", **getattr(self, f"do_{kind}")(argument)}
        except (Exception, pl.exceptions.PanicException) as error:
            self.result = None
            text = str(error).strip().splitlines()
            return {"status": "error", "error": f"{type(error).__name__}: {text[0] if text else ''}"}

    def do_counters(self, _: Any) -> dict[str, Any]:
        gc.collect()
        return {"counters": self.engine.counters()}

    def do_run(self, query: str) -> dict[str, Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            start = time.perf_counter()
            self.result = self.engine.run(query)
            seconds = time.perf_counter() - start
        said = {f"{warning.category.__name__}: {warning.message}" for warning in caught}
        return {"seconds": seconds, "warnings": sorted(text for text in said if text.startswith("Fallback"))}

    def do_finish(self, path: Path | None) -> dict[str, Any]:
        """Write the answer, where it is wanted, and let go of it."""
        result, self.result = self.result, None
        if path is not None:
            self.engine.answer(result).write_ipc(path)
        return {}


def main() -> None:
    """Start the engine and answer requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--address")
    options = parser.parse_args()
    be_killed_first()
    setting = Setting(
        WORKLOADS[options.workload](),
        options.data,
        options.scratch,
        options.threads,
        options.memory,
        options.address,
    )
    with open_engine(options.engine, setting) as engine:
        serve(options.fd, Session(engine))


if __name__ == "__main__":
    main()
