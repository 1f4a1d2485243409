"""What one look found about one course, as the bytes that go to its watchers: encoded once, however many they are."""

from __future__ import annotations

from typing import Final

from services.api.live import frames
from services.api.live.news import CourseNews, encoded
from services.api.live.places import Place
from services.api.models import check_status_body
from services.kernel.states import TERMINAL

_ENDED: Final = frozenset(str(each) for each in TERMINAL)


class Bulletin:
    """News of one course, ready to send."""

    def __init__(self, news: CourseNews) -> None:
        self.news = news
        self.states: tuple[tuple[int, bytes], ...] = tuple(
            (event.position, frames.message("state", encoded(event), Place(event.position))) for event in news.events
        )
        """Each event with its position, in order. A state's stamp is 0: the progress that belongs to it comes after it."""
        self._standings: dict[int, bytes] = {}
        self._ends: dict[int, bytes] = {}

    @property
    def is_final(self) -> bool:
        """Whether the course has come to an end, and all that led there is in this bulletin."""
        return not self.news.has_more and self.news.status in _ENDED

    def standing(self, position: int) -> bytes:
        """The message `progress` for a watcher who has been told everything up to `position`."""
        message = self._standings.get(position)
        if message is None:
            body = check_status_body(self.news.status, self.news.progress)
            message = frames.message("progress", body, Place(position, self.news.stamp))
            self._standings[position] = message
        return message

    def end(self, position: int) -> bytes:
        """The message `end` for such a watcher."""
        message = self._ends.get(position)
        if message is None:
            message = frames.end(self.news.status, Place(position, self.news.stamp, is_end=True))
            self._ends[position] = message
        return message
