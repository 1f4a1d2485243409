"""All sides of the transport by Kafka, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.kernel.messages.kafka.broker import Broker
from services.kernel.messages.kafka.entrance import KafkaEntrance
from services.kernel.messages.kafka.exit import KafkaExit
from services.kernel.messages.kafka.letters import KafkaLetters
from services.kernel.messages.kafka.reservations import Reservations
from services.kernel.messages.kafka.trimming import KafkaTrimming
from services.kernel.messages.transport import Transport

if TYPE_CHECKING:
    from redis.asyncio import Redis


@asynccontextmanager
async def topics(
    servers: str, redis: Redis, *, reservation_seconds: float = 3600.0, patience_seconds: float = 5.0
) -> AsyncIterator[Transport]:
    """The topics of one cluster; they must be there (`Broker.make_topics`).

    Args:
        servers: some of its brokers, "host:port,host:port".
        redis: a client of the database REDIS_STREAM_DB, which remembers messages by their ids.
        reservation_seconds: how long a message's repeats are recognised by its reservation once its row is there.
        patience_seconds: how long accepting may take.
    """
    broker, reservations = Broker(servers), Reservations(redis, seconds=reservation_seconds)
    entrance = KafkaEntrance(broker, redis, reservations, patience_seconds=patience_seconds)
    leaving = KafkaExit(broker, reservations)
    try:
        yield Transport(entrance, leaving, KafkaLetters(broker, reservations), KafkaTrimming(broker))
    finally:
        await leaving.close()
        await entrance.close()
