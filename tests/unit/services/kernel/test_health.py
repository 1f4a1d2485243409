"""Readiness follows the checks, liveness follows the loops."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from services.kernel.errors import DatabaseUnavailable
from services.kernel.health import HealthRegistry
from services.kernel.probes import serve_probes


class StandingClock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        """A fixed day."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """The seconds set by the test."""
        return self.seconds


async def _fine() -> None:
    return


async def _broken() -> None:
    raise DatabaseUnavailable


async def _bug() -> None:
    raise ZeroDivisionError


async def test_a_process_is_ready_once_started_and_until_it_stops() -> None:
    """Before start and after SIGTERM the answer is no, whatever the checks say."""
    health = HealthRegistry()
    health.register("database", _fine)
    before = await health.unready()
    health.started = True
    during = await health.unready()
    health.stopping = True

    assert ({"process": "starting"}, {}, {"process": "stopping"}) == (before, during, await health.unready())


async def test_each_failing_check_is_named() -> None:
    """The reason is our sentence, or the type of an unforeseen error, never its text."""
    health = HealthRegistry()
    health.started = True
    health.register("database", _broken)
    health.register("bug", _bug)

    assert {"database": DatabaseUnavailable().message, "bug": "ZeroDivisionError"} == await health.unready()


def test_a_loop_that_stops_beating_makes_the_process_dead() -> None:
    """Late after max_age_seconds, well again after a beat."""
    clock = StandingClock()
    health = HealthRegistry(clock)
    heartbeat = health.progress("poll", 10)
    clock.seconds = 11
    late = health.late()
    heartbeat.beat()

    assert (["poll"], []) == (late, health.late())


async def _get(port: int, request: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


async def test_probes_answer_over_http() -> None:
    """Codes 200 and 503 follow the registry; unknown paths and methods are told apart."""
    clock = StandingClock()
    health = HealthRegistry(clock)
    async with serve_probes(health, "127.0.0.1", 0) as port:
        starting = await _get(port, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        health.started = True
        ready = await _get(port, "GET /readyz?verbose=1 HTTP/1.1\r\n\r\n")
        health.progress("poll", 1)
        clock.seconds = 2
        dead = await _get(port, "GET /livez HTTP/1.1\r\n\r\n")
        numbers = await _get(port, "GET /metrics HTTP/1.1\r\n\r\n")
        lost = await _get(port, "GET /nothing HTTP/1.1\r\n\r\n")
        wrong = await _get(port, "POST /livez HTTP/1.1\r\n\r\n")

    assert [503, 200, 503, 200, 404, 405] == [each[0] for each in (starting, ready, dead, numbers, lost, wrong)]
    assert json.loads(dead[1]) == {"alive": False, "late": ["poll"]}
    assert "error" in json.loads(lost[1])


async def _silent() -> None:
    await asyncio.Event().wait()


async def test_a_substitute_makes_up_for_a_server_that_does_not_answer() -> None:
    """And for nothing else: what it says when it answers counts, and without the substitute nothing is made up for."""
    health = HealthRegistry()
    health.started = True
    health.register("away", _broken, substitute=_fine)
    health.register("hanging", _silent, substitute=_fine)
    health.register("wrong", _bug, substitute=_fine)
    health.register("both", _broken, substitute=_silent)
    health.register("none", _broken)
    health.register("well", _fine, substitute=_broken)
    away = DatabaseUnavailable().message
    standing = await health.standing()

    assert standing.degraded == {"away": away, "hanging": "no answer within 2 s"}
    assert standing.faults == {"wrong": "ZeroDivisionError", "both": away, "none": away}


async def test_a_degraded_process_is_ready_and_says_so() -> None:
    """200, with what it is ready without."""
    health = HealthRegistry()
    health.started = True
    health.register("database", _broken, substitute=_fine)
    async with serve_probes(health, "127.0.0.1", 0) as port:
        status, text = await _get(port, "GET /readyz HTTP/1.1\r\n\r\n")

    assert status == 200
    assert json.loads(text) == {
        "ready": True,
        "faults": {},
        "degraded": {"database": DatabaseUnavailable().message},
    }
