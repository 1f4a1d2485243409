"""Each panel's answers from Prometheus, as a document that can be drawn again without asking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.dashboards.panels import Panel, filled, legend_of, panels_of
from tests.support.prometheus import Prometheus

_POINTS = 240
"""At most, of each line; Grafana asks for about one a pixel."""


class Series(msgspec.Struct, frozen=True):
    """One line, bar, tile or row."""

    name: str
    labels: dict[str, str]
    points: list[tuple[float, float | None]]
    """Unix time and value, none where there is no number; one only, where the panel shows the moment."""

    @property
    def values(self) -> list[float]:
        """Of all points; NaN where there is no number."""
        return [math.nan if value is None else value for _, value in self.points]


class Answers(msgspec.Struct, frozen=True):
    """Of a dashboard: for each panel, in the order of the file, its series."""

    begin: float
    end: float
    panels: list[list[Series]]


def ask(prometheus: Prometheus, path: Path, *, end: float, seconds: float, scrape: float) -> Answers:
    """What every panel shows of the so many seconds before the Unix time `end`."""
    step = max(scrape, seconds / _POINTS)
    panels = [_asked(prometheus, each, end - seconds, end, step, scrape) for each in panels_of(path)]
    return Answers(end - seconds, end, panels)


def _asked(prometheus: Prometheus, panel: Panel, begin: float, end: float, step: float, scrape: float) -> list[Series]:
    found: list[Series] = []
    for target in panel.targets:
        expression = filled(target.expression, shown_seconds=end - begin, step=step, scrape=scrape)
        answers = (
            prometheus.ask_range(expression, begin, end, step)
            if panel.is_over_time
            else prometheus.ask(expression, at=end)
        )
        for each in answers:
            values = each["values"] if panel.is_over_time else [each["value"]]
            points = [(float(at), _number(value)) for at, value in values]
            found.append(Series(legend_of(target.legend, each["metric"]), each["metric"], points))
    return found


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def save(answers: Answers, path: Path) -> None:
    """Keep them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(answers))


def saved(path: Path) -> Answers:
    """Those that were kept."""
    return msgspec.json.decode(path.read_bytes(), type=Answers)


def empty(panels: Sequence[Panel], answers: Answers) -> list[str]:
    """The titles of panels that show nothing at all."""
    return [panel.title for panel, series in zip(panels, answers.panels, strict=True) if not series]
