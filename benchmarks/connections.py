"""A thousand open connections to one api process: most of them idle, then all of them busy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.support import http_load, usage
from benchmarks.support.cases import Options, main
from benchmarks.support.courses import Courses
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import Latencies
from benchmarks.support.tables import Table, verdict
from tests.support import tokens
from tests.support.stack import Process

TITLE = "A thousand open connections to one api process"
CONNECTIONS = 1000
ACTIVE = 100
P95_MS = 500.0
"""Goal for the active ones while the others are open."""


@dataclass(frozen=True, slots=True)
class _Scene:
    grounds: Grounds
    api: Process
    courses: Courses

    async def fire(self, *, active: int, idle: int, requests: int) -> http_load.Result:
        self.grounds.free_slots()
        return await http_load.fire(
            http_load.Plan(
                port=self.api.port,
                token=tokens.mint(),
                connections=active,
                requests=requests,
                first=self.courses.take(requests),
                idle=idle,
            )
        )


@asynccontextmanager
async def _open_scene(courses: int) -> AsyncIterator[_Scene]:
    with open_grounds() as grounds:
        prepared = Courses(grounds, courses)
        # Idle connections are to stay open for the whole measurement, however slow the machine.
        api = await grounds.stack.start("api", env={"KEEP_ALIVE_SECONDS": "300", "LOG_FORMAT": "json"})
        yield _Scene(grounds, api, prepared)


async def measure(options: Options) -> Sequence[Table]:
    """Latency and memory with few, with many idle, and with many busy connections."""
    requests = options.choose(8000, 1500)
    table = Table(
        "Connections held by one api process",
        (
            "open connections",
            "requests/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "goal p95",
            "failed",
            "peak MB",
            "idle ones answered again",
            "p95 ms of those",
        ),
    )
    async with _open_scene(3 * requests + 1000) as scene:
        await scene.fire(active=ACTIVE, idle=0, requests=1000)
        for active, idle in ((ACTIVE, 0), (ACTIVE, CONNECTIONS - ACTIVE), (CONNECTIONS, 0)):
            usage.reset_peak(scene.api.pid)
            result = await scene.fire(active=active, idle=idle, requests=requests)
            table.add(*_row(active, idle, requests, result, usage.peak_megabytes(scene.api.pid)))
    table.notes.append(
        "each request initiates a course of its own; peak = highest resident memory of the api process meanwhile"
    )
    table.notes.append(f"load average afterwards: {load()}")
    return [table]


def _row(active: int, idle: int, requests: int, result: http_load.Result, peak: float) -> Sequence[object]:
    found = Latencies.of(result.milliseconds)
    answered = f"{result.idle_statuses.get(200, 0)} of {idle}" if idle else "–"
    again = f"{Latencies.of(result.idle_milliseconds).p95:.1f}" if result.idle_milliseconds else "–"
    return (
        f"{active} busy, {idle} idle",
        f"{result.per_second:,.0f}",
        *(f"{value:,.1f}" for value in (found.p50, found.p95, found.p99)),
        verdict(found.p95, P95_MS, at_least=False) if active == ACTIVE else "–",
        requests - result.statuses.get(200, 0),
        f"{peak:.0f}",
        answered,
        again,
    )


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
