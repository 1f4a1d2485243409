"""Whether this process is ready for work, and whether it is still alive.

Ready: started, not stopping, and every registered check passes. Alive: every registered loop has beaten lately; a loop that hangs
makes `/livez` fail although the process runs. Both answers name what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import CoursegenError

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


class HealthRegistry:
    """The checks and heartbeats of one process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._checks: dict[str, Check] = {}
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

    def register(self, name: str, check: Check) -> None:
        """Make readiness depend on `check`."""
        self._checks[name] = check

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
        if self.stopping:
            return {"process": "stopping"}
        if not self.started:
            return {"process": self.obstacle or "starting"}
        names = list(self._checks)
        verdicts = await asyncio.gather(*(_verdict(self._checks[name]) for name in names))
        return {name: verdict for name, verdict in zip(names, verdicts, strict=True) if verdict is not None}


async def _verdict(check: Check) -> str | None:
    try:
        await asyncio.wait_for(check(), _CHECK_SECONDS)
    except CoursegenError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
        return type(error).__name__
    return None
