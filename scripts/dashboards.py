"""Write the dashboards for Grafana: monitoring/grafana, and the chart's copies of them, which are the same.

    python scripts/dashboards.py [--check]

A file is imported as it is: Grafana asks for a data source, and the dashboard has a list to choose another one. Where nobody is
asked (a sidecar, the HTTP API) the list begins with the first Prometheus there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = ("monitoring/grafana", "charts/coursegen/files/dashboards")

HERE: Final = 'namespace=~"$namespace"'
"""What every series is narrowed by; on all namespaces also those without one count."""
WINDOW: Final = "$__rate_interval"

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_IMPORTED: Final = "${DS_PROMETHEUS}"
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 9
_SCHEMA_VERSION = 38


@dataclass(frozen=True)
class Line:
    """One expression of a panel and what its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel: a graph over time. `steps` are values from which on it is drawn in another colour."""

    title: str
    description: str
    unit: str
    lines: Sequence[Line]
    steps: Sequence[tuple[float, str]] = ()

    def model(self, place: int) -> dict[str, Any]:
        """As Grafana keeps it."""
        row, column = divmod(place, _COLUMNS)
        return {
            "id": place + 1,
            "type": "timeseries",
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
            "targets": [
                {
                    "refId": chr(ord("A") + number),
                    "datasource": _SOURCE,
                    "editorMode": "code",
                    "expr": line.expression,
                    "legendFormat": line.legend,
                    "range": True,
                }
                for number, line in enumerate(self.lines)
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": {
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": True,
                    "calcs": ["lastNotNull", "max"],
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        }

    def _defaults(self) -> dict[str, Any]:
        steps = [{"color": "green", "value": None}, *({"color": color, "value": at} for at, color in self.steps)]
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
            "thresholds": {"mode": "absolute", "steps": steps},
        }


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
                {"type": "panel", "id": "timeseries", "name": "Time series", "version": ""},
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
            "panels": [panel.model(place) for place, panel in enumerate(self.panels)],
        }


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


def _rate(series: str, *matchers: str) -> str:
    return f"sum(rate({series}{{{', '.join([*matchers, HERE])}}}[{WINDOW}]))"


def _quantile(quantile: str) -> str:
    buckets = f"stream_processing_duration_seconds_bucket{{{HERE}}}"
    return f"histogram_quantile({quantile}, sum by (le) (rate({buckets}[{WINDOW}])))"


_REPEATS = _rate("idempotency_hit_total", 'operation="ingress"')
_POSTED = _rate("http_requests_total", 'route="post_message"', 'status="202"')

PHASE3: Final = Dashboard(
    file="phase3-queue-dashboard.json",
    uid="coursegen-phase3-queue",
    title="Phase 3: Durable Delivery - Queue Monitoring",
    description="Messages on their way from the api through the streams into PostgreSQL.",
    tags=("coursegen", "messages"),
    namespaces="stream_enqueue_total",
    panels=(
        Panel(
            "Enqueue Rate",
            "Messages a second that the api has put into the stream. As many as are sent, repeats aside.",
            "cps",
            (Line(_rate("stream_enqueue_total"), "enqueued"),),
        ),
        Panel(
            "Dequeue Rate",
            "Entries a second that the persistence-workers have handled, by how it went. Follows the enqueue rate.",
            "cps",
            (
                Line(
                    f"sum by (status) (rate(stream_consumer_processed_total{{{HERE}}}[{WINDOW}]))",
                    "{{status}}",
                ),
            ),
        ),
        Panel(
            "Partition Lag",
            "Messages that wait, by partition as its owner says, and in all as the api says, also when nobody persists. "
            "Near 0 and below 100 is healthy, below 500 the objective; above 1000 QueuePartitionLagHigh fires.",
            "short",
            (
                Line(f"max by (partition) (stream_partition_lag{{{HERE}}})", "partition {{partition}}"),
                Line(
                    f"sum(max by (namespace, partition) (stream_backlog_entries{{{HERE}}}))",
                    "all, as the api says",
                ),
            ),
            ((100, "yellow"), (500, "orange"), (1000, "red")),
        ),
        Panel(
            "Processing Duration",
            "From reading an entry to its being settled. p95 is below 100 ms.",
            "s",
            tuple(Line(_quantile(q), name) for q, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))),
            ((0.1, "red"),),
        ),
        Panel(
            "DLQ Rate",
            "Messages a second that became dead letters. 0; above 10 QueueDLQRateHigh fires.",
            "cps",
            (Line(_rate("stream_dead_letter_total"), "dead letters"),),
            ((0.001, "yellow"), (10, "red")),
        ),
        Panel(
            "Idempotent Hit Rate",
            "Share of the posted messages that were repeats; nothing without traffic. "
            "2-3 % is normal, above 10 % look at the clients.",
            "percentunit",
            (Line(f"{_REPEATS} / ({_POSTED} > 0)", "repeats"),),
            ((0.1, "red"),),
        ),
    ),
)

DASHBOARDS: Final = (PHASE3,)


def main() -> int:
    """Write the files, or say which are not up to date."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is not what it should be"
    )
    checks = options.parse_args().check
    stale = []
    for path, text in (
        (f"{folder}/{each.file}", json.dumps(each.model(), indent=2) + "\n")
        for each in DASHBOARDS
        for folder in FOLDERS
    ):
        file = REPOSITORY / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not checks:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    if stale:
        print("\n".join(f"{'not up to date' if checks else 'written'}: {path}" for path in stale))
    return 1 if stale and checks else 0


if __name__ == "__main__":
    sys.exit(main())
