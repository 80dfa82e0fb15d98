"""Make the tables of the h2o db-benchmark as Parquet files.

    python -m benchmarks.h2o.data --rows 1e7 --out data/h2o-1e7

They are drawn as its own generators draw them (`groupby-datagen.R` with 100 groups and no nulls, `join-datagen.R`), by NumPy and
hence with other random numbers:

* `groups`: `id1`, `id2` texts and `id4`, `id5` integers of 100 values each; `id3` a text and `id6` an integer of as many values as
  there are hundreds of rows; `v1` from 1 to 5, `v2` from 1 to 15, `v3` a float below 100 with six digits.
* `x`, `small`, `medium`, `big`: keys `id1`, `id2`, `id3` of N/10^6, N/10^3 and N values, and `id4` to `id6` the same as text; 90%
  of the keys of each pair of tables are in both. On little data the small tables have a few rows more than that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.datasets import make, size

MARKER = "h2o.json"

GROUPS = 100
"""Groups of the columns of low cardinality."""

TABLES = ("groups", "x", "small", "medium", "big")


def generate(directory: str | PathLike[str], rows: int, *, rows_per_file: int = 1_000_000, seed: int = 1) -> Path:
    """Make a data set unless it is there already; see `benchmarks.datasets.make`.

    Parameters
    ----------
    directory
        Where the data set goes.
    rows
        Rows of the large tables.
    rows_per_file
        Rows of a file.
    seed
        Of the random numbers.

    Returns
    -------
    Path
        `directory`.

    Raises
    ------
    FileExistsError
        If `directory` holds something else than this data set.
    """

    def write(scratch: Path, made: Path) -> None:
        for table in TABLES:
            (made / table).mkdir()
        for part, start in enumerate(range(0, rows, rows_per_file)):
            height = min(rows_per_file, rows - start)
            frame = _group_rows(np.random.default_rng([seed, part]), height, rows)
            frame.write_parquet(made / "groups" / f"part-{part:03}.parquet")
        _write_join_tables(np.random.default_rng([seed, 1 << 20]), made, rows, rows_per_file)

    return make(directory, MARKER, {"rows": rows, "rows_per_file": rows_per_file, "seed": seed}, write)


def _group_rows(random: np.random.Generator, height: int, rows: int) -> pl.DataFrame:
    few, many = GROUPS, max(1, rows // GROUPS)
    numbers = {
        "id1": random.integers(1, few, height, endpoint=True),
        "id2": random.integers(1, few, height, endpoint=True),
        "id3": random.integers(1, many, height, endpoint=True),
        "id4": random.integers(1, few, height, endpoint=True),
        "id5": random.integers(1, few, height, endpoint=True),
        "id6": random.integers(1, many, height, endpoint=True),
        "v1": random.integers(1, 5, height, endpoint=True),
        "v2": random.integers(1, 15, height, endpoint=True),
        "v3": np.round(random.uniform(0, 100, height), 6),
    }
    return pl.DataFrame(numbers).with_columns(_text("id1", 3), _text("id2", 3), _text("id3", 10))


def _text(column: str, digits: int = 0, name: str | None = None) -> pl.Expr:
    number = pl.col(column).cast(pl.String)
    return ("id" + (number.str.zfill(digits) if digits else number)).alias(name or column)


def _write_join_tables(random: np.random.Generator, made: Path, rows: int, rows_per_file: int) -> None:
    """Draw the keys of three sizes, and write the four tables with them.

    Of the keys of each size a tenth is in the left table only, and another tenth in the right one only.
    """
    counts = {"id1": max(10, rows // 1_000_000), "id2": max(100, rows // 1_000), "id3": rows}
    left, right = {}, {}
    for key, count in counts.items():
        keys = random.permutation(count + count // 10) + 1
        left[key], right[key] = keys[:count], keys[count // 10 :]

    def draw(keys: np.ndarray, height: int) -> np.ndarray:
        """Draw every key at least once, and then at random."""
        more = random.choice(keys, height - len(keys)) if height > len(keys) else keys[:0]
        return random.permutation(np.concatenate([keys, more]))

    def write(table: str, ids: dict[str, np.ndarray], value: str) -> None:
        height = len(next(iter(ids.values())))
        for part, start in enumerate(range(0, height, rows_per_file)):
            rows_of_part = slice(start, start + rows_per_file)
            frame = pl.DataFrame({name: values[rows_of_part] for name, values in ids.items()})
            frame = frame.with_columns(_text(name, name=f"id{int(name[2:]) + 3}") for name in ids)
            values = np.round(random.uniform(0, 100, frame.height), 6)
            frame.with_columns(pl.Series(value, values)).write_parquet(made / table / f"part-{part:03}.parquet")

    write("x", {key: draw(left[key], rows) for key in counts}, "v1")
    write("small", {"id1": right["id1"]}, "v2")
    write("medium", {"id1": draw(right["id1"], counts["id2"]), "id2": right["id2"]}, "v2")
    write("big", {"id1": draw(right["id1"], rows), "id2": draw(right["id2"], rows), "id3": right["id3"]}, "v2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h2o.data", description="Make the h2o tables.")
    parser.add_argument("--rows", type=float, default=1e7, help="rows of the large tables (default: 1e7)")
    parser.add_argument("--out", type=Path, help="directory of the data set (default: data/h2o-ROWS)")
    options = parser.parse_args(arguments)
    out = options.out or Path("data", f"h2o-{options.rows:.0e}".replace("e+0", "e"))
    try:
        generate(out, int(options.rows))
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{out}: {int(options.rows)} rows, {size(out) / 1e6:.1f} MB of Parquet")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
