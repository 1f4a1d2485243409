"""The local stack: up, env, down."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import interrupts, output
from services.cli.commands.options import AsJson, Verbose
from services.cli.errors import StackError
from services.cli.stack.ports import LOOPBACK
from services.cli.stack.spawn import is_running
from services.cli.stack.state import Running, StateFolder
from services.cli.target import developer_token, running_stack, state_folder

if TYPE_CHECKING:
    from services.cli.stack.local_stack import LocalStack, StackOptions

_STOP_SECONDS = 25.0
_KILL_SECONDS = 12.0


def up(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the api; 0 takes a free one.")] = 3000,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the metrics of all processes; 0 takes a free one.")
    ] = 9090,
    host: Annotated[str, typer.Option(help="Address the api listens on; 0.0.0.0 lets other machines in.")] = LOOPBACK,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole stack in the foreground until Ctrl-C.

    Starts PostgreSQL and Redis of its own (or uses those that DATABASE_URL and REDIS_URL name), brings the database up
    to date, and starts the api, the outbox relay, three stage workers and the persistence-worker. Whatever dies is started
    again. Data, logs and secrets lie in one folder: COURSEGEN_HOME, or a default that is printed; `coursegen down --purge`
    removes it.
    """
    from services.cli.stack.local_stack import StackOptions

    options = StackOptions(host=host, port=port, metrics_port=metrics_port)

    async def main(hurry: asyncio.Event) -> int:
        state = state_folder(os.environ)
        stack = local_stack(state, options, verbose=verbose, quiet=as_json, hurry=hurry)
        async with stack.run() as running:
            if as_json:
                output.document(_facts(running, state))
            else:
                _introduce(running, state)
            await asyncio.Event().wait()
        return 0

    code = interrupts.run(main, os.environ)
    asked = {128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP}
    output.note("stopped")
    raise typer.Exit(0 if code in asked else code)


def local_stack(
    state: StateFolder, options: StackOptions, *, verbose: bool, quiet: bool, hurry: asyncio.Event
) -> LocalStack:
    """A stack that tells its steps; `quiet` leaves standard output to a result and tells them on standard error."""
    from services.cli.stack.journal import Journal
    from services.cli.stack.local_stack import LocalStack

    tell = output.note if quiet else output.say
    journal = Journal(state.logs, show=output.note if verbose else None, alarm=None if verbose else tell)
    return LocalStack(state, options, environ=os.environ, journal=journal, tell=tell, hurry=hurry)


def env(*, as_json: AsJson = False) -> None:
    """Print what a shell needs to talk to the running stack: eval "$(coursegen env)".

    API_URL, API_TOKEN (a day long, of the fixtures' user), DATABASE_URL (as the owner), REDIS_URL, and a PATH with the
    stack's own psql and redis-cli.
    """
    running = running_stack(os.environ)
    values = {
        "API_URL": running.api_url,
        "API_TOKEN": developer_token(os.environ),
        "DATABASE_URL": running.database_url,
        "REDIS_URL": running.redis_url,
    }
    programs = str(state_folder(os.environ).programs)
    if as_json:
        output.document({**values, "PATH": programs})
        return
    for name, value in values.items():
        output.say(f"export {name}={shlex.quote(value)}")
    output.say(f'export PATH={shlex.quote(programs)}:"$PATH"')


def down(
    *,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove the state folder: data, logs, secrets.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the stack that runs on the state folder, wherever it was started."""
    state = state_folder(os.environ)
    stopped = _stop(state)
    if purge:
        state.purge()
    if as_json:
        output.document({"stopped": stopped, "purged": purge, "folder": str(state.root)})
        return
    output.say("the stack is stopped" if stopped else f"no stack runs on {state.root}")
    if purge:
        output.say(f"{state.root} is removed")


def _stop(state: StateFolder) -> bool:
    """End whoever holds the folder; True if somebody did."""
    if not state.is_locked():
        return False
    holder = state.holder()
    if holder is not None:
        os.kill(holder, signal.SIGTERM)
        if not _released(state, _STOP_SECONDS) and is_running(holder):
            os.kill(holder, signal.SIGKILL)
    if not _released(state, _KILL_SECONDS):
        raise StackError(f"The stack on {state.root} does not stop; see {state.logs / 'all.log'}.")
    return True


def _released(state: StateFolder, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while state.is_locked():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _introduce(running: Running, state: StateFolder) -> None:
    output.say("coursegen is running. Stop it with Ctrl-C.")
    output.say(f"  api      {running.api_url}   (what it can do: {running.api_url}/docs)")
    output.say(f"  metrics  {running.metrics_url}")
    output.say(f"  state    {state.root}   (logs in logs/, all of them in logs/all.log)")
    output.say('In another terminal: eval "$(coursegen env)", then for example coursegen generate examples/*')


def _facts(running: Running, state: StateFolder) -> dict[str, object]:
    return {
        "apiUrl": running.api_url,
        "metricsUrl": running.metrics_url,
        "databaseUrl": running.database_url,
        "redisUrl": running.redis_url,
        "folder": str(state.root),
        "processes": running.processes,
    }
