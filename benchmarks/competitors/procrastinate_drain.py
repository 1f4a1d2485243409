"""Procrastinate: one worker with concurrency 30 that ends when the queue is empty; it has no batched fetch.

Usage: python procrastinate_drain.py DATABASE_URL JOBS PAYLOAD; prints {"seconds": ...}.
"""

from __future__ import annotations

import json
import sys
import time

import procrastinate
import uvloop

CONCURRENCY = 30


async def main(url: str, jobs: int, payload: str) -> None:
    """Install, enqueue, drain."""
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=CONCURRENCY + 4)
    )

    @app.task(name="noop")
    async def noop(**_: object) -> None:
        return

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        arguments = json.loads(payload)
        for start in range(0, jobs, 1000):
            await noop.batch_defer_async(*[arguments] * min(1000, jobs - start))
        start_time = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=CONCURRENCY, install_signal_handlers=False)
        print(json.dumps({"seconds": time.perf_counter() - start_time}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
