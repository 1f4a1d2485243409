"""Servers that are away, and processes that die: nothing is lost, nothing is charged, nothing runs twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.dead_letters import Filter
from services.kernel.dead_letters.sources import DeadRows
from services.kernel.errors import BrokerUnavailable
from services.kernel.queries import Queries
from services.kernel.queue import Inspector, Producer
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay, add_rows, outbox, processed, waiting
from tests.support.courses import add_course
from tests.support.servers import PrivateRedis
from tests.support.stack import Stack, open_stack
from tests.support.versions import each_redis
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

_DEAD_LETTERS = Queries.load("services.kernel", "dead_letters.sql")


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    """Real relay processes."""
    with open_stack(tmp_path, database_url=database_url, redis_url=redis_url) as started:
        yield started


async def _all_processed(db: Database, ids: list[UUID]) -> bool:
    return await processed(db, ids) == len(ids)


@pytest.mark.parametrize("point", ["relay.after_claim", "relay.after_enqueue", "relay.after_mark"])
async def test_a_relay_killed_at_any_point_leaves_each_row_one_job(
    db: Database, redis: Redis, course: UUID, stack: Stack, point: str
) -> None:
    """The next relay finishes what the dead one began; a job put by both is there once (reliability.md 6, case 2)."""
    ids = await add_rows(db, course, 5)

    doomed = stack.spawn("outbox_relay", faults=f"{point}=kill@1")
    assert await doomed.ended() == -9
    await stack.start("outbox_relay")
    await eventually(lambda: _all_processed(db, ids))

    assert stack.fired() == {f"{point} kill": 1}
    assert sorted(await waiting(redis)) == sorted(map(str, ids))


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_an_outage_of_redis_charges_no_row(
    db: Database, course: UUID, relaying: StartRelay, private_redis: PrivateRedis, how: str
) -> None:
    """While Redis refuses or does not answer, rows wait untouched; when it is back they go without help (D36, TRAP39)."""
    url = private_redis.url()
    async with relaying(redis_url=url):
        first = await add_rows(db, course, 1)
        await eventually(lambda: _all_processed(db, first))
        (private_redis.stop if how == "stopped" else private_redis.pause)()
        ids = await add_rows(db, course, 20)
        await asyncio.sleep(3)
        during = await outbox(db, ids)
        (private_redis.start if how == "stopped" else private_redis.resume)()
        await eventually(lambda: _all_processed(db, ids), within=15)

    assert {(row["retry_count"], row["last_error"], row["processed_at"]) for row in during} == {(0, None, None)}
    assert {(row["retry_count"], row["last_error"]) for row in await outbox(db, ids)} == {(0, None)}


@each_redis
async def test_a_redis_without_memory_charges_no_row(
    db: Database, course: UUID, relaying: StartRelay, private_redis: PrivateRedis
) -> None:
    """OOM is the server's state, not the row's: the loop pauses, and goes on when there is room (R12)."""
    from redis.asyncio import Redis as Client

    async with Client.from_url(private_redis.url()) as admin:
        await admin.config_set("maxmemory", 1)
        ids = await add_rows(db, course, 3)
        async with relaying(redis_url=private_redis.url()):
            await asyncio.sleep(1)
            during = await outbox(db, ids)
            await admin.config_set("maxmemory", 0)
            await eventually(lambda: _all_processed(db, ids))

    assert {(row["retry_count"], row["processed_at"]) for row in during} == {(0, None)}


async def _user(admin: Any, right: str) -> None:
    await admin.execute_command("ACL", "SETUSER", "default", right)


@each_redis
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("command", ["rpush", "msetnx", "evalsha"])
async def test_a_login_without_a_right_charges_no_row(
    db: Database, running_course: UUID, relaying: StartRelay, private_redis: PrivateRedis, command: str, rows: int
) -> None:
    """A script may do less than before, or not be called at all: that is the login's fault, not the row's.

    What a script had begun is brought to its end by the reconciler.
    """
    from redis.asyncio import Redis as Client

    async with (
        Client.from_url(private_redis.url()) as admin,
        relaying(redis_url=private_redis.url(), reconcile_seconds=1),
    ):
        first = await add_rows(db, running_course, 1)
        await eventually(lambda: _all_processed(db, first))
        await _user(admin, f"-{command}")
        ids = await add_rows(db, running_course, rows)
        await asyncio.sleep(1)
        during = await outbox(db, ids)
        await _user(admin, f"+{command}")
        await eventually(lambda: _all_processed(db, ids))

        async def all_wait() -> bool:
            found = await waiting(admin)
            assert sorted(found) == sorted(str(each) for each in first + ids), await admin.keys()
            return True

        await eventually(all_wait, within=20)

    assert {(row["retry_count"], row["last_error"]) for row in during} == {(0, None)}


async def test_the_relay_starts_without_redis(
    db: Database, course: UUID, relaying: StartRelay, private_redis: PrivateRedis
) -> None:
    """Redis may come later than the relay."""
    private_redis.stop()
    ids = await add_rows(db, course, 1)
    async with relaying(redis_url=private_redis.url()):
        await asyncio.sleep(0.5)
        private_redis.start()
        await eventually(lambda: _all_processed(db, ids))


async def test_an_oversized_row_is_dead_at_once_and_the_others_pass(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """A body over the limit can never go: retry_count = max_retries, with a reason; it stays pending to the eye."""
    big = await add_rows(db, course, 1, priority=10, job_data={"text": "x" * 5000})
    small = await add_rows(db, course, 3)

    async with relaying(body_bytes=2000):
        await eventually(lambda: _all_processed(db, small))
        await eventually(lambda: _dead(db, big))
    (row,) = await outbox(db, big)

    assert (row["processed_at"], row["retry_count"]) == (None, row["max_retries"])
    assert "RELAY_BODY_BYTES" in row["last_error"]
    assert await waiting(redis) == [str(each) for each in small]


async def test_a_job_type_that_the_pipeline_does_not_have_is_dead_at_once(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """Nobody serves what is left of the pipeline's queue; any other queue takes any type, and a row need not have one (TRAP7)."""
    (wrong, untyped) = await add_rows(db, course, 2)
    elsewhere = await add_rows(db, course, 1, queue="quiz")
    retype = "UPDATE job_outbox SET job_type = $2, saq_queue = $3 WHERE outbox_id = $1"
    await db.execute(retype, wrong, "STRUCTURE_ANALISYS", "course-generation")
    await db.execute(retype, untyped, None, "course-generation")
    await db.execute(retype, elsewhere[0], "QUIZ", "quiz")

    async with relaying():
        await eventually(lambda: _all_processed(db, [untyped, *elsewhere]))
        await eventually(lambda: _dead(db, [wrong]))
    (row,) = await outbox(db, [wrong])

    for word in ("STRUCTURE_ANALISYS", "DOCUMENT_PROCESSING", "STRUCTURE_ANALYSIS", "STRUCTURE_GENERATION"):
        assert word in row["last_error"]
    assert row["processed_at"] is None
    assert await waiting(redis, "course-generation") == [str(untyped)]


async def _dead(db: Database, ids: list[UUID]) -> bool:
    return all(row["retry_count"] >= row["max_retries"] for row in await outbox(db, ids))


async def test_a_row_that_redis_refuses_is_found_by_halving_and_dies_alone(
    db: Database, course: UUID, relaying: StartRelay, private_redis: PrivateRedis
) -> None:
    """Redis hangs up on one value: its row is dead at once with the reason, its neighbours are in Redis."""
    from redis.asyncio import Redis as Client

    async with Client.from_url(private_redis.url()) as admin:
        await admin.config_set("proto-max-bulk-len", 1024 * 1024)
        bad = await add_rows(db, course, 1, priority=5, job_data={"text": "x" * (1024 * 1024 + 1000)})
        good = await add_rows(db, course, 9)
        async with relaying(redis_url=private_redis.url()):
            await eventually(lambda: _all_processed(db, good))
            await eventually(lambda: _dead(db, bad), within=20)
        (row,) = await outbox(db, bad)

        assert (row["retry_count"], row["processed_at"]) == (5, None)
        assert "Redis" in row["last_error"]
        assert len(await waiting(admin)) == 9


async def test_a_transient_failure_of_one_row_backs_off_and_ends_after_five_attempts(
    db: Database, course: UUID, relaying: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is counted and waits longer; meanwhile the other rows pass; the fifth is the last."""
    bad = await add_rows(db, course, 1, priority=10)
    good = await add_rows(db, course, 4)
    send = Producer._send

    async def broken(self: Producer, commands: Any) -> list[Any]:
        if any(str(bad[0]).encode() in command for command in commands):
            raise BrokerUnavailable("connection reset")
        return await send(self, commands)

    monkeypatch.setattr(Producer, "_send", broken)
    async with relaying(backoff_seconds=0.02):
        await eventually(lambda: _all_processed(db, good))
        await eventually(lambda: _dead(db, bad), within=20)
    (row,) = await outbox(db, bad)

    assert (row["retry_count"], row["attempts"], row["processed_at"]) == (5, 5, None)
    assert "connection to Redis broke" in row["last_error"]
    assert row["next_attempt_at"] > row["last_attempt_at"]


@pytest.mark.parametrize("key", ["incomplete", "queued:10"])
async def test_a_damaged_queue_holds_up_no_other_and_charges_nothing(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay, key: str
) -> None:
    """A key of the wrong type where the queue's own should be: its rows wait, other queues go on, repair is enough."""
    await redis.set(f"saq:{QUEUE}:{key}", "not what it should be")
    stuck = await add_rows(db, course, 4, priority=10)
    other = await add_rows(db, course, 4, queue="test-queue")

    async with relaying():
        await eventually(lambda: _all_processed(db, other))
        assert {(row["retry_count"], row["processed_at"]) for row in await outbox(db, stuck)} == {(0, None)}
        await redis.delete(f"saq:{QUEUE}:{key}")
        await eventually(lambda: _all_processed(db, stuck), within=15)

    assert sorted(await waiting(redis)) == sorted(
        map(str, stuck)
    )  # no half of a refused batch was taken for a duplicate


async def test_postgresql_may_go_away_and_come_back(
    private_database_url: str, private_postgres: object, redis_url: str, relaying: StartRelay
) -> None:
    """The relay outlives an immediate stop of PostgreSQL and relays within 10 s of its return (R5)."""
    from services.kernel.settings import CommonSettings, Secret

    async def write() -> list[UUID]:
        db = await Database.open(CommonSettings(database_url=Secret(private_database_url)))
        try:
            return await add_rows(db, await add_course(db), 1)
        finally:
            await db.close()

    async def relayed(ids: list[UUID]) -> bool:
        db = await Database.open(CommonSettings(database_url=Secret(private_database_url)))
        try:
            return await _all_processed(db, ids)
        finally:
            await db.close()

    async with relaying(database_url=private_database_url):
        ids = await write()
        await eventually(lambda: relayed(ids))
        private_postgres.kill()  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        private_postgres.start()  # type: ignore[attr-defined]
        ids = await write()
        await eventually(lambda: relayed(ids), within=10)


@pytest.fixture
async def running_course(db: Database) -> UUID:
    """A course in the middle of its run."""
    return await add_course(db, state="stage_4_init")


async def test_what_an_emptied_redis_has_lost_is_put_back(
    db: Database, redis: Redis, running_course: UUID, relaying: StartRelay
) -> None:
    """Rows processed, without effect and in no queue are there again, each once, with their own bodies (R7)."""
    ids = await add_rows(db, running_course, 7, priority=5)
    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        await redis.flushdb()
        await eventually(lambda: _waits(redis, 7), within=20)
        await asyncio.sleep(1.5)  # three more looks put nothing twice
    bodies = [(await redis.get(f"saq:job:{QUEUE}:{row['outbox_id']}")).decode() for row in await outbox(db, ids)]

    assert sorted(await waiting(redis)) == sorted(map(str, ids))
    assert bodies == [row["job_body"] for row in await outbox(db, ids)]


async def _waits(redis: Redis, count: int) -> bool:
    return len(await waiting(redis)) == count


async def test_what_is_over_is_not_put_back(
    db: Database, redis: Redis, running_course: UUID, relaying: StartRelay
) -> None:
    """Neither a job with an effect, nor one of an ended course, of an earlier run, or flushed by hand."""
    ended = await add_course(db, state="error")
    done, lost = await add_rows(db, running_course, 2)
    ids = [done, lost, *await add_rows(db, ended, 1), *await add_rows(db, running_course, 1, run_number=0)]
    flushed = await add_rows(db, running_course, 1, retry_count=5)
    await db.execute(
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome) VALUES ($1, $2, 'X', 1, 'applied')",
        done,
        running_course,
    )
    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        await db.execute("UPDATE job_outbox SET processed_at = now() WHERE outbox_id = ANY($1)", flushed)
        await redis.flushdb()
        await eventually(lambda: waiting(redis), within=20)
        await asyncio.sleep(1.5)

    assert await waiting(redis) == [str(lost)]


async def test_a_body_damaged_in_redis_is_replaced_by_the_true_one(
    db: Database, redis: Redis, running_course: UUID, relaying: StartRelay
) -> None:
    """A worker sets the damaged job aside; the reconciler puts the body from PostgreSQL in its place."""
    from services.kernel.queue import CourseQueue

    ids = await add_rows(db, running_course, 1)
    queue = CourseQueue(redis, QUEUE)
    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        await redis.set(f"saq:job:{QUEUE}:{ids[0]}", b"\xff not json")
        (taken,) = await queue.take(1)
        assert taken.reason is not None
        await queue.set_aside(taken.id, taken.reason, taken.detail)
        await eventually(lambda: _waits(redis, 1), within=20)
    (taken,) = await queue.take(1)

    assert taken.job is not None
    assert await Inspector(redis).dead_jobs(QUEUE) == []


async def test_a_job_that_no_worker_can_run_becomes_a_dead_row(
    db: Database, redis: Redis, running_course: UUID, relaying: StartRelay
) -> None:
    """Set aside, and no dead-letter function has dealt with it: it shows in the outbox, with the reason, and is not repeated."""
    from services.kernel.queue import CourseQueue, DeadReason

    ids = await add_rows(db, running_course, 1)
    queue = CourseQueue(redis, QUEUE)
    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        (taken,) = await queue.take(1)
        await queue.set_aside(taken.id, DeadReason.CRASHED, "3 workers died while it ran")
        await eventually(lambda: _dead(db, ids), within=20)
        (row,) = await outbox(db, ids)
        assert "3 workers died" in row["last_error"]
        assert row["processed_at"] is None

        letters, matched = await DeadRows(db).look(Filter(), None, 100)
        assert ([letter.uuid for letter in letters], matched) == (ids, len(ids))
        await asyncio.sleep(1.5)  # three more looks return nothing twice
        assert await db.execute(_DEAD_LETTERS["revive_rows"], ids) == "UPDATE 1"
        await eventually(lambda: _all_processed(db, ids))
    counted = await Counters(db).read()

    assert await waiting(redis) == [str(ids[0])]
    assert await Inspector(redis).dead_jobs(QUEUE) == []
    assert counted.count("outbox_jobs", "failed") == 1


async def test_jobs_put_by_hand_into_an_unknown_queue_are_left_there(redis: Redis) -> None:
    """Producer and inspector treat any queue name alike (TRAP7)."""
    from services.kernel.queue import QueuedRow

    await Producer(redis).enqueue_batch("test-queue", [QueuedRow("k", '{"queue":"test-queue"}', 1)], None)

    assert await Inspector(redis).depths(["test-queue"]) == {"test-queue": 1}


async def test_a_term_that_ends_says_what_has_failed(db: Database, course: UUID, stack: Stack) -> None:
    """The log names the column that is gone, not the group of tasks that it ended; with it back, rows go again."""
    relay = await stack.start("outbox_relay")
    await db.execute("ALTER TABLE job_outbox DROP COLUMN next_attempt_at")
    ids = await add_rows(db, course, 1)
    ended = await eventually(lambda: relay.lines("the term has ended"))
    await db.execute("ALTER TABLE job_outbox ADD COLUMN next_attempt_at timestamptz")
    await eventually(lambda: _all_processed(db, ids), within=20)

    assert "next_attempt_at" in ended[0]["reason"]
