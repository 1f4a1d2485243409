"""Ten load balancers that ask every second for one of the `metrics.*` routes or the relay's health: what that costs of a core.

The CPU time of the api, of PostgreSQL and of Redis, with the balancers less without them, over the same time. Each balancer
keeps its connection, as they do, and they ask at different moments of the second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.courses import Courses
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.tables import Table, verdict
from services.cli.stack.ports import LOOPBACK
from tests.support.stack import Process

TITLE = "Ten load balancers that ask every second"
BALANCERS: Final = 10
PERIOD_SECONDS: Final = 1.0
GOAL_PERCENT: Final = 1.0
"""Of one core."""
_ALL: Final = "/api/trpc/metrics.getAll"
_ASKED: Final = (
    ("/api/trpc/metrics.healthCheck", "*/*"),
    (_ALL, "*/*"),
    (_ALL, "text/plain"),
    ("/api/trpc/metrics.getFSM", "*/*"),
    ("/api/trpc/metrics.getOutbox", "*/*"),
    ("/api/trpc/metrics.getFallbacks", "*/*"),
    ("/api/health/outbox", "*/*"),
)
"""What they ask for: a path, and what they accept."""
_DEEP: Final = 100_000
_SETTLE_SECONDS: Final = 10.0
_FILL = """
INSERT INTO job_outbox (entity_id, queue_name, job_type)
SELECT id, 'test-queue', 'WORK' FROM (SELECT id FROM courses LIMIT 1) AS one, generate_series(1, {rows});
UPDATE relay_leadership SET holder = 'benchmark', epoch = 1, heartbeat_at = now() + interval '1 hour',
       last_progress_at = now() + interval '1 hour';
"""
_USED = """
INSERT INTO metric_values (name, label, bucket, value, updated_at)
SELECT name, '', bucket, 10, now()
  FROM unnest(ARRAY['fsm_duration', 'outbox_batch_duration', 'fallback_duration']) AS name, generate_series(40, 120) AS bucket
ON CONFLICT DO NOTHING
"""
"""Counters as a system has them that has been used: a bucket for each duration from half a millisecond to a second."""


@dataclass(frozen=True, slots=True)
class _Scene:
    grounds: Grounds
    api: Process

    def cpu(self) -> tuple[float, float]:
        """CPU seconds so far of the api, and of the servers behind it."""
        behind = usage.cpu_seconds(self.grounds.postgres.pid, self.grounds.redis.pid)
        return usage.cpu_seconds(self.api.pid), behind


@asynccontextmanager
async def _open_scene() -> AsyncIterator[_Scene]:
    with open_grounds() as grounds:
        Courses(grounds, 1)
        grounds.sql(_USED)
        grounds.sql(_FILL.format(rows=0))
        yield _Scene(grounds, await grounds.stack.start("api", env={"LOG_LEVEL": "warning"}))


async def _ask(scene: _Scene, path: str, accept: str, first: float, seconds: float, seen: Counter[int]) -> None:
    """One balancer: its first question after `first` seconds, then one every second."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(LOOPBACK, scene.api.port)
    due, end = loop.time() + first, loop.time() + seconds
    while due < end:
        await asyncio.sleep(due - loop.time())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        seen[int(head.split(b" ", 2)[1])] += 1
        due += PERIOD_SECONDS
    writer.close()


async def _spent(scene: _Scene, asked: tuple[str, str] | None, seconds: float) -> tuple[float, float, Counter[int]]:
    """Percent of a core that the api and the servers behind it took, and the answers."""
    seen: Counter[int] = Counter()
    before = scene.cpu()
    if asked is None:
        await asyncio.sleep(seconds)
    else:
        places = [number * PERIOD_SECONDS / BALANCERS for number in range(BALANCERS)]
        await asyncio.gather(*(_ask(scene, *asked, place, seconds, seen) for place in places))
    after = scene.cpu()
    api, behind = ((late - early) / seconds * 100 for early, late in zip(before, after, strict=True))
    return api, behind, seen


async def measure(options: Options) -> Sequence[Table]:
    """Idle, then asked: with an empty outbox, and with one in which a hundred thousand rows wait."""
    seconds = float(options.choose(60, 10))
    table = Table(
        f"{BALANCERS} callers, one question a second each",
        (
            "what they ask for",
            "outbox rows waiting",
            "api %",
            "PostgreSQL and Redis %",
            "of a core %",
            "goal",
            "answers",
        ),
    )
    async with _open_scene() as scene:
        for rows in (0, _DEEP):
            if rows:
                scene.grounds.sql(_FILL.format(rows=rows))
                scene.grounds.sql("VACUUM ANALYZE job_outbox")
                scene.grounds.sql("CHECKPOINT")  # else the idle time pays for it, and is taken off
                await asyncio.sleep(_SETTLE_SECONDS)
            idle = await _spent(scene, None, seconds)
            for path, accept in _ASKED:
                spent = await _spent(scene, (path, accept), seconds)
                api, behind = spent[0] - idle[0], spent[1] - idle[1]
                table.add(
                    path.rpartition(".")[2] + (" as text" if accept == "text/plain" else ""),
                    f"{rows:,}",
                    f"{api:.2f}",
                    f"{behind:.2f}",
                    f"{api + behind:.2f}",
                    verdict(api + behind, GOAL_PERCENT, at_least=False),
                    ", ".join(f"{many} × {status}" for status, many in sorted(spent[2].items())),
                )
    table.notes.append(f"{seconds:g} s each; what all of it takes when nobody asks is taken off")
    table.notes.append(f"load average afterwards: {load()}")
    return [table]


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
