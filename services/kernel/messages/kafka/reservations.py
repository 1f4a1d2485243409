"""What is remembered of messages by their ids, in Redis: Kafka has no memory of that kind.

The names are those of Redis' streams, so that a repeat is recognised whichever way the first one went. A message is claimed
before its record is written and reserved when it is there; whoever finds a claim writes the record once more, for the claimant
may have died. There is still one row, since the id is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.kernel.messages import names
from services.kernel.messages.consumer_scripts import script
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

COPIED_PREFIX: Final = "msg:copied:"
"""The newest entry of a stream that is in Kafka, too."""
_CLAIM_SECONDS: Final = 600


class Claim(NamedTuple):
    """What came of claiming a message."""

    standing: str
    """`new`, `claimed` by somebody who has not reserved it yet, `known`, `failed`, or `behind`: entries of its partition in Redis
    were not copied yet, and come before it."""
    reservation: bytes


_STANDINGS: Final = {b"1": "new", b"3": "claimed", b"0": "known", b"2": "failed", b"4": "behind"}


class Reservations:
    """The memory of one Redis."""

    def __init__(self, redis: Redis, *, seconds: float = 3600.0) -> None:
        """Remember a message until so long after its row is there."""
        self._redis: Any = redis
        self._ms = round(seconds * 1000)
        folder = resources.files("services.kernel.messages.kafka") / "lua"
        claim = (folder / "claim.lua").read_text(encoding="utf-8")
        self._claim: Any = redis.register_script(f"{script('order')}\n{script('idle')}\n{claim}")
        self._reserve: Any = redis.register_script((folder / "reserve.lua").read_text(encoding="utf-8"))

    async def claim(self, messages: Sequence[tuple[str, int]]) -> list[Claim]:
        """Claim messages, each an id and its partition.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        flat = [each for message in messages for each in message]
        return [
            Claim(_STANDINGS[answer[:1]], answer[1:])
            for answer in await _asked(self._claim(args=[_CLAIM_SECONDS, *flat]))
        ]

    async def reserve(self, reservations: Sequence[tuple[str, str]]) -> list[bytes]:
        """Reserve messages, each an id and "<partition>|<entry id>|<digest>"; what holds for each, which may be an earlier one.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        flat = [each for reservation in reservations for each in reservation]
        found: list[bytes] = await _asked(self._reserve(args=flat)) if flat else []
        return found

    async def end(self, message_ids: Sequence[str]) -> None:
        """Messages have their rows: remember them for a while only.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for each in message_ids:
            pipeline.pexpire(names.seen(each), self._ms)
        if message_ids:
            await _asked(pipeline.execute())

    async def fail(self, message_id: str, letter_id: str) -> None:
        """A message lies among the dead letters.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        await _asked(self._redis.hset(names.FAILED, message_id, names.KAFKA_LETTER + letter_id))

    async def failed(self, message_id: str) -> str:
        """The dead letter of a message in the topic, or nothing.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        letter = (await _asked(self._redis.hget(names.FAILED, message_id)) or b"").decode()
        return letter.removeprefix(names.KAFKA_LETTER) if letter.startswith(names.KAFKA_LETTER) else ""

    async def revive(self, reservations: Sequence[tuple[str, str]]) -> None:
        """Messages lie among the dead letters no more but where their reservations say: each an id and that.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        if reservations:
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hdel(names.FAILED, *(message_id for message_id, _ in reservations))
            pipeline.mset({names.seen(message_id): text for message_id, text in reservations})
            await _asked(pipeline.execute())


async def _asked(call: Any) -> Any:
    with refusals_translated("Redis refuses to remember messages"):
        return await call
