"""The relay beside four PostgreSQL queues that fetch and complete no-op jobs of the same payload.

`python -m benchmarks.competitors` makes their environments at the first run (npm and pip), then measures in turns.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.competitors import environments
from benchmarks.relay_drain import drain, relay
from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import median, spread
from benchmarks.support.tables import Table, verdict

TITLE = "Relay beside other queues: jobs a second through one process"
GOAL = 3.0
"""Least multiple of the best competitor's rate."""
PAYLOAD = json.dumps(
    {
        "courseId": "00000000-0000-0000-0000-0000000000aa", "title": "Course 100000", "style": "academic",
        "jobType": "STRUCTURE_ANALYSIS", "outboxId": "00000000-0000-0000-0000-0000000000bb", "runNumber": 1, "priority": 1,
    }
)  # fmt: skip
"""What a job of the relay carries."""


@dataclass(frozen=True, slots=True)
class Competitor:
    """One queue: how it is run, and how many jobs make a run of some seconds."""

    name: str
    setting: str
    argv: Callable[[], list[str] | None]
    """None when it cannot run here."""
    jobs: tuple[int, int]
    """In a full run, in a quick one."""


def _node(script: str) -> Callable[[], list[str] | None]:
    def argv() -> list[str] | None:
        folder = environments.node_folder()
        return None if folder is None else ["node", str(folder / script)]

    return argv


def _python(name: str) -> Callable[[], list[str]]:
    return lambda: [str(environments.python_of(name)), str(Path(__file__).parent / f"{name}_drain.py")]


COMPETITORS = (
    Competitor("graphile-worker 0.17.3", "local queue 500, batched completion", _node("graphile_worker.mjs"), (100_000, 20_000)),
    Competitor("pg-boss 10.4.2", "fetch 500, complete 500, 2 loops", _node("pg_boss.mjs"), (100_000, 20_000)),
    Competitor("pgqueuer 1.6.0", "batch 200", _python("pgqueuer"), (50_000, 10_000)),
    Competitor("procrastinate 3.10.0", "concurrency 30", _python("procrastinate"), (5_000, 1_000)),
)  # fmt: skip


async def _rate(grounds: Grounds, argv: Sequence[str], jobs: int) -> float:
    """Jobs a second of one competitor, on a database of its own on the same server."""
    url = grounds.databases.create(migrated=False)
    grounds.sql("CHECKPOINT")
    try:
        output = await asyncio.to_thread(environments.run, [*argv, url, str(jobs), PAYLOAD], environments.HERE)
    finally:
        grounds.databases.drop(url)
    seconds: float = json.loads(output.strip().splitlines()[-1])["seconds"]
    return jobs / seconds


async def measure(options: Options) -> Sequence[Table]:
    """Everybody in turns, several rounds."""
    rounds, rows = options.choose(3, 1), options.choose(200_000, 50_000)
    commands = {each.name: each.argv() for each in COMPETITORS}
    ours: list[float] = []
    rates: dict[str, list[float]] = {each.name: [] for each in COMPETITORS}
    with open_grounds() as grounds:
        for _ in range(rounds):
            ours.append((await drain(grounds, relay, rows)).per_second)
            for each in COMPETITORS:
                command = commands[each.name]
                if command is not None:
                    jobs = options.choose(*each.jobs)
                    rates[each.name].append(await _rate(grounds, command, jobs))
        memory = usage.peak_megabytes(grounds.redis.pid)
    return [_table(ours, rates, rows, rounds, memory)]


def _table(ours: list[float], rates: dict[str, list[float]], rows: int, rounds: int, memory: float) -> Table:
    table = Table(TITLE, ["queue", "setting", "jobs/s", "relay ÷ it", "goal", ""])
    table.add("coursegen relay", "batch 500 to 2,000, to Redis", spread(ours), "", "", "")
    for each in COMPETITORS:
        found = rates[each.name]
        if not found:
            table.add(each.name, each.setting, "not run: no Node here", "", "", "")
            continue
        ratio = median(ours) / median(found)
        table.add(
            each.name, each.setting, spread(found), f"{ratio:.1f}", f"≥ {GOAL:g}", verdict(ratio, GOAL, at_least=True)
        )
    table.notes.append(
        f"{rows:,} rows of ours, fewer jobs of the slower ones; {rounds} rounds in turns, medians; one server, fsync on"
    )
    table.notes.append(f"Redis held {memory:.0f} MB at its peak; load average at the end {load()}")
    table.notes.append(
        "they run the job (a no-op) and complete it; the relay hands it to a Redis queue and marks its row"
    )
    return table


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
