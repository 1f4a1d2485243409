"""Servers of a benchmark's own, as safe as production's: every commit reaches the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.support import servers
from tests.support.stack import Stack, open_stack

POSTGRES_OPTIONS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",  # no checkpoint in the middle of a round
    "checkpoint_timeout": "1h",
    "max_connections": "300",
}
"""Beyond the local stack's own; fsync, synchronous_commit and full_page_writes stay on."""

_END_ALL = """
UPDATE courses SET generation_status = 'cancelled'
 WHERE generation_status >= 'stage_2_init' AND generation_status <= 'stage_5_complete';
"""


@dataclass(frozen=True, slots=True)
class Grounds:
    """One PostgreSQL with a migrated database, one Redis, and a place for processes."""

    postgres: servers.PrivatePostgres
    redis: servers.PrivateRedis
    databases: servers.Postgres
    owner_url: str
    """The migrated database as its owner."""
    stack: Stack

    @property
    def app_url(self) -> str:
        """The database as the services' own role, which row security binds."""
        return servers.with_user(self.owner_url, servers.APPLICATION_ROLE)

    @property
    def redis_url(self) -> str:
        """The Redis database that the processes use."""
        return self.redis.url()

    def free_slots(self) -> None:
        """Take every slot back: no worker ends the courses of a benchmark, and 10,000 at once is the highest limit there is."""
        self.sql(_END_ALL)
        with Redis.from_url(self.redis_url) as client:
            names = [name for name in client.scan_iter("concurrency:*", count=1000) if name != b"concurrency:ready"]
            if names:
                client.delete(*names)

    def sql(self, text: str) -> str:
        """Run statements as the owner."""
        return self.databases.run_sql(text, url=self.owner_url)


@contextlib.contextmanager
def open_grounds(
    options: dict[str, str] | None = None, *, redis_options: dict[str, str] | None = None
) -> Iterator[Grounds]:
    """Start both servers, with options beyond the usual ones, in a folder that is removed at the end."""
    with servers.server_folder(on_disk=True) as folder, contextlib.ExitStack() as ending:
        postgres = servers.PrivatePostgres(folder, durable=True, options={**POSTGRES_OPTIONS, **(options or {})})
        redis = servers.PrivateRedis(folder, options=redis_options)
        for server in (postgres, redis):
            server.start()
            ending.callback(server.stop)
        databases = servers.Postgres(postgres.url())
        owner_url = databases.create()
        processes = Path(folder) / "processes"
        processes.mkdir()
        stack = ending.enter_context(
            open_stack(
                processes, database_url=servers.with_user(owner_url, servers.APPLICATION_ROLE), redis_url=redis.url()
            )
        )
        yield Grounds(postgres, redis, databases, owner_url, stack)
