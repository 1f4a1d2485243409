"""The relay process: finds out whether it leads, and while it does moves rows, lives visibly and reconciles."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from services.kernel.clock import Clock, SystemClock
from services.kernel.concurrency import Book
from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.errors import CoursegenError, RedisOccupied, RetryableError, StaleLeader, causes
from services.kernel.health import HealthRegistry
from services.kernel.installation import QUEUES, Claim
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.queue import Inspector, Producer, QueueControls
from services.kernel.redis_connection import open_redis
from services.kernel.reminders import Reminder
from services.kernel.schema import hold_schema
from services.outbox_relay import queue_keeper
from services.outbox_relay.dispatch import Dispatcher
from services.outbox_relay.figures import Figures
from services.outbox_relay.high_water import HighWater
from services.outbox_relay.leadership import (
    AdvisoryLockElector,
    Elector,
    Fence,
    SoleElector,
    Term,
    drop_node,
    show_node,
    work_until_lost,
)
from services.outbox_relay.loop import RelayLoop
from services.outbox_relay.outbox import Outbox
from services.outbox_relay.pipeline import Limits, Pipeline
from services.outbox_relay.queue_keeper import QueueKeeper
from services.outbox_relay.reconciler import Reconciler
from services.outbox_relay.settings import RelaySettings
from services.outbox_relay.slot_keeper import LOOK_SECONDS, SlotKeeper
from services.outbox_relay.waking import Listener

_log = get_logger(__name__)

RELATIONS: Final = (
    "job_outbox",
    "relay_leadership",
    "relay_nodes",
    "effect_ledger",
    "courses",
    "metric_values",
    "open_jobs",
    "queue_controls",
)
SESSION: Final = {
    "enable_seqscan": "off",
    "idle_in_transaction_session_timeout": "5s",
    "jit": "off",
    "lock_timeout": "5s",
    "max_parallel_workers_per_gather": "0",
    "synchronous_commit": "off",
    "work_mem": "32MB",
}
"""Parameters of the relay's sessions.

Every statement of the relay has its index: a plan made while the outbox was small would read all of it once it is large (a
mark of 2,000 rows took 0.9 s instead of 0.02 s), and compiling a statement takes longer than running it. A claim that finds a
backlog in every lane sorts some 10 MB, which would go through a file with the default memory. A mark need not
reach the disk at once: if a crash of PostgreSQL undoes it, the row is put again and Redis knows its key. What must not be
undone, the beginning of a term, waits for the disk all the same.

A relay that is stopped in the middle of a transaction holds up its successor's epoch no longer than five seconds.
"""
BEAT_SECONDS: Final = 1.0
"""How often the leader writes its heartbeat."""
RECONCILER_REST: Final = 3.0
"""The reconciler rests three times as long as it has looked, so that a crowd of running courses does not keep it busy."""
SHOW_SECONDS: Final = 5.0
"""How often a relay shows itself in `relay_nodes`, and the leader measures the backlog."""
STEP_DOWN_SECONDS: Final = 1.0
"""Pause between the loss of a term and the next attempt to lead."""
CLAIM_SECONDS: Final = 2.0
"""How often the leader looks whether Redis is still its installation's: an emptied one may have been taken by another."""
LATE_SECONDS: Final = 30.0
"""A loop that has not come round for so long hangs."""


class Relay:
    """One relay, leader or standby."""

    def __init__(
        self,
        settings: RelaySettings,
        db: Database,
        loop: RelayLoop,
        reconciler: Reconciler,
        queues: QueueKeeper,
        slots: SlotKeeper,
        elector: Elector,
        claim: Claim,
    ) -> None:
        self._settings = settings
        self._db = db
        self._elector = elector
        self._loop = loop
        self._reconciler = reconciler
        self._queues = queues
        self._slots = slots
        self._claim = claim
        self._role = "standby"

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: RelaySettings, health: HealthRegistry) -> AsyncIterator[Relay]:
        """Open the connections and build the parts; close everything at the end.

        Raises:
            SchemaMissing: a relation or a migration is missing; run `coursegen migrate`.
            DatabaseUnavailable, DatabaseDenied: PostgreSQL does not answer, or refuses the login.
            RedisOccupied: the queues are another installation's.
            SettingsInvalid: a Lease is asked for, and there is no Kubernetes.
        """
        async with AsyncExitStack() as stack:
            db = await Database.open(settings, application="coursegen outbox-relay", parameters=SESSION)
            stack.push_async_callback(db.close)
            await hold_schema(db, RELATIONS, health)
            redis = open_redis(settings.redis_url, name="outbox-relay")
            stack.push_async_callback(redis.aclose)
            claim = await Claim.of(db, redis, QUEUES)
            await claim.begin()
            figures = Figures(await stack.enter_async_context(Counters(db).writing()))
            producer, inspector = Producer(redis), Inspector(redis)
            clock = SystemClock()
            pipeline = Pipeline(
                Outbox(db),
                Dispatcher(producer, settings.body_bytes),
                HighWater(inspector, settings.high_water, clock),
                figures,
                limits_of(settings),
                clock,
            )
            heartbeat = health.progress("relay loop", LATE_SECONDS)
            health.register("database", db.ping)
            health.register("redis", claim.hold)
            loop = RelayLoop(pipeline, Outbox(db), producer, Listener(db), figures, heartbeat, clock)
            collect_rarely()
            reconciler = Reconciler(db, inspector, producer, figures)
            slots = SlotKeeper(Book(db, redis), redis, clock)
            queues = QueueKeeper(inspector, QueueControls(db, inspector), figures)
            elector = await stack.enter_async_context(open_elector(settings, db, figures, clock))
            yield cls(settings, db, loop, reconciler, queues, slots, elector, claim)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Lead whenever it is this relay's turn, until told to stop."""
        _log.info("Outbox processor started", node=self._settings.name, election=self._settings.election)
        async with asyncio.TaskGroup() as group:
            side = [
                group.create_task(self._loop.greet()),
                group.create_task(self._every(SHOW_SECONDS, self._show)),
            ]
            await self._campaign(stopping)
            for task in side:
                task.cancel()
        await self._leave()

    async def _campaign(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with asyncio.TaskGroup() as group:
                    beating = group.create_task(self._loop.beat_for_ever())
                    await self._until_ours(stopping)
                    async with self._elector.term(stopping) as term:
                        beating.cancel()
                        is_succeeded = term is not None and await self._lead(term, stopping)
                if is_succeeded:  # the pause comes after the term: nobody is to wait for it
                    await pause(stopping, STEP_DOWN_SECONDS)
            except* CoursegenError as errors:
                _log.warning("the term has ended", reason="; ".join(map(str, causes(errors))))
                await pause(stopping, STEP_DOWN_SECONDS)

    async def _until_ours(self, stopping: asyncio.Event) -> None:
        """Return unless Redis is another installation's: who may not use it asks for no term, and takes none from others."""
        reminder = Reminder()
        while not stopping.is_set():
            try:
                await self._claim.begin()
            except RedisOccupied as error:
                if reminder.is_due(error.message):
                    _log.warning("not asking to lead", reason=error.message)
                await pause(stopping, CLAIM_SECONDS)
            else:
                return

    async def _lead(self, term: Term, stopping: asyncio.Event) -> bool:
        """Do the work of one term; whether it ended because the leadership is lost."""
        _log.info("leading", epoch=term.epoch, node=self._settings.name)
        self._role = "leader"
        self._loop.figures.leading(term.epoch)
        is_succeeded = False
        try:
            await work_until_lost(term, self._work(term, stopping))
        except* (StaleLeader, RedisOccupied) as over:
            _log.warning("stepping down", reason="; ".join(map(str, causes(over))), epoch=term.epoch)
            is_succeeded = True
        finally:
            self._role = "standby"
            self._loop.figures.leading(None)
        return is_succeeded

    async def _work(self, term: Term, stopping: asyncio.Event) -> None:
        await self._claim.begin()
        self._slots.begin()
        async with asyncio.TaskGroup() as group:
            side = [
                group.create_task(self._loop.listener.run()),
                group.create_task(self._every(BEAT_SECONDS, lambda: self._beat(term))),
                group.create_task(self._every(SHOW_SECONDS, self._loop.measure)),
                group.create_task(self._every(self._settings.reconcile_seconds, lambda: self._reconcile(term))),
                group.create_task(self._every(queue_keeper.LOOK_SECONDS, self._queues.look)),
                group.create_task(self._every(LOOK_SECONDS, self._slots.look)),
                group.create_task(self._every(CLAIM_SECONDS, self._claim.hold)),
            ]
            await self._loop.run(term, stopping)
            for task in side:
                task.cancel()

    async def _beat(self, term: Term) -> None:
        await term.beat(self._loop.idle_seconds, self._loop.poll_interval_ms)

    async def _reconcile(self, term: Term) -> None:
        start = time.monotonic()
        await self._reconciler.look(term)
        await asyncio.sleep((time.monotonic() - start) * RECONCILER_REST)

    async def _show(self) -> None:
        await show_node(self._db, self._settings.name, self._role)

    async def _leave(self) -> None:
        try:
            await drop_node(self._db, self._settings.name)
        except CoursegenError as error:
            _log.info("the node's row is left to others", reason=error.message)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` again and again; an outage of a server is not the end of it. A lost term is, and somebody else's Redis."""
        while True:
            try:
                await work()
            except RedisOccupied:
                raise
            except RetryableError as error:
                _log.debug("left for the next time", reason=error.message)
            await asyncio.sleep(seconds)


@asynccontextmanager
async def open_elector(settings: RelaySettings, db: Database, figures: Figures, clock: Clock) -> AsyncIterator[Elector]:
    """The way to find the leader that the settings name.

    Raises:
        SettingsInvalid: a Lease is asked for, and there is no Kubernetes.
    """
    if settings.election == "none":
        yield SoleElector(db, settings.name)
    elif settings.election == "postgres":
        yield AdvisoryLockElector(db, settings.name, settings.stale_seconds)
    else:
        from services.kernel.lease.elector import LeaseElector
        from services.kernel.lease.kubernetes import KubernetesLease  # loads lightkube: 20 MB

        identity, timers = settings.new_identity(), settings.timers
        place = (settings.lease_name, settings.lease_namespace)
        async with KubernetesLease.open(*place, identity, timers.call_seconds) as api:
            elector: LeaseElector[Term] = LeaseElector(
                api, Fence(db, settings.name), identity=identity, timers=timers, clock=clock, figures=figures
            )
            yield elector


def collect_rarely() -> None:
    """Have the garbage collector look for cycles a hundred times less often.

    Rows come and go by the thousand and form no cycles, but every look goes through all that are in hand: by default that is
    a fifth of the relay's CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def limits_of(settings: RelaySettings) -> Limits:
    """The pipeline's limits as the settings have them."""
    return Limits(
        batch_size=settings.batch_size,
        batch_max=settings.batch_max,
        batch_bytes=settings.batch_bytes,
        body_bytes=settings.body_bytes,
        backoff_seconds=settings.backoff_seconds,
    )
