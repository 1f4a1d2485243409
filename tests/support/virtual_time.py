"""An event loop whose time passes only when nobody has anything to do: hours of waiting take milliseconds.

A play may have several processes in it. Each has clocks of its own, which may be wrong, and may be paused, frozen or killed
as a whole; what belongs to no process is the world, whose time is the true one.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import math
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

LOOK_SECONDS: Final = 1e-6
"""What the shortest wait takes. A wait of less than the last digit of the time would take none, and whoever repeats it until
some time has passed would do so for ever."""
END_SECONDS: Final = 1e8
"""When the killed rise: the play is over by then, and they clear up."""
_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Moves the time on instead of waiting."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for ever"
        self.loop.seconds += max(timeout, LOOK_SECONDS)
        return super().select(0)


class Process:
    """One process of the play; also its `Clock`."""

    def __init__(self, *, rate: float = 1.0, skew: float = 0.0, since: float = 0.0) -> None:
        """`rate` is how fast its clocks run, `skew` how wrong its time of day is, `since` where its monotonic clock began."""
        self.skew = skew
        self.killed_at = math.inf
        self.pauses: list[tuple[float, float]] = []
        """From when to when it did nothing, in true time."""
        self.rate = rate
        self._since = since
        self._loop = cast(VirtualTimeLoop, asyncio.get_running_loop())
        self._begun_at = self._loop.seconds
        self._frozen_seconds = 0.0

    def now(self) -> datetime:
        """The time of day as this process believes it."""
        return _START + timedelta(seconds=self.monotonic() + self.skew)

    def monotonic(self) -> float:
        """Seconds since this process's own fixed point."""
        return self._since + (self._loop.seconds - self._begun_at - self._frozen_seconds) * self.rate

    def true_time(self, when: float) -> float:
        """The true time at which `monotonic` will say `when`."""
        return (when - self._since) / self.rate + self._begun_at + self._frozen_seconds

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have the process do `work`."""
        context = contextvars.copy_context()
        context.run(_PRESENT.set, self)
        return self._loop.create_task(work, context=context)

    def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: nothing happens in it, its clocks go on."""
        self.pauses.append((self._loop.seconds, self._loop.seconds + seconds))

    def freeze(self, seconds: float) -> None:
        """As `pause`, but its monotonic clock stands still too, as that of a virtual machine whose host has stopped it."""
        self.pause(seconds)
        self._frozen_seconds += seconds

    def kill(self) -> None:
        """Kill -9: nothing happens in it any more."""
        self.killed_at = min(self.killed_at, self._loop.seconds)

    @property
    def wakes_at(self) -> float:
        """When it does something again."""
        if self._loop.is_over:
            return 0.0
        return math.inf if self.killed_at < math.inf else max((end for _, end in self.pauses), default=0.0)


_PRESENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs what has no sockets, in no time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """True seconds since the start."""
        self.is_over = False
        """The play has ended: whoever still sleeps may clear up."""
        self._order = itertools.cycle(range(1000))
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds as the present process measures them."""
        process = _PRESENT.get()
        return self.seconds if process is None else process.monotonic()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As the event loop's, once the process is awake."""
        if (process := _process_of(context)) is None:
            return super().call_soon(callback, *args, context=context)
        gate = _Gate(self, process, lambda: callback(*args), context or contextvars.copy_context())
        gate.handle = super().call_soon(gate, context=gate.context)
        return gate.handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As the event loop's, by the process's clock, once it is awake."""
        if (process := _process_of(context)) is None:
            return super().call_at(when, callback, *args, context=context)
        gate = _Gate(self, process, lambda: callback(*args), context or contextvars.copy_context(), when)
        gate.handle = handle = super().call_at(process.true_time(when), gate, context=gate.context)
        return handle

    def in_world(self, seconds: float, callback: Callable[[], object]) -> None:
        """Have something happen after true `seconds`, whatever becomes of the process that wants it."""
        contextvars.Context().run(self.call_later, seconds, callback)

    def postpone(self, when: float, gate: _Gate) -> None:
        """Try the gate again at a true time; gates that open at the same time do so in the order of their coming."""
        super().call_at(when + next(self._order) * 1e-9, gate, context=gate.context)


class _Gate:
    """Something that a process will do: not while it sleeps, not before its time, never after its death."""

    def __init__(
        self,
        loop: VirtualTimeLoop,
        process: Process,
        action: Callable[[], object],
        context: contextvars.Context,
        when: float = 0.0,
    ) -> None:
        self.handle: asyncio.Handle
        self.context = context
        self._loop = loop
        self._process = process
        self._action = action
        self._when = when

    def __call__(self) -> None:
        if self.handle.cancelled():  # while it waited at the gate
            return
        opens_at = self._process.wakes_at
        if self._when - self._process.monotonic() > LOOK_SECONDS and not self._loop.is_over:
            opens_at = max(opens_at, self._process.true_time(self._when))
        if opens_at <= self._loop.seconds:
            self._action()
        else:
            self._loop.postpone(min(opens_at, END_SECONDS), self)


def _process_of(context: contextvars.Context | None) -> Process | None:
    return _PRESENT.get() if context is None else context.get(_PRESENT)


def world() -> VirtualTimeLoop:
    """The loop of the play, for its true time."""
    return cast(VirtualTimeLoop, asyncio.get_running_loop())


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run to its end."""

    async def play() -> T:
        try:
            return await main
        finally:
            world().is_over = True

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(play())
