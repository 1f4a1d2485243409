"""One look at PostgreSQL for all who ask at one time, however many they are and however long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from services.kernel.cancellation import forget
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import DatabaseUnavailable

T = TypeVar("T")

SHARE: Final = 200.0
"""What was seen serves so many times as long as it took to see it: looking takes half a hundredth of the time at most."""


class SharedLook(Generic[T]):
    """What was seen serves for `fresh_seconds`, and up to `stale_seconds` when it took long to see; those who ask while nothing
    fresh is there share one look, and wait for it no longer than `longest_seconds`. A look that takes too long is left to
    itself: to break it off can take as long.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[T]],
        *,
        longest_seconds: float,
        fresh_seconds: float = 0.0,
        stale_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self._look = look
        self._longest = longest_seconds
        self._fresh = fresh_seconds
        self._stale = stale_seconds
        self._clock = clock or SystemClock()
        self._looking: asyncio.Task[T] | None = None
        self._seen: tuple[float, T] | None = None

    async def result(self) -> T:
        """What there is to see.

        Raises:
            DatabaseUnavailable: the look takes too long.
            CoursegenError: what the look raised; the next one who asks has another look taken.
        """
        if self._seen is not None and self._clock.monotonic() < self._seen[0]:
            return self._seen[1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._see(), name="shared look")
            self._looking.add_done_callback(forget)
        done, _ = await asyncio.wait({self._looking}, timeout=self._longest)
        if done and not self._looking.cancelled():
            return self._looking.result()
        raise DatabaseUnavailable(f"PostgreSQL has not answered within {self._longest:g} s")

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _see(self) -> T:
        began = self._clock.monotonic()
        seen = await self._look()
        took = self._clock.monotonic() - began
        self._seen = began + max(self._fresh, min(took * SHARE, self._stale)), seen
        return seen
