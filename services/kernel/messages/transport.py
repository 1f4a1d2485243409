"""What accepting and persisting need of whatever carries messages between them.

Redis' streams are the form in use; Kafka's topics are the other one (docs/KAFKA_MIGRATION_GUIDE.md). What holds for both, tests
try with both: a message accepted twice has one place, a partition is read in its order by one owner at a time, what an earlier
owner asks for is refused, what was read and not settled comes again, and a dead letter goes back once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from services.kernel.installation import Claim
from services.kernel.messages.accepting import Acceptance, Found, Reservation, StreamEntrance, Submission
from services.kernel.messages.consuming import Delivery, Lease, StreamExit, TakeOver
from services.kernel.messages.dead_letters import DeadMessage, DeadMessages
from services.kernel.messages.upkeep import Upkeep

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Entrance(Protocol):
    """Where messages are accepted."""

    async def accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        """Accept the messages, in this order; an answer for each, in the same order.

        Raises:
            BrokerUnavailable: nothing is promised; send them again.
        """

    async def ping(self) -> None:
        """Return when messages are accepted; a readiness check.

        Raises:
            BrokerUnavailable: there is no answer.
        """

    async def reserved(self, message_ids: Sequence[str]) -> list[Reservation | None]:
        """What is remembered of these messages; None for those of which nothing is (any more).

        Raises:
            BrokerUnavailable: there is no answer.
        """

    async def idle(self, message_ids: Sequence[str]) -> set[str]:
        """Those of the messages of which something is remembered, while nothing waits: each has a row, or will get none.

        Raises:
            BrokerUnavailable: there is no answer.
        """

    async def find(self, message_id: str) -> Found | None:
        """A message that has no row: it waits for it, or lies among the dead letters. None when nothing is known of it.

        Raises:
            BrokerUnavailable: there is no answer.
            LaterVersion: it was written by a later release.
        """


class Exit(Protocol):
    """Where messages are read, by the owners of their partitions. Every method raises BrokerUnavailable without an answer."""

    async def ping(self) -> None:
        """Return when the server answers."""

    async def prepare(self) -> None:
        """Make what the dead letters need, unless it is there."""

    async def partitions(self, default: int) -> int:
        """How many partitions there are; `default` where nobody has said so yet."""

    async def take_over(self, lease: Lease) -> TakeOver:
        """Begin to own a partition; what others were given and have not settled is this owner's from now on."""

    async def read(
        self, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        """At most `count` entries of each partition, in its order: after an id, `PENDING` or `NEW` ones.

        None where somebody who does not own it has some; `looks_round`: find that out also where there is nothing else.
        """

    async def wait(self, last: Mapping[int, str], seconds: float) -> set[int]:
        """Return when a partition has an entry after the one named, or after `seconds`; soon enough, not at once.

        Those that are known to have one: when a read of new entries then brings none, somebody else was given it.
        """

    async def settle(self, entries: Mapping[Lease, Sequence[str]], message_ids: Sequence[str] = ()) -> set[int]:
        """Say that these entries are in PostgreSQL; the partitions that are somebody else's by now."""

    async def touch(self, lease: Lease, entry_id: str) -> int | None:
        """Note that an entry is about to be handled alone; how often that was begun. None: the partition is somebody else's."""

    async def survive(self, lease: Lease, entry_id: str) -> None:
        """Take a note back: whoever handled the entry lives, though it is not settled yet."""

    async def bury(self, lease: Lease, entry_id: str, message_id: str, why: Mapping[str, str]) -> bool | None:
        """Put an entry among the dead letters; False when it was settled meanwhile, None: the partition is somebody else's."""

    async def lags(self, partitions: Iterable[int]) -> dict[int, int]:
        """How many entries of each partition are not settled."""


class Letters(Protocol):
    """The dead letters. Every method raises BrokerUnavailable without an answer."""

    async def count(self) -> int:
        """How many there are."""

    async def page(self, after: str = "", most: int = 100) -> list[DeadMessage]:
        """The next ones after the letter `after`, the oldest first."""

    async def replay(self, letter_ids: Sequence[str]) -> int:
        """Put these back into their partitions; how many were there to be put back."""

    async def replay_all(self) -> int:
        """Put back all that are there now; how many."""


class Trimming(Protocol):
    """What ends the life of persisted entries."""

    async def trim(self, partition: int, *, keep_seconds: float, keep_entries: int) -> int:
        """Cut off settled entries that are older, or more; how many. What was not settled is never cut off.

        Raises:
            BrokerUnavailable: there is no answer.
        """


class Transport(NamedTuple):
    """All sides of one transport."""

    entrance: Entrance
    exit: Exit
    letters: Letters
    trimming: Trimming


def streams(
    redis: Redis, consumer: str, *, partitions: int, reservation_seconds: float = 3600.0, claim: Claim | None = None
) -> Transport:
    """The streams of one Redis.

    Args:
        redis: a client of the database REDIS_STREAM_DB.
        consumer: a name that no other worker has or had.
        partitions: how many there are, unless Redis itself says so.
        reservation_seconds: how long a message's repeats are recognised by its reservation once its row is there.
        claim: to them; None when nobody asks whose they are.
    """
    return Transport(
        StreamEntrance(redis, partitions=partitions, claim=claim),
        StreamExit(redis, consumer, reservation_seconds=reservation_seconds, claim=claim),
        DeadMessages(redis, partitions=partitions),
        Upkeep(redis),
    )
