"""Dashboards for Grafana: the files are what their source says, and the chart ships the same ones when asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.charts.conftest import Render
from tests.charts.objects import of_kind
from tests.support.servers import REPOSITORY

FOLDER = REPOSITORY / "monitoring" / "grafana"
FILES = {path.name: path for path in FOLDER.glob("*.json")} | {
    "transactional-outbox-dashboard.json": REPOSITORY / "config" / "grafana-dashboard.json"
}
"""Every dashboard, by the name that the chart ships it under."""


def test_the_files_are_up_to_date() -> None:
    """Byte for byte, in both places."""
    script = REPOSITORY / "scripts" / "dashboards.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_dashboard_can_be_imported_with_a_chosen_prometheus(name: str) -> None:
    """Grafana asks for one, and every query uses what was chosen; ids and places are their own."""
    model = json.loads(FILES[name].read_text(encoding="utf-8"))
    (asked,) = model["__inputs"]
    source, namespace = model["templating"]["list"]

    assert (asked["type"], asked["pluginId"]) == ("datasource", "prometheus")
    assert source["current"]["value"] == f"${{{asked['name']}}}"
    everything = [*model["panels"], *(each for panel in model["panels"] for each in panel["targets"]), namespace]
    assert {each["datasource"]["uid"] for each in everything} == {"${datasource}"}
    many = len(model["panels"])
    assert [panel["id"] for panel in model["panels"]] == list(range(1, many + 1))
    taken = [
        (place["x"] + column, place["y"] + row)
        for place in (panel["gridPos"] for panel in model["panels"])
        for column in range(place["w"])
        for row in range(place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(column for column, _ in taken) == 23
    needed = {each["id"] for each in model["__requires"] if each["type"] == "panel"}
    assert needed == {panel["type"] for panel in model["panels"]}


def test_the_contracts_dashboards_have_their_panels() -> None:
    """Titles and kinds of contract.md (k)."""
    six = json.loads((FOLDER / "phase3-queue-dashboard.json").read_text(encoding="utf-8"))
    ten = json.loads((REPOSITORY / "config" / "grafana-dashboard.json").read_text(encoding="utf-8"))

    assert six["title"] == "Phase 3: Durable Delivery - Queue Monitoring"
    assert len(six["panels"]) == 6
    assert [(panel["title"], panel["type"]) for panel in ten["panels"]] == [
        ("FSM Success Rate", "gauge"),
        ("Outbox Queue Depth", "timeseries"),
        ("FSM Initialization Latency", "heatmap"),
        ("Outbox Batch Processing", "timeseries"),
        ("Cache Hit Rate", "gauge"),
        ("Total FSM Operations", "stat"),
        ("Worker Fallback Activations", "timeseries"),
        ("Outbox Processor Health", "stat"),
        ("Recent FSM Failures", "table"),
        ("System Health Check", "stat"),
    ]
    assert all(len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for panel in ten["panels"][:5])


def test_the_chart_ships_every_dashboard_when_asked(render: Render) -> None:
    """As ConfigMaps that a sidecar finds, with the file as it is; none by default."""
    made = [
        each
        for each in of_kind(render("monitoring", "dashboards.namespace=grafana"), "ConfigMap").values()
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    shipped = {name: text for each in made for name, text in each["data"].items()}

    assert {name: json.loads(text) for name, text in shipped.items()} == {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in FILES.items()
    }
    assert {each["metadata"]["namespace"] for each in made} == {"grafana"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in made} == {"coursegen"}
    assert not [each for each in of_kind(render("minimal"), "ConfigMap") if each.endswith("phase3-queue")]
