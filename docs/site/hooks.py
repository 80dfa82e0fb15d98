"""
What mkdocs does besides: pages from documents elsewhere in the repository, and pictures of plans.

Documents are written for readers of the repository. Here their links are turned into those of the site; where a link
leads to a file that is no page, its path is shown in place of it.
"""

from __future__ import annotations

import importlib.util
import posixpath
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
COVERAGE = "what-is-distributed.md"
# Page of the site: its document in the repository.
PAGES = {
    COVERAGE: "README.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
    "benchmarks-tpch.md": "benchmarks/tpch/README.md",
    "benchmarks-io.md": "benchmarks/io/README.md",
}
_LINK = re.compile(r"\[([^\]\n]+)\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```.*?^```$)", flags=re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"<!-- picture: ([a-z-]+) -->")
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|exc):(?=<code)")
_NOTEBOOK = re.compile(r"`(examples/[\w-]+\.ipynb)`")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the notebooks that are not in docs/."""
    for uri, source in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, uri, content=_section(text) if uri == COVERAGE else text))
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        files.append(File.generated(config, f"examples/{notebook.name}", abs_src_path=str(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of the repository into those of the site."""
    uri = page.file.src_uri
    source = PAGES.get(uri, f"docs/{uri}")
    parts = _FENCE.split(markdown)
    parts[::2] = [_linked(part, source, uri) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Draw the plans, and leave out the roles of Sphinx that docstrings have."""
    return _PICTURE.sub(lambda found: f'<div class="plan">{_drawn(found[1])}</div>', _ROLE.sub("", html))


def _section(readme: str) -> str:
    """Cut out of the README what it says of the operations, as a page."""
    title = "What is distributed, and how"
    found = re.search(rf"^## {title}\n.*?(?=^## )", readme, flags=re.MULTILINE | re.DOTALL)
    if not found:
        raise PluginError(f"the README has no section {title!r}")
    return found[0].replace("## ", "# ", 1)


def _linked(markdown: str, source: str, uri: str) -> str:
    markdown = _LINK.sub(lambda found: _link(found, source, uri), markdown)
    return _NOTEBOOK.sub(_notebook, markdown)


def _link(found: re.Match[str], source: str, uri: str) -> str:
    text, target, anchor = found[1], found[2], found[3] or ""
    if not target:
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = _page(path, anchor)
    if page is not None:
        return f"[{text}]({posixpath.relpath(page, posixpath.dirname(uri) or '.')}{anchor})"
    return f"{text} (`{path}`)" if (ROOT / path).exists() else found[0]  # what is not there fails the build


def _page(path: str, anchor: str) -> str | None:
    """Say which page of the site a document is."""
    if path == "README.md" and not anchor:
        return "index.md"
    pages = {document: page for page, document in PAGES.items()}
    return pages.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)


def _notebook(found: re.Match[str]) -> str:
    path = found[1]
    return f"[`{path}`]({path})" if (ROOT / path).exists() else found[0]


def _drawn(name: str) -> str:
    pictures = _pictures()
    if name not in pictures.NAMES:
        raise PluginError(f"docs/site/pictures.py has no picture {name!r}")
    return str(pictures.draw(name))


def _pictures() -> ModuleType:
    """Import the module beside this one: mkdocs imports a hook by its path."""
    spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
