"""R1 for messages: apis, persistence-workers, Redis and PostgreSQL are killed at random, side by side, while everybody talks.

What was acknowledged is in the table, once, in the order of its conversation. A few kills in `make test`;
`make prove-messages SECONDS=900` goes on for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import pytest

from tests.support.carriage import Carriage, assert_survived

STORM_SECONDS = float(os.environ.get("PROVE_MESSAGES", "").strip() or 10)
CONVERSATIONS = 24
FEWEST = 2
"""Kills of each kind without which a run proves nothing."""


class Weather:
    """Kills each kind in a time of its own, so that several are away at once."""

    def __init__(self, carriage: Carriage, over: asyncio.Event) -> None:
        self._carriage = carriage
        self._over = over

    async def rage(self) -> None:
        """Kill until it is over, and each kind at least a few times; everything runs again afterwards."""
        carriage = self._carriage
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(0.5, 2.0, lambda: carriage.kill("api")))
            group.create_task(self._again_and_again(0.5, 2.0, lambda: carriage.kill("persistence_worker")))
            group.create_task(self._again_and_again(1.0, 3.0, lambda: carriage.kill_redis(away=self._a_while())))
            group.create_task(self._again_and_again(2.0, 4.0, lambda: carriage.stop_postgres(away=self._a_while())))

    async def _again_and_again(self, least: float, most: float, strike: Callable[[], Awaitable[None]]) -> None:
        struck = 0
        while struck < FEWEST or not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._carriage.chance.uniform(least, most))
            if struck < FEWEST or not self._over.is_set():
                await strike()
                struck += 1

    def _a_while(self) -> float:
        return self._carriage.chance.uniform(0, 1)


@pytest.mark.no_second_try
async def test_messages_survive_whatever_is_killed(carriage: Carriage) -> None:
    """Lost 0, duplicate 0, out of order 0; one answer for each message, and no dead letter (issue 7, Done when)."""
    await carriage.start(apis=2, workers=2)
    over = asyncio.Event()
    async with carriage.talking(CONVERSATIONS):
        asyncio.get_running_loop().call_later(STORM_SECONDS, over.set)
        await Weather(carriage, over).rage()
    wanted = {"api killed": FEWEST, "persistence_worker killed": FEWEST, "redis killed": FEWEST}
    verdict = await carriage.judge(wanted | {"postgres killed": 1, "postgres stopped immediately": 1})

    assert_survived(verdict, carriage)
    assert verdict.acknowledged > CONVERSATIONS * 5
