"""Every case of the catalogue gives what Polars gives, however the data are cut."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.differential.catalogue import CASES, COUNT, DATA_SETS, DISTRIBUTED, JOINS, by_name, data_set
from tests.helpers import assert_same, plain_tables, run_plain

OTHERS = [name for name in DATA_SETS if name != "small"]
# CATALOGUE=full runs every case in every way, CATALOGUE=quick every fourth case.
FULL = os.environ.get("CATALOGUE") == "full"
QUICK = os.environ.get("CATALOGUE") == "quick"
SHUFFLE_JOINS = {"broadcast-limit": 0}
HEAVY_KEYS = {"partition-size": "40 B", "count-keys-above": 0, **SHUFFLE_JOINS}
FEW_BYTES = {"partition-size": "200 B", **SHUFFLE_JOINS}
SPLIT_KINDS = ("statistics-", "reshape-", "bins-hist", "bins-q")
# How the inputs are cut, from one partition to more than there are rows in some of them.
CUTS: dict[str, dict[str, Any]] = {
    "p1": {"npartitions": 1},
    "p2": {"npartitions": 2},
    "p7": {"npartitions": 7},
    "empties": {"npartitions": 3, "with_empties": True},
    "rows3": {"front_door": "engine"},
}


def check(name: str, data: str = "small", **options: Any) -> None:
    case = by_name(name)
    assert_same(
        case.query, data_set(data), order=case.order, check_message=case.messages, name=f"{name} on {data}", **options
    )


def rotate(names: list[str], choices: list[str], keep: int) -> list[tuple[str, str]]:
    """Each name with `keep` of the choices, in turn, so that each choice meets names of every kind."""
    keep = len(choices) if FULL else keep
    return [(name, choices[(i + j) % len(choices)]) for i, name in enumerate(names) for j in range(keep)]


def cuts(names: list[str]) -> list[tuple[str, str]]:
    """Seven partitions for every name, and one of the other cuts in turn for every third one."""
    others = [cut for cut in CUTS if cut != "p7"]
    return sorted([(name, "p7") for name in names] + rotate(names if FULL else names[::3], others, 1))


NAMES = list(CASES)[:: 4 if QUICK else 1]
JOIN_NAMES = [name for name in NAMES if name in JOINS]


def test_names_are_unique() -> None:
    assert len(CASES) == COUNT


@pytest.mark.parametrize("data", [*DATA_SETS, "none_right"])
def test_the_catalogue_runs_on_polars(data: str) -> None:
    """Polars raises where the case says so, and nowhere else."""
    outcomes = {name: run_plain(case.query, data_set(data)) for name, case in CASES.items()}
    raised = {name: str(o.error) for name, o in outcomes.items() if o.error is not None}
    assert raised.keys() == {name for name, case in CASES.items() if data in case.raises}, raised


@pytest.mark.parametrize(("name", "cut"), cuts(NAMES))
def test_cuts(name: str, cut: str) -> None:
    """What is flagged as distributed runs without a single partition, too."""
    from dask_polars import FallbackError

    fallback = "raise" if cut == "p7" and name in DISTRIBUTED else "silent"
    try:
        check(name, **CUTS[cut], fallback=fallback)
    except AssertionError as error:
        if isinstance(error.__cause__, FallbackError):
            explained = by_name(name).query(plain_tables(data_set("small"))).explain()
            pytest.fail(f"{name} is not distributed: {error.__cause__}\n{explained}")
        raise


@pytest.mark.parametrize(("name", "data"), rotate(NAMES if FULL else NAMES[1::3], OTHERS, 1))
def test_data(name: str, data: str) -> None:
    check(name, data, npartitions=3)


@pytest.mark.parametrize("name", NAMES if FULL else NAMES[::9])
def test_scan(name: str) -> None:
    """Files of several row groups, cut to partitions of three rows."""
    check(name, npartitions=4, front_door="scan")


@pytest.mark.parametrize(("name", "data"), [(name, "small") for name in JOIN_NAMES])
def test_shuffled_joins(name: str, data: str) -> None:
    check(name, data, npartitions=3, config=SHUFFLE_JOINS)


@pytest.mark.parametrize(("name", "data"), rotate(JOIN_NAMES, [*OTHERS, "none_right"], 1))
def test_shuffled_joins_of_odd_data(name: str, data: str) -> None:
    check(name, data, npartitions=3, config=SHUFFLE_JOINS)


@pytest.mark.parametrize(
    ("name", "data"), rotate([name for name in JOIN_NAMES if "asof" not in name][::3], ["small", *OTHERS], 1)
)
def test_joins_with_heavy_keys(name: str, data: str) -> None:
    """Partitions of so few bytes that any key is heavy: its rows are dealt out to several."""
    check(name, data, npartitions=4, config=HEAVY_KEYS)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(SPLIT_KINDS)])
def test_partitions_of_few_bytes(name: str) -> None:
    """What would be gathered since it is small is not."""
    fallback = "raise" if name in DISTRIBUTED else "silent"
    check(name, npartitions=3, config=FEW_BYTES, fallback=fallback)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("wide-", "windows-"))])
def test_rows_that_do_not_fit(name: str) -> None:
    """As if no partition could hold all groups, all rows or all edges: these are shuffled."""
    check(name, npartitions=4, config={"broadcast-limit": 0, "partition-size": "200 B"})
