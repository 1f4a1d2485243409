"""One attempt after the other: what a receiver gets, and what becomes of his answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from services.kernel import tracing
from services.kernel.database import Database
from services.kernel.errors import RetryableError, UpstreamUnavailable
from services.kernel.faults import InjectedFault, arm
from services.kernel.settings import Secret
from services.kernel.webhooks import deliveries
from services.kernel.webhooks.secrets import SecretVault
from services.stage_worker.webhooks.delivery import MOST_PER_RECEIVER
from services.stage_worker.webhooks.settings import DEFAULT_DELAYS
from tests.integration.stage_worker.harness import Pipeline, open_pipeline, payload_of
from tests.integration.webhooks import scenes
from tests.support.receiver import LOCAL_RECEIVERS, WEBHOOK_KEY, Receiver, answer, open_receiver
from tests.support.tokens import ORGANIZATION
from tests.support.waiting import eventually
from tests.support.webhook_rows import delivery, only_delivery

OUTSIDE_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def pause_of(db: Database, course: UUID) -> float:
    """Seconds until the next attempt."""
    return float(
        await db.fetchval(
            "SELECT extract(epoch FROM next_attempt_at - now()) FROM webhook_deliveries WHERE course_id = $1", course
        )
    )


async def test_a_receiver_can_check_whom_it_is_from(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """Signed with the organisation's secret, which exists from the first delivery on; the standard's package agrees."""
    course = await scenes.completed(pipeline, db, receiver.url)
    row = await scenes.attempt(pipeline, course)
    (got,) = receiver.received

    assert (row["status"], row["attempts"], row["last_status"]) == ("delivered", 1, 204)
    assert (row["last_error"], row["next_attempt_at"]) == (None, None)
    assert got.verify(await scenes.secret_of(db)) == got.event
    assert got.webhook_id == str(row["delivery_id"])
    assert (got.method, got.path) == ("POST", "/hooks?key=v")
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("coursegen/")
    assert "authorization" not in got.headers
    assert "cookie" not in got.headers


async def test_the_body_says_what_ended_and_how(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """In the standard's form; the course itself is fetched with a token."""
    course = await scenes.completed(pipeline, db, receiver.url)
    await scenes.attempt(pipeline, course)
    event = receiver.received[0].event
    age = datetime.now(UTC) - datetime.fromisoformat(event["timestamp"])

    assert event["type"] == "course.completed"
    assert event["timestamp"].endswith("Z")
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert event["data"] == {
        "courseId": str(course),
        "slug": f"course-{course}",
        "title": "Bees & <b>hives</b>",
        "status": "completed",
        "runNumber": 1,
        "resultPath": f"/api/courses/{course}/result",
    }


async def test_the_request_behind_it_is_named(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """Its id and its trace go along, so that the receiver's logs can be laid beside ours; nonsense does not."""
    for request_id, seen in (("req-7", "req-7"), ("two\r\nlines: x", None), (" padded", None)):
        course = await scenes.completed(pipeline, db, receiver.url)
        (job,) = await scenes.jobs_of(pipeline, course)
        with tracing.working_in(tracing.begin(OUTSIDE_TRACE)):
            ending = await pipeline.deliver_payload("WEBHOOK_DELIVERY", {**payload_of(job), "requestId": request_id})
        got = receiver.received[-1]

        assert ending == "applied"
        assert got.headers.get("x-request-id") == seen
        assert got.headers["traceparent"].split("-")[1] == OUTSIDE_TRACE.split("-")[1]
        assert "lines" not in got.headers


async def test_a_failed_attempt_is_repeated_later_under_the_same_identifier(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Byte-equal body, new time and signature, until the receiver accepts."""
    receiver.replies = [answer(500, body=b"out of\n\tcheese"), answer(503)]
    course = await scenes.completed(pipeline, db, receiver.url)
    first = await scenes.attempt(pipeline, course)
    first_pause = await pause_of(db, course)
    second = await scenes.attempt(pipeline, course)
    second_pause = await pause_of(db, course)
    third = await scenes.attempt(pipeline, course)
    secret = await scenes.secret_of(db)

    assert [each["status"] for each in (first, second, third)] == ["pending", "pending", "delivered"]
    assert first["last_error"] == "the receiver answered 500: out of cheese"
    assert (second["last_status"], second["last_error"]) == (503, "the receiver answered 503")
    assert 3 < first_pause <= 5.5
    assert 28 < second_pause <= 33
    assert third["attempts"] == 3
    assert len({each.webhook_id for each in receiver.received}) == 1
    assert len({each.body for each in receiver.received}) == 1
    assert all(each.verify(secret) for each in receiver.received)
    jobs = await scenes.jobs_of(pipeline, course)
    assert [job["job_data"]["attempt"] for job in jobs] == [1, 2, 3]
    assert await db.fetchval("SELECT count(*) FROM effect_ledger WHERE job_type = 'WEBHOOK_DELIVERY'") == 3


async def test_a_receiver_that_is_not_there_is_a_failed_attempt_too(pipeline: Pipeline, db: Database) -> None:
    """Without a status, with a reason, and tried again."""
    async with open_receiver() as gone:
        url = gone.url
    course = await scenes.completed(pipeline, db, url)
    row = await scenes.attempt(pipeline, course)

    assert (row["status"], row["attempts"], row["last_status"]) == ("pending", 1, None)
    assert row["last_error"].startswith("no answer")
    assert 3 < await pause_of(db, course) <= 5.5


async def test_after_a_day_of_failures_it_is_a_dead_letter_that_can_be_replayed(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Visible with its reason; replayed it arrives under its old identifier, with all attempts before it again."""
    receiver.usual = answer(500)
    course = await scenes.completed(pipeline, db, receiver.url)
    for _ in range(len(DEFAULT_DELAYS)):
        assert (await scenes.attempt(pipeline, course))["status"] == "pending"
    row = await scenes.attempt(pipeline, course)
    async with db.transaction() as session:
        (dead,) = await deliveries.dead_deliveries(session)
        replayed = await deliveries.replay(session, [dead.delivery_id])
    receiver.usual = answer(200, body=b"ok")
    after = await scenes.attempt(pipeline, course)

    assert (row["status"], row["attempts"], row["next_attempt_at"]) == ("dead", 11, None)
    assert (dead.last_error, dead.last_status, dead.attempts) == ("the receiver answered 500", 500, 11)
    assert replayed == [dead.delivery_id]
    assert (after["status"], after["attempts"], after["replays"]) == ("delivered", 1, 1)
    assert set(receiver.by_id()) == {str(dead.delivery_id)}
    assert sum(DEFAULT_DELAYS) > 20 * 3600


async def test_a_receiver_that_is_gone_is_not_asked_again(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """410 says so."""
    receiver.usual = answer(410)
    row = await scenes.attempt(pipeline, await scenes.completed(pipeline, db, receiver.url))

    assert (row["status"], row["attempts"], row["last_status"]) == ("dead", 1, 410)
    assert "410" in row["last_error"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_failures_and_not_followed(
    pipeline: Pipeline, db: Database, receiver: Receiver, status: int
) -> None:
    """Whoever sends us elsewhere may send us inside."""
    async with open_receiver() as elsewhere:
        receiver.usual = answer(status, headers={"Location": elsewhere.url})
        row = await scenes.attempt(pipeline, await scenes.completed(pipeline, db, receiver.url))

        assert elsewhere.connections == 0
    assert (row["status"], row["last_status"]) == ("pending", status)
    assert "redirects are not followed" in row["last_error"]


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("120", 115, 121),
        ("1", 3, 5.6),
        ("99999999", 8 * 3600 - 5, 8 * 3600 + 1),
        ("soon", 3, 5.6),
        ("-5", 3, 5.6),
        (timedelta(hours=1), 3000, 3601),
        (timedelta(hours=-1), 3, 5.6),
    ],
    ids=["seconds", "too soon", "too late", "words", "the past", "a date", "a date that is past"],
)
async def test_a_receiver_may_ask_for_more_time(
    pipeline: Pipeline, db: Database, receiver: Receiver, header: str | timedelta, low: float, high: float
) -> None:
    """`Retry-After` lengthens the pause, up to eight hours; it does not shorten it."""
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    receiver.usual = answer(429, headers={"Retry-After": header})
    course = await scenes.completed(pipeline, db, receiver.url)
    await scenes.attempt(pipeline, course)

    assert low < await pause_of(db, course) <= high


async def test_a_job_that_is_delivered_again_sends_nothing(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Its attempt has been settled."""
    course = await scenes.completed(pipeline, db, receiver.url)
    (job,) = await scenes.jobs_of(pipeline, course)
    endings = [await pipeline.deliver(job) for _ in range(3)]

    assert endings == ["applied", "repeated", "repeated"]
    assert len(receiver.received) == 1


async def test_what_was_sent_but_not_written_down_is_sent_again(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Under the same identifier, by which the receiver knows it: at least once, never under two."""
    course = await scenes.completed(pipeline, db, receiver.url)
    (job,) = await scenes.jobs_of(pipeline, course)
    arm("webhook.sent=raise@1")
    try:
        with pytest.raises(InjectedFault):
            await pipeline.deliver(job)
        assert (await only_delivery(db, course))["status"] == "pending"
        assert await pipeline.deliver(job) == "applied"
    finally:
        arm("")

    assert len(receiver.received) == 2
    assert len(receiver.by_id()) == 1
    assert receiver.received[0].body == receiver.received[1].body


async def test_an_attempt_that_was_overtaken_sends_nothing(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """A person gave the delivery up and replayed it while the old job lay in its queue."""
    course = await scenes.completed(pipeline, db, receiver.url)
    (old,) = await scenes.jobs_of(pipeline, course)
    await db.execute("UPDATE webhook_deliveries SET status = 'dead', outbox_id = NULL, settled_at = now()")
    async with db.transaction() as session:
        await deliveries.replay(session, [(await only_delivery(db, course))["delivery_id"]])
    await scenes.keeper(db).write_due()
    ending = await pipeline.deliver(old)

    assert (ending, receiver.received) == ("skipped", [])
    assert (await scenes.attempt(pipeline, course))["status"] == "delivered"


async def test_a_course_deleted_while_it_is_sent_leaves_a_dead_letter(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """The attempt can no longer be written down; that the receiver may have it is not known to us."""
    course = await scenes.completed(pipeline, db, receiver.url)
    row = await only_delivery(db, course)
    (job,) = await scenes.jobs_of(pipeline, course)

    async def delete(writer: asyncio.StreamWriter) -> None:
        await db.execute("DELETE FROM courses WHERE id = $1", course)
        writer.write(answer())

    receiver.behave = delete
    ending = await pipeline.deliver(job)
    after = await delivery(db, row["delivery_id"])

    assert ending == "course_deleted"
    assert (after["status"], after["course_id"]) == ("dead", None)
    assert "deleted" in after["last_error"]


async def test_a_rotated_secret_signs_beside_its_successor(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Receivers with either accept; after a day only the new one does."""
    vault = SecretVault(Secret(WEBHOOK_KEY))
    issued = []
    for _ in range(2):
        async with db.transaction() as session:
            issued.append((await vault.issue(session, ORGANIZATION)).secret)
    await scenes.attempt(pipeline, await scenes.completed(pipeline, db, receiver.url))
    await db.execute("UPDATE webhook_secrets SET retires_at = now() WHERE retires_at IS NOT NULL")
    await scenes.attempt(pipeline, await scenes.completed(pipeline, db, receiver.url))
    during, after = receiver.received

    assert all(during.verify(secret) for secret in issued)
    assert after.verify(issued[1])
    with pytest.raises(WebhookVerificationError):
        after.verify(issued[0])


async def test_a_worker_without_the_keys_keeps_everything_waiting(
    app_db: Database, db: Database, receiver: Receiver
) -> None:
    """Nothing goes out unsigned and nothing is charged: an operator has to mend it, and then it goes on."""
    settings = {name: value for name, value in LOCAL_RECEIVERS.items() if name != "WEBHOOK_ENCRYPTION_KEYS"}
    async with open_pipeline(app_db, webhooks=settings) as keyless:
        course = await scenes.completed(keyless, db, receiver.url)
        (job,) = await scenes.jobs_of(keyless, course)
        with pytest.raises(RetryableError, match="WEBHOOK_ENCRYPTION_KEYS"):
            await keyless.deliver(job)
    assert receiver.received == []
    assert (await only_delivery(db, course))["attempts"] == 0
    async with open_pipeline(app_db) as mended:
        assert await mended.deliver(job) == "applied"
    assert len(receiver.received) == 1


async def test_an_address_that_is_not_allowed_any_more_is_a_dead_letter(
    app_db: Database, db: Database, receiver: Receiver
) -> None:
    """The settings have changed since the course was accepted; trying again would change nothing."""
    settings = {**LOCAL_RECEIVERS, "WEBHOOK_ALLOW_HTTP": "false"}
    async with open_pipeline(app_db, webhooks=settings) as strict:
        course = await scenes.completed(strict, db, receiver.url)
        (job,) = await scenes.jobs_of(strict, course)
        ending = await strict.deliver(job)
    row = await only_delivery(db, course)

    assert (ending, row["status"], receiver.connections) == ("failed", "dead", 0)
    assert "https://" in row["last_error"]


async def test_a_slow_receiver_does_not_take_every_place(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """A worker has a few attempts at it in hand; others come back in a moment, uncharged, and other receivers are served."""
    let_go = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(answer())

    receiver.behave = wait
    courses = [await scenes.completed(pipeline, db, receiver.url) for _ in range(MOST_PER_RECEIVER + 1)]
    jobs = [job for course in courses for job in await scenes.jobs_of(pipeline, course)]
    busy = [asyncio.create_task(pipeline.deliver(job)) for job in jobs[:-1]]
    await eventually(lambda: len(receiver.received) == MOST_PER_RECEIVER, within=10)
    with pytest.raises(UpstreamUnavailable):
        await pipeline.deliver(jobs[-1])
    async with open_receiver() as other:
        assert (await scenes.attempt(pipeline, await scenes.completed(pipeline, db, other.url)))[
            "status"
        ] == "delivered"
    let_go.set()
    endings = [*await asyncio.gather(*busy), await pipeline.deliver(jobs[-1])]

    assert endings == ["applied"] * len(jobs)


async def test_a_job_that_cannot_be_read_is_no_silent_loss(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """Settled as failed, and the delivery a dead letter that can be replayed."""
    course = await scenes.completed(pipeline, db, receiver.url)
    (job,) = await scenes.jobs_of(pipeline, course)
    payload: dict[str, Any] = {**payload_of(job), "version": 99}
    ending = await pipeline.deliver_payload("WEBHOOK_DELIVERY", payload)
    row = await only_delivery(db, course)

    assert (ending, row["status"]) == ("failed", "dead")
    assert "version" in row["last_error"]
