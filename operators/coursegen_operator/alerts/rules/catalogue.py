"""Every preset, in the order in which their groups are written."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules import (
    api,
    custom_resources,
    messages,
    outbox,
    phase3_queue,
    transactional_outbox,
    workers,
)

PRESETS: Final = (
    transactional_outbox.PRESET,
    phase3_queue.PRESET,
    outbox.PRESET,
    workers.PRESET,
    messages.PRESET,
    api.PRESET,
    custom_resources.MIGRATIONS,
    custom_resources.RETENTION,
    custom_resources.OPERATOR,
)
