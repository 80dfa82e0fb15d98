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

from dask_polars.explain import explain_plan, explain_tree, fragment_text, inputs_of, numbered, partitions_text, title
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
    walk_stages,
)
from dask_polars.progress import in_notebook

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


def boxes_of(roots: Sequence[Stage], profile: pl.DataFrame | None = None) -> list[Box]:
    """
    Make the boxes of a plan.

    Parameters
    ----------
    roots
        The stages that give the results.
    profile
        What they took.

    Returns
    -------
    list of Box
        By their numbers.
    """
    numbers = numbered(roots)
    rows = [] if profile is None else profile.rows(named=True)
    took = {row["stage"]: list(_took(row)) for row in rows}
    for row in rows:
        for part in row["fused"]:
            took.setdefault(int(part[1 : part.index("]")]), []).append(f"as a part of [{row['stage']}]")
    found = []
    for stage in sorted(walk_stages(roots), key=lambda stage: numbers[stage.token]):
        number = numbers[stage.token]
        lines = (f"[{number}] {title(stage)}", partitions_text(stage), *took.get(number, ()))
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
        yield f"gave {row['rows_out']:,} rows, {format_bytes(row['bytes_out'])}"
    moved = [("read", row["bytes_read"]), ("shuffled", row["bytes_shuffled"]), ("spilled", row["bytes_spilled"])]
    parts = [
        format_time(row["wall"].total_seconds()),
        *(f"{format_bytes(size)} {what}" for what, size in moved if size),
    ]
    yield ", ".join(parts) + (f", skew {row['skew']:.2g}" if row["skew"] and row["skew"] >= 1.05 else "")


# ---------------------------------------------------------------- Mermaid


def mermaid(roots: Sequence[Stage], profile: pl.DataFrame | None = None) -> str:
    """
    Write a plan as a flowchart of Mermaid.

    Parameters
    ----------
    roots
        The stages that give the results.
    profile
        What they took.

    Returns
    -------
    str
    """
    boxes, numbers = boxes_of(roots, profile), numbered(roots)
    lines = ["flowchart BT"]
    for box in boxes:
        text = "<br/>".join(html.escape(line).replace("&quot;", "#quot;") for line in box.lines)
        lines.append(f'    s{box.number}["{text}"]:::{box.kind}')
    for box in boxes:
        for below, how in inputs_of(box.stage):
            arrow = f"-->|{how}|" if how else "-->"
            lines.append(f"    s{numbers[below.token]} {arrow} s{box.number}")
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


def _layers(roots: Sequence[Stage]) -> dict[str, int]:
    """Say how far each stage is from the results: further than all of its readers."""
    layers: dict[str, int] = {}
    for stage in reversed(list(walk_stages(roots))):  # readers first
        layers.setdefault(stage.token, 0)
        for below in stage.inputs:
            layers[below.token] = max(layers.get(below.token, 0), layers[stage.token] + 1)
    return layers


def _columns(roots: Sequence[Stage]) -> dict[str, float]:
    """Give each stage a place between left and right: the sources side by side, a reader over what it is first to read."""
    columns: dict[str, float] = {}
    free = 0

    def visit(stage: Stage) -> float:
        nonlocal free
        columns[stage.token] = 0.0  # it is placed by its first reader
        own = [visit(below) for below in stage.inputs if below.token not in columns]
        if not own:
            own, free = [float(free)], free + 1
        columns[stage.token] = sum(own) / len(own)
        return columns[stage.token]

    for root in roots:
        if root.token not in columns:
            visit(root)
    return columns


def _places(roots: Sequence[Stage], boxes: Sequence[Box]) -> dict[str, Place]:
    layers, columns = _layers(roots), _columns(roots)
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


def svg(roots: Sequence[Stage], profile: pl.DataFrame | None = None, *, alone: bool = True) -> str:
    """
    Draw a plan: results on top, sources below.

    Parameters
    ----------
    roots
        The stages that give the results.
    profile
        What they took.
    alone
        Whether it is a file of its own, which brings its ground, and not a part of a page.

    Returns
    -------
    str
    """
    boxes = boxes_of(roots, profile)
    places = _places(roots, boxes)
    width = max(place.x + place.width for place in places.values()) + 1
    height = max(place.y + place.height for place in places.values()) + 1
    parts = [edge for box in boxes for edge in _edges(box, places)]
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


def _edges(box: Box, places: Mapping[str, Place]) -> Iterator[str]:
    """Draw lines with arrows from what a stage reads."""
    reader = places[box.stage.token]
    end = reader.y + reader.height
    found = list(inputs_of(box.stage))
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
        What its stages took.

    Returns
    -------
    str
    """
    picture = svg(plan.roots, profile, alone=False)
    gathered = "".join(f"<li>{html.escape(str(item))}</li>" for item in plan.fallbacks)
    below = f"<p>Gathered to one partition:</p><ul>{gathered}</ul>" if gathered else ""
    return f'<div style="overflow-x: auto; max-width: 100%">{picture}</div>{below}'


_MANY_COLUMNS, _MANY_STAGES = 12, 24  # more are folded at first


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
    nstages = len(list(walk_stages(plan.roots)))
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
        return mermaid(plan.roots)
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
    if raw_output:
        return mermaid(plan.roots, profile)
    if output_path is not None:
        _write(Path(output_path), plan, profile)
    if not show:
        return None
    if in_notebook():
        from IPython.display import HTML, display

        display(HTML(plan_html(plan, profile)))
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as file:
        file.write(page(plan_html(plan, profile)))
    if not webbrowser.open(Path(file.name).as_uri()):
        Path(file.name).unlink()
        print(explain_tree(plan))
    return None


def _write(path: Path, plan: Plan, profile: pl.DataFrame | None) -> None:
    if path.suffix == ".svg":
        text = svg(plan.roots, profile)
    elif path.suffix == ".html":
        text = page(plan_html(plan, profile))
    elif path.suffix == ".mmd":
        text = mermaid(plan.roots, profile)
    else:
        raise ValueError(f"a plan is written as .svg, .html or .mmd, not as {path.suffix or 'a file without a suffix'}")
    path.write_text(text, encoding="utf-8")
