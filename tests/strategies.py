"""Hypothesis strategies: frames of every dtype, and pipelines of operations that are valid for their schema.

Values are chosen so that the answer is defined: floats are quarters, whose sums are exact in every order, and only
operations whose result does not depend on an order that Polars leaves open may follow one another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.helpers import Tables

NAN, INF = float("nan"), float("inf")
ENUM = pl.Enum(["red", "green", "blue"])
STRUCT = pl.Struct({"p": pl.Int64, "q": pl.String})
WORDS = ["", "a", "b", "B", "ß", "🐢", "a b", "zz"]

small_ints = st.integers(-3, 5)
quarters = st.integers(-40, 40).map(lambda n: n / 4)
words = st.sampled_from(WORDS)
dates = st.dates(date(1969, 12, 30), date(1970, 1, 3))
moments = st.datetimes(datetime(2024, 3, 30), datetime(2024, 4, 1)).map(lambda d: d.replace(microsecond=0))
structs = st.fixed_dictionaries({"p": st.none() | small_ints, "q": st.none() | words})

VALUES: dict[str, tuple[Any, SearchStrategy[Any]]] = {
    "i8": (pl.Int8, st.integers(-128, 127)),
    "i64": (pl.Int64, small_ints),
    "u32": (pl.UInt32, st.integers(0, 3)),
    "i128": (pl.Int128, st.sampled_from([2**80, -(2**80), 0, 1])),
    "f64": (pl.Float64, quarters | st.sampled_from([NAN, INF, -INF, -0.0, 0.0])),
    "f32": (pl.Float32, quarters | st.sampled_from([NAN, -0.0])),
    "x": (pl.Float64, quarters),
    "b": (pl.Boolean, st.booleans()),
    "s": (pl.String, words),
    "t": (pl.String, st.text(max_size=3)),
    "d": (pl.Date, dates),
    "dt": (pl.Datetime("us"), moments),
    "dtz": (pl.Datetime("ms", "UTC"), moments),
    "dur": (pl.Duration("us"), st.sampled_from([timedelta(0), timedelta(days=-1), timedelta(seconds=3)])),
    "tm": (pl.Time, st.sampled_from([time(0), time(12, 30), time(23, 59, 59)])),
    "dec": (pl.Decimal(10, 2), st.sampled_from([Decimal("0.00"), Decimal("1.25"), Decimal("-3.10")])),
    "cat": (pl.Categorical, words),
    "enum": (ENUM, st.sampled_from(["red", "green", "blue"])),
    "bin": (pl.Binary, st.sampled_from([b"", b"\x00", b"ab"])),
    "lst": (pl.List(pl.Int64), st.lists(st.none() | small_ints, max_size=3)),
    "lss": (pl.List(pl.String), st.lists(words, max_size=2)),
    "arr": (pl.Array(pl.Int64, 2), st.lists(small_ints, min_size=2, max_size=2)),
    "st": (STRUCT, structs),
    "ls": (pl.List(STRUCT), st.lists(structs, max_size=2)),
    "nul": (pl.Null, st.none()),
}
NESTED = {"lst", "lss", "arr", "st", "ls"}


def values(name: str, rows: int) -> SearchStrategy[pl.Series]:
    dtype, items = VALUES[name]
    column = st.lists(st.none() | items, min_size=rows, max_size=rows)
    return column.map(lambda data: pl.Series(name, data, dtype=dtype, strict=False))


@st.composite
def frames(draw: DrawFn, min_rows: int = 0, max_rows: int = 16, always: tuple[str, ...] = ("k", "x")) -> pl.DataFrame:
    """A frame with `id` (0, 1, …), `k` (few integers, nulls) and a few columns of any dtype."""
    rows = draw(st.integers(min_rows, max_rows))
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    names = list(dict.fromkeys([*(name for name in always if name != "k"), *names]))
    key = draw(st.lists(st.none() | st.integers(0, 3), min_size=rows, max_size=rows))
    first = [pl.Series("id", range(rows), dtype=pl.Int64), pl.Series("k", key, dtype=pl.Int32)]
    return pl.DataFrame([*first, *(draw(values(name, rows)) for name in names)])


# Pipelines


@dataclass(frozen=True)
class Step:
    """One operation: how it is written, and what it does to a lazy frame."""

    text: str
    apply: Callable[[Any, Tables], Any]

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class State:
    """What is known about the rows so far.

    `joined` says that they come from a join without an aggregation above it. Polars 2.1.0 gives such a join its order
    up if nothing above a slice observes it, although the slice does: the answer is not defined, so none is sliced.
    """

    schema: dict[str, pl.DataType]
    ordered: bool = True
    joined: bool = False

    def columns(self, wanted: Callable[[pl.DataType], bool]) -> list[str]:
        return [name for name, dtype in self.schema.items() if wanted(dtype)]


def is_key(dtype: pl.DataType) -> bool:
    return not (dtype.is_nested() and not isinstance(dtype, pl.Struct)) and dtype != pl.Null


def is_flat(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype != pl.Null


def is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() and dtype != pl.Int128 and not dtype.is_decimal()


def is_comparable(dtype: pl.DataType) -> bool:
    return is_flat(dtype) and dtype not in (pl.Categorical, pl.Enum, pl.Binary)


@st.composite
def predicates(draw: DrawFn, state: State) -> tuple[str, pl.Expr] | None:
    kind = draw(st.sampled_from(["null", "not_null", "compare", "mean"]))
    numbers = state.columns(is_number)
    if kind in ("compare", "mean") and not numbers:
        kind = "not_null"
    column = pl.col(draw(st.sampled_from(numbers if kind in ("compare", "mean") else list(state.schema))))
    if kind == "compare":
        limit = draw(st.integers(-2, 3))
        return f"{column} > {limit}", column > limit
    if kind == "mean":
        return f"{column} >= {column}.max()", column >= column.max()
    return (
        (f"{column}.is_null()", column.is_null())
        if kind == "null"
        else (f"{column}.is_not_null()", column.is_not_null())
    )


@st.composite
def filter_steps(draw: DrawFn, state: State) -> tuple[Step, State]:
    text, predicate = draw(predicates(state))
    return Step(f"filter({text})", lambda lf, _: lf.filter(predicate)), state


@st.composite
def with_columns_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    numbers = state.columns(is_number)
    if not numbers:
        return None
    name = draw(st.sampled_from(numbers))
    column = pl.col(name).cast(pl.Float64)
    choices = {
        "double": (column * 2).alias("n1"),
        "scaled": (column - column.min()).alias("n2"),
        "centred": (column - pl.col(name).max()).alias("n3"),
        "when": pl.when(pl.col(name) > 0).then(pl.col(name)).otherwise(None).alias(name),
        "filled": pl.col(name).fill_null(1).alias(name),
        "len": (column + pl.len()).alias("n4"),
    }
    kind = draw(st.sampled_from(sorted(choices)))
    return Step(f"with_columns({kind} of {name})", lambda lf, _: lf.with_columns(choices[kind])), state


@st.composite
def select_steps(draw: DrawFn, state: State) -> tuple[Step, State]:
    names = draw(st.lists(st.sampled_from(list(state.schema)), min_size=1, unique=True))
    literal = [pl.lit(7).alias("seven")] if draw(st.booleans()) and "seven" not in names else []
    return Step(f"select({names}, {len(literal)} literal)", lambda lf, _: lf.select(*names, *literal)), state


@st.composite
def rename_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    name = draw(st.sampled_from(list(state.schema)))
    if f"{name}_" in state.schema:
        return None
    return Step(f"rename({name})", lambda lf, _: lf.rename({name: f"{name}_"})), state


def aggregates(state: State, keys: list[str]) -> list[tuple[str, pl.Expr]]:
    """Aggregations whose answer is exact; those that depend on the order only where there is one."""
    found = [("len()", pl.len().alias("n"))]
    rest = {name: dtype for name, dtype in state.schema.items() if name not in keys}
    for name, dtype in rest.items():
        column = pl.col(name)
        found.append((f"{name}.count()", column.count().alias(f"c_{name}")))
        found.append((f"{name}.is_empty()", column.is_empty().alias(f"e_{name}")))
        if is_number(dtype):
            found.append((f"{name}.sum()", column.sum().alias(f"s_{name}")))
            found.append((f"{name}.mean()", column.mean().alias(f"m_{name}")))
            found.append((f"{name}.filter(>0).max()", column.filter(column > 0).max().alias(f"f_{name}")))
            found.append((f"{name}.sum() + {name}.count()", (column.sum() + column.count()).alias(f"a_{name}")))
        if is_comparable(dtype):
            found.append((f"{name}.min()", column.min().alias(f"i_{name}")))
            found.append((f"{name}.max()", column.max().alias(f"x_{name}")))
            found.append((f"{name}.n_unique()", column.n_unique().alias(f"u_{name}")))
        if state.ordered:
            found.append((f"{name}.first()", column.first().alias(f"first_{name}")))
            found.append((f"{name}.last()", column.last().alias(f"last_{name}")))
            found.append((f"{name}.implode()", column.implode().alias(f"l_{name}")))
            if dtype == pl.String:
                found.append((f"{name}.str.join()", column.str.join("|").alias(f"j_{name}")))
    return found


@st.composite
def some_aggregates(draw: DrawFn, state: State, keys: list[str]) -> tuple[str, list[pl.Expr]]:
    choices = {expr.meta.output_name(): (text, expr) for text, expr in aggregates(state, keys)}
    free = [name for name in choices if name not in keys]
    names = draw(st.lists(st.sampled_from(free), max_size=4, unique=True)) if free else []
    return ", ".join(choices[name][0] for name in names), [choices[name][1] for name in names]


@st.composite
def group_by_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    candidates = state.columns(is_key)
    if not candidates:
        return None
    keys = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=2, unique=True))
    text, aggs = draw(some_aggregates(state, keys))
    ordered = state.ordered and draw(st.booleans())
    step = Step(
        f"group_by({keys}, maintain_order={ordered}).agg({text})",
        lambda lf, _: lf.group_by(keys, maintain_order=ordered).agg(aggs),
    )
    return step, replace(state, ordered=ordered, joined=False)


@st.composite
def scalar_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    text, aggs = draw(some_aggregates(state, []))
    if not aggs:
        return None
    return Step(f"select({text})", lambda lf, _: lf.select(aggs)), replace(state, ordered=True, joined=False)


@st.composite
def sort_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    candidates = state.columns(is_flat)
    if not candidates:
        return None
    keys = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=3, unique=True))
    down = [draw(st.booleans()) for _ in keys]
    last = [draw(st.booleans()) for _ in keys]
    step = Step(
        f"sort({keys}, descending={down}, nulls_last={last})",
        lambda lf, _: lf.sort(keys, descending=down, nulls_last=last, maintain_order=True),
    )
    return step, state


@st.composite
def unique_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    candidates = state.columns(is_key)
    if not candidates:
        return None
    keys = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=2, unique=True))
    if not state.ordered:
        step = Step(f"select({keys}).unique()", lambda lf, _: lf.select(keys).unique())
        return step, state
    keep = draw(st.sampled_from(["first", "last", "none"]))
    order = draw(st.booleans())
    step = Step(
        f"unique({keys}, keep={keep}, maintain_order={order})",
        lambda lf, _: lf.unique(keys, keep=keep, maintain_order=order),
    )
    return step, replace(state, ordered=order)


@st.composite
def slice_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    if not state.ordered or state.joined:
        return None
    offset = draw(st.integers(-8, 8))
    length = draw(st.none() | st.integers(0, 8))
    return Step(f"slice({offset}, {length})", lambda lf, _: lf.slice(offset, length)), state


@st.composite
def gather_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    if not state.ordered or state.joined:
        return None
    numbers = draw(st.lists(st.none() | st.integers(-8, 8), max_size=6))
    step = Step(
        f"gather({numbers})", lambda lf, _: lf.gather(pl.lit(pl.Series(numbers, dtype=pl.Int64)), null_on_oob=True)
    )
    return step, state


@st.composite
def join_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    if state.schema.get("k") not in (pl.Int32, pl.Int64) or any(name.endswith("_right") for name in state.schema):
        return None
    how = draw(st.sampled_from(["inner", "left", "right", "full", "semi", "anti"]))
    nulls, coalesce = draw(st.booleans()), draw(st.sampled_from([None, True, False]))
    if how in ("semi", "anti"):
        coalesce = None
    order = "left_right" if state.ordered and draw(st.booleans()) else None
    options = {"how": how, "nulls_equal": nulls, "coalesce": coalesce, "maintain_order": order}
    step = Step(f"join(b, on='k', {options})", lambda lf, t: lf.join(t.b.rename({"id": "id_b"}), on="k", **options))
    return step, replace(state, ordered=order is not None, joined=True)


@st.composite
def concat_steps(draw: DrawFn, state: State) -> tuple[Step, State]:
    text, predicate = draw(predicates(state))
    return Step(f"concat([it, it.filter({text})])", lambda lf, t: t.concat([lf, lf.filter(predicate)])), state


@st.composite
def row_index_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    if not state.ordered or "row" in state.schema:
        return None
    offset = draw(st.integers(0, 3))
    return Step(f"with_row_index('row', {offset})", lambda lf, _: lf.with_row_index("row", offset)), state


@st.composite
def explode_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    lists = [name for name, dtype in state.schema.items() if isinstance(dtype, pl.List)]
    if not lists:
        return None
    name = draw(st.sampled_from(lists))
    return Step(f"explode({name})", lambda lf, _: lf.explode(name)), state


@st.composite
def top_k_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    """The keys of the first rows of a sort: defined even where the order of ties is not."""
    candidates = state.columns(is_flat)
    if not candidates:
        return None
    keys = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=2, unique=True))
    k = draw(st.integers(0, 6))
    step = Step(f"select({keys}).sort({keys}).head({k})", lambda lf, _: lf.select(keys).sort(keys).head(k))
    return step, replace(state, ordered=True)


def wide_expressions(state: State, name: str, column: pl.Expr | None = None) -> dict[str, pl.Expr]:
    """Expressions over a column that need other rows, in order; floats are quarters, whose sums are exact."""
    column, dtype = pl.col(name) if column is None else column, state.schema[name]
    found = {
        "shift(1)": column.shift(1), "shift(-3)": column.shift(-3), "forward_fill": column.forward_fill(),
        "backward_fill(2)": column.backward_fill(limit=2), "cum_count": column.cum_count(),
    }  # fmt: skip
    if is_key(dtype) and dtype not in (pl.Categorical, pl.Enum):
        found["is_first_distinct"] = column.is_first_distinct()
        found["is_duplicated"] = column.is_duplicated()
    if is_comparable(dtype):
        found["rank(min)"] = column.rank("min")
        found["rank(ordinal)"] = column.rank("ordinal", descending=True)
        found["rle_id"] = column.rle_id()
    if is_number(dtype) and not dtype.is_float():
        found |= {
            "cum_sum": column.cum_sum(), "cum_max(reverse)": column.cum_max(reverse=True), "diff": column.diff(),
            "rolling_sum": column.rolling_sum(3, min_samples=1), "shift.cum_sum": column.shift(1).cum_sum(),
            "diff.rolling_max": column.diff(2).rolling_max(2, min_samples=1),
        }  # fmt: skip
        for by in state.columns(lambda dtype: dtype in (pl.Int32, pl.Int64))[:2]:
            found[f"rolling_sum_by({by})"] = column.rolling_sum_by(by, "3i")
            found[f"rolling_max_by({by})"] = column.rolling_max_by(by, "2i", closed="both")
    return found


@st.composite
def wide_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    if not state.ordered or state.joined:
        return None
    name = draw(st.sampled_from(list(state.schema)))
    choices = wide_expressions(state, name)
    kind = draw(st.sampled_from(sorted(choices)))
    expr, new = choices[kind], draw(st.sampled_from([name, "wide"]))
    return Step(f"with_columns({new}={name}.{kind})", lambda lf, _: lf.with_columns(expr.alias(new))), state


@st.composite
def moved_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    """The same over rows that are turned, sorted or dropped first."""
    if not state.ordered or state.joined:
        return None
    name = draw(st.sampled_from(list(state.schema)))
    moves = ["reverse", "drop_nulls"] + ["sort"] * is_comparable(state.schema[name])
    move = draw(st.sampled_from(moves))
    choices = wide_expressions(state, name, getattr(pl.col(name), move)())
    choices = {kind: expr for kind, expr in choices.items() if "_by" not in kind or move != "drop_nulls"}
    kind = draw(st.sampled_from(sorted(choices)))
    expr, text = choices[kind].alias("moved"), f"moved={name}.{move}.{kind}"
    if move == "drop_nulls":
        return Step(f"select({text})", lambda lf, _: lf.select(expr)), state
    if draw(st.booleans()):
        return Step(f"with_columns({text})", lambda lf, _: lf.with_columns(expr)), state
    return Step(f"filter({text} is null)", lambda lf, _: lf.filter(expr.is_null())), state


@st.composite
def window_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    keys = state.columns(is_key)
    if not state.ordered or state.joined or not keys:
        return None
    by = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
    name = draw(st.sampled_from(list(state.schema)))
    choices = {**wide_expressions(state, name), "first()": pl.col(name).first(), "len()": pl.len()}
    choices = {text: expr for text, expr in choices.items() if "distinct" not in text and "dupl" not in text}
    if is_number(state.schema[name]) and not state.schema[name].is_float():
        choices |= {"sum()": pl.col(name).sum(), "max()": pl.col(name).max(), "median()": pl.col(name).median()}
    kind = draw(st.sampled_from(sorted(choices)))
    expr = choices[kind].over(by)
    return Step(f"with_columns(window={name}.{kind}.over({by}))", lambda lf, _: lf.with_columns(window=expr)), state


@st.composite
def exploded_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    keys = state.columns(is_key)
    if not state.ordered or state.joined or not keys:
        return None
    by = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
    names = draw(st.lists(st.sampled_from(list(state.schema)), min_size=1, unique=True))
    text = f"select({names}.over({by}, mapping_strategy='explode'))"
    return Step(text, lambda lf, _: lf.select(pl.col(names).over(by, mapping_strategy="explode"))), state


@st.composite
def wide_filter_steps(draw: DrawFn, state: State) -> tuple[Step, State] | None:
    keys = state.columns(is_key)
    if not state.ordered or state.joined or not keys:
        return None
    key = draw(st.sampled_from(keys))
    size = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return Step(f"filter(len().over({key}) > {size})", lambda lf, _: lf.filter(pl.len().over(key) > size)), state
    place = pl.int_range(pl.len()).over(key)
    return Step(f"filter(int_range.over({key}) < {size})", lambda lf, _: lf.filter(place < size)), state


STEPS = [
    filter_steps, filter_steps, with_columns_steps, select_steps, rename_steps, group_by_steps, group_by_steps,
    scalar_steps, sort_steps, unique_steps, slice_steps, gather_steps, join_steps, join_steps, concat_steps, row_index_steps,
    explode_steps, top_k_steps, wide_steps, wide_steps, moved_steps, window_steps, window_steps, exploded_steps, wide_filter_steps,
]  # fmt: skip


@dataclass(frozen=True)
class Pipeline:
    """Steps from the table `a`; `ordered` says whether the order of the rows is defined at the end."""

    steps: tuple[Step, ...]
    ordered: bool

    def __call__(self, tables: Tables) -> Any:
        lazy = tables.a
        for step in self.steps:
            lazy = step.apply(lazy, tables)
        return lazy

    def __repr__(self) -> str:
        return "a" + "".join(f"\n    .{step}" for step in self.steps)


@st.composite
def pipelines(draw: DrawFn, tables: Tables, max_steps: int = 6) -> Pipeline:
    """A random pipeline that is valid for the schemas of `tables`, which are plain lazy frames."""
    lazy = tables.a
    state = State(dict(lazy.collect_schema()))
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, max_steps))):
        drawn = draw(draw(st.sampled_from(STEPS))(state))
        if drawn is None:
            continue
        step, state = drawn
        lazy = step.apply(lazy, tables)
        steps.append(step)
        state = replace(state, schema=dict(lazy.collect_schema()))
    return Pipeline(tuple(steps), state.ordered)
