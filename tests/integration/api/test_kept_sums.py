"""The window of the numbers goes on over restarts and new processes: what it is measured from is kept in Redis."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from services.api.kept_sums import KEPT_SECONDS, MINUTE, PREFIX, KeptSums
from services.api.recent_figures import SAMPLE_SECONDS, WINDOW_SECONDS, RecentFigures
from services.kernel.clock import SystemClock
from services.kernel.counters import Snapshot, bucket_of
from services.kernel.redis_connection import open_redis
from services.kernel.settings import Secret
from tests.support.api import RunningApi, running_api
from tests.support.clocks import StandingClock
from tests.support.servers import database_number
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

INSTALLATION = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def clock(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    """The clock of Redis, which moves when told."""
    standing = StandingClock()

    async def told() -> tuple[int, int]:
        seconds, fraction = divmod(standing.now().timestamp(), 1)
        return int(seconds), round(fraction * 1_000_000)

    monkeypatch.setattr(redis, "time", told)
    return standing


def sums(failed: int, milliseconds: float = 40.0) -> Snapshot:
    """Counters of all time."""
    return Snapshot({("fsm_total", "failed", 0): failed, ("fsm_duration", "", bucket_of(milliseconds)): failed})


async def test_a_restart_begins_no_window_anew(app_database_url: str, redis_url: str) -> None:
    """What an api has counted is in the window of the next one, percentiles included, and in the verdict."""
    began = time.monotonic()
    async with running_api(app_database_url, redis_url) as first:
        await first.client.post("/api/coursegen/generate", json={"courseId": str(uuid4()), "title": "x"})
        before = await _counted(first)
    async with running_api(app_database_url, redis_url) as second, running_api(app_database_url, redis_url) as beside:
        windows = [(await _counted(api)) for api in (second, beside)]
        verdict = (await second.client.get("/api/trpc/metrics.healthCheck")).json()
    elapsed = time.monotonic() - began

    assert verdict["fsmSuccessRate"] == 100
    for window in windows:
        assert before["seconds"] < window.pop("seconds") < elapsed + 1
        assert window == {name: value for name, value in before.items() if name != "seconds"}
        assert window["durations"]["p95"] > 0


async def _counted(api: RunningApi) -> dict[str, Any]:
    async def window() -> dict[str, Any]:
        found: dict[str, Any] = (await api.client.get("/api/trpc/metrics.getFSM")).json()["window"]
        assert found["total"] == 1
        return found

    return await eventually(window, within=20)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_window_goes_on_whatever_the_clocks_of_the_apis_say(
    app_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """R13: what one has kept is as old for the next, whose clock is an hour before or after."""
    began, real = time.monotonic(), SystemClock.now
    async with running_api(app_database_url, redis_url) as first:
        await first.client.post("/api/coursegen/generate", json={"courseId": str(uuid4()), "title": "x"})
        before = await _counted(first)
    monkeypatch.setattr(SystemClock, "now", lambda clock: real(clock) + timedelta(hours=hours))
    async with running_api(app_database_url, redis_url) as second:
        window = await _counted(second)

    assert before["seconds"] < window["seconds"] < time.monotonic() - began + 1


async def test_whoever_begins_has_the_window_of_whoever_has_run_for_an_hour(redis: Redis, clock: StandingClock) -> None:
    """At any second of a minute: the same seconds and the same numbers, fifteen minutes and no more than one besides."""
    kept = KeptSums(redis, INSTALLATION)
    old = RecentFigures(clock, kept)
    await old.begin(sums(0))
    for minute in range(1, 61):
        clock.pass_by(SAMPLE_SECONDS)
        await old._note(sums(minute))
        young = RecentFigures(clock, kept)
        await young.begin(sums(minute))
        assert _same(young, old, sums(minute))

    clock.pass_by(59)
    young = RecentFigures(clock, kept)
    await young.begin(sums(61))
    assert WINDOW_SECONDS <= young.until(sums(61)).seconds <= WINDOW_SECONDS + SAMPLE_SECONDS
    assert _same(young, old, sums(61))


def _same(young: RecentFigures, old: RecentFigures, counted: Snapshot) -> bool:
    ours, theirs = young.until(counted), old.until(counted)
    return (ours.seconds, ours.initiations, ours.counted.durations("fsm_duration")) == (
        theirs.seconds,
        theirs.initiations,
        theirs.counted.durations("fsm_duration"),
    )


async def test_one_mark_a_minute_and_none_for_ever(redis: Redis, clock: StandingClock) -> None:
    """However many apis there are; the first one's sums stand, and each installation has its own."""
    for failed in (1, 2, 3):
        await KeptSums(redis, INSTALLATION).keep(sums(failed))
    await KeptSums(redis, "another").keep(sums(9))
    marks = await KeptSums(redis, INSTALLATION).recall()
    names = [name.decode() for name in await redis.keys(f"{PREFIX}{INSTALLATION}:*")]

    assert [(age, mark.count("fsm_total", "failed")) for age, mark in marks] == [(0, 1)]
    assert names == [f"{PREFIX}{INSTALLATION}:{int(clock.now().timestamp()) // MINUTE}"]
    assert 0 < await redis.ttl(names[0]) <= KEPT_SECONDS


async def test_counters_that_were_emptied_begin_a_window(redis: Redis, clock: StandingClock) -> None:
    """A mark from before a restore is above them: it would hide what is counted until they have grown as far."""
    kept = KeptSums(redis, INSTALLATION)
    await kept.keep(sums(50))
    clock.pass_by(MINUTE)
    recent = RecentFigures(clock, kept)
    await recent.begin(sums(0))
    clock.pass_by(10)

    assert recent.until(sums(3)).initiations.failed == 3
    assert recent.until(sums(3)).seconds == 10


async def test_a_mark_of_a_time_to_come_is_none(redis: Redis, clock: StandingClock) -> None:
    """The clock of Redis was set back, or another server has taken over: its age is not known, and it is not of this moment."""
    kept = KeptSums(redis, INSTALLATION)
    await kept.keep(sums(1))
    clock.pass_by(-30)

    assert await kept.recall() == []


@pytest.mark.parametrize(
    "text", ["", "no mark", "[]", "{}", '{"at": "x", "sums": []}', '{"at": 1, "sums": [["a", "", {}, 1]]}']
)
async def test_what_is_no_mark_is_as_good_as_none(redis: Redis, clock: StandingClock, text: str) -> None:
    """Whoever has written it: an api begins all the same, and with the other marks."""
    kept = KeptSums(redis, INSTALLATION)
    await kept.keep(sums(1))
    clock.pass_by(MINUTE)
    await redis.set(f"{PREFIX}{INSTALLATION}:{int(clock.now().timestamp()) // MINUTE}", text)

    assert [age for age, _ in await kept.recall()] == [MINUTE]


async def test_without_redis_the_window_begins_with_the_process() -> None:
    """Nothing is waited for, and nothing fails."""
    clock = StandingClock()
    async with open_redis(
        Secret("redis://127.0.0.1:1/0"), name="test", socket_timeout=0.2, connect_timeout=0.2
    ) as away:
        recent = RecentFigures(clock, KeptSums(away, INSTALLATION))
        await recent.begin(sums(5))
        clock.pass_by(10)

        assert recent.until(sums(6)).initiations.failed == 1


async def test_an_api_begins_while_redis_hangs(app_database_url: str, redis_url: str) -> None:
    """A Redis that accepts and never answers: the marks and the slots of courses cost a second of the start each (the
    stream what it is given), and the window begins with the api.
    """
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    silent = await asyncio.start_server(lambda *streams: held.append(streams), "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/{database_number(redis_url)}"
    began = time.monotonic()
    async with silent, running_api(app_database_url, url, messages_accept_seconds=0.5) as api:
        answer = await api.client.get("/api/trpc/metrics.getAll")
        took = time.monotonic() - began
        numbers = answer.json()
        for _, writer in held:
            writer.close()
    for _, writer in held:  # one that came while the api stopped is closed as well
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in held), return_exceptions=True)

    assert (answer.status_code, numbers["fsm"]["window"]["total"]) == (200, 0)
    assert 0 < numbers["fsm"]["window"]["seconds"] < took
    assert held
    assert took < 5
