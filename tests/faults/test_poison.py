"""Case 7: values of every kind that no worker can run lie among good jobs (R10).

The good ones finish, no process ends, each bad one can be seen with its reason, and the sweep still rescues what a dead worker
left behind, with poison beside it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson

from services.kernel.database import Database
from services.kernel.dead_letters import Filter
from services.kernel.dead_letters.sources import DeadRows
from services.kernel.queue import DeadReason, Inspector
from tests.faults.conftest import OpenDriver, Trials
from tests.support.courses import add_course
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, judge
from tests.support.ledger import Attempt
from tests.support.stack import Stack
from tests.support.waiting import eventually

QUEUE = "course-generation:analysis"
LARGEST_BODY = 65_536
GOOD_BESIDE_IT = 6


@dataclass(slots=True)
class Poison:
    """What was put where, and how it must show."""

    in_redis: dict[str, DeadReason] = field(default_factory=dict)
    """Keys of jobs that the workers must set aside."""
    in_outbox: dict[UUID, str] = field(default_factory=dict)
    """Rows that must be dead, with a word of the reason."""
    failed: dict[UUID, str] = field(default_factory=dict)
    """Courses that must end in error, with a word of the reason."""
    unknown_rows: list[str] = field(default_factory=list)
    """Rows whose job no worker knows."""

    @property
    def kinds(self) -> int:
        """How many values in all."""
        return len(self.in_redis) + len(self.in_outbox) + len(self.failed)


async def test_poison_harms_nobody_else(
    stack: Stack, db: Database, redis: Any, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Seven kinds among good jobs, again and again."""
    rounds = trials(1, full=100)
    stack.environment["RELAY_BODY_BYTES"] = str(LARGEST_BODY)
    api, _, worker = await stack.start_all("api", "outbox_relay", "stage_worker")
    driver = drive(api)
    given: list[Poison] = []
    for _ in range(rounds):
        loading = driver.load([driver.order() for _ in range(GOOD_BESIDE_IT)], per_second=20)
        poison, _ = await asyncio.gather(_poison(db, redis, journal), loading)
        given.append(poison)
        orphan = await _abandon(db, redis, journal)
        await eventually(lambda: _seen(db, redis, given), within=60)
        await eventually(partial(_is_done, db, orphan), within=30)
    unknown = {key for poison in given for key in poison.unknown_rows}
    await eventually(lambda: _completed(db, (GOOD_BESIDE_IT + 1) * rounds), within=60)
    proof = {"poison": sum(poison.kinds for poison in given)}
    verdict = await judge(db, journal, stack, {"poison": 10 * rounds}, also_fired=proof, set_aside=unknown, within=0)

    assert_passed(verdict, stack, may_fail={str(each) for poison in given for each in poison.failed})
    assert set(verdict.dead) == unknown | {str(each) for poison in given for each in poison.in_outbox}
    assert [each.exit_code for each in stack.processes] == [None, None, None]
    assert "jobs rescued" in worker.tail(10_000)


async def _poison(db: Database, redis: Any, journal: Journal) -> Poison:
    """Every kind once."""
    poison = Poison()
    await _damage_redis(redis, poison)
    await _write_bad_rows(db, journal, poison)
    return poison


async def _damage_redis(redis: Any, poison: Poison) -> None:
    sound = {"function": "STRUCTURE_ANALYSIS", "status": "queued", "timeout": 60, "retries": 5}
    keys = [f"{name}-{uuid4()}" for name in ("json", "utf8", "queue", "empty", "course", "version", "type")]
    payload = {"courseId": str(uuid4()), "outboxId": str(uuid4()), "jobType": "STRUCTURE_ANALYSIS"}
    bodies: list[tuple[bytes, DeadReason]] = [
        (b'{"function":"STRUCTURE_ANAL', DeadReason.UNDECODABLE),
        (b'{"function":"\xff\xfe","queue":"' + QUEUE.encode() + b'"}', DeadReason.UNDECODABLE),
        (_body(sound, keys[2], queue="another-queue", payload=payload), DeadReason.WRONG_QUEUE),
        (_body(sound, keys[3], payload=None), DeadReason.REFUSED),
        (_body(sound, keys[4], payload=payload), DeadReason.REFUSED),
        (_body(sound, keys[5], payload={**payload, "version": 99}), DeadReason.REFUSED),
        (_body({**sound, "function": "NO_SUCH_TYPE"}, keys[6], payload=payload), DeadReason.UNKNOWN_FUNCTION),
    ]
    for key, (body, reason) in zip(keys, bodies, strict=True):
        job_id = f"saq:job:{QUEUE}:{key}"
        await redis.set(job_id, body)
        await redis.zadd(f"saq:{QUEUE}:incomplete", {job_id: 0})
        await redis.rpush(f"saq:{QUEUE}:queued:10", job_id)
        poison.in_redis[key] = reason


def _body(job: dict[str, Any], key: str, *, payload: dict[str, Any] | None, queue: str = QUEUE) -> bytes:
    return orjson.dumps({**job, "key": key, "queue": queue, "kwargs": {} if payload is None else {"payload": payload}})


async def _write_bad_rows(db: Database, journal: Journal, poison: Poison) -> None:
    """Rows that PostgreSQL takes: too large for the relay, of a newer version, of a type that no worker knows."""
    oversized = await _row(db, journal, QUEUE, "STRUCTURE_ANALYSIS", {"text": "x" * (LARGEST_BODY + 1)})
    poison.in_outbox[oversized[1]] = "RELAY_BODY_BYTES"
    course_id, _ = await _row(db, journal, "course-generation", "STRUCTURE_ANALYSIS", {"version": 99})
    poison.failed[course_id] = "upgrade"
    _, unknown = await _row(db, journal, QUEUE, "NO_SUCH_TYPE", {})
    poison.in_redis[str(unknown)] = DeadReason.UNKNOWN_FUNCTION
    poison.unknown_rows.append(str(unknown))


async def _row(db: Database, journal: Journal, queue: str, job_type: str, fields: dict[str, Any]) -> tuple[UUID, UUID]:
    """A course that nobody has initialised, and a row of it."""
    course_id = await add_course(db, state=None)
    journal.attempts.append(Attempt(len(journal.attempts), f"by hand {course_id}", str(course_id)))
    statement = (
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, job_data) VALUES ($1, $2, $3, $4) RETURNING outbox_id"
    )
    return course_id, await db.fetchval(statement, course_id, queue, job_type, fields)


async def _abandon(db: Database, redis: Any, journal: Journal) -> UUID:
    """A good job in the hands of a worker that has died, with undecodable values beside it; its row."""
    _, outbox_id = await _row(db, journal, "nobody-takes-this", "STRUCTURE_ANALYSIS", {})
    await eventually(lambda: redis.exists(f"saq:job:nobody-takes-this:{outbox_id}"), within=20)
    body = await db.fetchval("SELECT job_body FROM job_outbox WHERE outbox_id = $1", outbox_id)
    job_id = f"saq:job:{QUEUE}:{outbox_id}"
    bad = f"saq:job:{QUEUE}:active-{uuid4()}"
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set(job_id, orjson.dumps({**orjson.loads(body), "queue": QUEUE}))
        pipe.set(bad, b"{no json")
        for each in (bad, job_id, b"\xff not even a key"):
            pipe.rpush(f"saq:{QUEUE}:active", each)
            pipe.hset(f"saq:{QUEUE}:owners", each, "a-dead-worker/1")
        await pipe.execute()
    return UUID(str(outbox_id))


async def _seen(db: Database, redis: Any, given: list[Poison]) -> bool:
    """Whether every bad value lies where a person would look, with its reason."""
    aside = {dead.key: dead for dead in await Inspector(redis).dead_jobs(QUEUE)}
    listed = (await DeadRows(db).look(Filter(), None, 10_000))[0]
    dead = {letter.uuid: letter.reason for letter in listed}
    for poison in given:
        for key, reason in poison.in_redis.items():
            assert key in aside, key
            assert aside[key].reason == reason, (key, aside[key])
            assert aside[key].detail
        for outbox_id, word in poison.in_outbox.items():
            assert word in dead.get(outbox_id, "")
        for course_id, word in poison.failed.items():
            row = await db.fetchrow(
                "SELECT generation_status::text, error_message FROM courses WHERE id = $1", course_id
            )
            assert row is not None
            assert row["generation_status"] == "error"
            assert word in row["error_message"]
    return True


async def _completed(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM courses WHERE generation_status = 'completed'") == count)


async def _is_done(db: Database, outbox_id: UUID) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM effect_ledger WHERE effect_id = $1", outbox_id))
