"""A dashboard's picture, laid out as Grafana lays it out, drawn by matplotlib from what the queries answered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.dashboards.asking import Answers, Series
from benchmarks.dashboards.panels import Panel, shown

_COLORS: Final = {
    "green": "#56a64b", "yellow": "#e0b400", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9", "text": "#24292e",
}  # fmt: skip
_PALETTE: Final = (
    "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#8ab8ff", "#b877d9", "#ffa6b0", "#37872d", "#fade2a", "#447ebc",
    "#c15c17", "#890f02", "#0a437c", "#6d1f62", "#584477", "#b7dbab",
)  # fmt: skip
_COLUMN, _ROW, _GAP, _HEAD = 0.58, 0.36, 0.12, 0.55
"""Inches of one column and one row of Grafana's grid, between panels, and above them all."""
_LEGEND_SHARE: Final = 0.35
"""Grafana gives a legend at the bottom so much of the panel's height; what does not fit is scrolled."""
_LEGEND_LINE: Final = 0.22
mpl.rcParams |= {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def draw(title: str, panels: Sequence[Panel], answers: Answers, path: Path) -> None:
    """Write the picture."""
    width, height = 24 * _COLUMN, max(each.top + each.height for each in panels) * _ROW + _HEAD
    figure = Figure(figsize=(width, height), facecolor="#f4f5f5")
    between = " to ".join(
        f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M:%S}" for each in (answers.begin, answers.end)
    )
    figure.text(_GAP / width, 1 - 0.3 / height, title, fontsize=12, weight="bold", va="center")
    figure.text(1 - _GAP / width, 1 - 0.3 / height, f"{between} UTC", ha="right", va="center", color="#666666")
    for panel, series in zip(panels, answers.panels, strict=True):
        _draw_panel(_Frame(figure, panel, width, height), series, answers)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})


class _Frame:
    """One panel's place in the figure, in inches from its lower left corner."""

    def __init__(self, figure: Figure, panel: Panel, width: float, height: float) -> None:
        self.figure, self.panel = figure, panel
        self._whole = (width, height)
        self.left = panel.left * _COLUMN + _GAP / 2
        self.bottom = height - _HEAD - (panel.top + panel.height) * _ROW + _GAP / 2
        self.width, self.height = panel.width * _COLUMN - _GAP, panel.height * _ROW - _GAP
        figure.add_artist(
            Rectangle(
                (self.left / width, self.bottom / height), self.width / width, self.height / height,
                facecolor="white", edgecolor="#d8d9da", transform=figure.transFigure, zorder=-1,
            )
        )  # fmt: skip
        self.text(0.1, self.height - 0.18, panel.title, weight="bold")

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        """Axes that leave so many inches free on each side."""
        width, height = self._whole
        return self.figure.add_axes((
            (self.left + left) / width, (self.bottom + bottom) / height,
            (self.width - left - right) / width, (self.height - bottom - top) / height,
        ))  # fmt: skip

    def text(self, x: float, y: float, text: str, **how: object) -> None:
        """Words at a place inside the panel."""
        width, height = self._whole
        self.figure.text((self.left + x) / width, (self.bottom + y) / height, text, **{"va": "center", **how})


def _draw_panel(frame: _Frame, series: Sequence[Series], answers: Answers) -> None:
    kinds = {"timeseries": _draw_lines, "heatmap": _draw_heatmap}
    if frame.panel.is_over_time and not series:
        frame.text(frame.width / 2, frame.height / 2, "No data", ha="center", fontsize=12, color="#888888")
    elif frame.panel.is_over_time:
        kinds[frame.panel.kind](frame, series, answers)
    elif frame.panel.kind == "table":
        _draw_table(frame, series)
    elif frame.panel.kind == "bargauge" and series:
        _draw_bars(frame, series)
    else:
        _draw_tiles(frame, series)


def _times(seconds: Iterable[float]) -> list[datetime]:
    return [datetime.fromtimestamp(at, UTC) for at in seconds]


def _numbers(series: Series) -> list[float]:
    """The values that are numbers, or one that is none."""
    return [value for value in series.values if math.isfinite(value)] or [math.nan]


def _draw_lines(frame: _Frame, series: Sequence[Series], answers: Answers) -> None:
    rows = _legend_rows(frame, series)
    axes = frame.axes(0.75, 0.35 + _LEGEND_LINE * (rows + 1), 0.15, 0.4)
    for number, each in enumerate(series):
        color = _PALETTE[number % len(_PALETTE)]
        seconds, values = _with_gaps(each)
        times = _times(seconds)
        axes.plot(times, values, color=color, linewidth=1)
        axes.fill_between(times, values, color=color, alpha=0.1, linewidth=0)
    _time_axis(axes, answers)
    top = max((value for each in series for value in each.values if math.isfinite(value)), default=0.0)
    axes.set_ylim(0, top * 1.05 or 1)
    for step in frame.panel.steps:
        if 0 <= step.at <= axes.get_ylim()[1]:
            axes.axhline(step.at, color=_COLORS.get(step.color, step.color), linestyle="--", linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, frame.panel.unit)))
    _draw_legend(frame, series, rows)


def _with_gaps(series: Series) -> tuple[list[float], list[float]]:
    """Times and values, and a value that is none where looks are missing: the line is broken there."""
    seconds, values = [at for at, _ in series.points], series.values
    step = min((later - at for at, later in pairwise(seconds)), default=0.0)
    whole: list[tuple[float, float]] = []
    for at, value in zip(seconds, values, strict=True):
        if whole and at - whole[-1][0] > 1.5 * step:
            whole.append((whole[-1][0] + step, math.nan))
        whole.append((at, value))
    return [at for at, _ in whole], [value for _, value in whole]


def _legend_rows(frame: _Frame, series: Sequence[Series]) -> int:
    """How many fit, below the line of headings."""
    room = int((frame.height * _LEGEND_SHARE) / _LEGEND_LINE) - 1
    return min(len(series), room)


def _draw_legend(frame: _Frame, series: Sequence[Series], rows: int) -> None:
    headings = {"lastNotNull": "Last *", "max": "Max", "mean": "Mean"}
    columns = [frame.width - 0.2 - 0.9 * place for place in range(len(frame.panel.legend))][::-1]
    top = 0.1 + _LEGEND_LINE * rows
    frame.text(0.15, top, "Name", color="#3274d9", fontsize=7)
    for x, calculation in zip(columns, frame.panel.legend, strict=True):
        frame.text(x, top, headings[calculation], ha="right", color="#3274d9", fontsize=7)
    ordered = list(enumerate(series))
    if frame.panel.busiest_first:
        ordered.sort(key=lambda each: -max(_numbers(each[1])))
    for place, (number, each) in enumerate(ordered[:rows], 1):
        y = top - _LEGEND_LINE * place
        frame.text(0.15, y, "▬", color=_PALETTE[number % len(_PALETTE)], fontsize=8)
        frame.text(0.35, y, each.name, fontsize=7)
        values = _numbers(each)
        found = {"lastNotNull": values[-1], "max": max(values), "mean": sum(values) / len(values)}
        for x, calculation in zip(columns, frame.panel.legend, strict=True):
            frame.text(x, y, shown(found[calculation], frame.panel.unit), ha="right", fontsize=7)
    if rows < len(series):
        frame.text(
            frame.width / 2, top, f"{len(series) - rows} more below: scroll", ha="center", fontsize=7, color="#888888"
        )


def _time_axis(axes: Axes, answers: Answers) -> None:
    axes.set_xlim(datetime.fromtimestamp(answers.begin, UTC), datetime.fromtimestamp(answers.end, UTC))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if answers.end - answers.begin < 360 else "%H:%M", tz=UTC))
    axes.tick_params(length=0)


def _draw_heatmap(frame: _Frame, series: Sequence[Series], answers: Answers) -> None:
    """Buckets are cumulative: each is shown less the one below it; those that nothing fell into are left out."""
    axes = frame.axes(0.9, 0.6, 0.15, 0.4)
    ordered = sorted(series, key=lambda each: float(each.labels["le"]))
    times = sorted({at for each in ordered for at, _ in each.points})
    below = dict.fromkeys(times, 0.0)
    rows: list[tuple[str, list[float]]] = []
    for each in ordered:
        values = below | {at: value or 0.0 for at, value in each.points}
        rows.append((each.labels["le"], [max(0.0, values[at] - below[at]) for at in times]))
        below = values
    used = [number for number, (_, row) in enumerate(rows) if any(value > 1e-9 for value in row)]
    kept = rows[max(0, min(used, default=0) - 1) : max(used, default=0) + 2]
    cells = [[value if value > 1e-9 else math.nan for value in row] for _, row in kept]
    most = max((value for row in cells for value in row if value == value), default=1.0)  # noqa: PLR0124 - NaN
    mesh = axes.pcolormesh(
        _times(times), range(len(kept)), cells, cmap="Spectral_r", shading="nearest",
        norm=LogNorm(vmin=max(most / 100, 1e-3), vmax=most),
    )  # fmt: skip
    axes.set_yticks(
        range(len(kept)), [shown(float(le), frame.panel.unit) if le != "+Inf" else "+Inf" for le, _ in kept]
    )
    if len(kept) > 12:
        for number, label in enumerate(axes.get_yticklabels()):
            label.set_visible(number % (len(kept) // 10 + 1) == 0)
    axes.grid(visible=False)
    _time_axis(axes, answers)
    bar = frame.figure.colorbar(mesh, cax=frame.axes(0.9, 0.18, 3.0, frame.height - 0.28), orientation="horizontal")
    bar.ax.tick_params(labelsize=6, length=0, pad=1)


def _draw_tiles(frame: _Frame, series: Sequence[Series]) -> None:
    if not series:
        frame.text(frame.width / 2, frame.height / 2, frame.panel.nothing, ha="center", fontsize=18, color="#888888")
    across = len(series)
    for number, each in enumerate(series):
        middle = frame.width * (number + 0.5) / across
        _draw_tile(frame, each, middle, frame.width / across, named=across > 1)


def _draw_tile(frame: _Frame, series: Series, middle: float, width: float, *, named: bool) -> None:
    value = _numbers(series)[-1]
    word, color = frame.panel.words.get(f"{value:g}", (shown(value, frame.panel.unit), frame.panel.color_of(value)))
    hue = _COLORS.get(color, color)
    if frame.panel.kind == "gauge":
        _draw_dial(frame, value)
    if frame.panel.words:
        size, (whole_width, whole_height) = (width - 0.2, frame.height - 0.5), frame.figure.get_size_inches()
        corner = (frame.left + middle - size[0] / 2) / whole_width, (frame.bottom + 0.1) / whole_height
        frame.figure.add_artist(
            Rectangle(
                corner, size[0] / whole_width, size[1] / whole_height, facecolor=hue, transform=frame.figure.transFigure
            )
        )
        hue = "white"
    frame.text(
        middle,
        frame.height * 0.42,
        word,
        ha="center",
        fontsize=min(26, 60 * width / max(4, len(word)) / 1.4),
        color=hue,
    )
    if named:
        frame.text(middle, frame.height * 0.7, series.name, ha="center", fontsize=8)


def _draw_bars(frame: _Frame, series: Sequence[Series]) -> None:
    axes = frame.axes(1.5, 0.1, 0.7, 0.4)
    axes.set_axis_off()
    axes.set_xlim(0, 100)
    axes.set_ylim(len(series), 0)
    for number, each in enumerate(series):
        value = _numbers(each)[-1]
        color = frame.panel.color_of(value)
        hue, middle = _COLORS.get(color, color), number + 0.5
        axes.barh(middle, 100, height=0.7, color="#eeeeee")
        axes.barh(middle, min(100.0, max(0.0, value)), height=0.7, color=hue)
        axes.text(-1, middle, each.name, ha="right", va="center", fontsize=7)
        axes.text(101, middle, shown(value, frame.panel.unit), ha="left", va="center", fontsize=7, color=hue)


def _draw_dial(frame: _Frame, value: float) -> None:
    axes = frame.axes(0.2, 0.2, 0.2, 0.45)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.15, 1.15)
    axes.set_ylim(-0.4, 1.15)
    steps = [*frame.panel.steps]
    ends = [*(each.at for each in steps[1:]), 100.0]
    for step, end in zip(steps, ends, strict=True):
        begin = max(0.0, step.at)
        axes.add_patch(Wedge((0, 0), 1.1, 180 - 1.8 * end, 180 - 1.8 * begin, width=0.05, color=_COLORS[step.color]))
    axes.add_patch(Wedge((0, 0), 1.0, 0, 180, width=0.25, color="#eeeeee"))
    full = min(100.0, max(0.0, value))
    axes.add_patch(Wedge((0, 0), 1.0, 180 - 1.8 * full, 180, width=0.25, color=_COLORS[frame.panel.color_of(value)]))


def _draw_table(frame: _Frame, series: Sequence[Series]) -> None:
    if not series:
        frame.text(frame.width / 2, frame.height / 2, frame.panel.nothing, ha="center", fontsize=18, color="#888888")
        return
    columns = frame.panel.columns
    rows = sorted(series, key=lambda each: -_numbers(each)[-1])
    wide = frame.width / len(columns)
    room = int((frame.height - 0.9) / 0.26)
    for place, (label, heading) in enumerate(columns.items()):
        x = 0.15 + place * wide
        frame.text(x, frame.height - 0.5, heading, color="#3274d9")
        for number, each in enumerate(rows[:room]):
            value = shown(_numbers(each)[-1], frame.panel.unit) if label == "Value" else each.labels.get(label, "")
            most = int(wide * 13)
            text = value if len(value) <= most else f"{value[: most - 1]}…"
            frame.text(x, frame.height - 0.78 - 0.26 * number, text, fontsize=7.5)
    if room < len(rows):
        frame.text(
            frame.width - 0.15, 0.12, f"{len(rows) - room} more below: scroll", ha="right", fontsize=7, color="#888888"
        )
