"""Everything that carries messages, as real processes on servers of the test's own: apis, persistence-workers, Redis, PostgreSQL.

A test kills of it what it likes; `judge` then compares what senders were told with what is in the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from redis.asyncio import Redis as RedisClient
from redis.exceptions import RedisError

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.settings import CommonSettings, Secret
from tests.support.message_verdict import MessageRow, MessageVerdict, judge_messages
from tests.support.ports import claim
from tests.support.said import Said, Senders
from tests.support.servers import APPLICATION_ROLE, PrivatePostgres, PrivateRedis, with_user
from tests.support.stack import Kind, Process, Stack, open_stack
from tests.support.streamed import PARTITIONS, settled, unsettled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

QUIET_SECONDS = 60.0
"""How long everything may take to come to rest after the last fault (reliability.md section 3)."""
_ENVIRONMENT = {
    "MESSAGES_REQUIRE_TOKEN": "false",
    "STREAM_LEASE_SECONDS": "2",  # workers that are missed soon
    "STREAM_KEEP_ENTRIES": "100",  # so that streams are trimmed meanwhile
}
_ROWS = """
SELECT m.id, m.conversationid, m.clientmessageid,
       CASE WHEN length(c.content) < 1000 THEN c.content
            ELSE 'sha256:' || encode(sha256(convert_to(c.content, 'UTF8')), 'hex') END AS content
  FROM messages AS m
  LEFT JOIN message_payloads AS p ON p.payloadkey = m.payloadkey
 CROSS JOIN LATERAL (SELECT coalesce(m.content, p.content, '') AS content) AS c
 ORDER BY m.position
"""
_JUDGING_SECONDS = 600.0
"""The rows of half a million messages are one statement, and every sixteenth of them has a long content to take the sum of."""
MANY = 5
"""Entries in hand that make a batch worth killing its worker for."""
LONG_FILE = 128 * 2**20
"""Bytes of Redis' file that take about a second to read."""


@dataclass
class Carriage:
    """The processes and servers, and what senders have written down."""

    stack: Stack
    db: Database
    redis: Redis
    redis_server: PrivateRedis
    postgres: PrivatePostgres
    said: Said = field(default_factory=Said)
    chance: random.Random = field(default_factory=lambda: random.Random(20251123))
    fired: Counter[str] = field(default_factory=Counter)
    """Faults that were injected."""
    in_hand: list[int] = field(default_factory=list)
    """How many entries each persistence-worker had in hand that was killed for them."""

    async def start(self, *, apis: int = 1, workers: int = 1) -> None:
        """Start so many of each, side by side."""
        await asyncio.gather(
            *(self.stack.start("persistence_worker") for _ in range(workers)),
            *(self.stack.start("api", port=claim()) for _ in range(apis)),
        )

    def senders(self, *, pause: float = 0.0, beat: float = 0.0, repeats: float = 0.05) -> Senders:
        """Senders to the apis that run now, and to those that take their places; so many of what they send they repeat."""
        urls = [api.url for api in self.stack.running("api")]
        return Senders(urls, self.said, self.chance, pause=pause, beat=beat, repeats=repeats)

    @contextlib.asynccontextmanager
    async def talking(
        self, conversations: int, *, pause: float = 0.02, beat: float = 0.0, repeats: float = 0.05
    ) -> AsyncIterator[None]:
        """So many conversations go on while the block runs; afterwards everything that was begun is accepted.

        Raises:
            ExceptionGroup: a message was not accepted; the block is broken off as soon as its sender has given up.
        """
        ended = asyncio.Event()
        async with self.senders(pause=pause, beat=beat, repeats=repeats) as senders, asyncio.TaskGroup() as group:
            group.create_task(senders.talk(conversations, ended))
            yield
            ended.set()

    async def more_accepted(self, count: int, *, within: float = 60.0) -> None:
        """Return when so many more messages are acknowledged."""
        enough = self.said.count + count
        await eventually(lambda: self.said.count >= enough, within=within)

    async def kill(self, kind: Kind) -> None:
        """Kill -9 one of a kind, whichever it is, and start it again at the same address."""
        await self._kill(self.chance.choice(self.stack.running(kind)))

    async def kill_with_a_batch_in_hand(self) -> None:
        """Kill -9 a persistence-worker that has many entries in hand, or whatever it has when that does not come soon."""
        victim = self.chance.choice(self.stack.running("persistence_worker"))
        with contextlib.suppress(AssertionError, RedisError):
            await eventually(lambda: self._has_in_hand(victim, MANY), within=2, every=0.005)
        await self._kill(victim)

    async def _kill(self, victim: Process) -> None:
        victim.kill()
        victim.destroy()  # now, and not after hundreds of others have had numbers
        self.fired[f"{victim.kind} killed"] += 1
        if victim.kind == "persistence_worker":
            with contextlib.suppress(RedisError):
                self.in_hand.append(await self._entries_of(victim))
        await self.stack.start(victim.kind, port=victim.port, metrics_port=victim.metrics_port)

    async def _has_in_hand(self, worker: Process, entries: int) -> bool:
        return await self._entries_of(worker) >= entries

    async def _entries_of(self, worker: Process) -> int:
        """How many entries were given to a worker and not settled; its name has its process id."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.xpending(names.stream(partition), names.GROUP)
            found = await pipe.execute(raise_on_error=False)
        holders = [each for one in found if isinstance(one, dict) for each in one["consumers"]]
        return sum(each["pending"] for each in holders if f":{worker.pid}_".encode() in each["name"])

    async def compact_redis(self) -> None:
        """Have Redis rewrite its file where that is long.

        It does so by itself once the file is twice what it was at its start, which one that is killed every few seconds never
        sees: each start would take longer than the one before, and at last all the time.
        """
        with contextlib.suppress(RedisError, AssertionError):
            if (await self.redis.info("persistence"))["aof_current_size"] > LONG_FILE:
                await self.redis.bgrewriteaof()
                await eventually(self._is_compact, within=30, every=0.2)

    async def _is_compact(self) -> bool:
        return not (await self.redis.info("persistence"))["aof_rewrite_in_progress"]

    async def kill_redis(self, *, away: float = 0.0, with_its_data: bool = False) -> None:
        """Kill -9 Redis, and start it again after a while, with its data or without."""
        await asyncio.to_thread(self.redis_server.kill, with_its_data=with_its_data)
        self.fired["redis emptied" if with_its_data else "redis killed"] += 1
        await asyncio.sleep(away)
        await asyncio.to_thread(self.redis_server.start)

    async def stop_postgres(self, *, away: float = 0.0) -> None:
        """End PostgreSQL by an immediate stop, the next time by kill -9, and start it again after a while."""
        is_killed = self.fired["postgres killed"] < self.fired["postgres stopped immediately"]
        how, end = ("killed", self.postgres.kill) if is_killed else ("stopped immediately", self.postgres.abort)
        await asyncio.to_thread(end)
        self.fired[f"postgres {how}"] += 1
        await asyncio.sleep(away)
        await asyncio.to_thread(self.postgres.start)

    async def judge(self, wanted: Mapping[str, int], *, may_lose: bool = False) -> MessageVerdict:
        """Wait until everything has come to rest, then judge the run.

        Args:
            wanted: how often each fault was to fire.
            may_lose: do not wait for rows whose messages may be nowhere.
        """
        with contextlib.suppress(AssertionError):  # what is left over is the verdict's to say
            await eventually(lambda: self._at_rest(0 if may_lose else self.said.count), within=QUIET_SECONDS, every=0.2)
        rows = [
            MessageRow(row["id"], row["conversationid"], row["clientmessageid"], row["content"])
            for row in await self.db.fetch(_ROWS)
        ]
        dead = await self.redis.xrange(names.DEAD_LETTERS)
        return judge_messages(
            self.said,
            rows,
            dead=map(str, dead),
            stuck=await unsettled(self.redis),
            fired=self.fired,
            wanted=wanted,
        )

    async def _at_rest(self, rows: int) -> bool:
        count = await self.db.fetchval("SELECT count(*) FROM messages")
        return count >= rows and await settled(self.redis)


@contextlib.asynccontextmanager
async def open_carriage(
    folder: Path, *, database_url: str, postgres: PrivatePostgres, redis_server: PrivateRedis
) -> AsyncIterator[Carriage]:
    """A carriage without processes yet, on a migrated database; what was started is ended with the block."""
    database = await Database.open(
        CommonSettings(database_url=Secret(database_url), statement_seconds=_JUDGING_SECONDS)
    )
    application = with_user(database_url, APPLICATION_ROLE)
    try:
        async with RedisClient.from_url(redis_server.url()) as redis:
            with open_stack(folder, database_url=application, redis_url=redis_server.url()) as stack:
                stack.environment |= _ENVIRONMENT
                yield Carriage(stack, database, redis, redis_server, postgres)
    finally:
        await database.close()


def assert_survived(verdict: MessageVerdict, carriage: Carriage) -> None:
    """Say what was found, and fail with the ends of the logs unless nothing is wrong."""
    print(f"\n{verdict}\n{carriage.said}; the slowest answer took {carriage.said.longest:.1f} s")
    assert verdict.passed, f"{verdict}\n{carriage.stack.logs()}"
