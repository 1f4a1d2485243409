"""The product's own objectives (contract.md n, D31), as `spec.slos` of a policy has them.

`config/objectives.yml` and the chart's policy are made of them. A percentile below a limit is an objective, too:
p95 below 500 ms says that 95 of 100 take no longer. How often the api answers without a 5xx is the objective of preset `api`.
"""

from __future__ import annotations

from typing import Any, Final

from operators.coursegen_operator.alerts.rules.api import OTHERS

W: Final = "[{{.window}}]"


def _slo(name: str, objective: str, errors: str, total: str) -> dict[str, Any]:
    return {
        "name": name,
        "objective": objective,
        "window": "30d",
        "absent": False,  # without traffic there is nothing to miss
        "sli": {"events": {"errorQuery": errors, "totalQuery": total}},
    }


def _joined(*matchers: str) -> str:
    given = ",".join(each for each in matchers if each)
    return f"{{{given}}}" if given else ""


def _longer_than(limit: str, series: str, *matchers: str) -> tuple[str, str]:
    """Errors and total of a histogram whose bucket `limit` is the longest that is good."""
    good = f"{series}_bucket" + _joined(f'le="{limit}"', *matchers)
    total = f"sum by (namespace) (rate({series}_count{_joined(*matchers)}{W}))"
    return f"{total} - sum by (namespace) (rate({good}{W}))", total


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
    )


KPIS: Final = kpis()
