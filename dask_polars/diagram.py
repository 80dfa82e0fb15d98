"""Plans as pictures: SVG and HTML for notebooks and browsers, Mermaid for everything else."""

from __future__ import annotations

import html
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from dask.utils import format_bytes, format_time

from dask_polars.explain import explain_plan, explain_tree, fragment_text, partitions_text, title
from dask_polars.plan import Plan
from dask_polars.plan.stages import (
    FrameStage,
    KeyStage,
    MapStage,
    ProduceStage,
    RegroupStage,
    ScanStage,
    ShuffleStage,
    Stage,
)
from dask_polars.profile import Ran, ran_of
from dask_polars.progress import in_notebook
from dask_polars.stage_graph import StageGraph

# Colours that can be told apart on light and on dark ground, as they are nearly transparent.
_COLOURS = {"source": "#2e9e5b", "exchange": "#e08a1e", "fallback": "#d64545", "work": "#4a7dbf"}
_FONT = 12  # pixels
_CHARACTER = 6.9  # pixels, of the widest letters of such a font on average
_BOLD = 1.1  # times that, in titles
_LONGEST = 52  # characters of a line
_LINE, _PAD, _GAP_X, _GAP_Y = 16, 8, 28, 36


@dataclass(frozen=True)
class Box:
    """
    A stage in a picture.

    Parameters
    ----------
    stage
        The stage.
    number
        Its number.
    kind
        ``"source"``, ``"exchange"``, ``"fallback"`` or ``"work"``.
    lines
        What is written into it; the first line is its title.
    """

    stage: Stage
    number: int
    kind: str
    lines: tuple[str, ...]


def boxes_of(graph: StageGraph, profile: pl.DataFrame | None = None) -> list[Box]:
    """
    Make the boxes of a plan.

    Parameters
    ----------
    graph
        Its stages.
    profile
        What they took.

    Returns
    -------
    list of Box
        By their numbers.
    """
    rows = [] if profile is None else profile.rows(named=True)
    steps = len({row["step"] for row in rows}) > 1
    took: dict[int, list[str]] = {}
    for row in rows:
        lead = f"step {row['step']}: " if steps else ""
        first, *more = _took(row)
        took.setdefault(row["stage"], []).extend([lead + first, *more])
    for row in rows:
        for part in row["fused"]:
            said, part_of = took.setdefault(int(part[1 : part.index("]")]), []), f"as a part of [{row['stage']}]"
            if part_of not in said:  # it may be, in more than one step
                said.append(part_of)
    found = []
    for stage in sorted(graph.walk(), key=lambda stage: graph.numbers[stage.token]):
        number = graph.numbers[stage.token]
        lines = (f"[{number}] {title(stage)}".replace("  ", " · "), partitions_text(stage), *took.get(number, ()))
        found.append(Box(stage, number, _kind(stage), lines))
    return found


def _kind(stage: Stage) -> str:
    if isinstance(stage, (ScanStage, FrameStage, KeyStage, ProduceStage)):
        return "source"
    if isinstance(stage, (ShuffleStage, RegroupStage)):
        return "exchange"
    return "fallback" if isinstance(stage, MapStage) and stage.fallback else "work"


def _took(row: Mapping[str, Any]) -> Iterator[str]:
    """Say what a stage took, in one or two lines."""
    if not row["tasks"]:
        yield "was there already"
        return
    if row["rows_out"] is not None:
        yield f"gave {_count(row['rows_out'], 'row')}, {format_bytes(row['bytes_out'])}"
    moved = [("read", row["bytes_read"]), ("shuffled", row["bytes_shuffled"]), ("spilled", row["bytes_spilled"])]
    parts = [
        format_time(row["wall"].total_seconds()),
        *(f"{format_bytes(size)} {what}" for what, size in moved if size),
    ]
    yield ", ".join(parts) + (f", skew {row['skew']:.2g}" if row["skew"] and row["skew"] >= 1.05 else "")


# ---------------------------------------------------------------- Mermaid


def mermaid(graph: StageGraph, profile: pl.DataFrame | None = None) -> str:
    """
    Write a plan as a flowchart of Mermaid.

    Parameters
    ----------
    graph
        Its stages.
    profile
        What they took.

    Returns
    -------
    str
    """
    boxes = boxes_of(graph, profile)
    lines = ["flowchart BT"]
    for box in boxes:
        text = "<br/>".join(html.escape(line).replace("&quot;", "#quot;") for line in box.lines)
        lines.append(f'    s{box.number}["{text}"]:::{box.kind}')
    for box in boxes:
        for below, how in graph.inputs(box.stage):
            arrow = f"-->|{how}|" if how else "-->"
            lines.append(f"    s{graph.numbers[below.token]} {arrow} s{box.number}")
    lines.extend(f"    classDef {kind} stroke:{colour},fill:{colour}22" for kind, colour in _COLOURS.items())
    return "\n".join(lines)


# ---------------------------------------------------------------- SVG


@dataclass(frozen=True)
class Place:
    """Where a box is: its left upper corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The middle, from left to right."""
        return self.x + self.width / 2


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _width(line: str, *, bold: bool) -> float:
    """Guess the pixels that a line takes."""
    return len(_short(line)) * _CHARACTER * (_BOLD if bold else 1)


def _layers(graph: StageGraph) -> dict[str, int]:
    """Say how far each stage is from the results: further than all of its readers."""
    layers: dict[str, int] = {}
    for stage in reversed(list(graph.walk())):  # readers first
        layers.setdefault(stage.token, 0)
        for below, _ in graph.inputs(stage):
            layers[below.token] = max(layers.get(below.token, 0), layers[stage.token] + 1)
    return layers


def _columns(graph: StageGraph) -> dict[str, float]:
    """Give each stage a place between left and right: the sources side by side, a reader over what it is first to read."""
    columns: dict[str, float] = {}
    free = 0

    def visit(stage: Stage) -> float:
        nonlocal free
        columns[stage.token] = 0.0  # it is placed by its first reader
        own = [visit(below) for below, _ in graph.inputs(stage) if below.token not in columns]
        if not own:
            own, free = [float(free)], free + 1
        columns[stage.token] = sum(own) / len(own)
        return columns[stage.token]

    for root in map(graph.origin, graph.roots):
        if root.token not in columns:
            visit(root)
    return columns


def _places(graph: StageGraph, boxes: Sequence[Box]) -> dict[str, Place]:
    layers, columns = _layers(graph), _columns(graph)
    width = max(_width(line, bold=not row) for box in boxes for row, line in enumerate(box.lines)) + 2 * _PAD
    heights = [0.0] * (max(layers.values()) + 1)
    for box in boxes:
        layer = layers[box.stage.token]
        heights[layer] = max(heights[layer], len(box.lines) * _LINE + 2 * _PAD)
    tops = [sum(heights[:layer]) + _GAP_Y * layer for layer in range(len(heights))]
    return {
        box.stage.token: Place(
            columns[box.stage.token] * (width + _GAP_X) + 1,
            tops[layers[box.stage.token]] + 1,
            width,
            len(box.lines) * _LINE + 2 * _PAD,
        )
        for box in boxes
    }


def svg(graph: StageGraph, profile: pl.DataFrame | None = None, *, alone: bool = True) -> str:
    """
    Draw a plan: results on top, sources below.

    Parameters
    ----------
    graph
        Its stages.
    profile
        What they took.
    alone
        Whether it is a file of its own, which brings its ground, and not a part of a page.

    Returns
    -------
    str
    """
    boxes = boxes_of(graph, profile)
    places = _places(graph, boxes)
    width = max(place.x + place.width for place in places.values()) + 1
    height = max(place.y + place.height for place in places.values()) + 1
    parts = [edge for box in boxes for edge in _edges(graph, box, places)]
    parts.extend(_box(box, places[box.stage.token]) for box in boxes)
    head = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    content = "".join(parts)
    font = f'font-family="system-ui, sans-serif" font-size="{_FONT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head} {font}>{_GROUND if alone else ""}{content}</svg>'


_GROUND = (
    "<style>svg { color: #222; background: #fff }"
    " @media (prefers-color-scheme: dark) { svg { color: #ddd; background: #1c1c1c } }</style>"
)


_TITLE, _DETAIL = 'font-weight="600"', 'opacity="0.75"'


def _box(box: Box, place: Place) -> str:
    colour = _COLOURS[box.kind]
    rows = "".join(
        f'<text x="{place.x + _PAD:.1f}" y="{place.y + _PAD + _LINE * row + _FONT:.1f}" fill="currentColor"'
        f" {_TITLE if row == 0 else _DETAIL}>{html.escape(_short(line))}</text>"
        for row, line in enumerate(box.lines)
    )
    return (
        f"<g><title>{html.escape(_more(box))}</title>"
        f'<rect x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" rx="5"'
        f' fill="{colour}" fill-opacity="0.13" stroke="{colour}"/>{rows}</g>'
    )


def _more(box: Box) -> str:
    """What is shown when one points at a box: all of its text, and what Polars runs there."""
    fragment = fragment_text(box.stage) if isinstance(box.stage, MapStage) else ""
    return "\n".join([*box.lines, *fragment.splitlines()])


def _edges(graph: StageGraph, box: Box, places: Mapping[str, Place]) -> Iterator[str]:
    """Draw lines with arrows from what a stage reads."""
    reader = places[box.stage.token]
    end = reader.y + reader.height
    found = list(graph.inputs(box.stage))
    for number, (below, how) in enumerate(found):
        source = places[below.token]
        x = reader.x + reader.width * (number + 1) / (len(found) + 1)
        bend = (source.y - end) / 2
        yield (
            f'<path d="M{source.middle:.1f} {source.y:.1f} C{source.middle:.1f} {source.y - bend:.1f}'
            f' {x:.1f} {end + bend:.1f} {x:.1f} {end + 5:.1f}" fill="none" stroke="currentColor" stroke-opacity="0.55"/>'
            f'<path d="M{x:.1f} {end:.1f} l-4 7 h8 z" fill="currentColor" fill-opacity="0.55"/>'
        )
        if how:
            yield (
                f'<text x="{source.middle + 6:.1f}" y="{source.y - 6:.1f}" fill="currentColor" opacity="0.75"'
                f' font-style="italic">{html.escape(how)}</text>'
            )


# ---------------------------------------------------------------- HTML


def plan_html(plan: Plan, profile: pl.DataFrame | None = None) -> str:
    """
    Write a plan as a part of a page: the diagram, and what is gathered to one partition.

    Parameters
    ----------
    plan
        The plan.
    profile
        What its stages took, where it has run.

    Returns
    -------
    str
    """
    return _ran_html(_ran(plan, profile), profile)


def _ran(plan: Plan, profile: pl.DataFrame | None) -> Ran:
    """Give what has run, by a profile of it: the plan itself, unless it was another one in the end."""
    return (None if profile is None else ran_of(profile)) or Ran(plan, StageGraph(plan.roots))


def _ran_html(ran: Ran, profile: pl.DataFrame | None) -> str:
    picture = svg(ran.graph, profile, alone=False)
    gathered = "".join(f"<li>{html.escape(str(item))}</li>" for item in ran.plan.fallbacks)
    below = f"<p>Gathered to one partition:</p><ul>{gathered}</ul>" if gathered else ""
    steps = (
        f"<p>It ran in {ran.steps} steps: each was planned by what the ones before gave.</p>" if ran.steps > 1 else ""
    )
    return f'<div style="overflow-x: auto; max-width: 100%">{picture}</div>{steps}{below}'


_MANY_COLUMNS, _MANY_STAGES = 12, 24  # more are folded at first


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def frame_html(plan: Plan, schema: pl.Schema) -> str:
    """
    Write what is known of a collection as a part of a page.

    Parameters
    ----------
    plan
        Its plan.
    schema
        Its columns.

    Returns
    -------
    str
    """
    rows = "".join(
        f'<tr><td style="text-align: left">{html.escape(name)}</td>'
        f'<td style="text-align: left"><code>{html.escape(str(dtype))}</code></td></tr>'
        for name, dtype in schema.items()
    )
    nstages = len(StageGraph(plan.roots).numbers)
    columns = f"<summary>{_count(len(schema), 'column')}</summary><table>{rows}</table>"
    stages = f"<summary>{_count(nstages, 'stage')}</summary>{plan_html(plan)}"
    return (
        f"<div><b>dask_polars.LazyFrame</b>: {html.escape(partitions_text(plan.roots[0]))}"
        f"<details{' open' if len(schema) <= _MANY_COLUMNS else ''}>{columns}</details>"
        f"<details{' open' if nstages <= _MANY_STAGES else ''}>{stages}</details></div>"
    )


def error_html(error: Exception) -> str:
    """Write what is wrong with a query as a part of a page."""
    what = html.escape(type(error).__name__)
    return f"<div><b>dask_polars.LazyFrame</b>: {what}<pre>{html.escape(str(error))}</pre></div>"


def explained(plan: Plan, format: str) -> str:
    """
    Write a plan down.

    Parameters
    ----------
    plan
        The plan.
    format
        ``"plain"``, ``"tree"``, ``"html"`` or ``"mermaid"``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For another format.
    """
    if format == "plain":
        return explain_plan(plan)
    if format == "tree":
        return explain_tree(plan)
    if format == "html":
        return plan_html(plan)
    if format == "mermaid":
        return mermaid(StageGraph(plan.roots))
    raise ValueError(f"format must be plain, tree, html or mermaid, not {format!r}")


def page(body: str) -> str:
    """Make a page of a part of one."""
    style = ":root { color-scheme: light dark; font-family: system-ui, sans-serif; font-size: 14px }"
    return f'<!DOCTYPE html><html><head><meta charset="utf-8"><style>{style}</style></head><body>{body}</body></html>'


# ---------------------------------------------------------------- showing


def show_plan(
    plan: Plan,
    profile: pl.DataFrame | None = None,
    *,
    show: bool = True,
    output_path: str | Path | None = None,
    raw_output: bool = False,
) -> str | None:
    """
    Show the diagram of a plan: in a notebook in its output, elsewhere in a browser.

    Parameters
    ----------
    plan
        The plan.
    profile
        What its stages took.
    show
        Whether to show it.
    output_path
        A file to write it to: ``.svg``, ``.html``, or ``.mmd`` for Mermaid.
    raw_output
        Give the text of Mermaid, and do nothing else.

    Returns
    -------
    str, optional
        With ``raw_output``.

    Raises
    ------
    ValueError
        For a file of another kind.
    """
    ran = _ran(plan, profile)
    if raw_output:
        return mermaid(ran.graph, profile)
    if output_path is not None:
        _write(Path(output_path), ran, profile)
    if not show:
        return None
    text = _ran_html(ran, profile)
    if in_notebook():
        from IPython.display import HTML, display

        display(HTML(text))
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as file:
        file.write(page(text))
    if not webbrowser.open(Path(file.name).as_uri()):
        Path(file.name).unlink()
        print(explain_tree(ran.plan, ran.graph))
    return None


def _write(path: Path, ran: Ran, profile: pl.DataFrame | None) -> None:
    if path.suffix == ".svg":
        text = svg(ran.graph, profile)
    elif path.suffix == ".html":
        text = page(_ran_html(ran, profile))
    elif path.suffix == ".mmd":
        text = mermaid(ran.graph, profile)
    else:
        raise ValueError(f"a plan is written as .svg, .html or .mmd, not as {path.suffix or 'a file without a suffix'}")
    path.write_text(text, encoding="utf-8")
