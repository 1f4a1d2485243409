"""The cache of results on a real Redis."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from redis.asyncio import Redis

from services.kernel.idempotency import TTL_SECONDS, RememberedResult, ResultCache


async def test_results_written_together_are_kept_for_a_day_each(redis: Redis) -> None:
    """Under the contract's names, also after Redis has forgotten its scripts."""
    cache = ResultCache(redis, wait_seconds=5)
    results = {
        f"key-{n}": RememberedResult(job_id=uuid4(), course_id=uuid4(), idempotency_key=f"k{n}") for n in range(40)
    }
    await asyncio.gather(*(cache.remember(key, each) for key, each in results.items()))
    await redis.script_flush()
    late = RememberedResult(job_id=None, course_id=uuid4(), idempotency_key="late")
    await cache.remember("late", late)

    assert {key: await cache.recall(key) for key in [*results, "late"]} == {**results, "late": late}
    assert {await redis.ttl(f"idempotency:{key}") for key in [*results, "late"]} <= {
        TTL_SECONDS,
        TTL_SECONDS - 1,
        TTL_SECONDS - 2,
    }
