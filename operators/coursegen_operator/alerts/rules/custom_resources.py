"""Groups `coursegen_migrations`, `coursegen_retention`, `coursegen_operator`: what the operator says of resources and of itself.

The operator's page names the resource's namespace. Prometheus calls that label `exported_namespace` where the monitor does not
honour labels, since its own `namespace` is the operator's; the conditions here read both.
"""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import PLACE, Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form


def holds(kind: str, condition: str, value: int = 1) -> str:
    """Resources of `kind` within the policy's scope whose `condition` is 1 (true) or 0 (false)."""
    return _found(kind, condition, value, "@exported", "@and_here")


def holds_anywhere(kind: str, condition: str, value: int = 1) -> str:
    """Likewise of every namespace, whatever the policy's scope."""
    return _found(kind, condition, value, 'exported_namespace!=""', "")


def _found(kind: str, condition: str, value: int, exported: str, here: str) -> str:
    series = f'coursegen_operator_resource_condition{{kind="{kind}",type="{condition}"'
    return (
        "max by (kind, namespace, name) (\n"
        f'  label_replace({series},{exported}}}, "namespace", "$1", "exported_namespace", "(.+)")\n'
        f'  or {series},exported_namespace=""{here}}}\n'
        f") == {value}"
    )


_NAMED: Final = "{{ $labels.namespace }}/{{ $labels.name }}"
_OUT_OF_FORCE: Final = "\nor\n".join(
    (
        holds_anywhere("AlertPolicy", "Stalled"),
        holds_anywhere("AlertPolicy", "RulesSelected", 0),
        holds_anywhere("AlertPolicy", "RulesAccepted", 0),
    )
)
"""Wherever the policy is: it cannot say so itself, since its rules are those that nobody has."""
_WHY_OUT_OF_FORCE: Final = (
    "{{ if eq $value 1.0 }}is Stalled: its rules are not written, and at best those before them are in force"
    "{{ else }}has rules that no Prometheus selects, or that are refused and none is known to accept: until one has them, "
    "its alerts cannot fire{{ end }}"
)

MIGRATIONS: Final = Preset(
    name="migrations",
    group="coursegen_migrations",
    doc="Alerts on DatabaseMigrations.",
    alerts=(
        Alert(
            "DatabaseMigrationStalled",
            "critical",
            holds("DatabaseMigration", "Stalled"),
            f"The migration {_NAMED} needs a person",
            f"The DatabaseMigration {_NAMED} has given up or waits for a decision; new pods do not become ready before it "
            "is applied. "
            "Its conditions say why. Next: @kubectl describe dbm/{{ $labels.name }}",
            hold="1m",
        ),
        Alert(
            "DatabaseContractFailed",
            "warning",
            holds("DatabaseMigration", "ContractFailed"),
            f"The contract phase of the migration {_NAMED} was given up",
            f"Files of phase contract of the DatabaseMigration {_NAMED} failed too often and are not tried any more. The "
            "application runs; the schema keeps what only older versions use. "
            "Next: @kubectl describe dbm/{{ $labels.name }}",
            hold="1m",
        ),
        Alert(
            "DatabaseSchemaDrift",
            "warning",
            holds("DatabaseMigration", "DriftDetected"),
            f"The database of {_NAMED} is not as its migrations left it",
            f"Somebody has changed the schema of {_NAMED} by hand. status.drift says what. "
            "Next: @kubectl get dbm/{{ $labels.name }} -o jsonpath='{.status.drift.summary}'",
        ),
    ),
)

RETENTION: Final = Preset(
    name="retention",
    group="coursegen_retention",
    doc="Alerts on RetentionPolicies.",
    alerts=(
        Alert(
            "RetentionOverdue",
            "warning",
            holds("RetentionPolicy", "Overdue"),
            f"The cleanup {_NAMED} is overdue",
            f"The RetentionPolicy {_NAMED} does not remove what is due: old rows stay. "
            "Next: @kubectl describe rtp/{{ $labels.name }}",
        ),
        Alert(
            "RetentionGuardTripped",
            "warning",
            holds("RetentionPolicy", "GuardTripped"),
            f"The cleanup {_NAMED} has refused to delete so much",
            f"A run of the RetentionPolicy {_NAMED} would have deleted more than spec.guard allows, and has deleted "
            "nothing. "
            "Next: @kubectl describe rtp/{{ $labels.name }}",
            hold="0s",
        ),
    ),
)

OPERATOR: Final = Preset(
    name="operator",
    group="coursegen_operator",
    doc="Alerts on the operator itself; its metrics must be scraped.",
    alerts=(
        Alert(
            "OperatorReconcileErrors",
            "warning",
            "sum by (namespace, kind) "
            '(increase(coursegen_operator_reconcile_total{outcome=~"failed|refused|hindered"}[@window])) > @reconcileErrors',
            "The operator fails to reconcile {{ $labels.kind }} resources",
            "{{ $value | humanize }} passes over {{ $labels.kind }} resources failed in the last @window; the limit is "
            "@reconcileErrors. Next: @kubectl logs -l app.kubernetes.io/name=coursegen-operator --since=15m --tail=-1",
            hold="0s",
        ),
        Alert(
            "OperatorDown",
            "critical",
            # Each by itself: another namespace's operator does not stand in. One that no Prometheus has ever seen is not missed:
            # perhaps nobody wants it scraped.
            'count by (namespace, job) (count_over_time(up{job=~"@job"}[@rememberedFor]))\n'
            'unless on (namespace, job) max by (namespace, job) (up{job=~"@job"} == 1)',
            f"Prometheus reaches an operator of coursegen no more{PLACE}",
            "No target of the job {{ $labels.job }} answers: where that operator looks after coursegen, nothing applies "
            "migrations, repairs schedules or updates alerts. What runs goes on. "
            "Next: @kubectl get pods -l app.kubernetes.io/name=coursegen-operator",
        ),
        Alert(
            "AlertRulesNotSelected",
            "warning",
            _OUT_OF_FORCE,
            f"Prometheus does not watch what {_NAMED} asks for",
            f"The AlertPolicy {_NAMED} {_WHY_OUT_OF_FORCE}. Its conditions say why. "
            "Next: @kubectl describe alp/{{ $labels.name }}",
        ),
    ),
    figures=(
        Figure("window", Form.WINDOW, "15m", "OperatorReconcileErrors: how far it looks back."),
        Figure("reconcileErrors", Form.COUNT, 5, "OperatorReconcileErrors: passes that may fail in its window."),
        Figure(
            "job", Form.JOB, "(.*/)?.*coursegen-operator.*", "OperatorDown: the label job of the operator's targets."
        ),
        Figure(
            "rememberedFor", Form.WINDOW, "3d", "OperatorDown: how long an operator that was reached once is missed."
        ),
    ),
)
