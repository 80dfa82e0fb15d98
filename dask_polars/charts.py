"""Bars beside each other as a picture: SVG of our own, or of matplotlib or altair where they are installed."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Colours that can be told apart on light and on dark ground, by people who see colours differently, too.
_COLOURS = ("#4a7dbf", "#e08a1e", "#2e9e5b", "#d64545", "#8e6bbf", "#8c8c8c")
_CHARACTER = 6.6  # pixels, of letters of such a font on average
_FONT, _LINE, _BAR = 12, 20, 14  # pixels
_PANEL, _LABEL, _GAP, _COLUMNS = 240, 74, 24, 3


@dataclass(frozen=True)
class Panel:
    """
    Bars that have one scale.

    Parameters
    ----------
    title
        What is measured.
    unit
        Of the values.
    values
        One for each series; None where there is none.
    labels
        The values as text.
    """

    title: str
    unit: str
    values: Sequence[float | None]
    labels: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """
    Panels of bars, one bar in each for every series. A notebook shows it.

    Parameters
    ----------
    series
        The names.
    panels
        The panels.

    Examples
    --------
    >>> from dask_polars.charts import Chart, Panel
    >>> Chart(("a", "b"), (Panel("time", "s", (1.0, 2.0), ("1 s", "2 s")),)).svg()[:4]
    '<svg'
    """

    series: tuple[str, ...]
    panels: tuple[Panel, ...]

    def svg(self) -> str:
        """
        Draw it.

        Returns
        -------
        str
            An element that can be a part of a page, or a file of its own.
        """
        legend, top = self._legend()
        rows = -(-len(self.panels) // _COLUMNS)
        step = (len(self.series) + 1) * _LINE + _GAP
        width, height = _COLUMNS * (_PANEL + _GAP), top + rows * step
        parts = list(legend)
        for number, panel in enumerate(self.panels):
            x, y = number % _COLUMNS * (_PANEL + _GAP), top + number // _COLUMNS * step
            parts.extend(_panel(panel, self.series, x, y))
        head = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        font = f'font-family="system-ui, sans-serif" font-size="{_FONT}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {head} {font}>{"".join(parts)}</svg>'

    def _legend(self) -> tuple[list[str], int]:
        """Give the names with their colours, and how high they are."""
        parts, x, y = [], 0.0, 0
        for number, name in enumerate(self.series):
            length = len(name) * _CHARACTER + 40
            if x and x + length > _COLUMNS * (_PANEL + _GAP):
                x, y = 0.0, y + _LINE
            parts.append(f'<rect x="{x:.0f}" y="{y + 3}" width="12" height="12" rx="2" fill="{_colour(number)}"/>')
            parts.append(f'<text x="{x + 18:.0f}" y="{y + 13}" fill="currentColor">{html.escape(name)}</text>')
            x += length
        return parts, y + _LINE + 12

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x: auto; max-width: 100%">{self.svg()}</div>'

    def matplotlib(self) -> Any:
        """
        Draw it with matplotlib.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from matplotlib.figure import Figure

        rows = -(-len(self.panels) // _COLUMNS)
        figure = Figure(figsize=(10, rows * (0.8 + 0.35 * len(self.series))), layout="constrained")
        axes = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True).ravel()
        for panel, axis in zip(self.panels, axes, strict=False):
            colours = [_colour(number) for number in range(len(self.series))]
            bars = axis.barh(self.series, [value or 0 for value in panel.values], color=colours)
            axis.bar_label(bars, panel.labels, padding=3, fontsize=8)
            axis.set_title(panel.title, fontsize=9)
            axis.margins(x=0.3)
            axis.tick_params(labelsize=8)
            axis.set_xlabel(panel.unit, fontsize=8)
        axes[0].invert_yaxis()
        for axis in axes[len(self.panels) :]:
            axis.set_visible(False)
        return figure

    def altair(self) -> Any:
        """
        Draw it with altair.

        Returns
        -------
        altair.HConcatChart

        Raises
        ------
        ImportError
            If altair is not installed.
        """
        import altair as alt
        import polars as pl

        charts = []
        for panel in self.panels:
            data = pl.DataFrame({"name": self.series, "value": panel.values, "label": panel.labels}, strict=False)
            x = alt.X("value:Q", title=panel.unit)
            y = alt.Y("name:N", title=None, sort=list(self.series))
            colour = alt.Color("name:N", legend=None, sort=list(self.series), scale=alt.Scale(range=list(_COLOURS)))
            chart = alt.Chart(data, title=panel.title, width=170)
            charts.append(chart.mark_bar().encode(x=x, y=y, color=colour, tooltip=["name:N", "label:N"]))
        return alt.concat(*charts, columns=_COLUMNS).resolve_scale(x="independent")


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _panel(panel: Panel, series: Sequence[str], x: float, y: float) -> Iterator[str]:
    longest = max([value for value in panel.values if value is not None], default=0) or 1
    yield f'<text x="{x}" y="{y + _FONT}" fill="currentColor" font-weight="600">{html.escape(panel.title)}</text>'
    for number, (name, value, label) in enumerate(zip(series, panel.values, panel.labels, strict=True)):
        top = y + (number + 1) * _LINE
        width = 0.0 if value is None else max(1.0, value / longest * (_PANEL - _LABEL))
        yield (
            f"<g><title>{html.escape(f'{name}: {label}')}</title>"
            f'<rect x="{x}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{_colour(number)}"/>'
            f'<text x="{x + width + 5:.1f}" y="{top + _BAR - 3}" fill="currentColor">{html.escape(label)}</text></g>'
        )
