"""Dashboards as Grafana imports them, from a few words for each panel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

HERE: Final = 'namespace=~"$namespace"'
"""What every series is narrowed by; on all namespaces also those without one count."""
WINDOW: Final = "$__rate_interval"

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_IMPORTED: Final = "${DS_PROMETHEUS}"
_WHOLE: Final = 24
"""Columns of Grafana's grid."""
HALF: Final = _WHOLE // 2
_HEIGHT: Final = 9
_SCHEMA_VERSION = 38
_LATEST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}


@dataclass(frozen=True)
class Line:
    """One expression of a panel and what its series are called."""

    expression: str
    legend: str
    examples: bool = False
    """Whether the traces that the series name are shown as points, where Prometheus keeps them."""


@dataclass(frozen=True)
class Panel:
    """One panel: a graph over time. `steps` are values from which on another colour holds than `below`.

    Panels stand beside each other until a row of 24 columns is full; `width` is a panel's share of them.
    """

    title: str
    description: str
    unit: str
    lines: Sequence[Line]
    steps: Sequence[tuple[float, str]] = ()
    below: str = "green"
    width: int = HALF

    kind: ClassVar[str] = "timeseries"
    kind_name: ClassVar[str] = "Time series"

    def model(self, place: int, corner: tuple[int, int]) -> dict[str, Any]:
        """As Grafana keeps it: the so-manieth, with its upper left corner there."""
        left, top = corner
        return {
            "id": place + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"h": _HEIGHT, "w": self.width, "x": left, "y": top},
            "targets": [self._target(number, line) for number, line in enumerate(self.lines)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            **self._more(),
        }

    def _target(self, number: int, line: Line) -> dict[str, Any]:
        return {
            "refId": chr(ord("A") + number),
            "datasource": _SOURCE,
            "editorMode": "code",
            "expr": line.expression,
            "legendFormat": line.legend,
            "range": True,
            **({"exemplar": True} if line.examples else {}),
        }

    def _options(self) -> dict[str, Any]:
        return {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
                "sortBy": "Max",  # three or four rows are seen without scrolling
                "sortDesc": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def _more(self) -> dict[str, Any]:
        """What only some kinds have."""
        return {}

    def _thresholds(self) -> dict[str, Any]:
        steps = [{"color": self.below, "value": None}, *({"color": color, "value": at} for at, color in self.steps)]
        return {"mode": "absolute", "steps": steps}

    def _defaults(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "palette-classic"},
            "custom": {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 10,
                "showPoints": "never",
                "spanNulls": False,
                "thresholdsStyle": {"mode": "dashed" if self.steps else "off"},
            },
            "thresholds": self._thresholds(),
        }


@dataclass(frozen=True)
class Now(Panel):
    """One panel that shows what holds now: each line's latest value. `words` say what single values mean."""

    words: Sequence[tuple[int, str, str]] = ()
    """(value, word, colour)."""
    nothing: str = "no traffic"
    """What stands there when there is no value."""

    kind: ClassVar[str] = "stat"
    kind_name: ClassVar[str] = "Stat"

    def _target(self, number: int, line: Line) -> dict[str, Any]:
        return super()._target(number, line) | {"range": False, "instant": True}

    def _defaults(self) -> dict[str, Any]:
        said = {
            str(value): {"text": word, "color": color, "index": place}
            for place, (value, word, color) in enumerate(self.words)
        }
        return {
            "unit": self.unit,
            "noValue": self.nothing,
            "color": {"mode": "thresholds"},
            "mappings": [{"type": "value", "options": said}] if said else [],
            "thresholds": self._thresholds(),
        }

    def _options(self) -> dict[str, Any]:
        return {
            "colorMode": "background" if self.words else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": _LATEST,
            "textMode": "auto",
        }


@dataclass(frozen=True)
class Gauge(Now):
    """A dial from 0 to 100."""

    kind: ClassVar[str] = "gauge"
    kind_name: ClassVar[str] = "Gauge"

    def _defaults(self) -> dict[str, Any]:
        return super()._defaults() | {"min": 0, "max": 100}

    def _options(self) -> dict[str, Any]:
        return {
            "orientation": "auto",
            "reduceOptions": _LATEST,
            "showThresholdLabels": False,
            "showThresholdMarkers": True,
        }


@dataclass(frozen=True)
class Bars(Gauge):
    """One bar from 0 to 100 for each line, below each other: for more of them than have room side by side."""

    kind: ClassVar[str] = "bargauge"
    kind_name: ClassVar[str] = "Bar gauge"

    def _options(self) -> dict[str, Any]:
        return {
            "displayMode": "basic",
            "minVizHeight": 10,
            "namePlacement": "left",
            "orientation": "horizontal",
            "reduceOptions": _LATEST,
            "showUnfilled": True,
            "valueMode": "color",
        }


@dataclass(frozen=True)
class Histogram(Panel):
    """How many fell into each bucket, over time; the line's series are buckets with the label `le`."""

    kind: ClassVar[str] = "heatmap"
    kind_name: ClassVar[str] = "Heatmap"

    def _target(self, number: int, line: Line) -> dict[str, Any]:
        return super()._target(number, line) | {"format": "heatmap"}

    def _defaults(self) -> dict[str, Any]:
        hidden = {"legend": False, "tooltip": False, "viz": False}
        return {"custom": {"hideFrom": hidden}, "thresholds": self._thresholds()}

    def _options(self) -> dict[str, Any]:
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Spectral", "reverse": True, "steps": 64, "exponent": 0.5},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"show": True, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }


@dataclass(frozen=True)
class Table(Now):
    """One row for each series: its value first, then the labels of `columns`, in order, with their headings."""

    columns: Sequence[tuple[str, str]] = ()
    value: str = "Value"

    kind: ClassVar[str] = "table"
    kind_name: ClassVar[str] = "Table"

    def _target(self, number: int, line: Line) -> dict[str, Any]:
        return super()._target(number, line) | {"format": "table"}

    def _options(self) -> dict[str, Any]:
        return {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": self.value, "desc": True}]}

    def _more(self) -> dict[str, Any]:
        headings = {"Value": self.value, **dict(self.columns)}
        order = {name: place for place, name in enumerate(headings)}
        organized = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": headings}
        return {"transformations": [{"id": "organize", "options": organized}]}


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    file: str
    uid: str
    title: str
    description: str
    tags: Sequence[str]
    namespaces: str
    """The metric whose namespaces are offered."""
    panels: Sequence[Panel]
    folder: str = "monitoring/grafana"
    shipped: str = ""
    """The name of the chart's copy, where `file` alone would not tell."""

    def model(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "__inputs": [
                {
                    "name": "DS_PROMETHEUS",
                    "label": "Prometheus",
                    "description": "The Prometheus that scrapes coursegen",
                    "type": "datasource",
                    "pluginId": "prometheus",
                    "pluginName": "Prometheus",
                }
            ],
            "__requires": [
                {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
                {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
                *self._plugins(),
            ],
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "annotations": {"list": []},
            "links": [],
            "templating": {"list": [_source_list(), _namespace_list(self.namespaces)]},
            "panels": [
                panel.model(place, corner)
                for place, (panel, corner) in enumerate(zip(self.panels, self._corners(), strict=True))
            ],
        }

    def _corners(self) -> Iterator[tuple[int, int]]:
        """The upper left corner of each panel."""
        left = top = 0
        for panel in self.panels:
            if left + panel.width > _WHOLE:
                left, top = 0, top + _HEIGHT
            yield left, top
            left += panel.width

    def _plugins(self) -> list[dict[str, Any]]:
        kinds = {panel.kind: panel.kind_name for panel in self.panels}
        return [{"type": "panel", "id": kind, "name": name, "version": ""} for kind, name in kinds.items()]


def _source_list() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"selected": False, "text": _IMPORTED, "value": _IMPORTED},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
        "regex": "",
        "options": [],
    }


def _namespace_list(metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, namespace)"
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "namespaces"},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "options": [],
    }
