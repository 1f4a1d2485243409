"""What a dashboard's file says of its panels, and how Grafana writes numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_TIMES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SHORT: Final = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))
_BYTES: Final = ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"))


@dataclass(frozen=True, slots=True)
class Target:
    """One expression and what its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on a colour holds."""

    at: float
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, as the file has it."""

    title: str
    kind: str
    unit: str
    left: int
    top: int
    width: int
    height: int
    targets: Sequence[Target]
    steps: Sequence[Step]
    words: Mapping[str, tuple[str, str]]
    """What single values are called, and in which colour."""
    columns: Mapping[str, str]
    """Of a table: label to heading, in order."""
    nothing: str
    """What stands there without a value."""
    legend: Sequence[str]
    """What the legend adds to each name: `lastNotNull`, `max`."""
    busiest_first: bool
    """Whether the legend begins with the line that rises highest."""

    @property
    def is_over_time(self) -> bool:
        """Whether it shows a range rather than the moment."""
        return self.kind in {"timeseries", "heatmap"}

    def color_of(self, value: float) -> str:
        """By the steps, the last that is reached."""
        return next(each.color for each in reversed(self.steps) if value >= each.at)


def panels_of(path: Path) -> list[Panel]:
    """The panels of a dashboard's file."""
    return [_panel(each) for each in json.loads(path.read_text(encoding="utf-8"))["panels"]]


def title_of(path: Path) -> str:
    """The dashboard's."""
    return str(json.loads(path.read_text(encoding="utf-8"))["title"])


def _panel(model: Mapping[str, Any]) -> Panel:
    defaults, place, options = model["fieldConfig"]["defaults"], model["gridPos"], model["options"]
    mapped = {key: each for part in defaults.get("mappings", []) for key, each in part["options"].items()}
    legend = options.get("legend", {})
    return Panel(
        title=model["title"],
        kind=model["type"],
        unit=defaults.get("unit") or options.get("yAxis", {}).get("unit", "none"),
        left=place["x"], top=place["y"], width=place["w"], height=place["h"],
        targets=[Target(each["expr"], each["legendFormat"]) for each in model["targets"]],
        steps=[_step(each) for each in defaults["thresholds"]["steps"]],
        words={key: (each["text"], each["color"]) for key, each in mapped.items()},
        columns=_columns(model),
        nothing=defaults.get("noValue", "No data"),
        legend=legend.get("calcs", []),
        busiest_first=legend.get("sortBy") == "Max" and bool(legend.get("sortDesc")),
    )  # fmt: skip


def _step(model: Mapping[str, Any]) -> Step:
    return Step(-math.inf if model["value"] is None else model["value"], model["color"])


def _columns(model: Mapping[str, Any]) -> dict[str, str]:
    for each in model.get("transformations", []):
        names: dict[str, str] = each["options"]["renameByName"]
        return names
    return {}


def filled(expression: str, *, shown_seconds: float, step: float, scrape: float) -> str:
    """The expression with what Grafana fills in: all namespaces, the time that is shown, and a window that has enough looks."""
    words = {
        "$__rate_interval": f"{max(step + scrape, 4 * scrape):.0f}s",
        "$__range": f"{shown_seconds:.0f}s",
        "$namespace": ".*",
    }
    for word, value in words.items():
        expression = expression.replace(word, value)
    return expression


def legend_of(form: str, labels: Mapping[str, str]) -> str:
    """A series' name: `{{label}}` is replaced."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), form)


def shown(value: float, unit: str) -> str:
    """A number as Grafana writes it."""
    if math.isnan(value):
        return "NaN"
    if unit == "dateTimeAsIso":
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    if unit == "s":
        return _seconds(value)
    if unit in {"percent", "percentunit"}:
        return f"{_digits(value * (100 if unit == 'percentunit' else 1))}%"
    if unit == "bytes":
        return _scaled(value, _BYTES, " B")
    return _scaled(value, _SHORT, "") + (" c/s" if unit == "cps" else "")


def _seconds(value: float) -> str:
    if abs(value) >= 60:
        return f"{_digits(value / 60)} mins" if abs(value) < 3600 else f"{_digits(value / 3600)} hours"
    for scale, name in _TIMES:
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {name}"
    return f"{_digits(value)} s" if value == 0 else f"{_digits(value * 1e6)} µs"


def _scaled(value: float, scales: Sequence[tuple[float, str]], plain: str) -> str:
    for scale, name in scales:
        if abs(value) >= scale:
            return f"{_digits(value / scale)}{name}"
    return f"{_digits(value)}{plain}"


def _digits(value: float) -> str:
    """Three digits that count, without zeros that say nothing."""
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
