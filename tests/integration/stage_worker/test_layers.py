"""Layers 2 and 3: courses that nobody initialised get initialised, forwards only, without a second job; and orphans."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import msgspec
import pytest
from redis.asyncio import Redis

from services.kernel.counters import Counters
from services.kernel.database import Database, Row
from services.kernel.envelopes import ANNOUNCEMENT_CHANNEL, Announcement, MalformedMessage
from services.kernel.errors import RetryableError
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret
from services.stage_worker.listener import Layer2Listener
from tests.integration.stage_worker.harness import Pipeline, footprint_of, moves, stage_job, state, steps
from tests.support.courses import add_course, add_documents
from tests.support.waiting import eventually

TYPES = {
    "DOCUMENT_PROCESSING": "stage_2_init",
    "STRUCTURE_ANALYSIS": "stage_4_init",
    "STRUCTURE_GENERATION": "stage_5_init",
}


async def add_row(db: Database, course: UUID, job_type: str) -> Row:
    """An outbox row as somebody would write it by hand, without initialising the course."""
    [row] = await db.fetch(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type) VALUES ($1, 'course-generation', $2) RETURNING *",
        course,
        job_type,
    )
    return row


async def fallbacks(db: Database, counters: Counters) -> dict[str, float]:
    """How often the layers acted."""
    await counters.flush()
    rows = await db.fetch("SELECT label, value FROM metric_values WHERE name = 'fallback'")
    found = {row["label"]: row["value"] for row in rows}
    measured = (await counters.read()).durations("fallback_duration").count
    assert measured == sum(found.values()), "each activation is timed"
    return found


def announced(course: UUID, job_type: str) -> bytes:
    """What the relay publishes."""
    return msgspec.json.encode([Announcement(outbox_id=uuid4(), course_id=course, job_type=job_type)])


@pytest.fixture
def listener(app_db: Database, pipeline: Pipeline, redis_url: str) -> Layer2Listener:
    """A listener on the test's Redis."""
    return Layer2Listener(open_redis(Secret(redis_url), name="test"), app_db, pipeline.counters)


class TestLayer2:
    """The listener."""

    @pytest.mark.parametrize("before", [None, "pending"])
    @pytest.mark.parametrize("job_type", TYPES)
    async def test_a_pending_course_is_initialised(
        self, listener: Layer2Listener, db: Database, job_type: str, before: str | None
    ) -> None:
        """By job type, as QUEUE, and without a job of its own (TRAP34)."""
        course = await add_course(db, state=before)
        await listener.consider(announced(course, job_type))
        [event] = await db.fetch("SELECT * FROM fsm_events WHERE entity_id = $1", course)

        assert await state(db, course) == TYPES[job_type]
        assert (event["created_by"], event["triggered_by"]) == ("QUEUE", "QUEUE_LAYER_2")
        assert await db.fetchval("SELECT count(*) FROM job_outbox") == 0

    @pytest.mark.parametrize("present", ["stage_2_processing", "stage_5_generating", "completed", "error", "cancelled"])
    async def test_any_other_course_is_left_alone(self, listener: Layer2Listener, db: Database, present: str) -> None:
        """Only a pending course needs it."""
        course = await add_course(db, state=present)
        before = await footprint_of(db, course)
        await listener.consider(announced(course, "STRUCTURE_ANALYSIS"))

        assert await footprint_of(db, course) == before

    async def test_other_types_are_ignored(self, listener: Layer2Listener, db: Database) -> None:
        """An announcement of a type outside the pipeline initialises nothing."""
        course = await add_course(db)
        await listener.consider(announced(course, "SOMETHING_ELSE"))

        assert await state(db, course) == "pending"

    async def test_two_listeners_act_once(self, listener: Layer2Listener, pipeline: Pipeline, db: Database) -> None:
        """Every worker hears every announcement; one of them acts and is counted."""
        course = await add_course(db)
        message = announced(course, "STRUCTURE_ANALYSIS")
        await asyncio.gather(*(listener.consider(message) for _ in range(8)))

        assert len(await moves(db, course)) == 1
        assert await fallbacks(db, pipeline.counters) == {"layer2:success": 1}

    async def test_a_refusal_is_counted_and_harmless(
        self, listener: Layer2Listener, pipeline: Pipeline, db: Database
    ) -> None:
        """One course's refusal is a warning; the next course of the same announcement is initialised all the same."""
        refused, fine = await add_course(db), await add_course(db)
        await db.execute(
            "INSERT INTO idempotency_keys (idempotency_key, entity_id) VALUES ($1, $2)", f"layer2:{refused}:1:4", fine
        )
        both = [
            Announcement(outbox_id=uuid4(), course_id=each, job_type="STRUCTURE_ANALYSIS") for each in (refused, fine)
        ]
        await listener.consider(msgspec.json.encode(both))

        assert await state(db, refused) == "pending"
        assert await state(db, fine) == "stage_4_init"
        assert await fallbacks(db, pipeline.counters) == {"layer2:failed": 1, "layer2:success": 1}

    @pytest.mark.parametrize("rubbish", [b"", b"{}", b"[1]", b'[{"courseId":"x","outboxId":"y"}]', b"\xff\xfe"])
    async def test_rubbish_is_a_typed_error(self, listener: Layer2Listener, rubbish: bytes) -> None:
        """What cannot be read is named as such; the loop logs it and goes on."""
        with pytest.raises(MalformedMessage):
            await listener.consider(rubbish)

    async def test_it_hears_and_survives(
        self, listener: Layer2Listener, redis: Redis, app_db: Database, db: Database
    ) -> None:
        """Over Redis itself: rubbish between two announcements and a cut connection cost nothing but a moment."""
        stopping = asyncio.Event()
        running = asyncio.create_task(listener.run(stopping))
        try:
            for interruption in (b"rubbish", b""):
                course = await add_course(db)

                async def initialised(course: UUID = course, word: bytes = interruption) -> bool:
                    await redis.publish(ANNOUNCEMENT_CHANNEL, word)
                    await redis.publish(ANNOUNCEMENT_CHANNEL, announced(course, "STRUCTURE_ANALYSIS"))
                    return await state(db, course) == "stage_4_init"

                await eventually(initialised, within=15, every=0.1)
                await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        finally:
            stopping.set()
            await asyncio.wait_for(running, 10)

    async def test_an_outage_and_a_flood_are_only_warnings(
        self, redis_url: str, redis: Redis, app_database_url: str, pipeline: Pipeline, db: Database
    ) -> None:
        """PostgreSQL away while announcements pour in: some are missed, and the listener lives to hear the next."""
        away = await Database.open(
            CommonSettings(database_url=Secret(app_database_url), pool_max_size=1, acquire_seconds=0.3)
        )
        listener = Layer2Listener(open_redis(Secret(redis_url), name="test"), away, pipeline.counters)
        course, stopping = await add_course(db), asyncio.Event()
        running = asyncio.create_task(listener.run(stopping))

        async def initialised() -> bool:
            await redis.publish(ANNOUNCEMENT_CHANNEL, announced(course, "STRUCTURE_ANALYSIS"))
            return await state(db, course) == "stage_4_init"

        try:
            async with away.acquire():
                for _ in range(300):
                    await redis.publish(ANNOUNCEMENT_CHANNEL, announced(course, "STRUCTURE_ANALYSIS"))
                await asyncio.sleep(1.0)
                missed = await state(db, course)
            await eventually(initialised, within=15, every=0.2)
        finally:
            stopping.set()
            await asyncio.wait_for(running, 10)
            await away.close()

        assert missed == "pending"

    async def test_it_waits_for_a_redis_that_is_away(self, app_db: Database, pipeline: Pipeline) -> None:
        """No Redis: warnings, and a prompt stop."""
        away = open_redis(Secret("redis://127.0.0.1:1/0"), name="test")
        listener = Layer2Listener(away, app_db, pipeline.counters)
        stopping = asyncio.Event()
        running = asyncio.create_task(listener.run(stopping))
        await asyncio.sleep(0.05)
        stopping.set()
        await asyncio.wait_for(running, 5)

        assert running.exception() is None


class TestLayer3:
    """The worker's own check."""

    @pytest.mark.parametrize("before", [None, "pending"])
    @pytest.mark.parametrize("job_type", TYPES)
    async def test_an_uninitialised_course_is_initialised_and_worked_on(
        self, pipeline: Pipeline, db: Database, job_type: str, before: str | None
    ) -> None:
        """The first event is WORKER's, no job is doubled, and the course ends completed."""
        course = await add_course(db, state=before)
        await add_documents(db, course, ["# One\n\nText.\n"])
        await pipeline.deliver(await add_row(db, course, job_type))
        [first, *_] = await db.fetch("SELECT * FROM fsm_events WHERE entity_id = $1 ORDER BY position", course)
        await pipeline.finish(course)

        assert (first["created_by"], first["new_state"]) == ("WORKER", TYPES[job_type])
        assert first["triggered_by"] == "WORKER_LAYER_3"
        assert await state(db, course) == "completed"
        assert await steps(db, course) == ["completed"] * 5
        assert len(await pipeline.rows(course, job_type)) == 1
        assert await fallbacks(db, pipeline.counters) == {"layer3:success": 1}

    @pytest.mark.parametrize(
        ("job_type", "earlier"),
        [
            ("STRUCTURE_ANALYSIS", "stage_2_processing"),
            ("STRUCTURE_ANALYSIS", "stage_2_complete"),
            ("STRUCTURE_GENERATION", "stage_2_init"),
            ("STRUCTURE_GENERATION", "stage_4_complete"),
        ],
    )
    async def test_an_earlier_stage_is_left_behind(
        self, pipeline: Pipeline, db: Database, job_type: str, earlier: str
    ) -> None:
        """Forwards it moves a course from any state of an earlier stage (contract.md c.2)."""
        course = await add_course(db, state=earlier)

        assert await pipeline.deliver(await add_row(db, course, job_type)) == "applied"
        assert (await moves(db, course))[0] == (earlier, TYPES[job_type])

    @pytest.mark.parametrize(
        ("job_type", "later"),
        [
            ("DOCUMENT_PROCESSING", "stage_4_init"),
            ("DOCUMENT_PROCESSING", "stage_5_complete"),
            ("STRUCTURE_ANALYSIS", "stage_5_init"),
            ("STRUCTURE_ANALYSIS", "completed"),
            ("STRUCTURE_GENERATION", "completed"),
            ("STRUCTURE_GENERATION", "cancelled"),
            ("DOCUMENT_PROCESSING", "error"),
        ],
    )
    async def test_it_never_moves_backwards(self, pipeline: Pipeline, db: Database, job_type: str, later: str) -> None:
        """The literal rule would push a later course back: it is guarded (TRAP11)."""
        course = await add_course(db, state=later)

        assert await pipeline.deliver(await add_row(db, course, job_type)) == "skipped"
        assert await state(db, course) == later
        assert await moves(db, course) == []

    @pytest.mark.parametrize("job_type", TYPES)
    async def test_a_state_of_the_own_stage_needs_nothing(
        self, pipeline: Pipeline, db: Database, job_type: str
    ) -> None:
        """In each of the stage's three states the handler goes straight to work."""
        for suffix in {"STRUCTURE_ANALYSIS": ("init", "analyzing", "complete")}.get(job_type, ("init", "complete")):
            course = await add_course(db, state=TYPES[job_type].replace("init", suffix))
            await add_documents(db, course, ["# One\n\nText.\n"])

            assert await pipeline.deliver(await add_row(db, course, job_type)) == "applied"
        assert await fallbacks(db, pipeline.counters) == {}

    async def test_a_refusal_does_not_stop_the_job(self, pipeline: Pipeline, db: Database) -> None:
        """Layer 3 failing is logged and counted; the stage goes on and the course moves all the same."""
        course, other = await add_course(db), await add_course(db)
        await db.execute(
            "INSERT INTO idempotency_keys (idempotency_key, entity_id) VALUES ($1, $2)", f"layer3:{course}:1:4", other
        )

        assert await pipeline.deliver(await add_row(db, course, "STRUCTURE_ANALYSIS")) == "applied"
        assert await state(db, course) == "stage_5_init"
        assert await fallbacks(db, pipeline.counters) == {"layer3:failed": 1}

    async def test_a_used_key_is_no_second_activation(self, pipeline: Pipeline, db: Database) -> None:
        """A course set back by hand: the handler answers as before, the stage moves it on, nothing is counted twice."""
        course = await add_course(db)
        await pipeline.deliver(await add_row(db, course, "STRUCTURE_ANALYSIS"))
        await db.execute("ALTER TABLE courses DISABLE TRIGGER courses_guard_generation_status")
        await db.execute("UPDATE courses SET generation_status = 'pending'")
        await db.execute("DELETE FROM course_structures")
        await db.execute("ALTER TABLE courses ENABLE TRIGGER courses_guard_generation_status")

        assert await pipeline.deliver(await add_row(db, course, "STRUCTURE_ANALYSIS")) == "applied"
        assert await state(db, course) == "stage_5_init"
        assert len(await pipeline.rows(course, "STRUCTURE_GENERATION")) == 1
        assert await fallbacks(db, pipeline.counters) == {"layer3:success": 1}

    async def test_an_outage_is_no_refusal(self, pipeline: Pipeline, db: Database) -> None:
        """When the database does not answer, the job waits; Layer 3 has neither acted nor failed."""
        course = await add_course(db)
        row = await add_row(db, course, "STRUCTURE_ANALYSIS")
        await db.execute(
            "CREATE FUNCTION pg_temp_fault() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'once' USING ERRCODE = '40001'; END $$"
        )
        await db.execute(
            "CREATE TRIGGER fault BEFORE INSERT ON fsm_events FOR EACH ROW EXECUTE FUNCTION pg_temp_fault()"
        )
        with pytest.raises(RetryableError):
            await pipeline.deliver(row)
        await db.execute("DROP TRIGGER fault ON fsm_events")

        assert await fallbacks(db, pipeline.counters) == {}
        assert await pipeline.deliver(row) == "applied"


class TestOrphans:
    """Jobs whose initiation has not marked step 1 (contract.md h, TRAP17)."""

    async def test_an_orphan_is_completed_and_reported(self, pipeline: Pipeline, db: Database) -> None:
        """Step 1 is completed, once, with one row in `system_metrics`."""
        course = await add_course(db, state="stage_4_init")
        row = await add_row(db, course, "STRUCTURE_ANALYSIS")
        await pipeline.deliver(row)
        await pipeline.finish(course)
        [metric] = await db.fetch("SELECT event_type::text, severity::text, course_id, job_id FROM system_metrics")

        assert dict(metric) == {
            "event_type": "orphaned_job_recovery",
            "severity": "warning",
            "course_id": course,
            "job_id": row["outbox_id"],
        }
        assert await steps(db, course) == ["completed"] * 5

    async def test_a_normal_job_is_no_orphan(self, pipeline: Pipeline, db: Database) -> None:
        """An initiation marks step 1 itself, so nothing is reported."""
        course = await add_course(db)
        await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await pipeline.finish(course)

        assert await db.fetchval("SELECT count(*) FROM system_metrics") == 0
