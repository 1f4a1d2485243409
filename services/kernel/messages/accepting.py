"""The stream's entrance: where a message is accepted, once, however often it is sent (contract.md t, TRAP24).

Promises: `accept` returns when Redis has the messages, each in its partition's stream with a reservation under its id, in one
script for all of them. A message whose reservation is there is answered from it and written nowhere. Whether it survives a
kill of Redis is for Redis to say: with `appendfsync always` it answers after the disk has it.

When Redis does not answer, nothing was promised, though the messages may be there all the same: a repeat finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.messages import names
from services.kernel.messages.envelope import Envelope, Undecodable, accepted_at, decode, encode
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Acceptance(NamedTuple):
    """What is answered to whoever has sent a message."""

    accepted_at: datetime
    is_new: bool
    is_same: bool
    """Whether it says what the first one said; of a new one, True."""
    is_persisted: bool
    """Whether its row is known to be there. False says nothing: it may be there meanwhile."""


class Submission(NamedTuple):
    """A message that asks to be accepted."""

    envelope: Envelope
    conversation_hash: int


class Reservation(NamedTuple):
    """What is remembered of an accepted message until its reservation ends."""

    partition: int
    entry_id: str
    digest: str


class Found(NamedTuple):
    """A message that has no row yet."""

    envelope: Envelope
    accepted_at: datetime
    failure: str | None
    """Why it lies among the dead letters; None while it waits."""


class Transport(Protocol):
    """What carries messages from whoever accepts them to whoever persists them: its entrance."""

    async def accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        """Accept the messages, in this order; an answer for each, in the same order.

        Raises:
            BrokerUnavailable: nothing is promised; send them again.
        """


class StreamEntrance:
    """The entrance of Redis' streams."""

    def __init__(self, redis: Redis, *, partitions: int, reservation_seconds: float) -> None:
        """Accept into the streams of `redis`.

        Args:
            redis: a client of the database REDIS_STREAM_DB.
            partitions: how many there are, unless Redis itself says so.
            reservation_seconds: how long a repeat is recognised by its reservation.
        """
        self._redis = redis
        self._fixed = (str(round(reservation_seconds * 1000)), str(partitions))
        script = resources.files("services.kernel.messages") / "lua" / "accept.lua"
        self._script = redis.register_script(script.read_text(encoding="utf-8"))

    async def accept(self, messages: Sequence[Submission]) -> list[Acceptance]:
        """As `Transport.accept`."""
        keys = [names.SEEN_PREFIX + envelope.id for envelope, _ in messages]
        args: list[str | bytes] = [*self._fixed]
        for envelope, conversation_hash in messages:
            args += (str(conversation_hash), envelope.digest, encode(envelope))
        text = await _asked(self._script(keys=keys, args=args))
        return [_acceptance(line, message) for line, message in zip(text.split(b"\n"), messages, strict=True)]

    async def reserved(self, message_ids: Sequence[str]) -> list[Reservation | None]:
        """The reservations of these messages; None for those that have none (any more).

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        values = await _asked(self._redis.mget([names.seen(each) for each in message_ids]))
        return [None if value is None else _reservation(value) for value in values]

    async def find(self, message_id: str) -> Found | None:
        """A message that has no row: it waits for it, or lies among the dead letters. None when nothing is known of it.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        place = await _asked(self._redis.hget(names.FAILED, message_id))
        if place:
            for _, fields in await self._range(names.DEAD_LETTERS, place.decode()):
                return _found(fields, fields.get(b"entry", b"0"), fields.get(b"reason", b"").decode())
        [reservation] = await self.reserved([message_id])
        if reservation is not None:
            for _, fields in await self._range(names.stream(reservation.partition), reservation.entry_id):
                return _found(fields, reservation.entry_id.encode(), None)
        return None

    async def _range(self, stream: str, entry_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: list[tuple[bytes, dict[bytes, bytes]]] = await _asked(
            self._redis.xrange(stream, entry_id, entry_id, count=1)
        )
        return found


async def _asked(call: Any) -> Any:
    """What Redis answers. A command it refuses (out of memory, its disk full) is no different from no answer at all."""
    try:
        with translated():
            return await call
    except CoursegenError:
        raise
    except Exception as error:
        raise BrokerUnavailable(f"Redis refuses messages ({error})") from error


def _acceptance(line: bytes, message: Submission) -> Acceptance:
    reservation = _reservation(line[1:])
    is_same = reservation.digest == message.envelope.digest
    return Acceptance(accepted_at(reservation.entry_id), line[:1] == b"1", is_same, is_persisted=False)


def _reservation(value: bytes) -> Reservation:
    partition, _, rest = value.decode("ascii", "replace").partition("|")
    entry_id, _, digest = rest.partition("|")
    return Reservation(int(partition), entry_id, digest)


def _found(fields: dict[bytes, bytes], entry_id: bytes, failure: str | None) -> Found | None:
    try:
        envelope = decode(fields.get(names.ENVELOPE.encode(), b""))
    except Undecodable:
        return None
    return Found(envelope, accepted_at(fields.get(b"accepted", entry_id).decode()), failure)
