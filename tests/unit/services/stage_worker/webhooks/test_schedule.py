"""When an attempt is repeated."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stage_worker.webhooks.schedule import LONGEST_WAIT_ASKED_FOR, RetrySchedule, seconds_asked
from services.stage_worker.webhooks.settings import DEFAULT_DELAYS

NOW = datetime(2025, 11, 22, 12, 0, tzinfo=UTC)


def test_ten_repetitions_over_about_a_day() -> None:
    """5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, 4 h, 8 h, 8 h; then no more."""
    schedule = RetrySchedule(DEFAULT_DELAYS, chance=lambda: 0.0)
    pauses = [schedule.pause(failures) for failures in range(1, 12)]

    assert pauses == [5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800, None]
    assert 23 * 3600 < sum(DEFAULT_DELAYS) < 25 * 3600


@given(st.integers(1, len(DEFAULT_DELAYS)), st.floats(0, 1))
def test_chance_only_lengthens_a_little(failures: int, chance: float) -> None:
    """Up to a tenth."""
    pause = RetrySchedule(DEFAULT_DELAYS, chance=lambda: chance).pause(failures)

    assert pause is not None
    assert DEFAULT_DELAYS[failures - 1] <= pause <= DEFAULT_DELAYS[failures - 1] * 1.1


@given(st.integers(1, 20), st.floats(0, 1e12))
def test_what_a_receiver_asks_for_is_bounded_and_adds_no_attempts(failures: int, asked: float) -> None:
    """Never earlier than planned, never later than eight hours unless planned."""
    schedule = RetrySchedule(DEFAULT_DELAYS, chance=lambda: 0.0)
    planned, pause = schedule.pause(failures), schedule.pause(failures, asked)

    assert (planned is None) == (pause is None)
    if planned is not None and pause is not None:
        assert planned <= pause <= max(planned, LONGEST_WAIT_ASKED_FOR)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), (" 30 ", 30.0), ("9" * 30, 999_999_999.0), ("Sat, 22 Nov 2025 12:00:30 GMT", 30.0),
        ("Sat, 22 Nov 2025 11:00:00 GMT", 0.0), ("Sat, 22 Nov 2025 12:01:00 -0000", 60.0), (None, None), ("", None),
        ("soon", None), ("-1", None), ("1.5", None), ("٣", None), ("Sat, 99 Nov 2025 12:00:30 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    """Anything else asks for nothing."""
    assert seconds_asked(header, NOW) == seconds
