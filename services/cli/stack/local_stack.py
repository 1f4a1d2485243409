"""The whole product on one machine: started in order, kept alive, and stopped to the last process.

Order: the state folder's lock → PostgreSQL and Redis → database, migrations, the services' role → api, relay, workers →
scheduler → metrics page. Leaving the block stops all of it, also when it was entered only half.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.cli.errors import StackBusy, StackError
from services.cli.stack import redis_binary, servers
from services.cli.stack.guard import Guard
from services.cli.stack.journal import Journal
from services.cli.stack.merged_metrics import collect
from services.cli.stack.ports import LOOPBACK, Claims
from services.cli.stack.postgres import find_binaries
from services.cli.stack.processes import Addresses, assign_ports, migration_program, service_programs
from services.cli.stack.state import Running, StateFolder
from services.cli.stack.supervisor import Supervisor
from services.kernel.errors import RetryableError
from services.kernel.health import HealthRegistry
from services.kernel.probes import serve_probes

_LOCK_SECONDS = 15.0
_SERVERS_SECONDS = 40.0
_MIGRATE_SECONDS = 120.0
_SERVICES_SECONDS = 60.0
_PROGRAMS = ("psql", "pg_dump", "pg_restore", "pg_isready", "pgbench")


class ProcessDown(RetryableError):
    """It is being started again."""

    code = "process_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What the caller may choose."""

    host: str = LOOPBACK
    port: int = 3000
    """0 takes a free one; so does it for the metrics."""
    metrics_port: int = 9090


class LocalStack:
    """One run of the stack on a state folder."""

    def __init__(
        self,
        state: StateFolder,
        options: StackOptions,
        *,
        environ: Mapping[str, str],
        journal: Journal,
        tell: Callable[[str], None],
        hurry: asyncio.Event,
    ) -> None:
        """Start nothing yet; see `run`.

        Args:
            state: the folder to run on.
            options: hosts and ports.
            environ: the caller's environment.
            journal: where output goes.
            tell: receives a line for people at each step.
            hurry: skips the waiting while stopping, once set.
        """
        self._state = state
        self._options = options
        self._environ = environ
        self._journal = journal
        self._tell = tell
        self._hurry = hurry
        self._running: Running | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Running]:
        """Run the stack while the block runs; yields its addresses once everything is ready.

        Raises:
            StackBusy: another one runs on this folder.
            StackError: something cannot start; says what, and how it ended.
        """
        self._state.open()
        lock = await self._take_folder()
        guard = Guard(lock)
        supervisor = Supervisor(guard, self._journal, lambda: self._announce(supervisor))
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.callback(os.close, lock)
            cleanup.callback(guard.close)
            cleanup.push_async_callback(see_through, supervisor.stop, self._hurry, servers.POSTGRES, servers.REDIS)
            try:
                yield await self._start(supervisor, cleanup)
            except asyncio.CancelledError:
                self._tell("stopping everything")
                raise

    async def _start(self, supervisor: Supervisor, cleanup: contextlib.AsyncExitStack) -> Running:
        options = self._options
        claims = Claims()
        cleanup.callback(claims.release)
        port = _port(claims, options.port, options.host, "--port")
        metrics_port = _port(claims, options.metrics_port, LOOPBACK, "--metrics-port")
        chosen = await asyncio.to_thread(servers.choose, self._state, self._environ, claims)
        self._link_programs(chosen)
        await self._start_servers(supervisor, chosen)
        self._running = Running(
            pid=os.getpid(),
            api_url=f"http://{_shown(options.host)}:{port}",
            metrics_url=f"http://{LOOPBACK}:{metrics_port}/metrics",
            database_url=chosen.database_url,
            redis_url=chosen.redis_url,
            processes={},
            stack_id=self._state.secrets().stack_id,
        )
        await self._migrate(supervisor, chosen)
        addresses = assign_ports(options.host, port, claims)
        await self._start_services(supervisor, chosen, addresses)
        await cleanup.enter_async_context(self._metrics_page(supervisor, addresses, metrics_port))
        self._announce(supervisor)
        return self._running

    async def _start_servers(self, supervisor: Supervisor, chosen: servers.Servers) -> None:
        programs = chosen.programs(self._state)
        for program in programs:
            self._tell(f"starting {program.name} on port {_port_of(chosen, program.name)}")
            supervisor.start(program)
        await supervisor.ready(*(program.name for program in programs), seconds=_SERVERS_SECONDS)

    async def _migrate(self, supervisor: Supervisor, chosen: servers.Servers) -> None:
        self._tell("bringing the database up to date")
        chosen.create_database()
        program = migration_program(chosen, self._state.root, self._environ)
        try:
            await supervisor.run_once(program, seconds=_MIGRATE_SECONDS)
        except StackError as error:
            raise StackError(f"{error.message}\n{self._fresh_start(chosen)}") from error
        chosen.admit_application(self._state.secrets().application_password)

    async def _start_services(self, supervisor: Supervisor, chosen: servers.Servers, addresses: Addresses) -> None:
        programs = service_programs(chosen, addresses, self._state.secrets(), self._state.root, self._environ)
        names = [program.name for program in programs]
        self._tell(f"starting {', '.join(names)}")
        for program in programs:
            supervisor.start(program)
        await supervisor.ready(*names, seconds=_SERVICES_SECONDS)

    def _metrics_page(
        self, supervisor: Supervisor, addresses: Addresses, port: int
    ) -> contextlib.AbstractAsyncContextManager[int]:
        health = HealthRegistry()
        health.started = True
        for name in supervisor.programs:
            health.register(name, partial(_require_ready, supervisor, name))
        return serve_probes(health, LOOPBACK, port, partial(collect, addresses.process_metrics))

    async def _take_folder(self) -> int:
        deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
        told = False
        while (lock := self._state.lock()) is None:
            holder = self._state.holder()
            if holder is not None:
                raise StackBusy(_busy(self._state, holder))
            if asyncio.get_running_loop().time() > deadline:
                raise StackBusy(f"What is left of an earlier stack on {self._state.root} does not end.")
            if not told:
                self._tell("waiting for the rest of an earlier stack to stop")
                told = True
            await asyncio.sleep(0.1)
        return lock

    def _fresh_start(self, chosen: servers.Servers) -> str:
        if chosen.postgres is None:
            return "Nothing was started on that database."
        return "To begin with an empty database instead (its courses are lost): coursegen down --purge"

    def _announce(self, supervisor: Supervisor) -> None:
        if self._running is not None:
            self._running.processes.update(supervisor.processes())
            self._state.announce(self._running)

    def _link_programs(self, chosen: servers.Servers) -> None:
        """Fill the folder that `coursegen env` puts on the PATH."""
        root = chosen.postgres.binaries if chosen.postgres else find_binaries()
        links = {name: root.path(name) for name in _PROGRAMS}
        client = redis_binary.find_client(chosen.redis.program) if chosen.redis else None
        if client is not None:
            links["redis-cli"] = client
        for name, target in links.items():
            link = self._state.programs / name
            link.unlink(missing_ok=True)
            link.symlink_to(target)


async def see_through(work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    """Run `work` to its end although this task is cancelled meanwhile, once or more often."""
    task = asyncio.ensure_future(work(*args))
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _require_ready(supervisor: Supervisor, name: str) -> None:
    if not supervisor.programs[name].ready.is_set():
        raise ProcessDown


def _shown(host: str) -> str:
    return LOOPBACK if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - shown, not bound


def _port(claims: Claims, wanted: int, host: str, option: str) -> int:
    """The port that was asked for, this stack's until it ends; any where none was."""
    if not wanted:
        return claims.take_any(host=host)
    if not claims.take(wanted, host):
        raise StackError(f"Port {wanted} is taken by another program. Stop that, or choose another with {option}.")
    return wanted


def _port_of(chosen: servers.Servers, name: str) -> int:
    server = chosen.postgres if name == servers.POSTGRES else chosen.redis
    return server.port if server else 0


def _busy(state: StateFolder, holder: int) -> str:
    running = state.last_running()
    where = f", its api at {running.api_url}" if running and running.pid == holder else ""
    return (
        f"A stack already runs on {state.root} (process {holder}{where}). "
        'Use it with `eval "$(coursegen env)"`, stop it with `coursegen down`, '
        "or run another one beside it: COURSEGEN_HOME=<another folder> coursegen up --port 3001 --metrics-port 9091"
    )
