"""Make the TPC-H tables as Parquet files, with `tpchgen-cli`.

    python -m benchmarks.tpch.data --scale 0.1 --out data/tpch-0.1

Each table is a directory of files: `<out>/lineitem/part-000.parquet` and so on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from benchmarks.tpch.queries import TABLES, Tables

MARKER = "tpch.json"
"""A file that tells what a data set was made with. It is there when, and only when, the data set is complete."""

ONE_FILE = frozenset({"nation", "region"})
"""Tables of a few rows, which are always one file."""


def generate(directory: str | PathLike[str], scale: float, *, files_per_table: int = 4, floats: bool = True) -> Path:
    """Make a TPC-H data set unless it is there already.

    The data set is made beside `directory` and then moved into place, so `directory` is complete or absent, also when
    the program is interrupted or when two programs make the same data set at the same time.

    Parameters
    ----------
    directory
        Where the data set goes.
    scale
        The scale factor; 1 is about 1 GB of text, or 6 million rows of lineitem.
    files_per_table
        Number of files of each table but nation and region. A table of very few rows may get fewer.
    floats
        Turn decimals into Float64.

    Returns
    -------
    Path
        `directory`.

    Raises
    ------
    FileExistsError
        If `directory` holds something else than this data set.
    """
    directory = Path(directory)
    made_with = {"scale": float(scale), "files_per_table": files_per_table, "floats": floats}
    if _is_made(directory, made_with):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as scratch:
        raw, made = Path(scratch, "raw"), Path(scratch, "made")
        _run_generator(scale, files_per_table, raw)
        for table in TABLES:
            _rewrite(raw / table, made / table, floats, one_file=table in ONE_FILE)
            shutil.rmtree(raw / table)
        (made / MARKER).write_text(json.dumps(made_with) + "\n")
        try:
            made.rename(directory)
        except OSError:
            # Another program was faster: its data set is as good as this one.
            if not _is_made(directory, made_with):
                raise
    return directory


def tables(directory: str | PathLike[str], scan: Callable[[str], Any] = pl.scan_parquet) -> Tables:
    """Scan the tables of a data set.

    Parameters
    ----------
    directory
        A data set that `generate` made, or a URL of a copy of one.
    scan
        What makes a lazy frame of a glob pattern: `polars.scan_parquet` or `dask_polars.scan_parquet`.
    """
    return Tables(**{table: scan(f"{directory}/{table}/*.parquet") for table in TABLES})


def _is_made(directory: Path, made_with: dict[str, Any]) -> bool:
    """Tell whether `directory` is this data set; raise if it is anything else but absent or empty."""
    marker = directory / MARKER
    if not marker.is_file():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise FileExistsError(f"{directory} is not empty, and is no TPC-H data set: give another directory")
        return False
    found = json.loads(marker.read_text())
    if found != made_with:
        raise FileExistsError(f"{directory} is a data set made with {found}, not {made_with}: delete it first")
    return True


def _run_generator(scale: float, parts: int, directory: Path) -> None:
    """Make all tables in one run: the generator takes a second to start."""
    command = [_find_generator(), "parquet", "--quiet", f"--scale-factor={scale}"]
    command += [f"--parts={parts}", f"--output-dir={directory}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")


def _find_generator() -> str:
    """Find tpchgen-cli: first beside this Python, which need not be the first on the PATH."""
    found = shutil.which("tpchgen-cli", path=sysconfig.get_path("scripts")) or shutil.which("tpchgen-cli")
    if found is None:
        raise RuntimeError("tpchgen-cli was not found: pip install tpchgen-cli")
    return found


def _rewrite(source: Path, target: Path, floats: bool, *, one_file: bool) -> None:
    """Rewrite the files of one table as `part-000.parquet` and so on.

    The generator puts small tables into the last of their files and leaves the others empty: those are left out.
    """
    target.mkdir(parents=True)
    files = sorted(source.glob("*.parquet"), key=lambda file: int(file.suffixes[-2].removeprefix(".")))
    if one_file:
        frames = [pl.scan_parquet(files)]
    else:
        frames = [pl.scan_parquet(file) for file in files]
        frames = [frame for frame in frames if frame.select(pl.len()).collect().item()]
    for i, frame in enumerate(frames):
        if floats:
            frame = frame.with_columns(cs.decimal().cast(pl.Float64))
        frame.sink_parquet(target / f"part-{i:03}.parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpch.data", description="Make a TPC-H data set.")
    parser.add_argument("--scale", type=float, default=0.1, help="scale factor (default: 0.1)")
    parser.add_argument("--out", type=Path, help="directory of the data set (default: data/tpch-SCALE)")
    parser.add_argument("--files", type=int, default=4, help="files of each table (default: 4)")
    parser.add_argument("--decimals", action="store_true", help="keep decimals instead of turning them into floats")
    options = parser.parse_args(arguments)
    out = options.out or Path("data", f"tpch-{options.scale:g}")
    try:
        generate(out, options.scale, files_per_table=options.files, floats=not options.decimals)
    except (FileExistsError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in out.rglob("*.parquet"))
    print(f"{out}: TPC-H at scale {options.scale:g}, {size / 1e6:.1f} MB of Parquet")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
