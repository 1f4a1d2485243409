"""What Redis remembers of messages that travel through Kafka; no broker is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kernel.messages import names
from services.kernel.messages.kafka.reservations import Reservations
from tests.support.streamed import envelope, partition_of

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_letter_that_was_removed_from_redis_is_forgotten_and_one_in_the_topic_stands(redis: Redis) -> None:
    """Both were reserved; the one came through the streams, before messages went to Kafka."""
    reservations = Reservations(redis)
    removed, in_topic = (envelope("talk", each).id for each in ("removed", "in-topic"))
    await reservations.reserve([(each, f"{partition_of('talk')}|1-1|digest") for each in (removed, in_topic)])
    letter = await redis.xadd(names.DEAD_LETTERS, {"reason": "refused"})
    await redis.hset(names.FAILED, removed, letter)  # type: ignore[misc]
    await reservations.fail(in_topic, "7-0")
    wanted = [(removed, partition_of("talk")), (in_topic, partition_of("talk"))]
    before = await reservations.claim(wanted)
    await redis.xdel(names.DEAD_LETTERS, letter)
    after = await reservations.claim(wanted)

    assert [each.standing for each in before] == ["failed", "failed"]
    assert [each.standing for each in after] == ["new", "failed"]
    assert [await reservations.failed(each) for each in (removed, in_topic)] == ["", "7-0"]
