"""A worker's side duties while Redis is away."""

from __future__ import annotations

import pytest

from services.kernel.errors import BrokerUnavailable
from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.upkeep import Upkeep
from services.kernel.redis_connection import open_redis
from services.kernel.settings import Secret


@pytest.mark.parametrize("duty", ["_live", "_rescue", "_promote", "_show", "_bury"])
async def test_every_duty_knows_an_outage_for_what_it_is(duty: str) -> None:
    """It is waited out quietly; anything else would be an error with a traceback every few seconds, in every worker."""
    redis = open_redis(Secret("redis://127.0.0.1:1/0"), name="nobody")
    queue = CourseQueue(redis, "course-generation:analysis", worker_id="one")
    upkeep = Upkeep(redis, [queue], list, None, 3)
    with pytest.raises(BrokerUnavailable):
        await getattr(upkeep, duty)()
    await redis.aclose()
