"""Every field of contract.md (i), from counters and the state of the outbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from services.api import metrics_models, metrics_view
from services.api.metrics_view import OutboxState
from services.api.recent_figures import Outcomes, Recent
from services.kernel.counters import Snapshot, bucket_of
from services.kernel.errors import DatabaseUnavailable

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def state(**changes: Any) -> OutboxState:
    """A relay that lives and an empty queue."""
    fields: dict[str, Any] = {
        "queue_depth": 0,
        "oldest_seconds": 0.0,
        "holder": "relay-1",
        "heartbeat_at": NOW - timedelta(seconds=1),
        "last_progress_at": NOW - timedelta(seconds=1),
        "poll_interval_ms": 2000,
        "read_at": NOW,
        **changes,
    }
    return OutboxState(**fields)


def counted(**counts: float) -> Snapshot:
    """Counters, as `name__label=value`."""
    values: dict[tuple[str, str, int], float] = {}
    for name, value in counts.items():
        base, _, label = name.partition("__")
        values[base, label.replace("_", ":"), 0] = value
    return Snapshot(values, NOW)


NOTHING = Recent(0.0, counted())
"""A window in which nothing happened."""


def test_fsm_counts_operations_without_replays() -> None:
    """Two requests, one of them a repeat: total 1, hits 1, misses 1 (smoke test 7, TRAP14); names of both sources."""
    shown = metrics_view.fsm(counted(fsm_total__success=1, fsm_cache__hit=1, fsm_cache__miss=1), NOTHING)

    assert {key: shown[key] for key in ("total", "success", "failed", "cacheHits", "cacheMisses")} == {
        "total": 1,
        "success": 1,
        "failed": 0,
        "cacheHits": 1,
        "cacheMisses": 1,
    }
    assert (shown["initiated"], shown["succeeded"]) == (1, 1)
    assert (shown["successRate"], shown["failureRate"], shown["cacheHitRate"]) == (100, 0, 50)


def test_rates_are_percentages_with_ratios_beside_them() -> None:
    """D17: 2 of 1000 failed is 0.2 percent and 0.002."""
    shown = metrics_view.fsm(
        counted(fsm_total__success=998, fsm_total__failed=2, fsm_cache__hit=35, fsm_cache__miss=65), NOTHING
    )

    assert (shown["failureRate"], shown["failureRatio"]) == (0.2, 0.002)
    assert (shown["cacheHitRate"], shown["cacheHitRatio"]) == (35, 0.35)


def test_durations_are_milliseconds() -> None:
    """p50, p95, p99 and the mean."""
    values = {("fsm_duration", "", bucket_of(85.0)): 10.0, ("fsm_duration", "", -1): 850.0}
    shown = metrics_view.fsm(Snapshot(values), NOTHING)

    assert shown["avgDuration"] == 85
    assert shown["durations"]["p95"] == pytest.approx(85, rel=0.06)
    assert set(shown["durations"]) >= {"p50", "p95", "p99"}


def test_the_outbox_shows_the_names_of_both_sources() -> None:
    """000's and 002's, and its relay's health."""
    values = {("outbox_batch_duration", "", bucket_of(1200.0)): 1.0, ("outbox_batch_duration", "", -1): 1200.0}
    numbers = {("outbox_jobs", "created", 0): 7.0, ("outbox_jobs", "failed", 0): 1.0, ("outbox_batches", "", 0): 3.0}
    shown = metrics_view.outbox(Snapshot({**values, **numbers}), state(queue_depth=4, oldest_seconds=1.5), NOTHING)

    assert (shown["batchesProcessed"], shown["jobsCreated"], shown["jobsFailed"]) == (3, 7, 1)
    assert (shown["pending"], shown["processed"], shown["failed"]) == (4, 7, 1)
    assert shown["readAt"] == NOW
    assert shown["avgProcessingTime"] == 1.2
    assert shown["health"] == {
        "alive": True,
        "lastProcessed": NOW - timedelta(seconds=1),
        "queueDepth": 4,
        "pollInterval": 2000,
        "readAt": NOW,
    }


def test_fallbacks_count_both_layers_and_their_ends() -> None:
    """GAP32."""
    shown = metrics_view.fallbacks(
        counted(fallback__layer2_success=3, fallback__layer2_failed=1, fallback__layer3_success=2), 4, NOTHING
    )

    assert (shown["layer2Activations"], shown["layer3Activations"], shown["recentActivations"]) == (4, 2, 4)
    assert (shown["layer2Success"], shown["layer2Failed"]) == (3, 1)
    assert (shown["layer3Success"], shown["layer3Failed"]) == (2, 0)


def test_a_window_holds_the_numbers_of_the_last_minutes() -> None:
    """Its percentiles are those of what happened in it, and it says how long it is; what is beside it is of all time."""
    slow, quick = bucket_of(900.0), bucket_of(20.0)
    names = ("fsm_duration", "outbox_batch_duration", "fallback_duration")
    counts = {
        ("fsm_total", "success", 0): 3.0,
        ("outbox_jobs", "failed", 0): 3.0,
        ("fallback", "layer3:failed", 0): 3.0,
    }
    before = Snapshot(
        {(name, "", slow): 100.0 for name in names} | {(name, "", -1): 90_000.0 for name in names} | counts
    )
    more = {(name, "", quick): 10.0 for name in names} | {(name, "", -1): 90_200.0 for name in names}
    now = Snapshot({(name, "", slow): 100.0 for name in names} | more | dict.fromkeys(counts, 5.0))
    recent = Recent(612.3456, now.since(before))
    fsm, outbox = metrics_view.fsm(now, recent), metrics_view.outbox(now, state(), recent)
    fallbacks = metrics_view.fallbacks(now, 0, recent)

    for shown in (fsm, outbox, fallbacks):
        assert shown["durations"]["p95"] == pytest.approx(900, rel=0.06)
        assert shown["window"]["durations"]["p99"] == pytest.approx(20, rel=0.06)
        assert (shown["durations"]["count"], shown["window"]["durations"]["count"]) == (110, 10)
        assert shown["window"]["durations"]["mean"] == 20
        assert shown["window"]["seconds"] == 612.346
    assert (fsm["total"], fsm["window"]["total"], fsm["window"]["successRate"]) == (5, 2, 100)
    assert (outbox["jobsFailed"], outbox["window"]["jobsFailed"], outbox["window"]["failureRatio"]) == (5, 2, 1)
    assert (fallbacks["layer3Activations"], fallbacks["window"]["layer3Failed"]) == (5, 2)


@pytest.mark.parametrize("made", ["fsm", "outbox", "fallbacks", "healthCheck", "health"])
def test_what_is_shown_is_what_is_described(made: str) -> None:
    """Whole numbers are whole, and no key is undescribed or missing: the models are what clients are generated from."""
    numbers = counted(fsm_total__success=1, fallback__layer2_failed=1)
    shown, model = {
        "fsm": (metrics_view.fsm(numbers, NOTHING), metrics_models.FsmNumbers),
        "outbox": (metrics_view.outbox(numbers, state(), NOTHING), metrics_models.OutboxNumbers),
        "fallbacks": (metrics_view.fallbacks(numbers, 0, NOTHING), metrics_models.FallbackNumbers),
        "healthCheck": (metrics_view.health_check(Outcomes(), state()), metrics_models.Health),
        "health": (state().health(), metrics_models.OutboxHealth),
    }[made]

    assert msgspec.convert(shown, model) is not None


def test_everything_says_when_it_was_read() -> None:
    """Whoever divides by time needs it; of what nobody could read there is no time, and the key is there all the same."""
    unknown = metrics_view.health_unknown(DatabaseUnavailable("away"))
    shown = (
        metrics_view.fsm(counted(), NOTHING),
        metrics_view.outbox(counted(), state(), NOTHING),
        metrics_view.fallbacks(counted(), 0, NOTHING),
        metrics_view.health_check(Outcomes(), state()),
        state().health(),
    )
    later = state(read_at=NOW + timedelta(seconds=1), counted_at=NOW)
    together = (metrics_view.outbox(counted(), later, NOTHING), metrics_view.health_check(Outcomes(), later))

    assert {each["readAt"] for each in (*shown, *together, later.health())} == {NOW}
    assert unknown["readAt"] is None
    assert unknown.keys() - {"error"} == shown[3].keys()
    assert msgspec.convert(unknown, metrics_models.Health).read_at is None


def test_no_traffic_is_healthy() -> None:
    """TRAP18: a rate of 0 that nobody measured is no illness; the four criteria stand nested and flat."""
    shown = metrics_view.health_check(Outcomes(), state())

    assert shown["healthy"] is True
    assert shown["checks"] == {"outboxAlive": True, "fsmSuccessRate": 0.0, "queueDepth": 0, "lastProcessedOk": True}
    assert {key: shown[key] for key in shown["checks"]} == shown["checks"]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"heartbeat_at": NOW - timedelta(seconds=91)}, 0),
        ({"heartbeat_at": None}, 0),
        ({"holder": None}, 0),
        ({"queue_depth": 1001}, 0),
        ({"queue_depth": 1, "last_progress_at": NOW - timedelta(seconds=301)}, 0),
        ({"queue_depth": 1, "last_progress_at": None}, 0),
        ({}, 6),
    ],
)
def test_each_criterion_can_fail(changes: dict[str, Any], failed: int) -> None:
    """A late or missing heartbeat, a deep queue, no progress, too many failures (GAP25)."""
    assert metrics_view.health_check(Outcomes(94, failed), state(**changes))["healthy"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"heartbeat_at": NOW - timedelta(seconds=90)},
        {"queue_depth": 1000},
        {"queue_depth": 1, "last_progress_at": NOW - timedelta(seconds=300)},
        {"last_progress_at": None},
    ],
)
def test_the_limits_themselves_are_healthy(changes: dict[str, Any]) -> None:
    """One step before illness; an empty queue needs no progress."""
    assert metrics_view.health_check(Outcomes(95, 5), state(**changes))["healthy"] is True


def test_prometheus_can_read_the_text() -> None:
    """The names of GAP11; reasons with quotes and line breaks stay one label."""
    from prometheus_client.parser import text_string_to_metric_families

    failures = [{"entity_id": "c", "reason": 'said "no"\n\\', "at": 1.5}]
    text = metrics_view.exposition(
        counted(fsm_total__success=3, fallback__layer2_failed=1), Outcomes(), state(queue_depth=2), failures
    )
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert samples["fsm_initializations_total", ("result", "success")] == 3
    assert samples[("outbox_queue_depth",)] == 2
    assert samples["fallback_activations_total", ("layer", "2"), ("result", "failed")] == 1
    assert samples[("system_healthy",)] == 1
    assert samples[("outbox_last_progress_timestamp_seconds",)] == (NOW - timedelta(seconds=1)).timestamp()
    assert any(name[0] == "fsm_recent_failure_timestamp_seconds" for name in samples)
    assert "lastProcessed" in metrics_view.outbox(counted(), state(last_progress_at=None), NOTHING)["health"]
    assert samples[("outbox_relay_epoch",)] == 0
    never = metrics_view.exposition(counted(), Outcomes(), state(last_progress_at=None), [])
    assert "\noutbox_last_progress_timestamp_seconds" not in never


def test_durations_are_histograms_for_prometheus() -> None:
    """Percentiles of any stretch of time, under the limits that the processes' own histograms have."""
    from prometheus_client.parser import text_string_to_metric_families

    values = {("fsm_duration", "", bucket_of(85.0)): 10.0, ("fsm_duration", "", -1): 850.0}
    text = metrics_view.exposition(Snapshot(values), Outcomes(), state(), [])
    (family,) = [
        each for each in text_string_to_metric_families(text) if each.name == "fsm_initialization_duration_seconds"
    ]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if "le" in sample.labels}

    assert family.type == "histogram"
    assert (buckets["0.05"], buckets["0.1"], buckets["1.0"], buckets["+Inf"]) == (0, 10, 10, 10)
    assert ("fsm_initialization_duration_seconds_sum", 0.85) in {(each.name, each.value) for each in family.samples}
