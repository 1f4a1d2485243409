"""`initialize_fsm_with_outbox`: one call, one transaction, one set of rows (contract.md b.10)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from services.kernel.database import Connection, Database, DatabaseRefused
from services.kernel.errors import CoursegenError, InvalidInput, TransitionRefused
from tests.support.courses import add_course, footprint
from tests.support.tokens import ORGANIZATION, USER
from tests.support.waiting import eventually

_ANALYSIS = {"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS", "data": {"title": "x"}}


async def initialize(
    db: Database | Connection, course: UUID, key: str = "key", jobs: Any = None, **changes: Any
) -> Any:
    """Call the function with one analysis job, unless `changes` say otherwise."""
    given = {
        "by": "API_INITIATE",
        "state": "stage_4_init",
        "metadata": {},
        "user": USER,
        "organization": ORGANIZATION,
    } | changes
    return await db.fetchval(
        "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, $5, $6, $7, $8)",
        course, given["user"], given["organization"], key, given["by"], given["state"],
        [_ANALYSIS] if jobs is None else jobs, given["metadata"],
    )  # fmt: skip


async def test_it_writes_state_rows_event_and_key_and_says_what(db: Database) -> None:
    """All of it visible to another connection when the call returns."""
    course = await add_course(db)
    result = await initialize(db, course, metadata={"requestId": "r-1", "test": "yes"})
    left = await footprint(db, course)

    assert left.state == "stage_4_init"
    assert left.size == (1, 1, 1)
    state = result["fsmState"]
    assert set(state) == {
        "courseId", "oldState", "newState", "initiatedBy", "entity_id", "state", "version", "created_by", "created_at",
    }  # fmt: skip
    assert (state["oldState"], state["newState"], state["version"]) == ("pending", "stage_4_init", 1)
    assert state["courseId"] == state["entity_id"] == str(course)
    assert state["created_by"] == str(USER)
    assert abs(datetime.fromisoformat(state["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    row, event, key = left.rows[0], left.events[0], left.keys[0]
    assert result["outboxEntries"] == [
        {
            "outbox_id": str(row["outbox_id"]),
            "queue_name": "course-generation",
            "saq_queue": "course-generation:analysis",
            "job_type": "STRUCTURE_ANALYSIS",
            "priority": 1,
        }
    ]
    assert row["metadata"] == event["metadata"] == {"requestId": "r-1", "test": "yes"}
    assert (event["event_type"], event["old_state"], event["new_state"]) == (
        "FSM_INITIALIZED",
        "pending",
        "stage_4_init",
    )
    assert (event["triggered_by"], event["created_by"], event["user_id"]) == ("API_INITIATE", "API", USER)
    assert key["result_cache"] == key["result"] == result
    assert key["key"] == key["idempotency_key"] == "key"
    assert key["expires_at"] - key["created_at"] == timedelta(hours=24)


async def test_the_row_holds_the_final_saq_job(db: Database) -> None:
    """As saq 0.26 reads it, for the saq queue it goes to (D12), keyed by the row (D37)."""
    course = await add_course(db)
    await initialize(db, course, metadata={"requestId": "r-1"})
    row = (await footprint(db, course)).rows[0]
    body = orjson.loads(row["job_body"])

    assert body["queue"] == row["saq_queue"] == "course-generation:analysis"
    assert body["key"] == str(row["outbox_id"])
    assert body["function"] == "STRUCTURE_ANALYSIS"
    assert (body["timeout"], body["heartbeat"], body["retries"], body["ttl"]) == (900, 20, 5, 3600)
    assert (body["retry_delay"], body["retry_backoff"], body["status"], body["priority"]) == (1, 30, "queued", 1)
    assert abs(body["queued"] - datetime.now(UTC).timestamp() * 1000) < 60_000
    assert body["kwargs"]["payload"] == {
        "title": "x",
        "outboxId": str(row["outbox_id"]),
        "courseId": str(course),
        "jobType": "STRUCTURE_ANALYSIS",
        "runNumber": 1,
        "priority": 1,
        "requestId": "r-1",
    }


@pytest.mark.parametrize(
    ("job_type", "queue", "seconds"),
    [
        ("DOCUMENT_PROCESSING", "course-generation:documents", 600),
        ("STRUCTURE_ANALYSIS", "course-generation:analysis", 900),
        ("STRUCTURE_GENERATION", "course-generation:generation", 1800),
        ("SOMETHING_ELSE", "course-generation", 600),
    ],
)
async def test_a_job_is_routed_by_its_type(db: Database, job_type: str, queue: str, seconds: int) -> None:
    """One queue outside, one saq queue per stage inside."""
    course = await add_course(db)
    await initialize(db, course, jobs=[{"queue_name": "course-generation", "jobType": job_type}])
    row = (await footprint(db, course)).rows[0]

    assert (row["queue_name"], row["saq_queue"]) == ("course-generation", queue)
    assert orjson.loads(row["job_body"])["timeout"] == seconds


async def test_a_job_of_002_s_shape_is_accepted(db: Database) -> None:
    """Only queue, data and options, on a queue nobody knows (TRAP7)."""
    course = await add_course(db)
    options = {"timeout": 30, "retries": 2, "attempts": 3, "ttl": "no number"}
    await initialize(db, course, jobs=[{"queue": "test-queue", "data": {"a": [1, None]}, "options": options}])
    row = (await footprint(db, course)).rows[0]
    body = orjson.loads(row["job_body"])

    assert (row["queue_name"], row["saq_queue"], row["job_type"]) == ("test-queue", "test-queue", None)
    assert (row["job_data"], row["job_options"], row["max_retries"]) == ({"a": [1, None]}, options, 5)
    assert (body["function"], body["timeout"], body["retries"], body["ttl"]) == ("unknown", 30, 2, 3600)
    assert body["kwargs"]["payload"]["a"] == [1, None]


async def test_priority_and_retries_may_be_given(db: Database) -> None:
    """Without one the course's own priority holds."""
    course = await add_course(db)
    await db.execute("UPDATE courses SET priority = 10 WHERE id = $1", course)
    await initialize(db, course, jobs=[_ANALYSIS, _ANALYSIS | {"priority": 3, "max_retries": 9}])
    rows = (await footprint(db, course)).rows

    assert [(row["priority"], row["max_retries"]) for row in rows] == [(10, 5), (3, 9)]


async def test_the_same_key_returns_the_stored_result(db: Database) -> None:
    """Even if the other arguments differ: 002 repeats with an empty list."""
    course = await add_course(db)
    first = await initialize(db, course)

    assert await initialize(db, course) == first
    assert await initialize(db, course, jobs=[], state="stage_5_init", by="TEST", metadata={"x": 1}) == first
    assert (await footprint(db, course)).size == (1, 1, 1)


async def test_a_hundred_at_once_with_one_key_write_once(db: Database) -> None:
    """Exactly one row, one event, one key; a hundred equal results."""
    course = await add_course(db)
    results = await asyncio.gather(*(initialize(db, course) for _ in range(100)))

    assert all(result == results[0] for result in results)
    assert (await footprint(db, course)).size == (1, 1, 1)


async def test_calls_that_meet_at_the_course_write_once(db: Database, owner: Connection) -> None:
    """All are under way before the first one writes, so each looks for the key while it holds the course's lock."""
    course = await add_course(db)
    waiting = (
        "SELECT count(*) = 8 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with owner.transaction():
        await owner.execute("SELECT 1 FROM courses WHERE id = $1 FOR UPDATE", course)
        calls = [asyncio.create_task(initialize(db, course)) for _ in range(8)]
        await eventually(lambda: db.fetchval(waiting), within=10)
    results = await asyncio.gather(*calls)

    assert all(result == results[0] for result in results)
    assert (await footprint(db, course)).size == (1, 1, 1)


async def test_different_keys_on_one_course_are_no_conflict(db: Database) -> None:
    """2 → 4 → 5, a new key each (TRAP29)."""
    course = await add_course(db)
    for state in ("stage_2_init", "stage_4_init", "stage_5_init", "stage_5_init"):
        await initialize(db, course, key=str(uuid4()), state=state)
    left = await footprint(db, course)

    assert left.size == (4, 4, 4)
    assert [event["old_state"] for event in left.events] == ["pending", "stage_2_init", "stage_4_init", "stage_5_init"]


async def test_an_empty_job_list_is_legal(db: Database) -> None:
    """Layers 2 and 3 call for a job that exists already (TRAP34)."""
    course = await add_course(db, state=None)
    result = await initialize(db, course, jobs=[], by="QUEUE_LAYER_2")
    left = await footprint(db, course)

    assert result["outboxEntries"] == []
    assert result["fsmState"]["oldState"] is None
    assert left.size == (0, 1, 1)
    assert left.events[0]["created_by"] == "QUEUE"


@pytest.mark.parametrize(
    ("initiator", "source"),
    [
        ("API_INITIATE", "API"),
        ("QUEUE_X", "QUEUE"),
        ("WORKER_X", "WORKER"),
        ("TEST", "API"),
        ("DEPLOYMENT_TEST", "API"),
    ],
)
async def test_the_initiator_is_kept_raw_and_mapped(db: Database, initiator: str, source: str) -> None:
    """created_by allows three values; the sources call with others (TRAP8)."""
    course = await add_course(db)
    await initialize(db, course, by=initiator)
    event = (await footprint(db, course)).events[0]

    assert (event["triggered_by"], event["created_by"]) == (initiator, source)


async def test_an_expired_key_is_free_again(db: Database) -> None:
    """Its row stays seven days and is replaced (TRAP31), also for another course."""
    first, second = await add_course(db), await add_course(db)
    before = await initialize(db, first)
    await db.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 second'")
    after = await initialize(db, second)

    assert after != before
    assert (await footprint(db, second)).size == (1, 1, 1)
    key = await db.fetchrow("SELECT * FROM idempotency_keys")
    assert key["entity_id"] == second
    assert key["expires_at"] > datetime.now(UTC) + timedelta(hours=23)


async def test_a_key_of_another_course_is_refused(db: Database) -> None:
    """And does not give its result away."""
    first, second = await add_course(db), await add_course(db)
    await initialize(db, first)
    with pytest.raises(CoursegenError, match="bound to another course"):
        await initialize(db, second)

    left = await footprint(db, second)
    assert (left.state, left.size) == ("pending", (0, 0, 0))


async def test_one_key_raced_over_two_courses_is_given_once(db: Database, owner: Connection) -> None:
    """The second looked before the first committed; it leaves nothing."""
    first, second = await add_course(db), await add_course(db)
    waiting = (
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with owner.transaction():
        await initialize(owner, first)
        late = asyncio.create_task(initialize(db, second))
        await eventually(lambda: db.fetchval(waiting), within=10)
    with pytest.raises(CoursegenError, match="bound to another course"):
        await late

    assert (await footprint(db, first)).size == (1, 1, 1)
    assert (await footprint(db, second)).size == (0, 0, 0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": ""}, InvalidInput),
        ({"key": "k" * 256}, InvalidInput),
        ({"key": None}, InvalidInput),
        ({"by": None}, InvalidInput),
        ({"by": ""}, InvalidInput),
        ({"state": "stage_3_init"}, InvalidInput),
        ({"state": "completed"}, InvalidInput),
        ({"state": None}, InvalidInput),
        ({"metadata": [1]}, InvalidInput),
        ({"jobs": {"queue": "q"}}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"data": {}}]}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"queue": "q" * 101}]}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"queue": "q", "data": [1]}]}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"queue": "q", "data": None}]}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"queue": "q", "priority": "high"}]}, InvalidInput),
        ({"jobs": [_ANALYSIS, {"queue": "q", "max_retries": 0}]}, DatabaseRefused),
        ({"jobs": [_ANALYSIS, 7]}, InvalidInput),
    ],
)
async def test_bad_arguments_are_refused_whole(db: Database, changes: dict[str, Any], error: type[Exception]) -> None:
    """Nothing of the call is kept, not even its good jobs."""
    course = await add_course(db)
    with pytest.raises(error):
        await initialize(db, course, **changes)
    left = await footprint(db, course)

    assert (left.state, left.size) == ("pending", (0, 0, 0))


async def test_an_unknown_course_is_an_error(db: Database) -> None:
    """The function never creates one (D3, TRAP27)."""
    with pytest.raises(DatabaseRefused, match="does not exist"):
        await initialize(db, uuid4())


@pytest.mark.parametrize("state", ["stage_5_init", "stage_4_analyzing"])
async def test_it_never_goes_backwards(db: Database, state: str) -> None:
    """A redelivered stage-4 job does not pull its course back (TRAP11)."""
    course = await add_course(db, state=state)
    with pytest.raises(TransitionRefused):
        await initialize(db, course, by="WORKER_LAYER_3")
    left = await footprint(db, course)

    assert (left.state, left.size) == (state, (0, 0, 0))


@pytest.mark.parametrize("ended", ["completed", "error", "cancelled"])
async def test_a_user_begins_a_new_run_of_a_finished_course(db: Database, ended: str) -> None:
    """Through pending, with an event for each step, under the next run's number."""
    course = await add_course(db, state="stage_5_complete" if ended == "completed" else "stage_4_init")
    await db.execute("UPDATE courses SET generation_status = $2::generation_status_enum WHERE id = $1", course, ended)
    result = await initialize(db, course)
    left = await footprint(db, course)

    assert result["fsmState"]["oldState"] == "pending"
    assert [(event["old_state"], event["new_state"]) for event in left.events] == [
        (ended, "pending"),
        ("pending", "stage_4_init"),
    ]
    assert left.rows[0]["run_number"] == left.events[1]["run_number"] == 2


@pytest.mark.parametrize("initiator", ["WORKER_LAYER_3", "QUEUE_LAYER_2"])
@pytest.mark.parametrize("ended", ["completed", "error", "cancelled"])
async def test_a_late_job_begins_no_new_run(db: Database, ended: str, initiator: str) -> None:
    """Only a user's wish does."""
    course = await add_course(db, state=ended)
    with pytest.raises(TransitionRefused):
        await initialize(db, course, jobs=[], by=initiator)
    assert (await footprint(db, course)).state == ended


@pytest.mark.parametrize(("state", "done"), [("stage_2_init", 1), ("stage_4_init", 2), ("stage_5_init", 3)])
async def test_the_steps_before_the_stage_are_marked(db: Database, state: str, done: int) -> None:
    """Step 1 by this function (D11), or each job would look orphaned (TRAP17); without files also step 2."""
    course = await add_course(db)
    await initialize(db, course, state=state)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)

    statuses = [step["status"] for step in progress["steps"]]
    assert statuses == ["completed"] * done + ["pending"] * (5 - done)
    assert (progress["percentage"], progress["current_step"]) == (20 * done, done + 1)
    assert all(
        bool(step["started_at"]) == bool(step["completed_at"]) == (step["id"] <= done) for step in progress["steps"]
    )


async def test_a_later_stage_keeps_what_the_steps_say(db: Database) -> None:
    """Messages and times of finished steps stay; a new run begins with a clean page."""
    course = await add_course(db)
    await initialize(db, course, key="1", state="stage_2_init")
    shown = await db.fetchval("SELECT update_course_progress($1, 2, 'completed', 'two of two')", course)
    await initialize(db, course, key="2", state="stage_4_init", jobs=[])
    kept = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    await db.execute("UPDATE courses SET generation_status = 'error', error_message = 'broken' WHERE id = $1", course)
    await initialize(db, course, key="3", state="stage_2_init")
    fresh = await db.fetchrow("SELECT generation_progress, error_message, has_files FROM courses WHERE id = $1", course)

    assert kept["steps"] == shown["steps"]
    assert [step["status"] for step in fresh["generation_progress"]["steps"]] == ["completed"] + ["pending"] * 4
    assert (fresh["error_message"], fresh["has_files"]) == (None, True)


async def test_nothing_is_left_when_the_last_insert_fails(db: Database) -> None:
    """State and rows of a call are undone with its key."""
    course = await add_course(db)
    await db.execute(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;"
        "CREATE TRIGGER broken BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION broken()"
    )
    with pytest.raises(DatabaseRefused, match="broken"):
        await initialize(db, course)
    left = await footprint(db, course)

    assert (left.state, left.size) == ("pending", (0, 0, 0))


async def test_a_row_written_by_hand_gets_its_body(db: Database) -> None:
    """An operator's INSERT names entity, queue and data only."""
    course = await add_course(db)
    await db.execute("UPDATE courses SET run_number = 3 WHERE id = $1", course)
    await db.execute(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, job_data) VALUES ($1, 'course-generation', $2, $3)",
        course, "STRUCTURE_GENERATION", {"a": "й"},
    )  # fmt: skip
    row = (await footprint(db, course)).rows[0]
    body = orjson.loads(row["job_body"])

    assert row["saq_queue"] == body["queue"] == "course-generation:generation"
    assert row["run_number"] == body["kwargs"]["payload"]["runNumber"] == 3
    assert body["kwargs"]["payload"]["a"] == "й"
    assert body["key"] == str(row["outbox_id"])


async def test_attempts_is_another_name_of_retry_count(db: Database) -> None:
    """b.3: both sources' columns, one truth."""
    course = await add_course(db)
    await initialize(db, course)
    await db.execute("UPDATE job_outbox SET retry_count = 3")

    assert (await footprint(db, course)).rows[0]["attempts"] == 3


async def test_the_calls_of_the_sources_run_as_written(db: Database) -> None:
    """000's dry run and 002's test call, on the fixtures that they need (TRAP27): a course of five columns, state NULL or not."""
    await db.execute(
        "INSERT INTO auth.users (id) VALUES ('00000000-0000-0000-0000-000000000012');"
        "INSERT INTO courses (id, title, slug, user_id, organization_id) VALUES"
        " ('00000000-0000-0000-0000-000000000001', 'Test Course', 'test-course',"
        "  '00000000-0000-0000-0000-000000000012', '759ba851-3f16-4294-9627-dc5a0a366c8e'),"
        " ('00000000-0000-0000-0000-000000000021', 'Dry run', 'dry-run',"
        "  '00000000-0000-0000-0000-000000000012', '759ba851-3f16-4294-9627-dc5a0a366c8e');"
        "UPDATE courses SET generation_status = NULL WHERE slug = 'dry-run'"
    )
    call = (
        "SELECT initialize_fsm_with_outbox('{}'::uuid, '00000000-0000-0000-0000-000000000012'::uuid,"
        " '759ba851-3f16-4294-9627-dc5a0a366c8e'::uuid, '{}', '{}', '{}', '{}'::jsonb, '{{\"test\": \"yes\"}}'::jsonb)"
    )
    job = '[{"queue": "test-queue", "data": {"test": true}, "options": {}}]'
    test, dry = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000021"
    first = await db.fetchval(call.format(test, "test-key", "TEST", "stage_2_init", job))
    again = await db.fetchval(call.format(test, "test-key", "TEST", "stage_2_init", "[]"))
    dry_run = await db.fetchval(call.format(dry, "deployment-test", "DEPLOYMENT_TEST", "stage_4_init", "[]"))

    assert again == first
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE metadata->>'test' = 'yes'") == 1
    assert (dry_run["fsmState"]["oldState"], dry_run["outboxEntries"]) == (None, [])
    assert await db.fetchval("SELECT count(*) FROM courses WHERE id::text LIKE '00000000-%'") == 2
