"""One partition in the hands of its owner: what was given to it, what of that is settled, and the producer that says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.structs import OffsetAndMetadata

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages.consuming import Entry, Lease
from services.kernel.messages.envelope import first_accepted
from services.kernel.messages.kafka.broker import (
    ACCEPTED,
    GROUP,
    end,
    entry_id,
    header,
    heard,
    offset_of,
    place,
    transaction,
)
from services.kernel.messages.kafka.standing import Standing, encode, ranges

_AHEAD: Final = 100
"""So many more entries than were given are noted as given, that not every read need be noted."""


class Owned:
    """A partition that this process owns, until Kafka says that somebody else does."""

    def __init__(self, lease: Lease, producer: Any, offset: int, standing: Standing) -> None:
        """Own it under `lease`; everything below `offset` is settled."""
        self.lease = lease
        self.fetched = offset
        """The next offset that is to be fetched."""
        self.fresh: deque[Any] = deque()
        """Records that were given to nobody yet."""
        self.in_hand: dict[int, Entry] = {}
        """Entries that were given and are not settled, in order."""
        self.is_over = False
        self._producer = producer
        self._committed = offset
        self._given = max(offset, standing.given)
        self._done = {each for first, last in standing.done for each in range(first, last + 1)}
        self._alone = dict(standing.alone)
        self._next = offset
        self._turn = asyncio.Lock()

    @property
    def partition(self) -> int:
        """Its number."""
        return self.lease.partition

    @property
    def given(self) -> int:
        """The first offset that neither this owner nor an earlier one had in hand."""
        return self._given

    @property
    def settled_below(self) -> int:
        """Everything below this offset is settled."""
        if self.in_hand:
            return min(self.in_hand)
        return self.fresh[0].offset if self.fresh else self.fetched

    @property
    def has_idled(self) -> bool:
        """Whether nothing is to be done, and Kafka does not know it yet: marks of transactions have offsets, too."""
        return not (self.in_hand or self.fresh) and self.fetched > self._committed

    def adopt(self) -> None:
        """Take in hand what earlier owners may have had in hand, but for what they have settled."""
        while self.fresh and self.fresh[0].offset < self._given:
            record = self.fresh.popleft()
            self._next = record.offset + 1
            if record.offset not in self._done:
                self.in_hand[record.offset] = _entry(record)

    def pending(self, after: str, count: int) -> list[Entry]:
        """What is in hand after an entry, in order."""
        first = offset_of(after)  # of PENDING 0, which is no entry's id
        return [each for offset, each in self.in_hand.items() if after == "0" or offset > first][:count]

    async def take(self, count: int, most_bytes: float) -> list[Entry]:
        """Take fresh entries in hand, one at least where there is one.

        Raises:
            Succeeded, BrokerUnavailable: none is to be handled.
        """
        taken: list[Entry] = []
        size = 0
        while self.fresh and len(taken) < count and (not taken or size < most_bytes):
            record = self.fresh.popleft()
            taken.append(_entry(record))
            self.in_hand[record.offset] = taken[-1]
            self._next = record.offset + 1
            size += len(record.value or b"")
        if self._next > self._given:
            await self.note()
        return taken

    async def settle(self, entries: Sequence[str]) -> None:
        """These have their rows.

        Raises:
            Succeeded, BrokerUnavailable: somebody else may be given them again.
        """
        for each in entries:
            self._remove(offset_of(each))
        await self.note()

    async def touch(self, entry: str, by: int) -> int:
        """Note that an entry's handling alone has begun, or (-1) was survived; how often it was begun and not survived.

        Raises:
            Succeeded, BrokerUnavailable: it is not to be handled.
        """
        offset = offset_of(entry)
        times = self._alone.get(offset, 0) + by
        self._alone[offset] = times
        if times <= 0:
            del self._alone[offset]
        await self.note()
        return times

    async def bury(self, entry: str, topic: str, headers: list[tuple[str, bytes]]) -> Any | None:
        """Put an entry into a topic and settle it, both or neither; what Kafka says of its record, None when it was settled.

        Raises:
            Succeeded, BrokerUnavailable: it may be in that topic all the same, and is settled then.
        """
        offset = offset_of(entry)
        found = self.in_hand.get(offset)
        if found is None:
            return None
        self._remove(offset)
        key = f"{self.partition}/{offset}".encode()
        return await self.note((topic, key, found.body or b"", headers))

    async def note(self, record: tuple[str, bytes, bytes, list[tuple[str, bytes]]] | None = None) -> Any | None:
        """Tell Kafka how things stand, and put a record into a topic, in one transaction.

        Raises:
            Succeeded: somebody else owns the partition.
            BrokerUnavailable: Kafka does not answer; the partition must be taken over again.
        """
        async with self._turn:
            if self.is_over:
                raise BrokerUnavailable("The partition must be taken over again")
            mark = self.settled_below
            self._given = max(self._given, self._next + _AHEAD) if self._next > self._committed else self._given
            try:
                async with transaction(self._producer):
                    sent = await self._send(record) if record else None
                    where = {place(self.partition): OffsetAndMetadata(mark, encode(self._standing(mark)))}
                    await self._producer.send_offsets_to_transaction(where, GROUP)
            except BaseException:
                self.is_over = True
                raise
            self._committed = mark
            return await sent if sent else None

    async def close(self) -> None:
        """Have no producer any more."""
        self.is_over = True
        await end(self._producer)

    async def _send(self, record: tuple[str, bytes, bytes, list[tuple[str, bytes]]]) -> Any:
        topic, key, value, headers = record
        return heard(await self._producer.send(topic, value, key=key, headers=headers))

    def _standing(self, mark: int) -> Standing:
        self._done = {each for each in self._done if each > mark}
        alone = {each: times for each, times in self._alone.items() if each >= mark}
        return Standing(epoch=self.lease.epoch, given=self._given, done=ranges(sorted(self._done)), alone=alone)

    def _remove(self, offset: int) -> None:
        if self.in_hand.pop(offset, None) is not None:
            self._done.add(offset)
        self._alone.pop(offset, None)


def _entry(record: Any) -> Entry:
    own = entry_id(record)
    said = header(record, ACCEPTED).encode() or None
    return Entry(record.partition, own, first_accepted(said, own), record.value)
