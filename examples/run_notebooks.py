"""Run the notebooks of this directory, each in a kernel of its own, and keep what they show.

python examples/run_notebooks.py            # all of them
python examples/run_notebooks.py examples/01-quick-start.ipynb
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

TIMEOUT = 240  # seconds for a cell


def run(path: Path) -> Any:
    """Run a notebook in a clean kernel, and give it with its outputs; an error of a cell is raised."""
    notebook = nbformat.read(path, as_version=4)
    # Nothing of when it ran is written: a notebook that runs again is the same but for what it measures.
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", record_timing=False)
    client.execute()
    # What a busy machine logs, such as a worker that is slow to close, is not part of what is shown.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main() -> None:
    """Run those that are named, or all."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted(Path(__file__).parent.glob("*.ipynb"))
    for path in paths:
        print(path)
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main()
