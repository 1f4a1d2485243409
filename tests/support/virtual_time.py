"""An event loop whose time passes only when nobody has anything to do: hours of waiting take milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Moves the time on instead of waiting."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for ever"
        self.loop.seconds += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs what has no sockets, in no time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds since the start."""
        return self.seconds


class SkewedClock:
    """One process's clock: its time of day is wrong by `skew` and may jump, its monotonic clock has a start of its own."""

    def __init__(self, *, skew: float = 0.0, since: float = 0.0) -> None:
        self.skew = skew
        self._since = since

    def now(self) -> datetime:
        """The time of day as this process believes it."""
        return _START + timedelta(seconds=asyncio.get_running_loop().time() + self.skew)

    def monotonic(self) -> float:
        """Seconds since this process's own fixed point."""
        return asyncio.get_running_loop().time() + self._since


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run to its end."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
