"""
What Polars has, and an example of each: the methods of ``pl.LazyFrame``, ``LazyGroupBy`` and ``pl.Expr``.

A method that is in the installed Polars and not here fails a test: how it runs has to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.api import NameSpace
from polars.lazyframe.group_by import LazyGroupBy

from dask_polars.coverage.expressions import EXPRESSIONS
from dask_polars.coverage.name_spaces import NAME_SPACES
from dask_polars.coverage.tables import Tables

__all__ = ["NOT_OPERATIONS", "Method", "missing", "operations", "public_methods"]

c = pl.col
Query = Callable[[Tables], Any]


@dataclass(frozen=True)
class Method:
    """
    A method that is an operation, with an example.

    Parameters
    ----------
    owner
        ``"LazyFrame"``, ``"LazyGroupBy"`` or ``"Expr"``.
    name
        Of the method, with its name space.
    query
        The example: a query of which it is the only operation that needs other rows.
    """

    owner: str
    name: str
    query: Query


def _same(names: str, query: Callable[[Tables, str], Any]) -> dict[str, Query]:
    """Give one example for several methods, which it is told the name of."""

    def named(name: str) -> Query:
        return lambda tables: query(tables, name)

    return {name: named(name) for name in names.split()}


def _numbers(t: Tables) -> Any:
    return t.a.select("k", "v")


_FRAMES: Mapping[str, Query] = {
    **_same(
        "count first last max mean median min null_count std sum var", lambda t, name: getattr(_numbers(t), name)()
    ),
    **_same(
        "cache drop_nans drop_nulls first interpolate last reverse shift", lambda t, name: getattr(_numbers(t), name)()
    ),
    **_same("head limit tail", lambda t, name: getattr(t.a, name)(5)),
    **_same("bottom_k top_k", lambda t, name: getattr(t.a, name)(5, by="v")),
    **_same("filter remove", lambda t, name: getattr(t.a, name)(c("v") > 1)),
    **_same("select select_seq with_columns with_columns_seq", lambda t, name: getattr(t.a, name)(w=c("v") * 2)),
    **_same("fill_nan fill_null", lambda t, name: getattr(t.a, name)(0)),
    **_same("clear inspect", lambda t, name: getattr(t.a, name)()),
    **_same(
        "sink_csv sink_ipc sink_ndjson sink_parquet", lambda t, name: getattr(t.a, name)(t.new(), lazy=True, mkdir=True)
    ),
    "cast": lambda t: t.a.cast({"k": pl.Float64}),
    "drop": lambda t: t.a.drop("g"),
    "explode": lambda t: t.a.with_columns(c("k").repeat_by(2)).explode("k"),
    "gather": lambda t: t.a.gather([3, 1, 500]),
    "gather_every": lambda t: t.a.gather_every(3),
    "group_by": lambda t: t.a.group_by("k").agg(c("v").sum()),
    "group_by_dynamic": lambda t: t.a.group_by_dynamic("t", every="1h").agg(c("v").sum()),
    "join": lambda t: t.a.join(t.b, on="k"),
    "join_asof": lambda t: t.a.join_asof(t.b, on="t"),
    "join_where": lambda t: t.a.join_where(t.b, c("v") < c("w")),
    "map_batches": lambda t: t.a.map_batches(pl.DataFrame.reverse),
    "match_to_schema": lambda t: t.a.match_to_schema(t.a.collect_schema()),
    "merge_sorted": lambda t: t.a.merge_sorted(t.a.filter(c("v") > 1), key="t"),
    "pipe": lambda t: t.a.pipe(type(t.a).drop, "g"),
    "pipe_with_schema": lambda t: t.a.pipe_with_schema(lambda lf, schema: lf.select(list(schema)[:1])),
    "pivot": lambda t: t.a.pivot("g", on_columns=["0", "1"], index="k", values="v", aggregate_function="sum"),
    "quantile": lambda t: _numbers(t).quantile(0.9),
    "rename": lambda t: t.a.rename({"v": "w"}),
    "rolling": lambda t: t.a.rolling("t", period="1h").agg(c("v").sum()),
    "set_sorted": lambda t: t.a.set_sorted("t"),
    "slice": lambda t: t.a.slice(1, 10**9),
    "sort": lambda t: t.a.sort("v"),
    "sql": lambda t: t.a.sql("SELECT k, SUM(v) AS v FROM self GROUP BY k"),
    "unique": lambda t: t.a.select("k", "g").unique(),
    "unnest": lambda t: t.a.select(s=pl.struct("k", "v")).unnest("s"),
    "unpivot": lambda t: t.a.select("k", "v").unpivot(index="k"),
    "update": lambda t: t.a.update(t.b.select("k", v="w"), on="k"),
    "with_row_index": lambda t: t.a.with_row_index(),
}

_GROUPS: Mapping[str, Query] = {
    **_same(
        "all first last len max mean median min n_unique sum",
        lambda t, name: getattr(_numbers(t).group_by("k"), name)(),
    ),
    **_same("head tail", lambda t, name: getattr(_numbers(t).group_by("k"), name)(2)),
    "agg": lambda t: t.a.group_by("k").agg(c("v").sum()),
    "having": lambda t: t.a.group_by("k").having(pl.len() > 3).agg(c("v").sum()),
    "map_groups": lambda t: (
        _numbers(t).group_by("k").map_groups(pl.DataFrame.reverse, schema={"k": pl.Int64, "v": pl.Float64})
    ),
    "quantile": lambda t: _numbers(t).group_by("k").quantile(0.9),
}

_RUNS = "runs the query"
_TELLS = "tells something of the query, and runs nothing"
_MAKES = "makes a frame, or an expression, of something else"
_META = "tells something of the expression, or changes how it is written down; runs nothing"
NOT_OPERATIONS: Mapping[str, Mapping[str, str]] = {
    "LazyFrame": {
        **dict.fromkeys(["collect", "collect_async", "collect_batches", "execute", "describe", "show"], _RUNS),
        **dict.fromkeys(
            ["columns", "collect_schema", "dtypes", "explain", "schema", "serialize", "show_graph", "width"], _TELLS
        ),
        **dict.fromkeys(["clone", "deserialize", "from_lazyframe_resolver", "lazy"], _MAKES),
        "remote": "runs the query on Polars' cloud",
        "sink_batches": "runs the query; the function is called in the client, with one partition after the other",
        "sink_delta": "runs the query; each partition writes its files, the client commits them as one version",
        "sink_iceberg": "runs the query; each partition writes its files, the client commits them as one version",
    },
    "LazyGroupBy": {},
    "Expr": {
        "deserialize": _MAKES,
        **{f"meta.{name}": _META for name in dir(pl.col("k").meta) if not name.startswith("_")},
    },
}


def _select(expression: pl.Expr) -> Query:
    return lambda t: t.typed.select(expression)


def operations() -> Iterator[Method]:
    """
    Give the examples.

    Yields
    ------
    Method
    """
    for name, query in sorted(_FRAMES.items()):
        yield Method("LazyFrame", name, query)
    for name, query in sorted(_GROUPS.items()):
        yield Method("LazyGroupBy", name, query)
    for name, expression in sorted({**EXPRESSIONS, **NAME_SPACES}.items(), key=lambda item: ("." in item[0], item[0])):
        yield Method("Expr", name, _select(expression))


def public_methods() -> dict[str, set[str]]:
    """
    List the public methods of the installed Polars.

    Returns
    -------
    dict of str to set of str
        By class: ``"LazyFrame"``, ``"LazyGroupBy"`` and ``"Expr"``, the latter with its name spaces.
    """
    spaces = {name for name in pl.Expr._accessors if not isinstance(vars(pl.Expr).get(name), NameSpace)}
    methods = {cls.__name__: set(_public(cls)) for cls in (pl.LazyFrame, LazyGroupBy, pl.Expr)}
    methods["Expr"] -= spaces
    for space in spaces:
        methods["Expr"].update(f"{space}.{name}" for name in _public(getattr(pl.col("k"), space)))
    return methods


def _public(owner: Any) -> Iterator[str]:
    # Name spaces that other packages have registered are not methods of Polars.
    registered = {name for name, value in getattr(owner, "__dict__", {}).items() if isinstance(value, NameSpace)}
    return (name for name in dir(owner) if not name.startswith("_") and name not in registered)


def missing() -> dict[str, set[str]]:
    """
    Name the methods of Polars that are not described, and what is described that Polars does not have.

    Returns
    -------
    dict of str to set of str
        By class; empty sets where all is well.
    """
    described = {owner: set(found) for owner, found in NOT_OPERATIONS.items()}
    for method in operations():
        described[method.owner].add(method.name)
    return {owner: found ^ described[owner] for owner, found in public_methods().items()}
