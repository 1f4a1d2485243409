"""Runbooks on a real stack: something breaks, the page's commands show it and bring it back, and by its last words it is over.

Of the pages whose part can be broken without a cluster; tests/e2e/operator/test_parts.py has those of the ten checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from tests.support import tokens
from tests.support.conversations import message
from tests.support.local_page import Page, Watch
from tests.support.marked import DOCS, marked, typed_as
from tests.support.servers import PrivateRedis
from tests.support.stack import Process, Stack, open_stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

BACK_SECONDS = 60.0
_REFUSE = """
CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.content LIKE 'bad%' THEN RAISE EXCEPTION 'no bad ones'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse_some BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse_some()
"""


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, redis_url: str) -> Iterator[Stack]:
    """Processes on the test's servers, ended with the test."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as opened:
        yield opened


@pytest.fixture
def watch(stack: Stack, database_url: str) -> Watch:
    """Whoever is on call."""
    return Watch(stack, database_url)


async def say(api: Process, number: int, content: str = "Hello") -> list[str]:
    """Send messages, each in a conversation of its own; their ids."""
    headers = tokens.bearer()
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=30) as client:
        answers = [
            await client.post(
                "/api/messages",
                json=message(
                    senderId=str(tokens.USER),
                    conversationId=f"talk-{uuid4()}",
                    clientMessageId=str(each),
                    content=f"{content} {each}",
                ),
            )
            for each in range(number)
        ]
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    return [answer.json()["messageId"] for answer in answers]


async def persisted(db: Database, wanted: list[str]) -> bool:
    """Whether each has its row."""
    return bool(await db.fetchval("SELECT count(*) FROM messages WHERE id = ANY($1::text[])", wanted) == len(wanted))


def waiting(said: str) -> int:
    """How many messages wait, by what MessagesNotPersisted has one type to confirm it."""
    return sum(int(float(each)) for each in re.findall(r"^stream_backlog_entries\{[^}]*\} (\S+)$", said, re.MULTILINE))


async def test_messages_that_nobody_persists(stack: Stack, watch: Watch, db: Database) -> None:
    """MessagesNotPersisted, `no pods`: the workers are gone, and are asked for again."""
    page = Page("MessagesNotPersisted")
    api, worker = await stack.start_all("api", "persistence_worker")
    worker.kill()
    sent = await say(api, 5)

    assert [waiting(watch.types(page.block("Confirm"))) for _ in range(2)] == [5, 5]
    assert "persistence-worker" not in watch.looks(page.block("Look")).splitlines()
    watch.types(page.command_beside("no pods"))
    assert len(await watch.obeys()) == 2

    await eventually(lambda: persisted(db, sent), within=BACK_SECONDS)
    assert "persistence-worker-9090" in watch.looks(page.block("Look"))
    await eventually(lambda: _is_empty(watch, page), within=BACK_SECONDS)


async def _is_empty(watch: Watch, page: Page) -> bool:
    """Over when Confirm's command names no partition any more."""
    return "stream_backlog_entries" not in watch.looks(page.block("Confirm"))


async def test_messages_that_postgresql_does_not_take(stack: Stack, watch: Watch, db: Database) -> None:
    """MessagesNotPersisted, `PostgreSQL takes no message`: the line that the page has one look for names the privilege."""
    page = Page("MessagesNotPersisted")
    api, _ = await stack.start_all("api", "persistence_worker")
    watch.types('owner "REVOKE INSERT ON messages FROM service_role"')
    sent = await say(api, 3)

    async def told() -> str:
        said = watch.looks(page.block("Look"))
        (line,) = [each for each in said.splitlines() if "PostgreSQL takes no message, consuming pauses" in each][-1:]
        return line

    line = await eventually(told, within=BACK_SECONDS)
    for words in ("`sqlstate`", "`reason`", "a privilege"):
        assert words in page.mends("PostgreSQL takes no message, consuming pauses")
    assert '"sqlstate":"42501"' in line
    assert re.search(r'"reason":"[^"]*permission denied for table messages', line), line
    assert waiting(watch.types(page.block("Confirm"))) == 3
    watch.types('owner "GRANT INSERT ON messages TO service_role"')

    await eventually(lambda: persisted(db, sent), within=BACK_SECONDS)
    await eventually(lambda: _is_empty(watch, page), within=BACK_SECONDS)
    assert watch.types("stream XLEN msg:dlq") == "0\n"


async def test_messages_that_become_dead_letters(stack: Stack, watch: Watch, db: Database) -> None:
    """QueueDLQRateHigh, `refused`: consumers off, the cause found by its `sqlstate` and mended, consumers on, and replayed.

    One entry beside them is no message: it is discarded first, so that it does not come back.
    """
    page, next_page = Page("QueueDLQRateHigh"), Page("ConsumerProcessingErrors")
    api, _ = await stack.start_all("api", "persistence_worker")
    await db.execute(_REFUSE)
    watch.types("stream XADD msg:stream:0 '*' envelope no-message")
    await eventually(lambda: _letters(watch, page) == 1, within=BACK_SECONDS)
    bad = await say(api, 3, "bad")
    await eventually(lambda: _letters(watch, page) == 4, within=BACK_SECONDS)

    watch.types(page.command("Stop the bleeding", "helm upgrade"))
    await watch.obeys()
    later = await say(api, 3, "bad, too")
    found = watch.looks(page.block("Look"))
    assert found.count("reason\nrefused\n") == 3
    assert "ConsumerProcessingErrors" in page.mends("`refused`")
    assert '"sqlstate":"P0001"' in found
    assert "a trigger on `messages` raises" in next_page.mends("`sqlstate` P0")
    assert _letters(watch, page) == 4  # those that came since wait

    await db.execute("DROP FUNCTION refuse_some CASCADE")
    watch.types(page.command("Stop the bleeding", "helm upgrade").replace("=false", "=true"))
    await watch.obeys()
    shown = json.loads(watch.types(page.command("Mend", "admin GET messages/dead-letters")))["deadLetters"]
    assert [each["reason"] for each in shown].count("refused") == 3
    (torn,) = [each["id"] for each in shown if each["reason"] == "undecodable"]
    assert "no-message" in watch.types(page.command("Mend", "stream XRANGE").replace("ID ID", f"{torn} {torn}"))
    discard, replay = page.commands("Mend", "admin POST")
    assert json.loads(watch.types(discard))["discarded"] == 1
    assert json.loads(watch.types(replay))["replayed"] == 3

    await eventually(lambda: persisted(db, [*bad, *later]), within=BACK_SECONDS)
    assert _letters(watch, page) == 0


def _letters(watch: Watch, page: Page) -> int:
    return int(watch.types(page.block("Confirm")))


async def test_a_relay_that_nobody_leads(stack: Stack, watch: Watch) -> None:
    """OutboxRelayNoLeader, `no pods`: it is gone, courses are accepted all the same, and another takes the lead."""
    page = Page("OutboxRelayNoLeader")
    api, relay = await stack.start_all("api", "outbox_relay")
    await eventually(lambda: _leader(watch, page) != "", within=BACK_SECONDS)
    await relay.stopped()

    assert _leader(watch, page) == ""
    assert "outbox-relay-9090" not in watch.looks(page.block("Look"))
    course = await _order(api)
    watch.types(page.command_beside("no pods"))
    await watch.obeys()

    async def is_over() -> Any:
        holder, epoch, silent = _led(watch, page)
        assert holder
        assert silent < 5
        return epoch

    epoch = await eventually(is_over, within=BACK_SECONDS)
    query = f"SELECT count(*) FROM job_outbox WHERE entity_id = '{course}' AND processed_at IS NOT NULL"
    await eventually(lambda: _number(watch, query) >= 1, within=BACK_SECONDS)
    assert await is_over() == epoch


def _led(watch: Watch, page: Page) -> tuple[str, str, float]:
    """Holder, epoch and seconds of silence, as the page's statement shows them."""
    row = watch.types(page.block("Confirm")).splitlines()[2]
    holder, epoch, silent = (each.strip() for each in row.split("|"))
    hours, minutes, seconds = silent.split(":") if silent else ("0", "0", "inf")
    return holder, epoch, 3600 * float(hours) + 60 * float(minutes) + float(seconds)


def _leader(watch: Watch, page: Page) -> str:
    return _led(watch, page)[0]


def _number(watch: Watch, query: str) -> int:
    return int(watch.types(f'sql "{query}"').splitlines()[2])


async def test_a_redis_of_another_installation(stack: Stack, watch: Watch) -> None:
    """OutboxRelayNoLeader, `belongs to another installation`: PostgreSQL was made anew. Redis is given to what is there now."""
    runbook = DOCS / "runbooks" / "OutboxRelayNoLeader.md"
    page, said = Page("OutboxRelayNoLeader"), "belongs to another installation"
    watch.types("redis SET coursegen:installation 2001-01-01T00:00:00.000000Z")
    relay = stack.spawn("outbox_relay")
    await eventually(lambda: _says(relay, said), within=BACK_SECONDS)

    assert "below" in page.mends(said)
    assert said in watch.looks(page.block("Look"))
    *_, look = typed_as(runbook, "runbooks-cluster")
    moment, *others = re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+Z", watch.types(look.text))
    assert set(others) == {"2001-01-01T00:00:00.000000Z"}
    assert moment not in others
    watch.types(f"MOMENT={moment}\n" + marked(runbook, "mend-installation"))

    await eventually(lambda: _leader(watch, page) != "", within=BACK_SECONDS)


async def test_a_redis_that_is_full(
    tmp_path: Path, app_database_url: str, database_url: str, db: Database, private_redis: PrivateRedis
) -> None:
    """OutboxLagHigh, `Redis is full`: the logs of relay and api say so, room is made, and what waited goes by itself."""
    runbook = DOCS / "runbooks" / "OutboxLagHigh.md"
    said = "used memory > 'maxmemory'"
    with open_stack(tmp_path, database_url=app_database_url, redis_url=private_redis.url()) as stack:
        watch = Watch(stack, database_url)
        api, relay = await stack.start_all("api", "outbox_relay")
        async with Redis.from_url(private_redis.url()) as admin:
            await admin.config_set("maxmemory", "1mb")
        course = await _order(api)
        async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(), timeout=30) as client:
            body = message(senderId=str(tokens.USER), conversationId="talk", clientMessageId="1", content="Hello")
            refused = await client.post("/api/messages", json=body)
        await eventually(lambda: _says(relay, said), within=BACK_SECONDS)

        assert refused.status_code == 503
        assert said in watch.looks(Page("ApiErrorBudgetBurnFast").block("Look"))
        assert said not in watch.types("ask api 9090 /readyz")
        *_, look = typed_as(runbook, "runbooks-cluster")
        found = watch.types(look.text)
        assert "maxmemory_human:1.00M" in found
        watch.types("ROOM=64mb\n" + marked(runbook, "mend-room"))

        query = f"SELECT count(*) FROM job_outbox WHERE entity_id = '{course}' AND processed_at IS NOT NULL"
        await eventually(lambda: _number(watch, query) == 1, within=BACK_SECONDS)
        assert await db.fetchval("SELECT max(retry_count) FROM job_outbox") == 0
        assert "Biggest" in watch.types(look.text)


def _says(process: Process, words: str) -> bool:
    return words in process.log.read_text(encoding="utf-8")


async def _order(api: Process) -> str:
    course = str(uuid4())
    async with httpx.AsyncClient(headers=tokens.bearer(), timeout=30) as client:
        body = {"courseId": course, "title": "Ordered at night", "hasFiles": False}
        answer = await client.post(f"{api.url}/api/trpc/generation.initiate", json=body)
    assert answer.status_code == 200, answer.text
    return course


async def test_jobs_that_wait_for_a_worker(stack: Stack, watch: Watch, db: Database) -> None:
    """StageQueueLatencyHigh, `the queue has no workers`: scaled to 0, and as many as there is need for are asked for."""
    page = Page("StageQueueLatencyHigh")
    api = await stack.start("api")
    course = await _order(api)
    await db.execute("UPDATE job_outbox SET created_at = created_at - interval '3 minutes'")
    relay = await stack.start("outbox_relay")
    await eventually(lambda: _number(watch, "SELECT count(processed_at) FROM job_outbox") == 1, within=BACK_SECONDS)

    row = watch.types(page.block("Confirm")).splitlines()[2]
    assert re.match(r" *course-generation:analysis +\| +1 \| 00:03:", row), row
    found = watch.looks(page.block("Look"))
    assert re.search(r'"queue":"course-generation:analysis","waiting":\[.+?\],[^\]}]*"workers":0', found), found
    assert "worker-analysis" not in found
    assert "scaled to 0" in page.mends("the queue has no workers")
    await eventually(lambda: _oldest(relay) > 0, within=BACK_SECONDS)  # of its own age: the body has the moment

    watch.types(page.command("Stop the bleeding", "kubectl"))
    await watch.obeys()
    await eventually(lambda: _has_no_row(watch, page), within=BACK_SECONDS)
    done = await db.fetchval("SELECT generation_status FROM courses WHERE id = $1::uuid", course)
    assert done == "completed"


def _oldest(relay: Process) -> float:
    """What the alert looks at."""
    page = httpx.get(f"http://127.0.0.1:{relay.metrics_port}/metrics").text
    return max(map(float, re.findall(r"^queue_oldest_waiting_seconds\{[^}]*\} (\S+)$", page, re.MULTILINE)))


def _has_no_row(watch: Watch, page: Page) -> bool:
    return "(0 rows)" in watch.types(page.block("Confirm"))
