"""Courses around the generation: created, listed, shown, ended, deleted."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from services.kernel.queue import Inspector, Producer, QueuedRow
from services.kernel.queue.jobs import JobState
from tests.support.api import RunningApi
from tests.support.courses import add_course, add_documents, add_result, finish, footprint
from tests.support.tokens import ORGANIZATION, USER, bearer

STRANGER = UUID(int=0xBAD)
COURSES = "/api/courses"


async def create(api: RunningApi, title: str = "Введение в алгебру", **fields: Any) -> dict[str, Any]:
    """A course made over HTTP."""
    answer = await api.client.post(COURSES, json={"title": title, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{COURSES}/{made['id']}"
    return made


async def test_a_course_is_created_and_shown_by_id_and_slug(api: RunningApi) -> None:
    """With everything a client needs."""
    made = await create(api, style="practical", language="ru", webhookUrl="https://hooks.example.com/x")
    by_id = (await api.client.get(f"{COURSES}/{made['id']}")).json()
    by_slug = (await api.client.get(f"{COURSES}/vvedenie-v-algebru")).json()

    assert made == by_id == by_slug
    wanted: dict[str, Any] = {
        "title": "Введение в алгебру",
        "slug": "vvedenie-v-algebru",
        "status": "pending",
        "style": "practical",
    }
    wanted |= {"language": "ru", "runNumber": 1, "error": None, "documents": []}
    assert {key: made[key] for key in wanted} == wanted
    assert [step["id"] for step in made["progress"]["steps"]] == [1, 2, 3, 4, 5]


async def test_slugs_are_unique_over_all_owners(api: RunningApi) -> None:
    """The same title, many times and at once."""
    made = await asyncio.gather(*(create(api, "Same Title") for _ in range(5)))
    other = await api.client.post(COURSES, json={"title": "Same title!"}, headers=bearer(STRANGER))
    slugs = {each["slug"] for each in made} | {other.json()["slug"]}

    assert len(slugs) == 6
    assert "same-title" in slugs


@pytest.mark.parametrize(
    "title", ["!!!", "日本語", "🎓", "'; DROP TABLE courses; --", "ъь", "a" * 300, str(UUID(int=7))]
)
async def test_any_title_gets_a_slug(api: RunningApi, title: str) -> None:
    """Also one without a letter we can write, and one whose slug looks like an id."""
    made = await create(api, title)

    assert (await api.client.get(f"{COURSES}/{made['slug']}")).json()["title"] == title


async def test_creating_needs_an_organisation(api: RunningApi) -> None:
    """400 that names the claim."""
    answer = await api.client.post(COURSES, json={"title": "x"}, headers=bearer(organization=None))

    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"claim": "app_metadata.organization_id"}


@pytest.mark.parametrize(
    "body",
    [{}, {"title": ""}, {"title": " "}, {"title": "x", "style": "odd"}, {"title": "x", "webhookUrl": "http://x"}, []],
)
async def test_a_bad_course_is_400(api: RunningApi, db: Database, body: Any) -> None:
    """And is not created."""
    assert (await api.client.post(COURSES, json=body)).status_code == 400
    assert await db.fetchval("SELECT count(*) FROM courses") == 0


async def test_a_list_pages_through_ones_own_courses_newest_first(api: RunningApi, db: Database) -> None:
    """By cursor: nothing twice, nothing missing, nothing of others; courses that come meanwhile do not disturb."""
    await db.execute("INSERT INTO auth.users (id) VALUES ($1) ON CONFLICT DO NOTHING", USER)
    await db.execute(
        "INSERT INTO courses (title, slug, user_id, organization_id, created_at)"
        " SELECT 'c', 'c-' || n, $1, $2, now() - (n / 3) * interval '1 minute' FROM generate_series(1, 25) AS n",
        USER, ORGANIZATION,
    )  # fmt: skip
    await add_course(db, user=STRANGER)
    wanted = [
        row["slug"]
        for row in await db.fetch("SELECT slug FROM courses WHERE user_id = $1 ORDER BY created_at DESC, id", USER)
    ]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "4", **({"cursor": cursor} if cursor else {})}
        page = (await api.client.get(COURSES, params=query)).json()
        seen += [course["slug"] for course in page["courses"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
        await create(api, "Meanwhile")

    assert seen == wanted


async def test_a_list_may_show_one_state_only(api: RunningApi, db: Database) -> None:
    """`status=error`; a NULL state counts as pending."""
    failed = await add_course(db)
    await db.execute("UPDATE courses SET generation_status = 'error', error_message = 'why' WHERE id = $1", failed)
    unset = await add_course(db, state=None)
    shown = (await api.client.get(COURSES, params={"status": "error"})).json()["courses"]
    pending = (await api.client.get(COURSES, params={"status": "pending"})).json()["courses"]

    assert [(course["id"], course["error"]) for course in shown] == [(str(failed), "why")]
    assert [(course["id"], course["status"]) for course in pending] == [(str(unset), "pending")]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "status=odd", "status=%00"])
async def test_a_bad_query_is_400(api: RunningApi, query: str) -> None:
    """With the parameter's name."""
    assert (await api.client.get(f"{COURSES}?{query}")).status_code == 400


OTHERS = ["", "/check-status", "/history", "/result", "/result.md", "/events", "/documents"]


@pytest.mark.parametrize("path", OTHERS)
async def test_only_the_owner_sees_a_course(api: RunningApi, db: Database, path: str) -> None:
    """403 for others, 404 for what does not exist, by id and by slug, 401 without a token."""
    course_id = await add_course(db, user=STRANGER)
    for name, status in (
        (course_id, 403),
        (f"course-{course_id}", 403),
        (uuid4(), 404),
        ("no-such-slug", 404),
        ("Bad_Slug%00", 404),
    ):
        assert (await api.client.get(f"{COURSES}/{name}{path}")).status_code == status
    assert (await api.client.get(f"{COURSES}/{course_id}{path}", headers={"Authorization": ""})).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", f"/documents/{UUID(int=1)}")],
)
async def test_only_the_owner_changes_a_course(api: RunningApi, db: Database, method: str, path: str) -> None:
    """403, and it stays as it was."""
    course_id = await add_course(db, user=STRANGER)

    assert (await api.client.request(method, f"{COURSES}/{course_id}{path}")).status_code == 403
    assert (await footprint(db, course_id)).state == "pending"


async def test_check_status_shows_the_progress_unchanged(api: RunningApi, db: Database) -> None:
    """contract.md a.3: the very object that is stored, Russian names included."""
    course_id = await add_course(db)
    answer = (await api.client.get(f"{COURSES}/course-{course_id}/check-status")).json()
    stored = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course_id)

    assert answer == {"generation_status": "pending", "generation_progress": stored}
    assert answer["generation_progress"]["steps"][0]["name"] == "Запрос принят"


async def test_history_pages_through_events_oldest_first(api: RunningApi, db: Database) -> None:
    """By cursor; each event with all its fields."""
    course_id = await add_course(db)
    await db.execute(
        "INSERT INTO fsm_events (entity_id, event_type, new_state, created_by, metadata)"
        " SELECT $1, 'STATE_CHANGED', 'stage_4_init', 'WORKER', jsonb_build_object('n', n) FROM generate_series(1, 7) AS n",
        course_id,
    )
    first = (await api.client.get(f"{COURSES}/{course_id}/history", params={"limit": "5"})).json()
    rest = (await api.client.get(f"{COURSES}/{course_id}/history", params={"cursor": first["nextCursor"]})).json()

    assert [event["metadata"]["n"] for event in first["events"] + rest["events"]] == [1, 2, 3, 4, 5, 6, 7]
    assert rest["nextCursor"] is None
    fields = "position eventId eventType oldState newState triggeredBy createdBy metadata createdAt"
    assert set(first["events"][0]) == set(fields.split())


async def test_a_result_is_there_when_the_course_is_finished(api: RunningApi, db: Database) -> None:
    """JSON and Markdown; before that 409 with the state, after a failure with the reason."""
    course_id = await add_course(db)
    for path in ("/result", "/result.md"):
        answer = await api.client.get(f"{COURSES}/{course_id}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_ready")
        assert answer.json()["error"]["details"] == {"status": "pending"}
    await add_result(db, course_id)
    latest = await add_result(db, course_id, run=2)
    await finish(db, course_id)
    result = await api.client.get(f"{COURSES}/{course_id}/result")
    markdown = await api.client.get(f"{COURSES}/{course_id}/result.md")

    assert result.json() == latest
    assert '": ' not in result.text
    assert markdown.text == "# Курс 2"
    assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert f'filename="course-{course_id}.md"' in markdown.headers["content-disposition"]
    failed = await add_course(db)
    await db.execute(
        "UPDATE courses SET generation_status = 'error', error_message = 'no text found' WHERE id = $1", failed
    )
    assert "no text found" in (await api.client.get(f"{COURSES}/{failed}/result")).json()["error"]["message"]


async def test_cancel_ends_a_run_once(api: RunningApi, db: Database) -> None:
    """State, event, a new run number; again it stays cancelled; nothing under way is 409."""
    course_id = await add_course(db)
    assert (await api.client.post(f"{COURSES}/{course_id}/cancel")).status_code == 409
    await api.client.post("/api/coursegen/generate", json={"courseId": str(course_id)})
    answers = [(await api.client.post(f"{COURSES}/{course_id}/cancel")) for _ in range(2)]
    left = await footprint(db, course_id)

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2
    assert [(event["old_state"], event["new_state"]) for event in left.events][1:] == [("stage_4_init", "cancelled")]
    assert left.events[1]["triggered_by"] == "API_CANCEL"
    assert answers[1].json()["runNumber"] == 2


async def test_a_cancelled_course_does_not_look_busy(api: RunningApi, db: Database) -> None:
    """The open step is closed and says why, what was done stays done, and no document is being read; a retry begins anew."""
    course_id = await add_course(db)
    read, reading, waiting = await add_documents(db, course_id, ["# A", "# B", "# C"])
    await api.client.post("/api/coursegen/generate", json={"courseId": str(course_id)})
    await db.execute("SELECT update_course_progress($1, 2, 'in_progress', 'Читаем документы')", course_id)
    for document, status in ((read, "processed"), (reading, "processing")):
        await db.execute("UPDATE documents SET status = $2 WHERE id = $1", document, status)

    shown = (await api.client.post(f"{COURSES}/{course_id}/cancel")).json()
    found = {UUID(each["id"]): each["status"] for each in shown["documents"]}
    progress = shown["progress"]
    await api.client.post(f"{COURSES}/{course_id}/retry")
    again = (await api.client.get(f"{COURSES}/{course_id}")).json()["progress"]

    assert [step["status"] for step in progress["steps"]] == ["completed", "failed"] + ["pending"] * 3
    assert progress["message"] == progress["steps"][1]["message"] == "Генерация отменена"
    assert progress["steps"][1]["error"]["code"] == "cancelled"
    assert (progress["percentage"], progress["current_step"]) == (20, 2)
    assert found == {read: "processed", reading: "uploaded", waiting: "uploaded"}
    assert [step["status"] for step in again["steps"]] == ["completed"] + ["pending"] * 4


async def test_retry_begins_a_new_run_once(api: RunningApi, db: Database) -> None:
    """Of a failed or cancelled course, with its settings; the same retry again is the same run."""
    course_id = await add_course(db)
    await add_documents(db, course_id, ["# A"])
    first = (
        await api.client.post("/api/coursegen/generate", json={"courseId": str(course_id), "hasFiles": False})
    ).json()
    assert (await api.client.post(f"{COURSES}/{course_id}/retry")).json()["jobId"] == first["jobId"], "it is running"
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course_id)
    second, third = [(await api.client.post(f"{COURSES}/{course_id}/retry")).json() for _ in range(2)]

    assert second["jobId"] != first["jobId"]
    assert third == {**second, "fromCache": True}
    assert (await footprint(db, course_id)).job_types == ["STRUCTURE_ANALYSIS"] * 2


@pytest.mark.parametrize("state", ["pending", "completed"])
async def test_there_is_nothing_to_retry_before_and_after_success(api: RunningApi, db: Database, state: str) -> None:
    """409 with the state."""
    course_id = await add_course(db, state=state)
    answer = await api.client.post(f"{COURSES}/{course_id}/retry")

    assert answer.status_code == 409
    assert answer.json()["error"]["details"] == {"status": state}


async def test_deleting_removes_every_trace(api: RunningApi, db: Database, redis: Redis) -> None:
    """Rows, stored bytes, remembered results and queued jobs; a second delete is 404; others stay."""
    keep, course_id = await add_course(db), await add_course(db)
    for each in (keep, course_id):
        await add_documents(db, each, ["# A", "# B"])
        await api.client.post("/api/coursegen/generate", json={"courseId": str(each)})
    rows = await db.fetch("SELECT entity_id, outbox_id::text AS key, saq_queue, job_body FROM job_outbox")
    queue = rows[0]["saq_queue"]
    await Producer(redis).enqueue_batch(queue, [QueuedRow(row["key"], row["job_body"].encode(), 5) for row in rows], 1)
    assert (await api.client.delete(f"{COURSES}/{course_id}")).status_code == 204
    states = await Inspector(redis).states(queue, [row["key"] for row in rows])

    assert (await footprint(db, course_id)).size == (0, 0, 0)
    for table in ("stored_objects", "documents"):
        assert await db.fetchval(f"SELECT count(*) FROM {table} WHERE course_id IS DISTINCT FROM $1", keep) == 0
    assert await db.fetchval("SELECT count(*) FROM stored_object_chunks") == 2
    assert await redis.keys(f"*{course_id}*") == []
    assert {row["key"] for row in rows if states[row["key"]] is JobState.ALIVE} == {
        row["key"] for row in rows if row["entity_id"] == keep
    }
    assert (await api.client.delete(f"{COURSES}/{course_id}")).status_code == 404
    assert (await footprint(db, keep)).size == (2, 1, 1)


async def create_with(api: RunningApi, key: str, *, user: UUID = USER, **body: Any) -> httpx.Response:
    """A request to create a course under a key of the client's."""
    headers = {**bearer(user), "Idempotency-Key": key}
    return await api.client.post(COURSES, json={"title": "Bees", **body}, headers=headers)


async def test_the_same_key_is_the_same_course(api: RunningApi, db: Database) -> None:
    """Sent one after the other and at once: one course, and 201 for one request alone."""
    first = await create_with(api, "one")
    again = await create_with(api, "one")
    together = await asyncio.gather(*(create_with(api, "two") for _ in range(8)))

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert sorted(each.status_code for each in together) == [200] * 7 + [201]
    assert len({each.json()["id"] for each in together}) == 1
    assert await db.fetchval("SELECT count(*) FROM courses") == 2


async def test_a_key_is_the_callers_own_and_apart_from_those_of_runs(api: RunningApi) -> None:
    """Another caller's key of the same letters is another key; so is the one a run begins under."""
    mine, theirs = await create_with(api, "k"), await create_with(api, "k", user=STRANGER)
    begun = await api.client.post(
        "/api/trpc/generation.initiate", json={"courseId": mine.json()["id"]}, headers={"Idempotency-Key": "k"}
    )

    assert (mine.status_code, theirs.status_code, begun.status_code) == (201, 201, 200)
    assert mine.json()["id"] != theirs.json()["id"]
    assert (await create_with(api, "k")).json()["status"] != "pending"  # as the course stands now


async def test_a_key_says_the_same_words_or_nothing(api: RunningApi, db: Database) -> None:
    """Another title under the same key is a mistake of the client's; nothing is written."""
    await create_with(api, "k")
    other = await create_with(api, "k", title="Wasps")

    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_conflict")
    assert await db.fetchval("SELECT count(*) FROM courses") == 1


async def test_a_key_is_free_after_a_day_and_after_its_course(api: RunningApi, db: Database) -> None:
    """What it stood for lives on, or is gone."""
    first = (await create_with(api, "k")).json()
    await db.execute("UPDATE idempotency_keys SET expires_at = now()")
    second = (await create_with(api, "k", title="Wasps")).json()
    await api.client.delete(f"{COURSES}/{second['id']}")
    third = await create_with(api, "k")

    assert third.status_code == 201
    assert len({first["id"], second["id"], third.json()["id"]}) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_creates_nothing(api: RunningApi, db: Database, key: str) -> None:
    """400 that says what a key is."""
    answer = await create_with(api, key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")
    assert await db.fetchval("SELECT count(*) FROM courses") == 0


async def test_a_creation_that_fails_leaves_its_key_free(api: RunningApi, db: Database) -> None:
    """Course and key are one transaction."""
    without = await api.client.post(
        COURSES, json={"title": "Bees"}, headers={**bearer(organization=None), "Idempotency-Key": "k"}
    )

    assert without.status_code == 400
    assert await db.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    assert (await create_with(api, "k")).status_code == 201


async def test_a_key_whose_course_is_just_being_deleted_is_not_taken_for_another(api: RunningApi, db: Database) -> None:
    """A conflict that asks to send the request again; then it is a new course."""
    first = (await create_with(api, "k")).json()
    await db.execute("UPDATE idempotency_keys SET entity_id = NULL")
    during = await create_with(api, "k")
    await db.execute("DELETE FROM idempotency_keys")
    afterwards = await create_with(api, "k")

    assert (during.status_code, during.json()["error"]["code"]) == (409, "conflict")
    assert "send the request again" in during.json()["error"]["message"]
    assert afterwards.status_code == 201
    assert afterwards.json()["id"] != first["id"]
