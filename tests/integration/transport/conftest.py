"""A transport in each of its forms: streams of Redis, and topics of a real Kafka where one can be run."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from services.kernel.messages.kafka.opening import topics
from services.kernel.messages.transport import Transport, streams
from tests.support.kafka import PrivateKafka, needed
from tests.support.servers import server_folder
from tests.support.streamed import PARTITIONS

if TYPE_CHECKING:
    from redis.asyncio import Redis

Opening = Callable[[str], Awaitable[Transport]]
"""Opens the transport for a worker of that name."""


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[PrivateKafka]:
    """The session's broker."""
    needed()
    with server_folder() as folder:
        broker = PrivateKafka(folder)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


@pytest.fixture
def kafka(kafka_server: PrivateKafka) -> Iterator[PrivateKafka]:
    """The session's broker with empty topics; a test that stops it starts it again."""
    kafka_server.empty()
    yield kafka_server
    gc.collect()  # what the client has forgotten is this test's, and not the next one's


@pytest.fixture(params=["streams", pytest.param("topics", marks=pytest.mark.kafka)])
async def opening(request: pytest.FixtureRequest, redis: Redis) -> AsyncIterator[Opening]:
    """Opens the transport in one of its forms, as many times as there are workers."""
    servers = request.getfixturevalue("kafka").servers if request.param == "topics" else ""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Transport:
            if servers:
                return await stack.enter_async_context(topics(servers, redis))
            return streams(redis, name, partitions=PARTITIONS)

        yield opened
