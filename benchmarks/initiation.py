"""Beginning a run: the SQL function by pgbench, the command handler without HTTP, one api process over HTTP.

All three write the same rows for courses of their own, on the same servers, in turns within each round; what is quoted is
the median of the rounds, and the ratios are taken round by round.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.support import http_load, pgbench, usage
from benchmarks.support.cases import Options, main
from benchmarks.support.courses import Courses, course_id
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import Latencies, median, spread
from benchmarks.support.tables import Table, verdict
from services.kernel.commands import InitiationRequest
from services.kernel.concurrency import MOST, ConcurrencySettings, Limits, TierLimits
from services.kernel.concurrency.gate import Gate
from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.idempotency import ResultCache
from services.kernel.initiation import CommandHandler
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret
from services.kernel.wakeup import WakeUp
from tests.support import tokens
from tests.support.stack import Process
from tests.support.waiting import eventually

TITLE = "Initiation: the SQL function, the command handler, one api process"
CLIENTS = (1, 8, 32)
"""Calls under way at the same time."""
PARALLEL = 100
"""Clients at which the endpoint's latency goal holds."""
CALLS = {1: 800, 8: 2400, 32: 4800, PARALLEL: 6000}
"""Calls of each subject in one round, by clients."""
CALLS_QUICK = {1: 400, 8: 800, 32: 3200, PARALLEL: 4000}
ROUNDS = 9
"""Many short ones rather than few long ones: what else the machine does then falls on all subjects alike."""
GOALS = {"handler": 0.80, "api": 0.40}
"""Least part of pgbench's rate."""
FUNCTION_P95_MS = 50.0
ENDPOINT_P95_MS = 500.0


@dataclass(slots=True)
class Run:
    """One subject at one number of clients, once."""

    per_second: float
    milliseconds: list[float]
    cpu_microseconds: float
    """A call's, of the subject's own process; pgbench itself for the SQL function."""
    postgres_microseconds: float
    driver_microseconds: float = 0.0
    """A call's, of the load generator."""


@dataclass(slots=True)
class Subject:
    """All runs of one subject, by number of clients."""

    runs: dict[int, list[Run]] = field(default_factory=dict)

    def add(self, clients: int, run: Run) -> None:
        """Keep a run."""
        self.runs.setdefault(clients, []).append(run)

    def rates(self, clients: int) -> list[float]:
        """Calls a second, round by round."""
        return [run.per_second for run in self.runs[clients]]

    def latencies(self, clients: int) -> Latencies:
        """Of all rounds together."""
        return Latencies.of([value for run in self.runs[clients] for value in run.milliseconds])

    def typical(self, clients: int, name: str) -> float:
        """The median of one of a run's figures."""
        return float(median([getattr(run, name) for run in self.runs[clients]]))


class Arena:
    """The three subjects on the same grounds."""

    def __init__(self, grounds: Grounds, courses: Courses, handler: CommandHandler, api: Process) -> None:
        self._grounds = grounds
        self._courses = courses
        self._handler = handler
        self._api = api
        self._token = tokens.mint()

    async def function(self, clients: int, calls: int) -> Run:
        """The SQL function, called by pgbench."""
        sessions = len(usage.family(self._grounds.postgres.pid))
        own, server = _children_seconds(), self._postgres_seconds()
        result = await pgbench.initiate(self._grounds.app_url, self._courses, clients=clients, calls=calls)
        per_call = 1e6 / calls
        await self._back_to(sessions)
        own, server = _children_seconds() - own, self._postgres_seconds() - server
        return Run(result.per_second, result.milliseconds, own * per_call, server * per_call)

    async def handler(self, clients: int, calls: int) -> Run:
        """The command handler in this process, called by as many tasks."""
        self._grounds.free_slots()
        first = self._courses.take(calls)
        requests = iter([_request(number) for number in range(first, first + calls)])
        milliseconds: list[float] = []

        async def client() -> None:
            for request in requests:
                begun = time.perf_counter()
                await self._handler.initiate(request)
                milliseconds.append((time.perf_counter() - begun) * 1000)

        server, own, started = self._postgres_seconds(), time.process_time(), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds, own = time.perf_counter() - started, time.process_time() - own
        server = self._postgres_seconds() - server
        return Run(calls / seconds, milliseconds, own * 1e6 / calls, server * 1e6 / calls)

    async def api(self, clients: int, calls: int) -> Run:
        """One api process over HTTP."""
        self._grounds.free_slots()
        plan = http_load.Plan(
            port=self._api.port,
            token=self._token,
            connections=clients,
            requests=calls,
            first=self._courses.take(calls),
        )
        server, own = self._postgres_seconds(), usage.cpu_seconds(self._api.pid)
        result = await http_load.fire(plan)
        server, own = self._postgres_seconds() - server, usage.cpu_seconds(self._api.pid) - own
        assert result.statuses == {200: calls}, f"not all were accepted: {result.statuses}"
        per_call = 1e6 / calls
        return Run(
            result.per_second,
            result.milliseconds,
            own * per_call,
            server * per_call,
            result.cpu_seconds * per_call,
        )

    async def _back_to(self, sessions: int) -> None:
        """Wait until pgbench's sessions have ended: their time is read from the server process that has reaped them."""
        with contextlib.suppress(AssertionError):  # autovacuum may have started meanwhile
            await eventually(lambda: len(usage.family(self._grounds.postgres.pid)) <= sessions, within=1, every=0.02)

    def _postgres_seconds(self) -> float:
        return usage.cpu_seconds(self._grounds.postgres.pid)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _request(number: int) -> InitiationRequest:
    return InitiationRequest(
        course_id=course_id(number),
        user_id=tokens.USER,
        organization_id=tokens.ORGANIZATION,
        has_files=False,
        tier="STANDARD",
        priority=5,
        request_id=f"handler-{number}",
    )


@asynccontextmanager
async def open_handler(grounds: Grounds) -> AsyncIterator[CommandHandler]:
    """A command handler with all that the api gives it: Layer 1, the gate, counters, the wake-up."""
    settings = CommonSettings(database_url=Secret(grounds.app_url), redis_url=Secret(grounds.redis_url))
    db = await Database.open(settings, application="benchmark")
    redis = open_redis(
        settings.redis_url, name="benchmark", socket_timeout=0.2, connect_timeout=0.2, max_connections=16
    )
    bell = WakeUp(db)
    raised = ConcurrencySettings(concurrency_global_limit=MOST, concurrency_tier_limits=TierLimits.same(MOST))
    gate = Gate(db, redis, Limits(db, raised))
    await gate.open()
    async with Counters(db).writing() as counters:
        handler = CommandHandler(db, cache=ResultCache(redis), counters=counters, bell=bell, gate=gate)
        yield handler
        await handler.drain()
        await bell.drain()
    await redis.aclose()
    await db.close()


@asynccontextmanager
async def open_arena(courses: int) -> AsyncIterator[Arena]:
    """The three subjects on servers of their own."""
    with open_grounds() as grounds:
        prepared = Courses(grounds, courses)
        api = await grounds.stack.start("api", env={"LOG_FORMAT": "json"})
        async with open_handler(grounds) as handler:
            yield Arena(grounds, prepared, handler, api)


async def measure(options: Options) -> Sequence[Table]:
    """Rates, CPU a call and latencies of the three subjects."""
    rounds = options.choose(ROUNDS, 1)
    calls = CALLS_QUICK if options.quick else CALLS
    subjects = {"function": Subject(), "handler": Subject(), "api": Subject()}
    loads = [load()]
    async with open_arena((rounds + 1) * 3 * (sum(calls.values()) + 1000)) as arena:
        for subject in subjects:
            await getattr(arena, subject)(32, 1000)  # plans, caches, connections
        for number in range(rounds):
            for clients, count in calls.items():
                for name in _turn(list(subjects), number):
                    subjects[name].add(clients, await getattr(arena, name)(clients, count))
            loads.append(load())
    note = f"load average before, and after each of {rounds} rounds: {'; '.join(loads)}"
    return [_rates(subjects, note), _cpu(subjects), _latencies(subjects)]


def _turn(names: list[str], number: int) -> list[str]:
    """Another one first in each round."""
    shift = number % len(names)
    return names[shift:] + names[:shift]


def _rates(subjects: dict[str, Subject], note: str) -> Table:
    table = Table(
        "Initiations a second",
        (
            "clients",
            "SQL function (pgbench)",
            "command handler",
            "ratio",
            "goal 0.80",
            "api over HTTP",
            "ratio",
            "goal 0.40",
        ),
    )
    function = subjects["function"]
    for clients in (*CLIENTS, PARALLEL):
        row = [str(clients), spread(function.rates(clients))]
        for name in ("handler", "api"):
            rates = subjects[name].rates(clients)
            ratios = [mine / theirs for mine, theirs in zip(rates, function.rates(clients), strict=True)]
            judged = (name == "handler" and clients != PARALLEL) or clients == 32
            word = verdict(median(ratios), GOALS[name], at_least=True) if judged else "–"
            row += [spread(rates), spread(ratios, 2), word]
        table.add(*row)
    table.notes.append("median of the rounds (lowest–highest); ratio to the SQL function in the same round")
    table.notes.append(note)
    return table


def _cpu(subjects: dict[str, Subject]) -> Table:
    table = Table("CPU a call, µs", ("subject", "clients", "its own process", "PostgreSQL", "load generator"))
    for name, subject in subjects.items():
        for clients in (*CLIENTS, PARALLEL):
            figures = [
                f"{subject.typical(clients, each):,.0f}"
                for each in ("cpu_microseconds", "postgres_microseconds", "driver_microseconds")
            ]
            table.add(name, clients, *figures)
    table.notes.append(
        "own process: pgbench, this process, the api. The load generator of the first two is inside. PostgreSQL's of pgbench "
        "contains each new session's first call, some 6 ms"
    )
    return table


def _latencies(subjects: dict[str, Subject]) -> Table:
    table = Table("Latency, ms", ("subject", "clients", "calls", "p50", "p95", "p99", "worst", "goal of p95", ""))
    goals = {("function", each): FUNCTION_P95_MS for each in CLIENTS} | {("api", PARALLEL): ENDPOINT_P95_MS}
    for name, subject in subjects.items():
        for clients in (*CLIENTS, PARALLEL):
            found = subject.latencies(clients)
            goal = goals.get((name, clients))
            judged = ("–", "") if goal is None else (f"< {goal:.0f}", verdict(found.p95, goal, at_least=False))
            numbers = (f"{value:,.1f}" for value in (found.p50, found.p95, found.p99, found.worst))
            table.add(name, clients, found.count, *numbers, *judged)
    table.notes.append(
        "the api calls the function in batches, over a few sessions: its latency at 100 clients contains the function's, which "
        "over 100 sessions of their own mostly waits for one of the cores"
    )
    return table


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
