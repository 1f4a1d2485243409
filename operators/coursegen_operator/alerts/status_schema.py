"""The schema of an AlertPolicy's status: what `kubectl explain alp.status` tells."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.selection import LISTED
from operators.coursegen_operator.resources import ANNOTATION_RECONCILE_AT
from operators.coursegen_operator.schemas.openapi import (
    conditions,
    date_time,
    integer,
    list_map,
    obj,
    observed_generation,
    string,
    text_map,
)

TEXT_LENGTH: Final = 4096
_ANNOTATION_LENGTH: Final = 262_144

_SELECTED_BY: Final = obj(
    "A Prometheus or ThanosRuler.",
    {
        "kind": string("Prometheus or ThanosRuler.", max_length=63),
        "namespace": string("Its namespace.", max_length=63),
        "name": string("Its name.", max_length=253),
        "selected": string("Whether it selects the rule: True, False or Unknown.", max_length=16),
        "accepted": string(
            "Whether it has accepted the rule, as the Prometheus Operator says: True, False or Unknown."
        ),
        "message": string("Why.", max_length=TEXT_LENGTH),
    },
    required=("kind", "namespace", "name"),
)

STATUS: Final = obj(
    "What became of the alerts.",
    {
        "observedGeneration": observed_generation(),
        "conditions": conditions(),
        "prometheusRule": obj(
            "The PrometheusRule in this namespace.",
            {
                "name": string("Its name.", max_length=253),
                "hash": string("Stands for its labels and rules: another value, another rule.", max_length=64),
                "writtenAt": date_time("When they last changed."),
                "refusal": obj(
                    "What an Event of the Prometheus Operator has said against it; it holds while this version is there.",
                    {
                        "uid": string("The PrometheusRule's.", max_length=63),
                        "generation": integer("The PrometheusRule's.", minimum=0),
                        "message": string("Why.", max_length=TEXT_LENGTH),
                    },
                ),
            },
        ),
        "groupCount": integer("Groups in it.", minimum=0),
        "alertCount": integer("Alerts in it.", minimum=0),
        "recordCount": integer("Recorded series in it.", minimum=0),
        "selectedCount": integer("How many Prometheus and ThanosRulers select it.", minimum=0),
        "selectedBy": list_map(
            "Whoever may select it, those who do first; the first twenty.",
            _SELECTED_BY,
            keys=("kind", "namespace", "name"),
            max_items=LISTED,
        ),
        "copiedLabels": text_map(
            "Labels that were copied from a ruleSelector. They stay while it may not be read.", max_length=63
        ),
        "lastHandledReconcileAt": string(
            f"The value of the annotation {ANNOTATION_RECONCILE_AT} that was last seen.", max_length=_ANNOTATION_LENGTH
        ),
    },
)
