"""The streams of messages as administrators see them: partitions and their owners, dead letters, more partitions.

What another installation has in that Redis is neither shown nor touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.api.admin.audit import Audit, Author
from services.api.admin.stream_models import (
    DeadMessageOutcome,
    DeadMessagePage,
    DeadMessageReply,
    DiscardedMessageOutcome,
    PartitionCountReply,
    PartitionReply,
    PersistenceWorkerReply,
    StreamReply,
)
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, InvalidInput, RedisOccupied
from services.kernel.installation import Claim
from services.kernel.messages.consuming import StreamExit
from services.kernel.messages.dead_letters import DeadMessage, DeadMessages
from services.kernel.messages.upkeep import Upkeep
from services.kernel.queries import Queries

if TYPE_CHECKING:
    from redis.asyncio import Redis

REPLAY: Final = "messages.replay"
DISCARD: Final = "messages.discard"
DIVIDE: Final = "messages.divide"

_ALIVE_SECONDS: Final = 15.0
"""Workers are seen every two seconds, with long leases more seldom; one that was not for so long and whose leases have run out is
gone or cut off."""
_TRACE_LENGTH: Final = 40
"""Of an entry's id and a reason, in the record; none that a worker has written is longer."""
_NO_FIGURES: Final = "Redis does not answer: what waits in the stream is not known, nor what is dead."
_OTHERS: Final = "The stream in Redis is another installation's; its messages are not shown. /readyz says what to set."
_NONE_DEAD: Final = "There are no dead letters."
_QUERIES = Queries.load("services.api", "admin.sql")


class StreamDesk:
    """Looks into the streams, puts dead letters back, discards what is no message, divides partitions."""

    def __init__(self, db: Database, redis: Redis, audit: Audit, claim: Claim, *, partitions: int) -> None:
        """Look after the streams.

        Args:
            db: has the owners and the record.
            redis: a client of the database that holds the streams.
            audit: writes the record.
            claim: to that database.
            partitions: how many there are, unless Redis itself says so.
        """
        self._db = db
        self._audit = audit
        self._claim = claim
        self._stream = StreamExit(redis, "administrator")
        self._letters = DeadMessages(redis, partitions=partitions)
        self._upkeep = Upkeep(redis)
        self._configured = partitions

    async def overview(self) -> StreamReply:
        """Every partition with its owner and what waits in it; without Redis, which knows what waits, the owners alone."""
        owners = {row["partition"]: row for row in await self._db.fetch(_QUERIES["message_partitions"])}
        workers = [
            PersistenceWorkerReply(
                alive=row["seen_age_seconds"] <= _ALIVE_SECONDS or row["partitions"] > 0, **dict(row.items())
            )
            for row in await self._db.fetch(_QUERIES["message_workers"])
        ]
        lags: dict[int, int] = {}
        dead = message = None
        try:
            await self._claim.respect()
            count = await self._stream.partitions(self._configured)
            lags, dead = await self._stream.lags(range(count)), await self._letters.count()
        except RedisOccupied:
            message = _OTHERS
        except BrokerUnavailable:
            message = _NO_FIGURES
        partitions = [
            PartitionReply(
                partition=number,
                lag=lags.get(number),
                owner=owners[number]["owner"] if number in owners else None,
                epoch=owners[number]["epoch"] if number in owners else 0,
                owned=bool(number in owners and owners[number]["owned"]),
            )
            for number in sorted(owners.keys() | lags.keys())
        ]
        return StreamReply(
            partitions=partitions,
            workers=workers,
            lag=sum(lags.values()) if lags else None,
            dead_letters=dead,
            message=message,
            read_at=datetime.now(UTC),
        )

    async def dead_letters(self, after: str, size: int) -> DeadMessagePage:
        """Up to `size` dead letters after the one named, the oldest first.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        await self._claim.respect()
        found = await self._letters.page(after, size + 1)
        return DeadMessagePage(
            dead_letters=[_letter(each) for each in found[:size]],
            total=await self._letters.count(),
            message=None if found else _NONE_DEAD,
            next_cursor=found[size - 1].letter_id if len(found) > size else None,
        )

    async def replay(self, author: Author, ids: Sequence[str] | None) -> DeadMessageOutcome:
        """Put dead letters back into the stream, all that are there now when `ids` is None.

        Raises:
            BrokerUnavailable: Redis does not answer; some may have gone back, and the record says how many.
            DatabaseUnavailable: nothing was done, since it could not be recorded.
        """
        await self._claim.respect()
        action = await self._record(author, REPLAY, ids, {})
        back, missing = 0, list[str]()
        try:
            if ids is None:
                async for is_back in self._letters.replaying():
                    back += is_back
            for each in dict.fromkeys(ids or ()):
                if await self._letters.replay([each]):
                    back += 1
                else:
                    missing.append(each)
        finally:
            outcome = DeadMessageOutcome(replayed=back, missing=missing)
            await self._audit.complete(action, msgspec.structs.asdict(outcome))
        return outcome

    async def discard(self, author: Author, ids: Sequence[str] | None) -> DiscardedMessageOutcome:
        """Remove dead letters that are no message, all that are there now when `ids` is None.

        The record has each of them, the first thousand of very many, before any is gone: nothing else knows of it afterwards.

        Raises:
            BrokerUnavailable: Redis does not answer; some may be gone, and the record says how many.
            DatabaseUnavailable: nothing was done, since it could not be recorded.
        """
        await self._claim.respect()
        chosen = await self._letters.chosen(ids)
        letters = {"letters": [_trace(each) for each in chosen.first], "count": len(chosen.ids)}
        action = await self._record(author, DISCARD, ids, letters)
        gone, missing = 0, list(chosen.missing)
        try:
            for each in chosen.ids:
                if await self._letters.discard(each):
                    gone += 1
                elif ids is not None:
                    missing.append(each)
        finally:
            outcome = DiscardedMessageOutcome(discarded=gone, missing=missing, kept=chosen.kept)
            await self._audit.complete(action, msgspec.structs.asdict(outcome))
        return outcome

    async def _record(self, author: Author, action: str, ids: Sequence[str] | None, detail: Mapping[str, Any]) -> int:
        target = "all" if ids is None else f"{len(ids)} dead letters"
        return await self._audit.record(author, action, target, {"ids": None if ids is None else list(ids), **detail})

    async def divide(self, author: Author, count: int) -> PartitionCountReply:
        """Have twice as many partitions; nothing happens when there are `count` already.

        Raises:
            InvalidInput: `count` is not twice as many as there are, or too many; the record says so.
            BrokerUnavailable: Redis does not answer; it may have been done.
            DatabaseUnavailable: nothing was done, since it could not be recorded.
        """
        await self._claim.respect()
        before = await self._stream.partitions(self._configured)
        action = await self._audit.note(author, DIVIDE, "partitions", {"from": before, "to": count})
        try:
            await self._upkeep.repartition(count, present=self._configured)
        except (InvalidInput, BrokerUnavailable) as error:
            if not isinstance(error, (InvalidInput, RedisOccupied)):  # it may have been done all the same
                self._audit.announce(action)
            await self._audit.complete(action.id, {"error": error.message})
            raise
        self._audit.announce(action)
        now = await self._stream.partitions(self._configured)
        await self._audit.complete(action.id, {"partitions": now})
        return PartitionCountReply(partitions=now, changed=now != before)


def _trace(letter: DeadMessage) -> dict[str, Any]:
    def kept(text: str) -> str:  # somebody may have written it by hand, and jsonb has no NUL
        return text[:_TRACE_LENGTH].replace("\0", "\ufffd")

    return {
        "id": letter.letter_id,
        "entry": kept(letter.entry_id),
        "partition": letter.partition,
        "reason": kept(letter.reason),
    }


def _letter(letter: DeadMessage) -> DeadMessageReply:
    envelope = letter.envelope
    return DeadMessageReply(
        id=letter.letter_id,
        entry=letter.entry_id,
        partition=letter.partition,
        reason=letter.reason,
        detail=letter.error or None,
        attempts=letter.attempts,
        dead_since=datetime.fromtimestamp(int(letter.letter_id.partition("-")[0]) / 1000, UTC),
        message_id=None if envelope is None else envelope.id,
        conversation_id=None if envelope is None else envelope.conversation_id,
        sender_id=None if envelope is None else envelope.sender_id,
        client_message_id=None if envelope is None else envelope.client_message_id,
    )
