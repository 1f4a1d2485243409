"""Group `phase3_queue`: the three of contract.md (j) on messages, with the conditions as their source has them."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form

ALERTS: Final = (
    Alert(
        "QueuePartitionLagHigh",
        "warning",
        "stream_partition_lag@here > @partitionLag",
        "More than @partitionLag messages wait in partition {{ $labels.partition }}",
        "Partition {{ $labels.partition }} has {{ $value | humanize }} messages that no consumer has persisted; the limit "
        "is @partitionLag. They are safe in Redis. Next: @kubectl logs -l app.kubernetes.io/component=persistence-worker "
        "--since=10m --tail=-1",
    ),
    Alert(
        "QueueDLQRateHigh",
        "critical",
        "rate(stream_dead_letter_total@here[@window]) > @deadLettersPerSecond",
        "More than @deadLettersPerSecond messages a second become dead letters",
        "{{ $value | humanize }} messages a second went to msg:dlq in the last @window; the limit is "
        "@deadLettersPerSecond. Each says why. Next: @kubectl logs -l app.kubernetes.io/component=persistence-worker "
        "--since=10m --tail=-1",
    ),
    Alert(
        "ConsumerProcessingErrors",
        "warning",
        'rate(stream_consumer_processed_total{status="error"@and_here}[@window]) > @errorsPerSecond',
        "Consumers of messages fail more than @errorsPerSecond times a second",
        "{{ $value | humanize }} attempts a second failed in the last @window; the limit is @errorsPerSecond. Each is "
        "tried again, then set aside. Next: @kubectl logs -l app.kubernetes.io/component=persistence-worker "
        "--since=10m --tail=-1",
    ),
)

PRESET: Final = Preset(
    name="phase3Queue",
    group="phase3_queue",
    doc="The three alerts on messages.",
    alerts=ALERTS,
    figures=(
        Figure("window", Form.WINDOW, "5m", "How far rates look back."),
        Figure("partitionLag", Form.COUNT, 1000, "QueuePartitionLagHigh: messages that may wait in one partition."),
        Figure("deadLettersPerSecond", Form.COUNT, 10, "QueueDLQRateHigh: dead letters a second."),
        Figure("errorsPerSecond", Form.COUNT, 1, "ConsumerProcessingErrors: failed attempts a second."),
    ),
    interval="60s",
)
