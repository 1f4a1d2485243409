"""Real processes for tests: api, relay and workers on the test's own database and Redis.

A `Stack` starts `python -m services.…` on free ports, waits until `/readyz` says so, and ends what is left at the end,
child processes included. A process may be told to die at a fault point; the stack's faults log then proves that it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx

from services.cli.stack import ports, spawn
from tests.support import tokens
from tests.support.limits import RAISED
from tests.support.ports import claim
from tests.support.receiver import LOCAL_RECEIVERS
from tests.support.servers import REPOSITORY, database_number
from tests.support.waiting import eventually

Kind = Literal["api", "outbox_relay", "stage_worker", "persistence_worker"]

_START_SECONDS = 60.0
_STOP_SECONDS = 28.0
"""What Kubernetes would give it, and R11 demands of it."""


class Process:
    """One started process."""

    def __init__(self, kind: Kind, popen: subprocess.Popen[bytes], log: Path, *, port: int, metrics_port: int) -> None:
        self.kind = kind
        self.log = log
        self.port = port
        self.metrics_port = metrics_port
        self._popen = popen
        self._is_destroyed = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._popen.poll()

    @property
    def url(self) -> str:
        """Where an api listens."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    async def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        """What the metrics port answers to a probe: the status and the document.

        Raises:
            httpx.TransportError: nobody listens yet, or any more.
        """
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"http://{ports.LOOPBACK}:{self.metrics_port}{path}")
            return answer.status_code, answer.json()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log that say `event`."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    async def ready(self, *, within: float = _START_SECONDS) -> Process:
        """Return when `/readyz` answers 200.

        Raises:
            AssertionError: it ended, or was not ready in time; shows the end of its log.
        """

        async def probe() -> bool:
            if self.exit_code is not None:
                return True
            with contextlib.suppress(httpx.TransportError):
                answer = await client.get(f"http://{ports.LOOPBACK}:{self.metrics_port}/readyz")
                return answer.status_code == 200
            return False

        async with httpx.AsyncClient(timeout=2) as client:
            await eventually(probe, within=within, every=0.05)
        assert self.exit_code is None, f"{self.kind} ended with {self.exit_code}:\n{self.tail()}"
        return self

    def kill(self) -> None:
        """End it with SIGKILL, as `kill -9` would: only itself, not its children."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._popen.wait()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    async def ended(self, *, within: float = _STOP_SECONDS) -> int:
        """Its exit code, once it has ended by itself.

        Raises:
            AssertionError: it still runs.
        """
        try:
            return await asyncio.to_thread(self._popen.wait, within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.kind} still runs after {within:g} s:\n{self.tail()}") from None

    async def stopped(self, *, within: float = _STOP_SECONDS) -> int:
        """Ask it to stop; its exit code."""
        self.terminate()
        return await self.ended(within=within)

    def tail(self, lines: int = 40) -> str:
        """The end of what it logged."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def wait(self, seconds: float) -> None:
        """Give it time to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)

    def destroy(self) -> None:
        """End it and whatever it has started; once, for its number is another's to have when all of them have gone."""
        if self._is_destroyed:
            return
        self._is_destroyed = True
        # Nobody is given its number while one of its group lives: of a leader that is buried it is a stranger's, or nobody's.
        if self._popen.returncode is None or not spawn.is_taken(self.pid):
            spawn.kill_group(self.pid)
        self._popen.wait()


class Stack:
    """The processes of one test."""

    def __init__(self, folder: Path, *, database_url: str, redis_url: str) -> None:
        self.folder = folder
        self.sink = folder / "effects.jsonl"
        self.faults_log = folder / "faults.log"
        self.processes: list[Process] = []
        self._numbers = itertools.count(1)
        self.environment = _environment(database_url, redis_url, self.sink, self.faults_log)
        """Variables of every process that is started from now on."""

    def spawn(
        self,
        kind: Kind,
        *,
        faults: str = "",
        port: int | None = None,
        metrics_port: int | None = None,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (),
    ) -> Process:
        """Start a process and return at once; `ready` waits for it.

        Args:
            kind: which service.
            faults: fault points to arm, as `COURSEGEN_FAULTS` takes them.
            port: of an api; None picks a free one.
            metrics_port: None picks a free one; whoever takes the place of another takes its ports, so that no other does.
            env: further variables.
            program: what Python is to run instead of the service itself.
        """
        number = next(self._numbers)
        port = port if port is not None else claim() if kind == "api" else 0
        metrics_port = metrics_port if metrics_port is not None else claim()
        variables = {
            **self.environment,
            "PORT": str(port),
            "METRICS_PORT": str(metrics_port),
            "COURSEGEN_FAULTS": faults,
            **(env or {}),
        }
        log = self.folder / f"{number:03}-{kind}.log"
        with log.open("ab") as output:
            popen = spawn.spawn(
                [sys.executable, *(program or ("-m", f"services.{kind}"))],
                env=variables,
                folder=REPOSITORY,
                output=output,
            )
        process = Process(kind, popen, log, port=port, metrics_port=metrics_port)
        self.processes.append(process)
        return process

    async def start(
        self,
        kind: Kind,
        *,
        faults: str = "",
        port: int | None = None,
        metrics_port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a process and return when it is ready."""
        return await self.spawn(kind, faults=faults, port=port, metrics_port=metrics_port, env=env).ready()

    async def start_all(self, *kinds: Kind) -> list[Process]:
        """Start several at the same time; in the order named."""
        started = [self.spawn(kind) for kind in kinds]
        await asyncio.gather(*(process.ready() for process in started))
        return started

    def running(self, kind: Kind) -> list[Process]:
        """The processes of one kind that have not ended."""
        return [process for process in self.processes if process.kind == kind and process.exit_code is None]

    def fired(self) -> Counter[str]:
        """How often each fault has fired, as `point action`."""
        if not self.faults_log.exists():
            return Counter()
        lines = self.faults_log.read_text(encoding="utf-8").splitlines()
        return Counter(line.rpartition(" ")[0] for line in lines)

    def logs(self) -> str:
        """The ends of all logs, for a failed test's message."""
        return "\n".join(f"── {each.log.name} (exit {each.exit_code})\n{each.tail(15)}" for each in self.processes)

    def close(self) -> None:
        """End every process that is left; when coverage is measured, in a way that lets it write down what it saw."""
        if any(name.startswith("COVERAGE_") for name in self.environment):
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.wait(_STOP_SECONDS)
        for process in self.processes:
            process.destroy()


def _environment(database_url: str, redis_url: str, sink: Path, faults_log: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "REDIS_STREAM_DB": str(database_number(redis_url)),
        "JWT_SECRET": tokens.SECRET,
        "HOST": ports.LOOPBACK,
        "METRICS_HOST": ports.LOOPBACK,
        "LOG_FORMAT": "json",
        "EFFECT_SINK_FILE": str(sink),
        "COURSEGEN_FAULTS_LOG": str(faults_log),
        "DRAIN_SECONDS": "20",
        **LOCAL_RECEIVERS,
        **RAISED,
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},  # measured as well
    }


@contextlib.contextmanager
def open_stack(folder: Path, *, database_url: str, redis_url: str) -> Iterator[Stack]:
    """A stack without processes yet; what was started is ended with the block."""
    stack = Stack(folder, database_url=database_url, redis_url=redis_url)
    try:
        yield stack
    finally:
        stack.close()
