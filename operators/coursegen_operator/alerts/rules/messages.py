"""Group `coursegen_messages`: messages wait, and nobody persists them. Asked of the api, which is there when no worker is."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import PLACE, Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form

ALERTS: Final = (
    Alert(
        "MessagesNotPersisted",
        "critical",
        # The lag has a series only while a partition has an owner. Every api shows these two, the same everywhere.
        "count by (namespace) (\n"
        "  max by (namespace, partition) (stream_backlog_entries@here) > 0\n"
        "  unless on (namespace, partition)\n"
        "  max by (namespace, partition) (increase(stream_settled_entries_total@here[@idleWindow])) > 0\n"
        ") > 0",
        f"Messages wait, and nobody persists them{PLACE}",
        "Partitions of which messages wait and none was persisted in the last @idleWindow: {{ $value }}. They are safe in Redis, "
        "and nobody can list them. Next: @kubectl get pods -l app.kubernetes.io/component=persistence-worker",
        hold="2m",
    ),
)

PRESET: Final = Preset(
    name="messages",
    group="coursegen_messages",
    doc="The alert on messages that nobody persists.",
    alerts=ALERTS,
    figures=(
        Figure("idleWindow", Form.WINDOW, "3m", "MessagesNotPersisted: how long nothing of a partition is persisted."),
    ),
)
