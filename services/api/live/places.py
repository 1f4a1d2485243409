"""How far a watcher has come: the `id` of every message, and the `Last-Event-ID` of a reader who comes back.

An id reads `position:stamp`, and `position:stamp:end` once all is told. `position` is that of the course's last event
(`fsm_events`), which rises in the order in which the events of one course are committed, because every writer of them
holds the course's row lock. `stamp` is the moment of the course's last change in microseconds, or 0 when the reader has
yet to see the progress that belongs to that position.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from services.kernel.errors import InvalidInput

PATTERN: Final = r"^[0-9]{1,18}:[0-9]{1,17}(:end)?$"
"""What an id looks like."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SHAPE = re.compile(r"([0-9]{1,18}):([0-9]{1,17})(:end)?")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the story of one course."""

    position: int = 0
    """Of the last event that was told."""
    stamp: int = 0
    """Of the last progress that was told, in microseconds since 1970."""
    is_end: bool = False
    """Whether the end was told."""

    def __str__(self) -> str:
        return f"{self.position}:{self.stamp}{':end' if self.is_end else ''}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place that an id names.

        Raises:
            InvalidInput: it is no id of ours.
        """
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise InvalidInput("`Last-Event-ID` must be the `id` of a message of this stream, unchanged.")
        return cls(int(match[1]), int(match[2]), match[3] is not None)

    @property
    def moment(self) -> datetime | None:
        """The stamp as the database knows it; None when no progress was told."""
        return _EPOCH + self.stamp * _MICROSECOND if self.stamp else None


def stamp_of(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND
