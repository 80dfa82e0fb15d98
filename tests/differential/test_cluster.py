"""An eighth of the catalogue, all of it with CATALOGUE=full, on a cluster of two workers, through both front doors."""

from __future__ import annotations

import os
from itertools import cycle
from typing import Any

import polars as pl
import pytest

from tests.differential.catalogue import CASES, JOINS, by_name, data_set
from tests.helpers import FrontDoor, assert_same

pytestmark = pytest.mark.cluster

SOME = list(CASES)[1 :: 1 if os.environ.get("CATALOGUE") == "full" else 8]
SHUFFLED = list(JOINS)[::5]


def check(name: str, client: Any, front_door: FrontDoor, config: dict[str, Any] | None = None) -> None:
    case = by_name(name)
    assert_same(
        case.query,
        data_set("small"),
        npartitions=3,
        order=case.order,
        check_message=case.messages,
        front_door=front_door,
        client=client,
        config=config,
        name=name,
    )


@pytest.mark.parametrize("name", SOME[::2])
def test_collection(name: str, client: Any) -> None:
    check(name, client, "collection")


@pytest.mark.parametrize("name", SOME[1::2])
def test_engine(name: str, client: Any) -> None:
    check(name, client, "engine")


@pytest.mark.parametrize(("name", "method"), list(zip(SHUFFLED, cycle(["tasks", "p2p"]), strict=False)))
def test_shuffled(name: str, method: str, client: Any) -> None:
    check(name, client, "collection", {"broadcast-limit": 0, "shuffle-method": method})


GROUPS = ["groupby-agg_median", "groupby-agg_list", "groupby-key_st", "distinct-unique_first_gh", "sort-sort_two_mixed"]


@pytest.mark.parametrize("name", GROUPS)
def test_p2p(name: str, client: Any) -> None:
    check(name, client, "collection", {"shuffle-method": "p2p"})


def test_both_front_doors_agree(client: Any) -> None:
    import dask_polars as dp

    frame = data_set("small")["a"].lazy()
    query = frame.group_by("g").agg(pl.col("y").sum()).sort("g")
    ours = query.collect(engine=dp.DaskEngine(client, max_rows_per_partition=3))
    assert ours.equals(query.collect(), null_equal=True)


def test_many_collections_at_once(client: Any) -> None:
    """`dask.compute` of two collections that share an input."""
    import dask

    import dask_polars as dp

    base = dp.from_polars(data_set("small")["a"], npartitions=4).filter(pl.col("y") > 0)
    total, groups = dask.compute(base.select(pl.col("y").sum()), base.group_by("h").agg(pl.len()).sort("h"))
    plain = data_set("small")["a"].lazy().filter(pl.col("y") > 0)
    assert total.equals(plain.select(pl.col("y").sum()).collect())
    assert groups.equals(plain.group_by("h").agg(pl.len()).sort("h").collect())
