"""Run one query with plain Polars and with dask_polars, and compare: the answer of Polars is the specification.

`dask_polars` is imported inside functions, so that the tests can be collected where it cannot be imported.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dask
import polars as pl
import polars.selectors as cs

# "promised": rows are compared in order. "exact": so too, and floats bit for bit.
# "any": rows are compared as a multiset. "shape": only the schema and the number of rows are defined.
Order = Literal["promised", "exact", "any", "shape"]
FrontDoor = Literal["collection", "engine", "scan"]

# A panic of Polars is not an `Exception`.
RAISED = (Exception, pl.exceptions.PanicException)

REL_TOL = {pl.Float64: 1e-9, pl.Float32: 1e-5, pl.Float16: 1e-2}
ABS_TOL = {pl.Float64: 1e-9, pl.Float32: 1e-5, pl.Float16: 1e-2}


class Tables(dict):
    """The inputs of a query, by name: `t.a` is `t["a"]`; `t.concat` is the `concat` of whoever made the frames."""

    def __init__(self, frames: Mapping[str, Any], concat: Callable[..., Any]) -> None:
        super().__init__(frames)
        self.concat = concat

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Data = Mapping[str, pl.DataFrame]
Query = Callable[[Tables], Any]


@dataclass(frozen=True)
class Outcome:
    """What running a query gave: a frame, or the exception and when it was raised."""

    frame: pl.DataFrame | None = None
    error: BaseException | None = None
    moment: Literal["building", "collecting"] | None = None

    @property
    def first_line(self) -> str:
        return (str(self.error).splitlines() or [""])[0]


@dataclass
class Run:
    """How a query is run with dask_polars."""

    npartitions: int = 3
    front_door: FrontDoor = "collection"
    config: Mapping[str, Any] = field(default_factory=dict)
    fallback: str = "silent"
    client: Any = None
    with_empties: bool = False
    max_rows_per_partition: int = 3

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"dask-polars.fallback": self.fallback}
        if self.client is None:
            settings["scheduler"] = "sync"
        if self.front_door != "collection":
            settings["dask-polars.max-rows-per-partition"] = self.max_rows_per_partition
        settings.update({key if "." in key else f"dask-polars.{key}": value for key, value in self.config.items()})
        return settings


# Running


def plain_tables(data: Data) -> Tables:
    return Tables({name: frame.lazy() for name, frame in data.items()}, pl.concat)


def cut(frame: pl.DataFrame, pieces: int) -> list[pl.DataFrame]:
    """Slices of nearly the same size, the last ones empty if there are more pieces than rows."""
    size = max(1, math.ceil(frame.height / pieces))
    return [frame.slice(i * size, size) for i in range(pieces)]


def empties(frame: pl.DataFrame, pieces: int = 3) -> Any:
    """A partitioned collection where every other partition is empty, the first and the last too."""
    import dask_polars as dp

    parts = [frame.clear()]
    for piece in cut(frame, pieces):
        parts += [piece, frame.clear()]
    return dp.concat([dp.from_polars(part, npartitions=1) for part in parts])


def write_pieces(frame: pl.DataFrame, directory: Path, pieces: int) -> Path:
    """A directory of parquet files, each of several row groups; the names sort in row order."""
    directory.mkdir(parents=True)
    for i, piece in enumerate(cut(frame, pieces)):
        piece.write_parquet(directory / f"part-{i:03}.parquet", row_group_size=2)
    return directory


@contextlib.contextmanager
def dask_tables(data: Data, run: Run) -> Iterator[tuple[Tables, Tables]]:
    """The inputs for plain Polars, and the same ones for dask_polars."""
    import dask_polars as dp

    if run.front_door == "engine":
        yield plain_tables(data), plain_tables(data)
    elif run.front_door == "scan":
        with tempfile.TemporaryDirectory() as directory:
            paths = {n: write_pieces(f, Path(directory) / n, run.npartitions) for n, f in data.items()}
            globs = {name: str(path / "*.parquet") for name, path in paths.items()}
            expected = Tables({name: pl.scan_parquet(glob) for name, glob in globs.items()}, pl.concat)
            yield expected, Tables({name: dp.scan_parquet(glob) for name, glob in globs.items()}, dp.concat)
    else:
        yield plain_tables(data), Tables({n: collection(f, run) for n, f in data.items()}, dp.concat)


# The frames of the catalogue are the same for all its cases; a collection hashes its frame once.
_collections: dict[tuple[int, int, bool], tuple[pl.DataFrame, Any]] = {}


def collection(frame: pl.DataFrame, run: Run) -> Any:
    """A collection of a frame, as the run cuts it."""
    import dask_polars as dp

    key = (id(frame), run.npartitions, run.with_empties)
    kept, found = _collections.get(key, (None, None))
    if kept is not frame:
        make = empties if run.with_empties else lambda f, n: dp.from_polars(f, npartitions=n)
        found = make(frame, run.npartitions)
        if len(_collections) >= 256:
            _collections.clear()
        _collections[key] = (frame, found)
    return found


def attempt(query: Query, tables: Tables, collect: Callable[[Any], pl.DataFrame]) -> Outcome:
    """Run a query; errors are answers too. A query may call `collect_schema`, as a user may."""
    try:
        lazy = query(tables)
    except RAISED as error:
        return Outcome(error=error, moment="building")
    try:
        return Outcome(frame=collect(lazy))
    except RAISED as error:
        return Outcome(error=error, moment="collecting")


def collector(run: Run) -> Callable[[Any], pl.DataFrame]:
    """How `run` collects a lazy frame."""
    import dask_polars as dp

    if run.front_door == "engine":
        engine = dp.DaskEngine(run.client, fallback=run.fallback, max_rows_per_partition=run.max_rows_per_partition)
        return lambda lazy: lazy.collect(engine=engine)
    if run.client is None:
        return lambda lazy: lazy.collect(scheduler="sync")
    return lambda lazy: lazy.collect()


def run_plain(query: Query, data: Data) -> Outcome:
    return attempt(query, plain_tables(data), lambda lazy: lazy.collect())


def explain(query: Query, tables: Tables) -> str:
    """The plan of a query, or why there is none: only read when a comparison fails."""
    try:
        return str(query(tables).explain())
    except RAISED as error:
        return f"<no plan: {type(error).__name__}: {error}>"


def assert_same(
    query: Query,
    data: Data,
    *,
    npartitions: int = 3,
    order: Order = "promised",
    config: Mapping[str, Any] | None = None,
    front_door: FrontDoor = "collection",
    fallback: str = "silent",
    client: Any = None,
    with_empties: bool = False,
    check_message: bool = True,
    name: str | None = None,
) -> None:
    """The query gives with dask_polars what it gives with Polars: schema, values, promised order, or the error."""
    run = Run(npartitions, front_door, config or {}, fallback, client, with_empties)
    with dask.config.set(run.settings()), dask_tables(data, run) as (plain, ours):
        expected = attempt(query, plain, lambda lazy: lazy.collect())
        actual = attempt(query, ours, collector(run))
        problem = difference(expected, actual, order, check_message=check_message)
        if problem:
            title = f"{name or getattr(query, '__name__', 'query')} ({describe(run)})"
            message = f"{title}: {problem}\n\nplan:\n{explain(query, ours)}"
            raise AssertionError(message) from actual.error


def describe(run: Run) -> str:
    kind = "empty partitions" if run.with_empties else f"{run.npartitions} partitions"
    where = "cluster" if run.client is not None else "sync"
    return ", ".join([run.front_door, kind, where, *(f"{k}={v}" for k, v in run.config.items())])


# Comparing


def difference(expected: Outcome, actual: Outcome, order: Order, *, check_message: bool = True) -> str | None:
    """What differs between two outcomes, or None."""
    if expected.error is not None:
        return error_difference(expected, actual, check_message)
    if actual.error is not None:
        return f"raised while {actual.moment}: {type(actual.error).__name__}: {actual.error}"
    if not isinstance(actual.frame, pl.DataFrame):
        return f"gave a {type(actual.frame).__name__}, not a DataFrame"
    assert expected.frame is not None
    return frame_difference(expected.frame, actual.frame, order)


def error_difference(expected: Outcome, actual: Outcome, check_message: bool) -> str | None:
    wanted = f"{type(expected.error).__name__} while {expected.moment}: {expected.first_line}"
    if actual.error is None:
        return f"Polars raised {wanted}\ndask_polars gave {actual.frame}"
    got = f"{type(actual.error).__name__} while {actual.moment}: {actual.first_line}"
    same = type(actual.error) is type(expected.error) and actual.moment == expected.moment
    if same and check_message:
        same = actual.first_line == expected.first_line
    return None if same else f"Polars raised      {wanted}\ndask_polars raised {got}"


def frame_difference(expected: pl.DataFrame, actual: pl.DataFrame, order: Order = "promised") -> str | None:
    """What differs between two frames, or None."""
    if list(expected.schema.items()) != list(actual.schema.items()):
        return f"the schema differs\nPolars:      {dict(expected.schema)}\ndask_polars: {dict(actual.schema)}"
    if expected.height != actual.height:
        return f"{actual.height} rows instead of {expected.height}\n{side_by_side(expected, actual)}"
    if order == "shape":
        return None
    tolerances = [tolerance(dtype) if order != "exact" else None for dtype in expected.dtypes]
    left, right = rows_of(expected), rows_of(actual)
    compare = multiset_difference if order == "any" else ordered_difference
    problem = compare(left, right, tolerances)
    return f"{problem}\n{side_by_side(expected, actual)}" if problem else None


def side_by_side(expected: pl.DataFrame, actual: pl.DataFrame) -> str:
    with pl.Config(tbl_rows=30, tbl_cols=20, tbl_width_chars=160):
        return f"Polars:\n{expected}\ndask_polars:\n{actual}"


def tolerance(dtype: pl.DataType) -> tuple[float, float] | None:
    """The relative and absolute tolerance of the least precise float in a type, None where there is no float."""
    kinds = [kind for kind in (pl.Float16, pl.Float32, pl.Float64) if contains(dtype, kind)]
    return (REL_TOL[kinds[0]], ABS_TOL[kinds[0]]) if kinds else None


def contains(dtype: pl.DataType, kind: Any) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(contains(f.dtype, kind) for f in dtype.fields)
    if isinstance(dtype, pl.List | pl.Array):
        return contains(dtype.inner, kind)
    return dtype == kind


Row = tuple[tuple[Any, ...], tuple[Any, ...]]


def rows_of(frame: pl.DataFrame) -> list[Row]:
    """For each row its comparable part and its finite floats, each with the index of its column.

    Temporal columns are compared by their physical value: Python has no nanoseconds, and ends at the year 9999.
    """
    if not frame.width:
        return [((), ())] * frame.height
    values = frame.with_columns(cs.temporal().to_physical()).rows()
    return [split_row(row) for row in values]


def split_row(row: Sequence[Any]) -> Row:
    floats: list[tuple[int, float]] = []
    return tuple(freeze(value, floats, i) for i, value in enumerate(row)), tuple(floats)


def freeze(value: Any, floats: list[tuple[int, float]], column: int) -> Any:
    """A hashable form of a value; finite floats leave a mark and go to `floats`."""
    if isinstance(value, float):
        if math.isfinite(value):
            floats.append((column, value))
            return "<float>"
        return f"<{value}>"
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, dict):
        return ("struct", *((key, freeze(item, floats, column)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("list", *(freeze(item, floats, column) for item in value))
    return (type(value).__name__, value)


def ordered_difference(left: list[Row], right: list[Row], tolerances: list[Any]) -> str | None:
    for i, (one, other) in enumerate(zip(left, right, strict=True)):
        if not same_row(one, other, tolerances):
            return f"row {i} differs\nPolars:      {one}\ndask_polars: {other}"
    return None


def same_row(one: Row, other: Row, tolerances: list[Any]) -> bool:
    return one[0] == other[0] and same_floats(one[1], other[1], tolerances)


def same_floats(one: Sequence[Any], other: Sequence[Any], tolerances: list[Any]) -> bool:
    return all(close(x, y, tolerances[i]) for (i, x), (_, y) in zip(one, other, strict=True))


def close(x: float, y: float, allowed: tuple[float, float] | None) -> bool:
    if allowed is None:
        return x == y and math.copysign(1, x) == math.copysign(1, y)
    return math.isclose(x, y, rel_tol=allowed[0], abs_tol=allowed[1])


def multiset_difference(left: list[Row], right: list[Row], tolerances: list[Any]) -> str | None:
    """Rows are matched one to one among those that agree in all that is not a finite float."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for key, floats in right:
        groups[key].append(floats)
    for key in groups:
        groups[key].sort()
    for key, floats in sorted(left, key=lambda row: row[1]):
        candidates = groups.get(key, [])
        match = next((i for i, other in enumerate(candidates) if same_floats(floats, other, tolerances)), None)
        if match is None:
            return f"a row of Polars is missing: {key} {floats}\nnearest: {candidates[:3] or list(groups)[:3]}"
        candidates.pop(match)
    return None


def assert_empty_soon(directory: Path) -> None:
    """Tasks that run on workers when others have failed remove what they wrote when they are done with it."""
    for _ in range(100):
        if not os.listdir(directory):
            return
        time.sleep(0.1)
    assert not os.listdir(directory)
