"""The metric about messages that more than one process counts (contract.md t), under the contract's name."""

from __future__ import annotations

from typing import Final

from services.kernel import metrics

IDEMPOTENCY_HITS: Final = metrics.counter(
    "idempotency_hit",
    "Repeats recognised: `ingress` when a message was posted again, `persist` when its row was there already",
    ["operation"],
)
