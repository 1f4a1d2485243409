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
from dataclasses import replace
from datetime import timedelta
from typing import Final

from operators.coursegen_operator.alerts import checks
from operators.coursegen_operator.alerts.acceptance import PARTLY, acceptance
from operators.coursegen_operator.alerts.labels import RuleLabels, rule_labels
from operators.coursegen_operator.alerts.rules import groups
from operators.coursegen_operator.alerts.selection import Selection, bound_to, candidates, judge, listed
from operators.coursegen_operator.alerts.spec import AlertSpec
from operators.coursegen_operator.alerts.surroundings import EVENTS, RULES, Surroundings, read
from operators.coursegen_operator.alerts.telling import Telling, notices
from operators.coursegen_operator.child import child_name, common_labels, hash8
from operators.coursegen_operator.conditions import Condition, moment_of, timestamp
from operators.coursegen_operator.planning import Child, Observed, Plan, Reader
from operators.coursegen_operator.resources import (
    ALERT_POLICY,
    PROMETHEUS_RULE,
    Object,
    ResourceType,
)

FRESH: Final = timedelta(seconds=60)
FRESH_SECONDS: Final = 15.0
"""To the next look while the rule is fresh: the Prometheus Operator has its say within `FRESH`, and nothing tells when."""
AMISS_SECONDS: Final = 120.0
"""To the next look while nobody selects the rule, or somebody refuses it: nothing tells when that changes."""

_NOTHING: Final = {"groupCount": 0, "alertCount": 0, "recordCount": 0, "selectedCount": 0}


class AlertKind:
    """Looks after AlertPolicies."""

    type: ResourceType = ALERT_POLICY
    child_types: tuple[ResourceType, ...] = (PROMETHEUS_RULE,)

    def __init__(self, namespaces: Sequence[str] = ()) -> None:
        """Look after AlertPolicies everywhere, or in `namespaces`: then nothing is read beyond them but what a policy names."""
        self._namespaces = tuple(namespaces)

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        """Whoever may select the rule, and what the Prometheus Operator says of it."""
        return await read(cluster, resource, self._namespaces)

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """Its rule, or why there is none."""
        return _Look(resource, observed).plan()


class _Look:
    """One look at one policy."""

    def __init__(self, resource: Object, observed: Observed) -> None:
        self._resource = resource
        self._before: Object = resource.get("status") or {}
        self._now = observed.now
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
            return self._plan(self._telling.not_permitted(self._around.refusal), self._kept())
        labels = self._labels()
        manifest = self._manifest(labels)
        found = manifest["spec"]["groups"]
        if not found:
            return self._without_rule(self._telling.nothing_enabled())
        faults = checks.faults(manifest)
        return self._invalid(faults) if faults else self._applied(manifest, labels)

    def _applied(self, manifest: Object, labels: RuleLabels) -> Plan:
        counts = _counts(manifest["spec"]["groups"])
        written = self._written(hash8(manifest["metadata"]["labels"], manifest["spec"]))
        selections, told, written = self._reception(labels.all, written)
        facts: Object = {"prometheusRule": written, **counts}
        if labels.copied:
            facts["copiedLabels"] = dict(labels.copied)
        is_fresh = self._now - (moment_of(written["writtenAt"]) or self._now) < FRESH
        return self._plan(
            (*self._telling.applied(counts), *told),
            {**facts, **_selected(selections)},
            children=(Child(PROMETHEUS_RULE, manifest),),
            obsolete=tuple(rule for rule in self._around.rules if rule["metadata"]["name"] != self._name),
            look_again=FRESH_SECONDS if is_fresh else AMISS_SECONDS if _is_amiss(told) else None,
        )

    def _written(self, content: str) -> Object:
        """The rule in the status; the moment stays as long as the rule does, and so does what was said of it."""
        before = self._before.get("prometheusRule") or {}
        is_same = before.get("hash") == content and before.get("name") == self._name and "writtenAt" in before
        return dict(before) if is_same else {"name": self._name, "hash": content, "writtenAt": timestamp(self._now)}

    def _invalid(self, faults: Sequence[str]) -> Plan:
        rule = self._rule
        if rule is None:
            nobody = self._telling.no_rule("RulesInvalid")
            return self._plan((*self._telling.invalid(faults, is_kept=False), *nobody), dict(_NOTHING))
        kept = self._kept()
        selections, told, written = self._reception(
            rule["metadata"].get("labels") or {}, kept.get("prometheusRule") or {}
        )
        facts = {**kept, **({"prometheusRule": written} if written else {}), **_selected(selections)}
        return self._plan((*self._telling.invalid(faults, is_kept=True), *told), facts)

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

    def _reception(
        self, labels: Mapping[str, str], written: Object
    ) -> tuple[list[Selection], tuple[Condition, ...], Object]:
        """Who selects a rule with `labels`, who accepts the one that is there, and `written` with what is to be remembered."""
        around, rule = self._around, self._rule
        may_read = not around.is_forbidden(EVENTS)
        accepted = acceptance(
            rule,
            around.events,
            written_at=written.get("writtenAt"),
            may_read_events=may_read,
            remembered=written.get("refusal"),
        )
        bound = bound_to(rule) if rule is not None else frozenset()
        selections = [
            judge(each, around.namespace, around.namespace_labels, labels, each.name in bound)
            for each in candidates(around.selecting, around.namespace)
        ]
        if not around.sees_all:
            seen = {selection.name for selection in selections}
            hint = "it may not be read; the Prometheus Operator says so on the rule"
            selections += [Selection(name, "True", hint) for name in sorted(bound - seen)]
        told = [replace(each, accepted=accepted.by.get(each.name, "Unknown")) for each in selections]
        named = self._spec.prometheus
        conditions = (
            self._telling.selected(told, around, str(named) if named is not None else ""),
            self._telling.accepted(accepted),
        )
        rest = {field: value for field, value in written.items() if field != "refusal"}
        return told, conditions, {**rest, **({"refusal": accepted.refusal} if accepted.refusal else {})}

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
    return {"selectedCount": count, **({"selectedBy": listed(selections)} if selections else {})}


def _is_amiss(told: Sequence[Condition]) -> bool:
    return any(condition.status == "False" or condition.reason == PARTLY for condition in told)
