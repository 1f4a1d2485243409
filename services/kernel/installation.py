"""Whose a database of Redis is: one installation's, for two on one take each other's jobs and messages.

Promises: the first installation that uses a database of Redis writes its identity beside what it keeps there, and any other is
refused from then on (`RedisOccupied`), until a person frees it. An installation is its PostgreSQL database: its identity is the
moment at which the first migration was applied (`schema.installation_of`). A backup that is restored has it, a Redis that was
emptied is given it again, and a release that knows nothing of it works beside one that does.

A list of migrations that was lost and begun anew is another identity. PostgreSQL is asked again before anybody is refused and
before anything is written into an empty place, so that processes from before that neither bring the old name back nor
have to be started anew.

A database that was copied from another installation's counts as that one: nothing tells them apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from services.kernel.cancellation import forget
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, RedisOccupied
from services.kernel.redis_connection import refusals_translated
from services.kernel.schema import installation_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY: Final = "coursegen:installation"
"""In each database of Redis: the identity of the installation that it belongs to. The scripts name it themselves."""
QUEUES: Final = "another number in REDIS_URL, or another server"
STREAM: Final = "another REDIS_STREAM_DB, or another server by REDIS_HOST (config.stream in the chart)"
"""What is to be set where the database is somebody else's."""

READ_SECONDS: Final = 0.5
"""Longest wait for PostgreSQL to say who this is; then what was known before counts."""


def occupied(redis: Redis, owner: str, installation: str, remedy: str) -> RedisOccupied:
    """What is said where `owner` has what this installation was to use."""
    number = redis.connection_pool.connection_kwargs.get("db", 0)
    return RedisOccupied(
        f"database {number} of Redis belongs to another installation, whose PostgreSQL database was begun at {owner}; "
        f"this one's was begun at {installation}. Give this one {remedy}; if the other one is gone for good, or was this one "
        f"before its list of migrations was begun anew, what is there is this one's after "
        f"`redis-cli -n {number} SET {KEY} {installation}`"
    )


class Claim:
    """One installation's claim to a database of Redis."""

    def __init__(
        self, redis: Redis, installation: str, remedy: str, *, read: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        """Claim the database that `redis` speaks to.

        Args:
            redis: its client.
            installation: the identity of this installation; where it is empty nothing is claimed.
            remedy: what to give this installation when somebody else has it: `QUEUES` or `STREAM`.
            read: asks for the identity again.
        """
        self._redis: Any = redis
        self._remedy = remedy
        self._read = read
        self.installation = installation
        """The identity, as it was read last."""

    @classmethod
    async def of(cls, db: Database, redis: Redis, remedy: str) -> Claim:
        """The claim of the installation that has this PostgreSQL database.

        Raises:
            SchemaMissing: there is no list of migrations; run `coursegen migrate`.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return cls(redis, await installation_of(db), remedy, read=partial(installation_of, db))

    async def hold(self) -> None:
        """Return when the database is this installation's; it is from now on if it was nobody's.

        Raises:
            RedisOccupied: it is somebody else's; says what to set.
            BrokerUnavailable: Redis does not answer.
        """
        with refusals_translated("Redis refuses to say whose it is"):
            owner = await self._redis.get(KEY)
            if owner is None and self.installation:
                await self._read_again()
                await self._redis.set(KEY, self.installation, nx=True)
                owner = await self._redis.get(KEY)
        if owner is not None:
            await self.require(owner)

    async def respect(self) -> None:
        """Return when the database is not somebody else's; as `hold`, and nothing is written."""
        with refusals_translated("Redis refuses to say whose it is"):
            owner = await self._redis.get(KEY)
        if owner is not None:
            await self.require(owner)

    async def begin(self) -> None:
        """As `hold`, at the start of a process, which does not wait for Redis.

        Raises:
            RedisOccupied: it is somebody else's; says what to set.
        """
        try:
            await self.hold()
        except RedisOccupied:
            raise
        except BrokerUnavailable:
            return

    async def require(self, owner: bytes) -> None:
        """Return when `owner`, as Redis has it, is this installation.

        Raises:
            RedisOccupied: it is not.
        """
        name = owner.decode("utf-8", "replace")
        if self.installation and name != self.installation:
            await self._read_again()
            if name != self.installation:
                raise occupied(self._redis, name, self.installation, self._remedy)

    async def _read_again(self) -> None:
        """Ask who this is by now; without an answer in time nothing changes."""
        if self._read is None:
            return
        reading = asyncio.ensure_future(self._read())
        reading.add_done_callback(forget)  # its failure is somebody else's news
        done, _ = await asyncio.wait({reading}, timeout=READ_SECONDS)
        if not done:
            reading.cancel()
        elif not reading.cancelled() and reading.exception() is None:
            self.installation = reading.result() or self.installation
