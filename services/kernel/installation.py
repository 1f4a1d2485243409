"""Whose a database of Redis is: one installation's, for two on one take each other's jobs and messages.

Promises: the first installation that uses a database of Redis writes its identity beside what it keeps there, and any other is
refused from then on (`RedisOccupied`), until a person frees it. An installation is its PostgreSQL database: its identity is the
moment at which the list of migrations was begun (`schema.installation_of`). A backup that is restored has it, a Redis that was
emptied is given it again, and a release that knows nothing of it works beside one that does.

A database that was copied from another installation's counts as that one: nothing tells them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.kernel.errors import BrokerUnavailable, RedisOccupied
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY: Final = "coursegen:installation"
"""In each database of Redis: the identity of the installation that it belongs to. The scripts name it themselves."""
QUEUES: Final = "another number in REDIS_URL, or another server"
STREAM: Final = "another REDIS_STREAM_DB, or another server by REDIS_HOST (config.stream in the chart)"
"""What is to be set where the database is somebody else's."""


def occupied(redis: Redis, owner: str, installation: str, remedy: str) -> RedisOccupied:
    """What is said where `owner` has what this installation was to use."""
    number = redis.connection_pool.connection_kwargs.get("db", 0)
    return RedisOccupied(
        f"database {number} of Redis belongs to another installation, whose PostgreSQL database was begun at {owner}; "
        f"this one's was begun at {installation}. Give this one {remedy}; if the other one is gone for good, "
        f"what it has left there is this one's after `redis-cli -n {number} DEL {KEY}`"
    )


class Claim:
    """One installation's claim to a database of Redis."""

    def __init__(self, redis: Redis, installation: str, remedy: str) -> None:
        """Claim the database that `redis` speaks to.

        Args:
            redis: its client.
            installation: the identity of this installation; where it is empty nothing is claimed.
            remedy: what to give this installation when somebody else has it: `QUEUES` or `STREAM`.
        """
        self._redis: Any = redis
        self._installation = installation
        self._remedy = remedy

    async def hold(self) -> None:
        """Return when the database is this installation's; it is from now on if it was nobody's.

        Raises:
            RedisOccupied: it is somebody else's; says what to set.
            BrokerUnavailable: Redis does not answer.
        """
        with refusals_translated("Redis refuses to say whose it is"):
            owner = await self._redis.get(KEY)
            if owner is None and self._installation:
                await self._redis.set(KEY, self._installation, nx=True)
                owner = await self._redis.get(KEY)
        if owner is not None:
            self.require(owner)

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

    def require(self, owner: bytes) -> None:
        """Return when `owner`, as Redis has it, is this installation.

        Raises:
            RedisOccupied: it is not.
        """
        name = owner.decode("utf-8", "replace")
        if self._installation and name != self._installation:
            raise occupied(self._redis, name, self._installation, self._remedy)
