"""The Python on the pages of the documentation runs, in its order; their links and pictures are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from tests.documents import ROOT, make_data, run
from tests.s3.conftest import Bucket, bucket, server

__all__ = ["bucket", "server"]  # fixtures

DOCS = ROOT / "docs"
NOT_RUN = {"deploying.md"}  # needs machines


def test_every_page_with_code_is_run() -> None:
    with_code = {path.name for path in DOCS.glob("*.md") if "```python" in path.read_text()}
    assert with_code - NOT_RUN == {"index.md", "tutorial.md", "sources-and-sinks.md", "s3.md", "plans.md", "dask.md"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_s3(bucket: Bucket) -> dict[str, str]:
    client = f'"client_kwargs": {{"endpoint_url": "{bucket.endpoint}", "region_name": "us-east-1"}}'
    return {"s3://bucket/": f"{bucket.url}/", '"client_kwargs": {"endpoint_url": "http://localhost:9000"}': client}


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["index.md", "plans.md"])
def test_pages_of_queries(name: str, client: Any, here: Path) -> None:
    make_data(here)
    run(DOCS / name, client, here)


@pytest.mark.cluster
def test_the_page_of_sources_and_sinks(client: Any, here: Path) -> None:
    make_data(here)
    names = run(DOCS / "sources-and-sinks.md", client, here)
    assert names["copied"] == names["read_back"] == names["by_status"] == 400
    assert pl.read_csv(here / "data/orders.csv").height == 10


@pytest.mark.cluster
@pytest.mark.usefixtures("narwhals_plugin")
def test_the_page_of_dask(client: Any, here: Path) -> None:
    make_data(here)
    names = run(DOCS / "dask.md", client, here)
    above = pl.read_parquet("data/orders/*.parquet").filter(pl.col("o_totalprice") > 1000)
    assert names["highest"].max() == above["o_totalprice"].max()
    assert names["kept_rows"].item() == names["table"].num_rows == above.height
    assert names["expensive"].item() == above.filter(pl.col("o_totalprice") > 2000).height


@pytest.mark.cluster
def test_the_page_of_object_stores(client: Any, here: Path, bucket: Bucket) -> None:
    make_data(here)
    run(DOCS / "s3.md", client, here, on_s3(bucket))
    written = pl.read_parquet(f"{bucket.url}/counts.parquet", storage_options=bucket.polars)
    assert written["len"].sum() == 400


@pytest.mark.cluster
def test_the_tutorial(client: Any, here: Path, bucket: Bucket) -> None:
    import dask

    with dask.config.set():  # what the tutorial sets ends here
        run(DOCS / "tutorial.md", client, here, on_s3(bucket))
    written = pl.read_parquet(f"{bucket.url}/daily.parquet", storage_options=bucket.polars)
    assert written.height == 100


def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "site/pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_of_the_pages_are_drawn() -> None:
    module = pictures()
    text = "".join(path.read_text() for path in DOCS.glob("*.md"))
    assert set(re.findall(r"<!-- picture: ([a-z-]+) -->", text)) == module.NAMES
    drawn = {name: module.draw(name) for name in module.NAMES}
    assert len(set(drawn.values())) == len(drawn)
    assert "SHUFFLE" in drawn["join-large"]
    assert "SHUFFLE" not in drawn["join"]


def test_the_site_has_every_page() -> None:
    listed = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {path.name for path in DOCS.glob("*.md")} <= listed
