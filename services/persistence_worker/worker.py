"""The process: leases on one side, the stream on the other, PostgreSQL at the end; all opened and closed here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from services.kernel import lifecycle
from services.kernel.clock import SystemClock
from services.kernel.database import Database
from services.kernel.errors import CoursegenError
from services.kernel.health import HealthRegistry
from services.kernel.installation import STREAM, Claim
from services.kernel.logs import get_logger
from services.kernel.messages.partitions import PartitionBook
from services.kernel.messages.settings import stream_address
from services.kernel.messages.transport import Transport, streams
from services.kernel.pauses import pause
from services.kernel.redis_connection import open_redis
from services.kernel.schema import hold_schema
from services.persistence_worker.consumer import Consumer
from services.persistence_worker.figures import Figures
from services.persistence_worker.held import Held
from services.persistence_worker.holder import Holder
from services.persistence_worker.lines import Tally
from services.persistence_worker.opening import Opening
from services.persistence_worker.persister import Persister
from services.persistence_worker.reading import Reading
from services.persistence_worker.recovery import Recovery
from services.persistence_worker.settings import PersistenceSettings
from services.persistence_worker.shares import Shares
from services.persistence_worker.undertaker import Undertaker

RELATIONS: Final = ("messages", "message_partitions", "message_workers")
"""What must exist before this process starts (TRAP33)."""
MEASURE_SECONDS: Final = 1.0
"""How often lags are measured, and persisted messages summed up in a line."""
TRIM_SECONDS: Final = 5.0
"""How often what was persisted is cut off."""
_LONGEST_TURN_SECONDS: Final = 60.0
"""A loop that has not come round for so long hangs."""
OpenTransport = Callable[[PersistenceSettings, str, Database, AsyncExitStack], Awaitable[Transport]]
"""Opens what carries the messages, for the worker of that name on that database; the stack closes it."""
_log = get_logger(__name__)


class PersistenceWorker:
    """The service that `lifecycle` runs."""

    def __init__(
        self, settings: PersistenceSettings, node: str, transport: Transport, db: Database, health: HealthRegistry
    ) -> None:
        self._settings = settings
        self._figures = Figures()
        self._tally = Tally()
        self._shares = Shares()
        self._stream = transport.exit
        self._trimming = transport.trimming
        book = PartitionBook(db, node, settings.lease_seconds)
        self._holder = Holder(
            book,
            self._stream,
            self._shares,
            self._figures,
            clock=SystemClock(),
            partitions=settings.stream_partitions,
            lease_seconds=settings.lease_seconds,
        )
        self._consumer = self._made_consumer(book, db, node, health) if settings.consumers_enabled else None
        health.register("redis", self._stream.ping)

    def _made_consumer(self, book: PartitionBook, db: Database, node: str, health: HealthRegistry) -> Consumer:
        settings, clock = self._settings, SystemClock()
        undertaker = Undertaker(self._stream, self._figures)
        held = Held(clock, settings.max_retries, settings.retry_seconds)
        recovery = Recovery(
            self._stream,
            Persister(db, node),
            held,
            undertaker,
            self._figures,
            self._tally,
            max_retries=settings.max_retries,
            retry_seconds=settings.retry_seconds,
        )
        return Consumer(
            stream=self._stream,
            shares=self._shares,
            holder=self._holder,
            opening=Opening(book, self._stream, recovery, undertaker),
            reading=Reading(
                self._stream,
                self._shares,
                batch_size=settings.batch_size,
                poll_seconds=settings.poll_interval_ms / 1000,
            ),
            persister=Persister(db, node),  # each has its own suspicions
            held=held,
            undertaker=undertaker,
            figures=self._figures,
            tally=self._tally,
            heartbeat=health.progress("consumer", _LONGEST_TURN_SECONDS),
            clock=clock,
        )

    async def serve(self, stopping: asyncio.Event) -> None:
        """Persist until `stopping` is set, then give the partitions back."""
        if not self._settings.consumers_enabled:
            _log.warning("Stream consumers are off: messages wait in the stream; set ENABLE_STREAM_CONSUMERS=true")
        await lifecycle.together(stopping, *self._tasks(stopping))
        self._tally.say()
        if self._settings.consumers_enabled:
            await self._holder.leave()

    def _tasks(self, stopping: asyncio.Event) -> list[tuple[str, Awaitable[None]]]:
        tasks: list[tuple[str, Awaitable[None]]] = [
            ("measuring", self._every(MEASURE_SECONDS, self._measure, stopping))
        ]
        if self._consumer is not None:
            tasks += [
                ("leases", self._holder.run(stopping)),
                ("consumer", self._consumer.run(stopping)),
                ("trimming", self._every(TRIM_SECONDS, self._trim, stopping)),
                ("ending", self._end(stopping)),
            ]
        return tasks

    async def _end(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._shares.let_go(len(self._shares))

    async def _measure(self) -> None:
        self._tally.say()
        if self._settings.consumers_enabled:
            partitions = self._shares.partitions
        else:  # nobody else may show them
            partitions = list(range(await self._stream.partitions(self._settings.stream_partitions)))
        try:
            self._figures.lags(await self._stream.lags(partitions))
        except CoursegenError:
            self._figures.lags({})  # none is better than one of long ago
            raise

    async def _trim(self) -> None:
        keep = self._settings.keep_seconds, self._settings.keep_entries
        for partition in self._shares.partitions:
            self._figures.trimmed(await self._trimming.trim(partition, keep_seconds=keep[0], keep_entries=keep[1]))
        await self._stream.prepare()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
        """Do `work` again and again; an outage of a server is not the end of it."""
        while not stopping.is_set():
            try:
                await work()
            except CoursegenError as error:
                _log.debug("left for the next time", reason=error.message)
            await pause(stopping, seconds)


async def open_streams(settings: PersistenceSettings, node: str, db: Database, stack: AsyncExitStack) -> Transport:
    """The streams of Redis, for the worker `node`.

    Raises:
        RedisOccupied: they are another installation's.
    """
    redis = open_redis(stream_address(settings, settings.redis_url), name="persistence-worker", socket_timeout=10.0)
    stack.push_async_callback(redis.aclose)
    claim = await Claim.of(db, redis, STREAM)
    await claim.begin()
    return streams(
        redis,
        node,
        partitions=settings.stream_partitions,
        reservation_seconds=settings.reservation_seconds,
        claim=claim,
    )


@asynccontextmanager
async def open_worker(
    settings: PersistenceSettings, health: HealthRegistry, *, open_transport: OpenTransport = open_streams
) -> AsyncIterator[PersistenceWorker]:
    """Open the connections and build the parts; the composition root.

    Raises:
        SchemaMissing: a relation or a migration is missing; run `coursegen migrate`.
        DatabaseUnavailable, DatabaseDenied: PostgreSQL does not answer, or refuses the login.
        RedisOccupied: the streams are another installation's.
    """
    async with AsyncExitStack() as stack:
        db = await Database.open(settings, application="coursegen persistence-worker")
        stack.push_async_callback(db.close)
        await hold_schema(db, RELATIONS, health)
        health.register("database", db.ping)
        node = settings.new_node()
        yield PersistenceWorker(settings, node, await open_transport(settings, node, db, stack), db, health)
