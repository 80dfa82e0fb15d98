"""The Python of the README runs, in its order, on data of the shape that it speaks of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.documents import ROOT, make_data, run

README = ROOT / "README.md"


@pytest.mark.cluster
@pytest.mark.usefixtures("narwhals_plugin")
@pytest.mark.filterwarnings("ignore:Iceberg scan planning")
def test_the_readme_runs(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = run(README, client, tmp_path)
    expected = (
        pl.scan_parquet("data/orders/*.parquet")
        .filter(pl.col("o_orderdate") >= pl.date(1995, 1, 1))
        .join(pl.scan_parquet("data/customer/*.parquet"), left_on="o_custkey", right_on="c_custkey")
        .group_by("c_mktsegment")
        .agg(orders=pl.len(), revenue=pl.col("o_totalprice").sum())
        .sort("c_mktsegment")
        .collect()
    )
    assert names["by_segment"].sort("c_mktsegment").collect().equals(expected)
    assert names["count"].item() == 400
    assert names["agree"]
    orders = pl.read_parquet("data/orders/*.parquet")
    assert names["open_orders"].item() == orders.filter(pl.col("o_orderstatus") == "O")["o_totalprice"].sum()
    assert names["read_by_tasks"].collect().equals(orders)
    recent = orders.filter(pl.col("o_orderdate") >= pl.date(1995, 1, 1)).sort("o_orderkey")
    for kind in ("csv", "json", "arrow", "delta", "iceberg"):
        assert names[f"from_{kind}"].sort("o_orderkey").collect().equals(recent), kind
    assert pl.concat(names["batches"]).equals(recent)
    assert names["plugin"].npartitions == 1
    assert names["evens"]["n"].to_list() == [0, 2, 4, 6, 8]
    assert names["shuffled"].height == names["heights"]["len"].sum() == sum(names["rows"])


def test_the_table_of_options_is_that_of_the_configuration() -> None:
    from dask_polars import config

    rows = dict(re.findall(r"^\| `([a-z-]+)` \| `(.+?)` \|", README.read_text(), flags=re.MULTILINE))
    defaults = config.defaults()[config.NAMESPACE]
    words = {None: "null", True: "true", False: "false"}
    assert rows == {
        name: words[value] if value is None or value is bool(value) else str(value) for name, value in defaults.items()
    }


def test_the_design_names_every_module() -> None:
    root = README.parent
    text = (root / "docs/design.md").read_text()
    found = {str(path.relative_to(root / "dask_polars")) for path in (root / "dask_polars").rglob("*.py")}
    missing = {path for path in found if Path(path).name != "__init__.py" and not re.search(rf"`{path}`", text)}
    alone = {path for path in missing if not (path.startswith("plan/") and f"`{Path(path).name}`" in text)}
    assert not alone, "docs/design.md has a table of modules, with a line for each"


def test_the_documents_lead_nowhere_else() -> None:
    """Links between documents lead to files that are there."""
    root = README.parent
    for document in (README, *sorted((root / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
