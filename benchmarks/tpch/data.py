"""Make the TPC-H tables as Parquet files, with `tpchgen-cli`.

    python -m benchmarks.tpch.data --scale 0.1 --out data/tpch-0.1

Each table is a directory of files: `<out>/lineitem/part-000.parquet` and so on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from benchmarks.datasets import make, size
from benchmarks.tpch.queries import TABLES, Tables

MARKER = "tpch.json"
"""A file that tells what a data set was made with. It is there when, and only when, the data set is complete."""

LINES = 6_000_000
"""Rows of lineitem at scale 1."""

ONE_FILE = frozenset({"nation", "region"})
"""Tables of a few rows, which are always one file."""


def generate(
    directory: str | PathLike[str],
    scale: float,
    *,
    files_per_table: int = 4,
    rows_per_file: int | None = None,
    floats: bool = True,
) -> Path:
    """Make a TPC-H data set unless it is there already; see `benchmarks.datasets.make`.

    Parameters
    ----------
    directory
        Where the data set goes.
    scale
        The scale factor; 1 is about 1 GB of text, or 6 million rows of lineitem.
    files_per_table
        Number of files of each table but nation and region. A table of very few rows may get fewer.
    rows_per_file
        Rows of a file, more or less, in place of a number of files that is the same for all tables.
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
    RuntimeError
        If the generator is missing or fails.
    """
    made_with: dict[str, Any] = {"scale": float(scale), "files_per_table": files_per_table, "floats": floats}
    parts = files_per_table
    if rows_per_file is not None:
        made_with = {"scale": float(scale), "rows_per_file": rows_per_file, "floats": floats}
        parts = max(1, round(scale * LINES / rows_per_file))

    def write(scratch: Path, made: Path) -> None:
        _run_generator(scale, parts, scratch)
        for table in TABLES:
            files = 1 if table in ONE_FILE else _count_files(scratch / table, rows_per_file, parts)
            _rewrite(scratch / table, made / table, floats, files)
            shutil.rmtree(scratch / table)

    return make(directory, MARKER, made_with, write)


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


def _parts(source: Path) -> list[Path]:
    return sorted(source.glob("*.parquet"), key=lambda file: int(file.suffixes[-2].removeprefix(".")))


def _height(files: Path | list[Path]) -> int:
    return pl.scan_parquet(files).select(pl.len()).collect().item()


def _count_files(source: Path, rows_per_file: int | None, parts: int) -> int:
    if rows_per_file is None:
        return parts
    return min(parts, max(1, round(_height(_parts(source)) / rows_per_file)))


def _rewrite(source: Path, target: Path, floats: bool, files: int) -> None:
    """Rewrite the files of one table as `part-000.parquet` and so on, neighbours together where fewer are wanted.

    The generator puts small tables into the last of their files and leaves the others empty: those are left out.
    """
    target.mkdir(parents=True)
    found = _parts(source)
    filled = [file for file in found if _height(file)] or found[:1]
    groups = [filled[i * len(filled) // files : (i + 1) * len(filled) // files] for i in range(files)]
    for i, group in enumerate(filter(None, groups)):
        frame = pl.scan_parquet(group)
        if floats:
            frame = frame.with_columns(cs.decimal().cast(pl.Float64))
        frame.sink_parquet(target / f"part-{i:03}.parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpch.data", description="Make a TPC-H data set.")
    parser.add_argument("--scale", type=float, default=0.1, help="scale factor (default: 0.1)")
    parser.add_argument("--out", type=Path, help="directory of the data set (default: data/tpch-SCALE)")
    parser.add_argument("--files", type=int, default=4, help="files of each table (default: 4)")
    parser.add_argument("--rows-per-file", type=int, help="rows of a file, in place of a number of files")
    parser.add_argument("--decimals", action="store_true", help="keep decimals instead of turning them into floats")
    options = parser.parse_args(arguments)
    out = options.out or Path("data", f"tpch-{options.scale:g}")
    try:
        generate(
            out,
            options.scale,
            files_per_table=options.files,
            rows_per_file=options.rows_per_file,
            floats=not options.decimals,
        )
    except (FileExistsError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{out}: TPC-H at scale {options.scale:g}, {size(out) / 1e6:.1f} MB of Parquet")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
