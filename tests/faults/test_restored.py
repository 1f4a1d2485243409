"""docs/BACKUP.md as printed: a dump of a system at work, its PostgreSQL lost, and the dump brought back beside a newer Redis."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis

from services.cli.stack import redis_binary
from services.kernel.database import Database
from tests.faults.conftest import INSTANT, OpenDriver
from tests.faults.test_webhooks import order
from tests.support import tokens
from tests.support.databases import opened
from tests.support.driver import Driver, Journal, Order
from tests.support.evidence import collect, come_to_rest
from tests.support.ledger import check
from tests.support.marked import DOCS, typed_as
from tests.support.message_verdict import MessageRow, judge_messages
from tests.support.receiver import Receiver, open_receiver
from tests.support.said import Said, Senders, content
from tests.support.servers import (
    APPLICATION_ROLE,
    PrivatePostgres,
    PrivateRedis,
    cache_folder,
    psql,
    server_folder,
    with_user,
)
from tests.support.stack import Kind, Process, Stack, open_stack
from tests.support.streamed import conversation_in, partition_of, unsettled
from tests.support.typist import Typist, shape
from tests.support.waiting import eventually

PAGE = DOCS / "BACKUP.md"
KINDS: Sequence[Kind] = ("api", "outbox_relay", "stage_worker", "persistence_worker")
STREAM_DB = 1
PER_SECOND = 8
TERMS = 2
"""Of the leader, after the dump, where Redis is not emptied: it then knows an epoch that the dump does not."""
LEFT = 4
"""Jobs of courses that were accepted after the dump and that nobody has begun: Redis has them when the database does not."""
_ROWS = """
SELECT m.id, m.conversationid, m.clientmessageid, coalesce(m.content, p.content) AS content
  FROM messages AS m LEFT JOIN message_payloads AS p ON p.payloadkey = m.payloadkey
 ORDER BY m.position
"""


@pytest.fixture
def new_postgres() -> Iterator[PrivatePostgres]:
    """The server that takes the lost one's place: empty, and at another address."""
    with server_folder() as folder:
        server = PrivatePostgres(folder)
        server.start()
        yield server
        server.kill()


@pytest.fixture
def stack(tmp_path: Path, private_database_url: str, private_redis: PrivateRedis) -> Iterator[Stack]:
    """Processes on servers that this test may lose; the stream lies beside the queues, as the settings have it."""
    url = with_user(private_database_url, APPLICATION_ROLE)
    with open_stack(tmp_path, database_url=url, redis_url=private_redis.url()) as opened:
        opened.environment |= INSTANT | {
            "INSTANT_SECONDS": "1.2",  # so that there is always something in hand
            "REDIS_STREAM_DB": str(STREAM_DB),
            "MESSAGES_REQUIRE_TOKEN": "false",
            "STREAM_LEASE_SECONDS": "2",  # workers that are missed soon
            "RELAY_RECONCILE_SECONDS": "1",
            "STAGE_WORKER_CONCURRENCY": "16",
        }
        yield opened


@dataclass(frozen=True)
class Before:
    """What was promised when the dump began, and what was promised afterwards."""

    answers: int
    """So many of the journal's answers came before."""
    told: list[UUID]
    """Courses of before whose end is to be told."""
    later: list[Order]
    said: set[str]
    """Messages that were accepted before."""
    epoch: int
    """The highest that Redis has seen."""


def typist(folder: Path, database_url: str, redis_url: str) -> Typist:
    """Whoever reads the page, with the tools of the local stack."""
    client = redis_binary.find_client(redis_binary.find_server(cache_folder()))
    assert client is not None
    tools = [Path(sys.executable).parent, psql().parent, client.parent]
    path = ":".join([*map(str, tools), os.environ["PATH"]])
    return Typist({"PATH": path, "HOME": str(folder), "DATABASE_URL": database_url, "REDIS_URL": redis_url}, folder)


@pytest.mark.parametrize("flushed", [True, False], ids=["as the page says", "without FLUSHDB"])
async def test_what_was_acknowledged_before_the_dump_is_made(
    flushed: bool,
    stack: Stack,
    private_postgres: PrivatePostgres,
    private_database_url: str,
    private_redis: PrivateRedis,
    new_postgres: PrivatePostgres,
    journal: Journal,
    drive: OpenDriver,
    tmp_path: Path,
) -> None:
    """Once; its webhooks come; later messages are back, in order; a later order is unknown, and made when it is sent again."""
    said = Said()
    async with open_receiver() as receiver:
        writer = typist(tmp_path, private_database_url, private_redis.url())
        before = await at_work(stack, drive, said, receiver, writer, terms=0 if flushed else TERMS)
        private_postgres.kill()
        await asyncio.gather(*(process.stopped() for process in stack.processes if process.exit_code is None))

        reader = typist(tmp_path, new_postgres.url(), private_redis.url())
        await asyncio.to_thread(restore, reader, flushed=flushed)
        stack.environment["DATABASE_URL"] = with_user(new_postgres.url(), APPLICATION_ROLE)
        api, *_ = await stack.start_all(*KINDS)
        async with opened(new_postgres.url()) as db:
            await is_whole(db, stack, journal, before)
            await messages_are_back(db, private_redis.url(), said, before)
            await webhooks_came(db, receiver, before)
            await a_later_order_can_be_repeated(db, drive(api), before)
            await slots_are_free(api)
            epoch = await db.fetchval("SELECT epoch FROM relay_leadership")

        assert flushed or epoch >= before.epoch
        aside = [line["detail"] for process in stack.processes for line in process.lines("job set aside")]
        assert len(aside) == (0 if flushed else LEFT)
        assert all("The job's course does not exist" in each for each in aside)
        assert await asyncio.to_thread(under_way, reader) == 0


async def at_work(
    stack: Stack, drive: OpenDriver, said: Said, receiver: Receiver, reader: Typist, *, terms: int
) -> Before:
    """Courses, messages and webhooks under way; a dump in the midst of it; and then so much more that Redis knows it."""
    api, relay, worker, keeper = await stack.start_all(*KINDS)
    driver, over = drive(api), asyncio.Event()
    journal = driver.journal
    async with Senders([api.url], said, random.Random(8), pause=0.1) as senders, asyncio.TaskGroup() as group:
        group.create_task(senders.talk(6, over))
        told = await order(api, receiver, 4)
        for course in told:
            journal.ask(f"{course}/told", course)
        await driver.load([driver.order() for _ in range(2 * PER_SECOND)], per_second=PER_SECOND)
        answers, accepted = len(journal.answers), {each for some in said.accepted.values() for each in some}
        (taking,) = typed_as(PAGE, "backup-take")
        dumped = await asyncio.to_thread(reader.types, taking)
        assert shape(dumped)[:3] == shape(taking.printed[0])[:3]
        assert dumped.split()[0] == taking.printed[0].split()[0], "so many tables"

        later = await driver.load([driver.order() for _ in range(PER_SECOND)], per_second=PER_SECOND)
        for _ in range(terms):
            assert await relay.stopped() == 0
            assert await keeper.stopped() == 0
            relay, keeper = await stack.start_all("outbox_relay", "persistence_worker")
        over.set()
    async with opened(reader.environment["DATABASE_URL"]) as db:
        await come_to_rest(db)
        await eventually(lambda: _all_persisted(db, said), within=30)
        assert await worker.stopped() == 0
        later += await driver.load([driver.order() for _ in range(LEFT)], per_second=2 * PER_SECOND)
        await eventually(lambda: db.fetchval("SELECT bool_and(processed_at IS NOT NULL) FROM job_outbox"), within=30)
    return Before(answers, told, later, accepted, await seen_by(reader.environment["REDIS_URL"]))


async def seen_by(redis_url: str) -> int:
    """The highest epoch of a leader that has put jobs into a queue."""
    async with Redis.from_url(redis_url) as redis:
        return max([int(await redis.get(key)) async for key in redis.scan_iter("saq:*:epoch")])


async def _all_persisted(db: Database, said: Said) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") >= said.count)


def restore(reader: Typist, *, flushed: bool) -> None:
    """What the page says, but for one line when somebody has forgotten it."""
    (block,) = typed_as(PAGE, "backup-restore")
    *lines, flushing = block.text.splitlines(keepends=True)
    assert flushing.endswith("FLUSHDB\n")
    reader.types("".join(lines) + (flushing if flushed else ""))
    said = reader.types(typed_as(PAGE, "backup-messages")[0])
    assert set(said.split()) == {"OK"}
    assert under_way(reader) > 0


def under_way(reader: Typist) -> int:
    """How many of the courses that are there, by the page's last step."""
    (block,) = typed_as(PAGE, "backup-look")
    courses, *_ = re.findall(r"^ +\d+ \| +(\d+)$", reader.types(block), re.MULTILINE)
    return int(courses)


async def is_whole(db: Database, stack: Stack, journal: Journal, before: Before) -> None:
    """Everything that was acknowledged before the dump is made, once; what was acknowledged after it is no promise any more."""
    await come_to_rest(db)
    promised = Journal(attempts=list(journal.attempts), answers=journal.answers[: before.answers])
    verdict = check(await collect(db, promised, sink=None, fired={"lost": 1}, wanted={"lost": 1}))
    assert verdict.passed, f"{verdict}\n{stack.logs()}"
    assert verdict.acked >= 2 * PER_SECOND
    assert not verdict.failed


async def messages_are_back(db: Database, redis_url: str, said: Said, before: Before) -> None:
    """Each that was accepted, before the dump and after it, has one row, in the order of its conversation.

    Of those after it a long content is gone, as the page says: it lay in PostgreSQL.
    """
    await eventually(lambda: _all_persisted(db, said), within=30)
    rows = [MessageRow(*row.values()) for row in await db.fetch(_ROWS)]
    empty = {row.client_id for row in rows if row.content is None}
    assert not empty & before.said
    rows = [replace(row, content=content(row.client_id)) if row.client_id in empty else row for row in rows]
    async with Redis.from_url(redis_url, db=STREAM_DB) as redis:
        stuck = await unsettled(redis)
    verdict = judge_messages(said, rows, dead=(), stuck=stuck, fired={"lost": 1}, wanted={"lost": 1})
    assert verdict.passed, f"{verdict}"


async def webhooks_came(db: Database, receiver: Receiver, before: Before) -> None:
    """Each end is told; what came twice under one identifier came with the same bytes."""
    delivered = "SELECT count(*) = $1 FROM webhook_deliveries WHERE status = 'delivered'"
    await eventually(lambda: db.fetchval(delivered, len(before.told)), within=60, every=0.2)
    assert {UUID(each.event["data"]["courseId"]) for each in receiver.received} == set(before.told)
    assert all(len({each.body for each in group}) == 1 for group in receiver.by_id().values())


async def a_later_order_can_be_repeated(db: Database, driver: Driver, before: Before) -> None:
    """The database has forgotten it, and Redis' memory of the answer is not believed: it is accepted anew, and made."""
    ids = [each.course_id for each in before.later]
    assert await db.fetchval("SELECT count(*) FROM courses WHERE id = ANY ($1::uuid[])", ids) == 0
    await driver.insist(before.later[0])
    made = "SELECT generation_status = 'completed' FROM courses WHERE id = $1"
    await eventually(lambda: db.fetchval(made, ids[0]), within=60)


async def slots_are_free(api: Process) -> None:
    """Nothing is under way, and after the count that the page names nobody holds a slot."""
    async with httpx.AsyncClient(base_url=api.url, headers=tokens.admin_bearer(), timeout=15) as client:
        (await client.post("/api/admin/concurrency/reconcile")).raise_for_status()
        found = (await client.get("/api/admin/concurrency")).json()
    assert (found["global"]["counter"], found["global"]["truth"]) == (0, 0), found


async def test_messages_that_a_restore_has_lost_are_accepted_anew(
    stack: Stack,
    private_postgres: PrivatePostgres,
    private_database_url: str,
    private_redis: PrivateRedis,
    new_postgres: PrivatePostgres,
    tmp_path: Path,
) -> None:
    """They had their rows, and the stream keeps them no longer: Redis' memory of them is not believed, and each is a row again.

    With their long contents, and in the order in which they are sent again; those of before the dump are repeats as ever.
    """
    stack.environment |= {"STREAM_KEEP_SECONDS": "0", "STREAM_KEEP_ENTRIES": "0", "MESSAGES_LOOKUP_SECONDS": "5"}
    api, _ = await stack.start_all("api", "persistence_worker")
    before, after = [f"before-{number}" for number in range(5)], [f"after-{number}" for number in range(20)]
    async with httpx.AsyncClient(base_url=api.url, timeout=15) as client, opened(private_database_url) as db:
        first = [await say(client, each) for each in before]
        await eventually(lambda: _has_rows(db, 5), within=30)
        (taking,) = typed_as(PAGE, "backup-take")
        await asyncio.to_thread(typist(tmp_path, private_database_url, private_redis.url()).types, taking)
        lost = [await say(client, each) for each in after]
        await say(
            client, "last", in_=conversation_in(partition_of("talk"), but=["talk"])
        )  # a stream keeps its last entry
        await eventually(lambda: _has_rows(db, 26), within=30)
    async with Redis.from_url(private_redis.url(1)) as redis:
        await eventually(lambda: _is_trimmed(redis), within=30)
    private_postgres.kill()
    await asyncio.gather(*(process.stopped() for process in stack.processes if process.exit_code is None))

    reader = typist(tmp_path, new_postgres.url(), private_redis.url())
    await asyncio.to_thread(reader.types, typed_as(PAGE, "backup-restore")[0])
    await asyncio.to_thread(reader.types, typed_as(PAGE, "backup-messages")[0])
    stack.environment["DATABASE_URL"] = with_user(new_postgres.url(), APPLICATION_ROLE)
    api, _ = await stack.start_all("api", "persistence_worker")
    async with httpx.AsyncClient(base_url=api.url, timeout=15) as client, opened(new_postgres.url()) as db:
        known = [await say(client, each) for each in before]
        again = [await say(client, each) for each in after]
        await eventually(lambda: _has_rows(db, 26), within=30)
        rows = [MessageRow(*row.values()) for row in await db.fetch(_ROWS)]
        rows = [row for row in rows if row.conversation == "talk"]

    assert [(each["messageId"], each["state"]) for each in known] == [
        (each["messageId"], "persisted") for each in first
    ]
    assert [(each["messageId"], each["idempotentHit"]) for each in again] == [
        (each["messageId"], False) for each in lost
    ]
    assert [row.client_id for row in rows] == [*before, *after]
    assert [row.content for row in rows] == [words(each) for each in (*before, *after)]


def words(client_id: str) -> str:
    """What is said; every fifth time at length."""
    return client_id * (4_000 if client_id.endswith(("0", "5")) else 1)


async def say(client: httpx.AsyncClient, client_id: str, *, in_: str = "talk") -> dict[str, Any]:
    """A message that must be accepted; the answer's document."""
    body = {"conversationId": in_, "senderId": "alice", "content": words(client_id), "clientMessageId": client_id}
    answer = await client.post("/api/messages", json=body)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _has_rows(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") == count)


async def _is_trimmed(redis: Redis) -> bool:
    streams = [each async for each in redis.scan_iter("msg:stream:*")]
    return max([await redis.xlen(each) for each in streams]) <= 1
