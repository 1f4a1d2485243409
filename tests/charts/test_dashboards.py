"""Dashboards for Grafana: the files are what their source says, and the chart ships the same ones when asked."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.charts.conftest import Render
from tests.charts.objects import of_kind
from tests.support.servers import REPOSITORY

FOLDER = REPOSITORY / "monitoring" / "grafana"


def test_the_files_are_up_to_date() -> None:
    """Byte for byte, in both places."""
    script = REPOSITORY / "scripts" / "dashboards.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_a_dashboard_can_be_imported_with_a_chosen_prometheus() -> None:
    """Grafana asks for one, and every query uses what was chosen; ids are their own."""
    model = json.loads((FOLDER / "phase3-queue-dashboard.json").read_text(encoding="utf-8"))
    (asked,) = model["__inputs"]
    source, namespace = model["templating"]["list"]

    assert model["title"] == "Phase 3: Durable Delivery - Queue Monitoring"
    assert (asked["type"], asked["pluginId"]) == ("datasource", "prometheus")
    assert source["current"]["value"] == f"${{{asked['name']}}}"
    everything = [*model["panels"], *(each for panel in model["panels"] for each in panel["targets"]), namespace]
    assert {each["datasource"]["uid"] for each in everything} == {"${datasource}"}
    assert [panel["id"] for panel in model["panels"]] == [1, 2, 3, 4, 5, 6]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in model["panels"]}
    assert len(places) == 6


def test_the_chart_ships_every_dashboard_when_asked(render: Render) -> None:
    """As ConfigMaps that a sidecar finds, with the file as it is; none by default."""
    made = [
        each
        for each in of_kind(render("monitoring", "dashboards.namespace=grafana"), "ConfigMap").values()
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    shipped = {name: text for each in made for name, text in each["data"].items()}

    assert {name: json.loads(text) for name, text in shipped.items()} == {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")
    }
    assert {each["metadata"]["namespace"] for each in made} == {"grafana"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in made} == {"coursegen"}
    assert not [each for each in of_kind(render("minimal"), "ConfigMap") if each.endswith("phase3-queue")]
