"""What a worker is told about sending webhooks, beside what the api is told too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.kernel.settings import setting
from services.kernel.webhooks.settings import WebhookSettings

DEFAULT_DELAYS: Final[tuple[float, ...]] = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)
"""About a day in all."""

_MOST_ATTEMPTS = 50
_LONGEST_DELAY = 7 * 24 * 3600.0


def delays(text: str) -> tuple[float, ...]:
    """Seconds between attempts, separated by commas."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("must be seconds separated by commas, such as 5,30,120") from None
    if len(found) > _MOST_ATTEMPTS or not all(0 <= each <= _LONGEST_DELAY for each in found):
        raise ValueError(f"must be at most {_MOST_ATTEMPTS} numbers from 0 to {_LONGEST_DELAY:g} seconds")
    return found


@dataclass(frozen=True, kw_only=True)
class DeliverySettings(WebhookSettings):
    """How webhooks are sent. Part of the worker's settings."""

    webhook_delays: tuple[float, ...] = setting(
        "WEBHOOK_RETRY_SECONDS",
        default=DEFAULT_DELAYS,
        parse=delays,
        unit="s",
        doc="pauses between attempts, one after each that failed; after the last the webhook is a dead letter",
    )
    webhook_seconds: float = setting(
        "WEBHOOK_TIMEOUT_SECONDS",
        default=15.0,
        unit="s",
        minimum=1,
        maximum=30,
        doc="time for one attempt in all: resolving, connecting, sending, answer",
    )
    webhook_ca_file: Path | None = setting(
        "WEBHOOK_CA_FILE",
        default=None,
        doc="PEM file with further authorities whose certificates receivers may have, for receivers inside",
    )
