"""Conditions: always three, dated by their last change, short, and without secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.conditions import (
    MESSAGE_BYTES,
    Condition,
    done,
    find,
    is_true,
    merged,
    moment_of,
    shortened,
    stuck,
    timestamp,
    working,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("made", "expected"), [(done, "True False False"), (working, "False True False"), (stuck, "False False True")]
)
def test_kstatus_reads_three_of_them(made: object, expected: str) -> None:
    """Wait, go on, give up."""
    conditions = made("Reason", "message")  # type: ignore[operator]
    assert [each.type for each in conditions] == ["Ready", "Reconciling", "Stalled"]
    assert " ".join(each.status for each in conditions) == expected


def test_a_status_that_stays_keeps_its_time() -> None:
    """Another reason or message is no transition."""
    first = merged([], done("A", "one"), 1, NOW)
    assert first[0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    second = merged(first, done("B", "two"), 2, NOW + timedelta(hours=1))
    third = merged(second, stuck("C", "three"), 3, NOW + timedelta(hours=2))

    assert second[0] == {**first[0], "reason": "B", "message": "two", "observedGeneration": 2}
    assert third[0]["lastTransitionTime"] == third[2]["lastTransitionTime"] == "2026-01-02T05:04:05Z"
    assert third[1]["lastTransitionTime"] == first[1]["lastTransitionTime"]
    assert is_true(third, "Stalled")
    assert not is_true(third, "Nonsense")
    assert find(third, "Nonsense") is None


def test_no_secret_is_told() -> None:
    """A driver's message may quote an address."""
    told = merged([], done("A", "postgresql://user:hunter22@host/db"), 1, NOW)
    assert "hunter22" not in told[0]["message"]


@given(st.text(max_size=3000))
def test_a_message_fits(text: str) -> None:
    """In bytes, and in whole characters."""
    cut = shortened(text, MESSAGE_BYTES)
    assert len(cut.encode()) <= MESSAGE_BYTES
    assert cut == text or cut.endswith("…")


def test_moments_are_read_and_written_alike() -> None:
    """As the API server writes them; anything else is none."""
    assert moment_of(timestamp(NOW)) == NOW.replace(microsecond=0)
    assert moment_of("2026-01-02T03:04:05") == NOW.replace(microsecond=0)
    assert moment_of("yesterday") is None
    assert moment_of(None) is None
    assert Condition.of(done("A", "b")[0].as_object()) == done("A", "b")[0]
