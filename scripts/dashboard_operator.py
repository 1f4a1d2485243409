"""The dashboard of the operator: what it looks after, and how it is itself."""

from __future__ import annotations

from typing import Final

from grafana import HERE, WINDOW, Dashboard, Line, Now, Panel, Table

_P: Final = "coursegen_operator"


def _rate(series: str, by: str) -> str:
    return f"sum by ({by}) (rate({_P}_{series}{{{HERE}}}[{WINDOW}]))"


def _p95(series: str, by: str = "le") -> str:
    return f"histogram_quantile(0.95, sum by ({by}) (rate({_P}_{series}_bucket{{{HERE}}}[{WINDOW}])))"


OPERATOR: Final = Dashboard(
    file="operator-dashboard.json",
    uid="coursegen-operator",
    title="coursegen: Operator",
    description="Migrations, retention and alert policies as the operator sees them, and the operator itself.",
    tags=("coursegen", "operator"),
    namespaces=f"{_P}_is_leader",
    panels=(
        Now(
            "Leader",
            "One process reconciles; without one nothing is looked after, and OperatorDown fires.",
            "none",
            (Line(f"max({_P}_is_leader{{{HERE}}})", "leader"),),
            ((1, "green"),),
            below="red",
            words=((1, "leads", "green"), (0, "none", "red")),
            nothing="not scraped",
            width=6,
        ),
        Table(
            "Conditions of Resources",
            "What holds of each DatabaseMigration, RetentionPolicy and AlertPolicy: 1 is true, 0 is false. Ready is to be 1, "
            "RulesSelected and RulesAccepted too, all others 0.",
            "none",
            (Line(f"max by (kind, exported_namespace, name, type) ({_P}_resource_condition{{{HERE}}})", "condition"),),
            below="text",
            columns=(("kind", "Kind"), ("exported_namespace", "Namespace"), ("name", "Name"), ("type", "Condition")),
            value="Holds",
            nothing="no resources",
            width=18,
        ),
        Panel(
            "Looks at Resources",
            "Looks a second, by kind and how they ended. `failed` is a defect of the operator, `hindered` an API server that "
            "does not answer.",
            "cps",
            (Line(_rate("reconcile_total", "kind, outcome"), "{{kind}} {{outcome}}"),),
        ),
        Panel(
            "Duration of a Look",
            "p95, by kind.",
            "s",
            (Line(f"{_p95('reconcile_seconds', 'kind, le')} >= 0", "{{kind}}"),),
            ((10, "yellow"), (60, "red")),
        ),
        Panel(
            "Resources That Wait",
            "Due and not looked at yet. Near 0.",
            "short",
            (Line(f"max({_P}_queue_depth{{{HERE}}})", "waiting"),),
            ((50, "yellow"), (500, "red")),
        ),
        Panel(
            "Age of Queue and Watches",
            "How long the one that waits longest has been due, and since when the quietest watch has not been opened anew.",
            "s",
            (
                Line(f"max({_P}_queue_oldest_seconds{{{HERE}}})", "queue"),
                Line(f"max({_P}_watch_oldest_seconds{{{HERE}}})", "watches"),
            ),
        ),
        Panel(
            "Calls of the API Server",
            "Calls a second, by verb.",
            "cps",
            (Line(_rate("api_calls_total", "verb"), "{{verb}}"),),
        ),
        Panel(
            "What Failed",
            "A second: calls and renewals of the Lease that failed, Events dropped, watches begun anew. All 0.",
            "cps",
            (
                Line(
                    f'{_rate("api_failures_total", "error")} or label_replace(vector(0), "error", "none", "", "")',
                    "call: {{error}}",
                ),
                Line(_rate("lease_failures_total", "reason"), "Lease: {{reason}}"),
                Line(f'sum(rate({_P}_events_total{{outcome="dropped", {HERE}}}[{WINDOW}]))', "Events dropped"),
                Line(f"sum(rate({_P}_watch_restarts_total{{{HERE}}}[{WINDOW}]))", "watches begun anew"),
            ),
        ),
        Panel(
            "Renewal of the Lease",
            "p95 of the time in which the API server renewed it.",
            "s",
            (Line(_p95("lease_renew_seconds"), "p95"),),
            ((2, "yellow"), (5, "red")),
        ),
        Panel(
            "Memory",
            "Resident memory of the operator's processes.",
            "bytes",
            (
                Line(
                    f"process_resident_memory_bytes{{{HERE}}} and on (instance, namespace) {_P}_is_leader{{{HERE}}}",
                    "{{instance}}",
                ),
            ),
        ),
    ),
)
