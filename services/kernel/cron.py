"""Schedules in five fields, as crontab and pg_cron write them: minute hour day-of-month month day-of-week, in UTC.

Understood: `*`, numbers, ranges `1-5`, steps `*/15` and `8-18/2`, lists `0,30`; Sunday is 0 or 7. When both days are
restricted, either is enough, as in every cron.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_RANGES: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_PART: Final = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>\d+))?")
_HORIZON: Final = timedelta(days=366 * 8)
"""29 February on a given weekday can be that far away."""


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """The minutes at which a job is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    either_day: bool
    """True when day of month and day of week are both restricted: then one of them is enough."""

    @classmethod
    def parse(cls, text: str) -> CronSchedule:
        """Read five fields.

        Raises:
            ValueError: saying which field is wrong.
        """
        fields = text.split()
        if len(fields) != len(_RANGES):
            raise ValueError(f"a schedule has five fields, not {len(fields)}: {text!r}")
        minutes, hours, days, months, weekdays = (
            _values(field, low, high) for field, (low, high) in zip(fields, _RANGES, strict=True)
        )
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        return cls(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)

    def previous(self, at: datetime) -> datetime | None:
        """The latest due minute not after `at`; None when there was none in eight years."""
        moment = at.astimezone(UTC).replace(second=0, microsecond=0)
        return self._search(moment, timedelta(days=-1))

    def next(self, after: datetime) -> datetime | None:
        """The first due minute after `after`; None when there is none in eight years."""
        moment = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        return self._search(moment, timedelta(days=1))

    def _search(self, start: datetime, step: timedelta) -> datetime | None:
        backwards = step < timedelta(0)
        midnight = start.replace(hour=0, minute=0)
        times = [(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)]
        for offset in range(_HORIZON.days):
            day = midnight + step * offset
            if not self._falls_on(day):
                continue
            due = [day.replace(hour=hour, minute=minute) for hour, minute in times]
            fitting = [each for each in due if (each <= start if backwards else each >= start)]
            if fitting:
                return fitting[-1] if backwards else fitting[0]
        return None

    def _falls_on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date or by_week) if self.either_day else (by_date and by_week)


def _values(field: str, low: int, high: int) -> frozenset[int]:
    return frozenset(value for part in field.split(",") for value in _expand(part, low, high))


def _expand(part: str, low: int, high: int) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is no part of a schedule: write *, 5, 1-5, */15 or 0,30")
    first = int(match["first"] or low)
    last = int(match["last"] or (first if match["first"] and not match["step"] else high))
    step = int(match["step"] or 1)
    if not low <= first <= last <= high or step < 1:
        raise ValueError(f"{part!r} is not within {low} to {high}")
    return range(first, last + 1, step)
