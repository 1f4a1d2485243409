"""Group `coursegen_api`: whether there is an api, and whether it answers as often as promised, an objective of its own.

A request that ends in 5xx is an error. The routes that answer 503 about *others*, such as the health check, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from operators.coursegen_operator import durations
from operators.coursegen_operator.alerts.rules.alert import PLACE, Alert, Preset, Record
from operators.coursegen_operator.alerts.rules.figures import Figure, Form
from operators.coursegen_operator.alerts.rules.objectives import (
    DEFAULT_WINDOW,
    PAGE,
    TICKET,
    Objective,
    can_fire,
    percent_of,
)

NAME: Final = "coursegen-api"
OTHERS: Final = 'route!~"health_check|outbox_health"'
"""Requests that count."""
REMEMBERED: Final = "3h"
"""How long an installation of which nothing runs any more is missed: of one that was uninstalled nothing else tells."""


def objective(settings: Mapping[str, Any], namespace: str) -> Objective:
    """The api's objective, as the preset's settings have it."""
    within = f',namespace="{namespace}"' if namespace else ""
    errors = f'http_requests_total{{status=~"5..",{OTHERS}{within}}}'
    total = f"http_requests_total{{{OTHERS}{within}}}"
    all_of_them = f"sum by (namespace) (rate({total}[{{{{.window}}}}]))"
    return Objective(
        name=NAME,
        objective=percent_of(settings.get("objective")),
        seconds=max(durations.seconds_of(settings.get("period") or DEFAULT_WINDOW), 1),
        # A status that was never answered has no series: without this a faultless api would have no figure at all.
        errors=f"sum by (namespace) (rate({errors}[{{{{.window}}}}])) or 0 * {all_of_them}",
        total=all_of_them,
        namespace=namespace,
        divisor=int(settings.get("windowDivisor") or 1),
    )


def _records(settings: Mapping[str, Any], namespace: str) -> tuple[Record, ...]:
    return objective(settings, namespace).records()


def _derived(settings: Mapping[str, Any], namespace: str) -> Mapping[str, str]:
    found = objective(settings, namespace)
    return {"fast": found.burning(PAGE), "slow": found.burning(TICKET), "budget": found.budget_percent}


def _is_off(alert: str) -> str:
    """Whether a preset's settings turn `alert` off, in CEL."""
    steps = [
        f"self{'.'.join(path)}" for path in (["", "alerts"], ["", "alerts", alert], ["", "alerts", alert, "enabled"])
    ]
    return " && ".join([*(f"has({step})" for step in steps), f"!{steps[-1]}"])


_TOLD: Final = (
    "{{ $value | humanizePercentage }} of the requests ended in a 5xx lately; @budget % may, over @period. "
    "Next: @kubectl logs -l app.kubernetes.io/component=api --since=10m --tail=-1"
)

ALERTS: Final = (
    Alert(
        "ApiDown",
        "critical",
        # Without any api there is no series of its own, nor while all wait at their start: any process that is there says so, or,
        # once nothing runs at all, that was there lately.
        'max by (namespace) (last_over_time(coursegen_build_info{process!="operator"@and_here}[@rememberedFor]))\n'
        "unless on (namespace) max by (namespace) (system_healthy@here)",
        f"No api answers{PLACE}",
        "Processes run, or have run within @rememberedFor, and no api shows its figures: nothing runs, there is no api, or they "
        "wait at their start. Nobody can order a course or send a message. "
        "Next: @kubectl get deployments,pods -l app.kubernetes.io/component=api",
        hold="1m",
    ),
    Alert(
        "ApiErrorBudgetBurnFast",
        "critical",
        "@fast",
        f"The api fails so often that its error budget is gone within days{PLACE}",
        _TOLD,
        hold="0s",
    ),
    Alert(
        "ApiErrorBudgetBurnSlow",
        "warning",
        "@slow",
        f"The api fails so often that its error budget will not last{PLACE}",
        _TOLD,
        hold="0s",
    ),
)

PRESET: Final = Preset(
    name="api",
    group="coursegen_api",
    doc="Alerts on the api: that there is one, and how fast its budget of errors is used up.",
    alerts=ALERTS,
    figures=(
        Figure("objective", Form.PERCENT, "99.9", "Percent of requests that are answered without a 5xx."),
        Figure(
            "period",
            Form.PERIOD,
            DEFAULT_WINDOW,
            "The period that the objective is for: whole days or weeks, 7d to 365d.",
        ),
        Figure(
            "windowDivisor",
            Form.COUNT,
            1,
            "Divides every window of this preset, and none of spec.slos: 60 makes 5s of 5m, for a trial.",
        ),
        Figure(
            "rememberedFor",
            Form.WINDOW,
            REMEMBERED,
            "ApiDown alone: how long an installation of which nothing runs is missed.",
        ),
    ),
    rules=tuple(
        can_fire("self.objective", "self.period", _is_off(alert), tiers, alert)
        for alert, tiers in (("ApiErrorBudgetBurnFast", PAGE), ("ApiErrorBudgetBurnSlow", TICKET))
    ),
    records=_records,
    derived=_derived,
)
