"""The cache of results: never fatal, never slow, never another user's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.kernel.errors import InvalidInput
from services.kernel.idempotency import (
    Breaker,
    RememberedResult,
    ResultCache,
    derived_lookup,
    derived_lookups,
    scoped_key,
)
from tests.support.clocks import StandingClock

ALICE, BOB, COURSE = UUID(int=1), UUID(int=2), UUID(int=3)


class FakeRedis:
    """The few commands the cache uses, on a dictionary; breaks when told."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.hangs = False
        self.calls = 0

    async def mget(self, names: list[str]) -> list[bytes | None]:
        """MGET."""
        await self._touch()
        return [self.entries.get(name) for name in names]

    async def unlink(self, *names: str) -> int:
        """UNLINK."""
        await self._touch()
        return sum(self.entries.pop(name, None) is not None for name in names)

    def register_script(self, text: str) -> FakeScript:
        """A script to run later."""
        assert "SET" in text
        return FakeScript(self)

    async def _touch(self) -> None:
        self.calls += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if self.error is not None:
            raise self.error


class FakeScript:
    """SETs sent together."""

    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis

    async def __call__(self, *, keys: Sequence[str], args: Sequence[Any]) -> int:
        """Run it."""
        await self._redis._touch()
        seconds, *bodies = args
        assert seconds == 86_400
        self._redis.entries |= dict(zip(keys, bodies, strict=True))
        return len(keys)


def result() -> RememberedResult:
    """Something to remember."""
    return RememberedResult(job_id=uuid4(), course_id=COURSE, idempotency_key="k")


def cache_on(redis: FakeRedis, clock: StandingClock | None = None) -> ResultCache:
    """A cache with a short patience."""
    return ResultCache(cast(Any, redis), wait_seconds=0.05, clock=clock or StandingClock())


async def test_what_is_remembered_is_recalled_under_the_contracts_prefix() -> None:
    """`idempotency:` + key, for a day."""
    redis = FakeRedis()
    cache, remembered = cache_on(redis), result()
    await cache.remember("some-test-key", remembered)

    assert await cache.recall("some-test-key") == remembered
    assert list(redis.entries) == ["idempotency:some-test-key"]
    assert await cache.recall("other") is None


async def test_concurrent_look_ups_share_one_command() -> None:
    """Fifty look-ups cost few round trips."""
    redis = FakeRedis()
    cache = cache_on(redis)
    await asyncio.gather(*(cache.recall(f"key-{n}") for n in range(50)))

    assert redis.calls <= 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"jobId": 5}', b"\xff\xfe"])
async def test_what_cannot_be_read_is_not_there(body: bytes) -> None:
    """Another version's or another program's value is a miss, not an error."""
    redis = FakeRedis()
    redis.entries["idempotency:k"] = body

    assert await cache_on(redis).recall("k") is None


@pytest.mark.parametrize("error", [ConnectionError("refused"), OSError("gone"), ValueError("a bug in the driver")])
async def test_no_error_of_redis_reaches_the_caller(error: Exception) -> None:
    """Reading, writing and forgetting go on without it."""
    redis = FakeRedis()
    redis.error = error
    cache = cache_on(redis)

    assert await cache.recall("k") is None
    await cache.remember("k", result())
    assert await cache.forget(["k"]) is False


async def test_a_redis_that_does_not_answer_costs_its_patience_and_no_more() -> None:
    """The wait is bounded; after one failure the layer steps aside."""
    redis = FakeRedis()
    redis.hangs = True
    cache = cache_on(redis)
    async with asyncio.timeout(2):
        for _ in range(20):
            await cache.recall("k")

    assert redis.calls == 1


async def test_one_request_waits_for_a_frozen_redis_once() -> None:
    """What was looked up in vain is not remembered in vain; whoever else would wait for Redis is told."""
    redis, told = FakeRedis(), list[str]()
    redis.hangs = True
    cache = ResultCache(cast(Any, redis), wait_seconds=0.05, clock=StandingClock(), on_outage=told.append)
    await cache.recall("k")
    await cache.remember("k", result())

    assert (redis.calls, told) == (1, ["Redis does not answer"])


async def test_one_call_a_second_tries_whether_redis_is_back() -> None:
    """A breaker that has opened lets one caller try, and closes when that works."""
    redis, clock = FakeRedis(), StandingClock()
    redis.error = OSError("gone")
    cache = cache_on(redis, clock)
    for _ in range(5):
        await cache.recall("k")
    assert redis.calls == 1
    clock.pass_by(1.1)
    await asyncio.gather(*(cache.recall("k") for _ in range(5)))
    assert redis.calls == 2
    redis.error = None
    clock.pass_by(1.1)
    await cache.recall("k")
    await cache.remember("k", result())

    assert await cache.recall("k") is not None


async def test_forgetting_nothing_asks_nobody() -> None:
    """An empty list costs no round trip."""
    redis = FakeRedis()

    assert await cache_on(redis).forget([]) is True
    assert redis.calls == 0


def test_one_users_key_is_never_anothers() -> None:
    """TRAP32: a key carries its user."""
    assert scoped_key(ALICE, "k") != scoped_key(BOB, "k")
    assert derived_lookup(ALICE, COURSE, None) != derived_lookup(BOB, COURSE, None)


def test_a_long_key_is_shortened_and_stays_itself() -> None:
    """255 characters are allowed; with the user before them they must still fit the column."""
    long, other = "k" * 255, "k" * 254 + "l"

    assert len(scoped_key(ALICE, long)) <= 255
    assert scoped_key(ALICE, long) == scoped_key(ALICE, long)
    assert scoped_key(ALICE, long) != scoped_key(ALICE, other)


@pytest.mark.parametrize("key", ["", "k" * 256, "line\nbreak", "nul\x00", "\ud800"])
def test_a_key_that_cannot_be_stored_is_refused_before_the_database_does(key: str) -> None:
    """Length and characters are checked first."""
    with pytest.raises(InvalidInput):
        scoped_key(ALICE, key)


def test_all_names_of_a_derived_result_are_known_for_its_removal() -> None:
    """Deleting a course finds each of them."""
    assert {derived_lookup(ALICE, COURSE, each) for each in (None, True, False)} == set(derived_lookups(ALICE, COURSE))


def test_a_breaker_forgets_failures_when_one_call_works() -> None:
    """Only failures in a row count."""
    breaker = Breaker(StandingClock())
    assert breaker.failed() is False
    breaker.succeeded()
    assert breaker.failed() is False
    assert breaker.failed() is True

    assert breaker.allows() is False
