"""Messages that could not be persisted: looked at, and put into the stream again. What is no message can be discarded.

A message that is replayed comes after those of its conversation that were accepted meanwhile; it keeps the time of its
acceptance. A dead letter goes back once, whoever asks for it and however many do so at the same time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.kernel.messages import names
from services.kernel.messages.consumer_scripts import ConsumerScripts, answered
from services.kernel.messages.envelope import Envelope, LaterVersion, Undecodable, decode

if TYPE_CHECKING:
    from redis.asyncio import Redis

MOST_TOLD: Final = 1000
"""Letters of which it is told what they were before they are discarded; of the rest only how many there are."""

_PAGE: Final = 100
_MOST_DIGITS: Final = 6


class DeadMessage(NamedTuple):
    """One dead letter."""

    letter_id: str
    """Its entry in `msg:dlq`."""
    entry_id: str
    """The entry that could not be persisted."""
    partition: int
    reason: str
    """`refused`, `undecodable`, `missing` or `crashes`."""
    error: str
    attempts: int
    envelope: Envelope | None
    """None when it cannot be read."""
    is_message: bool = True
    """Whether it is one, be it one that a later release reads."""


class Chosen(NamedTuple):
    """Dead letters that somebody wants to be rid of, before any of them is gone."""

    ids: list[str]
    """Those that are no message: they may go."""
    first: list[DeadMessage]
    """What is known of the first of them, of `MOST_TOLD` at most."""
    missing: list[str]
    """Those that are not there (any more)."""
    kept: list[str]
    """Those that are messages, which only a replay ends."""


class DeadMessages:
    """The dead letters of the streams in one Redis."""

    def __init__(self, redis: Redis, *, partitions: int) -> None:
        """Look after the dead letters.

        Args:
            redis: a client of the database REDIS_STREAM_DB.
            partitions: how many there are, unless Redis itself says so.
        """
        self._redis: Any = redis
        self._scripts = ConsumerScripts(redis)
        self._partitions = partitions

    async def count(self) -> int:
        """How many there are.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return int(await answered(self._redis.xlen(names.DEAD_LETTERS)))

    async def page(self, after: str = "", most: int = _PAGE) -> list[DeadMessage]:
        """The next ones after the letter `after`, the oldest first.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        start = f"({after}" if after else "-"
        found = await answered(self._redis.xrange(names.DEAD_LETTERS, start, "+", count=most))
        return [_letter(letter_id, fields) for letter_id, fields in found]

    async def replay(self, letter_ids: Sequence[str]) -> int:
        """Put these back into the stream; how many were there to be put back. Of what is `missing` nothing is left that could be.

        Raises:
            BrokerUnavailable: Redis does not answer; some may have gone back.
        """
        replayed = 0
        for letter_id in letter_ids:
            found = await answered(self._redis.xrange(names.DEAD_LETTERS, letter_id, letter_id))
            for each in found:
                replayed += await self._replay(_letter(*each))
        return replayed

    async def replay_all(self) -> int:
        """Put back all that are there now; how many. What is `missing` is left, and what dies again meanwhile.

        Raises:
            BrokerUnavailable: Redis does not answer; some may have gone back.
        """
        return sum([is_back async for is_back in self.replaying()])

    async def replaying(self) -> AsyncIterator[bool]:
        """The same one by one: of each whether it went back.

        Raises:
            BrokerUnavailable: Redis does not answer; the one after the last may have gone back.
        """
        async for each in self._all():
            yield await self._replay(each)

    async def chosen(self, letter_ids: Sequence[str] | None) -> Chosen:
        """What is to be discarded of these, or of all that are there now: no message, for each was acknowledged to somebody.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        chosen = Chosen([], [], [], [])
        if letter_ids is None:
            async for each in self._all():
                if not each.is_message:
                    _choose(chosen, each)
            return chosen
        for letter_id in dict.fromkeys(letter_ids):
            found = await answered(self._redis.xrange(names.DEAD_LETTERS, letter_id, letter_id))
            if not found:
                chosen.missing.append(letter_id)
            elif (letter := _letter(*found[0])).is_message:
                chosen.kept.append(letter_id)
            else:
                _choose(chosen, letter)
        return chosen

    async def discard(self, letter_id: str) -> bool:
        """Remove this one of `chosen`; whether it was there.

        Raises:
            BrokerUnavailable: Redis does not answer; it may be gone.
        """
        async with self._redis.pipeline(transaction=True) as both:
            both.xack(names.DEAD_LETTERS, names.DEAD_LETTER_GROUP, letter_id)
            both.xdel(names.DEAD_LETTERS, letter_id)
            _, removed = await answered(both.execute())
        return bool(removed)

    async def _all(self) -> AsyncIterator[DeadMessage]:
        """All that are there now, the oldest first, and none that comes later."""
        newest = await answered(self._redis.xrevrange(names.DEAD_LETTERS, count=1))
        last, after = (newest[0][0].decode() if newest else ""), ""
        while last and (letters := await self.page(after)):
            for each in letters:
                if _order(each.letter_id) > _order(last):
                    return
                yield each
            after = letters[-1].letter_id

    async def _replay(self, letter: DeadMessage) -> bool:
        envelope = letter.envelope
        number = "" if envelope is None else names.partition_hash(envelope.conversation_id)
        message = ("", "") if envelope is None else (envelope.id, envelope.digest)
        return bool(await self._scripts.run("replay", letter.letter_id, number, *message, self._partitions))


def _letter(letter_id: bytes, fields: dict[bytes, bytes]) -> DeadMessage:
    def text(name: str) -> str:
        return fields.get(name.encode(), b"").decode("utf-8", "replace")

    envelope, is_message = None, True
    try:
        envelope = decode(fields.get(names.ENVELOPE.encode(), b""))
    except Undecodable:
        is_message = False
    except LaterVersion:
        pass
    return DeadMessage(
        letter_id.decode(),
        text("entry"),
        _number(text("partition")),
        text("reason"),
        text("error"),
        _number(text("attempts")),
        envelope,
        is_message,
    )


def _choose(chosen: Chosen, letter: DeadMessage) -> None:
    chosen.ids.append(letter.letter_id)
    if len(chosen.first) < MOST_TOLD:
        chosen.first.append(letter)


def _number(text: str) -> int:
    """A small number that a worker has written; 0 where somebody has written something else by hand."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
