"""Both transports in one worker, each partition read from one of them: how readers move, and move back, one partition at a time.

Which one is noted in Redis (`msg:transport`) and looked at with every read. A partition that is to be read from the other one is
left as if another worker had taken it: the worker forgets what it has in hand and takes the partition over under a new epoch, so
that nothing that was read from the one is ever settled in the other. Rows that are there already are passed over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from services.kernel.messages.consuming import Delivery, Lease, TakeOver
from services.kernel.messages.transport import Exit, Transport, Trimming
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

ROUTES: Final = "msg:transport"
"""Hash: partition -> `kafka`; the others are read from Redis."""
KAFKA: Final = "kafka"


class Routes:
    """Which partitions are read from Kafka."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def to_kafka(self) -> frozenset[int]:
        """Those partitions.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with refusals_translated("Redis refuses to say where partitions are read"):
            return frozenset(int(each) for each in await self._redis.hkeys(ROUTES))

    async def lead(self, partition: int, *, to_kafka: bool) -> None:
        """Have a partition read from Kafka, or from Redis.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        with refusals_translated("Redis refuses to note where partitions are read"):
            if to_kafka:
                await self._redis.hset(ROUTES, str(partition), KAFKA)
            else:
                await self._redis.hdel(ROUTES, str(partition))


class SwitchedExit:
    """The exits of both (`transport.Exit`)."""

    def __init__(self, routes: Routes, streams: Exit, topics: Exit) -> None:
        self._routes = routes
        self._streams = streams
        self._topics = topics
        self._open: dict[int, tuple[Lease, Exit]] = {}

    async def ping(self) -> None:
        """As `Exit.ping`: both answer."""
        await self._streams.ping()
        await self._topics.ping()

    async def prepare(self) -> None:
        """As `Exit.prepare`."""
        await self._streams.prepare()
        await self._topics.prepare()

    async def partitions(self, default: int) -> int:
        """As `Exit.partitions`."""
        return await self._streams.partitions(default)

    async def take_over(self, lease: Lease) -> TakeOver:
        """As `Exit.take_over`; an epoch under which the other transport was read is as good as a later one's."""
        wanted = self._wanted(lease.partition, await self._routes.to_kafka())
        before = self._open.get(lease.partition)
        if before is not None and before[0] == lease and before[1] is not wanted:
            return TakeOver(lease.epoch, 0, "")
        found = await wanted.take_over(lease)
        if not found.succeeded_by:
            self._open[lease.partition] = (lease, wanted)
        return found

    async def read(
        self, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        """As `Exit.read`."""
        to_kafka = await self._routes.to_kafka()
        found: dict[int, Delivery] = {}
        asked: defaultdict[Exit, list[tuple[Lease, str]]] = defaultdict(list)
        for lease, after in wanted:
            at = self._at(lease)
            if at is None:
                found[lease.partition] = Delivery(lease.partition, [], has_group=False)
            elif at is not self._wanted(lease.partition, to_kafka):
                found[lease.partition] = Delivery(lease.partition, [], succeeded_by=lease.epoch)
            else:
                asked[at].append((lease, after))
        reads = (at.read(some, count, looks_round=looks_round) for at, some in asked.items())
        for deliveries in await asyncio.gather(*reads):
            found |= {each.partition: each for each in deliveries}
        return [found[lease.partition] for lease, _ in wanted]

    async def wait(self, last: Mapping[int, str], seconds: float) -> set[int]:
        """As `Exit.wait`."""
        asked: defaultdict[Exit, dict[int, str]] = defaultdict(dict)
        for partition, entry_id in last.items():
            if partition in self._open:
                asked[self._open[partition][1]][partition] = entry_id
        waits = [asyncio.create_task(at.wait(some, seconds)) for at, some in asked.items()]
        if not waits:
            await asyncio.sleep(seconds)
            return set()
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return {partition for each in done for partition in each.result()}

    async def settle(self, entries: Mapping[Lease, Sequence[str]], message_ids: Sequence[str] = ()) -> set[int]:
        """As `Exit.settle`."""
        lost: set[int] = set()
        asked: defaultdict[Exit, dict[Lease, Sequence[str]]] = defaultdict(dict)
        for lease, ids in entries.items():
            at = self._at(lease)
            if at is None:
                lost.add(lease.partition)
            else:
                asked[at][lease] = ids
        for each in await asyncio.gather(*(at.settle(some, message_ids) for at, some in asked.items())):
            lost |= each
        return lost

    async def touch(self, lease: Lease, entry_id: str) -> int | None:
        """As `Exit.touch`."""
        at = self._at(lease)
        return None if at is None else await at.touch(lease, entry_id)

    async def survive(self, lease: Lease, entry_id: str) -> None:
        """As `Exit.survive`."""
        if (at := self._at(lease)) is not None:
            await at.survive(lease, entry_id)

    async def bury(self, lease: Lease, entry_id: str, message_id: str, why: Mapping[str, str]) -> bool | None:
        """As `Exit.bury`."""
        at = self._at(lease)
        return None if at is None else await at.bury(lease, entry_id, message_id, why)

    async def lags(self, partitions: Iterable[int]) -> dict[int, int]:
        """As `Exit.lags`, of where each is to be read."""
        to_kafka = await self._routes.to_kafka()
        asked: defaultdict[Exit, list[int]] = defaultdict(list)
        for each in partitions:
            asked[self._wanted(each, to_kafka)].append(each)
        found: dict[int, int] = {}
        for at, some in asked.items():
            found |= await at.lags(some)
        return found

    def _at(self, lease: Lease) -> Exit | None:
        """Where the partition is read under this very lease."""
        opened = self._open.get(lease.partition)
        return opened[1] if opened is not None and opened[0] == lease else None

    def _wanted(self, partition: int, to_kafka: frozenset[int]) -> Exit:
        return self._topics if partition in to_kafka else self._streams


class _TrimmingBoth:
    def __init__(self, streams: Trimming, topics: Trimming) -> None:
        self._both = (streams, topics)

    async def trim(self, partition: int, *, keep_seconds: float, keep_entries: int) -> int:
        return sum(
            [await each.trim(partition, keep_seconds=keep_seconds, keep_entries=keep_entries) for each in self._both]
        )


def switched(redis: Redis, streams: Transport, topics: Transport) -> Transport:
    """Readers of both; messages are accepted by, and dead letters looked for in, the streams."""
    leaving = SwitchedExit(Routes(redis), streams.exit, topics.exit)
    return Transport(streams.entrance, leaving, streams.letters, _TrimmingBoth(streams.trimming, topics.trimming))
