"""Due times, as the CronJob controller counts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.retention.schedule import Schedule, ScheduleUnusable
from operators.coursegen_operator.retention.schema import SCHEDULE_PATTERN


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "due"),
    [
        ("17 3 * * *", "Etc/UTC", "2026-11-22T04:00", "2026-11-23T03:17"),
        ("0 4 * * 0", "Etc/UTC", "2026-11-28T13:00", "2026-11-29T04:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-01-10T12:00", "2026-01-11T02:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-10T12:00", "2026-07-11T01:00"),
        ("0 3 * * *", "Asia/Kolkata", "2026-07-10T12:00", "2026-07-10T21:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T00:30"),  # skipped on the 29th
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),  # the first of two
        ("* * * * *", "Europe/Berlin", "2026-03-29T00:59", "2026-03-29T01:00"),
        ("0 0 */2 * 1", "Etc/UTC", "2026-11-01T00:00", "2026-11-02T00:00"),  # a Monday, or an odd day
        ("0 0 31 * *", "UTC", "2026-11-28T00:00", "2026-12-31T00:00"),
        ("0 0 29 2 *", "UTC", "2026-11-28T00:00", "2028-02-29T00:00"),
    ],
)
def test_the_next_due_time(schedule: str, zone: str, after: str, due: str) -> None:
    """In UTC, whatever the zone."""
    assert Schedule.of(schedule, zone).next(at(after)) == at(due)


@pytest.mark.parametrize(
    ("schedule", "zone", "when", "due"),
    [
        ("0 2 * * *", "Etc/UTC", "2026-11-28T01:59", "2026-11-27T02:00"),
        ("0 2 * * *", "Etc/UTC", "2026-11-28T02:00", "2026-11-28T02:00"),
        ("0 2 * * *", "America/New_York", "2026-11-28T06:59", "2026-11-27T07:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T01:30"),
    ],
)
def test_the_due_time_before(schedule: str, zone: str, when: str, due: str) -> None:
    """It may be the very minute."""
    assert Schedule.of(schedule, zone).previous(at(when)) == at(due)


@pytest.mark.parametrize(
    ("schedule", "zone", "complaint"),
    [
        ("0 3 * * *", "Europe/Atlantis", "time zone 'Europe/Atlantis' is not known"),
        ("0 3 * * *", "Europe", "time zone 'Europe' is not known"),
        ("0 3 * * *", "../../etc/passwd", "is not known"),
        ("0 0 30 2 *", "Etc/UTC", "never due"),
        ("30-10 3 * * *", "Etc/UTC", "'30-10' is not within 0 to 59"),
        ("@daily", "Etc/UTC", "five fields"),
    ],
)
def test_what_cannot_be_used_is_said(schedule: str, zone: str, complaint: str) -> None:
    """A sentence, and nothing else is raised."""
    with pytest.raises(ScheduleUnusable, match=complaint):
        Schedule.of(schedule, zone)


@given(
    st.from_regex(SCHEDULE_PATTERN.replace("$", r"\Z")).filter(lambda text: len(text) <= 60),
    st.sampled_from(["Etc/UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Nowhere"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
)
def test_whatever_the_schema_admits_has_due_times_or_a_sentence(schedule: str, zone: str, moment: datetime) -> None:
    """The next one lies ahead, the previous one behind, and none is passed over in between."""
    now = moment.replace(tzinfo=UTC)
    try:
        found = Schedule.of(schedule, zone)
    except ScheduleUnusable as error:
        assert str(error)  # noqa: PT017
        return
    following, before = found.next(now), found.previous(now)

    assert following is not None
    assert before is None or before <= now < following
    latest = found.previous(following)
    assert latest == following
    assert found.next(following - timedelta(seconds=1)) == following
