"""R1 for messages: apis, persistence-workers, Redis and PostgreSQL are killed at random, side by side, while everybody talks.

What was acknowledged is in the table, once, in the order of its conversation. Conversations speak at once, so that workers are
killed with many entries in hand. A few kills in `make test`; `make prove-messages SECONDS=900 RATE=600 COUNT=500000` goes on for
so long and until so many are acknowledged, with so many offered a second, and with half a million until each kind was killed as
often as R1 asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.support.carriage import MANY, Carriage, assert_survived


def _asked(name: str, otherwise: float) -> float:
    return float(os.environ.get(name, "").strip() or otherwise)


IS_PROOF = bool(os.environ.get("PROVE_MESSAGES", "").strip())
STORM_SECONDS = _asked("PROVE_MESSAGES", 10)
RATE = _asked("PROVE_MESSAGES_RATE", 100)
"""Messages offered a second: what a fault has kept back comes after it."""
COUNT = _asked("PROVE_MESSAGES_COUNT", 0)
"""Messages that are acknowledged at least."""
PACE = 5.0 if IS_PROOF else 1.0
"""How many times as long it is between two kills: every two seconds something dies then, and messages go on between."""
KINDS = ("api", "persistence_worker", "redis", "postgres")
BEAT_SECONDS = 0.5
CONVERSATIONS = round(RATE * BEAT_SECONDS)
IS_NIGHT = COUNT >= 500_000
"""Whether the run is the one that reliability.md R1 asks for."""
FEWEST = {"api": 90, "persistence_worker": 90, "redis": 80, "postgres": 50} if IS_NIGHT else dict.fromkeys(KINDS, 2)
"""Kills of each kind that come, however soon enough messages are acknowledged."""
WANTED = {"api": 50, "persistence_worker": 50, "redis": 50, "postgres": 20} if IS_NIGHT else FEWEST | {"postgres": 1}
"""Kills of each kind, and of PostgreSQL in each of two ways, without which a run proves nothing."""
ENOUGH = 10
"""Kills of workers among which one must have had a batch in hand: of three none may have."""
WANTED_IN_ALL = 300 if IS_NIGHT else sum(FEWEST.values())


class Weather:
    """Kills each kind in a time of its own, so that several are away at once."""

    def __init__(self, carriage: Carriage, over: asyncio.Event) -> None:
        self._carriage = carriage
        self._over = over

    async def rage(self) -> None:
        """Kill until it is over, and each kind at least a few times; everything runs again afterwards."""
        carriage = self._carriage
        async with asyncio.TaskGroup() as group:
            for kind, least, most, strike in (
                ("api", 0.5, 2.0, lambda: carriage.kill("api")),
                ("persistence_worker", 0.5, 2.0, carriage.kill_with_a_batch_in_hand),
                ("redis", 1.0, 3.0, self._kill_redis),
                ("postgres", 2.0, 4.0, lambda: carriage.stop_postgres(away=self._a_while())),
            ):
                group.create_task(self._again_and_again(FEWEST[kind], least, most, strike))

    async def _kill_redis(self) -> None:
        await self._carriage.compact_redis()
        await self._carriage.kill_redis(away=self._a_while())

    async def _again_and_again(
        self, fewest: int, least: float, most: float, strike: Callable[[], Awaitable[None]]
    ) -> None:
        struck = 0
        while struck < fewest or not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PACE * self._carriage.chance.uniform(least, most))
            if struck < fewest or not self._over.is_set():
                await strike()
                struck += 1

    def _a_while(self) -> float:
        return self._carriage.chance.uniform(0, 1)


async def _until_enough(carriage: Carriage, over: asyncio.Event) -> None:
    until = time.monotonic() + STORM_SECONDS
    for second in itertools.count(1):
        await asyncio.sleep(1)
        if second % 60 == 0:
            print(f"\n{second} s: {carriage.said}; {dict(carriage.fired)}", flush=True)
        if carriage.said.count >= COUNT and time.monotonic() >= until:
            break
    over.set()


@pytest.mark.no_second_try
async def test_messages_survive_whatever_is_killed(carriage: Carriage) -> None:
    """Lost 0, duplicate 0, out of order 0, stuck 0; one answer for each, and no dead letter (issue 7, Done when)."""
    await carriage.start(apis=2, workers=2)
    over = asyncio.Event()
    began = time.monotonic()
    async with carriage.talking(CONVERSATIONS, beat=BEAT_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(_until_enough(carriage, over))
        group.create_task(Weather(carriage, over).rage())
    seconds = time.monotonic() - began
    wanted = {f"{kind} killed": times for kind, times in WANTED.items()}
    verdict = await carriage.judge(wanted | {"postgres stopped immediately": WANTED["postgres"]})

    in_hand = sorted(carriage.in_hand)
    print(
        f"\n{carriage.said.count / seconds:.0f} acknowledged a second of {RATE:g} offered, for {seconds:.0f} s;"
        f" killed workers had up to {max(in_hand, default=0)} entries in hand,"
        f" {sum(each >= MANY for each in in_hand)} of {len(in_hand)} of them {MANY} or more"
    )
    assert_survived(verdict, carriage)
    assert verdict.fired.total() >= WANTED_IN_ALL
    assert verdict.acknowledged > max(CONVERSATIONS, COUNT - 1)
    if len(in_hand) >= ENOUGH:
        assert max(in_hand) >= MANY, "no worker was killed with a batch in hand"
