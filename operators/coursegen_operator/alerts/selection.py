"""Who selects a PrometheusRule: each Prometheus and ThanosRuler is judged by its own `ruleSelector` and `ruleNamespaceSelector`.

::

    ruleSelector            absent: takes no rules       {}: takes all
    ruleNamespaceSelector   absent: its own namespace    {}: all namespaces

Three answers: True, False, and Unknown where something that decides may not be read. What a Prometheus Operator is told on its
command line (`--namespaces` and the like) cannot be seen from here; what it writes on the rule itself can, and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from operators.coursegen_operator.alerts.selectors import Labels, Selector, all_of
from operators.coursegen_operator.conditions import Standing
from operators.coursegen_operator.resources import PROMETHEUS, THANOS_RULER, Object

LISTED: Final = 20
"""Most entries of `status.selectedBy`."""
TEXT_BYTES: Final = 256

_KINDS: Final = {PROMETHEUS.plural: PROMETHEUS.kind, THANOS_RULER.plural: THANOS_RULER.kind}


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A Prometheus or a ThanosRuler."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One that may select rules."""

    name: Name
    rules: Selector | None
    namespaces: Selector | None
    is_paused: bool = False

    @classmethod
    def of(cls, item: Object) -> Candidate:
        """The candidate that an object of the cluster is."""
        spec, metadata = item.get("spec") or {}, item["metadata"]
        return cls(
            Name(item["kind"], metadata.get("namespace", ""), metadata["name"]),
            Selector.of(spec.get("ruleSelector")),
            Selector.of(spec.get("ruleNamespaceSelector")),
            spec.get("paused") is True,
        )

    def looks_into(self, namespace: str, labels: Labels) -> Standing:
        """Whether it looks for rules in `namespace`, which has `labels`."""
        if self.namespaces is None:
            return "True" if self.name.namespace == namespace else "False"
        return self.namespaces.judge(labels)

    def selects(self, namespace: str, namespace_labels: Labels, labels: Mapping[str, str]) -> Standing:
        """Whether it selects a rule with `labels` in `namespace`."""
        if self.rules is None:
            return "False"
        return all_of(self.looks_into(namespace, namespace_labels), self.rules.judge(Labels(labels)))


@dataclass(frozen=True, slots=True)
class Selection:
    """What one candidate makes of the rule."""

    name: Name
    selected: Standing
    message: str
    """Why, and what would change it."""
    accepted: Standing = "Unknown"

    def as_object(self) -> Object:
        """As the status shows it."""
        return {
            "kind": self.name.kind,
            "namespace": self.name.namespace,
            "name": self.name.name,
            "selected": self.selected,
            "accepted": self.accepted,
            "message": self.message,
        }


def candidates(items: Iterable[Object], own_namespace: str) -> tuple[Candidate, ...]:
    """Whoever may select rules, those of `own_namespace` first; what is being deleted does not count."""
    found = [Candidate.of(item) for item in items if not item["metadata"].get("deletionTimestamp")]
    distinct = {candidate.name: candidate for candidate in found}
    return tuple(sorted(distinct.values(), key=lambda each: (each.name.namespace != own_namespace, each.name)))


def judge(
    candidate: Candidate, namespace: str, namespace_labels: Labels, labels: Mapping[str, str], bound: bool
) -> Selection:
    """What `candidate` makes of a rule with `labels` in `namespace`; `bound`: the Prometheus Operator says it has taken it."""
    selected = candidate.selects(namespace, namespace_labels, labels)
    if selected == "Unknown" and bound:
        return Selection(candidate.name, "True", "the Prometheus Operator says so on the rule")
    why = _why_not(candidate, namespace, namespace_labels, labels) if selected != "True" else ""
    if candidate.is_paused and not why:
        why = "it is paused: the Prometheus Operator passes no changes on until its spec.paused is false"
    return Selection(candidate.name, selected, why)


def bound_to(rule: Object) -> frozenset[Name]:
    """Whom the Prometheus Operator names on the rule as having selected it."""
    bindings = (rule.get("status") or {}).get("bindings") or ()
    return frozenset(name for binding in bindings if (name := name_of(binding)) is not None)


def name_of(binding: Object) -> Name | None:
    """Whose binding it is."""
    kind = _KINDS.get(binding.get("resource", ""))
    return None if kind is None else Name(kind, str(binding.get("namespace", "")), str(binding.get("name", "")))


def listed(selections: Sequence[Selection]) -> list[Object]:
    """The entries of the status: who selects first, then who might, then who does not."""
    order = {"True": 0, "Unknown": 1, "False": 2}
    return [
        each.as_object() for each in sorted(selections, key=lambda each: (order[each.selected], each.name))[:LISTED]
    ]


def _why_not(candidate: Candidate, namespace: str, namespace_labels: Labels, labels: Mapping[str, str]) -> str:
    rules, namespaces = candidate.rules, candidate.namespaces
    if rules is None:
        return "it has no ruleSelector, and so takes no rules"
    for field, selector in (("ruleSelector", rules), ("ruleNamespaceSelector", namespaces)):
        if selector is not None and selector.fault:
            return f"Kubernetes refuses its {field}: {selector.fault}"
    looks = candidate.looks_into(namespace, namespace_labels)
    if looks == "Unknown":
        return f"its ruleNamespaceSelector asks for {namespaces}; the labels of namespace {namespace} may not be read"
    if looks == "False":
        asked = f"namespaces with {namespaces}" if namespaces is not None else f"namespace {candidate.name.namespace}"
        return f"it takes rules from {asked} only, not from {namespace}"
    unmet = ", ".join(map(str, rules.unmet(Labels(labels))))
    return f"its ruleSelector asks for {unmet}, which the rule's labels do not meet"
