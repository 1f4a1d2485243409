"""Spans for OpenTelemetry: what was done in a trace, by whom and how long; off unless a collector is named.

Promises: nothing waits for the collector, and nothing fails with it; what it does not take in time is dropped and counted. A
span holds only what this code puts there: names, identifiers, counts and statuses. No header, query, body or error text is
ever an attribute, so no secret can be one.

The trace itself is `kernel.tracing`'s and travels whether or not spans are recorded: request, outbox row, job, webhook.
"""

from services.kernel.spans.recording import Call, calling, exporting, is_recording, record
from services.kernel.spans.span import Attribute, Kind, Span

__all__ = ["Attribute", "Call", "Kind", "Span", "calling", "exporting", "is_recording", "record"]
