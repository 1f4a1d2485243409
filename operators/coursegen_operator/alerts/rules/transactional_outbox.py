"""Group `transactional_outbox`: the eleven of contract.md (j).

The figures are the api's: what all processes have counted, on every api's page of metrics (GAP11). Shares are the same however
many apis show them; amounts are those of one. Without traffic a share is nought by nought, which is above no limit.
"""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import DEAD_ROWS, PLACE, Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form


def _share(of: str, whole: str, window: str = "@window") -> str:
    """Series `of` among `whole`, per namespace."""
    return f"sum by (namespace) (rate({of}[{window}])) / sum by (namespace) (rate({whole}[{window}]))"


_JOBS: Final = _share(
    'stage_jobs_total{result="failed"@and_here}', 'stage_jobs_total{result=~"applied|failed"@and_here}'
)
_RESCUES: Final = _share(
    'fallback_activations_total{layer="3",result="failed"@and_here}', 'fallback_activations_total{layer="3"@and_here}'
)

ALERTS: Final = (
    Alert(
        "FsmFailureRateHigh",
        "critical",
        _share('fsm_initializations_total{result="failed"@and_here}', "fsm_initializations_total@here")
        + " > @failureRatio",
        f"More than @failureRatio_percent of initiations fail{PLACE}",
        "{{ $value | humanizePercentage }} of the initiations of the last @window failed; the limit is "
        "@failureRatio_percent. Each left its reason in the api's log. Next: @kubectl logs -l "
        "app.kubernetes.io/component=api --since=10m --tail=-1",
    ),
    Alert(
        "OutboxQueueDepthHigh",
        "critical",
        "max by (namespace) (outbox_queue_depth@here) > @queueDepth",
        f"More than @queueDepth rows wait in the outbox{PLACE}",
        "{{ $value | humanize }} rows of job_outbox are not in Redis yet; the limit is @queueDepth. The relay is stopped "
        "or slow, Redis is away or full, or workers are too few. Next: @kubectl logs -l "
        "app.kubernetes.io/component=outbox-relay --tail=50",
    ),
    Alert(
        "OutboxProcessorStalled",
        "critical",
        "time() - max by (namespace) (outbox_last_progress_timestamp_seconds@here) > @stalledSeconds\n"
        "or on (namespace)\n"
        "(\n"
        "  max by (namespace) (outbox_oldest_pending_seconds@here) > @stalledSeconds\n"
        "  unless on (namespace) max by (namespace) (outbox_last_progress_timestamp_seconds@here >= 0)\n"
        ")",
        f"The outbox has not been looked at for more than @stalledSeconds s{PLACE}",
        "The relay's loop last came round {{ $value | humanizeDuration }} ago; the limit is @stalledSeconds s. Courses are "
        "accepted and wait in PostgreSQL. Next: @kubectl get pods -l app.kubernetes.io/component=outbox-relay",
        hold="0s",
    ),
    Alert(
        "WorkerFailureRateHigh",
        "critical",
        "max by (namespace) (\n"
        f'  label_replace({_JOBS}, "of", "stage jobs", "", "")\n'
        "  or\n"
        f'  label_replace({_RESCUES}, "of", "rescues of layer 3", "", "")\n'
        ") > @workerFailureRatio",
        f"More than @workerFailureRatio_percent of the workers' jobs or rescues fail{PLACE}",
        "{{ $value | humanizePercentage }} of the stage jobs, or of layer 3's rescues, of the last @window failed; the "
        "limit is @workerFailureRatio_percent. Next: @kubectl logs -l @workers --since=10m --tail=-1",
    ),
    Alert(
        "SystemHealthCheckFailed",
        "critical",
        "min by (namespace) (system_healthy@here) == 0",
        f"The health check fails{PLACE}",
        "At least one api answers metrics.healthCheck with healthy: false: the relay is silent, rows wait without "
        "progress, too many wait, initiations fail, or PostgreSQL does not answer. The body says which. "
        "Next: @kubectl logs -l app.kubernetes.io/component=api --since=10m --tail=-1",
    ),
    Alert(
        "CacheHitRateLow",
        "warning",
        _share('fsm_cache_lookups_total{result="hit"@and_here}', "fsm_cache_lookups_total@here", "@cacheWindow")
        + " < @cacheHitRatio\nand on (namespace)\n"
        'max by (namespace) (increase(fsm_cache_lookups_total{result="hit"@and_here}[@cacheWindow])) >= '
        "@cacheMinimumReplays",
        f"Fewer than @cacheHitRatio_percent of requests are replays{PLACE}",
        "{{ $value | humanizePercentage }} of the requests of the last @cacheWindow were repeats with a known answer; the "
        "limit is @cacheHitRatio_percent. That tells of clients, not of a fault: they repeat little, or with new keys. "
        "Next: @kubectl logs -l app.kubernetes.io/component=api --since=10m --tail=-1",
        is_on=False,
    ),
    Alert(
        "FsmLatencyHigh",
        "warning",
        "histogram_quantile(0.95, sum by (namespace, le) "
        "(rate(fsm_initialization_duration_seconds_bucket@here[@window]))) * 1000 > @latencyMillis",
        f"Initiations take longer than @latencyMillis ms at p95{PLACE}",
        '{{ $value | printf "%.0f" }} ms is the 95th percentile of the last @window; the limit is @latencyMillis ms. It is '
        "the time of one "
        "transaction in PostgreSQL. Next: @kubectl top pods",
    ),
    Alert(
        "OutboxFailureRateHigh",
        "warning",
        _share('outbox_jobs_total{result="failed"@and_here}', "outbox_jobs_total@here") + " > @outboxFailureRatio",
        f"More than @outboxFailureRatio_percent of outbox rows fail{PLACE}",
        "{{ $value | humanizePercentage }} of the rows of the last @window became dead letters; the limit is "
        "@outboxFailureRatio_percent. Their reasons are in last_error. " + DEAD_ROWS,
    ),
    Alert(
        "OutboxBatchLatencyHigh",
        "warning",
        "histogram_quantile(0.95, sum by (namespace, le) "
        "(rate(outbox_batch_duration_seconds_bucket@here[@window]))) > @batchLatencySeconds",
        f"Batches of the outbox take longer than @batchLatencySeconds s at p95{PLACE}",
        "{{ $value | humanizeDuration }} is the 95th percentile of the last @window; the limit is @batchLatencySeconds s. "
        "A batch is read from PostgreSQL, put into Redis and marked. Next: @kubectl top pods",
    ),
    Alert(
        "FallbackFrequencyHigh",
        "warning",
        "sum by (namespace) (max by (namespace, layer, result) "
        "(increase(fallback_activations_total@here[@fallbackWindow]))) > @fallbackActivations",
        f"Layers 2 and 3 step in more than @fallbackActivations times in @fallbackWindow{PLACE}",
        '{{ $value | printf "%.0f" }} courses were initialised by a worker in the last @fallbackWindow; the limit is '
        "@fallbackActivations. "
        "Something writes outbox rows without going through the api. "
        "Next: @kubectl logs -l @workers --since=10m --tail=-1",
        hold="0s",
    ),
    Alert(
        "Layer2FailureRateHigh",
        "warning",
        _share(
            'fallback_activations_total{layer="2",result="failed"@and_here}',
            'fallback_activations_total{layer="2"@and_here}',
        )
        + " > @layer2FailureRatio",
        f"More than @layer2FailureRatio_percent of layer 2's rescues fail{PLACE}",
        "{{ $value | humanizePercentage }} of layer 2's attempts of the last @window to initialise a course failed; the "
        "limit is @layer2FailureRatio_percent. Layer 3 tries again when the job runs. "
        "Next: @kubectl logs -l @workers --since=10m --tail=-1",
    ),
)

PRESET: Final = Preset(
    name="transactionalOutbox",
    group="transactional_outbox",
    doc="The eleven alerts on initiations, the outbox, rescues and health.",
    alerts=ALERTS,
    figures=(
        Figure("window", Form.WINDOW, "5m", "How far shares and percentiles look back."),
        Figure("failureRatio", Form.RATIO, "0.05", "FsmFailureRateHigh: share of initiations that may fail."),
        Figure("queueDepth", Form.COUNT, 1000, "OutboxQueueDepthHigh: rows that may wait."),
        Figure("stalledSeconds", Form.SECONDS, 300, "OutboxProcessorStalled: seconds without a look at the outbox."),
        Figure(
            "workerFailureRatio", Form.RATIO, "0.2", "WorkerFailureRateHigh: share of jobs, or rescues, that may fail."
        ),
        Figure("cacheWindow", Form.WINDOW, "1h", "CacheHitRateLow: how far it looks back."),
        Figure("cacheHitRatio", Form.RATIO, "0.2", "CacheHitRateLow: least share of replays."),
        Figure("cacheMinimumReplays", Form.COUNT, 100, "CacheHitRateLow: replays below which nothing is judged."),
        Figure("latencyMillis", Form.COUNT, 500, "FsmLatencyHigh: milliseconds that an initiation may take at p95."),
        Figure("outboxFailureRatio", Form.RATIO, "0.1", "OutboxFailureRateHigh: share of rows that may fail."),
        Figure("batchLatencySeconds", Form.SECONDS, 5, "OutboxBatchLatencyHigh: seconds a batch may take at p95."),
        Figure("fallbackWindow", Form.WINDOW, "5m", "FallbackFrequencyHigh: how far it looks back."),
        Figure("fallbackActivations", Form.COUNT, 10, "FallbackFrequencyHigh: rescues in its window."),
        Figure("layer2FailureRatio", Form.RATIO, "0.2", "Layer2FailureRateHigh: share of rescues that may fail."),
    ),
)
