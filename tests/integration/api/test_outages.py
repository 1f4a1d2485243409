"""What the api does while PostgreSQL or Redis is away: bounded waits, one clean error, nothing half written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, footprint, totals
from tests.support.servers import Postgres, PrivatePostgres, PrivateRedis, server_folder
from tests.support.waiting import eventually

INITIATE = "/api/trpc/generation.initiate"
HEALTH = "/api/trpc/metrics.healthCheck"
NUMBERS = [*(f"/api/trpc/metrics.get{name}" for name in ("All", "FSM", "Outbox", "Fallbacks")), "/api/health/outbox"]
BALANCER_SECONDS = 1.0
"""What Nginx waits for a check (contract.md u)."""


def is_russian(text: str) -> bool:
    """Whether most of its letters are Cyrillic."""
    letters = [character for character in text if character.isalpha()]
    return sum("а" <= letter.lower() <= "ё" for letter in letters) > len(letters) / 2


async def test_a_redis_that_is_gone_costs_nothing_but_speed(
    app_database_url: str, db: Database, private_redis: PrivateRedis
) -> None:
    """R6: every request succeeds, quickly; when it is back, it remembers again."""
    async with running_api(app_database_url, private_redis.url()) as api:
        private_redis.stop()
        took = []
        for _ in range(30):
            started = time.perf_counter()
            answer = await api.client.post(INITIATE, json={"courseId": str(uuid4()), "title": "x"})
            took.append(time.perf_counter() - started)
            assert answer.status_code == 200
        course_id = await add_course(db)
        assert (await api.client.delete(f"/api/courses/{course_id}")).status_code == 204
        private_redis.start()

        async def remembers() -> bool:
            await api.client.post(INITIATE, json={"courseId": str(uuid4()), "title": "x"})
            return bool(await api.parts.commands._cache._redis.keys("idempotency:*"))  # type: ignore[union-attr]

        await eventually(remembers, within=10, every=0.2)

    assert sorted(took)[28] < 0.5


async def test_a_redis_that_hangs_is_waited_for_briefly(
    app_database_url: str, db: Database, private_redis: PrivateRedis
) -> None:
    """A black hole is worse than a refusal: the breaker steps aside after one try."""
    async with running_api(app_database_url, private_redis.url()) as api:
        course_id = await add_course(db)
        await api.client.post(INITIATE, json={"courseId": str(course_id)})
        private_redis.pause()
        try:
            started = time.perf_counter()
            for _ in range(20):
                assert (await api.client.post(INITIATE, json={"courseId": str(course_id)})).status_code == 200
            took = time.perf_counter() - started
        finally:
            private_redis.resume()

    assert took < 5
    assert (await footprint(db, course_id)).size == (1, 1, 1)


async def test_a_locked_course_ends_in_a_clean_russian_500(app_database_url: str, redis_url: str, db: Database) -> None:
    """GAP21: a real lock and a real timeout; no rows, one failure counted, one witness; neighbours are answered."""
    async with running_api(app_database_url, redis_url, statement_seconds=0.5) as api:
        locked, free = await add_course(db), await add_course(db)
        async with db.transaction() as holder:
            await holder.execute("SELECT 1 FROM courses WHERE id = $1 FOR UPDATE", locked)
            bad, good = await asyncio.gather(
                api.client.post(INITIATE, json={"courseId": str(locked)}),
                api.client.post(INITIATE, json={"courseId": str(free)}),
            )
        error = bad.json()["error"]

        assert (bad.status_code, good.status_code) == (500, 200)
        assert error["code"] == "initiation_failed"
        assert is_russian(error["message"])
        assert (await footprint(db, locked)).size[0] == 0

        async def witnessed() -> bool:
            row = await db.fetchrow("SELECT event_type::text, course_id FROM system_metrics")
            return row is not None and tuple(row) == ("job_rollback", locked)

        await eventually(witnessed, within=5)
        events = (await footprint(db, locked)).events
        assert [event["event_type"] for event in events] == ["FSM_FAILED"]
        assert events[0]["metadata"]["error"]
        again = await api.client.post(INITIATE, json={"courseId": str(locked)})
        assert again.status_code == 200
        assert (await api.client.get("/api/trpc/metrics.getFSM")).json()["failed"] == 1


async def test_a_function_that_raises_every_time_is_given_up(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """D15: 500, no rows, one `job_rollback`; a failed result is never remembered (TRAP38)."""
    await db.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON job_outbox FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    async with running_api(app_database_url, redis_url) as api:
        course_id = await add_course(db)
        before = await totals(db)
        answer = await api.client.post(INITIATE, json={"courseId": str(course_id)})
        await api.parts.commands.drain()

        assert answer.status_code == 500
        assert is_russian(answer.json()["error"]["message"])
        assert await totals(db) == {**before, "system_metrics": 1, "fsm_events": 1}
        await db.execute("DROP TRIGGER refuse ON job_outbox")
        assert (await api.client.post(INITIATE, json={"courseId": str(course_id)})).status_code == 200


@pytest.fixture
def durable_postgres() -> Iterator[PrivatePostgres]:
    """A server that the test may kill, and that keeps what it has committed."""
    with server_folder() as folder:
        server = PrivatePostgres(folder, durable=True)
        server.start()
        yield server
        server.kill()


@pytest.fixture
def durable_url(durable_postgres: PrivatePostgres) -> str:
    """A migrated database on it."""
    return Postgres(durable_postgres.url()).create()


@pytest.fixture
async def durable_db(durable_url: str) -> AsyncIterator[Database]:
    """The kernel's Database on it."""
    database = await Database.open(CommonSettings(database_url=Secret(durable_url)))
    yield database
    await database.close()


async def test_during_an_outage_of_postgresql_answers_are_500_or_503(
    durable_postgres: PrivatePostgres, durable_url: str, durable_db: Database, redis_url: str
) -> None:
    """R5: in the shape of every error; the first success comes within five seconds of its return."""
    async with running_api(durable_url, redis_url) as api:
        course_id = await add_course(durable_db)
        assert (await api.client.get(f"/api/courses/{course_id}")).status_code == 200
        durable_postgres.kill()
        initiated, shown, numbers = await asyncio.gather(
            api.client.post(INITIATE, json={"courseId": str(course_id)}),
            api.client.get(f"/api/courses/{course_id}"),
            api.client.get(HEALTH),
        )
        assert (initiated.status_code, shown.status_code, numbers.status_code) == (500, 503, 503)
        assert {answer.json()["error"]["code"] for answer in (shown, numbers)} == {"database_unavailable"}
        assert shown.headers["retry-after"] == "1"
        assert (numbers.json()["healthy"], numbers.json()["checks"]["outboxAlive"]) == (False, False)
        assert {await _code(api, path) for path in NUMBERS} == {(503, "database_unavailable")}
        durable_postgres.start()

        async def works() -> bool:
            return (await api.client.post(INITIATE, json={"courseId": str(course_id)})).status_code == 200

        await eventually(works, within=5, every=0.1)
        assert (await footprint(durable_db, course_id)).size[0] == 1


async def test_the_health_check_is_in_time_for_a_balancer_while_postgresql_hangs(
    durable_postgres: PrivatePostgres, durable_url: str, redis_url: str
) -> None:
    """A balancer waits 1 s (contract.md u): one that is to be told 200 whatever happens is told so in that time, each time."""
    async with running_api(durable_url, redis_url, healthcheck_status="always200") as api:
        assert (await api.client.get(HEALTH)).status_code == 200
        durable_postgres.pause()
        try:
            first = await eventually(lambda: _unseen(api), within=10)  # a verdict of before serves for a second
            took = [first, *[await _unseen(api) for _ in range(5)]]
        finally:
            durable_postgres.resume()

    assert max(took) < BALANCER_SECONDS


async def _code(api: RunningApi, path: str) -> tuple[int, str]:
    answer = await api.client.get(path)
    return answer.status_code, answer.json()["error"]["code"]


async def _unseen(api: RunningApi) -> float:
    """After how many seconds the health check has said, with 200, that it cannot see PostgreSQL."""
    began = time.perf_counter()
    answer = await api.client.get(HEALTH)
    took = time.perf_counter() - began
    assert (answer.status_code, answer.json()["healthy"]) == (200, False)
    assert answer.json().get("error", {}).get("code") == "database_unavailable"
    return took


async def test_a_short_outage_is_ridden_out(
    durable_postgres: PrivatePostgres, durable_url: str, durable_db: Database, redis_url: str
) -> None:
    """Sessions that a restart has broken are replaced; the caller notices nothing."""
    async with running_api(durable_url, redis_url) as api:
        course_id = await add_course(durable_db)
        await asyncio.gather(*(api.client.get(f"/api/courses/{course_id}") for _ in range(10)))
        durable_postgres.stop()
        durable_postgres.start()
        answers = await asyncio.gather(
            *(api.client.post(INITIATE, json={"courseId": str(uuid4()), "title": "x"}) for _ in range(20))
        )

    assert {answer.status_code for answer in answers} == {200}


async def test_a_frozen_postgresql_is_waited_for_with_a_limit(
    durable_postgres: PrivatePostgres, durable_url: str, durable_db: Database, redis_url: str
) -> None:
    """Case 12: a black hole costs a bounded wait, not a hung client."""
    async with running_api(durable_url, redis_url, initiation_seconds=2) as api:
        course_id = await add_course(durable_db)
        await api.client.get(f"/api/courses/{course_id}")
        durable_postgres.pause()
        try:
            started = time.perf_counter()
            answer = await api.client.post(INITIATE, json={"courseId": str(course_id)})
            took = time.perf_counter() - started
        finally:
            durable_postgres.resume()

        assert answer.status_code == 500
        assert took < 4
        assert (await eventually_ok(api, str(course_id))) == 200


async def eventually_ok(api: RunningApi, course_id: str) -> int:
    """The status of the first answer that is no 5xx."""

    async def ask() -> int:
        status = (await api.client.post(INITIATE, json={"courseId": course_id})).status_code
        return status if status < 500 else 0

    return await eventually(ask, within=10, every=0.2)
