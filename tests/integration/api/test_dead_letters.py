"""Dead letters are seen with their reason; replaying one does its work again, once; discarding one lets nobody wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.kernel.database import Database
from services.kernel.dead_letters.writing import copy_name
from services.kernel.errors import PermanentError
from services.kernel.owner_errors import told
from services.kernel.queue import PIPELINE_QUEUES, Inspector, JobContext, JobView, Producer
from tests.integration.queue.conftest import row as queued_row
from tests.integration.queue.conftest import working
from tests.integration.stage_worker.test_worker import completed, relaying, running
from tests.support import fragile
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, footprint
from tests.support.fragile import FRAGILE, Fuse
from tests.support.limits import RAISED
from tests.support.tokens import ADMIN, ORGANIZATION, USER, admin_bearer
from tests.support.waiting import eventually
from tests.support.webhook_rows import add_delivery, delivery

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANALYSIS = "course-generation:analysis"
_INITIATE = "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', 'stage_4_init', $5::jsonb)"
_ROW = """
INSERT INTO job_outbox (entity_id, queue_name, job_type, priority, retry_count, max_retries, last_error, last_attempt_at,
                        job_options, processed_at)
VALUES ($1, $2, $3, $4, $5, 5, $6, now() - make_interval(secs => $7), $8,
        CASE WHEN $9::boolean THEN now() END) RETURNING outbox_id
"""


@pytest.fixture
async def admin(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the role."""
    async with administrator(api) as client:
        yield client


@asynccontextmanager
async def administrator(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the role, of any api; every answer it gets is checked against the description."""
    url, hooks = f"{api.url}/api/admin/", {"response": [api.contract.hook]}
    async with httpx.AsyncClient(base_url=url, headers=admin_bearer(), timeout=30, event_hooks=hooks) as client:
        yield client


@pytest.fixture
def producer(redis: Redis) -> Producer:
    """Puts jobs into the test's Redis."""
    return Producer(redis)


@pytest.fixture
def environ(app_database_url: str, redis_url: str) -> dict[str, str]:
    """Of a relay and a worker with the fragile stage and engine."""
    Fuse.blown, Fuse.done[:] = False, []
    return {
        "DATABASE_URL": app_database_url,
        "REDIS_URL": redis_url,
        "DRAIN_SECONDS": "5",
        "RELAY_ELECTION": "none",
        "STAGE_WORKER_PLUGINS": fragile.NAME,
        "STAGE_WORKER_QUEUES": f"documents,analysis,generation,{fragile.QUEUE}",
        "ENGINE": fragile.FragileEngine.name,
        **RAISED,
    }


async def add_row(
    db: Database,
    course: UUID,
    *,
    queue: str = "course-generation",
    job_type: str = "STRUCTURE_ANALYSIS",
    priority: int = 1,
    tries: int = 5,
    error: str | None = "it is broken",
    ago: float = 0,
    options: dict[str, Any] | None = None,
    sent: bool = False,
) -> UUID:
    """An outbox row; a dead one when nothing else is said."""
    arguments = (course, queue, job_type, priority, tries, error, ago, options or {}, sent)
    outbox_id: UUID = await db.fetchval(_ROW, *arguments)
    return outbox_id


async def begin(db: Database, course: UUID, options: dict[str, Any] | None = None) -> UUID:
    """Begin the course's run as the api does; its job."""
    jobs = [{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS", "data": {}, "options": options or {}}]
    result = await db.fetchval(_INITIATE, course, USER, ORGANIZATION, f"test:{uuid4()}", jobs)
    return UUID(result["outboxEntries"][0]["outbox_id"])


async def kill_row(db: Database, outbox_id: UUID) -> None:
    """Make a row dead."""
    await db.execute("UPDATE job_outbox SET retry_count = max_retries WHERE outbox_id = $1", outbox_id)


async def refuse(payload: dict[str, Any], job: JobContext) -> None:
    """A handler that never can."""
    raise PermanentError(f"cannot do {job.key}")


async def set_aside(redis: Redis, producer: Producer, *keys: str, **fields: Any) -> None:
    """Have a worker set jobs aside."""
    queue = fields.pop("queue", ANALYSIS)
    await producer.enqueue_batch(queue, [queued_row(key, queue=queue, **fields) for key in keys], 1)
    async with working(redis, {"WORK": refuse}, queues=[queue]):
        await eventually(lambda: _poison(redis, queue, len(keys)), within=20, every=0.02)


async def _poison(redis: Redis, queue: str, most: int) -> bool:
    return await redis.hlen(f"saq:{queue}:poison") >= most  # type: ignore[misc]


async def listed(admin: httpx.AsyncClient, **query: str) -> list[str]:
    """The names of dead letters, page by page."""
    found, cursor = [], ""
    while cursor is not None:
        answer = await admin.get("dead-letters", params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [each["id"] for each in page["deadLetters"]]
        cursor = page["nextCursor"]
    return found


async def act(admin: httpx.AsyncClient, action: str, *ids: str, **body: Any) -> dict[str, Any]:
    """Replay or discard; what came of it."""
    answer = await admin.post(f"dead-letters/{action}", json={"ids": list(ids), **body} if ids else body)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    return outcome


def said(outcome: dict[str, Any]) -> list[str]:
    """The outcomes alone."""
    return [each["outcome"] for each in outcome["results"]]


# --- seeing ---------------------------------------------------------------------------------------------------------


async def test_letters_of_every_kind_are_listed_together(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """The latest first, each with what it was and why it died; live rows and jobs are not among them."""
    course = await add_course(db)
    old = await add_row(db, course, ago=3600, priority=10, error="broker refused the body")
    await add_row(db, course, tries=1)
    await add_row(db, course, sent=True)
    hook = await add_delivery(
        db,
        course,
        status="dead",
        error="status 500",
        attempts=10,
        settled_days_ago=0.5,
        url="https://a.example/x?key=1",
    )
    await set_aside(redis, producer, "job-1", priority=5, payload={"courseId": str(course), "runNumber": 1})

    page = (await admin.get("dead-letters")).json()

    assert [each["id"] for each in page["deadLetters"]] == [
        f"queue:{ANALYSIS}/job-1",
        f"outbox:{old}",
        f"webhook:{hook}",
    ]
    assert page["matched"] == {"outbox": 1, "queue": 1, "webhook": 1}
    assert page["message"] is None
    job, row, webhook = page["deadLetters"]
    assert {key: job[key] for key in ("reason", "detail", "courseId", "priority", "jobType", "runNumber")} == {
        "reason": "refused",
        "detail": "PermanentError: cannot do job-1",
        "courseId": str(course),
        "priority": 5,
        "jobType": "WORK",
        "runNumber": 1,
    }
    assert (row["reason"], row["attempts"], row["queue"], row["priority"]) == (
        "broker refused the body",
        5,
        ANALYSIS,
        10,
    )
    assert (webhook["reason"], webhook["detail"], webhook["jobType"]) == (
        "status 500",
        "https://a.example",
        "course.completed",
    )


async def test_a_filter_names_what_it_wants(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """By kind, queue, type, course, reason, time, and all of them at once; when nothing matches the answer says so."""
    one, other = await add_course(db), await add_course(db)
    first = f"outbox:{await add_row(db, one, error='Too LARGE for Redis', ago=7200)}"
    second = f"outbox:{await add_row(db, other, queue='own', job_type='OWN')}"
    hook = f"webhook:{await add_delivery(db, one, status='dead', error='timed out', settled_days_ago=0.1)}"
    await set_aside(redis, producer, "a", "b", payload={"courseId": str(other)})
    jobs = {f"queue:{ANALYSIS}/a", f"queue:{ANALYSIS}/b"}

    assert set(await listed(admin, limit="1")) == {first, second, hook, *jobs}
    assert set(await listed(admin, kind="queue")) == jobs
    assert set(await listed(admin, queue=ANALYSIS)) == {first, *jobs}
    assert set(await listed(admin, queue="course-generation")) == {first, *jobs}
    assert await listed(admin, jobType="OWN") == [second]
    assert set(await listed(admin, courseId=str(other))) == {second, *jobs}
    assert await listed(admin, reason="too large") == [first]
    assert await listed(admin, reason="TIMED OUT") == [hook]
    assert set(await listed(admin, reason="cannot do")) == jobs
    assert len(await listed(admin, before="2999-01-01T00:00:00+00:00", limit="2")) == 5
    assert await listed(admin, before="2000-01-01T00:00:00Z") == []
    assert await listed(admin, kind="outbox", courseId=str(one), reason="large", queue=ANALYSIS) == [first]
    nothing = (await admin.get("dead-letters", params={"kind": "webhook", "reason": "gremlins"})).json()
    assert nothing["message"] == "No dead letter matches (kind = webhook, reason = gremlins)."
    assert (nothing["deadLetters"], nothing["matched"]) == ([], {"webhook": 0})


async def test_where_there_is_nothing_the_answer_says_so(admin: httpx.AsyncClient) -> None:
    """Also to whoever wants to replay all of it."""
    assert (await admin.get("dead-letters")).json()["message"] == "There are no dead letters."
    outcome = await act(admin, "replay", filter={})
    assert (outcome["matched"], outcome["message"]) == (0, "There are no dead letters.")
    assert (await act(admin, "discard", "outbox:x", "nonsense"))["message"] == "None of these is a dead letter."
    assert (await admin.get("actions")).json()["actions"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": ["outbox:x"], "filter": {}},
        {"filter": {"kinds": "outbox"}},
        {"filter": {"kind": "letters"}},
        {"filter": {"before": "2026-01-01T00:00:00"}},
        {"filter": {}, "limit": 501},
        {"filter": {}, "dryrun": True},
        {"filter": {}, "cursor": "x"},
    ],
)
async def test_a_slip_never_means_everything(admin: httpx.AsyncClient, db: Database, body: dict[str, Any]) -> None:
    """A field misspelt, or neither names nor a filter: refused, and nothing is touched."""
    dead = await add_row(db, await add_course(db))
    answer = await admin.post("dead-letters/discard", json=body)

    assert answer.status_code == 400, answer.text
    assert await listed(admin) == [f"outbox:{dead}"]


# --- outbox rows ----------------------------------------------------------------------------------------------------


async def test_a_dead_row_is_replayed_once_and_the_record_says_by_whom(admin: httpx.AsyncClient, db: Database) -> None:
    """All its tries again, in the transaction of the record; a dry run only says so; a second time there is nothing."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)

    dry = await act(admin, "replay", f"outbox:{job}", dryRun=True)
    untouched = await listed(admin)
    done = await act(admin, "replay", f"outbox:{job}")
    again = await act(admin, "replay", f"outbox:{job}")
    row = (await footprint(db, course)).rows[0]
    actions = (await admin.get("actions")).json()["actions"]

    assert (said(dry), dry["done"], untouched) == (["would_replay"], 1, [f"outbox:{job}"])
    assert (said(done), done["done"]) == (["replayed"], 1)
    assert (said(again), again["done"]) == (["not_found"], 0)
    assert (row["retry_count"], row["next_attempt_at"], row["processed_at"]) == (0, None, None)
    assert [(each["action"], each["userId"], each["target"]) for each in actions] == [
        ("dead_letters.replay", str(ADMIN), "named")
    ]
    assert actions[0]["detail"]["letters"] == [{"id": f"outbox:{job}", "step": "revive"}]
    assert actions[0]["detail"]["result"] == {"done": 1, "failed": {}}


async def test_a_replayed_row_reaches_its_worker(
    admin: httpx.AsyncClient, db: Database, environ: dict[str, str]
) -> None:
    """And its course is finished."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)
    async with relaying(environ), running(environ):
        await act(admin, "replay", filter={"kind": "outbox"})
        await eventually(lambda: completed(db, course), within=30, every=0.1)

    assert await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", job) == "applied"


async def test_a_row_whose_run_is_over_is_not_replayed(admin: httpx.AsyncClient, db: Database) -> None:
    """Its delivery would change nothing; the answer says why, and discarding it harms nobody."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)
    await db.execute("UPDATE courses SET generation_status = 'cancelled' WHERE id = $1", course)

    refused = await act(admin, "replay", f"outbox:{job}")
    discarded = await act(admin, "discard", f"outbox:{job}")
    left = await footprint(db, course)

    assert said(refused) == ["refused"]
    assert "run 1 is over" in refused["results"][0]["message"]
    assert [each["action"] for each in (await admin.get("actions")).json()["actions"]] == ["dead_letters.discard"]
    assert said(discarded) == ["discarded"]
    assert left.state == "cancelled"
    assert left.rows[0]["processed_at"] is not None
    assert await listed(admin) == []


async def test_discarding_what_a_course_waits_for_cancels_its_run(
    api: RunningApi, admin: httpx.AsyncClient, db: Database, redis: Redis
) -> None:
    """Its owner sees that an administrator ended it, its slot is free, and no late delivery begins it again."""
    course = await add_course(db)
    body = {"courseId": str(course), "hasFiles": False}
    begun = await api.client.post("/api/trpc/generation.initiate", json=body)
    job = begun.json()["jobId"]
    slots_before = await redis.get("concurrency:global")
    await kill_row(db, UUID(job))

    dry = await act(admin, "discard", f"outbox:{job}", dryRun=True)
    outcome = await act(admin, "discard", f"outbox:{job}")
    shown = (await api.client.get(f"/api/courses/{course}")).json()
    history = (await api.client.get(f"/api/courses/{course}/history")).json()["events"]
    ledger = await db.fetchrow("SELECT outcome, detail FROM effect_ledger WHERE effect_id = $1", UUID(job))
    row = (await footprint(db, course)).rows[0]

    assert dry["results"][0]["message"] == "cancels run 1 of the course, which waits for it"
    assert said(outcome) == ["discarded"]
    assert (shown["status"], shown["progress"]["message"]) == ("cancelled", told("discarded", "")["message"])
    assert history[-1]["triggeredBy"] == "API_ADMIN_DISCARD"
    assert str(ADMIN) not in str(history)
    assert (slots_before, await redis.get("concurrency:global")) == (b"1", b"0")
    assert ledger is not None
    assert (ledger["outcome"], ledger["detail"]) == ("skipped", {"reason": "discarded by an administrator"})
    assert row["last_error"].startswith("discarded by an administrator")
    retried = await api.client.post(f"/api/courses/{course}/retry")
    assert retried.status_code == 200


async def test_several_rows_of_one_course_end_its_run_once(admin: httpx.AsyncClient, db: Database) -> None:
    """One event, however many jobs it waited for."""
    course = await add_course(db)
    first = await begin(db, course)
    await kill_row(db, first)
    second = await add_row(db, course)

    outcome = await act(admin, "discard", filter={"courseId": str(course)})
    events = (await footprint(db, course)).events

    assert sorted(said(outcome)) == ["discarded", "discarded"]
    assert [each["new_state"] for each in events] == ["stage_4_init", "cancelled"]
    assert await db.fetchval("SELECT count(*) FROM effect_ledger WHERE effect_id = ANY($1)", [first, second]) == 2


async def test_many_are_dealt_with_in_pages(admin: httpx.AsyncClient, db: Database) -> None:
    """The cursor passes over what was refused, so that it comes to an end; other letters are left alone."""
    course, other = await add_course(db, state="completed"), await add_course(db, state="error")
    for n in range(5):
        await add_row(db, course, queue="own", job_type="OWN", ago=n, error="same reason")
        await add_row(db, other, ago=n + 0.5, error="same reason")
    kept = await add_row(db, course, queue="own", job_type="OWN", error="another one")

    done, refused, calls, cursor = 0, 0, 0, None
    while calls == 0 or cursor:
        outcome = await act(
            admin, "replay", filter={"reason": "same"}, limit=3, **({"cursor": cursor} if cursor else {})
        )
        done, refused, calls, cursor = (
            done + outcome["done"],
            refused + outcome["refused"],
            calls + 1,
            outcome["nextCursor"],
        )

    assert (done, refused, calls) == (5, 5, 4)
    assert len(await listed(admin)) == 6
    assert f"outbox:{kept}" in await listed(admin)
    assert len((await admin.get("actions")).json()["actions"]) == 3  # the last call only had refusals


async def test_of_two_administrators_one_does_it(admin: httpx.AsyncClient, db: Database) -> None:
    """The other is told that it is not dead any more; both at once."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)

    outcomes = await asyncio.gather(*(act(admin, "replay", f"outbox:{job}") for _ in range(6)))

    assert sorted(each for outcome in outcomes for each in said(outcome)) == ["not_found"] * 5 + ["replayed"]
    assert len((await admin.get("actions")).json()["actions"]) == 1


# --- jobs in queues -------------------------------------------------------------------------------------------------


async def failed_plugin_job(db: Database, environ: dict[str, str]) -> tuple[UUID, UUID]:
    """A job beside the pipeline whose stage has failed for good: its course and its name."""
    course = await add_course(db, state="completed")
    Fuse.blown = True
    job = await add_row(db, course, queue=fragile.QUEUE, job_type=FRAGILE, tries=0, error=None, options={"retries": 1})
    async with relaying(environ), running(environ):
        await eventually(lambda: _outcome(db, job, "failed"), within=30, every=0.05)
    Fuse.blown = False
    return course, job


async def _outcome(db: Database, job: UUID, expected: str) -> bool:
    return bool(await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", job) == expected)


async def test_a_failed_job_beside_the_pipeline_is_done_again_once(
    admin: httpx.AsyncClient, db: Database, environ: dict[str, str]
) -> None:
    """Six administrators replay it at once: one copy, one effect; and it is a dead letter no more."""
    course, job = await failed_plugin_job(db, environ)
    name = f"queue:{fragile.QUEUE}/{job}"
    before = await listed(admin)
    outcomes = await asyncio.gather(*(act(admin, "replay", name) for _ in range(6)))
    async with relaying(environ), running(environ):
        await eventually(lambda: _outcome(db, copy_name(job), "applied"), within=30, every=0.05)
    copy = await db.fetchrow(
        "SELECT metadata, run_number, priority FROM job_outbox WHERE outbox_id = $1", copy_name(job)
    )

    assert before == [name]
    assert {each for outcome in outcomes for each in said(outcome)} <= {"replayed", "not_found"}
    assert Fuse.done == [course]
    assert copy is not None
    assert copy["metadata"]["replayOf"] == str(job)
    assert await listed(admin) == []


async def test_a_failed_job_of_the_pipeline_begins_its_course_anew_once(
    admin: httpx.AsyncClient, db: Database, environ: dict[str, str]
) -> None:
    """The run it failed in is over, so its work is a new run; asking twice begins one."""
    course = await add_course(db)
    Fuse.blown = True
    async with relaying(environ), running(environ):
        job = await begin(db, course, {"retries": 1})
        await db.execute("NOTIFY outbox_wakeup")
        await eventually(lambda: _state(db, course, "error"), within=30, every=0.05)
        name = f"queue:{ANALYSIS}/{job}"
        assert await listed(admin) == [name]
        Fuse.blown = False
        dry = await act(admin, "replay", name, dryRun=True)
        outcomes = await asyncio.gather(*(act(admin, "replay", name) for _ in range(4)))
        await eventually(lambda: completed(db, course), within=30, every=0.05)
    events = (await footprint(db, course)).events
    done = [each for outcome in outcomes for each in outcome["results"] if each["outcome"] == "replayed"]

    assert dry["results"][0]["message"] == "a new run of the course"
    assert done
    assert len({each["newJobId"] for each in done}) == 1
    assert [each["triggered_by"] for each in events].count("API_ADMIN_REPLAY") >= 1
    assert await db.fetchval("SELECT count(DISTINCT run_number) FROM job_outbox WHERE entity_id = $1", course) == 2
    assert await db.fetchval("SELECT count(*) FROM course_results WHERE course_id = $1", course) == 1
    assert await listed(admin) == []


async def _state(db: Database, course: UUID, expected: str) -> bool:
    found = await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course)
    return bool(found == expected)


async def test_jobs_of_one_course_are_replayed_by_one_run(
    api: RunningApi, admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """Two failed jobs of a run, one new run, both letters gone; after that, an older letter of it is refused."""
    course = await add_course(db)
    job = await begin(db, course)
    other, late = [await add_row(db, course, sent=True) for _ in range(2)]
    await db.execute("UPDATE job_outbox SET processed_at = now() WHERE outbox_id = $1", job)
    for each in (job, other, late):
        await _fail(db, course, each)
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course)
    await set_aside(redis, producer, str(job), str(other), payload={"courseId": str(course)})

    outcome = await act(admin, "replay", filter={"courseId": str(course)})
    await set_aside(redis, producer, str(late), payload={"courseId": str(course)})
    while_running = await act(admin, "replay", filter={"kind": "queue"})
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course)
    afterwards = await act(admin, "replay", filter={"kind": "queue"})

    assert said(outcome) == ["replayed", "replayed"]
    assert len({each["newJobId"] for each in outcome["results"]}) == 1
    assert "is being generated (run 2)" in while_running["results"][0]["message"]
    assert "run again since and is error" in afterwards["results"][0]["message"]
    assert said(await act(admin, "discard", filter={"kind": "queue"})) == ["discarded"]
    assert await listed(admin) == []


async def _fail(db: Database, course: UUID, job: UUID, outcome: str = "failed") -> None:
    await db.execute(
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome) VALUES ($1, $2, 'X', 1, $3)",
        job, course, outcome,
    )  # fmt: skip


async def test_a_limit_that_is_reached_refuses_the_replay(
    app_database_url: str, redis_url: str, db: Database, redis: Redis, producer: Producer
) -> None:
    """An administrator's replay takes the owner's slot like any run; the letter stays, with the reason in the answer."""
    busy, failed = await add_course(db), await add_course(db)
    job = await begin(db, failed)
    await _fail(db, failed, job)
    await db.execute("UPDATE job_outbox SET processed_at = now()")
    await db.execute("UPDATE courses SET generation_status = 'error', tier = 'FREE' WHERE id = $1", failed)
    await set_aside(redis, producer, str(job), payload={"courseId": str(failed)})
    from services.kernel.concurrency.settings import TierLimits

    async with (
        running_api(
            app_database_url, redis_url, concurrency_global_limit=3, concurrency_tier_limits=TierLimits()
        ) as api,
        administrator(api) as admin,
    ):
        begun = await api.client.post("/api/trpc/generation.initiate", json={"courseId": str(busy), "hasFiles": False})
        assert begun.status_code == 200
        outcome = await act(admin, "replay", filter={"kind": "queue"})

        assert said(outcome) == ["refused"]
        assert outcome["done"] == 0
        assert await listed(admin) == [f"queue:{ANALYSIS}/{job}"]
        assert (await admin.get("actions")).json()["actions"][0]["detail"]["result"]["done"] == 0


async def test_a_job_that_was_never_decided_is_sent_again(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer, environ: dict[str, str]
) -> None:
    """From its row, whatever the queue has kept of it."""
    course = await add_course(db)
    job = await begin(db, course)
    await db.execute("UPDATE job_outbox SET processed_at = now()")
    await set_aside(redis, producer, str(job), payload={"courseId": str(course)})

    outcome = await act(admin, "replay", f"queue:{ANALYSIS}/{job}")
    async with relaying(environ), running(environ):
        await eventually(lambda: completed(db, course), within=30, every=0.05)

    assert said(outcome) == ["replayed"]
    assert await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", job) == "applied"
    assert await listed(admin) == []


async def test_a_job_that_a_worker_is_about_to_settle_is_left_to_it(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """Else the worker's word would undo the replay."""
    course = await add_course(db)
    job = await begin(db, course)
    await db.execute("UPDATE job_outbox SET processed_at = now()")
    never = asyncio.Event()

    async def unheard(_: Any) -> None:
        await never.wait()

    await producer.enqueue_batch(ANALYSIS, [queued_row(str(job), queue=ANALYSIS)], 1)
    async with working(redis, {"WORK": refuse}, queues=[ANALYSIS], dead_letter=unheard):
        await eventually(lambda: _poison(redis, ANALYSIS, 1), within=20, every=0.02)
        outcome = await act(admin, "replay", f"queue:{ANALYSIS}/{job}")
        never.set()

    assert said(outcome) == ["refused"]
    assert "about to settle it" in outcome["results"][0]["message"]


async def test_a_job_that_has_had_its_effect_is_not_done_again(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """Whatever a queue thinks of it."""
    course = await add_course(db)
    job = await begin(db, course)
    await db.execute("UPDATE job_outbox SET processed_at = now()")
    await _fail(db, course, job, "applied")
    await set_aside(redis, producer, str(job))

    outcome = await act(admin, "replay", f"queue:{ANALYSIS}/{job}")

    assert outcome["results"][0]["message"] == "it has had its outcome (applied); discard it"


async def test_a_job_unknown_to_postgresql_goes_back_into_its_queue(
    admin: httpx.AsyncClient, redis: Redis, producer: Producer
) -> None:
    """A stranger's job, as the queue has kept it; run once."""
    await set_aside(redis, producer, "stranger", queue="elsewhere")
    ran: list[str] = []

    async def work(payload: dict[str, Any], job: JobContext) -> None:
        ran.append(job.key)

    outcome = await act(admin, "replay", "queue:elsewhere/stranger")
    async with working(redis, {"WORK": work}, queues=["elsewhere"]):
        await eventually(lambda: bool(ran), within=20, every=0.02)

    assert said(outcome) == ["replayed"]
    assert ran == ["stranger"]
    assert await listed(admin) == []


async def test_a_job_of_a_deleted_course_can_only_be_discarded(
    admin: httpx.AsyncClient, redis: Redis, producer: Producer
) -> None:
    """Nobody could do it."""
    await set_aside(redis, producer, "orphan", payload={"courseId": str(uuid4())})
    name = f"queue:{ANALYSIS}/orphan"

    refused = await act(admin, "replay", name)
    discarded = await act(admin, "discard", name)

    assert refused["results"][0]["message"] == "its course was deleted; discard it"
    assert said(discarded) == ["discarded"]
    assert await listed(admin) == []


async def test_what_nobody_can_read_can_only_be_discarded(
    admin: httpx.AsyncClient, redis: Redis, producer: Producer
) -> None:
    """Torn bodies, names that are no text, and values that are no job of this queue at all; no other key is touched."""
    await redis.set("treasure", b"not a job")
    values = [f"saq:job:{ANALYSIS}:torn".encode(), f"saq:job:{ANALYSIS}:broken".encode() + b"\xff", b"treasure"]
    for value in values:
        if value != b"treasure":
            await redis.set(value, b'{"function":')
        await redis.rpush(f"saq:{ANALYSIS}:queued:1", value)  # type: ignore[misc]
    async with working(redis, {}, queues=[ANALYSIS]):
        await eventually(lambda: _poison(redis, ANALYSIS, 3), within=20, every=0.02)
    names = await listed(admin)

    refused = await act(admin, "replay", filter={"kind": "queue"})
    discarded = await act(admin, "discard", *names)

    assert set(names) == {f"queue:{ANALYSIS}/{key}" for key in ("torn", "broken\\xff", "treasure")}
    assert all("cannot be read" in each["message"] for each in refused["results"])
    assert said(discarded) == ["discarded"] * 3
    assert await listed(admin) == []
    assert await redis.get("treasure") == b"not a job"


async def test_a_job_and_its_dead_row_are_one_letter(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer
) -> None:
    """The row; replaying it is enough, and discarding it forgets the job too."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)
    await set_aside(redis, producer, str(job))

    assert await listed(admin) == [f"outbox:{job}"]
    assert said(await act(admin, "replay", f"queue:{ANALYSIS}/{job}")) == ["not_found"]
    assert said(await act(admin, "discard", f"outbox:{job}")) == ["discarded"]
    assert await listed(admin) == []
    assert await redis.hlen(f"saq:{ANALYSIS}:poison") == 0  # type: ignore[misc]


async def test_a_discarded_job_is_not_put_back(
    admin: httpx.AsyncClient, db: Database, redis: Redis, producer: Producer, environ: dict[str, str]
) -> None:
    """The reconciler, which puts back what Redis has lost, knows that nobody waits for it."""
    course = await add_course(db)
    job = await begin(db, course)
    await db.execute("UPDATE job_outbox SET processed_at = now() - interval '1 minute'")
    await set_aside(redis, producer, str(job), payload={"courseId": str(course)})
    await act(admin, "discard", f"queue:{ANALYSIS}/{job}")
    after = await add_course(db, title="Afterwards")
    async with relaying({**environ, "RELAY_RECONCILE_SECONDS": "0.5"}), running(environ):
        await begin(db, after)
        await eventually(lambda: completed(db, after), within=30, every=0.05)

    assert await _state(db, course, "cancelled")
    assert await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", job) == "skipped"


# --- webhooks -------------------------------------------------------------------------------------------------------


async def test_a_dead_webhook_is_sent_again_under_its_name(admin: httpx.AsyncClient, db: Database) -> None:
    """With all its attempts; one whose course is gone can only be discarded."""
    course, gone = await add_course(db), await add_course(db)
    hook = await add_delivery(db, course, status="dead", error="status 410", attempts=3)
    orphan = await add_delivery(db, gone, status="dead", error="status 500")
    await db.execute("DELETE FROM courses WHERE id = $1", gone)

    outcome = await act(admin, "replay", filter={"kind": "webhook"})
    by_id = {each["id"]: each for each in outcome["results"]}
    again = await act(admin, "replay", f"webhook:{hook}")
    discarded = await act(admin, "discard", filter={"kind": "webhook"})

    assert by_id[f"webhook:{hook}"]["outcome"] == "replayed"
    assert by_id[f"webhook:{orphan}"]["message"] == "its course was deleted; discard it"
    sent = await delivery(db, hook)
    assert (sent["status"], sent["attempts"], sent["replays"]) == ("pending", 0, 1)
    assert said(again) == ["not_found"]
    assert said(discarded) == ["discarded"]
    assert (await delivery(db, orphan))["status"] == "discarded"
    assert await listed(admin) == []


async def test_discarding_an_attempt_discards_its_webhook(admin: httpx.AsyncClient, db: Database) -> None:
    """Else the delivery would wait for its job for ever."""
    course = await add_course(db, state="completed")
    job = await add_row(db, course, queue="webhooks", job_type="WEBHOOK_DELIVERY")
    hook = await add_delivery(db, course)
    await db.execute(
        "UPDATE webhook_deliveries SET outbox_id = $1, next_attempt_at = NULL WHERE delivery_id = $2", job, hook
    )
    await act(admin, "discard", f"outbox:{job}")

    assert (await delivery(db, hook))["status"] == "discarded"


# --- outages --------------------------------------------------------------------------------------------------------


async def test_without_redis_what_lies_in_postgresql_can_be_dealt_with(
    app_database_url: str, private_redis: Any, db: Database
) -> None:
    """The list says what it does not show; whoever means everything is told to wait."""
    course = await add_course(db)
    job = await begin(db, course)
    await kill_row(db, job)
    url = private_redis.url()
    async with running_api(app_database_url, url) as api, administrator(api) as admin:
        private_redis.kill()
        page = (await admin.get("dead-letters")).json()
        everything = await admin.post("dead-letters/replay", json={"filter": {}})
        outcome = await act(admin, "replay", filter={"kind": "outbox"})

    assert [each["id"] for each in page["deadLetters"]] == [f"outbox:{job}"]
    assert page["message"].startswith("Redis does not answer")
    assert "queue" not in page["matched"]
    assert (everything.status_code, everything.json()["error"]["code"]) == (503, "broker_unavailable")
    assert said(outcome) == ["replayed"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
async def test_a_moment_outside_the_calendar_is_refused_in_clear_words(api: RunningApi, moment: str) -> None:
    """A zone can push a moment beyond what can be stored; the answer says what is possible."""
    async with administrator(api) as admin:
        shown = await admin.get("dead-letters", params={"before": moment})
        replayed = await admin.post("dead-letters/replay", json={"filter": {"before": moment}})

    for answer in (shown, replayed):
        assert answer.status_code == 400
        assert "the years 1 to 9999" in answer.json()["error"]["message"]


async def test_dead_jobs_are_read_once_for_a_page(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has no index for them: the page and the number come from one reading."""
    asked: list[str] = []
    read = Inspector.jobs

    async def counted(self: Inspector, queue: str, *args: Any) -> list[JobView]:
        asked.append(queue)
        return await read(self, queue, *args)

    monkeypatch.setattr(Inspector, "jobs", counted)
    async with administrator(api) as admin:
        answer = await admin.get("dead-letters", params={"kind": "queue"})

    assert answer.json()["matched"] == {"queue": 0}
    assert sorted(asked) == sorted(PIPELINE_QUEUES)
