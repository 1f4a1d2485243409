"""Queues and counters as administrators see them; pausing a queue and changing a limit while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.api.admin.audit import Audit
from services.api.cursors import LARGEST_PAGE
from services.kernel.concurrency.settings import TierLimits
from services.kernel.database import Database
from services.kernel.errors import PermanentError, RetryableError
from services.kernel.queue import PIPELINE_QUEUES, JobContext, Producer
from tests.integration.api.test_dead_letters import administrator
from tests.integration.queue.conftest import row as queued_row
from tests.integration.queue.conftest import working
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.tokens import ADMIN, bearer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANALYSIS = "course-generation:analysis"
FREE = UUID("00000000-0000-0000-0000-00000000000f")


@pytest.fixture
async def admin(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the role."""
    async with administrator(api) as client:
        yield client


@pytest.fixture
def producer(redis: Redis) -> Producer:
    """Puts jobs into the test's Redis."""
    return Producer(redis)


async def shown(admin: httpx.AsyncClient, queue: str = ANALYSIS) -> dict[str, Any]:
    """One queue in figures."""
    answer = await admin.get("queues")
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["queues"] if each["queue"] == queue)


async def test_a_queue_shows_what_waits_by_priority_and_who_serves_it(
    admin: httpx.AsyncClient, redis: Redis, producer: Producer
) -> None:
    """Every state a job can be in, in the order in which they will be served, the latest dead first."""
    started, go_on = asyncio.Event(), asyncio.Event()
    course = uuid4()

    async def work(payload: dict[str, Any], job: JobContext) -> None:
        match job.key:
            case "bad":
                raise PermanentError("it cannot be")
            case "later":
                raise RetryableError("not now")
            case "now":
                started.set()
                await go_on.wait()

    await producer.enqueue_batch(
        ANALYSIS, [queued_row(key, queue=ANALYSIS, priority=10) for key in ("bad", "later")], 1
    )
    async with working(redis, {"WORK": work}, queues=[ANALYSIS], concurrency=1, worker_id="one"):
        await eventually(lambda: _figures(admin, dead=1, scheduled=1), within=20, every=0.05)
        payload = {"courseId": str(course), "runNumber": 3}
        await producer.enqueue_batch(ANALYSIS, [queued_row("now", queue=ANALYSIS, payload=payload)], 1)
        await asyncio.wait_for(started.wait(), 20)
        rows = [
            queued_row("free-1", queue=ANALYSIS, priority=1),
            queued_row("free-2", queue=ANALYSIS, priority=1),
            queued_row("premium", queue=ANALYSIS, priority=10),
        ]
        await producer.enqueue_batch(ANALYSIS, rows, 1)
        figures = await shown(admin)
        pages = {
            state: (await admin.get(f"queues/{ANALYSIS}/jobs", params={"state": state})).json()["jobs"]
            for state in ("waiting", "scheduled", "running", "dead")
        }
        go_on.set()

    assert {key: figures[key] for key in ("waiting", "waitingTotal", "running", "dead", "workers", "paused")} == {
        "waiting": [{"priority": 10, "jobs": 1}, {"priority": 1, "jobs": 2}],
        "waitingTotal": 3,
        "running": 1,
        "dead": 1,
        "workers": 1,
        "paused": False,
    }
    assert [job["key"] for job in pages["waiting"]] == ["premium", "free-1", "free-2"]
    assert [job["priority"] for job in pages["waiting"]] == [10, 1, 1]
    [running] = pages["running"]
    assert {
        key: running[key] for key in ("key", "status", "courseId", "runNumber", "worker", "jobType", "attempts")
    } == {
        "key": "now",
        "status": "running",
        "courseId": str(course),
        "runNumber": 3,
        "worker": "one",
        "jobType": "WORK",
        "attempts": 1,
    }
    assert running["startedAt"] is not None
    assert [job["key"] for job in pages["scheduled"]] == ["later"]
    assert [(job["reason"], job["detail"]) for job in pages["dead"]] == [("refused", "PermanentError: it cannot be")]


async def _figures(admin: httpx.AsyncClient, **expected: int) -> bool:
    figures = await shown(admin)
    return {key: figures[key] for key in expected} == expected


async def test_the_jobs_of_a_queue_come_page_by_page(admin: httpx.AsyncClient, producer: Producer) -> None:
    """Each once, in order."""
    await producer.enqueue_batch(ANALYSIS, [queued_row(f"job-{n}", queue=ANALYSIS) for n in range(5)], 1)
    found, offset = [], 0
    while offset is not None:
        page = (await admin.get(f"queues/{ANALYSIS}/jobs", params={"limit": 2, "offset": offset})).json()
        found += [job["key"] for job in page["jobs"]]
        offset = page["nextOffset"]

    assert found == [f"job-{n}" for n in range(5)]


@pytest.mark.parametrize("waiting", [LARGEST_PAGE, LARGEST_PAGE + 1, 2 * LARGEST_PAGE + 1])
async def test_the_largest_page_holds_what_it_says(admin: httpx.AsyncClient, producer: Producer, waiting: int) -> None:
    """Each job once and in order, the page full, and no page after the last one."""
    await producer.enqueue_batch(ANALYSIS, [queued_row(f"{n}", queue=ANALYSIS) for n in range(waiting)], 1)
    pages: list[list[str]] = []
    offset = 0
    while offset is not None:
        answer = await admin.get(f"queues/{ANALYSIS}/jobs", params={"limit": LARGEST_PAGE, "offset": offset})
        pages.append([job["key"] for job in answer.json()["jobs"]])
        offset = answer.json()["nextOffset"]

    assert [key for page in pages for key in page] == [f"{n}" for n in range(waiting)]
    assert {len(page) for page in pages[:-1]} <= {LARGEST_PAGE}
    assert pages[-1]


async def test_a_paused_queue_is_left_alone_until_it_is_resumed(
    admin: httpx.AsyncClient, redis: Redis, producer: Producer
) -> None:
    """What runs goes on, what waits stays, nothing is lost; both are recorded with who and why."""
    ran: list[str] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    async def work(payload: dict[str, Any], job: JobContext) -> None:
        if job.key == "running":
            started.set()
            await go_on.wait()
        ran.append(job.key)

    await producer.enqueue_batch(ANALYSIS, [queued_row("running", queue=ANALYSIS)], 1)
    async with working(redis, {"WORK": work}, queues=[ANALYSIS]):
        await asyncio.wait_for(started.wait(), 20)
        paused = (await admin.post(f"queues/{ANALYSIS}/pause", json={"reason": "a look"})).json()
        await producer.enqueue_batch(ANALYSIS, [queued_row("waiting", queue=ANALYSIS)], 1)
        go_on.set()
        await eventually(lambda: ran == ["running"], within=20, every=0.02)
        await asyncio.sleep(0.5)  # long enough for a worker that does not obey
        figures = await shown(admin)
        again = (await admin.post(f"queues/{ANALYSIS}/pause", json={})).json()
        resumed = (await admin.post(f"queues/{ANALYSIS}/resume", json={"reason": "done"})).json()
        await eventually(lambda: ran == ["running", "waiting"], within=20, every=0.02)
    actions = (await admin.get("actions")).json()["actions"]

    assert (paused["paused"], paused["changed"], paused["changedBy"], paused["reason"]) == (
        True,
        True,
        str(ADMIN),
        "a look",
    )
    assert (figures["waitingTotal"], figures["paused"], figures["pauseReason"]) == (1, True, "a look")
    assert (again["changed"], resumed["changed"], resumed["paused"]) == (False, True, False)
    assert [(each["action"], each["target"], each["detail"]) for each in actions] == [
        ("queue.resume", ANALYSIS, {"reason": "done", "was": True}),
        ("queue.pause", ANALYSIS, {"reason": None, "was": True}),
        ("queue.pause", ANALYSIS, {"reason": "a look", "was": False}),
    ]


@pytest.mark.parametrize("call", [("GET", "jobs"), ("POST", "pause"), ("POST", "resume")])
async def test_a_misspelt_queue_is_not_an_empty_one(
    admin: httpx.AsyncClient, db: Database, call: tuple[str, str]
) -> None:
    """404, and nothing is written."""
    method, verb = call
    answer = await admin.request(method, f"queues/course-generation:document/{verb}", json={})

    assert answer.status_code == 404
    assert (
        await db.fetchval("SELECT count(*) FROM queue_controls")
        + await db.fetchval("SELECT count(*) FROM admin_actions")
        == 0
    )


async def test_the_pipelines_name_is_answered_with_its_queues(admin: httpx.AsyncClient) -> None:
    """It is what everyone calls the three of them; the answer names each."""
    answer = await admin.post("queues/course-generation/pause", json={})

    assert answer.status_code == 404
    assert [each in answer.json()["error"]["message"] for each in PIPELINE_QUEUES] == [True, True, True]


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines", 7])
async def test_a_reason_is_one_line(admin: httpx.AsyncClient, reason: object) -> None:
    """400, and the queue goes on."""
    answer = await admin.post(f"queues/{ANALYSIS}/pause", json={"reason": reason})

    assert answer.status_code == 400
    assert (await shown(admin))["paused"] is False


async def test_a_queue_can_be_paused_while_redis_is_away(
    app_database_url: str, private_redis: Any, db: Database
) -> None:
    """PostgreSQL is the truth; a queue of the pipeline is known without Redis, another one is not."""
    async with running_api(app_database_url, private_redis.url()) as api, administrator(api) as admin:
        private_redis.kill()
        paused = await admin.post(f"queues/{ANALYSIS}/pause", json={})
        unknown = await admin.post("queues/own/pause", json={})

    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert unknown.status_code == 503
    assert await db.fetch("SELECT saq_queue FROM queue_controls") == [(ANALYSIS,)]


async def test_without_redis_the_list_says_which_queues_are_paused(
    app_database_url: str, private_redis: Any, db: Database
) -> None:
    """What PostgreSQL knows is shown; figures are null, and the message says why."""
    async with running_api(app_database_url, private_redis.url()) as api, administrator(api) as admin:
        private_redis.kill()
        await admin.post(f"queues/{ANALYSIS}/pause", json={"reason": "a look"})
        answer = await admin.get("queues")

    assert answer.status_code == 200
    body = answer.json()
    assert "Redis does not answer" in body["message"]
    assert [(each["queue"], each["paused"], each["pauseReason"]) for each in body["queues"]] == [
        (queue, queue == ANALYSIS, "a look" if queue == ANALYSIS else None) for queue in PIPELINE_QUEUES
    ]
    figures = ("waitingTotal", "scheduled", "running", "dead", "workers")
    assert {each[name] for each in body["queues"] for name in figures} == {None}


async def test_a_change_is_announced_once_it_is_committed(
    admin: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that PostgreSQL refuses at the commit leaves neither a line in the record nor one in the metric."""
    announced: list[str] = []
    monkeypatch.setattr(Audit, "announce", lambda _, recorded: announced.append(recorded.action))
    await db.execute(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON queue_controls
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    try:
        refused = await admin.post(f"queues/{ANALYSIS}/pause", json={})
        before = list(announced)
    finally:
        await db.execute("DROP TRIGGER refuse ON queue_controls; DROP FUNCTION refuse()")
    accepted = await admin.post(f"queues/{ANALYSIS}/pause", json={})

    assert (refused.status_code >= 400, before) == (True, [])
    assert (accepted.status_code, announced) == (200, ["queue.pause"])


# --- courses at once ------------------------------------------------------------------------------------------------


@pytest.fixture
async def limited(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api with the limits of the contract."""
    async with running_api(
        app_database_url, redis_url, concurrency_global_limit=3, concurrency_tier_limits=TierLimits()
    ) as running:
        yield running


async def begin(api: RunningApi, db: Database, user: UUID, tier: str) -> httpx.Response:
    """Begin a run as a user of a tier."""
    course = await add_course(db, user=user)
    headers = bearer(user, tier=tier)
    body = {"courseId": str(course), "hasFiles": False}
    return await api.client.post("/api/trpc/generation.initiate", json=body, headers=headers)


async def test_counters_stand_beside_the_truth_with_their_drift(
    limited: RunningApi, db: Database, redis: Redis
) -> None:
    """A counter that lies is seen, put right by the button, and the record says by how much."""
    premium = uuid4()
    async with administrator(limited) as admin:
        assert [(await begin(limited, db, user, tier)).status_code for user, tier in
                ((FREE, "FREE"), (premium, "PREMIUM"))] == [200, 200]  # fmt: skip
        exact = (await admin.get("concurrency")).json()
        await redis.set("concurrency:global", 9)
        await redis.set(f"concurrency:user:{FREE}", 5)
        off = (await admin.get("concurrency")).json()
        repaired = (await admin.post("concurrency/reconcile")).json()
        again = (await admin.get("concurrency")).json()
        [action] = (await admin.get("actions")).json()["actions"]

    assert (exact["global"], exact["ready"], exact["message"]) == (
        {"limit": 3, "counter": 2, "truth": 2, "drift": 0},
        True,
        None,
    )
    users = {user["userId"]: user for user in exact["users"]}
    assert (users[str(FREE)]["tier"], users[str(FREE)]["limit"], users[str(FREE)]["counter"]) == ("FREE", 1, 1)
    assert (users[str(premium)]["limit"], users[str(premium)]["drift"]) == (5, 0)
    assert (off["global"]["drift"], off["users"][0]["userId"], off["users"][0]["drift"]) == (7, str(FREE), 4)
    assert (repaired["corrected"], repaired["slots"]) == (2, 2)
    assert [again["global"]["drift"], *(user["drift"] for user in again["users"])] == [0, 0, 0]
    assert (action["action"], action["detail"]["result"]["corrected"]) == ("concurrency.reconcile", 2)


async def test_a_limit_changes_while_everything_runs(limited: RunningApi, db: Database) -> None:
    """The third course of a FREE user is let in within about a second, and refused again when the limit is given back."""
    async with administrator(limited) as admin:
        first = await begin(limited, db, FREE, "FREE")
        refused = await begin(limited, db, FREE, "FREE")
        changed = (await admin.put("limits/FREE", json={"slots": 2})).json()
        admitted = await eventually(lambda: _admitted(limited, db), within=10, every=0.3)
        back = (await admin.put("limits/free", json={"slots": None})).json()
        actions = (await admin.get("actions")).json()["actions"]

    assert (first.status_code, refused.status_code, admitted) == (200, 429, True)
    assert {key: changed[key] for key in ("scope", "slots", "default", "overridden", "changedBy")} == {
        "scope": "FREE",
        "slots": 2,
        "default": 1,
        "overridden": True,
        "changedBy": str(ADMIN),
    }
    assert (back["slots"], back["overridden"], back["changedBy"]) == (1, False, None)
    assert [(each["action"], each["target"], each["detail"]) for each in actions] == [
        ("limit.set", "FREE", {"slots": None, "was": 2}),
        ("limit.set", "FREE", {"slots": 2, "was": None}),
    ]


async def _admitted(api: RunningApi, db: Database) -> bool:
    return (await begin(api, db, FREE, "FREE")).status_code == 200


@pytest.mark.parametrize(
    ("scope", "body"),
    [
        ("GOLD", {"slots": 1}),
        ("global", {"slots": 0}),
        ("global", {"slots": 10_001}),
        ("global", {}),
        ("FREE", {"slots": "1"}),
    ],
)
async def test_a_limit_that_cannot_be_is_refused(
    admin: httpx.AsyncClient, db: Database, scope: str, body: dict[str, Any]
) -> None:
    """400, nothing changed, nothing recorded."""
    answer = await admin.put(f"limits/{scope}", json=body)

    assert answer.status_code == 400
    assert (
        await db.fetchval("SELECT count(*) FROM concurrency_limits")
        + await db.fetchval("SELECT count(*) FROM admin_actions")
        == 0
    )


async def test_without_redis_the_truth_is_shown_alone(app_database_url: str, private_redis: Any, db: Database) -> None:
    """And the button says that it did nothing; the record keeps the attempt."""
    await add_course(db, user=FREE, state="stage_4_init")
    async with running_api(app_database_url, private_redis.url()) as api, administrator(api) as admin:
        private_redis.kill()
        view = (await admin.get("concurrency")).json()
        repaired = await admin.post("concurrency/reconcile")
        [action] = (await admin.get("actions")).json()["actions"]

    assert (view["ready"], view["global"]["counter"], view["global"]["truth"], view["global"]["drift"]) == (
        False,
        None,
        1,
        None,
    )
    assert [(user["userId"], user["truth"], user["counter"]) for user in view["users"]] == [(str(FREE), 1, None)]
    assert view["message"].startswith("Redis does not answer")
    assert (repaired.status_code, repaired.json()["error"]["code"]) == (503, "broker_unavailable")
    assert "Redis does not answer" in action["detail"]["result"]["error"]


async def test_counters_that_are_not_believed_say_so(limited: RunningApi, db: Database, redis: Redis) -> None:
    """Until somebody rebuilds them; and a PostgreSQL that took too long is not believed either."""
    from services.api.admin.audit import Audit, Author
    from services.api.admin.concurrency import ConcurrencyDesk, TooLate
    from services.kernel.concurrency import Book, Limits, Rebuilt

    class SlowBook(Book):
        async def rebuild(self) -> Rebuilt | None:
            return None

    async with administrator(limited) as admin:
        await redis.delete("concurrency:ready")
        lost = (await admin.get("concurrency")).json()
        await admin.post("concurrency/reconcile")
        found = (await admin.get("concurrency")).json()
    desk = ConcurrencyDesk(db, SlowBook(db, redis), Limits(db), Audit(db))
    with pytest.raises(TooLate):
        await desk.reconcile(Author(ADMIN, "a-request"))
    row = await db.fetchrow("SELECT detail, request_id FROM admin_actions ORDER BY id DESC LIMIT 1")

    assert (lost["ready"], found["ready"]) == (False, True)
    assert row is not None
    assert (row["detail"]["result"]["error"], row["request_id"]) == (TooLate().message, "a-request")


async def test_a_queue_of_ones_own_is_known_by_what_was_said_about_it(
    app_database_url: str, private_redis: Any, db: Database
) -> None:
    """Also while Redis is away, and when it has forgotten the queue."""
    await db.execute("INSERT INTO queue_controls (saq_queue, paused, reason) VALUES ('own', true, 'since yesterday')")
    async with running_api(app_database_url, private_redis.url()) as api, administrator(api) as admin:
        figures = await shown(admin, "own")
        private_redis.kill()
        resumed = await admin.post("queues/own/resume", json={})

    assert (figures["paused"], figures["pauseReason"], figures["pausedBy"]) == (True, "since yesterday", None)
    assert (resumed.status_code, resumed.json()["changed"]) == (200, True)
