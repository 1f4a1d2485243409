"""One look at PostgreSQL for all who ask at one time, however many they are and however long it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.kernel.cancellation import forget
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import DatabaseUnavailable

T = TypeVar("T")

SHARE: Final = 200.0
"""What was seen serves so many times as long as it took to see it: looking takes half a hundredth of the time at most."""

GRACE: Final = 3.0
"""What was seen serves so many times as long as it took to see it beyond that, while the next look is under way: whoever looks at
something slow is not told that it does not answer."""


@dataclass(frozen=True, slots=True)
class _Seen(Generic[T]):
    found: T
    fresh_until: float
    serves_until: float
    """While another look is under way."""


class SharedLook(Generic[T]):
    """What was seen serves for `fresh_seconds`, and up to `stale_seconds` when it took long to see; with `is_costly` only where
    that lies in what was seen, and not in a busy machine. Those who ask while nothing fresh is there share one look, and wait
    for it no longer than `longest_seconds`; then what was seen before serves, while the look takes no longer than a few times
    the one before. A look that takes too long is left to itself: to break it off can take as long.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[T]],
        *,
        longest_seconds: float,
        fresh_seconds: float = 0.0,
        stale_seconds: float = 0.0,
        is_costly: Callable[[T], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._look = look
        self._longest = longest_seconds
        self._fresh = fresh_seconds
        self._stale = stale_seconds
        self._is_costly = is_costly
        self._clock = clock or SystemClock()
        self._looking: asyncio.Task[T] | None = None
        self._seen: _Seen[T] | None = None

    async def result(self) -> T:
        """What there is to see.

        Raises:
            DatabaseUnavailable: the look takes too long.
            CoursegenError: what the look raised; the next one who asks has another look taken.
        """
        if self._seen is not None and self._clock.monotonic() < self._seen.fresh_until:
            return self._seen.found
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.create_task(self._see(), name="shared look")
            looking.add_done_callback(forget)
        done, _ = await asyncio.wait({looking}, timeout=self._longest)  # meanwhile another may have begun the next look
        if done and not looking.cancelled():
            return looking.result()
        if self._seen is not None and self._clock.monotonic() < self._seen.serves_until:
            return self._seen.found
        raise DatabaseUnavailable(f"PostgreSQL has not answered within {self._longest:g} s")

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _see(self) -> T:
        began = self._clock.monotonic()
        seen = await self._look()
        took = self._clock.monotonic() - began
        longest = self._stale if self._is_costly is None or self._is_costly(seen) else 0.0
        fresh_until = began + max(self._fresh, min(took * SHARE, longest))
        self._seen = _Seen(seen, fresh_until, fresh_until + (GRACE * took if self._stale else 0.0))
        return seen
