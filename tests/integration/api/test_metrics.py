"""The numbers are everybody's: all processes', without a token, in JSON and for Prometheus (contract.md i)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.api.metrics_view import DEEPEST_QUEUE
from services.api.shared_figures import FRESH_SECONDS, STALE_SECONDS
from services.kernel.clock import SystemClock
from services.kernel.counters import Counters
from services.kernel.database import Database, Row
from services.kernel.queries import Queries
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.waiting import eventually

GET_ALL, HEALTH = "/api/trpc/metrics.getAll", "/api/trpc/metrics.healthCheck"
ROUTES = [
    GET_ALL,
    "/api/trpc/metrics.getFSM",
    "/api/trpc/metrics.getOutbox",
    "/api/trpc/metrics.getFallbacks",
    HEALTH,
    "/api/health/outbox",
]


async def relay_lives(db: Database, *, seconds_ago: float = 0) -> None:
    """Write the heartbeat of a relay."""
    await db.execute(
        "UPDATE relay_leadership SET holder = 'r', epoch = 1, poll_interval_ms = 1000,"
        " heartbeat_at = now() - $1 * interval '1 second', last_progress_at = now() - $1 * interval '1 second'",
        seconds_ago,
    )


async def judged(api: RunningApi, *, healthy: bool) -> httpx.Response:
    """The answer that says so, which may be a second late."""

    async def answer() -> httpx.Response:
        found = await api.client.get(HEALTH)
        assert found.json()["healthy"] is healthy
        return found

    return await eventually(answer, within=30)


@pytest.mark.parametrize("path", ROUTES)
async def test_the_numbers_need_no_token(api: RunningApi, path: str) -> None:
    """TRAP35; nor does a bad token hurt."""
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer x"}):
        assert (await api.client.get(path, headers=headers)).status_code in {200, 503}


async def test_a_stopped_relay_is_reported_by_a_running_api(api: RunningApi, db: Database) -> None:
    """TRAP36: read from its heartbeat; 503 when unhealthy, with the same body."""
    await relay_lives(db)
    alive = await api.client.get(HEALTH)
    outbox = (await api.client.get("/api/health/outbox")).json()
    await relay_lives(db, seconds_ago=91)
    dead = await judged(api, healthy=False)

    assert (alive.status_code, alive.json()["healthy"]) == (200, True)
    assert alive.json()["checks"] == {
        "outboxAlive": True,
        "fsmSuccessRate": 0.0,
        "queueDepth": 0,
        "lastProcessedOk": True,
    }
    assert (outbox["alive"], outbox["queueDepth"], outbox["pollInterval"]) == (True, 0, 1000)
    assert outbox["lastProcessed"]
    assert (await api.client.get("/api/trpc/metrics.getOutbox")).json()["health"]["alive"] is False
    assert outbox["readAt"] < dead.json()["readAt"]
    assert (dead.status_code, dead.json()["healthy"], dead.json()["outboxAlive"]) == (503, False, False)


async def test_old_failures_do_not_make_an_api_unhealthy(app_database_url: str, redis_url: str, db: Database) -> None:
    """The verdict is on the last minutes: what failed before counts in `getFSM` only, what fails now weighs (TRAP18)."""
    await relay_lives(db)
    async with Counters(db).writing() as others:
        others.add("fsm_total", "failed", 10)
    async with running_api(app_database_url, redis_url) as api:
        before = await api.client.get(HEALTH)
        fsm = (await api.client.get("/api/trpc/metrics.getFSM")).json()
        async with Counters(db).writing() as others:
            others.add("fsm_total", "failed")
            others.add("fsm_total", "success", 3)
        now = await judged(api, healthy=False)

    assert (before.status_code, before.json()["fsmSuccessRate"]) == (200, 0)
    assert (fsm["failed"], fsm["successRate"]) == (10, 0)
    assert (now.status_code, now.json()["healthy"], now.json()["fsmSuccessRate"]) == (503, False, 75)


async def test_a_balancer_may_ask_for_200_always(app_database_url: str, redis_url: str, db: Database) -> None:
    """TRAP40: `HEALTHCHECK_STATUS=always200`; and with the relay stopped the api still accepts work."""
    async with running_api(app_database_url, redis_url, healthcheck_status="always200") as api:
        answer = await api.client.get(HEALTH)
        accepted = await api.client.post("/api/coursegen/generate", json={"courseId": str(uuid4()), "title": "x"})

    assert (answer.status_code, answer.json()["healthy"]) == (200, False)
    assert accepted.status_code == 200


async def test_all_numbers_come_at_once(api: RunningApi) -> None:
    """`fsm`, `outbox`, `fallbacks`, and 002's `healthCheck`: each as by itself."""
    everything = (await api.client.get(GET_ALL)).json()
    single = {
        "fsm": (await api.client.get("/api/trpc/metrics.getFSM")).json(),
        "fallbacks": (await api.client.get("/api/trpc/metrics.getFallbacks")).json(),
        "outbox": (await api.client.get("/api/trpc/metrics.getOutbox")).json(),
    }
    read_at = everything.pop("readAt")
    for name, numbers in single.items():
        for each in (numbers, everything[name]):
            assert 0 < each["window"].pop("seconds") < 900
        assert read_at == everything[name].pop("readAt") < numbers.pop("readAt")
    for health in (everything["outbox"]["health"], everything["healthCheck"]):
        assert health.pop("readAt") == read_at
    del single["outbox"]["health"]["readAt"]

    assert set(everything) == {"fsm", "outbox", "fallbacks", "healthCheck"}
    assert {name: everything[name] for name in single} == single


@pytest.mark.parametrize(("path", "accept"), [*((path, "*/*") for path in ROUTES), (GET_ALL, "text/plain")])
async def test_ten_balancers_are_one_look_a_second(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch, path: str, accept: str
) -> None:
    """They ask as often as they like: what PostgreSQL is asked does not grow with them. Prometheus' text is no exception."""
    await relay_lives(db)
    asked: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(Database, name)

        async def counting(each: Database, query: str, *arguments: Any) -> Any:
            asked[query] += 1
            return await real(each, query, *arguments)

        monkeypatch.setattr(Database, name, counting)

    for name in ("fetch", "fetchrow", "fetchval"):
        count(name)
    began = time.monotonic()
    answers = [await api.client.get(path, headers={"Accept": accept}) for _ in range(100)]
    took = time.monotonic() - began

    assert {answer.status_code for answer in answers} == {200}
    assert asked.total() > 0
    sums = Queries.load("services.kernel", "counters.sql")["read_values"]
    others = Queries.load("services.api", "metrics.sql")
    for statement in (sums, *(others[name] for name in others)):
        assert asked[statement] <= took / FRESH_SECONDS + 1 + (
            statement == sums
        )  # the sums once a minute, for the window


@pytest.mark.parametrize("path", [each for each in ROUTES if each != "/api/health/outbox"])
async def test_nothing_is_older_than_it_says(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The counters come first: `readAt` is before them, however long the rest takes."""
    await relay_lives(db)
    real, moments = Database.fetch, []
    sums = Queries.load("services.kernel", "counters.sql")["read_values"]

    async def slowly(each: Database, query: str, *arguments: Any) -> list[Row]:
        found = await real(each, query, *arguments)
        if query == sums:
            moments.append(await db.fetchval("SELECT now()"))
        return found

    monkeypatch.setattr(Database, "fetch", slowly)
    read_at = (await api.client.get(path)).json()["readAt"]

    assert datetime.fromisoformat(read_at) < moments[-1]


async def test_all_numbers_are_a_second_old_at_most(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine that is slow, as long as few rows wait: and they say how old they are."""
    _slow_down(monkeypatch, seconds=0.05)
    first = (await api.client.get(GET_ALL)).json()
    course = await add_course(db)
    await db.execute("INSERT INTO job_outbox (entity_id, queue_name) VALUES ($1, 'test-queue')", course)
    began = time.monotonic()

    async def counted() -> dict[str, Any]:
        found: dict[str, Any] = (await api.client.get(GET_ALL)).json()
        assert (found["readAt"] > first["readAt"]) == (found["outbox"]["pending"] == 1)
        assert found["outbox"]["pending"] == 1
        return found

    await eventually(counted, within=20)
    assert time.monotonic() - began < STALE_SECONDS


@pytest.mark.parametrize(("rows", "looks"), [(DEEPEST_QUEUE, 3), (DEEPEST_QUEUE + 1, 2)])
@pytest.mark.parametrize("path", [GET_ALL, "/api/trpc/metrics.getOutbox", "/api/health/outbox"])
async def test_very_many_rows_are_not_counted_every_second(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch, path: str, rows: int, looks: int
) -> None:
    """What it took 50 ms to count serves for ten seconds; few rows are counted each second, however long it takes."""
    taken = _slow_down(monkeypatch, seconds=0.05)
    await _have_waiting(db, rows)
    real, moments = SystemClock.monotonic, []
    for passed in (0, STALE_SECONDS / 2, STALE_SECONDS + 1):
        monkeypatch.setattr(SystemClock, "monotonic", lambda clock, passed=passed: real(clock) + passed)
        answer = (await api.client.get(path)).json()
        outbox = answer.get("outbox", answer)
        assert outbox.get("health", outbox)["queueDepth"] == rows
        moments.append(answer["readAt"])

    assert len(taken) == len(set(moments)) == looks
    assert moments == sorted(moments)


async def test_very_many_rows_are_not_counted_for_each_who_wants_text(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a look until it is ten seconds old."""
    taken = _slow_down(monkeypatch, seconds=0.05)
    await _have_waiting(db, DEEPEST_QUEUE + 1)
    real = SystemClock.monotonic
    for passed in (0, STALE_SECONDS / 2, STALE_SECONDS + 1):
        monkeypatch.setattr(SystemClock, "monotonic", lambda clock, passed=passed: real(clock) + passed)
        page = (await api.client.get(GET_ALL, headers={"Accept": "text/plain"})).text
        assert f"\noutbox_queue_depth {DEEPEST_QUEUE + 1}\n" in page

    assert len(taken) == 2


async def _have_waiting(db: Database, rows: int) -> None:
    course = await add_course(db)
    await db.execute(
        "INSERT INTO job_outbox (entity_id, queue_name) SELECT $1, 'test-queue' FROM generate_series(1, $2::int)",
        course,
        rows,
    )


def _slow_down(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> list[Row]:
    """Have each count of the outbox take longer; returns what was counted."""
    real, counted = Database.fetchrow, []
    statement = Queries.load("services.api", "metrics.sql")["outbox_state"]

    async def slowly(db: Database, query: str, *arguments: Any) -> Row:
        found = await real(db, query, *arguments)
        if query == statement:
            await asyncio.sleep(seconds)
            counted.append(found)
        return found

    monkeypatch.setattr(Database, "fetchrow", slowly)
    return counted


@pytest.mark.parametrize(
    ("accept", "is_text"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("text/plain", True),
    ],
)
async def test_prometheus_gets_its_own_format(api: RunningApi, accept: str | None, is_text: bool) -> None:
    """TRAP4: by the header Accept; everybody else gets JSON."""
    answer = await api.client.get(GET_ALL, headers={} if accept is None else {"Accept": accept})

    assert answer.status_code == 200
    modern = accept is not None and accept.startswith("application/openmetrics-text")
    text = "application/openmetrics-text" if modern else "text/plain"
    assert answer.headers["content-type"].startswith(text if is_text else "application/json")
    assert ("fsm_initializations_total{" in answer.text) == is_text


async def test_other_processes_numbers_are_seen(api: RunningApi, db: Database) -> None:
    """TRAP19: relay and workers count in the same place."""
    async with Counters(db).writing() as others:
        others.add("outbox_batches")
        others.add("outbox_jobs", "created", 3)
        others.observe("outbox_batch_duration", 0.012)
        others.add("fallback", "layer2:success")
    outbox = (await api.client.get("/api/trpc/metrics.getOutbox")).json()
    fallbacks = (await api.client.get("/api/trpc/metrics.getFallbacks")).json()

    assert (outbox["batchesProcessed"], outbox["jobsCreated"], outbox["jobsFailed"]) == (1, 3, 0)
    assert outbox["durations"]["p95"] == pytest.approx(12, rel=0.06)
    assert fallbacks["layer2Activations"] == 1


async def test_a_dead_row_counts_in_the_depth_but_is_not_waited_for(api: RunningApi, db: Database) -> None:
    """The age of the oldest row is of those that are still to go, here as in the relay's own series."""
    course_id = await add_course(db)
    await db.execute(
        "INSERT INTO job_outbox (entity_id, queue_name, created_at, retry_count)"
        " VALUES ($1, 'test-queue', now() - interval '1 hour', 5), ($1, 'test-queue', now() - interval '1 minute', 0)",
        course_id,
    )
    outbox = (await api.client.get("/api/trpc/metrics.getOutbox")).json()

    assert outbox["health"]["queueDepth"] == 2
    assert 59 < outbox["oldestPendingSeconds"] < 600


async def test_a_restart_resets_nothing(app_database_url: str, redis_url: str) -> None:
    """TRAP19: two api processes one after the other show one series."""
    for _ in range(2):
        async with running_api(app_database_url, redis_url) as api:
            await api.client.post("/api/coursegen/generate", json={"courseId": str(uuid4()), "title": "x"})
    async with running_api(app_database_url, redis_url) as api:
        assert (await api.client.get("/api/trpc/metrics.getFSM")).json()["total"] == 2


async def test_recent_activations_are_the_last_days(api: RunningApi, db: Database) -> None:
    """What Layers 2 and 3 did; not what a stage hands to the next."""
    await api.client.post("/api/coursegen/generate", json={"courseId": str(uuid4()), "title": "x"})
    await db.execute(
        "INSERT INTO fsm_events (entity_id, event_type, created_by, triggered_by, created_at)"
        " SELECT c.id, 'FSM_INITIALIZED', e.by, e.who, now() - e.age FROM courses AS c,"
        " (VALUES ('QUEUE', 'QUEUE_ADDED', interval '1 hour'), ('WORKER', 'WORKER_LAYER_3', interval '23 hours'),"
        "         ('WORKER', 'WORKER_LAYER_3', interval '25 hours'), ('WORKER', 'WORKER_STAGE_COMPLETE', interval '1 hour'))"
        " AS e (by, who, age)"
    )

    assert (await api.client.get("/api/trpc/metrics.getFallbacks")).json()["recentActivations"] == 2
