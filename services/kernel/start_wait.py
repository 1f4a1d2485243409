"""Waiting at the start for what is not there yet: PostgreSQL, its schema, a login that it accepts.

On a fresh installation everything starts at once, processes before the database and before its migrations. Such a process
lives, is not ready, and says what is missing and what to do about it on `/readyz`, in the log (at the first look, when it
changes, every half minute) and as metric `start_waiting`. It opens as soon as everything is there.

What waiting cannot mend ends the process at once: settings that are not valid. A login that is refused may be mended by
the migration that makes the role, so it is waited for as well, but logged as an error.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from services.kernel import metrics
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import (
    BrokerUnavailable,
    CoursegenError,
    DatabaseDenied,
    DatabaseUnavailable,
    OperatorError,
    RedisOccupied,
    RetryableError,
    SchemaMissing,
)
from services.kernel.health import HealthRegistry
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.reminders import Reminder

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""Pause between two attempts, more or less, so that many processes do not knock together."""

_WORTH_WAITING: Final = (RetryableError, SchemaMissing, DatabaseDenied)
_NEXT_STEPS: Final[Mapping[type[CoursegenError], str]] = {
    DatabaseUnavailable: 'see whether it runs and DATABASE_URL names it: `pg_isready -d "$DATABASE_URL"`',
    DatabaseDenied: "look at DATABASE_URL; `coursegen migrate` makes the role coursegen_app, "
    "`ALTER ROLE coursegen_app PASSWORD '…'` gives it a password",
    SchemaMissing: "on Kubernetes see `kubectl get jobs -l app.kubernetes.io/component=migrate`",
    BrokerUnavailable: 'see whether it runs and REDIS_URL names it: `redis-cli -u "$REDIS_URL" ping`',
}
_WAITING = metrics.gauge("start_waiting", "1 while the process waits for this before it can start", ["reason"])
_log = get_logger(__name__)


class StartFailed(OperatorError):
    """What the process needs was not there in time."""

    code = "start_failed"


class StartWait:
    """One start, with as many attempts as it takes."""

    def __init__(self, health: HealthRegistry, seconds: float, clock: Clock | None = None) -> None:
        """Begin to count.

        Args:
            health: says what is waited for.
            seconds: longest wait; 0 for one attempt.
            clock: measures it.
        """
        self._health = health
        self._seconds = seconds
        self._clock = clock or SystemClock()
        self._begun = self._clock.monotonic()
        self._reminder = Reminder(self._clock)
        self._code = ""

    async def open(
        self, stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[T]], stopping: asyncio.Event
    ) -> T | None:
        """Enter what `opening` makes, as soon as that is possible; None when `stopping` is set before.

        Raises:
            StartFailed: something was still missing at the end of the wait; says what, and what to do.
            OperatorError: waiting cannot help.
        """
        while not stopping.is_set():
            self._health.forget()
            try:
                async with _broken_off(stopping):
                    opened = await stack.enter_async_context(opening())
            except _WORTH_WAITING as error:
                self._wait_for(error)
            except TimeoutError:
                if not stopping.is_set():
                    raise
            else:
                self._arrived()
                return opened
            await pause(stopping, LOOK_SECONDS * (0.75 + random.random() / 2))
        return None

    def _wait_for(self, error: CoursegenError) -> None:
        now = self._clock.monotonic()
        reason = reason_of(error)
        if now - self._begun >= self._seconds:
            raise StartFailed(reason, waited_seconds=round(now - self._begun)) from error
        self._show(error.code)
        self._health.obstacle = reason
        if self._reminder.is_due(reason):
            say = _log.error if isinstance(error, DatabaseDenied) else _log.warning
            left = round(self._seconds - (now - self._begun))
            say("waiting to start", reason=reason, waited_seconds=round(now - self._begun), left_seconds=left)

    def _arrived(self) -> None:
        self._health.obstacle = None
        self._show("")
        if self._reminder.has_said:
            _log.info("what was waited for is there", waited_seconds=round(self._clock.monotonic() - self._begun, 1))

    def _show(self, code: str) -> None:
        if self._code and code != self._code:
            _WAITING.labels(self._code).set(0)
        if code:
            _WAITING.labels(code).set(1)
        self._code = code


def reason_of(error: CoursegenError) -> str:
    """What is missing, and the next thing to do."""
    if isinstance(error, RedisOccupied):  # it answers, and the error says what to do
        return error.message
    steps = [step for kind, step in _NEXT_STEPS.items() if isinstance(error, kind)]
    return "; ".join([error.message, *steps])


@asynccontextmanager
async def _broken_off(by: asyncio.Event) -> AsyncIterator[None]:
    """Run the block to its end, or leave it by `TimeoutError` when `by` is set."""

    async def watch(limit: asyncio.Timeout) -> None:
        await by.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    async with asyncio.timeout(None) as limit:
        watching = asyncio.create_task(watch(limit), name="breaking off")
        try:
            yield
        finally:
            watching.cancel()
