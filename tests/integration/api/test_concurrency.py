"""Limits as a caller meets them (contract.md e): who is refused, with which words, and when there is room again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.kernel.concurrency import Book, TierLimits
from services.kernel.database import Database
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, footprint, totals
from tests.support.servers import PrivateRedis
from tests.support.waiting import eventually

PRODUCT = {"concurrency_global_limit": 3, "concurrency_tier_limits": TierLimits()}
"""What the product has when nobody says otherwise."""


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api with the product's own limits."""
    async with running_api(app_database_url, redis_url, **PRODUCT) as running:
        yield running


async def initiate(
    api: RunningApi, *, user: UUID = tokens.USER, tier: str = "FREE", course: UUID | None = None, **more: Any
) -> httpx.Response:
    """Ask for a course, a new one unless it is named."""
    body = {"courseId": str(course or uuid4()), "title": "Основы учёта", **more}
    return await api.client.post("/api/trpc/generation.initiate", json=body, headers=tokens.bearer(user, tier=tier))


async def shown(redis: Any, user: UUID = tokens.USER) -> list[int]:
    """The global counter and the user's."""
    values = await redis.mget("concurrency:global", f"concurrency:user:{user}")
    return [int(value or 0) for value in values]


async def end(db: Database, course: UUID, state: str = "error") -> None:
    """End a course's run behind everyone's back."""
    await db.execute("UPDATE courses SET generation_status = $2::generation_status_enum WHERE id = $1", course, state)


async def test_a_free_users_second_course_is_refused(api: RunningApi, db: Database, redis: Any) -> None:
    """429 with which limit, tier, limit and current; Retry-After; one event; nothing else written."""
    assert (await initiate(api)).status_code == 200
    before = await totals(db)
    refused = await initiate(api)
    after = await totals(db)
    error = refused.json()["error"]
    event = await db.fetchrow("SELECT * FROM system_metrics WHERE event_type = 'concurrency_limit_hit'")

    assert refused.status_code == 429
    assert error["code"] == "concurrency_limit"
    assert error["details"] == {
        "limitType": "user", "tier": "FREE", "limit": 1, "current": 1, "retryAfterSeconds": 10,
    }  # fmt: skip
    assert refused.headers["retry-after"] == "10"
    assert "Tier FREE may have 1 course" in error["message"]
    assert after == before | {"system_metrics": before["system_metrics"] + 1}
    assert event is not None
    assert (event["severity"], event["user_id"]) == ("warning", tokens.USER)
    assert event["metadata"] == {
        "limitType": "user", "tier": "FREE", "limit": 1, "current": 1, "requestId": refused.headers["x-request-id"],
    }  # fmt: skip
    assert await shown(redis) == [1, 1]


@pytest.mark.parametrize(("tier", "own"), [("FREE", 1), ("BASIC", 2), ("STANDARD", 3), ("TRIAL", 5), ("PREMIUM", 5)])
async def test_each_tier_has_its_own_limit(app_database_url: str, redis_url: str, tier: str, own: int) -> None:
    """With the global limit raised: as many as the tier's, and one more is refused as the user's (TRAP15)."""
    async with running_api(app_database_url, redis_url, **PRODUCT | {"concurrency_global_limit": 100}) as api:
        answers = [await initiate(api, tier=tier) for _ in range(own + 1)]

    assert [answer.status_code for answer in answers] == [200] * own + [429]
    details = answers[-1].json()["error"]["details"]
    assert (details["limitType"], details["tier"], details["limit"], details["current"]) == ("user", tier, own, own)


async def test_the_global_limit_masks_a_larger_tier_and_says_so(api: RunningApi) -> None:
    """A PREMIUM user may have five, the system has room for three (TRAP15)."""
    answers = [await initiate(api, tier="PREMIUM") for _ in range(4)]
    error = answers[-1].json()["error"]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert (error["details"]["limitType"], error["details"]["limit"], error["details"]["current"]) == ("global", 3, 3)
    assert "of all users together" in error["message"]


async def test_an_unknown_tier_counts_as_free(api: RunningApi) -> None:
    """GAP9, whatever the token says."""
    answers = [await initiate(api, tier="PLATINUM") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["error"]["details"]["tier"] == "FREE"


@pytest.mark.parametrize("remembered", [True, False], ids=["Redis remembers", "Redis has forgotten"])
async def test_a_repeat_is_answered_before_a_slot_is_asked_for(api: RunningApi, redis: Any, remembered: bool) -> None:
    """TRAP3, smoke test 6: the FREE user's repeat is the same success, with his only slot in use."""
    course = uuid4()
    first = await initiate(api, course=course)
    if not remembered:
        await redis.delete(*[name async for name in redis.scan_iter("idempotency:*")])
    again = await initiate(api, course=course)

    assert again.status_code == 200
    assert again.json() == first.json() | {"fromCache": True}
    assert await shown(redis) == [1, 1]


async def test_a_repeat_of_a_finished_course_takes_no_slot(api: RunningApi, db: Database, redis: Any) -> None:
    """Whoever has finished one course and runs another may still repeat the first request."""
    done = uuid4()
    first = await initiate(api, course=done)
    await db.execute("UPDATE courses SET generation_status = 'stage_4_analyzing' WHERE id = $1", done)
    for state in ("stage_4_complete", "stage_5_init", "stage_5_generating", "stage_5_complete", "completed"):
        await end(db, done, state)
    await api.parts.gate.releases.release(done, 1)
    assert (await initiate(api)).status_code == 200
    await redis.delete(*[name async for name in redis.scan_iter("idempotency:*")])
    again = await initiate(api, course=done)

    assert (again.status_code, again.json()["jobId"]) == (200, first.json()["jobId"])
    assert await shown(redis) == [1, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"title": None}, 404), ({"hasFiles": True}, 400)],
    ids=["unknown course", "files that are not there"],
)
async def test_other_refusals_come_before_the_limit_and_take_no_slot(
    api: RunningApi, redis: Any, body: dict[str, Any], status: int
) -> None:
    """GAP26: 404, 403 and 400 before 429."""
    assert (await initiate(api)).status_code == 200
    answer = await initiate(api, **body)

    assert answer.status_code == status
    assert await shown(redis) == [1, 1]


async def test_another_users_course_is_403_although_the_limit_is_reached(api: RunningApi, db: Database) -> None:
    """And a course of one's own that is running already is 409 for another key, not 429."""
    mine, theirs = uuid4(), await add_course(db, user=uuid4())
    await initiate(api, course=mine)
    busy = await api.client.post(
        "/api/trpc/generation.initiate", json={"courseId": str(mine)},
        headers={**tokens.bearer(tier="FREE"), "Idempotency-Key": "another"},
    )  # fmt: skip

    assert (await initiate(api, course=theirs)).status_code == 403
    assert busy.status_code == 409


async def test_racing_requests_with_one_key_take_one_slot(api: RunningApi, redis: Any) -> None:
    """All are answered with the same job, none leaks a slot or frees the other's."""
    course = uuid4()
    answers = await asyncio.gather(*(initiate(api, course=course) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert await shown(redis) == [1, 1]


async def test_racing_requests_for_courses_of_one_user_get_in_as_often_as_allowed(api: RunningApi, redis: Any) -> None:
    """Twenty at once, three of them in."""
    answers = await asyncio.gather(*(initiate(api, tier="STANDARD") for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 17
    assert await shown(redis) == [3, 3]


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_cancelling_or_deleting_makes_room(api: RunningApi, redis: Any, how: str) -> None:
    """The next course may begin at once."""
    course = uuid4()
    await initiate(api, course=course)
    headers = tokens.bearer(tier="FREE")
    if how == "cancel":
        ended = await api.client.post(f"/api/courses/{course}/cancel", headers=headers)
        again = await api.client.post(f"/api/courses/{course}/cancel", headers=headers)
        assert again.status_code == 200
    else:
        ended = await api.client.delete(f"/api/courses/{course}", headers=headers)

    assert ended.status_code in {200, 204}
    assert await shown(redis) == [0, 0]
    assert (await initiate(api)).status_code == 200


async def test_a_retry_needs_a_slot_too(api: RunningApi, redis: Any) -> None:
    """A cancelled course may be retried only when there is room; then it has the slot of its second run."""
    course = uuid4()
    await initiate(api, course=course)
    headers = tokens.bearer(tier="FREE")
    await api.client.post(f"/api/courses/{course}/cancel", headers=headers)
    other = uuid4()
    await initiate(api, course=other)
    refused = await api.client.post(f"/api/courses/{course}/retry", headers=headers)
    await api.client.post(f"/api/courses/{other}/cancel", headers=headers)
    retried = await api.client.post(f"/api/courses/{course}/retry", headers=headers)

    assert (refused.status_code, retried.status_code) == (429, 200)
    assert await shown(redis) == [1, 1]
    assert (await redis.hget("concurrency:slots", str(course))).split(b":")[1] == b"2"


async def test_an_initiation_given_up_returns_its_slot(api: RunningApi, db: Database, redis: Any) -> None:
    """D15: the function raises in every try: 500 in Russian, no rows, slot free, one job_rollback."""
    await db.execute(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;"
        "CREATE TRIGGER broken BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION broken()"
    )
    course = await add_course(db)
    answer = await initiate(api, course=course)
    left = await footprint(db, course)
    rollbacks = await eventually(
        lambda: db.fetchval("SELECT count(*) FROM system_metrics WHERE event_type = 'job_rollback'")
    )

    assert answer.status_code == 500
    assert "Не удалось" in answer.json()["error"]["message"]
    assert left.size == (0, 1, 0)  # the event is the witness
    assert rollbacks == 1
    assert await shown(redis) == [0, 0]


async def witnesses(db: Database) -> int:
    """Initiations written down as given up."""
    rows = await db.fetchval("SELECT count(*) FROM system_metrics WHERE event_type = 'job_rollback'")
    events = await db.fetchval("SELECT count(*) FROM fsm_events WHERE event_type = 'FSM_FAILED'")
    return int(rows + events)


WRITING = "query LIKE '%under_way%' AND pid <> pg_backend_pid() AND state = 'active' AND datname = current_database()"


async def test_a_write_that_outlasts_the_deadline_keeps_its_slot(
    app_database_url: str, redis_url: str, db: Database, redis: Any
) -> None:
    """D15: given up is what has no rows; a row lock held past the deadline only delays the commit, and the run has a slot."""
    async with running_api(app_database_url, redis_url, **PRODUCT, initiation_seconds=1.0) as api:
        course = await add_course(db)
        async with db.transaction() as holder:
            await holder.execute("SELECT 1 FROM courses WHERE id = $1 FOR UPDATE", course)
            answer = await initiate(api, course=course)
            meanwhile = (await witnesses(db), await shown(redis))
        await api.parts.commands.drain()
        again = await initiate(api, course=course)

        assert answer.status_code == 500
        assert "ничего не изменил" not in answer.json()["error"]["message"]
        assert meanwhile == (0, [1, 1])
        assert (again.status_code, again.json()["fromCache"]) == (200, True)
        assert (await footprint(db, course)).job_types == ["STRUCTURE_ANALYSIS"]
        assert await witnesses(db) == 0
        assert await shown(redis) == [1, 1]


@pytest.mark.parametrize("exists", [True, False], ids=["known course", "new course"])
@pytest.mark.parametrize("commits", [True, False])
async def test_a_write_whose_connection_is_lost_is_asked_for_when_it_has_ended(
    app_database_url: str, redis_url: str, db: Database, redis: Any, exists: bool, commits: bool
) -> None:
    """The session goes on without its client, waits for a lock and then commits, or is killed: only then is it judged."""
    await db.execute(
        "CREATE TABLE held (at int); CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$"
        " BEGIN LOCK TABLE held IN SHARE MODE; RETURN NEW; END $$;"
        "CREATE TRIGGER hold BEFORE INSERT ON job_outbox FOR EACH ROW EXECUTE FUNCTION hold()"
    )
    async with running_api(app_database_url, redis_url, **PRODUCT, initiation_seconds=1.0) as api:
        course = await add_course(db) if exists else uuid4()
        async with db.transaction() as holder:
            await holder.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.ensure_future(initiate(api, course=course))
            await eventually(lambda: db.fetchval(f"SELECT count(*) = 1 FROM pg_stat_activity WHERE {WRITING}"))
            for each in api.parts.commands._db._pool._holders:
                if each._con is not None and each._in_use is not None:
                    each._con._transport.abort()  # the network is gone, the session does not know
            answer = await asked
            await asyncio.sleep(1.5)
            meanwhile = (await witnesses(db), await shown(redis))
            if not commits:
                await db.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {WRITING}")
                await eventually(lambda: db.fetchval(f"SELECT count(*) = 0 FROM pg_stat_activity WHERE {WRITING}"))
        await api.parts.commands.drain()

        assert answer.status_code == 500
        assert "повтор безопасен" in answer.json()["error"]["message"]
        assert meanwhile == (0, [1, 1])
        assert await shown(redis) == ([1, 1] if commits else [0, 0])
        rows = await db.fetch("SELECT user_id, course_id FROM system_metrics WHERE event_type = 'job_rollback'")
        assert [tuple(row) for row in rows] == ([] if commits else [(tokens.USER, course)])
        assert len((await footprint(db, course)).rows) == int(commits)


async def test_a_changed_limit_holds_within_seconds(api: RunningApi, db: Database) -> None:
    """The global limit, while everything runs; then back to what is configured."""
    await db.execute("INSERT INTO concurrency_limits (scope, slots) VALUES ('global', 1), ('FREE', 2)")
    await eventually(lambda: api.parts.limits.of_all == 1 and api.parts.limits.of_tier("FREE") == 2, within=5)
    assert (await initiate(api)).status_code == 200
    refused = await initiate(api)
    await api.parts.limits.set("global", None, tokens.ADMIN)
    allowed = await initiate(api)

    assert refused.json()["error"]["details"] | {"retryAfterSeconds": 0} == {
        "limitType": "global", "tier": "FREE", "limit": 1, "current": 1, "retryAfterSeconds": 0,
    }  # fmt: skip
    assert allowed.status_code == 200


async def test_redis_emptied_between_two_requests(api: RunningApi, db: Database, redis: Any) -> None:
    """No zero is believed: PostgreSQL counts until the api has rebuilt the counters, at once."""
    assert (await initiate(api)).status_code == 200
    await redis.flushdb()
    refused = await initiate(api)
    await eventually(lambda: api.parts.gate.is_counting_in_redis, within=5)

    assert refused.status_code == 429
    assert refused.json()["error"]["details"]["limitType"] == "user"
    assert await shown(redis) == [1, 1]
    assert (await Book(db, redis).snapshot()).drift == 0


async def test_redis_down_is_counted_in_postgresql(
    app_database_url: str, db: Database, private_redis: PrivateRedis
) -> None:
    """Both limits hold without Redis; when it is back, with counters from before, they are true again within seconds."""
    async with running_api(app_database_url, private_redis.url(), **PRODUCT) as api:
        first = uuid4()
        assert (await initiate(api, course=first)).status_code == 200
        private_redis.kill()
        refused = await initiate(api)
        raced = await asyncio.gather(*(initiate(api, user=uuid4()) for _ in range(8)))
        await end(db, first)
        events = await db.fetchval("SELECT count(*) FROM system_metrics WHERE event_type = 'concurrency_limit_hit'")
        private_redis.start()
        await eventually(lambda: api.parts.gate.is_counting_in_redis, within=10)
        from redis.asyncio import Redis

        async with Redis.from_url(private_redis.url()) as client:
            view = await Book(db, client).snapshot()

    assert refused.json()["error"]["details"]["limitType"] == "user"
    assert sorted(answer.status_code for answer in raced) == [200] * 2 + [429] * 6
    assert {answer.json()["error"]["details"]["limitType"] for answer in raced if answer.status_code == 429} == {
        "global"
    }
    assert events == 7
    assert (view.ready, view.global_counter, view.drift) == (True, 2, 0)
