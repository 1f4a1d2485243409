"""One run: servers and processes of its own, an idle moment, the load, and the time until nothing is left to do."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.sustained.conversations import Conversations
from benchmarks.sustained.sampling import DEPTHS, Sample, Subject, Watch
from benchmarks.sustained.traffic import Begun, Traffic, wishes
from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret
from tests.support.evidence import collect
from tests.support.ledger import Evidence
from tests.support.servers import database_number
from tests.support.stack import Process
from tests.support.waiting import eventually

REDIS = {"always": {"appendonly": "yes", "appendfsync": "always"}, "everysec": {"appendonly": "yes"}, "no": {}}
"""Options by `Plan.appendfsync`: with `always` a message is as safe as its answer says, queues need none."""
POSTGRES = {"shared_buffers": "256MB", "max_wal_size": "1GB", "checkpoint_timeout": "5min"}
"""Checkpoints come as they do in production."""
PROGRESS_SECONDS = 10.0
_DRAIN_SECONDS = 120.0
_READY = """
SELECT entity_id::text AS course_id,
       extract(epoch FROM min(created_at) FILTER (WHERE new_state = 'completed')
                        - min(created_at) FILTER (WHERE triggered_by = 'API_INITIATE'))::float8 AS seconds
  FROM fsm_events GROUP BY entity_id
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to carry out."""

    minutes: float = 30.0
    per_minute: float = 100.0
    """Courses."""
    workers: int = 1
    """Stage-workers; of everything else there is one."""
    concurrency: int = 2
    """Jobs of each queue that a stage-worker has in hand, as STAGE_WORKER_CONCURRENCY."""
    appendfsync: str = "always"
    """Of Redis; `no` is without any log."""
    titles_only: bool = False
    messages_per_second: float = 5.0
    idle_seconds: float = 20.0
    """Before the load: what everything takes when nobody asks."""

    @property
    def seconds(self) -> float:
        """How long the load lasts."""
        return self.minutes * 60

    @property
    def courses(self) -> int:
        """In all."""
        return round(self.minutes * self.per_minute)

    @property
    def messages(self) -> int:
        """In all."""
        return round(self.messages_per_second * self.seconds)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything that was seen."""

    plan: Plan
    samples: list[Sample]
    begun: list[Begun]
    ready: dict[str, float]
    """Seconds from initiation to `completed`, by course."""
    troubles: Counter[str]
    evidence: Evidence
    idle: Mapping[str, float]
    """What a second without load takes of everything that only grows."""
    used: Mapping[str, float]
    """What the run took of it, from the first course to the last job; `at` is in seconds."""
    tables: Mapping[str, float]
    conversations: Conversations
    message_rows: int = 0
    dead_letters: int = 0
    ended: list[str] = field(default_factory=list)
    """Processes that did not live to the end."""
    missed: list[str] = field(default_factory=list)
    """Looks that failed."""
    loads: tuple[str, str] = ("", "")
    """Load average before and after."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs."""

    grounds: Grounds
    api: Process
    processes: Mapping[str, tuple[Process, ...]]
    watch: Watch
    traffic: Traffic
    conversations: Conversations


@asynccontextmanager
async def open_scene(plan: Plan) -> AsyncIterator[Scene]:
    """Servers, one process of each kind, and the workers that the plan wants."""
    async with AsyncExitStack() as stack:
        grounds = stack.enter_context(open_grounds(POSTGRES, redis_options=REDIS[plan.appendfsync]))
        processes = await _start(grounds, plan)
        settings = CommonSettings(database_url=Secret(grounds.owner_url), redis_url=Secret(grounds.redis_url))
        db = await Database.open(settings, application="benchmark")
        stack.push_async_callback(db.close)
        redis = open_redis(settings.redis_url, name="benchmark")
        stack.push_async_callback(redis.aclose)
        number = database_number(grounds.redis_url)  # the stack's environment keeps the stream there, too
        streams = await stack.enter_async_context(Redis.from_url(grounds.redis.url(number)))
        api = processes["api"][0]
        traffic = await Traffic.open(api.url)
        stack.push_async_callback(traffic.close)
        conversations = Conversations(api.url)
        seen = functools.partial(_seen_by_clients, traffic, conversations)
        watch = Watch(db, redis, streams, _subjects(grounds, processes), seen)
        yield Scene(grounds, api, processes, watch, traffic, conversations)


async def _start(grounds: Grounds, plan: Plan) -> dict[str, tuple[Process, ...]]:
    stack, env = grounds.stack, {"MESSAGES_REQUIRE_TOKEN": "false"}
    of_workers = {"STAGE_WORKER_CONCURRENCY": str(plan.concurrency)}
    found = {
        "api": (stack.spawn("api", env=env),),
        "relay": (stack.spawn("outbox_relay"),),
        "worker": tuple(stack.spawn("stage_worker", env=of_workers) for _ in range(plan.workers)),
        "persistence": (stack.spawn("persistence_worker", env=env),),
    }
    await asyncio.gather(*(each.ready() for group in found.values() for each in group))
    return found


def _subjects(grounds: Grounds, processes: Mapping[str, tuple[Process, ...]]) -> tuple[Subject, ...]:
    ours = [
        Subject(name, tuple(each.pid for each in group), children=name == "worker") for name, group in processes.items()
    ]
    return (
        *ours,
        Subject("postgres", (grounds.postgres.pid,), is_server=True),
        Subject("redis", (grounds.redis.pid,)),
    )


def _seen_by_clients(traffic: Traffic, conversations: Conversations) -> Mapping[str, float]:
    return {
        "asked": traffic.asked,
        "begun": len(traffic.begun),
        "accepted": conversations.accepted,
        "errors": traffic.troubles.total() + conversations.troubles.total(),
    }


async def carry_out(plan: Plan) -> Outcome:
    """Do all of it, with a line every ten seconds."""
    before = load()
    async with open_scene(plan) as scene:
        idle = await _idle(scene, plan)
        scene.watch.restart()
        looking = asyncio.create_task(scene.watch.keep())
        telling = asyncio.create_task(_tell(scene, plan))
        first = await scene.watch.counters()
        await _load(scene, plan)
        await _come_to_rest(scene, plan)
        used = _difference(first, await scene.watch.counters())
        await asyncio.sleep(6)  # one more look, at rest
        for task in (looking, telling):
            task.cancel()
        await asyncio.gather(looking, telling, return_exceptions=True)
        return await _outcome(scene, plan, idle=idle, used=used, loads=(before, load()))


async def _idle(scene: Scene, plan: Plan) -> dict[str, float]:
    before = await scene.watch.counters()
    await asyncio.sleep(plan.idle_seconds)
    found = _difference(before, await scene.watch.counters())
    return {name: value / found["at"] for name, value in found.items()}


def _difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


async def _load(scene: Scene, plan: Plan) -> None:
    wanted = wishes(plan.courses, titles_only=plan.titles_only)
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.traffic.send(wanted, per_minute=plan.per_minute))
        group.create_task(scene.conversations.send(plan.messages, per_second=plan.messages_per_second))


async def _come_to_rest(scene: Scene, plan: Plan) -> None:
    """Wait until nothing is under way, or too long; what is left is for the report."""

    async def is_at_rest() -> bool:
        found = await scene.watch.look()
        return not (found["running"] or any(found[each] for each in DEPTHS))

    deadline = max(_DRAIN_SECONDS, plan.seconds)
    try:
        await eventually(is_at_rest, within=deadline, every=1)
    except AssertionError:
        print(f"  not at rest {deadline:.0f} s after the load", flush=True)


async def _tell(scene: Scene, plan: Plan) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        if scene.watch.samples:
            print(_line(time.monotonic() - began, plan, scene.watch.samples[-1]), flush=True)


def _line(second: float, plan: Plan, seen: Sample) -> str:
    waits = ", ".join(f"{each.partition('_')[0]} {seen[each]:.0f}" for each in DEPTHS)
    memory = ", ".join(f"{each} {seen[f'{each}_mb']:.0f}" for each in ("api", "relay", "worker", "persistence"))
    counts = ", ".join(f"{seen[each]:.0f} {each}" for each in ("begun", "finished", "running", "errors"))
    return f"  {second:5.0f} of {plan.seconds:.0f} s: {counts}; waiting: {waits}; MB: {memory}; load {seen['load_average']:.1f}"


async def _outcome(scene: Scene, plan: Plan, *, loads: tuple[str, str], **found: object) -> Outcome:
    watch, traffic = scene.watch, scene.traffic
    rows = await watch.db.fetch(_READY)
    return Outcome(
        plan=plan,
        samples=watch.samples,
        begun=traffic.begun,
        ready={str(row["course_id"]): float(row["seconds"]) for row in rows if row["seconds"] is not None},
        troubles=traffic.troubles + scene.conversations.troubles,
        conversations=scene.conversations,
        evidence=await collect(watch.db, traffic.journal, sink=scene.grounds.stack.sink, fired={}, wanted={}),
        tables=await watch.tables(),
        message_rows=int(await watch.db.fetchval("SELECT count(*) FROM messages")),
        dead_letters=int(await watch.streams.xlen(names.DEAD_LETTERS)),
        missed=watch.missed,
        ended=[name for name, group in scene.processes.items() for each in group if each.exit_code is not None],
        loads=loads,
        **found,  # type: ignore[arg-type]
    )
