"""All the cases, by the name of their file."""

from __future__ import annotations

from tests.differential import (
    catalogue_aggregate,
    catalogue_distinct,
    catalogue_groupby,
    catalogue_join,
    catalogue_mixed,
    catalogue_order,
    catalogue_reshape,
    catalogue_rowwise,
    catalogue_series,
    catalogue_sort,
    catalogue_statistics,
    catalogue_union,
    catalogue_wide,
    catalogue_windows,
)
from tests.differential.catalogue_base import DATA_SETS, Case, data_set

__all__ = ["CASES", "DATA_SETS", "DISTRIBUTED", "JOINS", "Case", "by_name", "data_set"]

CASES: dict[str, Case] = {
    f"{kind}-{case.name}": case
    for kind, cases in {
        "rowwise": catalogue_rowwise.CASES,
        "aggregate": catalogue_aggregate.CASES,
        "groupby": catalogue_groupby.CASES,
        "join": catalogue_join.CASES,
        "series": catalogue_series.CASES,
        "sort": catalogue_sort.CASES,
        "distinct": catalogue_distinct.CASES,
        "union": catalogue_union.CASES,
        "wide": catalogue_wide.CASES,
        "windows": catalogue_windows.CASES,
        "order": catalogue_order.CASES,
        "mixed": catalogue_mixed.CASES,
        "statistics": catalogue_statistics.CASES,
        "reshape": catalogue_reshape.CASES,
    }.items()
    for case in cases
}
COUNT = sum(
    len(module.CASES)
    for module in (
        catalogue_aggregate, catalogue_distinct, catalogue_groupby, catalogue_join, catalogue_mixed,
        catalogue_order, catalogue_rowwise, catalogue_series, catalogue_sort, catalogue_statistics,
        catalogue_union, catalogue_wide, catalogue_windows,
        catalogue_order, catalogue_reshape, catalogue_rowwise, catalogue_series, catalogue_sort, catalogue_statistics,
        catalogue_union,
    )
)  # fmt: skip
DISTRIBUTED = {name: case for name, case in CASES.items() if case.distributed}
JOINS = {name: case for name, case in CASES.items() if name.startswith(("join-", "mixed-", "series-asof"))}


def by_name(name: str) -> Case:
    return CASES[name]
