"""Case 1 for webhooks: whoever dies and whatever is lost, every end of a run is told at least once, under one identifier."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.kernel.database import Database
from services.kernel.settings import Secret
from services.kernel.webhooks.secrets import SecretVault
from tests.faults.conftest import Trials
from tests.support import tokens
from tests.support.receiver import WEBHOOK_KEY, Receiver, answer, open_receiver
from tests.support.stack import Process, Stack
from tests.support.tls import make_certificate
from tests.support.waiting import eventually

PIPELINE_ONLY = {"STAGE_WORKER_QUEUES": "documents,analysis,generation"}
WEBHOOKS_ONLY = {"STAGE_WORKER_QUEUES": "webhooks"}
ONE_AT_A_TIME = {**WEBHOOKS_ONLY, "STAGE_WORKER_CONCURRENCY": "webhooks=1"}
"""So that nothing else has been sent and not written down when the worker dies."""


async def order(api: Process, receiver: Receiver, number: int) -> list[UUID]:
    """Courses whose end is to be told to the receiver."""
    courses = [uuid4() for _ in range(number)]
    async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(), timeout=15) as client:
        for course in courses:
            body = {"courseId": str(course), "title": "Accounting", "webhookUrl": receiver.url}
            sent = await client.post(
                "/api/trpc/generation.initiate", json=body, headers={"X-Request-ID": f"r-{course}"}
            )
            assert sent.status_code == 200, sent.text
    return courses


async def all_are(db: Database, status: str, number: int) -> bool:
    """Whether that many deliveries have come to `status`."""
    return bool(await db.fetchval("SELECT count(*) FROM webhook_deliveries WHERE status = $1", status) == number)


async def assert_told(db: Database, receiver: Receiver, courses: list[UUID]) -> None:
    """Each course once by identifier; what came twice came with the same bytes; all of it verifies."""
    (secret,) = await SecretVault(Secret(WEBHOOK_KEY)).valid(db, tokens.ORGANIZATION)
    told = {number: {each.body for each in group} for number, group in receiver.by_id().items()}

    assert all(each.verify(secret) for each in receiver.received)
    assert len(told) == len(courses)
    assert all(len(bodies) == 1 for bodies in told.values())
    assert {each.event["data"]["courseId"] for each in receiver.received} == set(map(str, courses))
    assert {each.headers["x-request-id"] for each in receiver.received} == {f"r-{course}" for course in courses}


@pytest.mark.parametrize("point", ["webhook.sent", "worker.after_commit"])
async def test_a_worker_that_dies_with_a_webhook_in_hand_loses_none(
    stack: Stack, db: Database, trials: Trials, point: str
) -> None:
    """Between sending and its commit the receiver gets it twice under one identifier; after the commit once."""
    rounds = trials(1, full=10)
    courses: list[UUID] = []
    async with open_receiver() as receiver:
        api, _, _ = [
            *await stack.start_all("api", "outbox_relay"),
            await stack.start("stage_worker", env=PIPELINE_ONLY),
        ]
        for _ in range(rounds):
            doomed = await stack.start("stage_worker", faults=f"{point}=kill@1", env=ONE_AT_A_TIME)
            courses += await order(api, receiver, 4)
            assert await doomed.ended(within=60) == -signal.SIGKILL
            rescuer = await stack.start("stage_worker", env=WEBHOOKS_ONLY)
            await eventually(partial(all_are, db, "delivered", len(courses)), within=60, every=0.2)
            assert await rescuer.stopped() == 0
        await assert_told(db, receiver, courses)
        repeated = [name for name, group in receiver.by_id().items() if len(group) > 1]

    assert stack.fired()[f"{point} kill"] == rounds
    assert bool(repeated) == (point != "worker.after_commit")


async def test_webhooks_in_redis_survive_its_loss(stack: Stack, db: Database, redis: Any) -> None:
    """Their courses are finished by then; the reconciler brings them back all the same."""
    async with open_receiver() as receiver:
        api, _, _ = [
            *await stack.start_all("api", "outbox_relay"),
            await stack.start("stage_worker", env=PIPELINE_ONLY),
        ]
        courses = await order(api, receiver, 5)

        async def queued() -> bool:
            return bool(
                await db.fetchval(
                    "SELECT count(*) = 5 FROM job_outbox WHERE queue_name = 'webhooks' AND processed_at IS NOT NULL"
                )
            )

        await eventually(queued, within=60, every=0.2)
        await redis.flushall()
        await stack.start("stage_worker", env=WEBHOOKS_ONLY)
        await eventually(lambda: all_are(db, "delivered", 5), within=90, every=0.2)

        await assert_told(db, receiver, courses)


async def test_a_receiver_that_was_away_gets_everything_when_it_is_back(
    stack: Stack, db: Database, tmp_path: Path
) -> None:
    """Refused at first and again; with TLS, by an authority of its own, and with pauses that are short here."""
    certificate = make_certificate(tmp_path)
    stack.environment |= {
        "WEBHOOK_ALLOW_HTTP": "false",
        "WEBHOOK_CA_FILE": str(certificate.path),
        "WEBHOOK_RETRY_SECONDS": ",".join(["0.2"] * 50),
    }
    async with open_receiver(certificate.context()) as receiver:
        receiver.replies = [answer(503)] * 7
        api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
        courses = await order(api, receiver, 3)
        await eventually(lambda: all_are(db, "delivered", 3), within=60, every=0.2)

        await assert_told(db, receiver, courses)
        assert len(receiver.received) == 10
