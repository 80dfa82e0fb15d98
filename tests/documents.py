"""Running the Python of a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dask
import polars as pl

ROOT = Path(__file__).parents[1]


def blocks(document: Path) -> list[str]:
    """List the blocks of Python; those that begin with ``py`` are not run."""
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def make_data(directory: Path) -> None:
    """Write data of the shape that the documents speak of."""
    orders = pl.DataFrame(
        {
            "o_orderkey": range(400),
            "o_custkey": [i % 37 for i in range(400)],
            "o_orderstatus": [("F", "O", "P")[i % 3] for i in range(400)],
            "o_totalprice": [float(i * 7919 % 5000) for i in range(400)],
            "o_orderdate": [date(1994, 1, 1) + timedelta(days=3 * i) for i in range(400)],
        }
    )
    customer = pl.DataFrame(
        {"c_custkey": range(40), "c_mktsegment": [("BUILDING", "MACHINERY")[i % 2] for i in range(40)]}
    )
    for name, frame in (("orders", orders), ("customer", customer)):
        (directory / "data" / name).mkdir(parents=True)
        for number, part in enumerate(frame.iter_slices(frame.height // 4)):
            part.write_parquet(directory / "data" / name / f"part-{number}.parquet")


def run(document: Path, client: Any, directory: Path, replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """
    Run the blocks of a document, one after the other.

    Parameters
    ----------
    document
        Its path.
    client
        What stands for the clients that it makes.
    directory
        Where its data is.
    replaced
        Further text that stands for something else, and what for.

    Returns
    -------
    dict
        The names that it has bound.
    """
    found = blocks(document)
    assert found
    names: dict[str, Any] = {"cluster_of_the_tests": client}
    before = deepcopy(dask.config.config)
    try:
        for number, block in enumerate(found):
            code = re.sub(r"\bClient\([^)\n]*\)", "cluster_of_the_tests", block)
            code = code.replace('"data/', f'"{directory}/data/')  # the workers were started in another directory
            for text, instead in (replaced or {}).items():
                code = code.replace(text, instead)
            exec(compile(code, f"{document.name}, block {number + 1}", "exec"), names)
    finally:  # what a document configures is not for the tests that come after it
        dask.config.config.clear()
        dask.config.config.update(before)
    return names
