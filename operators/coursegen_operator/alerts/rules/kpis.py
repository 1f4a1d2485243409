"""The product's own objectives (contract.md n, D31, D32), as `spec.slos` of a policy has them.

`config/objectives.yml` and the chart's policy are made of them. A percentile below a limit is an objective, too:
p95 below 500 ms says that 95 of 100 take no longer. What is a state and no event is counted in minutes, of all that the window
has: of those that an installation has had, the first few bad ones would be most. How often the api answers without a 5xx is
the objective of preset `api`.

Those that an alert of its own pages about (depth, lag, health) or that follow from another (the whole of an initiation) open a
ticket only. Three targets of (n) have no series: docs/METRICS.md says what proves them.
"""

from __future__ import annotations

from typing import Any, Final

from operators.coursegen_operator.alerts.rules.api import OTHERS, REMEMBERED

W: Final = "[{{.window}}]"
BEGINNING: Final = 'route=~"initiate|generate"'
"""Requests that begin a course: what they take is what orchestration adds to its making. 0.25 is the bucket below its 300 ms."""
MINUTES: Final = "[{{.window}}:1m]"


def _slo(
    name: str, objective: str, errors: str, total: str, *, page: bool = True, ticket: bool = True
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "objective": objective,
        "window": "30d",
        "absent": False,  # without traffic there is nothing to miss
        "sli": {"events": {"errorQuery": errors, "totalQuery": total}},
    }
    return found | {kind: {"enabled": False} for kind, is_on in (("page", page), ("ticket", ticket)) if not is_on}


def _joined(*matchers: str) -> str:
    given = ",".join(each for each in matchers if each)
    return f"{{{given}}}" if given else ""


def _longer_than(limit: str, series: str, *matchers: str) -> tuple[str, str]:
    """Errors and total of a histogram whose bucket `limit` is the longest that is good."""
    good = f"{series}_bucket" + _joined(f'le="{limit}"', *matchers)
    total = f"sum by (namespace) (rate({series}_count{_joined(*matchers)}{W}))"
    return f"{total} - sum by (namespace) (rate({good}{W}))", total


def _minutes(bad: str, there: str) -> tuple[str, str]:
    """Errors and total of a state: `bad` is 1 or 0 at each moment at which `there` has a value, and the others are good."""
    whole = f"scalar(count_over_time(vector(1){MINUTES}))"
    return f"sum_over_time(({bad}){MINUTES})", f"clamp_min(count_over_time(({there}){MINUTES}), {whole})"


def _above(limit: int, gauge: str) -> tuple[str, str]:
    """Errors and total of a gauge that is good below `limit`."""
    worst = f"max by (namespace) ({gauge})"
    return _minutes(f"{worst} >= bool {limit}", worst)


def _states(here: str) -> tuple[dict[str, Any], ...]:
    """Depth, lag, uptime, restarts."""
    ours = "coursegen_build_info" + _joined('process!="operator"', here)
    # Also where nothing runs any more: nobody who is gone says that he is missed.
    there = f"max by (namespace) (last_over_time({ours}[{REMEMBERED}]))"
    healthy = f"max by (namespace) (system_healthy{_joined(here)})"
    began = f"process_start_time_seconds{_joined(here)}"
    # Two minutes each, however often it is scraped, and also of one that was away for five before it began anew; of one that
    # nobody has seen before it is the first start.
    anew = f"({began} != bool last_over_time({began}[5m] offset 2m) or 0 * {began}) and on (job, instance) {ours}"
    # A partition's owner shows its lag; while it has none, every api still knows what waits there.
    lag = f"stream_partition_lag{_joined(here)} or on (namespace, partition) stream_backlog_entries{_joined(here)}"
    return (
        _slo("queue-depth", "95", *_above(100, f"outbox_queue_depth{_joined(here)}"), page=False),
        _slo("message-lag", "95", *_above(500, lag), page=False),
        # While no api shows its verdict, processes say so that are there, or were lately.
        _slo("uptime", "99.9", *_minutes(f"{there} - ({healthy} or 0 * {there})", there), page=False),
        _slo("restarts", "99.9", *_minutes(f"max by (namespace) ({anew})", there), page=False),
    )


def _replays(here: str) -> dict[str, Any]:
    """Recorded, and no alert: clients that are well never repeat."""
    asked = "fsm_cache_lookups_total"
    missed, total = _joined('result="miss"', here), _joined(here)
    return _slo(
        "cache-hits",
        "20",
        f"sum by (namespace) (rate({asked}{missed}{W}))",
        f"sum by (namespace) (rate({asked}{total}{W}))",
        page=False,
        ticket=False,
    )


def kpis(here: str = "") -> tuple[dict[str, Any], ...]:
    """All of them; `here` is a matcher that every series gets besides, such as `namespace="courses"`."""
    begun, replaced = "fsm_initializations_total", "fallback_activations_total"
    failed, created = _joined('result="failed"', here), _joined('result="created"', here)
    taken = "stream_consumer_processed_total"
    dead, done = _joined('status="dead_letter"', here), _joined('status=~"success|duplicate|dead_letter"', here)
    return (
        _slo(
            "fsm-success",
            "99",
            f"sum by (namespace) (rate({begun}{failed}{W}))",
            f"sum by (namespace) (rate({begun}{_joined(here)}{W}))",
        ),
        _slo("api-latency", "95", *_longer_than("0.5", "http_request_duration_seconds", OTHERS, here)),
        _slo("fsm-latency", "95", *_longer_than("0.5", "fsm_initialization_duration_seconds", here)),
        _slo("outbox-batch-latency", "95", *_longer_than("5.0", "outbox_batch_duration_seconds", here)),
        _slo(
            "fallbacks",
            "99",
            f"sum by (namespace) (max by (namespace, layer, result) (rate({replaced}{_joined(here)}{W})))",
            f"max by (namespace) (rate(outbox_jobs_total{created}{W}))",
        ),
        _slo(
            "messages",
            "99.9",
            f"sum by (namespace) (rate({taken}{dead}{W}))",
            f"sum by (namespace) (rate({taken}{done}{W}))",
        ),
        _slo(
            "orchestration", "95", *_longer_than("0.25", "http_request_duration_seconds", BEGINNING, here), page=False
        ),
        *_states(here),
        _replays(here),
    )


KPIS: Final = kpis()
