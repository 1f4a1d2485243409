"""The relay's spans: one for each row of a sampled trace, from its claim to its mark, under the span that wrote the row."""

from __future__ import annotations

from collections.abc import Sequence

from services.kernel import spans
from services.outbox_relay.lines import trace_of
from services.outbox_relay.outbox import OutboxRow


def record_relayed(rows: Sequence[OutboxRow], seconds: float) -> None:
    """The rows are in their queues and marked. Where spans are off no body is read."""
    if not spans.is_recording():
        return
    for row in rows:
        writer = trace_of(row)
        if writer is not None and writer.is_sampled:
            spans.record(
                writer.child(),
                f"relay {row.job_type or row.saq_queue}",
                spans.Kind.PRODUCER,
                seconds,
                {
                    "messaging.system": "saq",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": row.saq_queue,
                    "messaging.message.id": str(row.outbox_id),
                    "coursegen.course_id": str(row.entity_id),
                },
            )
