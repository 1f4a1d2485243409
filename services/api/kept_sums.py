"""The sums of the last minutes, kept in Redis for whichever api begins next: a restart begins no window anew.

What is counted is in PostgreSQL, and of all time; these are only the marks that a window is measured from, a key a minute, and
Redis forgets them when no window reaches back so far. They are dated by Redis, whose clock is one for all apis: theirs may be an
hour apart. A mark that Redis has lost makes a window shorter, which it says. Two things can make one wrong, for a quarter of an
hour at most. Counters that were restored from a backup and have grown past a mark of before: nothing tells it from another, and
the window lacks what they had to grow to it. And a clock of Redis that was set anew: the window says as much too few or too many
seconds. Nobody waits for Redis longer than its client does at each of two questions, and nothing is said when it is away: the
next minute tries again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.kernel.counters import Snapshot
from services.kernel.errors import CoursegenError
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX: Final = "metrics:sums:"
"""Before the name of the installation and the minute."""

MINUTE: Final = 60
KEPT_SECONDS: Final = 960
"""A window, and the minute to the mark before it."""


class KeptSums:
    """One installation's marks in Redis."""

    def __init__(self, redis: Redis, installation: str) -> None:
        self._redis: Any = redis
        self._prefix = f"{PREFIX}{installation}:"

    async def keep(self, counted: Snapshot) -> None:
        """Mark this minute with these sums, unless another api has. Without Redis nothing happens."""
        sums = [[*key, value] for key, value in counted.items()]
        try:
            with refusals_translated("Redis refuses to keep the sums"):
                now = await self._now()
                mark = orjson.dumps({"at": now, "sums": sums})
                await self._redis.set(f"{self._prefix}{int(now) // MINUTE}", mark, nx=True, ex=KEPT_SECONDS)
        except CoursegenError:
            return

    async def recall(self) -> list[tuple[float, Snapshot]]:
        """The marks that are left, the oldest first, each with its age in seconds. Without Redis there are none."""
        try:
            with refusals_translated("Redis refuses to tell the sums"):
                now = await self._now()
                minutes = range((int(now) - KEPT_SECONDS) // MINUTE, int(now) // MINUTE + 1)
                found = await self._redis.mget([f"{self._prefix}{minute}" for minute in minutes])
        except CoursegenError:
            return []
        return sorted(_read(found, now), key=lambda mark: -mark[0])

    async def _now(self) -> float:
        seconds, microseconds = await self._redis.time()
        return int(seconds) + int(microseconds) / 1_000_000


def _read(found: Iterable[bytes | None], now: float) -> Iterable[tuple[float, Snapshot]]:
    """What is no mark, one of another release, or one of a time to come (Redis' clock was set back) is as good as none."""
    for text in filter(None, found):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            mark = orjson.loads(text)
            sums = {(str(name), str(label), int(bucket)): float(value) for name, label, bucket, value in mark["sums"]}
            if (age := now - float(mark["at"])) >= 0:
                yield age, Snapshot(sums)
