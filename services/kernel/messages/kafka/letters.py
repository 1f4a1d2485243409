"""The dead letters in their topic (`transport.Letters`).

A letter that goes back is followed by a record of its key without a value, in one transaction with the message's new
record: it goes back once, whoever asks for it and however many do so. Kafka removes both later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.dead_letters import DeadMessage
from services.kernel.messages.envelope import LaterVersion, Undecodable, decode
from services.kernel.messages.kafka.broker import (
    ACCEPTED,
    DEAD_LETTERS,
    STREAM,
    Broker,
    Succeeded,
    end,
    entry_id,
    header,
    heard,
    kafka_translated,
    place,
    transaction,
)
from services.kernel.messages.kafka.reservations import Reservations

_REPLAYER: Final = "msg-replay"
_PAGE: Final = 100


class KafkaLetters:
    """The dead letters of one cluster."""

    def __init__(self, broker: Broker, reservations: Reservations) -> None:
        self._broker = broker
        self._reservations = reservations

    async def count(self) -> int:
        """As `Letters.count`."""
        return len(await self._there())

    async def page(self, after: str = "", most: int = _PAGE) -> list[DeadMessage]:
        """As `Letters.page`."""
        first = _offset(after) + 1 if after else 0
        return [_letter(each) for each in await self._there() if each.offset >= first][:most]

    async def replay(self, letter_ids: Sequence[str]) -> int:
        """As `Letters.replay`: all of them or none."""
        wanted = frozenset(letter_ids)
        return await self._replay(wanted)

    async def replay_all(self) -> int:
        """As `Letters.replay_all`: all of them or none."""
        return await self._replay(None)

    async def _there(self) -> list[Any]:
        """The records of the letters, the oldest first."""
        found: dict[bytes, Any] = {}
        for record in await self._broker.records(place(0)._replace(topic=DEAD_LETTERS)):
            if record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = record
        return sorted(found.values(), key=lambda each: each.offset)

    async def _replay(self, wanted: frozenset[str] | None) -> int:
        producer = await self._broker.producer(_REPLAYER)  # whoever replays beside is refused from here on
        try:
            letters = [each for each in await self._there() if wanted is None or entry_id(each) in wanted]
            if not letters:
                return 0
            with kafka_translated():
                count = len(await producer.partitions_for(STREAM))
            async with transaction(producer):
                sent = [await self._put_back(producer, each, count) for each in letters]
            said = [await each for each in sent]
        except Succeeded as error:
            raise BrokerUnavailable("Somebody else replays dead letters; look at them again.") from error
        finally:
            await end(producer)
        await self._reservations.revive(
            [
                (envelope.id, f"{it.partition}|{it.timestamp}-{it.offset}|{envelope.digest}|{header(each, ACCEPTED)}")
                for each, it in zip(letters, said, strict=True)
                if (envelope := _letter(each).envelope) is not None
            ]
        )
        return len(letters)

    async def _put_back(self, producer: Any, record: Any, count: int) -> Any:
        letter = _letter(record)
        partition, key = letter.partition, b""
        if letter.envelope is not None:
            conversation = letter.envelope.conversation_id
            partition, key = names.partition_hash(conversation) % count, conversation.encode()
        headers = [(ACCEPTED, header(record, ACCEPTED).encode())]
        sent = heard(await producer.send(STREAM, record.value, key=key, partition=partition, headers=headers))
        heard(await producer.send(DEAD_LETTERS, None, key=record.key, partition=0))
        return sent


def _letter(record: Any) -> DeadMessage:
    try:
        envelope = decode(record.value)
    except (Undecodable, LaterVersion):
        envelope = None
    return DeadMessage(
        entry_id(record),
        header(record, "entry"),
        int(header(record, "partition") or 0),
        header(record, "reason"),
        header(record, "error"),
        int(header(record, "attempts") or 0),
        envelope,
    )


def _offset(letter_id: str) -> int:
    return int(letter_id.rpartition("-")[2])
