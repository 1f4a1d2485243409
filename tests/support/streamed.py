"""Messages put into the stream as the api puts them there, and the check that each has become one row, in order.

The ledger of a test is what was accepted: the ids of each conversation, in the order of their acceptance. Lost, double and out
of order are told from one comparison with the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.kernel.database import Database
from services.kernel.messages import identity, names
from services.kernel.messages.accepting import StreamEntrance, Submission
from services.kernel.messages.envelope import Envelope
from services.kernel.messages.transport import Entrance
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

PARTITIONS = 16


def envelope(conversation: str, client_id: str, content: str = "Hello", **changes: Any) -> Envelope:
    """A message as the api makes it."""
    key = identity.idempotency_key("alice", conversation, client_id)
    facts: dict[str, Any] = {
        "id": identity.message_id(key),
        "key": key,
        "conversation_id": conversation,
        "sender_id": "alice",
        "content": content,
        "content_type": "text",
        "client_message_id": client_id,
        "recipient_ids": ("bob", "carol"),
        "correlation_id": "request-1",
        "digest": identity.content_digest(content, "text", ("bob", "carol")),
    }
    return Envelope(**(facts | changes))


def partition_of(conversation: str, count: int = PARTITIONS) -> int:
    """Where its messages go."""
    return names.partition_hash(conversation) % count


def conversation_in(partition: int, count: int = PARTITIONS, *, but: Sequence[str] = ()) -> str:
    """A conversation whose messages go to that partition."""
    return next(
        name for n in range(100_000) if partition_of(name := f"talk-{n}", count) == partition and name not in but
    )


class Ledger:
    """What was accepted."""

    def __init__(self, redis: Redis, partitions: int = PARTITIONS) -> None:
        self.entrance: Entrance = StreamEntrance(redis, partitions=partitions)
        """Where messages are accepted from now on."""
        self.accepted: defaultdict[str, list[str]] = defaultdict(list)

    @property
    def count(self) -> int:
        """How many messages."""
        return sum(map(len, self.accepted.values()))

    async def send(self, *envelopes: Envelope, counts: bool = True) -> None:
        """Have messages accepted; those that are not to become rows do not count."""
        await self.entrance.accept([Submission(each, names.partition_hash(each.conversation_id)) for each in envelopes])
        for each in envelopes if counts else ():
            if each.id not in self.accepted[each.conversation_id]:
                self.accepted[each.conversation_id].append(each.id)

    async def talk(self, conversations: int, messages: int, *, first: int = 0) -> None:
        """So many messages in each of so many conversations, one round after the other."""
        for number in range(first, first + messages):
            await self.send(*(envelope(f"talk-{n}", f"m-{number}") for n in range(conversations)))

    async def rows(self, db: Database) -> dict[str, list[str]]:
        """The ids in the table, by conversation, in order."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for row in await db.fetch("SELECT conversationid, id FROM messages ORDER BY position"):
            found[row["conversationid"]].append(row["id"])
        return dict(found)

    async def persisted(self, db: Database, *, within: float = 30.0) -> None:
        """Return when the table says exactly what was accepted.

        Raises:
            AssertionError: it does not in time; says what is lost, too many, or out of order.
        """

        async def complete() -> bool:
            count = await db.fetchval("SELECT count(*) FROM messages")
            assert count >= self.count, f"{count} of {self.count} rows"
            return True

        await eventually(complete, within=within, every=0.05)
        self.compare(await self.rows(db))

    def compare(self, rows: dict[str, list[str]]) -> None:
        """Check that rows are what was accepted.

        Raises:
            AssertionError: says what is lost, what is double and which conversations are out of order.
        """
        accepted = {each: ids for each, ids in self.accepted.items() if ids}
        there = [each for ids in rows.values() for each in ids]
        lost = {each for ids in accepted.values() for each in ids} - set(there)
        double = len(there) - len(set(there))
        disordered = [each for each, ids in accepted.items() if rows.get(each) != ids]
        assert (lost, double, disordered) == (set(), 0, [])
        assert rows == accepted


async def settled(redis: Redis, partitions: int = PARTITIONS) -> bool:
    """Check that nothing is pending, and nothing waits."""
    left = await unsettled(redis, partitions)
    assert not left, "; ".join(f"{stream}: {what}" for stream, what in left.items())
    return True


async def unsettled(redis: Redis, partitions: int = PARTITIONS) -> dict[str, str]:
    """The streams in which something is pending or waits, and what, in words."""
    found = {names.stream(number): await _left_in(redis, names.stream(number)) for number in range(partitions)}
    return {stream: what for stream, what in found.items() if what}


async def _left_in(redis: Redis, stream: str) -> str:
    if not await redis.exists(stream):
        return ""
    groups = await redis.xinfo_groups(stream)
    if not groups:
        return "nobody reads it"
    (group,) = groups
    if group["pending"]:
        return f"{group['pending']} entries pending"
    newest = await redis.xrevrange(stream, count=1)
    return "entries wait" if newest and newest[0][0] != group["last-delivered-id"] else ""
