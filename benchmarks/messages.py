"""Messages: the load test of the specification, the highest rate that is held, and both ends beside bare loops.

One api process, one persistence-worker, PostgreSQL and Redis with `appendfsync always`, and the load generator, all on this
machine. The lag is the sum of all partitions, looked at twenty times a second. In the second half the ends take turns with
their bare loops (`benchmarks.bare_messages`) within each round: the entrance beside XADD, the worker beside XREADGROUP and COPY,
and both together beside both loops together.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from benchmarks.bare_messages import envelope
from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.message_load import Plan, Result, post
from benchmarks.support.samples import Latencies, median, spread
from benchmarks.support.tables import Table, verdict
from services.cli.stack import spawn
from services.kernel.messages import names
from services.kernel.messages.accepting import StreamEntrance, Submission
from tests.support.servers import REPOSITORY
from tests.support.stack import Process
from tests.support.waiting import eventually

TITLE = "Messages: load test, highest rate, and the ends beside bare loops"
PHASES = ((100.0, 60.0), (500.0, 300.0))
"""Posts a second and seconds (contract.md t): 156,000 in all."""
PHASES_QUICK = ((100.0, 5.0), (500.0, 10.0))
MOST_LAG, AIM_LAG = 1000, 100
P95_MS, AIM_P95_MS = 100.0, 10.0
STEP = 250.0
FIRST_RATE, LAST_RATE = 1000.0, 8000.0
STEP_SECONDS = 10.0
"""Of each rate that is tried."""
RATE_GOAL = 3000.0
RATIO_GOAL = 0.60
KEPT_UP = 0.98
"""Least part of the rate that was asked for: below it the answers do not keep up."""
PARTITIONS = 16
ROUNDS = 5
BATCH = 256
"""Messages that the api accepts at a time when it has much to do."""
_REDIS = {"appendonly": "yes", "appendfsync": "always", "auto-aof-rewrite-percentage": "0"}
_BARE_DATABASE = 5
_SECONDS = 300.0


@dataclass(slots=True)
class Scene:
    """The processes, and what they did."""

    grounds: Grounds
    api: Process
    worker: Process
    streams: Redis
    runs: int = 0

    async def lag(self) -> int:
        """Messages that were accepted and have no row yet, of all partitions."""
        return await self._counted(names.ENQUEUED) - await self._counted(names.SETTLED)

    async def settled(self) -> int:
        """Messages that the worker is done with."""
        return await self._counted(names.SETTLED)

    async def _counted(self, what: str) -> int:
        async with self.streams.pipeline(transaction=False) as pipe:
            for partition in range(PARTITIONS):
                pipe.hget(names.count(partition), what)
            return sum(int(each or 0) for each in await pipe.execute())

    def new_run(self) -> str:
        """A name that no message has had yet."""
        self.runs += 1
        return f"run-{self.runs}"

    def rows(self) -> int:
        """In the table."""
        return int(self.grounds.sql("SELECT count(*) FROM messages"))

    def clear(self) -> None:
        """Empty the table."""
        self.grounds.sql("TRUNCATE messages CASCADE; CHECKPOINT")


@dataclass(slots=True)
class Load:
    """One plan carried out."""

    plan: Plan
    result: Result
    lags: list[int]
    drained_seconds: float
    """From the last answer until every message had its row."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Of one core, by process."""

    @property
    def is_held(self) -> bool:
        """Everything accepted, in time, and persisted as fast as it came."""
        return (
            self.result.statuses == {202: self.plan.posts}
            and self.result.per_second >= KEPT_UP * self.plan.per_second
            and max(self.lags) < MOST_LAG
        )


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    """Servers and one process of each kind."""
    with open_grounds(redis_options=_REDIS) as grounds:
        environment = {"MESSAGES_REQUIRE_TOKEN": "false", "STREAM_LEASE_SECONDS": "600"}
        api = await grounds.stack.start("api", env=environment)
        worker = await grounds.stack.start("persistence_worker", env=environment)
        async with Redis.from_url(grounds.redis_url) as streams:
            scene = Scene(grounds, api, worker, streams)
            await carry_out(scene, Plan(port=api.port, run=scene.new_run(), per_second=300, seconds=3))  # plans, caches
            yield scene


async def carry_out(scene: Scene, plan: Plan) -> Load:
    """Post, watch the lag, and wait until all is persisted."""
    pids = {
        "api": scene.api.pid,
        "worker": scene.worker.pid,
        "PostgreSQL": scene.grounds.postgres.pid,
        "Redis": scene.grounds.redis.pid,
    }
    before = {name: usage.cpu_seconds(pid) for name, pid in pids.items()}
    lags = [0]
    watching = asyncio.create_task(_watch(scene, lags))
    result = await post(plan)
    watching.cancel()
    answered = time.perf_counter()
    await eventually(lambda: _drained(scene), within=_SECONDS, every=0.01)
    drained = time.perf_counter() - answered
    cpu = {name: (usage.cpu_seconds(pid) - before[name]) / result.seconds for name, pid in pids.items()}
    cpu["load generator"] = result.cpu_seconds / result.seconds
    return Load(plan, result, lags, drained, cpu)


async def _drained(scene: Scene) -> bool:
    return await scene.lag() == 0


async def _watch(scene: Scene, lags: list[int]) -> None:
    while True:
        lags.append(await scene.lag())
        await asyncio.sleep(0.05)


async def load_test(scene: Scene, options: Options) -> Table:
    """The specification's two phases."""
    table = Table(
        "The load test",
        ("posts/s", "s", "accepted", "p50 ms", "p95 ms", "p99 ms", "worst ms", "p95 < 100 / 10", "worst lag", "p95 of lag",
            "lag < 1,000 / 100", "drained after s"),
    )  # fmt: skip
    before, posted = scene.rows(), 0
    for rate, seconds in PHASES_QUICK if options.quick else PHASES:
        done = await carry_out(
            scene, Plan(port=scene.api.port, run=scene.new_run(), per_second=rate, seconds=seconds, connections=64)
        )
        assert done.result.statuses == {202: done.plan.posts}, done.result.statuses
        posted += done.plan.posts
        found, lags = Latencies.of(done.result.milliseconds), sorted(done.lags)
        table.add(
            f"{rate:.0f}", f"{seconds:.0f}", f"{done.plan.posts:,}",
            *(f"{each:,.1f}" for each in (found.p50, found.p95, found.p99, found.worst)),
            _twice(found.p95, P95_MS, AIM_P95_MS), f"{lags[-1]:,}", f"{lags[int(0.95 * (len(lags) - 1))]:,}",
            _twice(lags[-1], MOST_LAG, AIM_LAG), f"{done.drained_seconds:.2f}",
        )  # fmt: skip
    dead = await scene.streams.xlen(names.DEAD_LETTERS)
    table.notes.append(
        f"{posted:,} posted, {scene.rows() - before:,} rows more; {dead} dead letters; the worker "
        f"{'runs' if scene.worker.exit_code is None else 'HAS ENDED'}; a latency counts from the time the post was due"
    )
    return table


def _twice(found: float, goal: float, aim: float) -> str:
    return f"{verdict(found, goal, at_least=False)} / {verdict(found, aim, at_least=False)}"


async def highest_rate(scene: Scene, options: Options) -> Table:
    """Rates one after another until one is not held, twice."""
    table = Table(
        "The highest rate that is held",
        ("posts/s asked", "answered/s", "p95 ms", "worst lag", "held", "CPU of one core: api",
            "worker", "PostgreSQL", "Redis", "load generator"),
    )  # fmt: skip
    rate, held, failures = FIRST_RATE, 0.0, 0
    while rate <= LAST_RATE and failures < 2:
        scene.clear()
        plan = Plan(
            port=scene.api.port, run=scene.new_run(), per_second=rate, seconds=options.choose(10, 4), connections=128
        )
        done = await carry_out(scene, plan)
        failures = 0 if done.is_held else failures + 1
        held = max(held, rate if done.is_held else 0.0)
        table.add(
            f"{rate:,.0f}", f"{done.result.per_second:,.0f}", f"{Latencies.of(done.result.milliseconds).p95:,.1f}",
            f"{max(done.lags):,}", "yes" if done.is_held else "no", *(f"{each:.2f}" for each in done.cpu.values()),
        )  # fmt: skip
        rate += STEP * options.choose(1, 4)
    table.notes.append(
        f"held: {held:,.0f} posts/s; goal {RATE_GOAL:,.0f}: {verdict(held, RATE_GOAL, at_least=True)}. Held means every post "
        f"accepted, at least {KEPT_UP:.0%} of the rate answered, the lag below {MOST_LAG:,} all the time"
    )
    return table


Ends = dict[str, list[float]]
"""Messages a second, round by round, by subject."""


async def ends(scene: Scene, options: Options) -> tuple[Ends, float]:
    """Each end alone and both together, beside their bare loops; and Redis' bytes a message."""
    rates: Ends = {}
    messages = options.choose(100_000, 20_000)
    bytes_each = 0.0
    for _ in range(options.choose(ROUNDS, 1)):
        scene.clear()
        produced, consumed = await bare(scene, messages)
        rates.setdefault("XADD", []).append(produced)
        rates.setdefault("XREADGROUP, COPY, XACK", []).append(consumed)
        scene.clear()
        rates.setdefault("both loops at once", []).append(await bare_at_once(scene, messages))
        scene.clear()
        entrance, worker, bytes_each = await ours(scene, messages)
        rates.setdefault("entrance", []).append(entrance)
        rates.setdefault("worker", []).append(worker)
        scene.clear()
        rates.setdefault("both ends at once", []).append(await ours_at_once(scene, messages))
    return rates, bytes_each


async def ours(scene: Scene, messages: int) -> tuple[float, float, float]:
    """The entrance while the worker sleeps, then the worker; messages a second of each, and Redis' bytes a message."""
    made = _submissions(scene, messages)
    target = await scene.settled() + messages
    before = await _memory(scene)
    scene.worker.pause()
    entrance = messages / await _accept(scene, made)
    bytes_each = (await _memory(scene) - before) / messages
    began = time.perf_counter()
    scene.worker.resume()
    await _until_settled(scene, target)
    return entrance, messages / (time.perf_counter() - began), bytes_each


async def ours_at_once(scene: Scene, messages: int) -> float:
    """The entrance and the worker at the same time; messages a second."""
    made = _submissions(scene, messages)
    target = await scene.settled() + messages
    began = time.perf_counter()
    await asyncio.gather(_accept(scene, made), _until_settled(scene, target))
    return messages / (time.perf_counter() - began)


def _submissions(scene: Scene, messages: int) -> list[Submission]:
    run = scene.new_run()
    made = [envelope(run, number, "x" * 200) for number in range(messages)]
    return [Submission(each, names.partition_hash(each.conversation_id)) for each in made]


async def _accept(scene: Scene, made: Sequence[Submission]) -> float:
    """Seconds that the entrance took for all of them."""
    entrance = StreamEntrance(scene.streams, partitions=PARTITIONS)
    began = time.perf_counter()
    for start in range(0, len(made), BATCH):
        await entrance.accept(made[start : start + BATCH])
    return time.perf_counter() - began


async def _until_settled(scene: Scene, target: int) -> None:
    async def reached() -> bool:
        return await scene.settled() >= target

    await eventually(reached, within=_SECONDS, every=0.01)


async def _memory(scene: Scene) -> int:
    return int((await scene.streams.info("memory"))["used_memory"])


@contextmanager
def _loop(scene: Scene, what: str, messages: int, run: str = "") -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A bare loop that stands ready; the context begins it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare_messages", what, str(messages), run or "bare"],
        cwd=REPOSITORY,
        env={
            **scene.grounds.stack.environment,
            "PYTHONPATH": str(REPOSITORY),
            "OWNER_URL": scene.grounds.owner_url,
            "REDIS_URL": scene.grounds.redis.url(_BARE_DATABASE),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()

    def begin() -> subprocess.Popen[bytes]:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        return process

    try:
        yield begin
    finally:
        spawn.kill_group(process.pid)
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def bare(scene: Scene, messages: int) -> tuple[float, float]:
    """The bare loops one after the other; messages a second of each."""
    await _forget_bare(scene)
    with _loop(scene, "consume", messages) as consume, _loop(scene, "produce", messages, scene.new_run()) as produce:
        producing = await _timed(produce)
        consuming = await _timed(consume)
    return messages / producing, messages / consuming


async def bare_at_once(scene: Scene, messages: int) -> float:
    """The bare loops at the same time; messages a second."""
    await _forget_bare(scene)
    with _loop(scene, "consume", messages) as consume, _loop(scene, "produce", messages, scene.new_run()) as produce:
        began = time.perf_counter()
        await asyncio.gather(_timed(consume), _timed(produce))
        return messages / (time.perf_counter() - began)


async def _timed(begin: Callable[[], subprocess.Popen[bytes]]) -> float:
    began = time.perf_counter()
    code = await asyncio.to_thread(begin().wait)
    assert code == 0, f"a bare loop ended with {code}"
    return time.perf_counter() - began


async def _forget_bare(scene: Scene) -> None:
    async with Redis.from_url(scene.grounds.redis.url(_BARE_DATABASE)) as client:
        await client.flushdb()


def _ends_table(rates: Ends, bytes_each: float) -> Table:
    table = Table(
        "The ends beside bare loops, messages a second", ("ours", "rate", "bare loop", "rate", "ratio", "goal 0.60")
    )
    pairs = (("entrance", "XADD"), ("worker", "XREADGROUP, COPY, XACK"), ("both ends at once", "both loops at once"))
    for mine, theirs in pairs:
        ratios = [own / other for own, other in zip(rates[mine], rates[theirs], strict=True)]
        table.add(
            mine, spread(rates[mine]), theirs, spread(rates[theirs]), spread(ratios, 2),
            verdict(median(ratios), RATIO_GOAL, at_least=True),
        )  # fmt: skip
    table.notes.append(
        f"Redis: {bytes_each:,.0f} bytes a message of 200 bytes, {bytes_each * 1e6 / 2**20:,.0f} MiB per million"
    )
    table.notes.append("median of the rounds (lowest–highest); without HTTP on either side; ratios within one round")
    return table


async def measure(options: Options) -> Sequence[Table]:
    """All of it, on the same servers."""
    loads = [load()]
    async with open_scene() as scene:
        tables = [await load_test(scene, options)]
        loads.append(load())
        tables.append(await highest_rate(scene, options))
        loads.append(load())
        tables.append(_ends_table(*await ends(scene, options)))
        loads.append(load())
    tables[-1].notes.append(f"load average before, and after each part: {'; '.join(loads)}")
    return tables


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
