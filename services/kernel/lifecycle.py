"""The one way to start and stop a process.

Promises:

- Invalid settings end the process with exit code 78 (EX_CONFIG) and the list of faults on standard error.
- Probes answer from the first moment; `/readyz` says 503 until the service is open.
- What it needs and is not there yet is waited for, up to `start_wait_seconds` (`start_wait`); then the exit code is 1.
- SIGTERM or SIGINT sets `stopping`: `/readyz` turns 503 at once, the service takes nothing new and has `drain_seconds` to
  finish what it holds; then it is closed and the exit code is 0. A second signal ends the process at once.
- `CLOSE_SECONDS` after that time it is gone, with exit code 0, whatever a server that hangs does to its closing: nobody's
  work hangs on what is still open then.
- A service that returns or raises unasked ends the process with exit code 1, so that whoever supervises it starts it anew.

Budget in Kubernetes: preStop 5 s + drain 20 s + close 3 s < terminationGracePeriodSeconds 30.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from importlib import metadata
from typing import Any, Protocol, TypeVar

from services.kernel import faults, logs, metrics, spans, tracing
from services.kernel.errors import OperatorError, SettingsInvalid
from services.kernel.health import HealthRegistry
from services.kernel.probes import serve_probes
from services.kernel.settings import CommonSettings, ProcessSettings, refuse_supabase_only, secrets_of
from services.kernel.start_wait import StartWait

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78
CLOSE_SECONDS = 3.0
"""From the end of the drain to the end of the process, at most."""

_log = logs.get_logger(__name__)


class Service(Protocol):
    """What a process runs once it is open."""

    async def serve(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then finish what is in hand and return."""


S = TypeVar("S", bound=ProcessSettings)
Open = Callable[[S, HealthRegistry], AbstractAsyncContextManager[Service]]
"""Opens the service's resources; closing them is leaving the context."""


def run(name: str, open_service: Open[S], load_settings: Callable[[Mapping[str, str]], S]) -> int:
    """Run a service until it is told to stop; returns the exit code.

    Args:
        name: the process, as logs and metrics call it: "api", "outbox-relay"...
        open_service: opens pools and builds the service (the composition root).
        load_settings: reads the environment.
    """
    try:
        refuse_supabase_only(os.environ)
        settings = load_settings(os.environ)
        faults.arm(settings.faults, settings.faults_log)
    except (SettingsInvalid, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return EXIT_CONFIG
    logs.configure(settings.log_level, settings.log_format, name)
    logs.conceal(secrets_of(settings))
    metrics.describe_process(name, metadata.version("coursegen"))
    return run_loop(_traced(name, open_service, settings))


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on the fastest event loop this platform has."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _traced(name: str, open_service: Open[S], settings: S) -> int:
    """Run it, and tell a collector what it does where one is named."""
    if not isinstance(settings, CommonSettings):
        return await _supervise(open_service, settings)
    tracing.sample(settings.traces_ratio)
    resource = {
        "service.name": f"coursegen-{name}",
        "service.version": metadata.version("coursegen"),
        "service.instance.id": socket.gethostname(),
    }
    async with spans.exporting(settings.traces_endpoint, resource):
        return await _supervise(open_service, settings)


async def _supervise(open_service: Open[S], settings: S) -> int:
    stopping = asyncio.Event()
    health = HealthRegistry()
    _watch_signals(stopping, health, settings.drain_seconds + CLOSE_SECONDS)
    async with serve_probes(health, settings.metrics_host, settings.metrics_port, partial(_page, health)):
        try:
            async with AsyncExitStack() as stack:
                waiting = StartWait(health, settings.start_wait_seconds)
                service = await waiting.open(stack, lambda: open_service(settings, health), stopping)
                if service is None:
                    _log.info("stopped before it could start")
                    return EXIT_OK
                health.started = True
                return await _serve(service, stopping, settings.drain_seconds)
        except OperatorError as error:
            _log.error("cannot start", error=error.message, **error.details)
            return EXIT_CONFIG if isinstance(error, SettingsInvalid) else EXIT_FAILED
        except Exception:  # noqa: BLE001 - the last door: whatever it was, it is logged and the process ends
            _log.exception("process failed")
            return EXIT_FAILED


async def _page(health: HealthRegistry, accept: str) -> metrics.Page:
    """The metrics of this process, and those that it knows of all."""
    return metrics.page(accept, "" if health.figures is None else await health.figures())


def _watch_signals(stopping: asyncio.Event, health: HealthRegistry, longest_seconds: float) -> None:
    def leave() -> None:
        _log.warning("closing takes too long, leaving what is open", seconds=longest_seconds)
        os._exit(EXIT_OK)

    def stop(signal_name: str) -> None:
        if stopping.is_set():
            _log.warning("second signal, leaving at once", signal=signal_name)
            os._exit(EXIT_FAILED)
        _log.info("stopping", signal=signal_name)
        health.stopping = True
        stopping.set()
        loop.call_later(longest_seconds, leave)

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each.name)


async def _serve(service: Service, stopping: asyncio.Event, drain_seconds: float) -> int:
    serving = asyncio.create_task(service.serve(stopping), name="serve")
    asked = asyncio.create_task(stopping.wait(), name="stopping")
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            await serving  # raises what went wrong, if anything did
            _log.error("the service ended unasked")
            return EXIT_FAILED
        return await _drain(serving, drain_seconds)
    finally:
        asked.cancel()


async def _drain(serving: asyncio.Task[None], drain_seconds: float) -> int:
    done, _ = await asyncio.wait({serving}, timeout=drain_seconds)
    if done:
        await serving
        _log.info("stopped")
        return EXIT_OK
    _log.warning("drain deadline passed, cancelling what is left", drain_seconds=drain_seconds)
    serving.cancel()
    await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
    return EXIT_OK


async def together(stopping: asyncio.Event, *tasks: tuple[str, Awaitable[None]]) -> None:
    """Run named side tasks until all have returned; one that ends before `stopping` is set fails them all.

    Raises:
        RuntimeError: naming the task that ended unasked; or whatever a task raised.
    """

    async def guard(name: str, work: Awaitable[None]) -> None:
        await work
        if not stopping.is_set():
            raise RuntimeError(f"the task {name!r} ended unasked")

    try:
        async with asyncio.TaskGroup() as group:
            for name, work in tasks:
                group.create_task(guard(name, work), name=name)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
