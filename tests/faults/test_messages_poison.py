"""R10 for messages: one entry of a hundred is poison, and the others hardly notice; each that is lies among the dead letters.

The times are those between acceptance and row, with poison and without by turns in the same run.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
from collections import Counter
from dataclasses import replace

import pytest

from services.kernel.messages import names
from services.kernel.messages.envelope import encode
from tests.integration.persistence_worker.test_poison import REFUSE, UNREADABLE
from tests.support.carriage import Carriage
from tests.support.streamed import envelope, partition_of

IS_PROOF = bool(os.environ.get("PROVE_MESSAGES", "").strip())
ROUNDS, SECONDS, PER_SECOND = (6, 20.0, 200) if IS_PROOF else (2, 2.0, 60)
SHARE = 100 if IS_PROOF else 20
"""One entry of so many is poison."""
WORST_RATIO = 1.2
REFUSED = "refused by PostgreSQL"

_P95 = """
SELECT extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY persistedat - createdat))
  FROM messages WHERE createdat >= $1 AND createdat < $2
"""


class Poisoner:
    """Puts entries of every kind into the streams, one after the other, in conversations of their own."""

    def __init__(self, carriage: Carriage) -> None:
        self._carriage = carriage
        self._kinds = itertools.cycle([REFUSED, *UNREADABLE])
        self.given: Counter[str] = Counter()

    async def work(self) -> None:
        """Go on until it is cancelled."""
        while True:
            await self._carriage.more_accepted(SHARE - 1)
            await self._put(next(self._kinds))

    async def _put(self, kind: str) -> None:
        talk = f"poison-{self.given.total()}"
        body = encode(envelope(talk, "m", "poison")) if kind == REFUSED else UNREADABLE[kind]
        await self._carriage.redis.xadd(names.stream(partition_of(talk)), {"envelope": body})
        self.given[kind] += 1


@pytest.mark.no_second_try
async def test_one_percent_of_poison_is_hardly_noticed(carriage: Carriage) -> None:
    """p95 of the others at most 1.2 times what it is without (in the proof); no process ends, each bad one has its reason."""
    await carriage.db.execute(REFUSE)
    await carriage.start()
    poisoner = Poisoner(carriage)
    calm: list[float] = []
    poisoned: list[float] = []
    async with carriage.talking(PER_SECOND // 2, pause=0.5, repeats=0.0):
        await carriage.more_accepted(PER_SECOND)
        for _ in range(ROUNDS):
            calm.append(await _p95(carriage))
            poisoning = asyncio.create_task(poisoner.work())
            poisoned.append(await _p95(carriage))
            poisoning.cancel()
            await asyncio.gather(poisoning, return_exceptions=True)
    carriage.fired["poison"] = poisoner.given.total()
    verdict = await carriage.judge({"poison": len(UNREADABLE) + 1 if IS_PROOF else 1})

    reasons = Counter([fields[b"reason"].decode() for _, fields in await carriage.redis.xrange(names.DEAD_LETTERS)])
    with_it, without = statistics.median(poisoned), statistics.median(calm)
    print(
        f"\n{poisoner.given.total()} of {verdict.acknowledged + poisoner.given.total()} entries were poison; p95 from acceptance"
        f" to row {1000 * with_it:.1f} ms with it, {1000 * without:.1f} ms without: {with_it / without:.2f} times"
    )
    assert replace(verdict, dead={}).passed, f"{verdict}\n{carriage.stack.logs()}"
    assert reasons.total() == poisoner.given.total() > 0
    assert reasons["undecodable"] == poisoner.given.total() - poisoner.given[REFUSED]
    assert [each.exit_code for each in carriage.stack.processes] == [None, None]
    if IS_PROOF:
        assert with_it / without <= WORST_RATIO


async def _p95(carriage: Carriage) -> float:
    """Of the messages accepted in the next while, in seconds from acceptance to row."""
    begin = await carriage.db.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(SECONDS)
    end = await carriage.db.fetchval("SELECT clock_timestamp()")
    await carriage.more_accepted(PER_SECOND // 10)
    found = await carriage.db.fetchval(_P95, begin, end)
    assert found is not None
    return float(found)
