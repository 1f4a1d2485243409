"""Five fields mean what every cron says they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.cron import CronSchedule

_SATURDAY = datetime(2025, 11, 22, 15, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "previous", "following"),
    [
        ("0 2 * * *", "2025-11-22 02:00", "2025-11-23 02:00"),
        ("0 3 * * *", "2025-11-22 03:00", "2025-11-23 03:00"),
        ("0 4 * * 0", "2025-11-16 04:00", "2025-11-23 04:00"),
        ("0 4 * * 7", "2025-11-16 04:00", "2025-11-23 04:00"),
        ("*/15 * * * *", "2025-11-22 15:30", "2025-11-22 15:45"),
        ("5/20 9-17/4 * * 1-5", "2025-11-21 17:45", "2025-11-24 09:05"),
        ("0,30 15 * * *", "2025-11-22 15:30", "2025-11-23 15:00"),
        ("0 0 29 2 *", "2024-02-29 00:00", "2028-02-29 00:00"),
        ("0 0 1 * 1", "2025-11-17 00:00", "2025-11-24 00:00"),
        ("0 0 31 12 *", "2024-12-31 00:00", "2025-12-31 00:00"),
    ],
)
def test_due_minutes_before_and_after(text: str, previous: str, following: str) -> None:
    """Seen from a Saturday afternoon."""
    schedule = CronSchedule.parse(text)

    assert schedule.previous(_SATURDAY) == datetime.fromisoformat(previous + "+00:00")
    assert schedule.next(_SATURDAY) == datetime.fromisoformat(following + "+00:00")


def test_times_are_utc_wherever_the_clock_stands() -> None:
    """02:00 in Moscow is not 02:00."""
    moscow = _SATURDAY.astimezone(timezone(timedelta(hours=3)))

    assert CronSchedule.parse("0 2 * * *").next(moscow) == datetime(2025, 11, 23, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """With a sentence, before anything is scheduled by it."""
    with pytest.raises(ValueError, match=r"schedule|within"):
        CronSchedule.parse(text)


def test_a_day_that_never_comes_is_never_due() -> None:
    """And the search for it ends."""
    assert CronSchedule.parse("0 0 30 2 *").next(_SATURDAY) is None


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),
    st.sampled_from(["0 2 * * *", "0 4 * * 0", "*/7 * * * *", "0 0 1,15 * 3"]),
)
def test_no_due_minute_lies_between_two_neighbours(at: datetime, text: str) -> None:
    """The next one after the previous one is the next one."""
    moment, schedule = at.replace(tzinfo=UTC), CronSchedule.parse(text)
    previous, following = schedule.previous(moment), schedule.next(moment)

    assert previous is not None
    assert following is not None
    assert previous <= moment < following
    assert schedule.next(previous) == following
