"""The notebooks of examples/ run in clean kernels, and what they show is fit to be read elsewhere."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
NEEDED = (
    "nbclient",
    "ipykernel",
    "altair",
    "vl_convert",
    "plotly",
    "hvplot",
    "matplotlib",
    "moto.server",
    "boto3",
    "pandas",
)

LARGEST = 400_000  # bytes of a notebook


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]


def test_they_are_there() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.xdist_group("notebooks")  # their clusters are their own, so they run beside the tests of the cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        pytest.importorskip(name)
    from examples.run_notebooks import run

    # The kernel and its workers use this tree.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    executed = run(path)
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "it ran from top to bottom"
    found = outputs(path)
    assert found
    assert not [output for output in found if output["output_type"] == "error" or output.get("name") == "stderr"]
    text = json.dumps(found)
    places = (
        r"/(?:home|root|Users|tmp|work|var|opt|usr|private)/[\w.-]+|[A-Z]:\\\\|site-packages|Traceback|127\.0\.0\.1"
    )
    assert not re.search(places, text)
    assert "image/png" not in text
