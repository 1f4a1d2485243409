"""From Redis' streams into Kafka's topic, in their order: how both are written while a move is under way.

An api that wrote to both would write in another order than the next one, and to one only when it dies in between. A copier
writes what Redis has, as Redis has it. Promises: each entry is copied once and in its stream's order, however often copiers die
and however many run: the copies and the note of the last one are one transaction, and the next copier's producer takes the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import OffsetAndMetadata

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.envelope import LaterVersion, Undecodable, decode
from services.kernel.messages.kafka.broker import (
    ACCEPTED,
    COPIED,
    COPIER_GROUP,
    STREAM,
    Broker,
    Succeeded,
    end,
    heard,
    place,
    transaction,
)
from services.kernel.messages.kafka.reservations import COPIED_PREFIX
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

_AT_ONCE: Final = 500
_ENVELOPE: Final = names.ENVELOPE.encode()


class Copier:
    """Copies the streams of one Redis."""

    def __init__(self, broker: Broker, redis: Redis) -> None:
        self._broker = broker
        self._redis: Any = redis
        self._producers: dict[int, Any] = {}
        self._last: dict[int, str] = {}

    async def copy(self, partition: int) -> int:
        """Copy what the partition's stream has now and its topic has not; how many entries.

        Raises:
            BrokerUnavailable: a server does not answer, or another copier is at work; call it again.
        """
        try:
            producer = await self._begun(partition)
            copied = 0
            while entries := await self._next(partition):
                await self._put(producer, partition, entries)
                await self._note(partition, entries[-1][0].decode())
                copied += len(entries)
        except Succeeded as error:
            await self._drop(partition)
            raise BrokerUnavailable("Another copier is at work on this partition; leave it to one.") from error
        except BrokerUnavailable:
            await self._drop(partition)
            raise
        return copied

    async def close(self) -> None:
        """Close the connections."""
        for partition in list(self._producers):
            await self._drop(partition)

    async def _begun(self, partition: int) -> Any:
        producer = self._producers.get(partition)
        if producer is None:
            producer = self._producers[partition] = await self._broker.producer(f"{COPIER_GROUP}-{partition}")
            _, last = (await self._broker.notes(COPIER_GROUP)).get(partition, (0, ""))
            self._last[partition] = last
            if last:  # whoever copied it may have died before he said so
                await self._note(partition, last)
        return producer

    async def _next(self, partition: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        last = self._last[partition]
        start = f"({last}" if last else "-"
        with refusals_translated("Redis refuses to be copied"):
            found: list[tuple[bytes, dict[bytes, bytes]]] = await self._redis.xrange(
                names.stream(partition), start, "+", count=_AT_ONCE
            )
        return found

    async def _put(self, producer: Any, partition: int, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        note = {place(partition): OffsetAndMetadata(0, entries[-1][0].decode())}
        async with transaction(producer):
            for entry_id, fields in entries:
                body = fields.get(_ENVELOPE, b"")
                headers = [(COPIED, entry_id), (ACCEPTED, fields.get(b"accepted", entry_id))]
                heard(await producer.send(STREAM, body, key=_key(body), partition=partition, headers=headers))
            await producer.send_offsets_to_transaction(note, COPIER_GROUP)

    async def _note(self, partition: int, last: str) -> None:
        """Tell those who put messages straight into Kafka how far the copies are."""
        self._last[partition] = last
        with refusals_translated("Redis refuses to be copied"):
            await self._redis.set(f"{COPIED_PREFIX}{partition}", last)

    async def _drop(self, partition: int) -> None:
        if (producer := self._producers.pop(partition, None)) is not None:
            await end(producer)


def _key(body: bytes) -> bytes | None:
    try:
        return decode(body).conversation_id.encode()
    except (Undecodable, LaterVersion):
        return None
