"""Presets and objectives with a policy's figures filled in: groups of a PrometheusRule, as plain JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from operators.coursegen_operator.alerts.rules.alert import Alert, Preset, Record
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.figures import wait
from operators.coursegen_operator.alerts.rules.objectives import Objective
from operators.coursegen_operator.durations import seconds_of

Rule = dict[str, Any]
Group = dict[str, Any]

_NAME: Final = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)")
_WORDS: Final[Mapping[str, str]] = {
    "kubectl": "kubectl{{ with $labels.namespace }} -n {{ . }}{{ end }}",
    "workers": "'app.kubernetes.io/component in (worker-documents, worker-analysis, worker-generation)'",
}
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Dress:
    """What every rule of a policy gets."""

    runbook_base_url: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    keep_firing_for: str
    interval: str
    namespace: str


def groups(
    presets: Mapping[str, Any],
    slos: Sequence[Mapping[str, Any]],
    *,
    runbook_base_url: str,
    common_labels: Mapping[str, str],
    common_annotations: Mapping[str, str],
    keep_firing_for: str,
    interval: str,
    namespace: str = "",
) -> list[Group]:
    """The groups that a policy's `presets` and `slos` ask for, in a fixed order; nothing for a preset that is absent or off.

    Args:
        presets: `spec.presets`; figures that are not given have their defaults.
        slos: `spec.slos`.
        runbook_base_url: where the pages are; an alert's page is this and its name.
        common_labels: of every alert; its severity is its own.
        common_annotations: of every alert; summary, description and runbook_url are its own.
        keep_firing_for: how long an alert goes on after its condition has ended; `0s`: not at all.
        interval: how often the rules are evaluated.
        namespace: only series of this namespace count, but for the preset `operator`; all when empty.
    """
    dress = Dress(runbook_base_url, common_labels, common_annotations, keep_firing_for, interval, namespace)
    asked = [(preset, presets.get(preset.name)) for preset in PRESETS]
    made = [preset_group(preset, dict(wish), dress) for preset, wish in asked if wish is not None and is_on(wish)]
    made += [objective_group(Objective.of(slo, namespace), dress) for slo in slos]
    return [group for group in made if group["rules"]]


def preset_group(preset: Preset, settings: Mapping[str, Any], dress: Dress) -> Group:
    """The rules of one preset."""
    values = _scope(dress.namespace)
    for figure in preset.figures:
        values |= figure.values(settings)
    if preset.derived is not None:
        values |= preset.derived(settings, dress.namespace)
    records = preset.records(settings, dress.namespace) if preset.records is not None else ()
    rules = [_record(record) for record in records] + list(_alerts(preset, settings, values, dress))
    interval = settings.get("interval") or preset.interval or dress.interval
    return {"name": preset.group, "interval": interval, "rules": rules}


def objective_group(objective: Objective, dress: Dress) -> Group:
    """The rules of one objective."""
    rules = [_record(record) for record in objective.records()]
    rules += [_alert(alert, alert.severity, alert.hold, {}, dress, objective.labels) for alert in objective.alerts()]
    return {"name": objective.group, "interval": dress.interval, "rules": rules}


def _alerts(preset: Preset, settings: Mapping[str, Any], values: Mapping[str, str], dress: Dress) -> Iterator[Rule]:
    single = settings.get("alerts") or _NOTHING
    for alert in preset.alerts:
        own = single.get(alert.name) or _NOTHING
        if not own.get("enabled", alert.is_on):
            continue
        severity = own.get("severity") or settings.get("severity") or alert.severity
        hold = own.get("for") or settings.get(alert.hold_figure) or settings.get("for") or alert.hold
        yield _alert(alert, severity, hold, values, dress)


def _alert(
    alert: Alert,
    severity: str,
    hold: str,
    values: Mapping[str, str],
    dress: Dress,
    labels: Mapping[str, str] = _NOTHING,
) -> Rule:
    rule: Rule = {"alert": alert.name, "expr": filled(alert.condition, values), "for": wait(hold)}
    if seconds_of(dress.keep_firing_for):
        rule["keep_firing_for"] = wait(dress.keep_firing_for)
    rule["labels"] = {**dress.labels, **labels, "severity": severity}
    rule["annotations"] = {
        **dress.annotations,
        "summary": filled(alert.summary, values),
        "description": filled(alert.description, values),
        "runbook_url": f"{dress.runbook_base_url.rstrip('/')}/{alert.name}",
    }
    return rule


def _record(record: Record) -> Rule:
    labels = {"labels": dict(record.labels)} if record.labels else {}
    return {"record": record.name, "expr": record.expression, **labels}


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with every `@name` replaced; a name that nobody knows stays, for a test to find."""
    known = {**_WORDS, **values}
    return _NAME.sub(lambda found: known.get(found[1], found[0]), template)


def _scope(namespace: str) -> dict[str, str]:
    matcher = f'namespace="{namespace}"'
    if not namespace:
        return {"here": "", "and_here": "", "exported": 'exported_namespace!=""'}
    return {"here": f"{{{matcher}}}", "and_here": f",{matcher}", "exported": f"exported_{matcher}"}


def is_on(settings: Mapping[str, Any]) -> bool:
    """Whether a preset that is there is wanted."""
    return settings.get("enabled") is not False
