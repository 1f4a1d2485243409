"""What an AlertPolicy should have: one PrometheusRule, or none, and a status that says who has taken it.

::

    suspended                          no rule          Ready      Suspended
    no Prometheus Operator             no rule          Ready      PrometheusOperatorAbsent
    rules may not be written           as it is         Stalled    NotPermitted
    a rule that cannot work            the one before   Stalled    RulesInvalid
    nothing is asked for               no rule          Ready      NothingEnabled
    else                               the rule         Ready      Applied

Who selects and who accepts the rule is told and never waited for: it is no fault of the policy, and Helm need not hang on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from operators.coursegen_operator.alerts import checks
from operators.coursegen_operator.alerts.acceptance import acceptance
from operators.coursegen_operator.alerts.labels import RuleLabels, rule_labels
from operators.coursegen_operator.alerts.rules import groups
from operators.coursegen_operator.alerts.selection import Selection, bound_to, candidates, judge, listed
from operators.coursegen_operator.alerts.spec import AlertSpec
from operators.coursegen_operator.alerts.surroundings import EVENTS, RULES, Surroundings, read
from operators.coursegen_operator.alerts.telling import Telling, notices
from operators.coursegen_operator.child import child_name, common_labels, hash8
from operators.coursegen_operator.conditions import Condition
from operators.coursegen_operator.planning import Child, Observed, Plan, Reader
from operators.coursegen_operator.resources import (
    ALERT_POLICY,
    ANNOTATION_RECONCILE_AT,
    PROMETHEUS_RULE,
    Object,
    ResourceType,
)

WRITTEN_SECONDS: Final = 15.0
"""To the next look after the rule was written: the Prometheus Operator has had its say by then."""
AMISS_SECONDS: Final = 120.0
"""To the next look while nobody selects the rule, or it is refused: nothing tells when that changes."""

_NOTHING: Final = {"groupCount": 0, "alertCount": 0, "recordCount": 0, "selectedCount": 0}


class AlertKind:
    """Looks after AlertPolicies."""

    type: ResourceType = ALERT_POLICY
    child_types: tuple[ResourceType, ...] = (PROMETHEUS_RULE,)

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        """Whoever may select the rule, and what the Prometheus Operator says of it."""
        return await read(cluster, resource)

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """Its rule, or why there is none."""
        return _Look(resource, observed).plan()


class _Look:
    """One look at one policy."""

    def __init__(self, resource: Object, observed: Observed) -> None:
        self._resource = resource
        self._before: Object = resource.get("status") or {}
        self._spec = AlertSpec.of(resource)
        self._around = Surroundings.of(resource, observed)
        self._name = child_name(resource["metadata"]["name"], "alerts")
        self._telling = Telling(resource, self._name)

    def plan(self) -> Plan:
        if self._spec.is_suspended:
            return self._without_rule(self._telling.suspended())
        if self._around.is_absent(RULES):
            return self._without_rule(self._telling.operator_absent())
        if self._around.is_forbidden(RULES):
            return self._plan(self._telling.not_permitted(), self._kept())
        labels = self._labels()
        manifest = self._manifest(labels)
        found = manifest["spec"]["groups"]
        if not found:
            return self._without_rule(self._telling.nothing_enabled())
        faults = checks.faults(manifest)
        return self._invalid(faults) if faults else self._applied(manifest, labels)

    def _applied(self, manifest: Object, labels: RuleLabels) -> Plan:
        spec = manifest["spec"]
        written = {"name": self._name, "hash": hash8(manifest["metadata"]["labels"], spec)}
        counts = _counts(spec["groups"])
        facts: Object = {"prometheusRule": written, **counts}
        if labels.copied:
            facts["copiedLabels"] = dict(labels.copied)
        selections, told = self._reception(labels.all)
        conditions = (*self._telling.applied(counts), *told)
        is_new = self._rule is None or written != self._before.get("prometheusRule")
        return self._plan(
            conditions,
            {**facts, **_selected(selections)},
            children=(Child(PROMETHEUS_RULE, manifest),),
            obsolete=tuple(rule for rule in self._around.rules if rule["metadata"]["name"] != self._name),
            look_again=WRITTEN_SECONDS if is_new else AMISS_SECONDS if _is_amiss(told) else None,
        )

    def _invalid(self, faults: Sequence[str]) -> Plan:
        rule = self._rule
        if rule is None:
            return self._plan(
                (*self._telling.invalid(faults, is_kept=False), *self._telling.no_rule("RulesInvalid")), {}
            )
        selections, told = self._reception(rule["metadata"].get("labels") or {})
        conditions = (*self._telling.invalid(faults, is_kept=True), *told)
        return self._plan(conditions, {**self._kept(), **_selected(selections)})

    def _without_rule(self, conditions: tuple[Condition, ...]) -> Plan:
        return self._plan(conditions, dict(_NOTHING), obsolete=self._around.rules)

    def _plan(
        self,
        conditions: tuple[Condition, ...],
        facts: Object,
        *,
        children: tuple[Child, ...] = (),
        obsolete: tuple[Object, ...] = (),
        look_again: float | None = None,
    ) -> Plan:
        metadata = self._resource["metadata"]
        status: Object = {
            "observedGeneration": metadata.get("generation", 0),
            "conditions": [condition.as_object() for condition in conditions],
            **facts,
        }
        asked = (metadata.get("annotations") or {}).get(ANNOTATION_RECONCILE_AT)
        if asked is not None:
            status["lastHandledReconcileAt"] = asked[:253]
        return Plan(status, children, obsolete, notices(self._before, status), look_again)

    @property
    def _rule(self) -> Object | None:
        return next((rule for rule in self._around.rules if rule["metadata"]["name"] == self._name), None)

    def _labels(self) -> RuleLabels:
        found = candidates(self._around.selecting, self._around.namespace)
        return rule_labels(
            self._spec,
            self._around,
            found,
            reserved=common_labels(self._resource),
            remembered=self._before.get("copiedLabels") or {},
        )

    def _manifest(self, labels: RuleLabels) -> Object:
        spec = self._spec
        made = groups(
            spec.presets,
            spec.slos,
            runbook_base_url=spec.runbook_base_url,
            common_labels=spec.common_labels,
            common_annotations=spec.common_annotations,
            keep_firing_for=spec.keep_firing_for,
            interval=spec.interval,
            namespace=self._around.namespace if spec.scope == "Namespace" else "",
        )
        return {
            "metadata": {"name": self._name, "labels": labels.all},
            "spec": {"groups": [*made, *spec.extra_groups]},
        }

    def _reception(self, labels: Mapping[str, str]) -> tuple[list[Selection], tuple[Condition, ...]]:
        """Who selects a rule with `labels`, and who accepts the one that is there."""
        around, rule = self._around, self._rule
        accepted = acceptance(rule, around.events, may_read_events=not around.is_forbidden(EVENTS))
        bound = bound_to(rule) if rule is not None else frozenset()
        selections = [
            judge(each, around.namespace, around.namespace_labels, labels, each.name in bound)
            for each in candidates(around.selecting, around.namespace)
        ]
        if not around.sees_all:
            seen = {selection.name for selection in selections}
            hint = "it may not be read; the Prometheus Operator says so on the rule"
            selections += [Selection(name, "True", hint) for name in sorted(bound - seen)]
        told = [_with_acceptance(selection, accepted.by.get(selection.name, "Unknown")) for selection in selections]
        named = self._spec.prometheus
        return told, (
            self._telling.selected(told, around, str(named) if named is not None else ""),
            self._telling.accepted(accepted),
        )

    def _kept(self) -> Object:
        """What the status has said of the rule that stays."""
        kept = ("prometheusRule", "groupCount", "alertCount", "recordCount", "copiedLabels")
        return {field: self._before[field] for field in kept if field in self._before}


def _counts(found: Sequence[Object]) -> dict[str, int]:
    rules = [rule for group in found for rule in group.get("rules") or ()]
    alerts = sum("alert" in rule for rule in rules)
    return {"groupCount": len(found), "alertCount": alerts, "recordCount": len(rules) - alerts}


def _selected(selections: Sequence[Selection]) -> Object:
    count = sum(selection.selected == "True" for selection in selections)
    return {"selectedCount": count, "selectedBy": listed(selections)}


def _with_acceptance(selection: Selection, accepted: str) -> Selection:
    standing = "True" if accepted == "True" else "False" if accepted == "False" else "Unknown"
    return Selection(selection.name, selection.selected, selection.message, standing)  # type: ignore[arg-type]


def _is_amiss(told: Sequence[Condition]) -> bool:
    return any(condition.status == "False" for condition in told)
