"""The kinds that the operator looks after."""

from __future__ import annotations

from collections.abc import Sequence

from operators.coursegen_operator.alerts.planner import AlertKind
from operators.coursegen_operator.migrations.planner import MigrationKind
from operators.coursegen_operator.planning import Kind
from operators.coursegen_operator.retention.planner import RetentionKind


def all_kinds(namespaces: Sequence[str] = ()) -> tuple[Kind, ...]:
    """One of each, for resources everywhere or in `namespaces`."""
    return (MigrationKind(), RetentionKind(), AlertKind(namespaces))
