"""Messages rolled out and back as docs/MESSAGES.md says, typed as it stands there, while many conversations go on.

At the end of every step what was acknowledged is in the table, once; the order of rows is that of acceptance up to the way back,
and that of `createdat` after it, as the page says.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.cli.stack import ports
from services.kernel.database import Database, UniqueViolation
from services.kernel.messages import names
from services.kernel.settings import CommonSettings, Secret
from tests.acceptance.conftest import Home
from tests.support.conversations import PARTITIONS, entries
from tests.support.marked import MESSAGES, marked
from tests.support.message_verdict import MessageRow, MessageVerdict, judge_messages
from tests.support.ports import pick_several
from tests.support.said import Said, Senders
from tests.support.servers import REPOSITORY, base_url
from tests.support.waiting import eventually

TALKS = [f"talk-{number}" for number in range(20)]
"""As senders call them."""
HEALTHY_LAG = 100
STREAM_DATABASE = 1
"""REDIS_STREAM_DB of a stack to which nobody has said another."""
_ENVIRONMENT = {
    "MESSAGES_LOOKUP_SECONDS": "5",  # a repeat is recognised by its row on a busy machine, too
    **dict.fromkeys(("MAKEFLAGS", "MAKELEVEL", "MFLAGS"), ""),  # of the make that may run this test
}
_ROWS = """
SELECT m.id, m.conversationid, m.clientmessageid, coalesce(m.content, p.content, '') AS content
  FROM messages AS m LEFT JOIN message_payloads AS p ON p.payloadkey = m.payloadkey
 WHERE m.conversationid LIKE 'talk-%'
 ORDER BY {order}
"""


class Deployer:
    """Types what the page says, while senders go on: lines that start the stack into terminals of their own."""

    def __init__(self, home: Home) -> None:
        self.port, metrics_port = pick_several(2)
        self.url = f"http://{ports.LOOPBACK}:{self.port}"
        self.said = Said()
        self.steps: Counter[str] = Counter()
        self.folder = home.folder
        self._home = home
        self._make = _make(home.folder / "make", f"--port {self.port} --metrics-port {metrics_port}")
        self._shell: dict[str, str] = {}
        (home.folder / ".venv").symlink_to(REPOSITORY / ".venv")

    async def step(self, line: str) -> None:
        """Type a line that ends what runs and starts the stack, and return when that runs."""
        await asyncio.to_thread(self._start, line)
        self.steps[line] += 1

    def _start(self, line: str) -> None:
        path = f"{self._make}:{self._home.environment()['PATH']}"
        started = self._home.types(line, PATH=path, **_ENVIRONMENT)
        started.wrote("coursegen is running")
        shown = json.loads(self._home.run("env", "--json").stdout)
        environment = self._home.environment()
        self._shell = {**environment, **shown, "PATH": f"{shown['PATH']}:{environment['PATH']}"}

    async def types(self, *blocks: str) -> str:
        """What blocks print that are typed into the terminal with `coursegen env`."""
        return await asyncio.to_thread(self._run, "".join(marked(MESSAGES, each) for each in blocks))

    def _run(self, script: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            env=self._shell,
            cwd=self._home.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The stack's own, as its owner."""
        database = await Database.open(CommonSettings(database_url=Secret(self._shell["DATABASE_URL"])))
        try:
            yield database
        finally:
            await database.close()

    def redis(self) -> Redis:
        """The stack's own, where the stream is."""
        return Redis.from_url(f"{base_url(self._shell['REDIS_URL'])}/{STREAM_DATABASE}")

    async def everybody_has_spoken(self) -> None:
        """Return when each conversation has gone on by two messages that were acknowledged."""
        before = {each: len(self.said.accepted[each]) for each in TALKS}
        await eventually(lambda: all(len(self.said.accepted[each]) >= before[each] + 2 for each in TALKS), within=60)

    async def in_the_streams(self) -> set[str]:
        """The conversations that have gone through the stream."""
        async with self.redis() as redis:
            return {each.conversation_id for _, _, each in await entries(redis)}

    async def enqueued(self) -> int:
        """How many messages were put into the stream."""
        async with self.redis() as redis:
            counts = [await redis.hgetall(names.count(number)) for number in range(PARTITIONS)]
        return sum(int(each.get(names.ENQUEUED.encode(), 0)) for each in counts)

    async def judged(self, order: str) -> MessageVerdict:
        """What was acknowledged so far against what is in the table, in that order, as soon as nothing is missing."""
        accepted = deepcopy(self.said.accepted)

        async def complete() -> MessageVerdict:
            async with self.database() as db:
                rows = [MessageRow(*row.values()) for row in await db.fetch(_ROWS.format(order=order))]
            said = replace(self.said, accepted=accepted)
            # They talk on, so something is always in hand: nothing can be called stuck.
            verdict = judge_messages(said, rows, dead=(), stuck={}, fired=self.steps, wanted=self.steps)
            assert not verdict.lost, f"{verdict}"
            return verdict

        return await eventually(complete, within=30, every=0.3)


def _make(folder: Path, options: str) -> Path:
    """A folder with a `make` that gives the stack free ports."""
    folder.mkdir()
    program = folder / "make"
    program.write_text(
        f"""#!/bin/sh\n[ "$1" != up ] || set -- up OPTIONS='{options}'\nexec {shutil.which("make")} "$@"\n"""
    )
    program.chmod(0o755)
    return folder


@pytest.fixture
async def deployer(home: Home) -> AsyncIterator[Deployer]:
    """Whoever reads the page; what she has started is ended."""
    yield Deployer(home)
    await asyncio.to_thread(home.run, "down")


@pytest.mark.timeout(900)
async def test_messages_are_rolled_out_and_back_as_the_page_says(deployer: Deployer) -> None:
    """Shadow, 10 %, 50 %, 100 %; consumers off and on, a repair meanwhile; 0 %, and without the stream: lost 0, duplicate 0."""
    over = asyncio.Event()
    # Starting the stack eight times is work enough for the machine.
    senders = Senders([deployer.url], deployer.said, random.Random(20251123), pause=0.8)
    async with senders, asyncio.TaskGroup() as group:
        first, *_ = marked(MESSAGES, "messages-rollout").splitlines()
        await deployer.step(first)
        group.create_task(senders.talk(len(TALKS), over))
        try:
            await roll_out(deployer)
            await to_zero_and_back(deployer)
            await go_back(deployer)
        finally:
            over.set()
    verdict = await deployer.judged("m.createdat, m.position")

    print(f"\n{verdict}\n{deployer.said}")
    assert verdict.passed, f"{verdict}"
    assert deployer.steps.total() == 8


async def roll_out(deployer: Deployer) -> None:
    """At each step exactly that share of the conversations goes through the stream, and rows are in order."""
    for line in marked(MESSAGES, "messages-rollout").splitlines():
        if not deployer.steps[line]:
            await deployer.step(line)
        (percent,) = map(int, re.findall(r"MESSAGES_STREAM_PERCENT=(\d+)", line))
        await deployer.everybody_has_spoken()
        through = {each for each in TALKS if names.goes_through_stream(names.partition_hash(each), percent)}
        assert await deployer.in_the_streams() == through
        assert (len(through) == 0, len(through) == len(TALKS)) == (percent == 0, percent == 100)
        verdict = await deployer.judged("m.position")
        assert verdict.passed, f"{line}\n{verdict}"
        await eventually(lambda: _is_healthy(deployer), within=30, every=0.5)


async def _is_healthy(deployer: Deployer) -> bool:
    """Whether what the page has looked at shows an owner of every partition, a healthy lag (D32) and no dead letter."""
    look = await deployer.types("messages-look")
    said = re.match(r"(\d+) messages wait; 0 are dead letters\n", look)
    assert said, look
    assert int(said[1]) < HEALTHY_LAG, look
    assert len(re.findall(r"^ *\d+ +\d+ +\S+_[0-9a-f]{8}$", look, re.MULTILINE)) == PARTITIONS, look
    return True


async def to_zero_and_back(deployer: Deployer) -> None:
    """Without consumers messages wait, and the table may be repaired; with them again nothing is missing."""
    off, on = marked(MESSAGES, "messages-zero").splitlines()
    await deployer.step(off)
    first, again = [json.loads(await deployer.types("messages-send")) for _ in range(2)]
    assert (first["state"], first["idempotentHit"], again["idempotentHit"]) == ("pending", False, True)
    async with deployer.database() as db:
        before = await db.fetchval("SELECT count(*) FROM messages")
        await deployer.everybody_has_spoken()
        assert await db.fetchval("SELECT count(*) FROM messages") == before
        await repair(deployer, db)
    waiting = re.search(r"^(\d+) messages wait", await deployer.types("messages-look"), re.MULTILINE)
    assert waiting
    assert int(waiting[1]) >= 2 * len(TALKS)
    await deployer.step(on)
    assert (await deployer.judged("m.position")).passed
    await eventually(lambda: _is_shown(deployer, first["messageId"]), within=20, every=0.3)
    assert "(0 rows)" in await deployer.types("messages-keys")


async def _is_shown(deployer: Deployer, message_id: str) -> bool:
    async with httpx.AsyncClient() as client:
        found = (await client.get(f"{deployer.url}/api/messages/{message_id}")).json()
    return bool(found["state"] == "persisted")


_REPEATED = """
INSERT INTO messages (id, conversationid, senderid, content, idempotencykey, createdat) VALUES
    ('z-earliest', 'repaired', 'alice', 'first', 'key-1', '2025-11-23 10:00:00Z'),
    ('a-later', 'repaired', 'alice', 'second', 'key-1', '2025-11-23 10:00:01Z'),
    ('m-latest', 'repaired', 'alice', 'third', 'key-1', '2025-11-23 10:00:02Z'),
    ('keyless-1', 'repaired', 'alice', 'x', NULL, '2025-11-23 10:00:00Z'),
    ('keyless-2', 'repaired', 'alice', 'x', NULL, '2025-11-23 10:00:00Z');
INSERT INTO message_receipts (messageid, userid, state, createdat) VALUES
    ('z-earliest', 'bob', 'delivered', '2025-11-23 11:00:00Z'), ('a-later', 'bob', 'delivered', '2025-11-23 10:30:00Z'),
    ('a-later', 'carol', 'read', '2025-11-23 12:00:00Z'), ('m-latest', 'carol', 'read', '2025-11-23 11:30:00Z');
INSERT INTO messages (id, conversationid, senderid, content, clientmessageid, idempotencykey, createdat)
SELECT 'copy-' || id, conversationid, senderid, content, clientmessageid, idempotencykey, createdat + interval '1 minute'
  FROM messages WHERE conversationid LIKE 'talk-%' AND content IS NOT NULL LIMIT 5;
"""


async def repair(deployer: Deployer, db: Database) -> None:
    """The earliest of each key stays, with the receipts of all; rows without a key stay; the key is unique again (TRAP22)."""
    await db.execute("ALTER TABLE messages DROP CONSTRAINT messages_idempotencykey_key")
    await db.execute(_REPEATED)
    assert "(6 rows)" in await deployer.types("messages-keys")
    await deployer.types("messages-repair")

    assert "(0 rows)" in await deployer.types("messages-keys")
    left = await db.fetch("SELECT id FROM messages WHERE conversationid = 'repaired' ORDER BY id")
    assert [row["id"] for row in left] == ["keyless-1", "keyless-2", "z-earliest"]
    receipts = await db.fetch(
        "SELECT messageid, userid, state, to_char(createdat AT TIME ZONE 'UTC', 'HH24:MI') FROM message_receipts ORDER BY userid"
    )
    assert [tuple(row.values()) for row in receipts] == [
        ("z-earliest", "bob", "delivered", "10:30"),
        ("z-earliest", "carol", "read", "11:30"),
    ]
    removed = (deployer.folder / "removed-messages.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0][:5] for line in removed) == ["a-lat", *["copy-"] * 5, "m-lat"]
    with pytest.raises(UniqueViolation):
        await db.execute("UPDATE messages SET idempotencykey = 'key-1' WHERE id = 'keyless-1'")


async def go_back(deployer: Deployer) -> None:
    """Nothing more goes into the stream."""
    for line in marked(MESSAGES, "messages-back").splitlines():
        await deployer.step(line)
        before = await deployer.enqueued()
        await deployer.everybody_has_spoken()
        assert await deployer.enqueued() == before
        assert not (await deployer.judged("m.createdat, m.position")).disordered
