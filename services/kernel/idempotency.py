"""Layer 1 of idempotency: results remembered in Redis, so that a repeat costs one look-up (contract.md d).

Promises: never fatal and never slow. Every wait is short; after failures the layer steps aside for a second at a time
(a circuit breaker), and PostgreSQL, which is the truth, answers alone. What is read here is only a hint: the caller must
check that the row still stands in `idempotency_keys` before it believes it (TRAP45). Keys carry their user (TRAP32).
Concurrent look-ups share one MGET, concurrent writes one script: a pipeline of SETs costs the client 12 µs for each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from services.kernel import redis_connection
from services.kernel.batching import Batcher
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import BrokerUnavailable, InvalidInput
from services.kernel.logs import get_logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX: Final = "idempotency:"
"""Before every key in Redis."""

TTL_SECONDS: Final = 86_400
"""How long a result is remembered: 24 hours, as long as its row in the database is valid."""

LONGEST_CLIENT_KEY: Final = 255
"""Most characters of an `Idempotency-Key`."""

_LONGEST_SCOPED = 255
_DERIVED_BRANCHES = ("auto", "stage_2_init", "stage_4_init")

_log = get_logger(__name__)


class RememberedResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a repeat is answered with, and the database key it was stored under."""

    job_id: UUID | None
    course_id: UUID
    idempotency_key: str
    run_number: int = 1


def scoped_key(user_id: UUID, client_key: str) -> str:
    """The database's key for a client's own key: it belongs to one user alone, and fits 255 characters.

    Raises:
        InvalidInput: when the key is empty, longer than 255 characters, or not printable.
    """
    if not client_key or len(client_key) > LONGEST_CLIENT_KEY or not client_key.isprintable():
        raise InvalidInput(
            f"An idempotency key has 1 to {LONGEST_CLIENT_KEY} printable characters.", field="idempotencyKey"
        )
    scoped = f"user:{user_id}:{client_key}"
    if len(scoped) <= _LONGEST_SCOPED:
        return scoped
    return f"user:{user_id}:sha256:{hashlib.sha256(client_key.encode()).hexdigest()}"


def derived_lookup(user_id: UUID, course_id: UUID, has_files: bool | None) -> str:
    """Where the result of a request without a key of its own is remembered (GAP8)."""
    branch = "auto" if has_files is None else "stage_2_init" if has_files else "stage_4_init"
    return f"derived:{user_id}:{course_id}:{branch}"


def derived_lookups(user_id: UUID, course_id: UUID) -> list[str]:
    """Every name `derived_lookup` can give for one course."""
    return [f"derived:{user_id}:{course_id}:{branch}" for branch in _DERIVED_BRANCHES]


class Breaker:
    """Counts failures in a row; after two, or one that leaves no doubt, it stays open for a while, then lets one call try."""

    def __init__(self, clock: Clock, *, threshold: int = 2, pause_seconds: float = 1.0) -> None:
        self._clock = clock
        self._threshold = threshold
        self._pause_seconds = pause_seconds
        self._failures = 0
        self._closed_again_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether so many calls failed in a row that they are not made as a rule."""
        return self._failures >= self._threshold

    def allows(self) -> bool:
        """Whether a call may be tried now. While the breaker is open, one call each pause may."""
        if not self.is_open:
            return True
        now = self._clock.monotonic()
        if now < self._closed_again_at:
            return False
        self._closed_again_at = now + self._pause_seconds  # this caller tries; the others go on without
        return True

    def succeeded(self) -> None:
        """The call worked: close."""
        self._failures = 0

    def failed(self, *, is_certain: bool = False) -> bool:
        """The call did not work; `is_certain` that the next will not either. True when this opened the breaker."""
        was_open = self.is_open
        self._failures = max(self._failures + 1, self._threshold if is_certain else 0)
        self._closed_again_at = self._clock.monotonic() + self._pause_seconds
        return not was_open and self.is_open


class ResultCache:
    """Remembers results in Redis. No method raises because of Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        wait_seconds: float = 0.2,
        ttl_seconds: int = TTL_SECONDS,
        clock: Clock | None = None,
        on_outage: Callable[[str], None] | None = None,
    ) -> None:
        """Remember in `redis`, waiting at most `wait_seconds` for it; `on_outage` is told why it was in vain."""
        self._redis = redis
        self._wait_seconds = wait_seconds
        self._ttl_seconds = ttl_seconds
        # One failure is enough: who has just waited in vain for a look-up shall not wait again to have it remembered.
        self._breaker = Breaker(clock or SystemClock(), threshold=1)
        self._on_outage = on_outage
        script = resources.files("services.kernel") / "lua" / "remember.lua"
        self._set_all = redis.register_script(script.read_text(encoding="utf-8"))
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(RememberedResult)
        self._reads: Batcher[str, bytes | None] = Batcher(self._read_many, largest=256, in_flight=2)
        self._writes: Batcher[tuple[str, bytes], None] = Batcher(self._write_many, largest=256, in_flight=2)

    async def recall(self, key: str) -> RememberedResult | None:
        """The result remembered under `key`, or None: unknown, unreadable, or Redis is away."""
        if not self._breaker.allows():
            return None
        body = await self._reads.submit(PREFIX + key)
        if body is None:
            return None
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # written by another version, or by someone else: the database knows better

    async def remember(self, key: str, result: RememberedResult) -> None:
        """Remember `result` under `key` for a day, if Redis can be reached."""
        if self._breaker.allows():
            await self._writes.submit((PREFIX + key, self._encoder.encode(result)))

    async def forget(self, keys: Iterable[str]) -> bool:
        """Forget what is remembered under `keys`; False when Redis is away (the row's check still protects)."""
        names = [PREFIX + key for key in keys]
        if not names:
            return True
        return await self._guarded(self._redis.unlink(*names)) is not None

    async def _read_many(self, names: Sequence[str]) -> Sequence[bytes | None]:
        answers = await self._guarded(self._redis.mget(names))
        return answers if isinstance(answers, list) else [None] * len(names)

    async def _write_many(self, entries: Sequence[tuple[str, bytes]]) -> Sequence[None]:
        names, bodies = zip(*entries, strict=True)
        await self._guarded(self._set_all(keys=names, args=(self._ttl_seconds, *bodies)))
        return [None] * len(entries)

    async def _guarded(self, call: object) -> object | None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                with redis_connection.translated():
                    answer: object = await call  # type: ignore[misc]
        except (BrokerUnavailable, TimeoutError) as error:
            if self._breaker.failed():
                _log.warning("idempotency cache unavailable", error=str(error) or type(error).__name__)
            if self._on_outage is not None:
                self._on_outage("Redis does not answer")
            return None
        except Exception as error:  # noqa: BLE001 - a full or misconfigured Redis must not fail a request either
            self._breaker.failed()
            _log.warning("idempotency cache refused a command", error=str(error))
            return None
        self._breaker.succeeded()
        return answer
