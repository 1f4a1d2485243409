"""Alerts ask for series that exist: on the pages of the processes, or of the contract of one that is still to come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pytest

from operators.coursegen_operator import figures as operator_figures
from operators.coursegen_operator.alerts.rules import groups
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from services.api import app, metrics_view, stream_figures
from services.api.recent_figures import Outcomes
from services.kernel.counters import Snapshot
from services.kernel.metrics import REGISTRY
from services.outbox_relay.figures import Figures
from services.stage_worker import deliveries
from tests.support.servers import REPOSITORY

ELSEWHERE: Final = {"up", "coursegen_build_info"} | {
    "stream_partition_lag",
    "stream_dead_letter_total",
    "stream_consumer_processed_total",
}
"""Prometheus' own, what a process shows from its beginning, and those that contract.md (t) demands of the persistence worker."""

_IMPORTED: Final = (app, deliveries, operator_figures)
"""Whose metrics are in the registry."""
_SERIES: Final = re.compile(r"(?<![\w:$])([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?=[{\[@ ,)<>]|$)")
_LABELS: Final = re.compile(r'\{[^}]*\}|"[^"]*"|\b(?:by|on) \([^)]*\)')
_FUNCTIONS: Final = {"label_replace", "histogram_quantile", "max_over_time", "min_over_time", "count_over_time"}


def exported() -> set[str]:
    """The names of every series that a process shows."""
    Figures(None)  # type: ignore[arg-type]
    operator_figures.Figures()
    names = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    for family in REGISTRY.collect():
        names |= {family.name + suffix for suffix in _suffixes(family.type)}
    state = metrics_view.OutboxState(0, 0.0, None, None, datetime.now(UTC), None, datetime.now(UTC))
    shared = metrics_view.exposition(Snapshot({}), Outcomes(), state, []) + stream_figures.exposition({0: (0, 0)})
    return names | set(re.findall(r"^(?:# TYPE )?(\w+)", shared, re.MULTILINE))


def _suffixes(kind: str) -> tuple[str, ...]:
    return {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))


def asked(text: str) -> Iterator[str]:
    """The series in a condition."""
    for name in _SERIES.findall(_LABELS.sub("", text)):
        if name not in _FUNCTIONS:
            yield name


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_the_series_exist(preset: object) -> None:
    """Of every condition and recording."""
    name = preset.name  # type: ignore[attr-defined]
    made = groups(
        {name: {}},
        (),
        runbook_base_url="x",
        common_labels={},
        common_annotations={},
        keep_firing_for="0s",
        interval="30s",
    )
    found = {series for group in made for rule in group["rules"] for series in asked(rule["expr"])}

    assert found
    assert found - exported() - ELSEWHERE == set()


def test_the_conditions_are_shown() -> None:
    """Each that an alert asks for: of one that is not among the figures, nobody would ever hear."""
    conditions = [alert.condition for preset in PRESETS for alert in preset.alerts]
    found = {
        each
        for condition in conditions
        if "coursegen_operator_resource_condition" in condition
        for each in re.findall(r'type="(\w+)"', condition)
    }

    assert {"Stalled", "RulesSelected", "RulesAccepted", "Overdue"} <= found <= set(operator_figures.TOLD)


def test_pages_name_series_that_exist() -> None:
    """In code marks, with a prefix of ours."""
    known = exported() | ELSEWHERE
    known |= {name.removesuffix(suffix) for name in known for suffix in ("_bucket", "_count")}  # a histogram as a whole
    prefixes = {name.partition("_")[0] for name in known}
    for page in sorted((REPOSITORY / "docs" / "runbooks").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(
            r"`([a-z]+(?:_[a-z]+)+(?:_total|_seconds|_bucket|_rows|_depth|_lag|_up|_leader))\b", text
        ):
            assert name.partition("_")[0] not in prefixes or name in known, f"{page.name}: {name}"
