"""The bodies of the five `metrics.*` routes (contract.md i). `metrics_view` makes them; these types describe them.

Durations are milliseconds unless a name says otherwise; rates are percentages, ratios go from 0 to 1. Everything is counted
over all processes since the counters began; `window` has the same of the last minutes.
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

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


class FsmWindow(_Numbers, frozen=True, kw_only=True):
    """How initiations went lately."""

    seconds: float
    """How long the window is: 900 and up to a minute more, less where no process has remembered anything older."""
    total: int
    success: int
    failed: int
    cache_hits: int
    cache_misses: int
    success_rate: float
    failure_rate: float
    cache_hit_rate: float
    success_ratio: float
    failure_ratio: float
    cache_hit_ratio: float
    durations: DurationNumbers


class FsmNumbers(_Numbers, frozen=True, kw_only=True):
    """How initiations went. Replays are cache hits and no operations."""

    total: int
    success: int
    failed: int
    initiated: int
    succeeded: int
    cache_hits: int
    cache_misses: int
    success_rate: float
    failure_rate: float
    cache_hit_rate: float
    success_ratio: float
    failure_ratio: float
    cache_hit_ratio: float
    durations: DurationNumbers
    avg_duration: float
    read_at: datetime
    """When all of it was read: within the last second."""
    window: FsmWindow


class OutboxHealth(_Numbers, frozen=True, kw_only=True):
    """Whether the relay lives, and how much waits for it."""

    alive: bool
    last_processed: datetime | None
    queue_depth: int
    poll_interval: int
    """Milliseconds."""
    read_at: datetime
    """When the rows were counted: within the last second, or the last ten while more than 1000 wait."""


class OutboxWindow(_Numbers, frozen=True, kw_only=True):
    """What the relay did lately."""

    seconds: float
    """As that of the initiations."""
    batches_processed: int
    jobs_created: int
    jobs_failed: int
    failure_rate: float
    failure_ratio: float
    durations: DurationNumbers


class OutboxNumbers(_Numbers, frozen=True, kw_only=True):
    """How the outbox and its relay are."""

    batches_processed: int
    jobs_created: int
    jobs_failed: int
    pending: int
    processed: int
    failed: int
    failure_rate: float
    failure_ratio: float
    oldest_pending_seconds: float
    durations: DurationNumbers
    avg_processing_time: float
    """Seconds."""
    health: OutboxHealth
    read_at: datetime
    """When all of it was read: within the last second, or the last ten while more than 1000 rows wait."""
    window: OutboxWindow


class FallbackWindow(_Numbers, frozen=True, kw_only=True):
    """How often they had to lately."""

    seconds: float
    """As that of the initiations."""
    layer2_activations: int
    layer3_activations: int
    layer2_success: int
    layer2_failed: int
    layer3_success: int
    layer3_failed: int
    durations: DurationNumbers


class FallbackNumbers(_Numbers, frozen=True, kw_only=True):
    """How often Layers 2 and 3 had to step in."""

    layer2_activations: int
    layer3_activations: int
    recent_activations: int
    """Of the last 24 hours."""
    layer2_success: int
    layer2_failed: int
    layer3_success: int
    layer3_failed: int
    durations: DurationNumbers
    read_at: datetime
    """When all of it was read: within the last second."""
    window: FallbackWindow


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
    read_at: datetime | None
    """When it was judged: within the last second, or the last ten while PostgreSQL is slow or very many rows wait; null where
    PostgreSQL does not answer."""
    error: ErrorBody | UnsetType = UNSET


class AllNumbers(_Numbers, frozen=True, kw_only=True):
    """Everything at once."""

    fsm: FsmNumbers
    outbox: OutboxNumbers
    fallbacks: FallbackNumbers
    health_check: Health
    read_at: datetime
    """When all of it was read: within the last second, or the last ten while more than 1000 rows wait."""
