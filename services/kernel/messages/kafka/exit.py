"""The topic's exit: entries are read, settled or buried by the one owner of their partition (`transport.Exit`).

Reading takes nothing from a topic, so an owner who was succeeded may read; he can note nothing, settle nothing and bury nothing,
and PostgreSQL takes no row from him.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages.consuming import NEW, Delivery, Entry, Lease, TakeOver
from services.kernel.messages.kafka.broker import (
    DEAD_LETTERS,
    GROUP,
    Broker,
    Succeeded,
    chosen,
    end,
    kafka_translated,
    place,
)
from services.kernel.messages.kafka.owned import Owned
from services.kernel.messages.kafka.reservations import Reservations
from services.kernel.messages.kafka.standing import decode

_MOST_FRESH: Final = 1_000
"""Entries of a partition that are fetched before anybody asks for them."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_LOAD_SECONDS: Final = 20.0
_MOST_MISSING: Final = 1_000


class KafkaExit:
    """The consumers' side of the topic."""

    def __init__(self, broker: Broker, reservations: Reservations) -> None:
        self._broker = broker
        self._reservations = reservations
        self._owned: dict[int, Owned] = {}
        self._consumer: Any = None
        self._placed: dict[int, Owned] = {}
        self._turn = asyncio.Lock()

    async def ping(self) -> None:
        """As `Exit.ping`."""
        async with self._broker.admin() as admin:
            await admin.describe_cluster()

    async def prepare(self) -> None:
        """As `Exit.prepare`; the topics are made by whoever knows how many copies there are to be."""

    async def partitions(self, default: int) -> int:
        """As `Exit.partitions`."""
        return await self._broker.count() or default

    async def take_over(self, lease: Lease) -> TakeOver:
        """As `Exit.take_over`: from here on Kafka refuses the producer of any earlier owner."""
        await self._let_go(lease.partition)
        producer = await self._broker.producer(f"{GROUP}-{lease.partition}")
        try:
            offset, metadata = (await self._broker.notes(GROUP)).get(lease.partition, (0, ""))
        except BaseException:
            await end(producer)
            raise
        standing = decode(metadata)
        owned = self._owned[lease.partition] = Owned(lease, producer, offset, standing)
        if standing.epoch > lease.epoch:
            await self._let_go(lease.partition)
            return TakeOver(standing.epoch, 0, "")
        try:
            await owned.note()
            missing = await self._load(owned)
        except Succeeded:
            await self._let_go(lease.partition)
            return TakeOver(await self._later(lease) or lease.epoch, 0, "")
        last = list(owned.in_hand.values())[-1:]
        return TakeOver(0, len(owned.in_hand), last[0].entry_id if last else "0-0", missing)

    async def read(
        self, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        """As `Exit.read`; reading takes nothing from a topic, so nobody else has anything of it."""
        if any(
            after == NEW and (owned := self._owner(lease)) is not None and not owned.fresh for lease, after in wanted
        ):
            await self._fetch(0)
        most_bytes = _MOST_BYTES / max(1, len(wanted))
        return list(await asyncio.gather(*(self._read(lease, after, count, most_bytes) for lease, after in wanted)))

    async def wait(self, last: Mapping[int, str], seconds: float) -> set[int]:
        """As `Exit.wait`; reading takes nothing from a topic, so there is nothing that somebody else could have taken."""
        if not any(each.fresh for partition, each in self._owned.items() if partition in last):
            await self._fetch(seconds)
        return set()

    async def settle(self, entries: Mapping[Lease, Sequence[str]], message_ids: Sequence[str] = ()) -> set[int]:
        """As `Exit.settle`."""
        await self._reservations.end(message_ids)
        lost = await asyncio.gather(*(self._settle(lease, ids) for lease, ids in entries.items()))
        return {each.partition for each, is_lost in zip(entries, lost, strict=True) if is_lost}

    async def touch(self, lease: Lease, entry_id: str) -> int | None:
        """As `Exit.touch`."""
        owned = self._owner(lease)
        try:
            return None if owned is None else await owned.touch(entry_id, 1)
        except Succeeded:
            return None

    async def survive(self, lease: Lease, entry_id: str) -> None:
        """As `Exit.survive`."""
        if (owned := self._owner(lease)) is not None:
            try:
                await owned.touch(entry_id, -1)
            except Succeeded:
                return

    async def bury(self, lease: Lease, entry_id: str, message_id: str, why: Mapping[str, str]) -> bool | None:
        """As `Exit.bury`: the letter and the offset are one transaction."""
        owned = self._owner(lease)
        if owned is None:
            return None
        entry = next((each for each in owned.in_hand.values() if each.entry_id == entry_id), None)
        if entry is None:
            return False
        facts = {"entry": entry_id, "accepted": entry.accepted, "partition": str(lease.partition), **why}
        try:
            letter = await owned.bury(entry_id, DEAD_LETTERS, [(name, text.encode()) for name, text in facts.items()])
        except Succeeded:
            return None
        if letter is not None and message_id:
            await self._reservations.fail(message_id, f"{letter.timestamp}-{letter.offset}")
        return letter is not None

    async def lags(self, partitions: Iterable[int]) -> dict[int, int]:
        """As `Exit.lags`."""
        wanted = list(partitions)
        if not wanted:
            return {}
        for owned in list(self._owned.values()):
            if owned.has_idled and not owned.is_over:
                try:
                    await owned.note()
                except Succeeded:
                    continue
        settled = chosen(wanted, await self._broker.notes(GROUP))
        async with self._turn:
            consumer = await self._reader()
            with kafka_translated():
                ends = await consumer.end_offsets([place(each) for each in wanted])
        return {each: max(0, ends[place(each)] - settled[each]) for each in wanted}

    async def close(self) -> None:
        """Own nothing any more, and close the connections."""
        await asyncio.gather(*(self._let_go(each) for each in list(self._owned)))
        if self._consumer is not None:
            await end(self._consumer)

    def _owner(self, lease: Lease) -> Owned | None:
        owned = self._owned.get(lease.partition)
        return owned if owned is not None and owned.lease == lease and not owned.is_over else None

    async def _let_go(self, partition: int) -> None:
        owned = self._owned.pop(partition, None)
        self._placed.pop(partition, None)
        if owned is not None:
            await owned.close()

    async def _later(self, lease: Lease) -> int:
        """The epoch of a later owner; 0 when there is none, as after one that came too late has taken the producer's name."""
        _, metadata = (await self._broker.notes(GROUP)).get(lease.partition, (0, ""))
        epoch = decode(metadata).epoch
        return epoch if epoch > lease.epoch else 0

    async def _read(self, lease: Lease, after: str, count: int, most_bytes: float) -> Delivery:
        owned = self._owner(lease)
        if owned is None:
            return Delivery(lease.partition, [], has_group=False)
        entries: list[Entry]
        try:
            entries = await owned.take(count, most_bytes) if after == NEW else owned.pending(after, count)
        except Succeeded:
            later = await self._later(lease)
            return Delivery(lease.partition, [], succeeded_by=later, has_group=bool(later))
        return Delivery(lease.partition, entries, read_at=time.monotonic())

    async def _settle(self, lease: Lease, ids: Sequence[str]) -> bool:
        owned = self._owner(lease)
        if owned is None:
            return True
        try:
            await owned.settle(ids)
        except Succeeded:
            return True
        return False

    async def _load(self, owned: Owned) -> tuple[str, ...]:
        """Have in hand what earlier owners had; the ids of entries that somebody has cut off before they were settled."""
        where = place(owned.partition)
        async with self._turn:
            consumer = await self._reader()
            with kafka_translated():
                first = (await consumer.beginning_offsets([where]))[where]
                end = (await consumer.end_offsets([where]))[where]
        missing = [f"0-{offset}" for offset in range(owned.fetched, first)][:_MOST_MISSING]
        owned.fetched = max(owned.fetched, first)
        until = time.monotonic() + _LOAD_SECONDS
        while owned.fetched < min(owned.given, end):
            if time.monotonic() > until:
                raise BrokerUnavailable("Kafka does not show what is pending")
            await self._fetch(0.2, for_all=False)
        owned.adopt()
        return tuple(missing)

    async def _fetch(self, seconds: float, *, for_all: bool = True) -> None:
        """Fetch what there is, or what comes within so many seconds."""
        async with self._turn:
            owned = {each.partition: each for each in self._owned.values() if not each.is_over}
            if not owned:
                return
            consumer = await self._reader()
            with kafka_translated():
                self._place(consumer, owned)
                full = [place(each) for each, it in owned.items() if for_all and len(it.fresh) >= _MOST_FRESH]
                consumer.resume(*consumer.assignment())
                consumer.pause(*full)
                found = await consumer.getmany(timeout_ms=round(seconds * 1000), max_records=_MOST_FRESH)
                for where, records in found.items():
                    owned[where.partition].fresh.extend(records)
                    owned[where.partition].fetched = records[-1].offset + 1
                for each in owned.values():
                    each.fetched = await consumer.position(place(each.partition))

    def _place(self, consumer: Any, owned: dict[int, Owned]) -> None:
        """Have the consumer where the owners are."""
        if owned == self._placed:
            return
        consumer.assign([place(each) for each in owned])
        for each in owned.values():
            consumer.seek(place(each.partition), each.fetched)
        self._placed = dict(owned)

    async def _reader(self) -> Any:
        if self._consumer is None:
            self._consumer = await self._broker.consumer()
        return self._consumer
