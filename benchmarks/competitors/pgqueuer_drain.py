"""PgQueuer: one queue manager that drains with a batch of 200; run by the Python of its own environment.

Usage: python pgqueuer_drain.py DATABASE_URL JOBS PAYLOAD; prints {"seconds": ...}.
"""

from __future__ import annotations

import json
import sys
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.types import QueueExecutionMode

BATCH = 200


async def main(url: str, jobs: int, payload: bytes) -> None:
    """Install, enqueue, drain."""
    async with asyncpg.create_pool(url, min_size=2, max_size=8) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        await queries.install()
        for start in range(0, jobs, 5000):
            count = min(5000, jobs - start)
            await queries.enqueue(["noop"] * count, [payload] * count, [0] * count)
        queue = PgQueuer.from_asyncpg_pool(pool)

        @queue.entrypoint("noop")
        async def noop(_: object) -> None:
            return

        start_time = time.perf_counter()
        await queue.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
        print(json.dumps({"seconds": time.perf_counter() - start_time}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()))
