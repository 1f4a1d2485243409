"""The orchestrator as a whole: ten users of all tiers, for two minutes, while workers, api and Redis are killed at random.

At the end every accepted course has finished once, every counter equals the truth, every webhook has arrived under one
identifier, nobody has seen another's course, and jobs start in the order of their priorities.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.cli.stack import ports
from services.kernel.database import Database
from tests.support import plugin
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, come_to_rest, judge
from tests.support.mailbox import Letter, Mailbox, open_mailbox
from tests.support.people import LIMITS, PRIORITIES, TIERS, Crowd
from tests.support.ports import claim
from tests.support.servers import PrivateRedis
from tests.support.stack import Stack, open_stack
from tests.support.waiting import eventually

STORM_SECONDS = float(os.environ.get("STORM_SECONDS", "120"))
GLOBAL_LIMIT = 12
"""Below the sum of what the ten may have at once (32), so that both limits are met."""
SETTLE_SECONDS = 90.0
PATIENCE = 10
"""After so many picks over its head a waiting job of lower priority is taken once (the ageing of the queue)."""


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, private_redis: PrivateRedis) -> Iterator[Stack]:
    """Processes with the product's own limits per tier, on a Redis that may be killed."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=private_redis.url()) as opened:
        opened.environment |= {
            "ENGINE": "instant",
            "STAGE_WORKER_PLUGINS": plugin.NAME,
            "INSTANT_SECONDS": "0.3",
            "RELAY_RECONCILE_SECONDS": "1",
            "CONCURRENCY_GLOBAL_LIMIT": str(GLOBAL_LIMIT),
            "CONCURRENCY_TIER_LIMITS": ",".join(f"{tier}={slots}" for tier, slots in LIMITS.items()),
            "WEBHOOK_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        yield opened


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """Where the webhooks go."""
    async with open_mailbox() as opened:
        yield opened


class Weather:
    """Kills what it finds, at random, and starts it again."""

    def __init__(self, stack: Stack, redis: PrivateRedis, api_port: int, chance: random.Random) -> None:
        self.killed: Counter[str] = Counter()
        self._stack = stack
        self._redis = redis
        self._api_port = api_port
        self._chance = chance

    async def rage(self, until: asyncio.Event) -> None:
        """Kill something every few seconds; every kind at least once."""
        kinds: list[Callable[[], Any]] = [self._worker, self._api, self._redis_emptied, self._redis_stopped]
        self._chance.shuffle(kinds)
        while not until.is_set():
            await asyncio.sleep(self._chance.uniform(3, 7))
            await (
                kinds.pop()
                if kinds
                else self._chance.choice((self._worker, self._worker, self._api, self._redis_emptied))
            )()

    async def _worker(self) -> None:
        self._chance.choice(self._stack.running("stage_worker")).kill()
        self.killed["worker"] += 1
        await self._stack.start("stage_worker")

    async def _api(self) -> None:
        self._stack.running("api")[0].kill()
        self.killed["api"] += 1
        await self._stack.start("api", port=self._api_port)

    async def _redis_emptied(self) -> None:
        await asyncio.to_thread(self._redis.kill, with_its_data=True)
        self.killed["redis"] += 1
        await asyncio.sleep(self._chance.uniform(0.2, 2))
        await asyncio.to_thread(self._redis.start)

    async def _redis_stopped(self) -> None:
        self._redis.pause()
        self.killed["redis frozen"] += 1
        await asyncio.sleep(2)
        self._redis.resume()


@pytest.mark.timeout(600)
async def test_ten_users_of_all_tiers_for_two_minutes_with_random_kills(
    stack: Stack, db: Database, private_redis: PrivateRedis, mailbox: Mailbox, tmp_path: Path
) -> None:
    """What the orchestrator promises holds while everything around it dies (Done when, of the whole part)."""
    chance = random.Random(20251020)
    journal = Journal(tmp_path / "journal.jsonl")
    port = claim()
    await asyncio.gather(stack.start("api", port=port), stack.start_all("outbox_relay", "stage_worker", "stage_worker"))
    weather = Weather(stack, private_redis, port, chance)
    async with Crowd(f"http://{ports.LOOPBACK}:{port}", journal, hook=mailbox.url, chance=chance) as crowd:
        secrets = await show_secrets(crowd)
        over = await storm(crowd, weather, db)
        await come_to_rest(db, within=SETTLE_SECONDS)
        proof = {f"{kind} killed": times for kind, times in weather.killed.items()}
        verdict = await judge(db, journal, stack, dict.fromkeys(proof, 1), also_fired=proof)

        assert_passed(verdict, stack)
        assert {"worker", "api", "redis"} <= set(weather.killed), weather.killed
        assert over == [], "more at once than a tier or the system may have"
        assert_well_treated(crowd)
        await assert_each_finished_once(db, crowd)
        await assert_counters_are_true(db, private_redis)
        await assert_every_webhook_arrived(crowd, mailbox, secrets)
        await assert_starts_obey_priorities(stack, db, crowd)


async def show_secrets(crowd: Crowd) -> dict[str, bytes]:
    """Each organisation's webhook secret, as it is shown this once."""
    secrets = {}
    for person in crowd.people:
        answer = await crowd.client.post("/api/webhooks/secret", headers=person.headers)
        assert answer.status_code in {200, 201}, answer.text
        secrets[person.name] = base64.b64decode(answer.json()["secret"].removeprefix("whsec_"))
    return secrets


async def storm(crowd: Crowd, weather: Weather, db: Database) -> list[str]:
    """Let everybody live and the weather rage; what was seen to run beyond the limits."""
    over = asyncio.Event()
    seen: list[str] = []

    async def end() -> None:
        await asyncio.sleep(STORM_SECONDS)
        over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(end())
        group.create_task(weather.rage(over))
        group.create_task(_watch_limits(crowd, db, over, seen))
        for person in crowd.people:
            group.create_task(crowd.live(person, over))
    return seen


_RUNNING = """
SELECT user_id, count(*)::int AS courses FROM courses
 WHERE generation_status >= 'stage_2_init' AND generation_status <= 'stage_5_complete' GROUP BY user_id
"""


async def _watch_limits(crowd: Crowd, db: Database, until: asyncio.Event, seen: list[str]) -> None:
    people = {person.id: person for person in crowd.people}
    while not until.is_set():
        running = {people[row["user_id"]]: row["courses"] for row in await db.fetch(_RUNNING)}
        seen += [f"{person.name}: {n}" for person, n in running.items() if n > LIMITS[person.tier]]
        if sum(running.values()) > GLOBAL_LIMIT:
            seen.append(f"all: {sum(running.values())}")
        await asyncio.sleep(0.2)


def assert_well_treated(crowd: Crowd) -> None:
    """Everybody got courses, was refused for a true reason, and saw nothing of the others."""
    for person in crowd.people:
        assert person.courses, f"{person.name} got no course; {crowd.answered}"
        assert person.surprises == []
        assert person.leaks == []
        for details in person.refused:
            assert details["tier"] == person.tier
            limit = LIMITS[person.tier] if details["limitType"] == "user" else GLOBAL_LIMIT
            assert (details["limit"], details["limitType"] in {"user", "global"}) == (limit, True)
    peeks = sum((person.peeks for person in crowd.people), Counter())
    assert peeks[403] > 20
    assert set(peeks) <= {403, 500, 503}
    assert {details["limitType"] for person in crowd.people for details in person.refused} == {"user", "global"}


async def assert_each_finished_once(db: Database, crowd: Crowd) -> None:
    """Every accepted course is completed, in its first run, with one result; nothing else was made."""
    rows = await db.fetch("SELECT id, user_id, generation_status::text AS state, run_number FROM courses")
    accepted = {course: person.id for person, course, _ in crowd.owners}
    assert {row["id"]: row["user_id"] for row in rows} == accepted
    assert {(row["state"], row["run_number"]) for row in rows} == {("completed", 1)}
    results = await db.fetch("SELECT course_id FROM course_results")
    assert sorted(row["course_id"] for row in results) == sorted(accepted)
    hits = await db.fetchval("SELECT count(*) FROM system_metrics WHERE event_type = 'concurrency_limit_hit'")
    assert hits >= sum(len(person.refused) for person in crowd.people)


async def assert_counters_are_true(db: Database, server: PrivateRedis) -> None:
    """With nothing under way, every counter stands at nothing."""

    async def at_rest() -> bool:
        async with Redis.from_url(server.url()) as redis:
            with contextlib.suppress(RedisError):
                names = [b"concurrency:global", *await redis.keys("concurrency:user:*")]
                return all(int(value or 0) == 0 for value in await redis.mget(names))
        return False

    assert await db.fetch(_RUNNING) == []
    await eventually(at_rest, within=30, every=0.2)


async def assert_every_webhook_arrived(crowd: Crowd, mailbox: Mailbox, secrets: dict[str, bytes]) -> None:
    """One identifier for each course, at least one delivery, signed for its owner."""
    owners = {str(course): person for person, course, _ in crowd.owners}
    await eventually(lambda: set(mailbox.by_course()) == set(owners), within=SETTLE_SECONDS, every=0.3)
    for course, letters in mailbox.by_course().items():
        assert len({letter.id for letter in letters}) == 1
        assert len({letter.body for letter in letters}) == 1
        for letter in letters:
            assert is_signed(letter, secrets[owners[course].name])
    ids = Counter(letters[0].id for letters in mailbox.by_course().values())
    assert set(ids.values()) == {1}


def is_signed(letter: Letter, secret: bytes) -> bool:
    """Whether one of the letter's signatures is of this secret (Standard Webhooks 1.0, written out once more)."""
    content = f"{letter.id}.{letter.headers['webhook-timestamp']}.".encode() + letter.body
    expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in letter.headers["webhook-signature"].split(" ")


async def assert_starts_obey_priorities(stack: Stack, db: Database, crowd: Crowd) -> None:
    """With the worker away and everything waiting, a single slot takes the jobs by priority, and forgets none."""
    for worker in stack.running("stage_worker"):
        assert await worker.stopped() == 0
    await db.execute(
        "INSERT INTO concurrency_limits (scope, slots) SELECT * FROM unnest($1::text[], $2::int[])"
        " ON CONFLICT (scope) DO UPDATE SET slots = excluded.slots",
        ["global", *TIERS],
        [100] * 6,
    )
    await asyncio.sleep(2.5)  # every api looks once a second
    low_first = sorted(crowd.people, key=lambda person: PRIORITIES[person.tier])
    ordered = [await crowd.order(person) for person in low_first for _ in range(3)]

    async def in_redis() -> bool:
        return not await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL")

    await eventually(in_redis, within=20)
    worker = await stack.start("stage_worker", env={"STAGE_WORKER_CONCURRENCY": "1"})
    await come_to_rest(db, within=SETTLE_SECONDS)
    starts = await db.fetch(
        "SELECT c.priority FROM fsm_events AS e JOIN courses AS c ON c.id = e.entity_id"
        " WHERE e.new_state = 'stage_4_analyzing' AND c.id = ANY ($1::uuid[]) ORDER BY e.position",
        ordered,
    )
    priorities = [row["priority"] for row in starts]
    assert len(priorities) == len(ordered), worker.tail()
    assert exceptions(priorities) <= len(priorities) // PATIENCE, priorities
    assert priorities[-1] == PRIORITIES["FREE"]


def exceptions(priorities: list[int]) -> int:
    """How many jobs started although one of a higher priority was waiting (all were there from the beginning)."""
    return sum(priority < max(priorities[place:]) for place, priority in enumerate(priorities))
