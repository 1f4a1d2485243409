"""docs/METRICS.md names every series there is, and no other; it and the objectives agree."""

from __future__ import annotations

import json
import re

from operators.coursegen_operator.alerts.rules.api import NAME
from operators.coursegen_operator.alerts.rules.kpis import KPIS
from services.api import connections
from services.api.admin import audit
from services.api.browser import sessions
from services.api.conversations import ingress
from services.api.live import hub
from services.kernel import metrics, start_wait
from services.kernel.concurrency import refusals
from services.kernel.spans import exporter
from services.outbox_relay import slot_keeper
from services.persistence_worker.figures import Figures
from services.stage_worker.webhooks import delivery, keeper
from tests.support.servers import REPOSITORY
from tests.unit.operators.coursegen_operator.alerts.rules.test_series import exported

_PAGE = (REPOSITORY / "docs" / "METRICS.md").read_text(encoding="utf-8")
_IMPORTED = (connections, audit, sessions, ingress, hub, start_wait, exporter, delivery, keeper)
"""Whose metrics are in the registry beside those that alerts ask for."""
_PARTS = re.compile(r"_(?:bucket|sum|count|created|info)$")


def test_every_series_is_on_the_page_and_no_other() -> None:
    """By the names that Prometheus shows."""
    refusals._hits()
    slot_keeper._instruments()
    Figures()
    histograms = {family.name for family in metrics.REGISTRY.collect() if family.type == "histogram"}
    shown = {_whole(name, histograms) for name in exported()} - {"_page"}
    ours = {name for name in shown if not name.startswith(("test_", "process_", "python_", "coursegen_build"))}
    told = set(re.findall(r"^\| `([a-z_0-9]+)` \| (?:counter|gauge|histogram|info) \|", _PAGE, re.MULTILINE))

    assert {name for name in told if not name.startswith(("process_", "python_", "coursegen_build"))} == ours


def _whole(name: str, histograms: set[str]) -> str:
    """The name of the family that a sample belongs to."""
    whole = re.sub(r"_(?:bucket|sum|count)$", "", name)
    return whole if whole in histograms or whole.endswith("_seconds") else name


def test_the_objectives_are_those_that_are_recorded() -> None:
    """On the page, on the dashboard with their budgets, and in the rules."""
    told = set(re.findall(r"^\| `([a-z-]+)`(?: \(preset `api`\))? \| (?!.*counter)", _PAGE, re.MULTILINE))
    dashboard = json.loads((REPOSITORY / "monitoring/grafana/objectives-dashboard.json").read_text(encoding="utf-8"))
    left = next(panel for panel in dashboard["panels"] if panel["title"] == "Error Budget Left")
    budgets = {each["legendFormat"]: float(each["expr"].rpartition("/ ")[2].rstrip(")")) for each in left["targets"]}

    assert told == {NAME, *(each["name"] for each in KPIS)} == set(budgets)
    assert budgets == {NAME: 0.001, **{each["name"]: round(1 - float(each["objective"]) / 100, 6) for each in KPIS}}
