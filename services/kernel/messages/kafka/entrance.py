"""The topic's entrance (`transport.Entrance`): a message is answered when Kafka has its record and Redis remembers it.

Promises: one record for each message, unless an api died between writing it and having it remembered, or two sent it at once:
then there may be more, and one row all the same. Nothing goes into Kafka before what its partition's stream still holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages.accepting import (
    Acceptance,
    Found,
    Reservation,
    StreamEntrance,
    Submission,
    acceptance_from,
)
from services.kernel.messages.envelope import Undecodable, accepted_at, decode, encode
from services.kernel.messages.kafka.broker import (
    ACCEPTED,
    DEAD_LETTERS,
    STREAM,
    Broker,
    end,
    header,
    heard,
    kafka_translated,
    offset_of,
    place,
)
from services.kernel.messages.kafka.reservations import Claim, Reservations

if TYPE_CHECKING:
    from redis.asyncio import Redis

_AGAIN_SECONDS: Final = 0.02
_TO_WRITE: Final = frozenset({"new", "claimed"})


class _Behind(BrokerUnavailable):
    """The copier is behind, or does not run; Kafka itself answers."""


class KafkaEntrance:
    """Where messages are put into the topic."""

    def __init__(self, broker: Broker, redis: Redis, reservations: Reservations, *, patience_seconds: float) -> None:
        """Accept into the topic; what takes longer than `patience_seconds` was not accepted."""
        self._broker = broker
        self._reservations = reservations
        self._before = StreamEntrance(
            redis, partitions=1
        )  # it reads reservations and finds what came through the streams
        self._patience = patience_seconds
        self._producer: Any = None
        self._turn = asyncio.Lock()

    async def accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        """As `Entrance.accept`."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._accept(messages)
        except TimeoutError as error:
            await self._drop()
            raise BrokerUnavailable("Kafka has not taken the messages in time") from error
        except _Behind:
            raise
        except BrokerUnavailable:
            await self._drop()
            raise

    async def ping(self) -> None:
        """As `Entrance.ping`: Kafka answers, and Redis, which remembers."""
        async with self._broker.admin() as admin:
            await admin.describe_cluster()
        await self._before.ping()

    async def reserved(self, message_ids: Sequence[str]) -> list[Reservation | None]:
        """As `Entrance.reserved`."""
        return await self._before.reserved(message_ids)

    async def idle(self, message_ids: Sequence[str]) -> set[str]:
        """As `Entrance.idle`: none is known to be, for whether a topic still has a record is not looked up."""
        return set()

    async def find(self, message_id: str) -> Found | None:
        """As `Entrance.find`."""
        letter = await self._reservations.failed(message_id)
        if letter:
            for record in await self._at(DEAD_LETTERS, letter):
                return _found(record, header(record, "entry"), header(record, "reason"), message_id)
        [reservation] = await self.reserved([message_id])
        if reservation is not None:
            for record in await self._at(STREAM, reservation.entry_id, reservation.partition):
                if found := _found(record, reservation.entry_id, None, message_id):
                    return found
        return await self._before.find(message_id)

    async def close(self) -> None:
        """Close the connections."""
        await self._drop()

    async def _accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        producer = await self._open()
        with kafka_translated():
            count = len(await producer.partitions_for(STREAM))
        partitions = [each.conversation_hash % count for each in messages]
        ids = [each.envelope.id for each in messages]
        claims = await self._claim(list(zip(ids, partitions, strict=True)))
        values = [claim.reservation for claim in claims]
        to_write = [place for place, claim in enumerate(claims) if claim.standing in _TO_WRITE]
        written = await self._write(producer, [(messages[each], partitions[each]) for each in to_write])
        held = await self._reservations.reserve(
            [(ids[each], text) for each, text in zip(to_write, written, strict=True)]
        )
        for each, value in zip(to_write, held, strict=True):
            values[each] = value
        return [
            acceptance_from(value, message, is_new=claim.standing == "new", has_failed=claim.standing == "failed")
            for value, message, claim in zip(values, messages, claims, strict=True)
        ]

    async def _claim(self, messages: Sequence[tuple[str, int]]) -> list[Claim]:
        """Claim all, once nothing in Redis comes before them; a claim that was new stays so."""
        new: set[int] = set()
        until = asyncio.get_running_loop().time() + self._patience / 2
        while True:
            claims = await self._reservations.claim(messages)
            new |= {number for number, each in enumerate(claims) if each.standing == "new"}
            if all(each.standing != "behind" for each in claims):
                return [each._replace(standing="new") if number in new else each for number, each in enumerate(claims)]
            if asyncio.get_running_loop().time() > until:
                raise _Behind("Redis holds entries that come first and are not copied into Kafka yet")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _write(self, producer: Any, messages: Sequence[tuple[Submission, int]]) -> list[str]:
        """Write records, in order; the reservation of each."""
        with kafka_translated():
            futures = [
                heard(
                    await producer.send(
                        STREAM, encode(each.envelope), key=each.envelope.conversation_id.encode(), partition=partition
                    )
                )
                for each, partition in messages
            ]
            said = await asyncio.gather(*futures)
        return [
            f"{it.partition}|{it.timestamp}-{it.offset}|{message.envelope.digest}"
            for it, (message, _) in zip(said, messages, strict=True)
        ]

    async def _at(self, topic: str, entry: str, partition: int = 0) -> list[Any]:
        """The record of this id, or none."""
        where = place(partition)._replace(topic=topic)
        async with self._broker.reading(where) as consumer:
            offset = offset_of(entry)
            if not await consumer.position(where) <= offset < (await consumer.end_offsets([where]))[where]:
                return []
            consumer.seek(where, offset)
            found = await consumer.getmany(where, timeout_ms=round(self._patience * 1000), max_records=1)
        return [each for some in found.values() for each in some if each.offset == offset]

    async def _open(self) -> Any:
        async with self._turn:
            if self._producer is None:
                self._producer = await self._broker.producer()
            return self._producer

    async def _drop(self) -> None:
        async with self._turn:
            producer, self._producer = self._producer, None
        if producer is not None:
            await end(producer)


def _found(record: Any, entry: str, failure: str | None, message_id: str) -> Found | None:
    try:
        envelope = decode(record.value or b"")
    except Undecodable:
        return None
    if envelope.id != message_id:
        return None
    return Found(envelope, accepted_at(header(record, ACCEPTED) or entry), failure)
