"""The desk for dead letters when something ends or breaks between the decision and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from services.kernel.concurrency import Slots
from services.kernel.counters import Counters
from services.kernel.database import Connection, Database
from services.kernel.dead_letters import Aftermath, DeadLetterDesk, Filter, Letter, Result
from services.kernel.dead_letters.decisions import Step
from services.kernel.errors import BrokerUnavailable
from services.kernel.initiation import CommandHandler
from services.kernel.queue import Inspector
from services.kernel.redis_connection import open_redis
from services.kernel.settings import Secret
from tests.support.courses import add_course
from tests.support.tokens import ORGANIZATION, USER
from tests.support.webhook_rows import add_delivery

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANALYSIS = "course-generation:analysis"
_INITIATE = "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', 'stage_4_init', $5::jsonb)"


class Bell:
    """Counts how often it was rung."""

    rung = 0

    def notify(self) -> None:
        """Ring."""
        self.rung += 1


def open_desk(db: Database, redis: Redis, bell: Bell | None = None, *, with_slots: bool = True) -> DeadLetterDesk:
    """A desk on a database and a Redis."""
    bell = bell or Bell()
    inspector = Inspector(redis)
    commands = CommandHandler(db, cache=None, counters=Counters(db), bell=bell)
    released = Slots(redis).release if with_slots else None
    return DeadLetterDesk(db, inspector, Aftermath(inspector, commands, bell, released))


async def nothing(_session: Connection, _results: Sequence[Result]) -> None:
    """A witness who writes nothing."""


async def set_aside(redis: Any, key: str, body: str | None = "{}") -> None:
    """A job as a worker leaves it that sets it aside."""
    job_id = f"saq:job:{ANALYSIS}:{key}"
    await redis.hset(f"saq:{ANALYSIS}:poison", job_id, '{"reason":"exhausted","detail":"it failed","at":1790000000}')
    if body is not None:
        await redis.hset(f"saq:{ANALYSIS}:poison:bodies", job_id, body)


async def began(db: Database) -> tuple[UUID, UUID]:
    """A course and the job that it waits for, which has left the outbox."""
    course = await add_course(db)
    jobs = [{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS", "data": {}}]
    result = await db.fetchval(_INITIATE, course, USER, ORGANIZATION, f"test:{uuid4()}", jobs)
    await db.execute("UPDATE job_outbox SET processed_at = now() WHERE entity_id = $1", course)
    return course, UUID(result["outboxEntries"][0]["outbox_id"])


async def every_letter(desk: DeadLetterDesk) -> list[Letter]:
    """All of them."""
    return (await desk.look(Filter(), None, 100)).letters


async def _state(db: Database, course: UUID) -> str:
    found: str = await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course)
    return found


async def test_redis_may_die_after_the_decision(db: Database, private_redis: Any) -> None:
    """What PostgreSQL says stands; what only Redis knew was not done, and says so. With Redis back it can be repeated."""
    client = open_redis(Secret(private_redis.url()), name="test", socket_timeout=2.0)
    course, job = await began(db)
    await set_aside(client, str(job))
    await set_aside(client, "stranger")
    desk = open_desk(db, client)
    letters = await every_letter(desk)
    assert len(letters) == 2

    async def kill(_session: Connection, _results: Sequence[Result]) -> None:
        private_redis.kill()

    results = {each.letter.key: each for each in await desk.act("discard", letters, kill)}

    assert (results[str(job)].step, results[str(job)].is_done) == (Step.END_RUN, True)
    assert (results["stranger"].step, results["stranger"].is_done) == (Step.DROP, False)
    assert results["stranger"].message == "Redis does not answer; try again"
    assert await _state(db, course) == "cancelled"
    with pytest.raises(BrokerUnavailable):
        await desk.named([f"queue:{ANALYSIS}/stranger"])
    await client.aclose()


async def test_a_replay_that_only_redis_can_make_fails_with_it(db: Database, private_redis: Any) -> None:
    """It says so, and the job stays where it is."""
    client = open_redis(Secret(private_redis.url()), name="test", socket_timeout=2.0)
    await set_aside(client, "stranger")
    desk = open_desk(db, client)

    async def kill(_session: Connection, _results: Sequence[Result]) -> None:
        private_redis.kill()

    [result] = await desk.act("replay", await every_letter(desk), kill)

    assert (result.step, result.is_done, result.message) == (
        Step.REQUEUE,
        False,
        "Redis does not answer; try again",
    )
    await client.aclose()


async def test_a_job_without_a_body_cannot_be_put_back(db: Database, redis: Redis) -> None:
    """There is nothing to put back; it can be discarded."""
    await set_aside(redis, "empty", body=None)
    desk = open_desk(db, redis)
    [result] = await desk.act("replay", await every_letter(desk), nothing)

    assert not result.is_done
    assert "not kept its body" in str(result.message)
    assert (await desk.act("discard", await every_letter(desk), nothing))[0].is_done
    assert await every_letter(desk) == []


async def test_a_webhook_that_somebody_else_dealt_with_is_gone(db: Database, redis: Redis) -> None:
    """Between the look and the deed."""
    hook = await add_delivery(db, await add_course(db), status="dead", error="status 500")
    desk = open_desk(db, redis)
    letters = await every_letter(desk)
    await db.execute("UPDATE webhook_deliveries SET status = 'delivered' WHERE delivery_id = $1", hook)
    [result] = await desk.act("replay", letters, nothing)

    assert (result.is_gone, result.is_done) == (True, False)


async def test_a_witness_that_cannot_write_undoes_everything(db: Database, redis: Redis) -> None:
    """No change without its record, and nothing follows from it."""
    course, job = await began(db)
    await set_aside(redis, str(job))
    bell = Bell()
    desk = open_desk(db, redis, bell)

    async def fail(_session: Connection, _results: Sequence[Result]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(Exception, match="PostgreSQL does not answer"):
        await desk.act("discard", await every_letter(desk), fail)

    assert await _state(db, course) == "stage_4_init"
    assert await db.fetchval("SELECT count(*) FROM effect_ledger") == 0
    assert len(await every_letter(desk)) == 1
    assert bell.rung == 0


async def test_the_relay_is_woken_when_rows_are_to_leave(db: Database, redis: Redis) -> None:
    """Once for all of them; a desk without slots works, too."""
    course, job = await began(db)
    await db.execute("UPDATE job_outbox SET processed_at = NULL, retry_count = max_retries")
    bell = Bell()
    desk = open_desk(db, redis, bell, with_slots=False)
    await desk.act("replay", await every_letter(desk), nothing)
    await db.execute("UPDATE job_outbox SET retry_count = max_retries")
    [result] = await desk.act("discard", await every_letter(desk), nothing)

    assert (result.letter.uuid, result.step) == (job, Step.END_RUN)
    assert await _state(db, course) == "cancelled"
    assert bell.rung == 2


async def test_the_owner_and_his_receiver_are_told_of_a_discarded_run(db: Database, redis: Redis) -> None:
    """That an administrator ended it, in the same transaction; nobody says that the owner did."""
    course, job = await began(db)
    await db.execute("UPDATE courses SET webhook_url = 'https://hooks.example.com/' WHERE id = $1", course)
    await set_aside(redis, str(job))
    desk = open_desk(db, redis)
    await desk.act("discard", await every_letter(desk), nothing)
    (row,) = await db.fetch("SELECT event_type, body, outbox_id FROM webhook_deliveries WHERE course_id = $1", course)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    told = json.loads(row["body"])["data"]["error"]
    (shown,) = [step["error"] for step in progress["steps"] if step["error"]]

    assert (row["event_type"], told["code"]) == ("course.failed", "discarded")
    assert told == shown
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE outbox_id = $1", row["outbox_id"]) == 1
