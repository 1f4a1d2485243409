"""The dashboard of initiations, the outbox, rescues and health: ten panels (contract.md k).

The series are what all processes have counted, on every api's page of metrics: shares are the same however many apis show them,
and amounts are those of one, so `max` chooses among them, in each namespace for itself.
"""

from __future__ import annotations

from typing import Final

from grafana import HERE, WINDOW, Dashboard, Gauge, Histogram, Line, Now, Panel, Table

_RANGE: Final = "$__range"
_COUNTS: Final = "max by (namespace, result)"


def _percent(part: str, whole: str) -> str:
    """`part` among `whole` over the time that is shown; nothing without traffic."""
    of = f"sum(increase({part}[{_RANGE}]))"
    return f"100 * {of} / (sum(increase({whole}[{_RANGE}])) > 0)"


def _quantile(quantile: str, series: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({series}_bucket{{{HERE}}}[{WINDOW}])))"


_RESULTS: Final = f"{_COUNTS} (fsm_initializations_total{{{HERE}}})"
_RESCUES: Final = f"max by (namespace, layer, result) (increase(fallback_activations_total{{{HERE}}}[{WINDOW}]))"

OUTBOX: Final = Dashboard(
    file="grafana-dashboard.json",
    folder="config",
    shipped="transactional-outbox-dashboard.json",
    uid="coursegen-transactional-outbox",
    title="coursegen: Initiations and Outbox",
    description="From the request for a course to its jobs in the queues, and what steps in when something is missed.",
    tags=("coursegen", "outbox"),
    namespaces="fsm_initializations_total",
    panels=(
        Gauge(
            "FSM Success Rate",
            "Percent of the initiations that succeeded. 100 is the target, 99 the objective; below 95 FsmFailureRateHigh fires.",
            "percent",
            (
                Line(
                    _percent(
                        f'fsm_initializations_total{{result="success", {HERE}}}', f"fsm_initializations_total{{{HERE}}}"
                    ),
                    "success",
                ),
            ),
            ((95, "yellow"), (99, "green")),
            below="red",
            width=6,
        ),
        Panel(
            "Outbox Queue Depth",
            "Rows of job_outbox that are not in Redis yet, dead ones included. Below 100; look from 100 on; at 500 follow the "
            "runbook; above 1000 OutboxQueueDepthHigh fires.",
            "short",
            (
                Line(f"sum(max by (namespace) (outbox_queue_depth{{{HERE}}}))", "waiting"),
                Line(f"sum(max by (namespace) (outbox_dead_rows{{{HERE}}}))", "of these dead"),
            ),
            ((100, "yellow"), (500, "orange"), (1000, "red")),
            width=18,
        ),
        Histogram(
            "FSM Initialization Latency",
            "How long initiations took. Hardly anything stands above 0.5 s: p95 is below 500 ms, else FsmLatencyHigh fires.",
            "s",
            (
                Line(
                    f"sum by (le) (increase(fsm_initialization_duration_seconds_bucket{{{HERE}}}[{WINDOW}]))", "{{le}}"
                ),
            ),
            ((0.5, "red"),),
        ),
        Panel(
            "Outbox Batch Processing",
            "From the claim of a batch to its mark. p95 is below 5 s, else OutboxBatchLatencyHigh fires. Points are traces.",
            "s",
            tuple(
                Line(_quantile(q, "outbox_batch_duration_seconds"), name, examples=True)
                for q, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
            ),
            ((5, "red"),),
        ),
        Gauge(
            "Cache Hit Rate",
            "Percent of the requests that were repeats with a known answer. Above 20 where clients repeat; healthy clients "
            "need not.",
            "percent",
            (
                Line(
                    _percent(f'fsm_cache_lookups_total{{result="hit", {HERE}}}', f"fsm_cache_lookups_total{{{HERE}}}"),
                    "hits",
                ),
            ),
            ((10, "yellow"), (20, "green")),
            below="red",
            width=6,
        ),
        Now(
            "Total FSM Operations",
            "Initiations since counting began, repeats aside.",
            "short",
            (Line(f"sum({_RESULTS})", "operations"),),
            below="blue",
            nothing="none",
            width=6,
        ),
        Panel(
            "Worker Fallback Activations",
            "How often layers 2 and 3 initialised a course. 0; above 10 in 5 minutes FallbackFrequencyHigh fires.",
            "short",
            (Line(f"sum by (layer) ({_RESCUES})", "layer {{layer}}"),),
            ((10, "red"),),
        ),
        Now(
            "Outbox Processor Health",
            "Whether a relay has come round within 90 s; of several namespaces, in each. After 5 minutes OutboxProcessorStalled "
            "fires.",
            "none",
            (
                Line(
                    f"min(time() - max by (namespace) (outbox_last_progress_timestamp_seconds{{{HERE}}} >= 0) <= bool 90)",
                    "relay",
                ),
            ),
            ((1, "green"),),
            below="red",
            words=((1, "alive", "green"), (0, "stopped", "red")),
            nothing="never seen",
            width=4,
        ),
        Table(
            "Recent FSM Failures",
            "The last ten, the newest first. Each course's history says more.",
            "dateTimeAsIso",
            (Line(f"max by (course, reason) (fsm_recent_failure_timestamp_seconds{{{HERE}}}) * 1000", "failure"),),
            below="text",
            columns=(("course", "Course"), ("reason", "Reason")),
            value="When",
            nothing="none",
            width=16,
        ),
        Now(
            "System Health Check",
            "metrics.healthCheck, of the api that sees it worst. When it fails SystemHealthCheckFailed fires.",
            "none",
            (Line(f"min(system_healthy{{{HERE}}})", "system"),),
            ((1, "green"),),
            below="red",
            words=((1, "healthy", "green"), (0, "unhealthy", "red")),
            nothing="no api",
            width=4,
        ),
    ),
)
