"""The stack's PostgreSQL and Redis: those that variables name, else embedded ones of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from services.cli.stack import postgres, redis, redis_binary
from services.cli.stack.accounts import reachable_copy, server_account
from services.cli.stack.ports import Claims
from services.cli.stack.program import Program
from services.cli.stack.state import Secrets, StateFolder
from services.kernel.queries import Queries

DATABASE = "coursegen"
APPLICATION_ROLE = "coursegen_app"

POSTGRES = "postgres"
REDIS = "redis"
_BROKEN_STARTS = 2
_QUERIES = Queries.load("services.cli", "server.sql")


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the stack's data lives, and what must be started for it."""

    database_url: str
    """As the owner of the database."""
    application_url: str
    """As the role of the services."""
    redis_url: str
    postgres: postgres.PostgresServer | None
    redis: redis.RedisServer | None

    def programs(self, state: StateFolder) -> list[Program]:
        """The embedded servers as programs for the supervisor."""
        made = []
        if self.postgres is not None:
            made.append(_postgres_program(self.postgres, state))
        if self.redis is not None:
            made.append(_redis_program(self.redis, state))
        return made

    def create_database(self) -> None:
        """Make the stack's database on the embedded server unless it is there."""
        if self.postgres is not None and not self.postgres.run_sql(_QUERIES["find_database"], database=DATABASE):
            self.postgres.run_sql(_QUERIES["create_database"], database=DATABASE)

    def admit_application(self, password: str) -> None:
        """Give the services' role its password on the embedded server (after the migrations made the role)."""
        if self.postgres is not None:
            self.postgres.run_sql(_QUERIES["admit_role"], role=APPLICATION_ROLE, password=password)


def choose(state: StateFolder, environ: Mapping[str, str], claims: Claims) -> Servers:
    """Decide which servers to use; may fetch a Redis binary. The ports of embedded ones join the stack's claims.

    Raises:
        ServerMissing: one is neither named nor to be had; says what to install.
    """
    secrets = state.secrets()
    last = state.last_running()
    named_database = _foreign(environ.get("DATABASE_URL"), last.database_url if last else None)
    named_redis = _foreign(environ.get("REDIS_URL"), last.redis_url if last else None)
    own_postgres = None if named_database else _embedded_postgres(state, secrets, claims)
    own_redis = None if named_redis else _embedded_redis(state, secrets, claims)
    state.keep_ports(own_postgres.port if own_postgres else 0, own_redis.port if own_redis else 0)
    return Servers(
        database_url=named_database or _of(own_postgres).url(DATABASE),
        application_url=named_database
        or _of(own_postgres).url(DATABASE, user=APPLICATION_ROLE, password=secrets.application_password),
        redis_url=named_redis or (own_redis.url() if own_redis else ""),
        postgres=own_postgres,
        redis=own_redis,
    )


def _foreign(named: str | None, ours: str | None) -> str | None:
    """The server a variable names, unless it is this stack's own from its last run (`coursegen env` set it)."""
    return named if named and named != ours else None


def _of(server: postgres.PostgresServer | None) -> postgres.PostgresServer:
    if server is None:
        raise AssertionError("an embedded server was chosen")
    return server


def _embedded_postgres(state: StateFolder, secrets: Secrets, claims: Claims) -> postgres.PostgresServer:
    account = server_account()
    return postgres.PostgresServer(
        state.postgres,
        port=claims.take_any(secrets.postgres_port),
        binaries=postgres.find_binaries().open_to(account, state.cache),
        account=account,
        password=secrets.owner_password,
    )


def _embedded_redis(state: StateFolder, secrets: Secrets, claims: Claims) -> redis.RedisServer:
    account = server_account()
    program = redis_binary.find_server(state.cache)
    return redis.RedisServer(
        state.redis,
        port=claims.take_any(secrets.redis_port),
        program=reachable_copy(program.parent, account, state.cache) / program.name,
        account=account,
        password=secrets.redis_password,
    )


def _postgres_program(server: postgres.PostgresServer, state: StateFolder) -> Program:
    async def is_ready() -> bool:
        return await asyncio.to_thread(server.is_ready)

    def prepare(_failed_starts: int) -> None:
        server.initialise()
        server.clear_stale_lock()

    return Program(
        name=POSTGRES,
        argv=server.argv(),
        env=server.env(),
        folder=state.root,
        account=server.account,
        is_ready=is_ready,
        prepare=prepare,
        stop_signal=signal.SIGINT,
        abandoned_signal=signal.SIGINT,
    )


def _redis_program(server: redis.RedisServer, state: StateFolder) -> Program:
    async def is_ready() -> bool:
        return await asyncio.to_thread(server.is_ready)

    def prepare(failed_starts: int) -> None:
        if failed_starts >= _BROKEN_STARTS:
            server.set_data_aside()
        server.prepare()

    return Program(
        name=REDIS,
        argv=server.argv(),
        env=server.env(),
        folder=state.root,
        account=server.account,
        is_ready=is_ready,
        prepare=prepare,
        abandoned_signal=signal.SIGTERM,
    )
