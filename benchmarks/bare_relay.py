"""The yardstick of `relay_drain`: the relay's own SQL and Redis work in the barest loop, run as a process.

It claims, enqueues and marks with the same statements and the same script, in batches of the same size, and does nothing
else: no leader, no limits, no failures, no figures. It ends after as many rows as its argument says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import asyncpg
import redis.asyncio as aioredis
import uvloop

from services.kernel.queries import Queries
from services.kernel.queue.scripts import Script
from services.outbox_relay.outbox import multirange
from services.outbox_relay.relay import SESSION, collect_rarely

_SQL = Queries.load("services.outbox_relay", "outbox.sql")
_ENQUEUE = Script.read("enqueue")
_POSITION, _ID, _QUEUE, _BODY, _PRIORITY = 0, 1, 3, 5, 6
_CHUNK = 500
_NO_LIMIT = 2**31 - 1


class Bare:
    """Three statements and a script, on two sessions and one connection."""

    def __init__(self, claims: Any, marks: Any, client: Any, batch: int) -> None:
        self._claims = claims
        self._marks = marks
        self._client = client
        self._batch = batch

    async def claim(self, in_hand: Sequence[Any]) -> list[Any]:
        """The next rows that are not in hand."""
        positions = multirange(row[_POSITION] for row in in_hand)
        found: list[Any] = await self._claims.fetch(
            _SQL["claim_batch"], self._batch, [], [], [], _NO_LIMIT, positions, _NO_LIMIT, _NO_LIMIT, False
        )
        return found

    async def enqueue(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Put the rows into Redis."""
        if not rows:
            return rows
        pipe = self._client.pipeline(transaction=False)
        for queue, group in groupby(sorted(rows, key=itemgetter(_QUEUE)), key=itemgetter(_QUEUE)):
            members = list(group)
            for start in range(0, len(members), _CHUNK):
                pipe.execute_command("EVALSHA", _ENQUEUE.sha, 2, f"saq:{queue}", f"saq:job:{queue}:",
                                     *_arguments(queue, members[start : start + _CHUNK]))  # fmt: skip
        await pipe.execute()
        return rows

    async def mark(self, rows: Sequence[Any]) -> None:
        """Say that the rows are in Redis."""
        if rows:
            await self._marks.fetchrow(_SQL["mark_processed"], [row[_ID] for row in rows], 0)

    async def one_after_another(self, rows: int) -> None:
        """Claim, enqueue, mark, until so many rows are through."""
        while rows > 0:
            claimed = await self.claim([])
            await self.enqueue(claimed)
            await self.mark(claimed)
            rows -= len(claimed)

    async def overlapped(self, rows: int) -> None:
        """The three at the same time, on three batches."""
        claimed: Sequence[Any] = []
        sent: Sequence[Any] = []
        while rows > 0:
            rows -= len(sent)
            claimed, sent, _ = await asyncio.gather(
                self.claim([*claimed, *sent]), self.enqueue(claimed), self.mark(sent)
            )


def _arguments(queue: str, rows: Sequence[Any]) -> list[Any]:
    arguments: list[Any] = ["", f"{queue}:added", ""]
    for priority, group in groupby(rows, key=itemgetter(_PRIORITY)):
        arguments += (len(list(group)), priority)
    arguments.append(0)
    for row in rows:
        arguments += (f"saq:job:{queue}:{row[_ID]}", row[_BODY])
    return arguments


async def drain(mode: str, rows: int, batch: int) -> None:
    """Drain `rows` rows, beginning as soon as there are any."""
    collect_rarely()
    claims, marks = [await asyncpg.connect(os.environ["DATABASE_URL"], server_settings=SESSION) for _ in range(2)]
    client = aioredis.Redis.from_url(os.environ["REDIS_URL"])
    await client.script_load(_ENQUEUE.text)
    bare = Bare(claims, marks, client, batch)
    print("ready", flush=True)
    while not await bare.claim([]):  # noqa: ASYNC110 - rows come from another process
        await asyncio.sleep(0.005)
    await (bare.overlapped(rows) if mode == "overlapped" else bare.one_after_another(rows))
    await asyncio.gather(claims.close(), marks.close(), client.aclose())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["overlapped", "sequential"])
    parser.add_argument("rows", type=int)
    parser.add_argument("batch", type=int)
    asked = parser.parse_args()
    uvloop.run(drain(asked.mode, asked.rows, asked.batch))
