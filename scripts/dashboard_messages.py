"""The dashboard of the messages: six panels (contract.md k)."""

from __future__ import annotations

from typing import Final

from grafana import HERE, WINDOW, Dashboard, Line, Panel


def _rate(series: str, *matchers: str) -> str:
    return f"sum(rate({series}{{{', '.join([*matchers, HERE])}}}[{WINDOW}]))"


def _quantile(quantile: str) -> str:
    buckets = f"stream_processing_duration_seconds_bucket{{{HERE}}}"
    return f"histogram_quantile({quantile}, sum by (le) (rate({buckets}[{WINDOW}])))"


_REPEATS = _rate("idempotency_hit_total", 'operation="ingress"')
_POSTED = _rate("http_requests_total", 'route="post_message"', 'status="202"')

PHASE3: Final = Dashboard(
    file="phase3-queue-dashboard.json",
    uid="coursegen-phase3-queue",
    title="Phase 3: Durable Delivery - Queue Monitoring",
    description="Messages on their way from the api through the streams into PostgreSQL.",
    tags=("coursegen", "messages"),
    namespaces="stream_enqueue_total",
    panels=(
        Panel(
            "Enqueue Rate",
            "Messages a second that the api has put into the stream. As many as are sent, repeats aside.",
            "cps",
            (Line(_rate("stream_enqueue_total"), "enqueued"),),
        ),
        Panel(
            "Dequeue Rate",
            "Entries a second that the persistence-workers have handled, by how it went. Follows the enqueue rate.",
            "cps",
            (
                Line(
                    f"sum by (status) (rate(stream_consumer_processed_total{{{HERE}}}[{WINDOW}]))",
                    "{{status}}",
                ),
            ),
        ),
        Panel(
            "Partition Lag",
            "Messages that wait, by partition as its owner says, and in all as the api says, also when nobody persists. "
            "Near 0 and below 100 is healthy, below 500 the objective; above 1000 QueuePartitionLagHigh fires.",
            "short",
            (
                Line(
                    f"sum(max by (namespace, partition) (stream_backlog_entries{{{HERE}}}))",
                    "all, as the api says",
                ),
                Line(f"max by (partition) (stream_partition_lag{{{HERE}}})", "partition {{partition}}"),
            ),
            ((100, "yellow"), (500, "orange"), (1000, "red")),
        ),
        Panel(
            "Processing Duration",
            "From reading an entry to its being settled. p95 is below 100 ms.",
            "s",
            tuple(Line(_quantile(q), name) for q, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))),
            ((0.1, "red"),),
        ),
        Panel(
            "DLQ Rate",
            "Messages a second that became dead letters. 0; above 10 QueueDLQRateHigh fires.",
            "cps",
            (Line(_rate("stream_dead_letter_total"), "dead letters"),),
            ((0.001, "yellow"), (10, "red")),
        ),
        Panel(
            "Idempotent Hit Rate",
            "Share of the posted messages that were repeats; nothing without traffic. "
            "2-3 % is normal, above 10 % look at the clients.",
            "percentunit",
            (Line(f"{_REPEATS} / ({_POSTED} > 0)", "repeats"),),
            ((0.1, "red"),),
        ),
    ),
)
