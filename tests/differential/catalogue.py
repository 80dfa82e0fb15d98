"""All the cases, by the name of their file."""

from __future__ import annotations

from tests.differential import (
    catalogue_aggregate,
    catalogue_bins,
    catalogue_by_index,
    catalogue_distinct,
    catalogue_groupby,
    catalogue_join,
    catalogue_mixed,
    catalogue_order,
    catalogue_reshape,
    catalogue_rolling,
    catalogue_rowwise,
    catalogue_series,
    catalogue_sort,
    catalogue_statistics,
    catalogue_union,
    catalogue_values,
    catalogue_wide,
    catalogue_windows,
)
from tests.differential.catalogue_base import DATA_SETS, Case, data_set

__all__ = ["CASES", "DATA_SETS", "DISTRIBUTED", "JOINS", "Case", "by_name", "data_set"]

_MODULES = {
    "rowwise": catalogue_rowwise,
    "aggregate": catalogue_aggregate,
    "groupby": catalogue_groupby,
    "join": catalogue_join,
    "series": catalogue_series,
    "sort": catalogue_sort,
    "distinct": catalogue_distinct,
    "union": catalogue_union,
    "wide": catalogue_wide,
    "windows-by": catalogue_by_index,
    "windows-in": catalogue_rolling,
    "windows": catalogue_windows,
    "order": catalogue_order,
    "mixed": catalogue_mixed,
    "statistics": catalogue_statistics,
    "reshape": catalogue_reshape,
    "values": catalogue_values,
    "bins": catalogue_bins,
}
CASES: dict[str, Case] = {f"{kind}-{case.name}": case for kind, module in _MODULES.items() for case in module.CASES}
COUNT = sum(len(module.CASES) for module in _MODULES.values())
DISTRIBUTED = {name: case for name, case in CASES.items() if case.distributed}
JOINS = {name: case for name, case in CASES.items() if name.startswith(("join-", "mixed-", "series-asof"))}


def by_name(name: str) -> Case:
    return CASES[name]
