"""What an AlertPolicy asks for, with the defaults that the schema also states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from operators.coursegen_operator.resources import Object

KEEP_FIRING_FOR: Final = "5m"
INTERVAL: Final = "30s"

Scope = Literal["Namespace", "Cluster"]


@dataclass(frozen=True, slots=True)
class PrometheusName:
    """The Prometheus, or ThanosRuler, whose selector is copied."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """The spec of one AlertPolicy."""

    presets: Mapping[str, Any]
    slos: Sequence[Mapping[str, Any]]
    extra_groups: Sequence[Object]
    runbook_base_url: str
    rule_labels: Mapping[str, str]
    prometheus: PrometheusName | None
    """Named: labels are copied from this one alone."""
    copies_labels: bool
    """Whether labels are copied at all."""
    common_labels: Mapping[str, str]
    common_annotations: Mapping[str, str]
    keep_firing_for: str
    interval: str
    scope: Scope
    is_suspended: bool

    @classmethod
    def of(cls, resource: Object) -> AlertSpec:
        """The spec that `resource` states."""
        spec = resource.get("spec") or {}
        selector = spec.get("prometheusSelector") or {}
        named = selector.get("name")
        own = resource["metadata"]["namespace"]
        return cls(
            presets=spec.get("presets") or {},
            slos=spec.get("slos") or (),
            extra_groups=spec.get("extraGroups") or (),
            runbook_base_url=spec.get("runbookBaseURL") or "",
            rule_labels=spec.get("ruleLabels") or {},
            prometheus=PrometheusName(selector.get("namespace") or own, named) if named else None,
            copies_labels=bool(named) or selector.get("auto") is not False,
            common_labels=spec.get("commonLabels") or {},
            common_annotations=spec.get("commonAnnotations") or {},
            keep_firing_for=spec.get("keepFiringFor") or KEEP_FIRING_FOR,
            interval=spec.get("interval") or INTERVAL,
            scope="Cluster" if spec.get("scope") == "Cluster" else "Namespace",
            is_suspended=spec.get("suspend") is True,
        )
