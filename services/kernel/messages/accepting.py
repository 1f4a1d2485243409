"""The stream's entrance: where a message is accepted, once, however often it is sent (contract.md t, TRAP24).

Promises: `accept` returns when Redis has the messages, each in its partition's stream with a reservation under its id, in one
script for all of them. A message whose reservation is there is answered from it and written nowhere. Whether it survives a
kill of Redis is for Redis to say: with `appendfsync always` it answers after the disk has it. Into the stream of another
installation nothing is put, and what is reserved there is not believed.

A reservation may outlive what it stands for: PostgreSQL was brought back as it was before the row, or somebody has removed the
entry. Then nothing waits under it, and the answer says so (`idle`); whoever knows that there is no row has the message take its
place (`over`). What was among the dead letters and was removed from there is forgotten at once: it had no row.

When Redis does not answer, nothing was promised, though the messages may be there all the same: a repeat finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from services.kernel.errors import BrokerUnavailable
from services.kernel.installation import KEY, STREAM, Claim
from services.kernel.messages import names
from services.kernel.messages.consumer_scripts import script
from services.kernel.messages.envelope import Envelope, Undecodable, accepted_at, decode, encode, first_accepted
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis


State = Literal["pending", "persisted", "failed"]
"""How far a message has come: it waits for its row, has one, or lies among the dead letters."""

_NEW: Final = b"1"
_FAILED: Final = b"2"
_IDLE: Final = b"3"
_NOT_OURS: Final = b"!"


class Acceptance(NamedTuple):
    """What is answered to whoever has sent a message."""

    accepted_at: datetime
    is_new: bool
    is_same: bool
    """Whether it says what the first one said; of a new one, True."""
    state: State
    """How far it is known to have come; a pending one may have its row meanwhile."""
    idle: str = ""
    """The reservation of a repeat when nothing waits under it: it has its row, or will get none."""


class Submission(NamedTuple):
    """A message that asks to be accepted."""

    envelope: Envelope
    conversation_hash: int
    over: str = ""
    """The idle reservation whose place it takes, as long as that is the one it has."""


class Reservation(NamedTuple):
    """What is remembered of an accepted message until some time after its row is there."""

    partition: int
    entry_id: str
    digest: str
    accepted: str
    """The entry's id when the message was accepted: another one only after a replay."""
    has_failed: bool = False
    """Whether it lies among the dead letters."""


class Found(NamedTuple):
    """A message that has no row yet."""

    envelope: Envelope
    accepted_at: datetime
    failure: str | None
    """Why it lies among the dead letters; None while it waits."""


class StreamEntrance:
    """The entrance of Redis' streams."""

    def __init__(self, redis: Redis, *, partitions: int, claim: Claim | None = None) -> None:
        """Accept into the streams of `redis`.

        Args:
            redis: a client of the database REDIS_STREAM_DB.
            partitions: how many there are to be when this Redis has taken no message yet; else it says so itself.
            claim: to the streams; None when nobody asks whose they are.
        """
        self._redis = redis
        self._claim = claim or Claim(redis, "", STREAM)
        self._partitions = str(partitions)
        self._script = redis.register_script(f"{script('idle')}\n{script('accept')}")
        self._idle: Any = redis.register_script(f"{script('idle')}\n{script('idle_among')}")
        self._standing: Any = redis.register_script(f"{script('idle')}\n{script('standing')}")

    async def accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        """Accept the messages, in this order; an answer for each, in the same order.

        Raises:
            BrokerUnavailable: nothing is promised; send them again.
            RedisOccupied: nothing was written, for the stream is another installation's.
        """
        keys = [names.SEEN_PREFIX + each.envelope.id for each in messages]
        args: list[str | bytes] = []
        for envelope, conversation_hash, over in messages:
            args += (str(conversation_hash), envelope.digest, encode(envelope), over)
        text = await self._accepted(keys, args)
        if text == _NOT_OURS:
            await self._claim.hold()
            text = await self._accepted(keys, args)
        if text == _NOT_OURS:
            raise BrokerUnavailable("Redis is being given to another installation")
        return [_acceptance(line, message) for line, message in zip(text.split(b"\n"), messages, strict=True)]

    async def _accepted(self, keys: Sequence[str], args: Sequence[str | bytes]) -> bytes:
        answer: bytes = await _asked(self._script(keys=keys, args=[self._partitions, self._claim.installation, *args]))
        return answer

    async def ping(self) -> None:
        """Return when Redis answers, and the stream is this installation's; a readiness check.

        Raises:
            BrokerUnavailable: it does not.
            RedisOccupied: it is another installation's.
        """
        await self._claim.hold()

    async def reserved(self, message_ids: Sequence[str]) -> list[Reservation | None]:
        """The reservations of these messages; None for those that have none (any more).

        Raises:
            BrokerUnavailable: Redis does not answer.
            RedisOccupied: what is remembered there is another installation's.
        """
        async with self._redis.pipeline(transaction=True) as all_of_them:
            all_of_them.get(KEY)
            all_of_them.mget([names.seen(each) for each in message_ids])
            all_of_them.hmget(names.FAILED, list(message_ids))
            owner, values, letters = await _asked(all_of_them.execute())
        if owner is not None:
            await self._claim.require(owner)
        found = [None if value is None else _reservation(value, has_failed=False) for value in values]
        buried = [number for number, letter in enumerate(letters) if letter is not None]
        if buried:
            lines = await _asked(self._standing(keys=[names.seen(message_ids[each]) for each in buried]))
            for number, line in zip(buried, lines, strict=True):
                found[number] = _reservation(line[1:], has_failed=line[:1] == _FAILED) if line else None
        return found

    async def idle(self, message_ids: Sequence[str]) -> set[str]:
        """Those of the messages that have a reservation under which nothing waits.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        answers = await _asked(self._idle(keys=[names.seen(each) for each in message_ids]))
        return {each for each, is_idle in zip(message_ids, answers, strict=True) if is_idle}

    async def find(self, message_id: str) -> Found | None:
        """A message that has no row: it waits for it, or lies among the dead letters. None when nothing is known of it.

        Raises:
            BrokerUnavailable: Redis does not answer.
            RedisOccupied: what is known there is another installation's.
            LaterVersion: it was written by a later release.
        """
        async with self._redis.pipeline(transaction=True) as both:
            both.get(KEY)
            both.hget(names.FAILED, message_id)
            owner, place = await _asked(both.execute())
        if owner is not None:
            await self._claim.require(owner)
        if place and not place.startswith(names.KAFKA_LETTER.encode()):
            for _, fields in await self._range(names.DEAD_LETTERS, place.decode()):
                entry_id = first_accepted(fields.get(b"entry"), place.decode())
                return _found(fields, entry_id, fields.get(b"reason", b"").decode("utf-8", "replace"))
        [reservation] = await self.reserved([message_id])
        if reservation is not None:
            for _, fields in await self._range(names.stream(reservation.partition), reservation.entry_id):
                return _found(fields, reservation.entry_id, None)
        return None

    async def _range(self, stream: str, entry_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: list[tuple[bytes, dict[bytes, bytes]]] = await _asked(
            self._redis.xrange(stream, entry_id, entry_id, count=1)
        )
        return found


async def _asked(call: Any) -> Any:
    """What Redis answers. A command it refuses (out of memory, its disk full) is no different from no answer at all."""
    with refusals_translated("Redis refuses messages"):
        return await call


def answer_from(reservation: Reservation, message: Submission, *, is_new: bool = False) -> Acceptance:
    """What is answered to whoever has sent a message that has this reservation."""
    is_same = reservation.digest == message.envelope.digest
    state: State = "failed" if reservation.has_failed else "pending"
    return Acceptance(accepted_at(reservation.accepted), is_new, is_same, state)


def acceptance_from(value: bytes, message: Submission, *, is_new: bool, has_failed: bool) -> Acceptance:
    """The same from a reservation as it is written down: "<partition>|<entry id>|<digest>"."""
    return answer_from(_reservation(value, has_failed=has_failed), message, is_new=is_new)


def _acceptance(line: bytes, message: Submission) -> Acceptance:
    mark, value = line[:1], line[1:]
    answer = acceptance_from(value, message, is_new=mark == _NEW, has_failed=mark == _FAILED)
    return answer._replace(idle=value.decode("ascii", "replace")) if mark == _IDLE else answer


def _reservation(value: bytes, *, has_failed: bool) -> Reservation:
    partition, entry_id, digest, accepted = (*value.decode("ascii", "replace").split("|"), "", "", "")[:4]
    return Reservation(int(partition), entry_id, digest, accepted or entry_id, has_failed)


def _found(fields: dict[bytes, bytes], entry_id: str, failure: str | None) -> Found | None:
    try:
        envelope = decode(fields.get(names.ENVELOPE.encode(), b""))
    except Undecodable:
        return None
    return Found(envelope, accepted_at(first_accepted(fields.get(b"accepted"), entry_id)), failure)
