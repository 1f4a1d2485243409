"""The kinds that the operator looks after."""

from __future__ import annotations

from operators.coursegen_operator.planning import Kind


def all_kinds() -> tuple[Kind, ...]:
    """One of each."""
    from operators.coursegen_operator.alerts.planner import AlertKind
    from operators.coursegen_operator.migrations.planner import MigrationKind
    from operators.coursegen_operator.retention.planner import RetentionKind

    return (MigrationKind(), RetentionKind(), AlertKind())
