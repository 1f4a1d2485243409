"""The dashboard of the objectives: what is left of each budget of errors, how fast it goes, and the figures themselves.

The first two panels ask for series that `config/objectives.yml`, `config/alerts-coursegen.yml` or an AlertPolicy records.
"""

from __future__ import annotations

from typing import Final

from grafana import HERE, WINDOW, Bars, Dashboard, Line, Panel

BUDGETS: Final = (
    ("coursegen-api", "0.001"),
    ("fsm-success", "0.01"),
    ("api-latency", "0.05"),
    ("fsm-latency", "0.05"),
    ("outbox-batch-latency", "0.05"),
    ("fallbacks", "0.01"),
    ("messages", "0.001"),
    ("orchestration", "0.05"),
    ("queue-depth", "0.05"),
    ("message-lag", "0.05"),
    ("uptime", "0.001"),
    ("restarts", "0.001"),
    ("cache-hits", "0.8"),
)
"""Each objective's share of errors that may be."""


def _p95(series: str, *matchers: str) -> str:
    return f"histogram_quantile(0.95, sum by (le) (rate({series}_bucket{{{', '.join([*matchers, HERE])}}}[{WINDOW}])))"


def _left(slo: str, budget: str) -> str:
    """Percent of the budget of 30 days; below 0 it is overdrawn."""
    return f'100 * (1 - max(avg_over_time(slo:sli_error:ratio_rate5m{{slo="{slo}", {HERE}}}[30d])) / {budget})'


_STAGES: Final = "stage_job_duration_seconds_bucket"
_RESCUES: Final = f"sum(max by (namespace, layer, result) (rate(fallback_activations_total{{{HERE}}}[1h])))"
_JOBS: Final = f'sum(max by (namespace) (rate(outbox_jobs_total{{result="created", {HERE}}}[1h])))'
_HITS: Final = f'sum(increase(fsm_cache_lookups_total{{result="hit", {HERE}}}[1h]))'

OBJECTIVES: Final = Dashboard(
    file="objectives-dashboard.json",
    uid="coursegen-objectives",
    title="coursegen: Objectives",
    description="Whether coursegen keeps what it promises, and how much may still go wrong.",
    tags=("coursegen", "slo"),
    namespaces="fsm_initializations_total",
    panels=(
        Bars(
            "Error Budget Left",
            "Percent of each objective's budget of the last 30 days, where its namespace has least. At 0 it is used up.",
            "percent",
            tuple(Line(_left(slo, budget), slo) for slo, budget in BUDGETS),
            ((0.001, "orange"), (25, "yellow"), (50, "green")),
            below="red",
            nothing="no traffic, or not recorded",
        ),
        Panel(
            "Burn Rate",
            "How fast the budget goes, over an hour: at 1 it lasts its 30 days, above 14.4 a page is due.",
            "short",
            tuple(
                Line(f'max(slo:sli_error:ratio_rate1h{{slo="{slo}", {HERE}}}) / {budget}', slo)
                for slo, budget in BUDGETS
            ),
            ((1, "yellow"), (6, "orange"), (14.4, "red")),
        ),
        Panel(
            "API Latency",
            "p95 of all requests but the health check's; below 500 ms. Points are traces.",
            "s",
            (Line(_p95("http_request_duration_seconds", 'route!~"health_check|outbox_health"'), "p95", examples=True),),
            ((0.5, "red"),),
        ),
        Panel(
            "Initiation and Batch Latency",
            "p95 of an initiation, below 500 ms, and of a batch of the outbox, below 5 s.",
            "s",
            (
                Line(_p95("fsm_initialization_duration_seconds"), "initiation"),
                Line(_p95("outbox_batch_duration_seconds"), "batch"),
            ),
            ((0.5, "yellow"), (5, "red")),
        ),
        Panel(
            "Stage Latency",
            "p95 from a job's delivery to its outcome, by kind of job that there was. Points are traces.",
            "s",
            (
                Line(
                    f"histogram_quantile(0.95, sum by (job_type, le) (rate({_STAGES}{{{HERE}}}[{WINDOW}]))) >= 0",
                    "{{job_type}}",
                    examples=True,
                ),
            ),
        ),
        Panel(
            "Fallbacks Among Jobs",
            "Share of the jobs of the last hour for which layer 2 or 3 stepped in; below 1 %.",
            "percentunit",
            (Line(f"{_RESCUES} / ({_JOBS} > 0)", "fallbacks"),),
            ((0.01, "red"),),
        ),
        Panel(
            "Replays Among Requests",
            "Share of the requests of the last hour that were repeats; 20 % and more where clients repeat.",
            "percentunit",
            (Line(f"{_HITS} / (sum(increase(fsm_cache_lookups_total{{{HERE}}}[1h])) > 0)", "replays"),),
        ),
        Panel(
            "Restarts",
            "Processes that began anew within the last day. 0 over 72 hours.",
            "short",
            (Line(f"sum by (job) (changes(process_start_time_seconds{{{HERE}}}[1d]))", "{{job}}"),),
            ((1, "yellow"),),
        ),
    ),
)
