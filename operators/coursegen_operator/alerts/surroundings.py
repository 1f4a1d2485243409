"""What an AlertPolicy needs to know of the cluster: who may select its rule, and what they say of it.

Nothing here is needed to write the rule. What the operator may not read, or what the cluster does not have, is told as
such under `DENIED`, and everything that depends on it becomes `Unknown`; the rest is read all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from operators.coursegen_operator.alerts.acceptance import is_refusal
from operators.coursegen_operator.alerts.selectors import Labels
from operators.coursegen_operator.alerts.spec import AlertSpec, PrometheusName
from operators.coursegen_operator.child import is_owned_by, uid_of
from operators.coursegen_operator.errors import KindAbsent, NotPermitted
from operators.coursegen_operator.planning import Observed, Reader
from operators.coursegen_operator.resources import (
    EVENT,
    LABEL_OWNER_UID,
    NAMESPACE,
    PROMETHEUS,
    PROMETHEUS_RULE,
    THANOS_RULER,
    Object,
    ResourceType,
)

RULES: Final = PROMETHEUS_RULE.plural
EVENTS: Final = EVENT.plural
NAMESPACES: Final = NAMESPACE.plural
DENIED: Final = "denied"
"""Items are `{"what": <plural>, "why": "Forbidden" | "Absent"}`, of rules with the API server's words as `said`."""

SELECTING: Final = (PROMETHEUS, THANOS_RULER)
NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The one label of a namespace that is known without reading it."""

Why = Literal["Forbidden", "Absent"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was read, for one policy."""

    namespace: str
    rules: tuple[Object, ...]
    """The PrometheusRules that the policy owns."""
    selecting: tuple[Object, ...]
    """Every Prometheus and ThanosRuler that could be read, each with its kind."""
    namespace_labels: Labels
    events: tuple[Object, ...]
    denied: frozenset[tuple[str, Why]]
    refusal: str = ""
    """Why rules may not be read, and the command that shows it."""

    @classmethod
    def of(cls, resource: Object, observed: Observed) -> Surroundings:
        """What `read` has found, in the form that plans use."""
        around = observed.around
        namespace = resource["metadata"]["namespace"]
        rules = around.get(RULES, observed.children)
        return cls(
            namespace,
            tuple(rule for rule in rules if rule.get("kind") == PROMETHEUS_RULE.kind and is_owned_by(rule, resource)),
            tuple({**item, "kind": kind.kind} for kind in SELECTING for item in around.get(kind.plural, ())),
            _labels_of(namespace, around.get(NAMESPACES, ())),
            tuple(around.get(EVENTS, ())),
            frozenset((item["what"], item["why"]) for item in around.get(DENIED, ())),
            next((item["said"] for item in around.get(DENIED, ()) if item["what"] == RULES and "said" in item), ""),
        )

    def is_absent(self, what: str) -> bool:
        """Whether the cluster does not know this kind."""
        return (what, "Absent") in self.denied

    def is_forbidden(self, what: str) -> bool:
        """Whether the operator may not read, or not everywhere, objects of this kind."""
        return (what, "Forbidden") in self.denied

    @property
    def sees_all(self) -> bool:
        """Whether no Prometheus and no ThanosRuler is hidden from the operator."""
        return not any(self.is_forbidden(kind.plural) for kind in SELECTING)


async def read(cluster: Reader, resource: Object, namespaces: Sequence[str] = ()) -> Mapping[str, Sequence[Object]]:
    """What there is around `resource`; with `namespaces`, only what these have, and the Prometheus that the policy names.

    Raises:
        ClusterUnavailable: no answer.
    """
    return await _Reading(cluster, resource, namespaces).all()


class _Reading:
    def __init__(self, cluster: Reader, resource: Object, namespaces: Sequence[str]) -> None:
        self._cluster = cluster
        self._namespace: str = resource["metadata"]["namespace"]
        self._namespaces = namespaces
        self._uid = uid_of(resource)
        self._spec = AlertSpec.of(resource)
        self._found: dict[str, list[Object]] = {}
        self._denied: list[Object] = []

    async def all(self) -> Mapping[str, Sequence[Object]]:
        rules = await self._list(PROMETHEUS_RULE, self._namespace, labels={LABEL_OWNER_UID: self._uid})
        if rules is not None and not self._spec.is_suspended:
            for kind in SELECTING:
                await self._selecting(kind)
            await self._own_namespace()
            await self._refusals(rules)
        return {**self._found, DENIED: self._denied}

    async def _selecting(self, kind: ResourceType) -> None:
        if self._namespaces:
            self._deny(kind, "Forbidden")  # what is beyond may not even be asked for
            for namespace in self._namespaces:
                await self._list(kind, namespace)
        elif await self._list(kind, None) is None and (kind.plural, "Forbidden") in self._marks:
            await self._list(kind, self._namespace)
        named = self._spec.prometheus
        if named is not None and (kind.plural, "Forbidden") in self._marks:
            await self._named(kind, named)

    async def _named(self, kind: ResourceType, named: PrometheusName) -> None:
        try:
            found = await self._cluster.get(kind, named.namespace, named.name)
        except (NotPermitted, KindAbsent):
            return
        if found is not None:
            self._found.setdefault(kind.plural, []).append({**found, "kind": kind.kind})

    async def _refusals(self, rules: Sequence[Object]) -> None:
        """Events that refuse one of `rules`; that rule is then read with the times at which it was changed."""
        silent = [rule for rule in rules if not has_bindings(rule)]
        if not silent or await self._list(EVENT, self._namespace) is None:
            return
        found = self._found[EVENTS]
        self._found[EVENTS] = [event for event in found if any(is_refusal(event, rule) for rule in silent)]
        if self._found[EVENTS]:
            fresh = [
                await self._cluster.get(PROMETHEUS_RULE, self._namespace, rule["metadata"]["name"]) for rule in rules
            ]
            self._found[RULES] = [{**rule, "kind": PROMETHEUS_RULE.kind} for rule in fresh if rule is not None]

    async def _own_namespace(self) -> None:
        try:
            found = await self._cluster.get(NAMESPACE, "", self._namespace)
        except (NotPermitted, KindAbsent):
            self._deny(NAMESPACE, "Forbidden")
            return
        self._found[NAMESPACES] = [] if found is None else [found]

    async def _list(
        self, kind: ResourceType, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> list[Object] | None:
        try:
            found = await self._cluster.list(kind, namespace, labels=labels)
        except NotPermitted as error:
            self._deny(kind, "Forbidden", **({"said": error.message} if kind == PROMETHEUS_RULE else {}))
            return None
        except KindAbsent:
            self._deny(kind, "Absent")
            return None
        listed = [{**item, "kind": kind.kind} for item in found]
        self._found[kind.plural] = [*self._found.get(kind.plural, ()), *listed]
        return listed

    def _deny(self, kind: ResourceType, why: Why, **more: str) -> None:
        if (kind.plural, why) not in self._marks:
            self._denied.append({"what": kind.plural, "why": why, **more})

    @property
    def _marks(self) -> set[tuple[str, str]]:
        return {(item["what"], item["why"]) for item in self._denied}


def has_bindings(rule: Object) -> bool:
    """Whether the Prometheus Operator says on the rule itself who has taken it."""
    return bool((rule.get("status") or {}).get("bindings"))


def _labels_of(namespace: str, found: Sequence[Object]) -> Labels:
    for item in found:
        if item["metadata"].get("name") == namespace:
            return Labels({NAME_LABEL: namespace, **(item["metadata"].get("labels") or {})})
    return Labels({NAME_LABEL: namespace}, is_complete=False)
