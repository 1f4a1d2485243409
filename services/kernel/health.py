"""Whether this process is ready for work, and whether it is still alive.

Ready: started, not stopping, and every registered check passes; a check may have a substitute: while that passes, a server that
does not answer makes the process degraded, and ready. Alive: every registered loop has beaten lately; a loop that hangs makes
`/livez` fail although the process runs. Both answers name what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from services.kernel.cancellation import forget
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import CoursegenError, RetryableError

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises a `CoursegenError` that says what is not."""

Figures = Callable[[], Awaitable[str]]
"""Makes text in Prometheus' format."""

_CHECK_SECONDS = 2.0


@dataclass
class Heartbeat:
    """A loop's sign of life: call `beat()` on every turn."""

    name: str
    max_age_seconds: float
    clock: Clock
    last: float

    def beat(self) -> None:
        """Say that the loop has just made progress."""
        self.last = self.clock.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether the last beat is too long ago."""
        return self.clock.monotonic() - self.last > self.max_age_seconds


class Standing(NamedTuple):
    """What is wrong with a process, by name of the check."""

    faults: dict[str, str]
    """What keeps it from being ready."""
    degraded: dict[str, str]
    """What it is ready without."""


class _Registered(NamedTuple):
    check: Check
    substitute: Check | None


class _Verdict(NamedTuple):
    """Why a check has failed."""

    reason: str
    is_silent: bool = False
    """Whether there was no answer, which says nothing of what the answer would have been."""


class HealthRegistry:
    """The checks and heartbeats of one process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._checks: dict[str, _Registered] = {}
        self._heartbeats: list[Heartbeat] = []
        self.started = False
        """Set once the service is open; before that it is not ready."""
        self.stopping = False
        """Set at SIGTERM; from then on it is not ready."""
        self.obstacle: str | None = None
        """What the process waits for before it can start."""
        self.figures: Figures | None = None
        """What all processes count together, for the page of metrics; set by one that knows. Never raises."""

    def forget(self) -> None:
        """Drop every check, heartbeat and figure: those of a start that failed, before the next one."""
        self._checks.clear()
        self._heartbeats.clear()
        self.figures = None

    def register(self, name: str, check: Check, *, substitute: Check | None = None) -> None:
        """Make readiness depend on `check`; when it gets no answer, on `substitute`, if there is one."""
        self._checks[name] = _Registered(check, substitute)

    def progress(self, name: str, max_age_seconds: float) -> Heartbeat:
        """Make liveness depend on a loop that beats at least every `max_age_seconds`."""
        heartbeat = Heartbeat(name, max_age_seconds, self._clock, self._clock.monotonic())
        self._heartbeats.append(heartbeat)
        return heartbeat

    def late(self) -> list[str]:
        """The names of the loops that hang; empty when the process is alive."""
        return [heartbeat.name for heartbeat in self._heartbeats if heartbeat.is_late]

    async def unready(self) -> dict[str, str]:
        """What keeps this process from being ready, by name; empty when it is."""
        return (await self.standing()).faults

    async def standing(self) -> Standing:
        """What keeps this process from being ready, and what it is ready without."""
        if self.stopping:
            return Standing({"process": "stopping"}, {})
        if not self.started:
            return Standing({"process": self.obstacle or "starting"}, {})
        registered = dict(self._checks)
        verdicts = await asyncio.gather(*(_judge(each) for each in registered.values()))
        found = Standing({}, {})
        for name, (verdict, is_degraded) in zip(registered, verdicts, strict=True):
            if verdict is not None:
                (found.degraded if is_degraded else found.faults)[name] = verdict.reason
        return found


async def _judge(registered: _Registered) -> tuple[_Verdict | None, bool]:
    """Why the check has failed, and whether its substitute makes up for that."""
    if registered.substitute is None:
        return await _verdict(registered.check), False
    verdict, instead = await asyncio.gather(_verdict(registered.check), _verdict(registered.substitute))
    return verdict, verdict is not None and verdict.is_silent and instead is None


async def _verdict(check: Check) -> _Verdict | None:
    looking = asyncio.ensure_future(check())
    done, _ = await asyncio.wait({looking}, timeout=_CHECK_SECONDS)
    if not done:  # left to itself: to break it off can take as long
        looking.cancel()
        looking.add_done_callback(forget)
        return _Verdict(f"no answer within {_CHECK_SECONDS:g} s", is_silent=True)
    try:
        looking.result()
    except CoursegenError as error:
        return _Verdict(error.message, is_silent=isinstance(error, RetryableError))
    except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
        return _Verdict(type(error).__name__)
    return None
