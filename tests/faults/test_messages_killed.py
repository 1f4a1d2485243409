"""One thing at a time is taken away from messages under load, between post and table: lost 0, duplicate 0, out of order 0."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.kernel.messages import names
from tests.faults.conftest import Trials
from tests.support.carriage import Carriage, assert_survived
from tests.support.servers import APPLICATION_ROLE, with_user
from tests.support.streamed import PARTITIONS
from tests.support.waiting import eventually
from tests.support.wire import wire_to

pytestmark = pytest.mark.no_second_try

CONVERSATIONS = 16
LONGEST_ANSWER_SECONDS = 10.0
"""Reliability.md, case 12: whoever is cut off from PostgreSQL waits no longer."""


async def test_killed_apis(carriage: Carriage, trials: Trials) -> None:
    """Kill -9 of one of two apis, again and again: its senders turn to the other, with the message they were not answered."""
    times = trials(3, full=60)
    await carriage.start(apis=2)
    async with carriage.talking(CONVERSATIONS):
        for _ in range(times):
            await carriage.more_accepted(50)
            await carriage.kill("api")
    verdict = await carriage.judge({"api killed": times})

    assert_survived(verdict, carriage)
    assert carriage.said.broken > 0


@pytest.mark.parametrize(
    ("durability", "point"), [("redis", "messages.after_enqueue"), ("postgres", "messages.after_insert")]
)
async def test_an_api_killed_before_it_answers(carriage: Carriage, durability: str, point: str) -> None:
    """Redis or PostgreSQL has the message, its sender has no answer: the repeat is told so, under the same id."""
    carriage.stack.environment["MESSAGES_DURABILITY"] = durability
    await carriage.stack.start("persistence_worker")
    doomed = await carriage.stack.start("api", faults=f"{point}=kill@10")
    async with carriage.talking(CONVERSATIONS):
        assert await doomed.ended(within=30) == -9
        await carriage.stack.start("api", port=doomed.port)
        await carriage.more_accepted(50)
    carriage.fired += carriage.stack.fired()
    verdict = await carriage.judge({f"{point} kill": 1})

    assert_survived(verdict, carriage)
    assert [each for each in carriage.said.told if carriage.said.new[each] == 0]


async def test_a_redis_that_is_killed_while_workers_run(carriage: Carriage, trials: Trials) -> None:
    """With `appendfsync always`: what was acknowledged, handed out or settled when it died is all there when it is back."""
    times = trials(3, full=60)
    await carriage.start(workers=2)
    async with carriage.talking(CONVERSATIONS):
        for number in range(times):
            await carriage.more_accepted(50)
            await carriage.kill_redis(away=0.2 * (number % 3))
    verdict = await carriage.judge({"redis killed": times})

    assert_survived(verdict, carriage)


async def test_with_postgresql_first_an_emptied_redis_costs_nothing(carriage: Carriage, trials: Trials) -> None:
    """`MESSAGES_DURABILITY=postgres` (R7): nobody is even turned away; a PostgreSQL that is ended loses nothing either."""
    times = trials(3, full=20)
    carriage.stack.environment["MESSAGES_DURABILITY"] = "postgres"
    await carriage.start()
    async with carriage.talking(CONVERSATIONS):
        for _ in range(times):
            await carriage.more_accepted(100)
            await carriage.kill_redis(away=0.5, with_its_data=True)
        turned_away = Counter(carriage.said.refused), carriage.said.broken
        for _ in range(times):
            await carriage.more_accepted(100)
            await carriage.stop_postgres(away=0.3)
    verdict = await carriage.judge({"redis emptied": times, "postgres stopped immediately": times // 2})

    assert_survived(verdict, carriage)
    assert turned_away == ({}, 0)
    assert [await carriage.redis.xlen(names.stream(number)) for number in range(PARTITIONS)] == [0] * PARTITIONS


@pytest.mark.parametrize("durability", ["redis", "postgres"])
async def test_a_postgresql_that_swallows_everything(
    carriage: Carriage, private_database_url: str, trials: Trials, durability: str
) -> None:
    """Black-holed for api and worker. The stream takes messages all the while; written at once, they are refused, and soon."""
    seconds = trials(6, full=60)
    carriage.stack.environment["MESSAGES_DURABILITY"] = durability
    async with wire_to(with_user(private_database_url, APPLICATION_ROLE)) as (wire, through):
        carriage.stack.environment["DATABASE_URL"] = through
        await carriage.start()
        async with carriage.talking(CONVERSATIONS):
            await carriage.more_accepted(100)
            wire.break_off()
            before = carriage.said.count
            await asyncio.sleep(seconds)
            meanwhile = carriage.said.count - before
            wire.mend()
            await carriage.more_accepted(100)
        carriage.fired["postgres black-holed"] += wire.swallowed > 0
        verdict = await carriage.judge({"postgres black-holed": 1})

        assert_survived(verdict, carriage)
    assert carriage.said.broken == 0
    assert carriage.said.longest < LONGEST_ANSWER_SECONDS
    if durability == "redis":
        assert carriage.said.refused == {}
        assert meanwhile > 100


class Meddler:
    """Puts every entry into its stream twice more, and claims what is pending for somebody who does nothing with it."""

    def __init__(self, carriage: Carriage) -> None:
        self.copied = 0
        self.claimed = 0
        self.over = asyncio.Event()
        self._redis = carriage.redis
        self._last: dict[str, bytes] = {}
        self._known: set[bytes] = set()

    async def meddle(self) -> None:
        """Go on until it is over, and once more then."""
        is_last = False
        while not is_last:
            is_last = self.over.is_set()
            for stream in map(names.stream, range(PARTITIONS)):
                await self._copy(stream)
                _, claimed, *_ = await self._redis.xautoclaim(stream, names.GROUP, "stranger", 0)
                self.claimed += len(claimed)

    async def _copy(self, stream: str) -> None:
        for entry_id, fields in await self._redis.xrange(stream, min=b"(" + self._last.get(stream, b"0-0")):
            self._last[stream] = entry_id
            if fields[b"envelope"] not in self._known:
                self._known.add(fields[b"envelope"])
                await self._redis.xadd(stream, fields)
                await self._redis.xadd(stream, fields)
                self.copied += 2


async def test_whatever_is_delivered_three_times_is_one_row(carriage: Carriage) -> None:
    """R8: each post three times; each entry twice more; what is in hand is claimed by a stranger, then read by an heir."""
    carriage.stack.environment["STREAM_KEEP_ENTRIES"] = "10000"  # nothing is cut off before it is copied
    await carriage.start()
    hanging = await carriage.stack.start("persistence_worker", faults="persistence.before_insert=hang@10")
    meddler = Meddler(carriage)
    meddling = asyncio.create_task(meddler.meddle())
    async with carriage.talking(CONVERSATIONS, pause=0.15):
        await eventually(lambda: carriage.stack.fired().total() and meddler.claimed, within=30)
        hanging.kill()
        await carriage.stack.start("persistence_worker")
        await carriage.more_accepted(200)
    meddler.over.set()
    await meddling
    async with carriage.senders() as senders:
        for client_id in list(carriage.said.asked):
            await asyncio.gather(senders.once_more(client_id), senders.once_more(client_id))
    carriage.fired += Counter({"entries copied": meddler.copied, "entries claimed": meddler.claimed})
    verdict = await carriage.judge({"entries copied": 2 * carriage.said.count, "entries claimed": 1})

    assert_survived(verdict, carriage)
    assert carriage.said.count >= 200
