"""When a policy is due: five fields in a time zone, as the CronJob controller reads them.

Two things differ from `services.kernel.cron`, which is UTC: a time that the clocks skip in spring is not due at all; and a day
field such as `*/2` is a restriction like `1-31/2`, so that either of two restricted day fields is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.kernel.cron import CronSchedule

_DAY_FIELDS: Final = {2: "1-31", 4: "0-6"}
_STEP: Final = re.compile(r"(?:^|(?<=,))\*(?=/(?:[2-9]|[1-9][0-9]))")
_MINUTE: Final = timedelta(minutes=1)
_MOST_SKIPPED: Final = 400
"""Minutes that can be skipped at once, with every minute due."""


class ScheduleUnusable(ValueError):
    """The schedule or its time zone cannot be used; the message says what can."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments at which a policy is due."""

    text: str
    zone: ZoneInfo | None
    """None is UTC, which needs no tables of time zones."""
    _fields: CronSchedule

    @classmethod
    def of(cls, text: str, time_zone: str) -> Schedule:
        """Read a schedule.

        Raises:
            ScheduleUnusable: saying which part is wrong.
        """
        zone = _zone(time_zone)
        try:
            fields = CronSchedule.parse(_restricted(text))
        except ValueError as error:
            raise ScheduleUnusable(f"schedule {text!r}: {error}") from None
        if fields.next(datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise ScheduleUnusable(f"schedule {text!r} is never due: no month has such a day")
        return cls(text, zone, fields)

    def next(self, after: datetime) -> datetime | None:
        """The first due moment after `after`, in UTC."""
        wall = self._wall(after)
        for _ in range(_MOST_SKIPPED):
            found = self._fields.next(wall)
            if found is None:
                return None
            moment = self._moment(found)
            if moment is not None and moment > after:
                return moment
            wall = found
        return None

    def previous(self, at: datetime) -> datetime | None:
        """The latest due moment that is not after `at`, in UTC."""
        wall = self._wall(at)
        for _ in range(_MOST_SKIPPED):
            found = self._fields.previous(wall)
            if found is None:
                return None
            moment = self._moment(found)
            if moment is not None and moment <= at:
                return moment
            wall = found - _MINUTE
        return None

    def _wall(self, moment: datetime) -> datetime:
        """What a clock on the wall shows, as though it were UTC."""
        return moment.astimezone(self.zone or UTC).replace(tzinfo=UTC, fold=0)

    def _moment(self, wall: datetime) -> datetime | None:
        """When a clock shows `wall`, the first time; None when it never does."""
        moment = wall.replace(tzinfo=self.zone or UTC).astimezone(UTC)
        return moment if self._wall(moment) == wall else None


def _restricted(text: str) -> str:
    fields = text.split()
    return " ".join(
        _STEP.sub(_DAY_FIELDS[index], field) if index in _DAY_FIELDS else field for index, field in enumerate(fields)
    )


def _zone(name: str) -> ZoneInfo | None:
    if name in {"Etc/UTC", "UTC"}:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, not a name, a folder
        raise ScheduleUnusable(f"time zone {name!r} is not known: write one such as Etc/UTC or Europe/Berlin") from None
