"""The twenty integration tests of contract.md l.4, under their titles and in its order.

They look at everything from another connection than the one under test: what a call has returned must be visible to
everybody at once (contract.md p, T053).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from httpx import Response
from redis.asyncio import Redis

from services.kernel.commands import InitializeFSMCommand, InitiationRequest
from services.kernel.counters import Counters
from services.kernel.database import Database, DatabaseRefused, ForeignKeyViolation, UniqueViolation
from services.kernel.envelopes import ANNOUNCEMENT_CHANNEL, Announcement, Job
from services.kernel.errors import CoursegenError, InvalidInput
from services.kernel.health import HealthRegistry
from services.kernel.idempotency import ResultCache, derived_lookup, scoped_key
from services.kernel.initiation import CommandHandler
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret
from services.kernel.wakeup import WakeUp
from services.outbox_relay.relay import Relay
from services.outbox_relay.settings import RelaySettings
from services.stage_worker.listener import Layer2Listener
from services.stage_worker.runner import StageRunner
from services.stage_worker.sink import EffectSink
from services.stage_worker.stages.course_run import POSITIONS, CourseRun, Position
from services.stage_worker.stages.stage import Stage
from services.stage_worker.stages.transaction import StageTransaction
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, footprint, totals
from tests.support.pipeline import expect_no_direct_enqueue, validate_fsm_event, wait_for_outbox
from tests.support.servers import PrivateRedis
from tests.support.tokens import ORGANIZATION, USER
from tests.support.waiting import eventually


def command(course_id: UUID, *, key: str = "key", state: str = "stage_4_init", **changes: Any) -> InitializeFSMCommand:
    """A direct call of the function with one job, unless `changes` say otherwise."""
    fields: dict[str, Any] = {
        "job_data": [job()],
        "user_id": USER,
        "organization_id": ORGANIZATION,
        "initiated_by": "API_INITIATE",
        **changes,
    }
    return InitializeFSMCommand(entity_id=course_id, idempotency_key=key, initial_state=state, **fields)


def job(queue: str = "course-generation", job_type: str = "STRUCTURE_ANALYSIS", **data: Any) -> dict[str, Any]:
    """One element of `p_job_data`."""
    return {"queue": queue, "job_type": job_type, "data": data}


def request(course_id: UUID, *, key: str | None = None, **changes: Any) -> InitiationRequest:
    """A request as the api passes it on."""
    client_key = None if key is None else scoped_key(USER, key)
    return InitiationRequest(course_id=course_id, user_id=USER, client_key=client_key, **changes)


@pytest.fixture
async def app_db(app_database_url: str) -> AsyncIterator[Database]:
    """The database as the application sees it: row security binds it."""
    database = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    yield database
    await database.close()


StartRelay = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def relaying(app_database_url: str, redis_url: str) -> StartRelay:
    """Runs a relay in this process during a block."""

    @asynccontextmanager
    async def run(redis_url: str = redis_url) -> AsyncIterator[None]:
        settings = RelaySettings(
            database_url=Secret(app_database_url), redis_url=Secret(redis_url), backoff_seconds=0.05
        )
        stopping = asyncio.Event()
        async with Relay.open(settings, HealthRegistry()) as relay:
            task = asyncio.create_task(relay.serve(stopping))
            yield
            stopping.set()
            await asyncio.wait_for(task, 15)

    return run


@pytest.fixture
async def handler(app_db: Database, redis_url: str) -> AsyncIterator[CommandHandler]:
    """The command handler with all its layers."""
    redis = open_redis(Secret(redis_url), name="test")
    async with Counters(app_db).writing() as counters:
        bell = WakeUp(app_db)
        made = CommandHandler(app_db, cache=ResultCache(redis), counters=counters, bell=bell)
        yield made
        await made.drain()
        await bell.drain()
    await redis.aclose()


class TestAtomicCoordination:
    """State, outbox rows, event and key: all or none."""

    async def test_01_fsm_and_outbox_are_created_atomically(self, handler: CommandHandler, db: Database) -> None:
        """One call leaves the state, one row, one event and one key, all of them by one transaction."""
        course_id = await add_course(db)
        result = await handler.initialize(command(course_id, metadata={"test": "01"}))
        left = await footprint(db, course_id)

        assert left.state == "stage_4_init"
        assert left.size == (1, 1, 1)
        assert result.job_id == left.rows[0]["outbox_id"]
        assert result.fsm_state["newState"] == "stage_4_init"
        assert left.rows[0]["metadata"] == left.events[0]["metadata"] == {"test": "01"}
        assert await _writers(db, course_id) == 1

    async def test_02_three_jobs_over_two_queues_are_created_atomically(
        self, handler: CommandHandler, db: Database
    ) -> None:
        """Several jobs of one call travel together, in their order."""
        course_id = await add_course(db)
        jobs = [job(), job("test-queue", "REPORT"), job("course-generation", "STRUCTURE_GENERATION")]
        result = await handler.initialize(command(course_id, job_data=jobs))
        left = await footprint(db, course_id)

        assert [(row["queue_name"], row["job_type"]) for row in left.rows] == [
            ("course-generation", "STRUCTURE_ANALYSIS"),
            ("test-queue", "REPORT"),
            ("course-generation", "STRUCTURE_GENERATION"),
        ]
        assert [entry["outbox_id"] for entry in result.outbox_entries] == [str(row["outbox_id"]) for row in left.rows]
        assert await _writers(db, course_id) == 1

    @pytest.mark.parametrize(
        "broken",
        [
            {"job_data": [job(), job(), {"queue": "course-generation", "data": "no object"}]},
            {"state": "stage_9_init"},
            {"user_id": uuid4()},
        ],
        ids=["third job malformed", "unknown state", "another's course"],
    )
    async def test_03_a_failed_rpc_rolls_everything_back(
        self, handler: CommandHandler, db: Database, broken: dict[str, Any]
    ) -> None:
        """Nothing of a call that fails in its last step is left, and its key is free."""
        course_id = await add_course(db)
        with pytest.raises(CoursegenError):
            await handler.initialize(command(course_id, **broken))
        left = await footprint(db, course_id)

        assert (left.state, left.size) == ("pending", (0, 0, 0))

        await handler.initialize(command(course_id))

        assert (await footprint(db, course_id)).size == (1, 1, 1)


class TestIdempotency:
    """The same key is the same result; another key is another request."""

    async def test_04_a_duplicate_request_returns_the_cached_result(
        self, handler: CommandHandler, db: Database
    ) -> None:
        """The key decides, even with an empty job list and another state; nothing is written again."""
        course_id = await add_course(db)
        first = await handler.initialize(command(course_id))
        again = await handler.initialize(command(course_id, job_data=[], state="stage_5_init"))
        left = await footprint(db, course_id)

        assert again.outbox_entries == first.outbox_entries
        assert again.fsm_state == first.fsm_state
        assert (left.state, left.size) == ("stage_4_init", (1, 1, 1))

    async def test_05_different_keys_are_independent(self, handler: CommandHandler, db: Database) -> None:
        """A second key on the same course is a second command with rows of its own (TRAP29)."""
        course_id = await add_course(db)
        first = await handler.initialize(command(course_id, key="first"))
        second = await handler.initialize(command(course_id, key="second", state="stage_5_init"))
        left = await footprint(db, course_id)

        assert first.job_id != second.job_id
        assert (left.state, left.size) == ("stage_5_init", (2, 2, 2))

    async def test_06_one_hundred_concurrent_requests_with_one_key(self, handler: CommandHandler, db: Database) -> None:
        """100 callers at once, 20 times: each time one row, one event, one key and 100 equal answers (R9)."""
        for number in range(20):
            course_id, key = await add_course(db), f"same-{number}"
            answers = await asyncio.gather(*(handler.initiate(request(course_id, key=key)) for _ in range(100)))
            left = await footprint(db, course_id)

            assert left.size == (1, 1, 1)
            assert {answer.job_id for answer in answers} == {left.rows[0]["outbox_id"]}
            assert sum(not answer.from_cache for answer in answers) == 1

    async def test_06b_one_hundred_concurrent_calls_of_the_function_itself(
        self, app_database_url: str, db: Database
    ) -> None:
        """The same without any batching in front: 100 calls over 20 sessions meet in the database alone."""
        course_id = await add_course(db)
        settings = CommonSettings(database_url=Secret(app_database_url), pool_max_size=20, acquire_seconds=30)
        many = await Database.open(settings)
        bare = CommandHandler(many, cache=None, counters=Counters(many), bell=WakeUp(many))
        answers = await asyncio.gather(*(bare.initialize(command(course_id)) for _ in range(100)))
        await many.close()

        assert (await footprint(db, course_id)).size == (1, 1, 1)
        assert len({answer.job_id for answer in answers}) == 1

    async def test_07_a_second_request_is_answered_from_redis(
        self, handler: CommandHandler, db: Database, redis: Any
    ) -> None:
        """The result lies in Redis for 24 hours, and the repeat calls no function in the database."""
        course_id = await add_course(db)
        first = await handler.initiate(request(course_id, key="again"))
        name = f"idempotency:{scoped_key(USER, 'again')}"

        assert 86_000 < await redis.ttl(name) <= 86_400

        await db.execute("ALTER FUNCTION initiate_generation_v2(jsonb) RENAME TO initiate_generation_is_away")
        second = await handler.initiate(request(course_id, key="again"))

        assert second.from_cache
        assert second.job_id == first.job_id

    async def test_08_different_keys_create_separate_entities(self, handler: CommandHandler, db: Database) -> None:
        """Two courses, two keys: each has its own rows, and neither sees the other's."""
        one, other = await add_course(db), await add_course(db)
        answers = await asyncio.gather(
            handler.initiate(request(one, key="one")), handler.initiate(request(other, key="other"))
        )
        left = [await footprint(db, one), await footprint(db, other)]

        assert [each.size for each in left] == [(1, 1, 1), (1, 1, 1)]
        assert [each.rows[0]["outbox_id"] for each in left] == [answer.job_id for answer in answers]


class TestProcessor:
    """What the relay does with the rows."""

    async def test_09_pending_entries_are_processed(
        self, handler: CommandHandler, db: Database, redis: Any, relaying: StartRelay
    ) -> None:
        """Rows written before the relay starts, and by hand without a wake-up, are in Redis within 10 s, each once."""
        course_id = await add_course(db)
        await handler.initialize(command(course_id, job_data=[job(), job("test-queue", "REPORT")]))
        async with relaying():
            await wait_for_outbox(db, course_id)
            by_hand = await write_row(db, course_id, "STRUCTURE_GENERATION")
            rows = await wait_for_outbox(db, course_id)

        assert by_hand in {row["outbox_id"] for row in rows}
        for row in rows:
            body = await redis.get(f"saq:job:{row['saq_queue']}:{row['outbox_id']}")
            assert body == row["job_body"].encode()
        assert await expect_no_direct_enqueue(db, redis) == 3

    async def test_10_attempts_are_tracked(
        self, db: Database, relaying: StartRelay, private_redis: PrivateRedis
    ) -> None:
        """A row that Redis cannot take now counts its attempts, says why and when, and goes as soon as it can."""
        course_id = await add_course(db)
        size = 1024 * 1024
        await db.execute(
            "INSERT INTO job_outbox (entity_id, queue_name, job_data, max_retries)"
            " VALUES ($1, 'test-queue', jsonb_build_object('text', repeat('x', $2)), 100)",
            course_id,
            size + 1000,
        )
        async with Redis.from_url(private_redis.url()) as admin:
            await admin.config_set("proto-max-bulk-len", size)  # Redis hangs up on anything longer
            async with relaying(redis_url=private_redis.url()):
                charged = await eventually(lambda: tried(db, course_id, at_least=2), within=20)
                assert charged["processed_at"] is None
                assert charged["attempts"] == charged["retry_count"]
                assert charged["last_error"]
                assert charged["created_at"] < charged["last_attempt_at"] <= charged["next_attempt_at"]
                await admin.config_set("proto-max-bulk-len", 16 * size)
                sent = await eventually(lambda: gone(db, course_id), within=20)

        assert sent["attempts"] >= 2
        assert sent["last_attempt_at"] >= charged["last_attempt_at"]


async def tried(db: Database, course_id: UUID, *, at_least: int) -> Any:
    """The course's row, once it has been tried often enough."""
    return await db.fetchrow("SELECT * FROM job_outbox WHERE entity_id = $1 AND retry_count >= $2", course_id, at_least)


async def gone(db: Database, course_id: UUID) -> Any:
    """The course's row, once it is in Redis."""
    return await db.fetchrow("SELECT * FROM job_outbox WHERE entity_id = $1 AND processed_at IS NOT NULL", course_id)


class TestLayers:
    """Who puts a course into its first state: the api; else the listener; else the worker (contract.md g)."""

    async def test_11_layer_1_the_api_initialises(
        self, handler: CommandHandler, db: Database, app_db: Database
    ) -> None:
        """In normal running the api does it all, and nobody has to help."""
        course_id = await add_course(db, state=None)
        await handler.initiate(request(course_id))
        left = await footprint(db, course_id)

        assert (left.state, left.size) == ("stage_4_init", (1, 1, 1))
        await validate_fsm_event(db, course_id, "stage_4_init", by="API_INITIATE", old_states=(None, "pending"))
        assert await fallbacks(app_db) == {}

    async def test_12_layer_2_sees_a_pending_course(self, app_db: Database, db: Database, redis_url: str) -> None:
        """An announced job of a course still pending: the listener initialises it, and adds no second job."""
        course_id = await add_course(db)
        outbox_id = await write_row(db, course_id, "STRUCTURE_ANALYSIS")
        listening, publishing = (
            open_redis(Secret(redis_url), name="listener"),
            open_redis(Secret(redis_url), name="relay"),
        )
        stopping = asyncio.Event()
        async with Counters(app_db).writing() as counters:
            task = asyncio.create_task(Layer2Listener(listening, app_db, counters).run(stopping))
            message = announcement(outbox_id, course_id, "STRUCTURE_ANALYSIS")
            await eventually(lambda: publishing.publish(ANNOUNCEMENT_CHANNEL, message))
            await eventually(lambda: event_by(db, course_id, "QUEUE_LAYER_2"))
            stopping.set()
            await task
        await listening.aclose()
        await publishing.aclose()
        left = await footprint(db, course_id)

        assert left.state == "stage_4_init"
        assert [row["outbox_id"] for row in left.rows] == [outbox_id]
        await validate_fsm_event(db, course_id, "stage_4_init", by="QUEUE_LAYER_2", old_states=("pending",))
        assert await fallbacks(app_db) == {"layer2:success": 1}

    @pytest.mark.parametrize("position", POSITIONS, ids=lambda each: f"stage {each.number}")
    async def test_13_layer_3_sees_missing_fsm(self, app_db: Database, db: Database, position: Position) -> None:
        """A job that arrives at its worker before anybody has initialised the course: the worker does, and goes on."""
        course_id = await add_course(db)
        outbox_id = await write_row(db, course_id, "WITNESS")
        payload = {"courseId": str(course_id), "jobType": "WITNESS", "outboxId": str(outbox_id), "runNumber": 1}
        stage: WitnessStage = type("Positioned", (WitnessStage,), {"position": position})()
        async with Counters(app_db).writing() as counters:
            wakeup = WakeUp(app_db)
            ending = await StageRunner(app_db, counters, wakeup, EffectSink(None)).run(stage, payload)
            await wakeup.drain()
        left = await footprint(db, course_id)

        assert ending == "applied"
        assert stage.seen == [position.initial]
        assert [row["outbox_id"] for row in left.rows] == [outbox_id]
        await validate_fsm_event(db, course_id, position.initial, by="WORKER_LAYER_3", old_states=("pending",))
        assert await fallbacks(app_db) == {"layer3:success": 1}


class WitnessStage(Stage[Job, None]):
    """A stage that does nothing but look in which state it finds the course."""

    job_type = "WITNESS"
    queue = "test-queue"
    model = Job

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    async def compute(self, job: Job, course: CourseRun) -> None:
        """Look."""
        self.seen.append(course.state)

    async def commit(self, tx: StageTransaction, prepared: None) -> None:
        """Write nothing."""


async def write_row(db: Database, course_id: UUID, job_type: str) -> UUID:
    """An outbox row as somebody would write it with psql; the trigger completes it."""
    return UUID(
        str(
            await db.fetchval(
                "INSERT INTO job_outbox (entity_id, queue_name, job_type) VALUES ($1, 'course-generation', $2)"
                " RETURNING outbox_id",
                course_id,
                job_type,
            )
        )
    )


def announcement(outbox_id: UUID, course_id: UUID, job_type: str) -> bytes:
    """What the relay publishes after it has queued a row."""
    one = Announcement(outbox_id=outbox_id, course_id=course_id, job_type=job_type, queue="course-generation:analysis")
    return msgspec.json.encode([one])


async def event_by(db: Database, course_id: UUID, initiator: str) -> bool:
    """Whether `initiator` has moved the course."""
    return bool(
        await db.fetchval(
            "SELECT count(*) FROM fsm_events WHERE entity_id = $1 AND triggered_by = $2", course_id, initiator
        )
    )


async def fallbacks(db: Database) -> dict[str, float]:
    """How often Layers 2 and 3 had to act."""
    rows = await db.fetch("SELECT label, value FROM metric_values WHERE name = 'fallback'")
    return {row["label"]: row["value"] for row in rows}


class TestErrors:
    """What a client sees when something is broken, and what is left behind: nothing half done."""

    async def test_14_a_redis_failure_degrades_to_the_database(
        self, app_database_url: str, db: Database, private_redis: PrivateRedis
    ) -> None:
        """With Redis killed requests still succeed, repeats still answer alike, and Redis is used again once it is back."""
        before, during, after = [await add_course(db) for _ in range(3)]
        async with running_api(app_database_url, private_redis.url()) as api:
            assert (await initiate(api, before)).status_code == 200
            private_redis.kill()
            assert not private_redis.server.is_ready()

            answers = [await initiate(api, course_id) for course_id in (during, during, before)]
            assert [answer.status_code for answer in answers] == [200, 200, 200]
            assert answers[0].json()["jobId"] == answers[1].json()["jobId"]
            assert answers[1].json()["fromCache"] is True
            assert [(await footprint(db, each)).size for each in (before, during)] == [(1, 1, 1), (1, 1, 1)]

            private_redis.start()
            await eventually(lambda: remembered(api, private_redis, after), within=20)

        assert (await footprint(db, after)).size == (1, 1, 1)

    @pytest.mark.parametrize("reason", ["statement timeout", "lock timeout"])
    async def test_15_a_database_timeout_is_a_clean_error(
        self, app_database_url: str, db: Database, redis_url: str, reason: str
    ) -> None:
        """PostgreSQL really times out, all retries included: a 500 in Russian, no partial row, and then it works again."""
        course_id, neighbour = await add_course(db), await add_course(db)
        if reason == "lock timeout":
            name = await db.fetchval("SELECT current_database()")
            await db.execute(f"ALTER ROLE coursegen_app IN DATABASE {name} SET lock_timeout = '200ms'")
        seconds = {"statement timeout": 0.5, "lock timeout": 5.0}[reason]
        async with running_api(app_database_url, redis_url, statement_seconds=seconds) as api:
            async with db.transaction() as lock:
                await lock.execute("SELECT FROM courses WHERE id = $1 FOR UPDATE", course_id)
                refused, passed = await asyncio.gather(initiate(api, course_id), initiate(api, neighbour))

                assert refused.status_code == 500
                assert refused.json()["error"]["code"] == "initiation_failed"
                assert re.search("[а-яё]", refused.json()["error"]["message"])
                assert await written(db, course_id) == ("pending", 0, 0)
                assert passed.status_code == 200
                witnesses = [each for each in (await footprint(db, course_id)).events if "error" in each["metadata"]]
                assert len(witnesses) <= 1
            again = await initiate(api, course_id)

        assert again.status_code == 200
        assert "fromCache" not in again.json()
        assert await written(db, course_id) == ("stage_4_init", 1, 1)

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"title": "No course"},
            {"courseId": None},
            {"courseId": ""},
            {"courseId": "load-test-course-1"},
            {"courseId": 7},
            {"courseId": "77777777-7777-4777-8777-777777777777", "title": 7},
            {"courseId": "77777777-7777-4777-8777-777777777777", "hasFiles": "yes"},
            [],
            None,
        ],
        ids=repr,
    )
    async def test_16_missing_required_fields_are_refused(
        self, app_database_url: str, db: Database, redis_url: str, body: Any
    ) -> None:
        """400 in the error shape, saying which field to change, and nothing written anywhere."""
        before = await totals(db)
        async with running_api(app_database_url, redis_url) as api:
            answer = await api.client.post(
                "/api/trpc/generation.initiate",
                content=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )

        assert answer.status_code == 400
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "details"}
        assert error["message"]
        assert await totals(db) == before

    def test_16b_missing_fields_of_the_command_are_refused(self) -> None:
        """The same below HTTP: a command without a required field raises a typed error that names it."""
        for missing in ("entity_id", "user_id", "organization_id", "idempotency_key", "initiated_by", "initial_state"):
            fields: dict[str, Any] = {
                "entity_id": str(uuid4()),
                "user_id": str(USER),
                "organization_id": str(ORGANIZATION),
                "idempotency_key": "key",
                "initiated_by": "TEST",
                "initial_state": "stage_4_init",
            }
            del fields[missing]
            with pytest.raises(InvalidInput, match=missing):
                InitializeFSMCommand.parse(fields)


async def initiate(api: RunningApi, course_id: UUID) -> Response:
    """Ask over HTTP, with nothing but the course."""
    return await api.client.post("/api/trpc/generation.initiate", json={"courseId": str(course_id)})


async def remembered(api: RunningApi, server: PrivateRedis, course_id: UUID) -> bool:
    """Whether a repeat of a request leaves its result in Redis."""
    assert (await initiate(api, course_id)).status_code == 200
    async with Redis.from_url(server.url()) as client:
        return bool(await client.exists(f"idempotency:{derived_lookup(USER, course_id, None)}"))


async def written(db: Database, course_id: UUID) -> tuple[str | None, int, int]:
    """State, outbox rows and keys of a course: what an initiation may not leave half done."""
    left = await footprint(db, course_id)
    return left.state, len(left.rows), len(left.keys)


class TestIntegrity:
    """What the database itself refuses and guarantees."""

    async def test_17_a_conflicting_outbox_id_is_refused(self, handler: CommandHandler, db: Database) -> None:
        """An outbox identifier exists once: a second row with it is refused and the first is untouched."""
        course_id = await add_course(db)
        result = await handler.initialize(command(course_id))
        before = (await footprint(db, course_id)).rows[0]
        with pytest.raises(UniqueViolation):
            await db.execute(
                "INSERT INTO job_outbox (outbox_id, entity_id, queue_name, job_type) VALUES ($1, $2, 'other', 'OTHER')",
                result.job_id,
                course_id,
            )

        assert (await footprint(db, course_id)).rows == [before]

    async def test_18_referential_integrity(self, handler: CommandHandler, db: Database) -> None:
        """No row without its course; a deleted course takes its rows in all three tables along."""
        course_id = await add_course(db)
        await handler.initialize(command(course_id))
        with pytest.raises(CoursegenError):
            await handler.initialize(command(uuid4(), key="nobody's"))
        for table, columns, values in _ORPHANS:
            with pytest.raises(ForeignKeyViolation):
                await db.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", uuid4())
        await db.execute("DELETE FROM courses WHERE id = $1", course_id)

        assert (await footprint(db, course_id)).size == (0, 0, 0)

    async def test_19_job_data_is_valid_jsonb(self, handler: CommandHandler, db: Database) -> None:
        """What was given comes back as it was, queryable inside the database; what is no object is refused."""
        course_id = await add_course(db)
        data = {"courseId": str(course_id), "nested": {"list": [1, 2.5, None, True]}, "text": 'Курс "1" \\ ✓'}
        await handler.initialize(command(course_id, job_data=[{**job(), "data": data}]))
        row = (await footprint(db, course_id)).rows[0]
        inside = await db.fetchval(
            "SELECT job_data #>> '{nested,list,1}' FROM job_outbox WHERE outbox_id = $1", row["outbox_id"]
        )

        assert row["job_data"] == data
        assert inside == "2.5"
        for wrong in ("text", [1], None, 7):
            with pytest.raises((DatabaseRefused, InvalidInput)):
                await handler.initialize(command(course_id, key=repr(wrong), job_data=[{**job(), "data": wrong}]))

    async def test_20_event_timestamps_are_right(self, handler: CommandHandler, db: Database) -> None:
        """An event carries the moment of its move, in order, the same as its row's and its key's."""
        course_id = await add_course(db)
        before = datetime.now(UTC) - timedelta(seconds=1)
        await handler.initialize(command(course_id, key="first"))
        await handler.initialize(command(course_id, key="second", state="stage_5_init"))
        after = datetime.now(UTC) + timedelta(seconds=1)
        left = await footprint(db, course_id)
        stamps = [event["created_at"] for event in left.events]

        assert before <= stamps[0] < stamps[1] <= after
        assert stamps == [row["created_at"] for row in left.rows] == [key["created_at"] for key in left.keys]
        assert [key["expires_at"] - key["created_at"] for key in left.keys] == [timedelta(hours=24)] * 2


_ORPHANS = (
    ("job_outbox", "entity_id, queue_name", "$1, 'course-generation'"),
    ("idempotency_keys", "entity_id, idempotency_key", "$1, 'orphan'"),
    ("fsm_events", "entity_id, event_type, created_by", "$1, 'STATE_CHANGED', 'API'"),
)


async def _writers(db: Database, course_id: UUID) -> int:
    """How many transactions have written what the course has."""
    return int(
        await db.fetchval(
            "SELECT count(DISTINCT writer) FROM ("
            " SELECT xmin::text AS writer FROM courses WHERE id = $1"
            " UNION ALL SELECT xmin::text FROM job_outbox WHERE entity_id = $1"
            " UNION ALL SELECT xmin::text FROM fsm_events WHERE entity_id = $1"
            " UNION ALL SELECT xmin::text FROM idempotency_keys WHERE entity_id = $1) AS writers",
            course_id,
        )
    )
