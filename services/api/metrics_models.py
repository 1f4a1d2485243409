"""The bodies of the five `metrics.*` routes (contract.md i). `metrics_view` makes them; these types describe them.

Durations are milliseconds unless a name says otherwise; rates are percentages, ratios go from 0 to 1.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from services.api.models import ErrorBody


class _Numbers(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Nothing but what is described."""


class DurationNumbers(_Numbers, frozen=True, kw_only=True):
    """How long something took, in milliseconds; all 0 before it has happened."""

    count: float
    mean: float
    p50: float
    p95: float
    p99: float


class FsmNumbers(_Numbers, frozen=True, kw_only=True):
    """How initiations went. Replays are cache hits and no operations."""

    total: float
    success: float
    failed: float
    initiated: float
    succeeded: float
    cache_hits: float
    cache_misses: float
    success_rate: float
    failure_rate: float
    cache_hit_rate: float
    success_ratio: float
    failure_ratio: float
    cache_hit_ratio: float
    durations: DurationNumbers
    avg_duration: float


class OutboxHealth(_Numbers, frozen=True, kw_only=True):
    """Whether the relay lives, and how much waits for it."""

    alive: bool
    last_processed: datetime | None
    queue_depth: int
    poll_interval: int
    """Milliseconds."""


class OutboxNumbers(_Numbers, frozen=True, kw_only=True):
    """How the outbox and its relay are."""

    batches_processed: float
    jobs_created: float
    jobs_failed: float
    pending: int
    processed: float
    failed: float
    failure_rate: float
    failure_ratio: float
    oldest_pending_seconds: float
    durations: DurationNumbers
    avg_processing_time: float
    """Seconds."""
    health: OutboxHealth


class FallbackNumbers(_Numbers, frozen=True, kw_only=True):
    """How often Layers 2 and 3 had to step in."""

    layer2_activations: float
    layer3_activations: float
    recent_activations: int
    layer2_success: float
    layer2_failed: float
    layer3_success: float
    layer3_failed: float
    durations: DurationNumbers


class HealthChecks(_Numbers, frozen=True, kw_only=True):
    """The four criteria; null where PostgreSQL, which knows, does not answer."""

    outbox_alive: bool
    fsm_success_rate: float | None
    queue_depth: int | None
    last_processed_ok: bool


class Health(_Numbers, frozen=True, kw_only=True):
    """Whether the system as a whole is healthy; the criteria nested and flat."""

    healthy: bool
    checks: HealthChecks
    outbox_alive: bool
    fsm_success_rate: float | None
    queue_depth: int | None
    last_processed_ok: bool
    error: ErrorBody | UnsetType = UNSET


class AllNumbers(_Numbers, frozen=True, kw_only=True):
    """Everything at once."""

    fsm: FsmNumbers
    outbox: OutboxNumbers
    fallbacks: FallbackNumbers
    health_check: Health
