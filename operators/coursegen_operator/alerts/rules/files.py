"""The same alerts as files, for a Prometheus without the operator (contract.md j); `scripts/alerts.py` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.kpis import KPIS
from operators.coursegen_operator.alerts.rules.rendering import Group, groups

RUNBOOKS: Final = "https://coursegen.github.io/coursegen/runbooks"
"""Where `docs/runbooks` is published: a page's address is its alert's name."""

CONTRACTED: Final = {"config/alerts.yml": "transactionalOutbox", "prometheus/alerts/phase3-queue.yml": "phase3Queue"}
"""The files that hold one preset each, with all its alerts, also those that a policy leaves out by default."""
OURS: Final = "config/alerts-coursegen.yml"
"""The file with all others."""
OBJECTIVES: Final = "config/objectives.yml"
"""The product's objectives: recorded shares of errors, and alerts by how fast a budget is used up."""
INTERVAL: Final = "30s"


def files(runbook_base_url: str = RUNBOOKS) -> dict[str, list[Group]]:
    """The groups of each file, by its path in the repository."""
    contracted = {path: _rendered({name: _everything(name)}, runbook_base_url) for path, name in CONTRACTED.items()}
    others: dict[str, Mapping[str, Any]] = {
        preset.name: {} for preset in PRESETS if preset.name not in CONTRACTED.values()
    }
    return {
        **contracted,
        OURS: _rendered(others, runbook_base_url),
        OBJECTIVES: _rendered({}, runbook_base_url, KPIS),
    }


def _everything(name: str) -> Mapping[str, Any]:
    (preset,) = (preset for preset in PRESETS if preset.name == name)
    return {"alerts": {alert.name: {"enabled": True} for alert in preset.alerts}}


def _rendered(
    presets: Mapping[str, Mapping[str, Any]], runbook_base_url: str, slos: Sequence[Mapping[str, Any]] = ()
) -> list[Group]:
    return groups(
        presets,
        slos,
        runbook_base_url=runbook_base_url,
        common_labels={},
        common_annotations={},
        keep_firing_for="0s",
        interval=INTERVAL,
    )
