"""The worker process: queues on one side, stages on the other, and everything they share opened and closed here.

For each queue it serves it runs one `QueueWorker` with that queue's own concurrency, so that slow generation never holds up
reading. Liveness depends on every loop coming round; readiness on PostgreSQL and Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from services.kernel import lifecycle
from services.kernel.concurrency import Releases, Slots
from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.errors import SettingsInvalid
from services.kernel.health import HealthRegistry
from services.kernel.installation import QUEUES, Claim
from services.kernel.logs import get_logger
from services.kernel.objects import open_store
from services.kernel.queue import QueueWorker
from services.kernel.redis_connection import open_redis
from services.kernel.schema import hold_schema
from services.kernel.wakeup import WakeUp
from services.kernel.webhooks import deliveries as deliveries_of_webhooks
from services.stage_worker import builtin
from services.stage_worker.deliveries import Deliveries
from services.stage_worker.listener import Layer2Listener
from services.stage_worker.parsing.sandbox import Sandbox
from services.stage_worker.registry import Closing, EngineMeans, Registry, Workbench, load_plugins
from services.stage_worker.runner import StageRunner
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.sink import EffectSink
from services.stage_worker.stages.stage import Stage
from services.stage_worker.webhooks.keeper import DeliveryKeeper

if TYPE_CHECKING:
    from redis.asyncio import Redis

RELATIONS: Final = (
    "courses",
    "documents",
    "document_texts",
    "document_sections",
    "course_structures",
    "course_results",
    "job_outbox",
    "fsm_events",
    "effect_ledger",
    "system_metrics",
    "metric_values",
    *deliveries_of_webhooks.RELATIONS,
)
"""What must exist before this process starts (TRAP33)."""

_LONGEST_TURN_SECONDS: Final = 60.0
"""A loop that has not come round for so long hangs."""

_SLOT_SECONDS: Final = 0.5
"""Longest wait for Redis to take a slot back; then it is tried again beside the work."""

_log = get_logger(__name__)


class StageWorker:
    """The service that `lifecycle` runs."""

    def __init__(
        self,
        workers: Mapping[str, QueueWorker],
        listener: Layer2Listener | None,
        keeper: DeliveryKeeper | None,
        releases: Releases,
    ) -> None:
        self._workers = workers
        self._releases = releases
        self._listener = listener
        self._keeper = keeper

    async def serve(self, stopping: asyncio.Event) -> None:
        """Take jobs until `stopping` is set, then drain."""
        for queue in self._workers:
            _log.info("saq queue initialized", queue=queue)
        tasks = [(f"queue {name}", worker.run(stopping)) for name, worker in self._workers.items()]
        tasks.append(("slots", self._releases.keep_trying(stopping)))
        if self._listener is not None:
            tasks.append(("layer 2", self._listener.run(stopping)))
        if self._keeper is not None:
            tasks.append(("webhooks", self._keeper.run(stopping)))
        _log.info("Stage worker started", queues=list(self._workers))
        await lifecycle.together(stopping, *tasks)
        await self._releases.retry()  # of the runs that ended while this process drained


@asynccontextmanager
async def open_worker(settings: WorkerSettings, health: HealthRegistry) -> AsyncIterator[StageWorker]:
    """Open everything a worker needs; the composition root.

    Raises:
        SettingsInvalid: a queue that no stage serves, an unknown engine, a plugin that cannot be loaded.
        SchemaMissing: the database has not been migrated.
        RedisOccupied: the queues are another installation's.
    """
    registry = Registry()
    builtin.register(registry)
    load_plugins(registry, settings.plugins)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(settings.sandbox_limits))
        engine = registry.engine(EngineMeans(settings, sandbox))
        if isinstance(engine, Closing):
            stack.push_async_callback(engine.close)
        db = await Database.open(settings, application="coursegen stage-worker")
        stack.push_async_callback(db.close)
        await hold_schema(db, RELATIONS, health)
        redis = open_redis(settings.redis_url, name="stage-worker", max_connections=64, socket_timeout=10.0)
        stack.push_async_callback(redis.aclose)
        counters = await stack.enter_async_context(Counters(db).writing())
        outlet = await stack.enter_async_context(builtin.webhook_outlet(settings))
        bench = Workbench(db, engine, builtin.fetching(open_store(db, settings)), sandbox.parse, outlet)
        stages = _served(settings, registry.stages(bench))
        wakeup = WakeUp(db)
        stack.push_async_callback(wakeup.drain)
        releases = Releases(Slots(redis, wait_seconds=_SLOT_SECONDS))
        runner = StageRunner(db, counters, wakeup, EffectSink(settings.effect_sink), releases)
        deliveries = Deliveries(runner, registry, stages, counters)
        health.register("postgres", db.ping)
        claim = await Claim.of(db, redis, QUEUES)
        await claim.begin()
        health.register("redis", claim.hold)
        yield StageWorker(
            {queue: _queue_worker(queue, settings, redis, claim, deliveries, health) for queue in stages},
            _listener(settings, redis, db, counters, health),
            _keeper(settings, db, wakeup, health),
            releases,
        )


def _served(
    settings: WorkerSettings, stages: dict[str, dict[str, Stage[Any, Any]]]
) -> dict[str, dict[str, Stage[Any, Any]]]:
    unknown = [queue for queue in settings.queues if queue not in stages]
    if unknown:
        raise SettingsInvalid(
            [
                f"STAGE_WORKER_QUEUES: no stage takes jobs from {', '.join(unknown)}; there are {', '.join(sorted(stages))}"
            ]
        )
    return {queue: stages[queue] for queue in settings.queues}


def _queue_worker(
    queue: str, settings: WorkerSettings, redis: Redis, claim: Claim, deliveries: Deliveries, health: HealthRegistry
) -> QueueWorker:
    return QueueWorker(
        redis,
        [queue],
        deliveries.handlers(queue),
        concurrency=settings.concurrency.of(queue),
        drain_seconds=settings.drain_seconds,
        dead_letter=deliveries.bury,
        beat=health.progress(f"queue {queue}", _LONGEST_TURN_SECONDS).beat,
        guard=claim.hold,
    )


def _listener(
    settings: WorkerSettings, redis: Redis, db: Database, counters: Counters, health: HealthRegistry
) -> Layer2Listener | None:
    if not settings.layer2:
        return None
    beat = health.progress("layer 2", _LONGEST_TURN_SECONDS).beat
    return Layer2Listener(redis, db, counters, heartbeat=beat)


def _keeper(settings: WorkerSettings, db: Database, wakeup: WakeUp, health: HealthRegistry) -> DeliveryKeeper | None:
    if deliveries_of_webhooks.QUEUE not in settings.queues:
        return None
    if settings.webhook_keys is None:
        _log.warning("webhooks cannot be signed and wait: set WEBHOOK_ENCRYPTION_KEYS for this worker")
    return DeliveryKeeper(db, wakeup, beat=health.progress("webhooks", _LONGEST_TURN_SECONDS).beat)
