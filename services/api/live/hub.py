"""All live streams of one process, fed by one look for all of them.

Promises:

- However many watch, a look is one statement: at once when somebody says that something was committed, but at most ten
  times a second; else once a second; never while nobody watches.
- Each reader is told every event of his course exactly once and in order, from the place he names; the progress that
  belongs to it follows; when the course has ended, so does the stream.
- While PostgreSQL is away the streams stay open, and go on where they were when it is back.
- When the process is told to stop, every stream ends at once with `closing`, and its reader comes back to another one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, Protocol
from uuid import UUID

from services.api.live import frames
from services.api.live.bulletin import Bulletin
from services.api.live.news import CourseNews, NewsDesk
from services.api.live.places import Place
from services.api.live.watcher import Watcher
from services.kernel import metrics
from services.kernel.errors import CoursegenError, LimitReached, RetryableError
from services.kernel.listening import Listener
from services.kernel.logs import get_logger

LOOK_SECONDS: Final = 1.0
"""Longest time between two looks while anybody watches."""
REST_SECONDS: Final = 0.1
"""Shortest time between two looks."""
LINGER_SECONDS: Final = 10.0
"""How long the hub goes on listening after the last reader has left."""
RETRY_AFTER_SECONDS: Final = 10
"""What a user is asked to wait who has too many streams open."""

_NOTABLE: Final = frozenset({"too_slow", "not_yours", "failed"})
"""Ends that somebody may ask about."""

_WATCHERS = metrics.gauge("live_watchers", "Live streams that are open")
_STREAMS = metrics.counter("live_streams", "Live streams that ended, by reason", ["reason"])
_LOOKS = metrics.counter("live_looks", "Looks for news, one statement each, by result", ["result"])
_LOOK_SECONDS = metrics.histogram("live_look_duration_seconds", "Time of one look, for all watched courses")

_log = get_logger(__name__)


class TooManyWatchers(RetryableError):
    """Too many live streams are open here; try again in a moment, or poll check-status."""

    code = "too_many_watchers"


class TooManyStreams(LimitReached):
    """This user has as many live streams open here as one may have; close one, or poll check-status."""

    code = "stream_limit"

    @classmethod
    def of(cls, tier: str, limit: int) -> TooManyStreams:
        """The refusal, in the shape of every limit (contract.md GAP2)."""
        return cls(
            f"You have {limit} live stream(s) open, as many as one user may have. Close one, or poll check-status.",
            limitType="streams",
            tier=tier,
            limit=limit,
            current=limit,
            retryAfterSeconds=RETRY_AFTER_SECONDS,
        )


class Desk(Protocol):
    """Where news come from."""

    async def since(self, places: Mapping[UUID, Place]) -> Collection[CourseNews]:
        """News since these places."""


class Hub:
    """Knows who watches what."""

    def __init__(self, desk: NewsDesk | Desk, listener: Listener, *, most: int, most_per_user: int) -> None:
        """Nobody watches yet.

        Args:
            desk: where news come from.
            listener: says that it is worth looking.
            most: streams at once.
            most_per_user: of them, those of one user.
        """
        self._desk = desk
        self._listener = listener
        self._most = most
        self._most_per_user = most_per_user
        self._users: Counter[UUID] = Counter()
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._open = 0
        self._occupied = asyncio.Event()
        self._is_stopping = False
        self._is_blind = False

    @property
    def watchers(self) -> int:
        """How many streams are open."""
        return self._open

    def watch(self, course_id: UUID, user_id: UUID, place: Place, *, until: float, why: str, tier: str) -> Watcher:
        """Open a stream for a reader who is allowed to; its first messages come with the next look.

        Raises:
            TooManyStreams: this user has as many open as one may have.
            TooManyWatchers: as many as are allowed are open.
        """
        if self._users[user_id] >= self._most_per_user:
            raise TooManyStreams.of(tier, self._most_per_user)
        if self._open >= self._most:
            raise TooManyWatchers(limit=self._most)
        watcher = Watcher(course_id, user_id, place, until=until, why=why, leave=self._release)
        self._watchers.setdefault(course_id, set()).add(watcher)
        self._open += 1
        self._users[user_id] += 1
        _WATCHERS.set(self._open)
        self._occupied.set()
        self._listener.woken.set()
        if self._is_stopping:
            watcher.end("stopping", frames.closing("stopping"))
        return watcher

    def _release(self, watcher: Watcher) -> None:
        present = self._watchers[watcher.course_id]
        present.discard(watcher)
        if not present:
            del self._watchers[watcher.course_id]
        self._open -= 1
        self._users[watcher.user_id] -= 1
        if not self._users[watcher.user_id]:
            del self._users[watcher.user_id]
        _WATCHERS.set(self._open)
        _STREAMS.labels(watcher.reason).inc()
        note = _log.info if watcher.reason in _NOTABLE else _log.debug
        note("live stream ended", courseId=str(watcher.course_id), reason=watcher.reason)

    async def run(self, stopping: asyncio.Event) -> None:
        """Feed the streams until `stopping` is set; then end them all."""
        asked = asyncio.create_task(stopping.wait(), name="asked")
        feeding = asyncio.create_task(self._feed_for_ever(), name="feed live streams")
        try:
            await asyncio.wait({asked, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                await feeding
        finally:
            self._end_all()
            for task in (asked, feeding):
                task.cancel()
            await asyncio.gather(asked, feeding, return_exceptions=True)

    def _end_all(self) -> None:
        self._is_stopping = True
        _end(
            [each for watchers in self._watchers.values() for each in watchers], "stopping", frames.closing("stopping")
        )

    async def _feed_for_ever(self) -> None:
        while True:
            await self._occupied.wait()
            listening = asyncio.create_task(self._listener.run(), name="listen for changes")
            try:
                await self._feed()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _feed(self) -> None:
        """Look again and again, until nobody has watched for a while."""
        loop = asyncio.get_running_loop()
        watched_at = loop.time()
        while self._open or loop.time() < watched_at + LINGER_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._listener.woken.wait()
            self._listener.woken.clear()
            if self._open:
                watched_at = loop.time()
                await self._look_patiently()
                await asyncio.sleep(REST_SECONDS)
        self._occupied.clear()

    async def _look_patiently(self) -> None:
        try:
            with _LOOK_SECONDS.time():
                await self.look()
        except Exception as error:  # noqa: BLE001 - one row that nobody foresaw must not end the process for everyone
            _LOOKS.labels("failed").inc()
            if not self._is_blind:
                unforeseen = None if isinstance(error, CoursegenError) else error
                _log.warning("live streams wait", watchers=self._open, reason=str(error), exc_info=unforeseen)
            self._is_blind = True
            await asyncio.sleep(LOOK_SECONDS)
            return
        _LOOKS.labels("done").inc()
        if self._is_blind:
            _log.info("live streams go on", watchers=self._open)
        self._is_blind = False

    async def look(self) -> None:
        """Ask once for all courses and tell their watchers.

        Raises:
            DatabaseUnavailable: nothing was told; ask again later.
        """
        present = {course_id: tuple(watchers) for course_id, watchers in self._watchers.items()}
        places = {course_id: _least(watchers) for course_id, watchers in present.items()}
        for news in await self._desk.since(places):
            try:
                _tell(news, present[news.course_id])
            except Exception:  # noqa: BLE001 - the other courses' watchers have nothing to do with it
                _log.exception("a course cannot be told", courseId=str(news.course_id))
                _end(present[news.course_id], "failed", frames.closing("failed"))
            if news.has_more:
                self._listener.woken.set()


def _least(watchers: Collection[Watcher]) -> Place:
    """The place from which everyone hears everything that is new to him."""
    stamps = {watcher.stamp for watcher in watchers}
    return Place(min(watcher.position for watcher in watchers), stamps.pop() if len(stamps) == 1 else 0)


def _tell(news: CourseNews, watchers: Collection[Watcher]) -> None:
    if news.is_gone:
        _end(watchers, "deleted", frames.end("deleted", None))
        return
    bulletin = Bulletin(news)
    for watcher in watchers:
        if watcher.user_id == news.owner:
            watcher.tell(bulletin)
        else:
            _end([watcher], "not_yours", frames.closing("not_yours"))


def _end(watchers: Collection[Watcher], reason: str, last: bytes) -> None:
    for watcher in watchers:
        watcher.end(reason, last)
