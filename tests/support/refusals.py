"""For each rule in CEL that a definition has, a spec that breaks it; and for each kind one that breaks none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from operators.coursegen_operator.schemas.openapi import Schema

Spec = dict[str, Any]

_DATABASE: Final = {"databaseSecretRef": {"name": "db"}, "image": "registry.example/migrate:1"}
_RULE: Final = {"name": "outbox", "target": "OutboxPublished", "keep": "30d"}
_QUERY: Final = "sum(rate(http_requests_total[{{.window}}]))"
_SLO: Final = {"name": "api", "objective": "99.9", "sli": {"events": {"errorQuery": _QUERY, "totalQuery": _QUERY}}}
_LABEL_VALUE: Final = {"a": "-"}
_OWN_LABEL: Final = {"ops.coursegen.dev/task": "x"}
_LABEL_NAME: Final = {"-": "x"}
_OFF: Final = {"enabled": False}

ACCEPTED: Final[dict[str, Spec]] = {
    "databasemigrations": _DATABASE,
    "retentionpolicies": {**_DATABASE, "schedule": "0 2 * * *", "rules": [_RULE]},
    "alertpolicies": {
        "runbookBaseURL": "https://runbooks.example",
        "presets": {"api": {}},
        "slos": [
            _SLO,
            {**_SLO, "name": "weeks", "window": "52w"},
            {**_SLO, "name": "ticket", "objective": "80", "page": _OFF},
            {**_SLO, "name": "none", "objective": "0.1", "page": _OFF, "ticket": _OFF},
        ],
    },
}
"""A spec of each kind that is taken."""


def _slo(**changes: Any) -> Spec:
    return {"slos": [{**_SLO, **changes}]}


def _sli(**queries: str) -> Spec:
    return _slo(sli={"events": {"errorQuery": _QUERY, "totalQuery": _QUERY, **queries}})


def _rule(**changes: Any) -> Spec:
    return {"rules": [{**_RULE, **changes}]}


def _toleration(**fields: Any) -> Spec:
    return {"job": {"tolerations": [fields]}}


_JOB_LABELS: Final = ("values are those of labels", _LABEL_VALUE), ("labels of ops.coursegen.dev/", _OWN_LABEL)
_TOLERATIONS: Final[list[tuple[str, str, Spec]]] = [
    ("spec.job.tolerations[]", "without a key", _toleration(operator="Equal", value="x")),
    (
        "spec.job.tolerations[]",
        "operator Exists takes no value",
        _toleration(key="a", operator="Exists", value="x"),
    ),
    ("spec.job.tolerations[]", "tolerationSeconds needs", _toleration(key="a", tolerationSeconds=5)),
]

REFUSED: Final[dict[str, list[tuple[str, str, Spec]]]] = {
    "databasemigrations": [
        (
            "spec",
            "job.activeDeadlineSeconds must be longer",
            {"job": {"activeDeadlineSeconds": 60}, "policy": {"statementTimeoutSeconds": 60}},
        ),
        ("spec.image", "must name a tag or a digest", {"image": "migrate"}),
        ("spec.policy", "must be false", {"policy": {"allowDowngrade": True}}),
        (
            "spec.retry",
            "backoffSeconds must not be longer",
            {"retry": {"backoffSeconds": 900, "maxBackoffSeconds": 60}},
        ),
        *(("spec.job.nodeSelector", said, {"job": {"nodeSelector": labels}}) for said, labels in _JOB_LABELS),
        *(("spec.job.podLabels", said, {"job": {"podLabels": labels}}) for said, labels in _JOB_LABELS),
        *_TOLERATIONS,
    ],
    "retentionpolicies": [
        ("spec.timeZone", "must name a time zone", {"timeZone": "Local"}),
        ("spec.image", "must name a tag or a digest", {"image": "migrate"}),
        ("spec.rules[]", "target Custom needs", _rule(target="Custom")),
        ("spec.rules[]", "only target Custom takes", _rule(table="visits", timestampColumn="at")),
        ("spec.rules[].keep", "must be more than nothing", _rule(keep="0d")),
        *(("spec.job.nodeSelector", said, {"job": {"nodeSelector": labels}}) for said, labels in _JOB_LABELS),
        *(("spec.job.podLabels", said, {"job": {"podLabels": labels}}) for said, labels in _JOB_LABELS),
        ("spec.job.nodeSelector", "names are labels", {"job": {"nodeSelector": _LABEL_NAME}}),
        ("spec.job.podLabels", "names are labels", {"job": {"podLabels": _LABEL_NAME}}),
        *_TOLERATIONS,
    ],
    "alertpolicies": [
        ("spec.presets.api", "so much may fail that ApiErrorBudgetBurnFast", {"presets": {"api": {"objective": "80"}}}),
        (
            "spec.presets.api",
            "so much may fail that ApiErrorBudgetBurnSlow",
            {"presets": {"api": {"objective": "50", "period": "365d"}}},
        ),
        ("spec.presets.api.period", "must be whole days or weeks", {"presets": {"api": {"period": "6d"}}}),
        ("spec.slos[]", "so much may fail that page", _slo(objective="80")),
        ("spec.slos[]", "so much may fail that ticket", _slo(objective="80", window="52w", page=_OFF)),
        ("spec.slos[].objective", "must be more than 0", _slo(objective="0.0", page=_OFF, ticket=_OFF)),
        ("spec.slos[].window", "must be whole days or weeks", _slo(window="53w")),
        ("spec.slos[].sli.events.errorQuery", "must take its window", _sli(errorQuery="rate(a[5m])")),
        ("spec.slos[].sli.events.totalQuery", "must take its window", _sli(totalQuery="rate(a[5m])")),
        ("spec.ruleLabels", "app.kubernetes.io/managed-by and", {"ruleLabels": {"app.kubernetes.io/managed-by": "me"}}),
        ("spec.ruleLabels", "values are those of labels", {"ruleLabels": _LABEL_VALUE}),
        ("spec.prometheusSelector", "give either", {"prometheusSelector": {"auto": True, "name": "k8s"}}),
        ("spec.prometheusSelector", "namespace goes with name", {"prometheusSelector": {"namespace": "monitoring"}}),
        ("spec.commonLabels", "names are made of", {"commonLabels": {"a-b": "x"}}),
        ("spec.commonLabels", "severity belongs to", {"commonLabels": {"severity": "page"}}),
        ("spec.commonAnnotations", "names are made of", {"commonAnnotations": {"a-b": "x"}}),
        ("spec.commonAnnotations", "summary, description and", {"commonAnnotations": {"summary": "x"}}),
    ],
}
"""By kind: the field that has the rule, how its message begins, and what of a good spec to replace."""


def rules_of(schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """Each rule in CEL of a schema: its field, and its message."""
    yield from ((path, rule["message"]) for rule in schema.get("x-kubernetes-validations", ()))
    for name, each in (schema.get("properties") or {}).items():
        yield from rules_of(each, f"{path}.{name}" if path else name)
    if isinstance(schema.get("items"), dict):
        yield from rules_of(schema["items"], f"{path}[]")
