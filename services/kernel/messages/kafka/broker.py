"""Connections to Kafka: opened here, with bounded waits, and its errors translated here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    IllegalStateError,
    KafkaError,
    NotCoordinatorForGroupError,
    ProducerFenced,
    TopicAlreadyExistsError,
    for_code,
)

from services.kernel.cancellation import cancellation_kept
from services.kernel.errors import BrokerUnavailable, InvalidInput

STREAM: Final = "msg.stream"
"""The topic of the messages."""
DEAD_LETTERS: Final = "msg.dlq"
"""The topic of the dead letters; it has one partition."""
GROUP: Final = "persistence-workers"
"""The group whose offsets say what is settled."""
COPIER_GROUP: Final = "msg-copier"
"""The group whose metadata say what of Redis was copied."""

ACCEPTED: Final = "accepted"
"""The header with the id under which a message was first accepted, of records that are copied or replayed."""

COPIED: Final = "copied"
"""The header with the entry that a record is a copy of."""

_REQUEST_MS: Final = 10_000
_COORDINATOR_SECONDS: Final = 15.0
"""A cluster that has had no group yet makes its topic of offsets first; one that has lost a broker looks for another."""
_LONGEST_RECORD: Final = 4 * 1024 * 1024
"""An envelope holds a content of up to a mebibyte, which JSON may make longer."""
_BACK_OFF_MS: Final = 30
"""The next transaction of a name may begin when the last one's marks are written, which takes milliseconds."""
_END_SECONDS: Final = 3.0
_TRANSACTION_SECONDS: Final = 10.0
"""The client itself would wait for ever for a broker that is away."""
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says every attempt; what comes of them is said here

_STREAM_OPTIONS: Final = {
    "message.timestamp.type": "LogAppendTime",  # one clock, the broker's
    "retention.ms": "-1",  # Kafka would cut off by time whatever is settled or not; `trim` does it
    "retention.bytes": "-1",
    "max.message.bytes": str(_LONGEST_RECORD),
}
_DEAD_LETTER_OPTIONS: Final = {**_STREAM_OPTIONS, "cleanup.policy": "compact"}


class Succeeded(Exception):
    """Kafka has refused a producer because a later one has its name."""


@contextmanager
def kafka_translated() -> Iterator[None]:
    """Let the client's errors leave the block as `BrokerUnavailable`, and a refused producer's as `Succeeded`."""
    try:
        with cancellation_kept():
            yield
    except ProducerFenced as error:
        raise Succeeded from error
    except (KafkaError, IllegalStateError, OSError, TimeoutError) as error:
        raise BrokerUnavailable(f"Kafka does not answer ({type(error).__name__})") from error


@asynccontextmanager
async def transaction(producer: Any) -> AsyncIterator[None]:
    """What the block sends is there as a whole when it is left, or not at all; after an error the producer is of no more use.

    Raises:
        Succeeded: a later producer has the name.
        BrokerUnavailable: Kafka does not answer; the whole may be there.
    """
    with kafka_translated():
        try:
            async with asyncio.timeout(_TRANSACTION_SECONDS):
                await producer.begin_transaction()
                yield
                await producer.commit_transaction()
        except BaseException:
            heard(producer._txn_manager.wait_for_transaction_end())  # the client keeps the error there a second time
            raise


async def end(client: Any) -> None:
    """Close a client, but wait for no broker that is away: what was on its way may arrive all the same."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await client.stop()


def place(partition: int) -> Any:
    """Where the messages of a partition lie."""
    return TopicPartition(STREAM, partition)


class Broker:
    """A Kafka cluster."""

    def __init__(self, servers: str) -> None:
        """Speak to the cluster whose `servers` ("host:port,host:port") are some of its brokers; nothing is opened yet."""
        self._servers = servers

    async def producer(self, name: str = "") -> Any:
        """A started producer; with a name, a transactional one that takes the name from any other.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=True,
            transactional_id=name or None,
            transaction_timeout_ms=30_000,
            request_timeout_ms=_REQUEST_MS,
            retry_backoff_ms=_BACK_OFF_MS,
            max_request_size=_LONGEST_RECORD,
        )
        return await _started(producer)

    async def consumer(self) -> Any:
        """A started consumer of no group, which is given nothing of a transaction that is not committed.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=_REQUEST_MS,
            max_partition_fetch_bytes=_LONGEST_RECORD,
        )
        return await _started(consumer)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """A client that administers, for as long as the block runs."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=_REQUEST_MS)
        with kafka_translated():
            try:
                await admin.start()
                yield admin
            finally:
                await admin.close()

    async def make_topics(self, partitions: int, *, copies: int) -> None:
        """Make both topics, unless they are there.

        Raises:
            InvalidInput: the topic is there and has another number of partitions.
            BrokerUnavailable: Kafka does not answer.
        """
        wanted = [
            NewTopic(STREAM, partitions, copies, topic_configs=_safe(_STREAM_OPTIONS, copies)),
            NewTopic(DEAD_LETTERS, 1, copies, topic_configs=_safe(_DEAD_LETTER_OPTIONS, copies)),
        ]
        async with self.admin() as admin:
            for _, code, message in (await admin.create_topics(wanted)).topic_errors:
                if code and code != TopicAlreadyExistsError.errno:
                    raise for_code(code)(message)
        there = await self.count()
        if there not in {None, partitions}:
            raise InvalidInput(f"{STREAM} has {there} partitions; there are to be as many as Redis has: {partitions}.")

    async def count(self) -> int | None:
        """How many partitions there are; None without the topic."""
        async with self.admin() as admin:
            for topic in await admin.describe_topics([STREAM]):
                return len(topic["partitions"]) or None
        return None

    async def notes(self, group: str) -> dict[int, tuple[int, str]]:
        """What a group has committed for the partitions: offset and metadata.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        until = time.monotonic() + _COORDINATOR_SECONDS
        async with self.admin() as admin:
            while True:
                try:
                    found = await admin.list_consumer_group_offsets(group)
                    break
                except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                    if time.monotonic() > until:
                        raise
                    await asyncio.sleep(0.1)
        return {each.partition: (it.offset, it.metadata) for each, it in found.items() if each.topic == STREAM}

    @asynccontextmanager
    async def reading(self, *places: Any) -> AsyncIterator[Any]:
        """A consumer that reads these places from their beginning, for as long as the block runs."""
        consumer = await self.consumer()
        try:
            with kafka_translated():
                consumer.assign(list(places))
                await consumer.seek_to_beginning(*places)
                yield consumer
        finally:
            await end(consumer)

    async def records(self, where: Any, *, first: int = 0) -> list[Any]:
        """All that lies at one place from an offset on, at this moment, in order.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        found: list[Any] = []
        async with self.reading(where) as consumer:
            end = (await consumer.end_offsets([where]))[where]
            if first > await consumer.position(where):
                consumer.seek(where, first)
            while await consumer.position(where) < end:
                for some in (await consumer.getmany(where, timeout_ms=200)).values():
                    found += [each for each in some if each.offset < end]
        return found


def heard(future: Any) -> Any:
    """A record on its way, of whose failure the transaction speaks: nobody need ask the record itself."""
    future.add_done_callback(lambda it: it.cancelled() or it.exception())
    return future


def header(record: Any, name: str) -> str:
    """The text of a record's header, or nothing."""
    return next((value.decode("utf-8", "replace") for key, value in record.headers if key == name), "")


def entry_id(record: Any) -> str:
    """A record's id: when it was appended, in milliseconds by the broker's clock, and its offset."""
    return f"{record.timestamp}-{record.offset}"


def offset_of(entry: str) -> int:
    """The offset in an id."""
    return int(entry.rpartition("-")[2])


async def _started(client: Any) -> Any:
    try:
        with kafka_translated():
            await client.start()
    except BaseException:
        await end(client)
        raise
    return client


def _safe(options: dict[str, str], copies: int) -> dict[str, str]:
    """With more than one copy, an acknowledged record is on two machines at least."""
    return {**options, "min.insync.replicas": str(min(2, copies))}


def chosen(partitions: Iterable[int], notes: dict[int, tuple[int, str]]) -> dict[int, int]:
    """The committed offsets of some partitions; 0 where nothing was."""
    return {each: notes[each][0] if each in notes else 0 for each in partitions}
