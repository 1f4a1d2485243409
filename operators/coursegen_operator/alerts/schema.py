"""The schema of AlertPolicy: what `kubectl explain alp` tells, and what the API server refuses.

The API server checks what can be said in a line; what takes a parser is checked before the rule is written, and told as
Stalled with reason RulesInvalid.
"""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts import spec, status_schema
from operators.coursegen_operator.alerts.rules import PRESET_SCHEMAS
from operators.coursegen_operator.alerts.rules.alert import SEVERITIES
from operators.coursegen_operator.alerts.rules.objectives import PAGE, TICKET, can_fire
from operators.coursegen_operator.alerts.rules.periods import period
from operators.coursegen_operator.resources import GROUP, LABEL_MANAGED_BY
from operators.coursegen_operator.schemas.openapi import (
    Schema,
    array,
    boolean,
    cel,
    column,
    duration,
    list_map,
    name,
    obj,
    string,
    text_map,
)

_LABEL_NAME: Final = "^[a-zA-Z_][a-zA-Z0-9_]*$"
_WINDOW: Final = r"\\{\\{ *\\.window *\\}\\}"
_QUERY_LENGTH: Final = 2048
_TEXT_LENGTH: Final = 4096


def _passed_on(schema: Schema) -> Schema:
    """Fields that are not named here stay: a newer Prometheus Operator may know them."""
    return {**schema, "x-kubernetes-preserve-unknown-fields": True}


def _expression(doc: str) -> Schema:
    return {
        "description": doc,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }


_EXTRA_RULE: Final = _passed_on(
    obj(
        "An alert, or a recorded series.",
        {
            "alert": string("Name of the alert.", min_length=1, max_length=253),
            "record": string("Name of the recorded series.", min_length=1, max_length=253),
            "expr": _expression(
                "PromQL; for an alert, each series that it finds is one. At most 16384 characters, 256 operators and brackets "
                "64 deep."
            ),
            "for": string("How long it must hold before the alert fires, such as 5m.", max_length=40),
            "keep_firing_for": string("How long the alert goes on after it has ceased to hold.", max_length=40),
            "labels": text_map("Further labels. An alert needs severity.", max_length=_TEXT_LENGTH),
            "annotations": text_map(
                "What people are told. An alert needs summary, description and runbook_url.", max_length=_TEXT_LENGTH
            ),
        },
        required=("expr",),
    )
)

_EXTRA_GROUP: Final = _passed_on(
    obj(
        "A group of rules, as in a PrometheusRule.",
        {
            "name": string("Name of the group; no other one of the policy has it.", min_length=1, max_length=253),
            "interval": string("How often it is evaluated. Without one: as Prometheus does.", max_length=40),
            "rules": array("The rules, evaluated in this order.", _EXTRA_RULE, max_items=256),
        },
        required=("name",),
    )
)


def _burn(doc: str, severity: str) -> Schema:
    return obj(
        doc,
        {
            "enabled": boolean("Whether there is this alert.", default=True),
            "severity": string("Its severity.", enum=SEVERITIES, default=severity),
        },
        default={},
    )


def _query(doc: str) -> Schema:
    return string(
        f"{doc} Its window is written {{{{.window}}}}: sum(rate(http_requests_total[{{{{.window}}}}])).",
        min_length=1,
        max_length=_QUERY_LENGTH,
        rules=[
            cel(
                f"self.matches('{_WINDOW}')",
                "must take its window from {{.window}}, as in rate(http_requests_total[{{.window}}])",
            )
        ],
    )


_SLO: Final = obj(
    "An objective, and alerts by how fast its budget of errors is used up.",
    {
        "name": name("What it is called: the label slo of its alerts.", max_length=63),
        "objective": string(
            "The percentage of events that must be good, as text: 99.9.",
            pattern=r"^[0-9]{1,2}(\.[0-9]{1,5})?$",
            max_length=8,
            rules=[cel("double(self) > 0.0", "must be more than 0 and less than 100, such as '99.9'")],
        ),
        "window": period("The time over which it must hold: whole days or weeks, 7d to 365d."),
        "sli": obj(
            "How it is measured.",
            {
                "events": obj(
                    "By counting events.",
                    {
                        "errorQuery": _query("PromQL for the rate of bad events."),
                        "totalQuery": _query("PromQL for the rate of all events."),
                    },
                    required=("errorQuery", "totalQuery"),
                )
            },
            required=("events",),
        ),
        "page": _burn(
            "Alert SloErrorBudgetBurnFast: 2 % of the budget within an hour, or 5 % within six (14.4 and 6 times the speed that "
            "just lasts 30 days).",
            "critical",
        ),
        "ticket": _burn(
            "Alert SloErrorBudgetBurnSlow: 10 % of the budget within a day, or within three (3 times that speed, and once).",
            "warning",
        ),
        "absent": boolean("Alert SloMetricAbsent: totalQuery finds nothing.", default=True),
    },
    required=("name", "objective", "sli"),
    rules=[
        cel(*can_fire("self.objective", "self.window", "!self.page.enabled", PAGE, "page")),
        cel(*can_fire("self.objective", "self.window", "!self.ticket.enabled", TICKET, "ticket")),
    ],
)

_PROMETHEUS_SELECTOR: Final = obj(
    "Whose ruleSelector the rule's labels are copied from, so that it is selected. Labels of ruleLabels are never changed.",
    {
        "auto": boolean(
            "Copy from every Prometheus and ThanosRuler that looks into this namespace; the default, unless name is given. "
            "false: copy nothing."
        ),
        "name": name("Copy from the Prometheus, or ThanosRuler, of this name alone."),
        "namespace": name("Its namespace. Without one: that of this resource.", max_length=63),
    },
    rules=[
        cel("!(has(self.name) && has(self.auto) && self.auto)", "give either auto: true or name", path=".auto"),
        cel("!has(self.__namespace__) || has(self.name)", "namespace goes with name: give both", path=".namespace"),
    ],
)

SPEC: Final = obj(
    "Which alerts there should be. They are written as one PrometheusRule called <name>-alerts, once it is sure that Prometheus "
    "can read it; the status tells who has taken it.",
    {
        "presets": obj(
            "Alerts that come with coursegen, by part. A part that is not named has none; {} turns it on with its defaults.",
            PRESET_SCHEMAS,
        ),
        "slos": list_map("Objectives of your own.", _SLO, max_items=32),
        "extraGroups": list_map(
            "Groups of rules of your own, written as they are. Their alerts need severity, summary, description and runbook_url, "
            "too.",
            _EXTRA_GROUP,
            max_items=32,
        ),
        "runbookBaseURL": string(
            "Where the runbooks are: an alert's page is this, a slash and its name.",
            pattern=r"^https?://[^\s/]+[^\s]*$",
            max_length=1024,
        ),
        "ruleLabels": text_map(
            "Labels of the PrometheusRule. They win over those that are copied from a ruleSelector.",
            max_length=63,
            max_items=16,
            rules=[
                cel(
                    f"self.all(key, key != '{LABEL_MANAGED_BY}' && !key.startsWith('{GROUP}/'))",
                    f"{LABEL_MANAGED_BY} and the labels of {GROUP}/ are the operator's own",
                ),
                cel(
                    "self.all(key, self[key].matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$'))",
                    "values are those of labels: letters, digits, - _ . with a letter or digit at each end",
                ),
            ],
        ),
        "prometheusSelector": _PROMETHEUS_SELECTOR,
        "commonLabels": text_map(
            "Labels of every alert of presets and slos, such as team: platform.",
            max_items=16,
            rules=[
                cel(f"self.all(key, key.matches('{_LABEL_NAME}'))", "names are made of letters, digits and _"),
                cel(
                    "!('severity' in self) && !('alertname' in self)",
                    "severity belongs to each alert (presets.<name>.severity), alertname is Prometheus' own",
                ),
            ],
        ),
        "commonAnnotations": text_map(
            "Annotations of every alert of presets and slos, such as dashboard_url.",
            max_items=16,
            rules=[
                cel(f"self.all(key, key.matches('{_LABEL_NAME}'))", "names are made of letters, digits and _"),
                cel(
                    "!('summary' in self) && !('description' in self) && !('runbook_url' in self)",
                    "summary, description and runbook_url belong to each alert",
                ),
            ],
        ),
        "keepFiringFor": duration(
            "How long an alert goes on after its condition has ended, so that it does not flap; 0s: not at all.",
            default=spec.KEEP_FIRING_FOR,
        ),
        "interval": duration("How often the rules are evaluated.", default=spec.INTERVAL),
        "scope": string(
            "Namespace: presets count only series with the label namespace of this resource's namespace, as the monitors of the "
            "chart make them; but the preset operator, which is about the operator and about every AlertPolicy: one whose rules "
            "no Prometheus has cannot say so itself. Cluster: all series that Prometheus has.",
            enum=("Namespace", "Cluster"),
            default="Namespace",
        ),
        "suspend": boolean("Remove the PrometheusRule: no alert is watched until this is false again.", default=False),
    },
    required=("runbookBaseURL",),
)

STATUS: Final = status_schema.STATUS


def _condition(condition_type: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition_type}")].{field}'


COLUMNS: Final = [
    column("Ready", _condition("Ready", "status"), "Whether the rule is as it should be."),
    column("State", _condition("Ready", "reason"), "What is going on, in one word."),
    column("Alerts", ".status.alertCount", "Alerts in the PrometheusRule.", type="integer"),
    column("Selected", ".status.selectedCount", "How many Prometheus select it.", type="integer"),
    column("Accepted", _condition("RulesAccepted", "status"), "Whether the Prometheus Operator has accepted it."),
    column("Age", ".metadata.creationTimestamp", "How old this resource is.", type="date"),
    column("Rule", ".status.prometheusRule.name", "The PrometheusRule.", wide=True),
    column("Message", _condition("Ready", "message"), "What is going on, in a sentence.", wide=True),
]

SELECTABLE: Final = [".spec.suspend"]
