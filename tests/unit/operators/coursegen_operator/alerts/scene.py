"""An AlertPolicy and what is around it, for the tests of its plan."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from operators.coursegen_operator import child, conditions
from operators.coursegen_operator.alerts.planner import AlertKind
from operators.coursegen_operator.errors import KindAbsent, NotPermitted
from operators.coursegen_operator.planning import Observed, Plan
from operators.coursegen_operator.resources import Object, ResourceType

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "courses"
RULE = "platform-alerts"
GOOD_GROUP: Object = {
    "name": "mine",
    "rules": [
        {
            "alert": "Mine",
            "expr": "up == 0",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "s", "description": "d", "runbook_url": "https://runbooks.example/Mine"},
        }
    ],
}


def policy(**spec: Any) -> Object:
    """An AlertPolicy with one preset, unless `spec` says otherwise."""
    return {
        "apiVersion": "ops.coursegen.dev/v1alpha1",
        "kind": "AlertPolicy",
        "metadata": {"name": "platform", "namespace": NAMESPACE, "uid": "uid-1", "generation": 1},
        "spec": {"presets": {"outbox": {}}, "runbookBaseURL": "https://runbooks.example", **spec},
    }


def prometheus(name: str = "k8s", namespace: str = "monitoring", kind: str = "Prometheus", **spec: Any) -> Object:
    """A Prometheus that looks into every namespace for rules of the release kps, unless `spec` says otherwise."""
    defaults = {"ruleSelector": {"matchLabels": {"release": "kps"}}, "ruleNamespaceSelector": {}}
    stated = {key: value for key, value in {**defaults, **spec}.items() if value is not None}
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": stated}


@dataclass
class Scene:
    """A policy and a cluster that does what its plans say."""

    resource: Object
    selecting: Sequence[Object] = ()
    namespace_labels: Mapping[str, str] | None = field(default_factory=dict)
    events: Sequence[Object] = ()
    denied: Sequence[tuple[str, str]] = ()
    rules: list[Object] = field(default_factory=list)
    now: datetime = NOW

    def observed(self) -> Observed:
        """What a look finds."""
        around: dict[str, Sequence[Object]] = {
            "prometheusrules": copy.deepcopy(self.rules),
            "prometheuses": [item for item in self.selecting if item["kind"] == "Prometheus"],
            "thanosrulers": [item for item in self.selecting if item["kind"] == "ThanosRuler"],
            "events": self.events,
            "denied": [{"what": what, "why": why} for what, why in self.denied],
        }
        if self.namespace_labels is not None:
            around["namespaces"] = [{"metadata": {"name": NAMESPACE, "labels": dict(self.namespace_labels)}}]
        return Observed(self.now, tuple(self.rules), around)

    def plan(self) -> Plan:
        """What should be."""
        return AlertKind().plan(self.resource, self.observed())

    def look(self) -> Plan:
        """Plan, and do it."""
        plan = self.plan()
        gone = {item["metadata"]["name"] for item in plan.obsolete}
        wanted = [child.adopt(each, self.resource) for each in plan.children]
        names = gone | {item["metadata"]["name"] for item in wanted}
        kept = [rule for rule in self.rules if rule["metadata"]["name"] not in names]
        self.rules = kept + [self._made(item) for item in wanted]
        status = copy.deepcopy(plan.status)
        told = [conditions.Condition.of(item) for item in status["conditions"]]
        before = (self.resource.get("status") or {}).get("conditions") or []
        status["conditions"] = conditions.merged(before, told, self.resource["metadata"]["generation"], self.now)
        self.resource = {**self.resource, "status": status}
        return plan

    def edit(self, **spec: Any) -> None:
        """A person changes the spec."""
        metadata = {**self.resource["metadata"], "generation": self.resource["metadata"]["generation"] + 1}
        self.resource = {**self.resource, "metadata": metadata, "spec": {**self.resource["spec"], **spec}}

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.now += timedelta(seconds=seconds)

    def _made(self, item: Object) -> Object:
        before = next((rule for rule in self.rules if rule["metadata"]["name"] == item["metadata"]["name"]), None)
        made = copy.deepcopy(item)
        born = before["metadata"]["creationTimestamp"] if before else conditions.timestamp(self.now)
        made["metadata"] |= {"uid": "rule-uid", "generation": 1, "creationTimestamp": born}
        if before and "status" in before:
            made["status"] = before["status"]
        return made


def told(plan: Plan, condition_type: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    condition = conditions.find(plan.status["conditions"], condition_type)
    assert condition is not None, condition_type
    return condition["status"], condition["reason"]


def message(plan: Plan, condition_type: str) -> str:
    """What a condition says."""
    condition = conditions.find(plan.status["conditions"], condition_type)
    assert condition is not None, condition_type
    return str(condition["message"])


def reasons(plan: Plan) -> list[str]:
    """The Events of a plan."""
    return [notice.reason for notice in plan.notices]


Items = list[Object]


class FakeReader:
    """A cluster that answers from a list; `refused` and `absent` hold (plural, namespace), None for all namespaces."""

    def __init__(
        self,
        items: Mapping[str, Sequence[Object]],
        refused: AbstractSet[tuple[str, str | None]] = frozenset(),
        absent: AbstractSet[str] = frozenset(),
    ) -> None:
        self.calls: list[str] = []
        self._items, self._refused, self._absent = items, refused, absent

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """As `Reader.get`."""
        self._check("get", resource_type, namespace)
        found = [item for item in self._of(resource_type, namespace or None) if item["metadata"]["name"] == name]
        return found[0] if found else None

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> Items:
        """As `Reader.list`."""
        self._check("list", resource_type, namespace)
        wanted = (labels or {}).items()
        found = self._of(resource_type, namespace)
        return [item for item in found if wanted <= (item["metadata"].get("labels") or {}).items()]

    def _check(self, verb: str, resource_type: ResourceType, namespace: str | None) -> None:
        self.calls.append(f"{verb} {resource_type.plural} {namespace}")
        if resource_type.plural in self._absent:
            raise KindAbsent(resource_type.kind)
        if (resource_type.plural, namespace) in self._refused:
            raise NotPermitted(resource_type.kind)

    def _of(self, resource_type: ResourceType, namespace: str | None) -> Items:
        items = self._items.get(resource_type.plural, ())
        return [item for item in items if namespace in {None, item["metadata"].get("namespace")}]
