"""Beginning a run: every status with its body, and the same request never twice (contract.md a.1, d)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator
from redis.asyncio import Redis

from services.kernel.database import Database
from tests.support.api import RunningApi
from tests.support.courses import add_course, add_documents, footprint, totals
from tests.support.tokens import ORGANIZATION, USER, bearer
from tests.support.waiting import eventually

PATHS = ("/api/trpc/generation.initiate", "/api/coursegen/generate")
INITIATE = PATHS[0]
STRANGER = UUID(int=0xBAD)


async def initiate(api: RunningApi, course_id: UUID | str, **options: Any) -> Any:
    """Post to the main path; `body` adds fields."""
    body = {"courseId": str(course_id), **options.pop("body", {})}
    return await api.client.post(options.pop("path", INITIATE), json=body, **options)


@pytest.mark.parametrize("path", PATHS)
async def test_an_accepted_request_is_answered_compactly(api: RunningApi, db: Database, path: str) -> None:
    """Bare compact JSON; `jobId` is the first outbox row's id (TRAP1, D37); both paths are the same."""
    course_id = await add_course(db)
    answer = await initiate(api, course_id, path=path)
    left = await footprint(db, course_id)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == f'{{"success":true,"jobId":"{left.rows[0]["outbox_id"]}","courseId":"{course_id}"}}'
    assert left.size == (1, 1, 1)
    assert (left.state, left.job_types) == ("stage_4_init", ["STRUCTURE_ANALYSIS"])
    assert left.events[0]["triggered_by"] == "API_INITIATE"
    assert left.events[0]["old_state"] in {"pending", None}
    assert left.events[0]["metadata"]["requestId"] == answer.headers["x-request-id"]


async def test_the_two_paths_are_one(api: RunningApi, db: Database) -> None:
    """A request on the one is a repeat on the other."""
    course_id = await add_course(db)
    first, second = [(await initiate(api, course_id, path=path)).json() for path in PATHS]

    assert second["jobId"] == first["jobId"]
    assert (await footprint(db, course_id)).size == (1, 1, 1)


async def test_a_title_creates_the_course(api: RunningApi, db: Database) -> None:
    """D3: owner is the caller, organisation the token's; the user is known from then on."""
    course_id = uuid4()
    answer = await initiate(
        api, course_id, body={"title": "Основы термодинамики", "style": "concise", "language": "ru"}
    )
    course = await db.fetchrow("SELECT * FROM courses WHERE id = $1", course_id)

    assert answer.status_code == 200
    assert course is not None
    assert (course["user_id"], course["organization_id"]) == (USER, ORGANIZATION)
    assert (course["slug"], course["style"], course["language"]) == ("osnovy-termodinamiki", "concise", "ru")
    assert (course["tier"], course["priority"]) == ("STANDARD", 5)


async def test_an_unknown_course_without_a_title_is_404(api: RunningApi, db: Database) -> None:
    """003's and 002's shape."""
    before = await totals(db)
    answer = await initiate(api, uuid4())

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert await totals(db) == before


async def test_creating_needs_an_organisation(api: RunningApi, db: Database) -> None:
    """GAP28: 400 that names the claim; an existing course needs none."""
    headers = bearer(organization=None)
    answer = await initiate(api, uuid4(), body={"title": "x"}, headers=headers)
    existing = await initiate(api, await add_course(db), headers=headers)

    assert answer.status_code == 400
    assert "app_metadata.organization_id" in answer.json()["error"]["message"]
    assert existing.status_code == 200


async def test_anothers_course_is_403(api: RunningApi, db: Database) -> None:
    """Also with a title, and also when it is running."""
    course_id = await add_course(db, user=STRANGER)
    before = await totals(db)

    for body in ({}, {"title": "x"}):
        assert (await initiate(api, course_id, body=body)).status_code == 403
    assert await totals(db) == before


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_it_is_401_before_anything_else(api: RunningApi, path: str) -> None:
    """GAP26: also for a body that is not valid, too large, or of another type."""
    for content in (b"{", b"{}", b"x" * 2_000_000):
        answer = await api.client.post(path, content=content, headers={"Authorization": ""})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"


async def test_missing_fields_are_400_with_the_field_and_nothing_is_written(api: RunningApi, db: Database) -> None:
    """Test 16 of contract.md l.4, over HTTP."""
    before = await totals(db)
    answer = await api.client.post(INITIATE, json={"title": "x"})

    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "code": "invalid_input",
            "message": "The field `courseId` is required.",
            "details": {"field": "courseId"},
        }
    }
    assert await totals(db) == before


async def test_the_documents_of_a_course_become_jobs(api: RunningApi, db: Database) -> None:
    """TRAP43: one job per document in one transaction, `jobId` the first; derived from what is stored (D2)."""
    course_id = await add_course(db)
    documents = await add_documents(db, course_id, ["# A", "# B", "# C", "# D"])
    answer = await initiate(api, course_id)
    left = await footprint(db, course_id)

    assert left.state == "stage_2_init"
    assert left.job_types == ["DOCUMENT_PROCESSING"] * 4
    assert [row["job_data"]["documentId"] for row in left.rows] == [str(each) for each in documents]
    assert answer.json()["jobId"] == str(left.rows[0]["outbox_id"])


async def test_has_files_false_ignores_stored_documents(api: RunningApi, db: Database) -> None:
    """The client decides."""
    course_id = await add_course(db)
    await add_documents(db, course_id, ["# A"])
    await initiate(api, course_id, body={"hasFiles": False})

    assert (await footprint(db, course_id)).job_types == ["STRUCTURE_ANALYSIS"]


async def test_has_files_without_documents_is_400(api: RunningApi, db: Database) -> None:
    """TRAP43."""
    course_id = await add_course(db)
    answer = await initiate(api, course_id, body={"hasFiles": True})

    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"field": "hasFiles"}
    assert (await footprint(db, course_id)).size == (0, 0, 0)


async def test_a_repeat_is_answered_from_redis(api: RunningApi, db: Database, redis: Redis) -> None:
    """Same job, nothing written, and the key stands in Redis for a day."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    second = (await initiate(api, course_id)).json()
    key = f"idempotency:derived:{USER}:{course_id}:auto"

    assert second == {**first, "fromCache": True}
    assert (await footprint(db, course_id)).size == (1, 1, 1)
    assert 86_000 < await redis.ttl(key) <= 86_400


async def test_a_repeat_is_recognised_without_redis(api: RunningApi, db: Database, redis: Redis) -> None:
    """An emptied Redis changes nothing."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    await redis.flushdb()
    second = (await initiate(api, course_id)).json()

    assert second == {**first, "fromCache": True}
    assert (await footprint(db, course_id)).size == (1, 1, 1)


@pytest.mark.parametrize("with_key", [False, True])
async def test_a_hundred_at_once_are_one(api: RunningApi, db: Database, with_key: bool) -> None:
    """R9: exactly one row, one event, one key; a hundred equal answers."""
    course_id = await add_course(db)
    headers = {"Idempotency-Key": "storm"} if with_key else {}
    answers = await asyncio.gather(*(initiate(api, course_id, headers=headers) for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert sum("fromCache" not in answer.json() for answer in answers) == 1
    assert (await footprint(db, course_id)).size == (1, 1, 1)


async def test_a_hundred_courses_at_once_are_all_created(api: RunningApi, db: Database) -> None:
    """The load test of contract.md l.3, small: 100 of 100, one state, a hundred events."""
    courses = [uuid4() for _ in range(100)]
    body = {"title": "Load test course", "hasFiles": False}
    answers = await asyncio.gather(*(initiate(api, each, body=body) for each in courses))

    assert sum('"success":true' in answer.text for answer in answers) == 100
    states = await db.fetch("SELECT DISTINCT generation_status::text AS state FROM courses")
    assert [row["state"] for row in states] == ["stage_4_init"]
    assert await db.fetchval("SELECT count(DISTINCT entity_id) FROM fsm_events") == 100
    assert await db.fetchval("SELECT count(DISTINCT slug) FROM courses") == 100


async def test_a_key_may_come_by_header_or_body_and_the_header_wins(api: RunningApi, db: Database) -> None:
    """GAP8."""
    course_id = await add_course(db)
    first = await initiate(api, course_id, headers={"Idempotency-Key": "a"})
    same = await initiate(api, course_id, body={"idempotencyKey": "a"})
    wins = await initiate(api, course_id, body={"idempotencyKey": "b"}, headers={"Idempotency-Key": "a"})

    assert same.json()["jobId"] == wins.json()["jobId"] == first.json()["jobId"]
    keys = (await footprint(db, course_id)).keys
    assert [row["idempotency_key"] for row in keys] == [f"user:{USER}:a"]


@pytest.mark.parametrize("key", ["k" * 256, "a\tb", ""])
async def test_a_key_that_cannot_be_stored_is_400(api: RunningApi, db: Database, key: str) -> None:
    """Before the database sees it."""
    course_id = await add_course(db)

    assert (await initiate(api, course_id, headers={"Idempotency-Key": key})).status_code == 400
    assert (await footprint(db, course_id)).size == (0, 0, 0)


@pytest.mark.parametrize("key", ["a b", "ключ"])
async def test_a_key_of_any_printable_characters_is_taken_as_described(api: RunningApi, db: Database, key: str) -> None:
    """The description asks for no less than the api: blanks and other alphabets are in order."""
    course_id = await add_course(db)
    description = (await api.client.get("/openapi.json")).json()
    described = description["paths"][INITIATE]["post"]["parameters"]
    (schema,) = [each["schema"] for each in described if each["name"] == "Idempotency-Key"]

    assert Draft202012Validator(schema).is_valid(key)
    assert (await initiate(api, course_id, headers={"Idempotency-Key": key.encode()})).status_code == 200


async def test_two_keys_in_one_request_are_400(api: RunningApi, db: Database) -> None:
    """Nobody could say which one counts."""
    course_id = await add_course(db)
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), *bearer().items()]
    answer = await api.client.post(INITIATE, json={"courseId": str(course_id)}, headers=headers)

    assert answer.status_code == 400


async def test_the_longest_key_is_kept(api: RunningApi, db: Database) -> None:
    """255 characters of the client's, and still within the column."""
    course_id = await add_course(db)
    headers = {"Idempotency-Key": "k" * 255}
    first, second = [(await initiate(api, course_id, headers=headers)).json() for _ in range(2)]

    assert second["jobId"] == first["jobId"]


async def test_a_running_course_refuses_another_request_with_its_job(api: RunningApi, db: Database) -> None:
    """GAP8: 409 `course_busy` with the `jobId`; nothing written."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    answer = await initiate(api, course_id, headers={"Idempotency-Key": "another"})

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "course_busy"
    assert answer.json()["error"]["details"]["jobId"] == first["jobId"]
    assert (await footprint(db, course_id)).size == (1, 1, 1)


async def test_a_key_of_another_course_is_409(api: RunningApi, db: Database) -> None:
    """GAP8: nothing written, not even the course a title would create."""
    headers = {"Idempotency-Key": "once"}
    await initiate(api, await add_course(db), headers=headers)
    before = await totals(db)
    for course_id, body in ((await add_course(db), {}), (uuid4(), {"title": "x"})):
        answer = await initiate(api, course_id, body=body, headers=headers)
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "idempotency_key_conflict"

    assert await totals(db) == {**before, "courses": before["courses"] + 1}


async def test_a_new_key_begins_a_new_run_of_a_finished_course(api: RunningApi, db: Database) -> None:
    """GAP8: the same request stays a replay, a new key does not."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    await _finish(db, course_id)
    repeat = (await initiate(api, course_id)).json()
    again = (await initiate(api, course_id, headers={"Idempotency-Key": "again"})).json()

    assert repeat["jobId"] == first["jobId"]
    assert again["jobId"] != first["jobId"]
    assert (await footprint(db, course_id)).state == "stage_4_init"


async def test_a_course_that_is_reset_can_be_generated_again(api: RunningApi, db: Database) -> None:
    """TRAP41: error → pending by hand, then initiate: new rows and a new `jobId`, although Redis remembers the old."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course_id)
    await db.execute("UPDATE courses SET generation_status = 'pending' WHERE id = $1", course_id)
    second = (await initiate(api, course_id)).json()

    assert second["jobId"] != first["jobId"]
    assert "fromCache" not in second
    assert (await footprint(db, course_id)).size == (2, 2, 2)


async def test_another_users_key_never_answers(api: RunningApi, db: Database) -> None:
    """TRAP32: the same key of two users means two requests."""
    stranger = {**bearer(STRANGER, ORGANIZATION), "Idempotency-Key": "shared"}
    mine = await initiate(api, await add_course(db), headers={"Idempotency-Key": "shared"})
    theirs = await initiate(api, await add_course(db, user=STRANGER), headers=stranger)

    assert theirs.status_code == 200
    assert theirs.json()["jobId"] != mine.json()["jobId"]


async def test_a_remembered_result_does_not_open_anothers_course(api: RunningApi, db: Database, redis: Redis) -> None:
    """TRAP32: even a key planted in Redis is checked against the course's owner."""
    course_id = await add_course(db, user=STRANGER)
    await initiate(api, course_id, headers=bearer(STRANGER))
    stored = await redis.get(f"idempotency:derived:{STRANGER}:{course_id}:auto")
    await redis.set(f"idempotency:derived:{USER}:{course_id}:auto", stored)

    assert (await initiate(api, course_id)).status_code == 403


async def test_a_restored_database_gets_its_rows_again(api: RunningApi, db: Database) -> None:
    """TRAP45: Redis remembers a success the database has lost; the request is done anew."""
    course_id = await add_course(db)
    first = (await initiate(api, course_id)).json()
    for table, column in (("idempotency_keys", "entity_id"), ("job_outbox", "entity_id"), ("fsm_events", "entity_id")):
        await db.execute(f"DELETE FROM {table} WHERE {column} = $1", course_id)
    await db.execute("ALTER TABLE courses DISABLE TRIGGER USER")
    await db.execute("UPDATE courses SET generation_status = 'pending' WHERE id = $1", course_id)
    await db.execute("ALTER TABLE courses ENABLE TRIGGER USER")
    second = (await initiate(api, course_id)).json()

    assert second["jobId"] != first["jobId"]
    assert (await footprint(db, course_id)).size == (1, 1, 1)


async def test_a_deleted_course_is_not_answered_from_memory(api: RunningApi, db: Database, redis: Redis) -> None:
    """TRAP45: deleting removes the keys; the same request creates the course anew."""
    course_id = uuid4()
    for headers in ({}, {"Idempotency-Key": "k"}):
        body = {"title": "Short-lived"}
        first = (await initiate(api, course_id, body=body, headers=headers)).json()
        assert (await api.client.delete(f"/api/courses/{course_id}")).status_code == 204
        assert await redis.keys("idempotency:*") == []
        second = (await initiate(api, course_id, body=body, headers=headers)).json()
        assert second["jobId"] != first["jobId"]
        assert (await footprint(db, course_id)).size == (1, 1, 1)
        await api.client.delete(f"/api/courses/{course_id}")


async def test_an_expired_key_is_free_again(api: RunningApi, db: Database, redis: Redis) -> None:
    """TRAP31: after 24 hours the old row is replaced."""
    course_id = await add_course(db)
    headers = {"Idempotency-Key": "daily"}
    first = (await initiate(api, course_id, headers=headers)).json()
    await _finish(db, course_id)
    await db.execute("UPDATE idempotency_keys SET expires_at = now() - interval '1 second'")
    second = (await initiate(api, course_id, headers=headers)).json()

    assert second["jobId"] != first["jobId"]
    assert len((await footprint(db, course_id)).keys) == 1


async def test_operations_are_counted_for_all_processes(api: RunningApi, db: Database) -> None:
    """Smoke test 7: total 1, success 1, failed 0, hits 1, misses 1, success rate 100."""
    course_id = await add_course(db)
    for _ in range(2):
        await initiate(api, course_id)
    await initiate(api, uuid4())
    fsm = (await api.client.get("/api/trpc/metrics.getFSM")).json()

    wanted = {"total": 1, "success": 1, "failed": 0, "cacheHits": 1, "cacheMisses": 1, "successRate": 100.0}
    assert {key: fsm[key] for key in wanted} == wanted

    async def written() -> bool:
        return await db.fetchval("SELECT value FROM metric_values WHERE name = 'fsm_total' AND label = 'success'") == 1

    await eventually(written, within=5)


async def _finish(db: Database, course_id: UUID) -> None:
    """Take a running course to its end, as workers would."""
    for state in (
        "stage_4_analyzing",
        "stage_4_complete",
        "stage_5_init",
        "stage_5_generating",
        "stage_5_complete",
        "completed",
    ):
        await db.execute(
            "UPDATE courses SET generation_status = $2::generation_status_enum WHERE id = $1", course_id, state
        )
