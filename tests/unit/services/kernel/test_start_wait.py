"""How long a process waits at its start, for what, and what it says meanwhile; time passes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from services.kernel import metrics, start_wait
from services.kernel.errors import (
    CoursegenError,
    DatabaseDenied,
    DatabaseUnavailable,
    OperatorError,
    RedisOccupied,
    SchemaMissing,
    SettingsInvalid,
)
from services.kernel.health import HealthRegistry
from services.kernel.start_wait import StartFailed, StartWait, reason_of
from tests.support.virtual_time import Process, run_virtually

_AWAY = DatabaseUnavailable("PostgreSQL does not answer (ConnectionRefusedError)")
_EMPTY = SchemaMissing("relation courses does not exist; run `coursegen migrate`")
_REFUSED = DatabaseDenied('PostgreSQL refuses the login: role "x" does not exist')


class _Lines:
    """A log that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **facts: self.said.append((level, event, facts))

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """Level and reason of each line that says what is waited for."""
        return [(level, facts["reason"]) for level, event, facts in self.said if event == "waiting to start"]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> _Lines:
    """What the module logs."""
    kept = _Lines()
    monkeypatch.setattr(start_wait, "_log", kept)
    return kept


class _Opening:
    """Fails with these errors, one an attempt, then opens."""

    def __init__(self, health: HealthRegistry, errors: Iterator[Exception]) -> None:
        self.health = health
        self.errors = errors
        self.attempts = 0
        self.closed = False

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[str]:
        self.attempts += 1
        self.health.progress(f"loop {self.attempts}", 1.0)
        self.health.register(f"check {self.attempts}", self._fine)
        error = next(self.errors, None)
        if error is not None:
            raise error
        yield "open"
        self.closed = True

    async def _fine(self) -> None:
        return


def _wait(seconds: float, *errors: Exception, stop_after: float | None = None) -> tuple[_Opening, str | None, float]:
    """What was opened, and when."""
    health = HealthRegistry()
    opening = _Opening(health, iter(errors))

    async def main() -> tuple[str | None, float]:
        stopping = asyncio.Event()
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, stopping.set)
        async with AsyncExitStack() as stack:
            opened = await StartWait(health, seconds, Process(since=5.0)).open(stack, opening, stopping)
            assert not opening.closed
        return opened, asyncio.get_running_loop().time()

    return opening, *run_virtually(main())


def test_what_opens_at_once_is_not_spoken_of(lines: _Lines) -> None:
    """The ordinary start takes no time and leaves no line; what was opened is closed with the stack."""
    opening, opened, seconds = _wait(60)

    assert (opened, opening.attempts, opening.closed) == ("open", 1, True)
    assert seconds == pytest.approx(0, abs=0.01)
    assert lines.said == []


def test_it_opens_when_everything_is_there(lines: _Lines) -> None:
    """One attempt a second; the checks and heartbeats of attempts that failed are forgotten."""
    opening, opened, seconds = _wait(60, _AWAY, _AWAY, _REFUSED, _EMPTY)

    assert (opened, opening.attempts) == ("open", 5)
    assert 4 * 0.75 <= seconds <= 4 * 1.25
    assert list(opening.health._checks) == ["check 5"]
    assert [beat.name for beat in opening.health._heartbeats] == ["loop 5"]
    assert opening.health.obstacle is None
    assert lines.said[-1][:2] == ("info", "what was waited for is there")


def test_an_obstacle_is_said_once_when_it_changes_and_twice_a_minute(lines: _Lines) -> None:
    """Not at each attempt; a login that is refused is an error, the rest a warning."""
    _wait(3600, *[_AWAY] * 50, *[_REFUSED] * 3, *[_EMPTY] * 3)

    away, refused, empty = reason_of(_AWAY), reason_of(_REFUSED), reason_of(_EMPTY)
    assert lines.waiting == [("warning", away), ("warning", away), ("error", refused), ("warning", empty)]


@pytest.mark.parametrize("error", [_AWAY, _EMPTY, _REFUSED])
def test_each_reason_names_the_next_command(error: CoursegenError) -> None:
    """After what is missing."""
    reason = reason_of(error)

    assert reason.startswith(error.message)
    assert "`" in reason.removeprefix(error.message)


def test_a_redis_of_somebody_else_s_is_waited_for_and_not_pinged(lines: _Lines) -> None:
    """It answers: what is to be set stands in the error, and nothing is added; whoever frees it lets the process start."""
    occupied = RedisOccupied("another installation's; give this one another REDIS_STREAM_DB")

    _, opened, _ = _wait(60, occupied, occupied)

    assert opened == "open"
    assert lines.waiting == [("warning", occupied.message)]


def test_a_wait_that_is_over_ends_with_the_last_reason(lines: _Lines) -> None:
    """Not before its time, and soon after it; the cause is kept."""
    with pytest.raises(StartFailed, match="relation courses does not exist") as failure:
        _wait(10, *[_AWAY] * 5, *[_EMPTY] * 100)

    assert 10 <= failure.value.details["waited_seconds"] <= 12
    assert failure.value.__cause__ is _EMPTY


def test_without_a_wait_the_first_obstacle_is_the_end(lines: _Lines) -> None:
    """START_WAIT_SECONDS=0: one attempt, nothing but the error."""
    with pytest.raises(StartFailed, match="does not answer"):
        _wait(0, _AWAY)

    assert lines.said == []


@pytest.mark.parametrize(
    "error", [SettingsInvalid(["X: no"]), OperatorError("no"), ZeroDivisionError(), TimeoutError()]
)
def test_what_waiting_cannot_mend_ends_it_at_once(lines: _Lines, error: Exception) -> None:
    """The error itself is raised."""
    with pytest.raises(type(error)) as failure:
        _wait(60, error)

    assert failure.value is error
    assert lines.said == []


def test_stopping_ends_the_wait(lines: _Lines) -> None:
    """At the moment it is asked, not at the next attempt."""
    _, opened, seconds = _wait(60, *[_AWAY] * 100, stop_after=20.1)

    assert opened is None
    assert seconds == pytest.approx(20.1, abs=0.01)


def test_stopping_breaks_off_an_attempt_that_hangs(lines: _Lines) -> None:
    """What the attempt had opened so far is closed."""
    closed = []

    @asynccontextmanager
    async def hanging() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(1000)
            yield "never"
        finally:
            closed.append(asyncio.get_running_loop().time())

    async def main() -> str | None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(3, stopping.set)
        async with AsyncExitStack() as stack:
            return await StartWait(HealthRegistry(), 60, Process()).open(stack, hanging, stopping)

    assert run_virtually(main()) is None
    assert closed == [pytest.approx(3, abs=0.01)]


def test_the_metric_names_what_is_waited_for(lines: _Lines) -> None:
    """1 for the obstacle of the moment, 0 for those that were."""

    def value(reason: str) -> float | None:
        return metrics.REGISTRY.get_sample_value("start_waiting", {"reason": reason})

    start_wait._WAITING.clear()  # what failed starts of other tests have left
    seen = []

    def errors() -> Iterator[Exception]:
        yield _AWAY
        seen.append((value("database_unavailable"), value("schema_missing") or 0.0))
        yield _EMPTY
        seen.append((value("database_unavailable"), value("schema_missing")))

    health = HealthRegistry()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await StartWait(health, 60, Process()).open(stack, _Opening(health, errors()), asyncio.Event())

    run_virtually(main())
    assert seen == [(1.0, 0.0), (0.0, 1.0)]
    assert (value("database_unavailable"), value("schema_missing")) == (0.0, 0.0)
