"""Group `coursegen_workers`: how long jobs wait for a worker, or for a queue to be resumed, and how many fail."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.alerts.rules.alert import PLACE, Alert, Preset
from operators.coursegen_operator.alerts.rules.figures import Figure, Form

ALERTS: Final = (
    Alert(
        "StageQueueLatencyHigh",
        "warning",
        # A queue that somebody has paused waits on purpose.
        "max by (namespace, queue) (queue_oldest_waiting_seconds@here) > @queueLatencySeconds\n"
        "unless on (namespace, queue) max by (namespace, queue) (queue_paused@here) == 1",
        f"A job waits in {{{{ $labels.queue }}}} for more than @queueLatencySeconds s{PLACE}",
        "The oldest job of {{ $labels.queue }} has waited {{ $value | humanizeDuration }} for a worker; the limit is "
        "@queueLatencySeconds s. Workers are stopped, busy or too few. "
        "Next: @kubectl get pods -l @workers",
        hold="2m",
    ),
    Alert(
        "StageQueuePaused",
        "warning",
        # By the age of what waits, not by how long it is paused: a change of leaders, who alone show it, would begin that anew.
        # An empty queue may be paused for as long as anybody likes.
        "max by (namespace, queue) (queue_oldest_waiting_seconds@here) > @pausedQueueSeconds\n"
        "and on (namespace, queue) max by (namespace, queue) (queue_paused@here) == 1",
        f"{{{{ $labels.queue }}}} is paused, and a job has waited in it for more than @pausedQueueSeconds s{PLACE}",
        "Somebody has paused {{ $labels.queue }}, and its oldest job has waited {{ $value | humanizeDuration }}; the limit is "
        "@pausedQueueSeconds s. Its courses stand still until somebody resumes it. "
        "Next: admin GET queues, a word of the runbook; or coursegen admin queues",
        hold="2m",
    ),
    Alert(
        "StageJobFailureRatioHigh",
        "warning",
        'sum by (namespace, job_type) (rate(stage_jobs_total{result="failed"@and_here}[@failureWindow])) / '
        'sum by (namespace, job_type) (rate(stage_jobs_total{result=~"applied|failed"@and_here}[@failureWindow]))'
        " > @failureRatio\n"
        "and on (namespace, job_type)\n"
        'sum by (namespace, job_type) (increase(stage_jobs_total{result=~"applied|failed"@and_here}[@failureWindow]))'
        " >= @minimumJobs",
        f"More than @failureRatio_percent of {{{{ $labels.job_type }}}} jobs fail{PLACE}",
        "{{ $value | humanizePercentage }} of the {{ $labels.job_type }} jobs of the last @failureWindow failed for good; "
        "the limit is @failureRatio_percent. Each failed course says why. "
        "Next: @kubectl logs -l @workers --since=15m --tail=-1",
    ),
)

PRESET: Final = Preset(
    name="workers",
    group="coursegen_workers",
    doc="Alerts on the workers: how long jobs wait, how many fail.",
    alerts=ALERTS,
    figures=(
        Figure("queueLatencySeconds", Form.SECONDS, 120, "StageQueueLatencyHigh: seconds a job may wait for a worker."),
        Figure("pausedQueueSeconds", Form.SECONDS, 3600, "StageQueuePaused: seconds a job may wait in a paused queue."),
        Figure("failureWindow", Form.WINDOW, "15m", "StageJobFailureRatioHigh: how far it looks back."),
        Figure("failureRatio", Form.RATIO, "0.05", "StageJobFailureRatioHigh: share of jobs that may fail."),
        Figure("minimumJobs", Form.COUNT, 20, "StageJobFailureRatioHigh: jobs below which nothing is judged."),
    ),
)
