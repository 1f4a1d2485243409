"""Drain of a backlog from PostgreSQL into Redis: the relay process beside a bare loop of the same SQL and Redis work.

Rows are committed in one transaction while the subject stands ready; the clock runs from that commit to the last row's
`processed_at`. No worker takes jobs out. Subjects run in turns within each round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import median, spread
from benchmarks.support.tables import Table, verdict
from services.cli.stack import spawn
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually

TITLE = "Relay: drain of a backlog"
GOAL = 0.70
"""Least part of the bare loop's rate."""
BATCH = 2000
"""Rows of one claim of the bare loop: what the relay grows to."""

_SEED = """
INSERT INTO auth.users (id) VALUES ('00000000-0000-0000-0000-000000000012') ON CONFLICT DO NOTHING;
INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status)
VALUES ('00000000-0000-0000-0000-0000000000aa', 'Backlog', 'backlog', '00000000-0000-0000-0000-000000000012',
        '759ba851-3f16-4294-9627-dc5a0a366c8e', 'pending')
    ON CONFLICT DO NOTHING;
TRUNCATE job_outbox;
UPDATE relay_leadership SET heartbeat_at = NULL;
VACUUM ANALYZE relay_leadership;
CHECKPOINT;
"""
_ROWS = """
BEGIN;
INSERT INTO job_outbox (outbox_id, entity_id, queue_name, job_type, job_data, priority)
SELECT gen_random_uuid(), '00000000-0000-0000-0000-0000000000aa', 'course-generation', 'STRUCTURE_ANALYSIS',
       jsonb_build_object('courseId', '00000000-0000-0000-0000-0000000000aa', 'title', 'Course ' || n, 'style', 'academic'), 1
  FROM generate_series(1, {rows}) AS n;
COMMIT;
SELECT clock_timestamp();
NOTIFY outbox_wakeup;
"""


@dataclass(slots=True)
class Run:
    """One drain."""

    per_second: float
    own_microseconds: float
    """CPU time a row, of the subject's process."""
    postgres_microseconds: float
    redis_microseconds: float


Subject = Callable[[Grounds, int], AbstractAsyncContextManager[int]]
"""Starts a subject that is ready to drain so many rows; the context is its process id."""


@asynccontextmanager
async def relay(grounds: Grounds, _: int) -> AsyncIterator[int]:
    """The product's own process, without the high-water mark."""
    process = await grounds.stack.start("outbox_relay", env={"RELAY_HIGH_WATER": "0"})
    await eventually(lambda: grounds.sql("SELECT holder IS NOT NULL FROM relay_leadership") == "t")
    yield process.pid
    await process.stopped()


def bare(mode: str) -> Subject:
    """The bare loop, one stage after another or overlapped as the relay's."""

    @asynccontextmanager
    async def start(grounds: Grounds, rows: int) -> AsyncIterator[int]:
        grounds.sql("UPDATE relay_leadership SET epoch = 0")  # the epoch that the bare loop names
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs meanwhile
            [sys.executable, "-m", "benchmarks.bare_relay", mode, str(rows), str(BATCH)],
            cwd=REPOSITORY,
            env={**grounds.stack.environment, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        try:
            yield process.pid
        finally:
            process.stdout.close()
            spawn.kill_group(process.pid)
            process.wait()

    return start


SUBJECTS: dict[str, Subject] = {
    "relay": relay,
    "bare loop, overlapped": bare("overlapped"),
    "bare loop, one after another": bare("sequential"),
}


async def drain(grounds: Grounds, subject: Subject, rows: int) -> Run:
    """Have one subject drain `rows` rows."""
    grounds.sql(_SEED)
    await _empty_redis(grounds)
    async with subject(grounds, rows) as pid:
        before = _cpu(grounds, pid)
        committed = datetime.fromisoformat(grounds.sql(_ROWS.format(rows=rows)))
        inserting = _cpu(grounds, pid)[1] - before[1]
        await eventually(
            lambda: grounds.sql("SELECT NOT EXISTS (SELECT 1 FROM job_outbox WHERE processed_at IS NULL)") == "t",
            within=300,
            every=0.25,
        )
        spent = [after - start for start, after in zip(before, _cpu(grounds, pid), strict=True)]
    last = datetime.fromisoformat(grounds.sql("SELECT max(processed_at) FROM job_outbox"))
    seconds = (last - committed).total_seconds()
    micro = 1e6 / rows
    return Run(rows / seconds, spent[0] * micro, (spent[1] - inserting) * micro, spent[2] * micro)


def _cpu(grounds: Grounds, pid: int) -> tuple[float, float, float]:
    return usage.cpu_seconds(pid), usage.cpu_seconds(grounds.postgres.pid), usage.cpu_seconds(grounds.redis.pid)


async def _empty_redis(grounds: Grounds) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(grounds.redis_url) as client:
        await client.flushall()


async def measure(options: Options) -> Sequence[Table]:
    """Run every subject in turns and compare."""
    rows, rounds = options.choose(200_000, 50_000), options.choose(5, 2)
    runs: dict[str, list[Run]] = {name: [] for name in SUBJECTS}
    with open_grounds() as grounds:
        for _ in range(rounds):
            for name, subject in SUBJECTS.items():
                runs[name].append(await drain(grounds, subject, rows))
    return [_table(runs, rows, rounds)]


def _table(runs: dict[str, list[Run]], rows: int, rounds: int) -> Table:
    table = Table(TITLE, ["subject", "rows/s", "relay ÷ it", "goal", "", "CPU µs/row", "PostgreSQL", "Redis"])
    ours = runs["relay"]
    for name, found in runs.items():
        ratio = median([mine.per_second / other.per_second for mine, other in zip(ours, found, strict=True)])
        goal = ("", "") if name == "relay" else (f"≥ {GOAL:.2f}", verdict(ratio, GOAL, at_least=True))
        table.add(
            name,
            spread([run.per_second for run in found]),
            "" if name == "relay" else f"{ratio:.2f}",
            *goal,
            *(f"{median([getattr(run, field) for run in found]):.1f}" for field in
              ("own_microseconds", "postgres_microseconds", "redis_microseconds")),
        )  # fmt: skip
    table.notes.append(f"{rows:,} rows in one queue, {rounds} rounds, medians; load average at the end {load()}")
    table.notes.append(
        "PostgreSQL with fsync and full_page_writes on; marks of relay and bare loop alike do not wait for the disk "
        "(docs/decisions/0003); Redis without AOF; no workers"
    )
    return table


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
