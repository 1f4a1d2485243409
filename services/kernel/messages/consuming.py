"""The stream's exit: entries are read, settled or buried by the one owner of their partition.

Promises: whatever is asked for names the owner's epoch, and Redis refuses it once a later owner has begun (`Succeeded`); so one
that was asleep takes no entry, settles none and buries none. What was read and not settled stays pending: `take_over` gives it
to the next owner, and reading after an id gives it to the same one again. Nothing here decides what is persisted.

Entries are read by a script, which cannot wait; `wait` waits without taking anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.kernel.errors import BrokerUnavailable
from services.kernel.installation import STREAM, Claim
from services.kernel.messages import names
from services.kernel.messages.consumer_scripts import ConsumerScripts, answered

if TYPE_CHECKING:
    from redis.asyncio import Redis

NEW: Final = ">"
"""Read what nobody was given yet."""
PENDING: Final = "0"
"""Read what this consumer was given and has not settled, from the first."""

_NO_ENVELOPE: Final = -1
_DELETED: Final = -2
_WAITS: Final = -1
_NO_GROUP: Final = -2
_STRANGERS: Final = -3


class Lease(NamedTuple):
    """A partition and the epoch under which it is owned."""

    partition: int
    epoch: int


class Entry(NamedTuple):
    """One delivery."""

    partition: int
    entry_id: str
    accepted: str
    """The entry's id when the message was accepted: another one only after a replay."""
    body: bytes | None
    """The envelope; None when there is none."""
    is_missing: bool = False
    """Whether somebody has deleted it from the stream before it was settled."""


class Delivery(NamedTuple):
    """What reading one partition gave."""

    partition: int
    entries: list[Entry]
    succeeded_by: int = 0
    """The epoch of a later owner; 0 when there is none."""
    waits: bool = False
    """Whether entries of another partition come first."""
    read_at: float = 0.0
    """By this process's monotonic clock."""
    has_group: bool = True
    """False: Redis has lost the group, knows nothing of this epoch, or strangers have entries; the partition is to be taken over
    again."""
    has_strangers: bool = False
    """Whether another consumer has entries of this group, which may come before what is read."""


class TakeOver(NamedTuple):
    """What a new owner has found."""

    succeeded_by: int
    """The epoch of a later owner, or one that Redis remembers from an earlier life of the database; 0 when there is none."""
    taken: int
    last_delivered: str
    missing: tuple[str, ...] = ()
    """Ids of entries that somebody has deleted before they were settled: dead letters now."""


class StreamExit:
    """The consumers' side of the streams in one Redis."""

    def __init__(
        self, redis: Redis, consumer: str, *, reservation_seconds: float = 3600.0, claim: Claim | None = None
    ) -> None:
        """Consume from `redis`.

        Args:
            redis: a client of the database REDIS_STREAM_DB.
            consumer: a name that no other worker has or had.
            reservation_seconds: how long a message's repeats are recognised by its reservation once its row is there.
            claim: to the streams; None when nobody asks whose they are.
        """
        self._claim = claim or Claim(redis, "", STREAM)
        self._reservation_ms = round(reservation_seconds * 1000)
        self._redis: Any = redis  # redis-py types every answer as "perhaps not awaitable"
        self._scripts = ConsumerScripts(redis)
        self._consumer = consumer

    async def ping(self) -> None:
        """Return when Redis answers, and the streams are this installation's; a readiness check.

        Raises:
            BrokerUnavailable: it does not.
            RedisOccupied: they are another installation's.
        """
        await self._claim.hold()

    async def prepare(self) -> None:
        """Make the group of the dead letters, unless it is there.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        groups = await answered(self._groups(names.DEAD_LETTERS))
        if names.DEAD_LETTER_GROUP not in groups:
            make = self._redis.xgroup_create(names.DEAD_LETTERS, names.DEAD_LETTER_GROUP, id="0", mkstream=True)
            await answered(_unless_there(make))

    async def partitions(self, default: int) -> int:
        """How many partitions there are."""
        value = await answered(self._redis.get(names.PARTITIONS))
        return default if value is None else int(value)

    async def take_over(self, lease: Lease) -> TakeOver:
        """Begin to own a partition; what others were given and have not settled is this consumer's from now on.

        Raises:
            BrokerUnavailable: Redis does not answer.
            RedisOccupied: the streams are another installation's.
        """
        answer = await self._taken_over(lease)
        if answer[-1]:
            await self._claim.hold()
            answer = await self._taken_over(lease)
        succeeded_by, taken, last, missing, is_not_ours = answer
        if is_not_ours:
            raise BrokerUnavailable("Redis is being given to another installation")
        return TakeOver(succeeded_by, taken, last.decode(), tuple(each.decode() for each in missing))

    async def read(
        self, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        """At most `count` entries of each partition, in its order, after an id, or `NEW` ones; fewer when they are long.

        None where strangers have some, whose may come before; `looks_round`: find them also where there is nothing else.
        """
        args: list[str | int] = [self._consumer, count, int(looks_round)]
        for (partition, epoch), after in wanted:
            args += (partition, epoch, after)
        answers = await self._scripts.run("read", *args)
        now = time.monotonic()
        return [
            _delivery(lease.partition, each)._replace(read_at=now)
            for (lease, _), each in zip(wanted, answers, strict=True)
        ]

    async def wait(self, last: Mapping[int, str], seconds: float) -> set[int]:
        """Return when a partition has an entry after the one named, or after `seconds`; those that have one."""
        streams = {names.stream(partition): (partition, entry_id) for partition, entry_id in last.items()}
        after = {stream: entry_id for stream, (_, entry_id) in streams.items()}
        found = await answered(self._redis.xread(after, count=1, block=max(1, round(seconds * 1000))))
        return {streams[stream.decode()][0] for stream, _ in found or ()}

    async def settle(self, entries: Mapping[Lease, Sequence[str]], message_ids: Sequence[str] = ()) -> set[int]:
        """Say that these entries are in PostgreSQL; the partitions that are somebody else's by now, of which none was settled.

        The reservations of the messages end after a while: from their rows on it is PostgreSQL that knows them.
        """
        args: list[str | int] = [self._reservation_ms, len(message_ids), *message_ids]
        for (partition, epoch), ids in entries.items():
            args += (partition, epoch, len(ids), *ids)
        return {int(each) for each in await self._scripts.run("settle", *args)} if entries else set()

    async def touch(self, lease: Lease, entry_id: str) -> int | None:
        """Note that an entry is about to be handled alone; how many have begun that. None: the partition is somebody else's."""
        succeeded_by, times = await self._scripts.run("touch", *lease, entry_id, 1, self._consumer)
        return None if succeeded_by else times

    async def survive(self, lease: Lease, entry_id: str) -> None:
        """Take a note back: whoever handled the entry lives, though it is not settled yet."""
        await self._scripts.run("touch", *lease, entry_id, -1, self._consumer)

    async def bury(self, lease: Lease, entry_id: str, message_id: str, why: Mapping[str, str]) -> bool | None:
        """Put an entry among the dead letters; False when it was settled meanwhile, None: the partition is somebody else's."""
        facts = [text for pair in why.items() for text in pair]
        succeeded_by, letter = await self._scripts.run("bury", *lease, entry_id, message_id, *facts)
        return None if succeeded_by else bool(letter)

    async def lags(self, partitions: Iterable[int]) -> dict[int, int]:
        """How many entries of each partition are not settled; 0 when Redis was emptied."""
        counts = await self.counts(partitions)
        return {each: max(0, enqueued - settled) for each, (enqueued, settled) in counts.items()}

    async def counts(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """How many entries of each partition were ever enqueued and settled.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        wanted = list(partitions)
        pipeline = self._redis.pipeline(transaction=False)
        for partition in wanted:
            pipeline.hmget(names.count(partition), names.ENQUEUED, names.SETTLED)
        found = await answered(pipeline.execute()) if wanted else []
        return {
            each: (int(enqueued or 0), int(settled or 0))
            for each, (enqueued, settled) in zip(wanted, found, strict=True)
        }

    async def _taken_over(self, lease: Lease) -> Any:
        args = (lease.partition, lease.epoch, self._consumer, self._claim.installation)
        return await self._scripts.run("take_over", *args)

    async def _groups(self, stream: str) -> set[str]:
        if not await self._redis.exists(stream):
            return set()
        return {group["name"].decode() for group in await self._redis.xinfo_groups(stream)}


async def _unless_there(make: Any) -> None:
    try:
        await make
    except Exception as error:
        if "BUSYGROUP" not in str(error):  # another process was quicker
            raise


def _delivery(partition: int, answer: list[Any]) -> Delivery:
    standing = answer[0]
    if standing:
        return Delivery(
            partition,
            [],
            max(0, standing),
            waits=standing == _WAITS,
            has_group=standing not in {_NO_GROUP, _STRANGERS},
            has_strangers=standing == _STRANGERS,
        )
    _, ids, lengths, accepted, blob = answer
    if not ids:
        return Delivery(partition, [])
    entries, at = [], 0
    columns = (ids.decode().split(","), lengths.split(b","), accepted.decode().split(","))
    for entry_id, length, first_id in zip(*columns, strict=True):
        end = at + max(0, int(length))
        body = None if int(length) <= _NO_ENVELOPE else blob[at:end]
        entries.append(Entry(partition, entry_id, first_id, body, int(length) == _DELETED))
        at = end
    return Delivery(partition, entries)
