"""What the five `metrics.*` routes show, made from the shared counters and the state of the outbox (contract.md i).

Durations are milliseconds unless a source named another unit; rates are percentages with ratios beside them (D17, D38).
With no traffic every rate is 0 and the system is healthy (TRAP18). What has no window of its own is counted since the counters
began; `window` holds the same numbers of the last minutes, and says of how many seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from services.api.recent_figures import Outcomes, Recent
from services.kernel.counters import Distribution, Durations, Snapshot
from services.kernel.errors import CoursegenError
from services.kernel.metrics import SECONDS_BUCKETS

ALIVE_WITHIN: Final = timedelta(seconds=90)
"""Oldest heartbeat of a relay that counts as alive (GAP25)."""

PROCESSED_WITHIN: Final = timedelta(minutes=5)
"""Oldest progress that is all right while rows wait."""

DEEPEST_QUEUE: Final = 1000
"""Most rows that may wait."""

LOWEST_SUCCESS: Final = 95.0
"""Least success rate of the last minutes, in percent, when there was traffic."""

_DEFAULT_POLL_MS = 1000


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The outbox and its relay at one moment, as PostgreSQL knows them."""

    queue_depth: int
    oldest_seconds: float
    holder: str | None
    heartbeat_at: datetime | None
    last_progress_at: datetime | None
    poll_interval_ms: int | None
    read_at: datetime
    dead_rows: int = 0
    """Of those that wait: such as nothing will try again by itself."""
    epoch: int | None = None
    """The term of the relay's leader; it rises with every change."""
    counted_at: datetime | None = None
    """When the counters that are shown beside it were read, which comes first."""

    @property
    def shown_at(self) -> datetime:
        """As of when all is shown: nothing of it is older."""
        return self.counted_at or self.read_at

    @property
    def is_alive(self) -> bool:
        """Whether a relay has lived lately; read from its heartbeat, not from this process (TRAP36)."""
        if self.holder is None or self.heartbeat_at is None:
            return False
        return self.read_at - self.heartbeat_at <= ALIVE_WITHIN

    @property
    def is_keeping_up(self) -> bool:
        """Whether nothing waits, or something was done about it lately."""
        if self.queue_depth == 0:
            return True
        return self.last_progress_at is not None and self.read_at - self.last_progress_at <= PROCESSED_WITHIN

    def health(self) -> dict[str, Any]:
        """`getOutbox.health`, which is also `/api/health/outbox` (D4)."""
        return {
            "alive": self.is_alive,
            "lastProcessed": self.last_progress_at,
            "queueDepth": self.queue_depth,
            "pollInterval": self.poll_interval_ms or _DEFAULT_POLL_MS,
            "readAt": self.shown_at,
        }


def fsm(counted: Snapshot, recent: Recent) -> dict[str, Any]:
    """`getFSM`: operations without replays, which are cache hits (TRAP14)."""
    shown = _initiations(counted)
    return {
        **shown,
        "initiated": shown["total"],
        "succeeded": shown["success"],
        "avgDuration": shown["durations"]["mean"],
        "readAt": counted.read_at,
        "window": {"seconds": round(recent.seconds, 3), **_initiations(recent.counted)},
    }


def _initiations(counted: Snapshot) -> dict[str, Any]:
    success, failed = counted.count("fsm_total", "success"), counted.count("fsm_total", "failed")
    hits, misses = counted.count("fsm_cache", "hit"), counted.count("fsm_cache", "miss")
    total = success + failed
    return {
        "total": total,
        "success": success,
        "failed": failed,
        "cacheHits": hits,
        "cacheMisses": misses,
        "successRate": _percent(success, total),
        "failureRate": _percent(failed, total),
        "cacheHitRate": _percent(hits, hits + misses),
        "successRatio": _ratio(success, total),
        "failureRatio": _ratio(failed, total),
        "cacheHitRatio": _ratio(hits, hits + misses),
        "durations": _durations(counted.durations("fsm_duration")),
    }


def outbox(counted: Snapshot, state: OutboxState, recent: Recent) -> dict[str, Any]:
    """`getOutbox`. A row flushed by hand is no job created (TRAP37): jobs are counted where they are queued."""
    shown = _batches(counted)
    return {
        **shown,
        "pending": state.queue_depth,
        "processed": shown["jobsCreated"],
        "failed": shown["jobsFailed"],
        "oldestPendingSeconds": round(state.oldest_seconds, 3),
        "avgProcessingTime": round(counted.durations("outbox_batch_duration").mean / 1000, 6),
        "health": state.health(),
        "readAt": state.shown_at,
        "window": {"seconds": round(recent.seconds, 3), **_batches(recent.counted)},
    }


def _batches(counted: Snapshot) -> dict[str, Any]:
    created, failed = counted.count("outbox_jobs", "created"), counted.count("outbox_jobs", "failed")
    return {
        "batchesProcessed": counted.count("outbox_batches"),
        "jobsCreated": created,
        "jobsFailed": failed,
        "failureRate": _percent(failed, created + failed),
        "failureRatio": _ratio(failed, created + failed),
        "durations": _durations(counted.durations("outbox_batch_duration")),
    }


def fallbacks(counted: Snapshot, last_day: int, recent: Recent) -> dict[str, Any]:
    """`getFallbacks`: how often Layers 2 and 3 fired, and how that ended (GAP32); `last_day` is what they did in 24 hours."""
    return {
        **_activations(counted),
        "recentActivations": last_day,
        "readAt": counted.read_at,
        "window": {"seconds": round(recent.seconds, 3), **_activations(recent.counted)},
    }


def _activations(counted: Snapshot) -> dict[str, Any]:
    ends = {
        f"{layer}{outcome.capitalize()}": counted.count("fallback", f"{layer}:{outcome}")
        for layer in ("layer2", "layer3")
        for outcome in ("success", "failed")
    }
    return {
        "layer2Activations": ends["layer2Success"] + ends["layer2Failed"],
        "layer3Activations": ends["layer3Success"] + ends["layer3Failed"],
        **ends,
        "durations": _durations(counted.durations("fallback_duration")),
    }


def health_check(recent: Outcomes, state: OutboxState) -> dict[str, Any]:
    """`healthCheck`: four criteria, nested and flat (D18). The success rate is that of the last minutes, not of all time."""
    initiations = recent.success + recent.failed
    rate = _percent(recent.success, initiations)
    checks = {
        "outboxAlive": state.is_alive,
        "fsmSuccessRate": rate,
        "queueDepth": state.queue_depth,
        "lastProcessedOk": state.is_keeping_up,
    }
    succeeds = rate >= LOWEST_SUCCESS or initiations == 0
    healthy = state.is_alive and state.is_keeping_up and state.queue_depth <= DEEPEST_QUEUE and succeeds
    return {"healthy": healthy, "checks": checks, **checks, "readAt": state.shown_at}


def health_unknown(error: CoursegenError) -> dict[str, Any]:
    """`healthCheck` while PostgreSQL, which knows the numbers, does not answer: the same keys, and the `error` beside them."""
    checks = {"outboxAlive": False, "fsmSuccessRate": None, "queueDepth": None, "lastProcessedOk": False}
    return {
        "healthy": False,
        "checks": checks,
        **checks,
        "readAt": None,
        "error": {"code": error.code, "message": error.message, "details": error.details},
    }


def exposition(counted: Snapshot, recent: Outcomes, state: OutboxState, failures: Sequence[Any]) -> str:
    """The same numbers in Prometheus' text format, under the names of GAP11 (TRAP4)."""
    lines: list[str] = []
    fsm_counts = {f'result="{each}"': counted.count("fsm_total", each) for each in ("success", "failed")}
    family(lines, "fsm_initializations_total", "counter", "Initiations, replays aside, by result", fsm_counts)
    _histogram(
        lines, "fsm_initialization_duration_seconds", "Time of an initiation", counted.distribution("fsm_duration")
    )
    cache_counts = {f'result="{each}"': counted.count("fsm_cache", each) for each in ("hit", "miss")}
    family(lines, "fsm_cache_lookups_total", "counter", "Initiations by whether they were replays", cache_counts)
    _outbox_families(lines, counted, state)
    fallback_counts = {
        f'layer="{layer[-1]}",result="{result}"': counted.count("fallback", f"{layer}:{result}")
        for layer in ("layer2", "layer3")
        for result in ("success", "failed")
    }
    family(lines, "fallback_activations_total", "counter", "Times that Layer 2 or 3 stepped in", fallback_counts)
    durations = counted.distribution("fallback_duration")
    _histogram(lines, "fallback_duration_seconds", "Time that Layer 2 or 3 took to initialise a course", durations)
    healthy = int(health_check(recent, state)["healthy"])
    family(lines, "system_healthy", "gauge", _HEALTHY_DOC, {"": healthy})
    slots = {
        f'slot="{slot}",course="{row["entity_id"]}",reason="{_label(row["reason"])}"': row["at"]
        for slot, row in enumerate(failures)
    }
    family(lines, "fsm_recent_failure_timestamp_seconds", "gauge", "When the ten latest failures happened", slots)
    return "\n".join(lines) + "\n"


def _outbox_families(lines: list[str], counted: Snapshot, state: OutboxState) -> None:
    family(lines, "outbox_queue_depth", "gauge", "Outbox rows not processed", {"": state.queue_depth})
    family(lines, "outbox_dead_rows", "gauge", "Outbox rows that nothing will try again", {"": state.dead_rows})
    family(
        lines, "outbox_oldest_pending_seconds", "gauge", "Age of the oldest row still to go", {"": state.oldest_seconds}
    )
    job_counts = {f'result="{each}"': counted.count("outbox_jobs", each) for each in ("created", "failed")}
    family(lines, "outbox_jobs_total", "counter", "Outbox rows settled, by result", job_counts)
    durations = counted.distribution("outbox_batch_duration")
    _histogram(lines, "outbox_batch_duration_seconds", "From claim to mark of one batch", durations)
    progress = {"": state.last_progress_at.timestamp()} if state.last_progress_at else {}
    family(lines, "outbox_last_progress_timestamp_seconds", "gauge", "When the relay last came round", progress)
    family(lines, "outbox_relay_epoch", "gauge", "Term of the relay's leader", {"": state.epoch or 0})


_HEALTHY_DOC: Final = "1 while the system as a whole is healthy, by four criteria"
UNHEALTHY: Final = f"# HELP system_healthy {_HEALTHY_DOC}\n# TYPE system_healthy gauge\nsystem_healthy 0\n"
"""All that can be shown while PostgreSQL does not answer."""


def family(lines: list[str], name: str, kind: str, doc: str, values: Mapping[str, float]) -> None:
    """Add a family of Prometheus' text format: its values by their labels, as they are written there."""
    lines += (f"# HELP {name} {doc}", f"# TYPE {name} {kind}")
    lines.extend(f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values.items())


def _histogram(lines: list[str], name: str, doc: str, measured: Distribution) -> None:
    """Cumulative, under the limits that every process uses: so that sums over processes and these are of one kind."""
    limits = {f'le="{limit}"': measured.within(limit) for limit in SECONDS_BUCKETS}
    lines += (f"# HELP {name} {doc}", f"# TYPE {name} histogram")
    lines.extend(f"{name}_bucket{{{limit}}} {count}" for limit, count in limits.items())
    lines.append(f'{name}_bucket{{le="+Inf"}} {measured.count}')
    lines.append(f"{name}_sum {measured.seconds}")
    lines.append(f"{name}_count {measured.count}")


def _label(text: str | None) -> str:
    return (text or "")[:200].replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _durations(durations: Durations) -> dict[str, float]:
    return {
        "count": durations.count,
        "mean": round(durations.mean, 3),
        "p50": round(durations.p50, 3),
        "p95": round(durations.p95, 3),
        "p99": round(durations.p99, 3),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 4) if whole else 0.0
