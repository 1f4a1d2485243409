"""The product's own objectives (contract.md n), as `spec.slos` of a policy has them; `config/objectives.yml` is made of them.

A percentile below a limit is an objective, too: p95 below 500 ms says that 95 of 100 take no longer. How often the api answers
without a 5xx is the objective of preset `api`.
"""

from __future__ import annotations

from typing import Any, Final

from operators.coursegen_operator.alerts.rules.api import OTHERS

W: Final = "[{{.window}}]"


def _slo(name: str, objective: float, errors: str, total: str) -> dict[str, Any]:
    return {
        "name": name,
        "objective": objective,
        "window": "30d",
        "absent": False,  # without traffic there is nothing to miss
        "sli": {"events": {"errorQuery": errors, "totalQuery": total}},
    }


def _longer_than(limit: str, series: str, matchers: str = "") -> tuple[str, str]:
    """Errors and total of a histogram whose bucket `limit` is the longest that is good."""
    within = f'{series}_bucket{{le="{limit}"{"," if matchers else ""}{matchers}}}'
    total = f"sum by (namespace) (rate({series}_count{f'{{{matchers}}}' if matchers else ''}{W}))"
    return f"{total} - sum by (namespace) (rate({within}{W}))", total


KPIS: Final = (
    _slo(
        "fsm-success",
        99,
        f'sum by (namespace) (rate(fsm_initializations_total{{result="failed"}}{W}))',
        f"sum by (namespace) (rate(fsm_initializations_total{W}))",
    ),
    _slo("api-latency", 95, *_longer_than("0.5", "http_request_duration_seconds", OTHERS)),
    _slo("fsm-latency", 95, *_longer_than("0.5", "fsm_initialization_duration_seconds")),
    _slo("outbox-batch-latency", 95, *_longer_than("5.0", "outbox_batch_duration_seconds")),
    _slo(
        "fallbacks",
        99,
        f"sum by (namespace) (max by (namespace, layer, result) (rate(fallback_activations_total{W})))",
        f'max by (namespace) (rate(outbox_jobs_total{{result="created"}}{W}))',
    ),
)
