"""One reader of a live stream: what is still to be sent to him, and when his stream ends.

Promises: what waits for a slow reader is bounded (progress replaces progress, states up to `MOST_WAITING` bytes); a reader
who falls behind that is cut off, and misses nothing, since he comes back with the id of the last message he got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from services.api.live import frames
from services.api.live.bulletin import Bulletin
from services.api.live.places import Place

HEARTBEAT_SECONDS: Final = 15.0
"""Longest silence on a stream."""
MOST_WAITING: Final = 256 * 1024
"""Most bytes that wait for a reader while he takes nothing, beside one progress message."""


class Watcher:
    """A stream of messages about one course. Written to by the hub, read by whoever sends the answer."""

    def __init__(
        self, course_id: UUID, user_id: UUID, place: Place, *, until: float, why: str, leave: Callable[[Watcher], None]
    ) -> None:
        """Begin a stream.

        Args:
            course_id: whom it is about.
            user_id: who reads; the stream ends when the course is no longer his.
            place: what he has been told already.
            until: time of the event loop's clock at which the stream must end.
            why: the reason to give then.
            leave: called once when nothing more can be told to him.
        """
        self.course_id = course_id
        self.user_id = user_id
        self.position = place.position
        self.stamp = place.stamp
        self.reason: str | None = None
        """Why the stream ended; None while it goes on."""
        self._until = until
        self._why = why
        self._leave = leave
        self._waiting: list[bytes] = [frames.preface()]
        self._size = 0
        self._progress: bytes | None = None
        self._last: bytes | None = None
        self._news = asyncio.Event()
        self._news.set()

    @property
    def place(self) -> Place:
        """How far he has been told, or will be once what waits is sent."""
        return Place(self.position, self.stamp)

    def tell(self, bulletin: Bulletin) -> None:
        """Add what is new to this reader; ends the stream with the course."""
        if self.reason is not None:
            return
        if not self._add_states([(at, text) for at, text in bulletin.states if at > self.position]):
            self.end("too_slow", frames.closing("too_slow"))
            return
        if bulletin.news.has_more:
            return
        if self.stamp != bulletin.news.stamp:
            self.stamp = bulletin.news.stamp
            self._progress = bulletin.standing(self.position)
            self._news.set()
        if bulletin.is_final:
            self.end(bulletin.news.status, bulletin.end(self.position))

    def _add_states(self, states: list[tuple[int, bytes]]) -> bool:
        if not states:
            return True
        more = sum(len(text) for _, text in states)
        if self._size and self._size + more > MOST_WAITING:
            return False
        self._size += more
        self._waiting += [text for _, text in states]
        self.position = states[-1][0]
        self._news.set()
        return True

    def end(self, reason: str, last: bytes) -> None:
        """Let `last` be the last message."""
        if self.reason is None:
            self.reason = reason
            self._last = last
            self._news.set()
            self._leave(self)

    def close(self) -> None:
        """The reader is gone, or has it all."""
        if self.reason is None:
            self.reason = "left"
            self._waiting.clear()
            self._progress = None
            self._news.set()
            self._leave(self)

    async def next_chunk(self) -> bytes:
        """Everything that waits, as one piece; a heartbeat after a silence; empty at the end."""
        while True:
            chunk = self._take()
            if chunk or self.reason is not None:
                return chunk
            silence = min(HEARTBEAT_SECONDS, self._until - asyncio.get_running_loop().time())
            try:
                async with asyncio.timeout(silence):
                    await self._news.wait()
            except TimeoutError:
                if asyncio.get_running_loop().time() < self._until:
                    return frames.HEARTBEAT
                self.end(self._why, frames.closing(self._why))

    def _take(self) -> bytes:
        self._news.clear()
        pieces = [*self._waiting, self._progress or b"", self._last or b""]
        self._waiting.clear()
        self._size = 0
        self._progress = self._last = None
        return b"".join(pieces)
