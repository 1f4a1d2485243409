"""One program under supervision: started, watched, buried, started again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from typing import Any

from services.cli.errors import StackError
from services.cli.stack.guard import Guard
from services.cli.stack.journal import Journal
from services.cli.stack.program import Program
from services.cli.stack.spawn import kill_group, spawn

POLL_SECONDS = 0.05
"""How often a process is asked whether it has ended."""

_READY_POLL_SECONDS = 0.1
_FIRST_RESTART_SECONDS = 0.1
_SLOWEST_RESTART_SECONDS = 5.0
_STEADY_SECONDS = 10.0
_HOPELESS_STARTS = 4
_SETTINGS_EXIT_CODE = 78
_CHUNK_BYTES = 65_536


class Supervised:
    """A program, the process that runs it now, and how that went so far."""

    def __init__(self, program: Program, guard: Guard, journal: Journal) -> None:
        self.program = program
        self.restarts = 0
        self.ready = asyncio.Event()
        self.hopeless: str | None = None
        """Why it never came up, once that is clear."""
        self._guard = guard
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None
        self._failed_starts = 0
        self._was_ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    async def keep_alive(self, changed: Callable[[], None]) -> None:
        """Start it, and again whenever it ends; returns only by cancellation."""
        while True:
            started = time.monotonic()
            ended_with = await self._live(changed)
            if time.monotonic() - started > _STEADY_SECONDS:
                self._failed_starts = 0
            pause = min(_FIRST_RESTART_SECONDS * 2**self._failed_starts, _SLOWEST_RESTART_SECONDS)
            self._failed_starts += 1
            self.restarts += 1
            self._journal.warn(f"{self.program.name} {ended_with}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    async def run_once(self) -> int:
        """Start it and wait for its end; returns its exit code."""
        self._start()
        return await self._ended()

    async def stop(self, hurry: asyncio.Event) -> None:
        """End it: its stop signal, then SIGKILL after its time, or at once when `hurry` is set."""
        process = self._process
        if process is not None:
            process.send_signal(self.program.stop_signal)
            deadline = time.monotonic() + self.program.stop_seconds
            while process.poll() is None and time.monotonic() < deadline and not hurry.is_set():
                await asyncio.sleep(POLL_SECONDS)
            self._bury()
        for task in self._tasks:
            task.cancel()

    async def _live(self, changed: Callable[[], None]) -> str:
        """One life, from start to burial; returns how it ended, in words."""
        try:
            self._start()
            changed()
        except (OSError, StackError) as error:
            self._judge(f"cannot be started: {error}", None)
            return f"cannot be started ({error})"
        code = await self._ended()
        self._bury()
        self._judge(f"does not start ({describe_exit(code)})", code)
        return f"ended ({describe_exit(code)})"

    def _start(self) -> None:
        self.program.prepare(self._failed_starts)
        process = spawn(
            self.program.argv,
            env=self.program.env,
            folder=self.program.folder,
            output=subprocess.PIPE,
            account=self.program.account,
            death_signal=self.program.abandoned_signal,
        )
        self._process = process
        self._guard.watch(process.pid, self.program.abandoned_signal)
        self._spawn_task(self._pump(process))
        self._spawn_task(self._await_ready(process))

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ended(self) -> int:
        while self._process is not None:
            code = self._process.poll()
            if code is not None:
                return code
            await asyncio.sleep(POLL_SECONDS)
        return 0

    def _bury(self) -> None:
        """Take the rest of its group along: children of a killed worker, backends of a killed PostgreSQL."""
        process = self._process
        if process is None:
            return
        kill_group(process.pid)
        process.wait()
        self._guard.forget(process.pid)
        self._process = None
        self.ready.clear()

    def _judge(self, what: str, code: int | None) -> None:
        if not self._was_ready and (code == _SETTINGS_EXIT_CODE or self._failed_starts + 1 >= _HOPELESS_STARTS):
            self.hopeless = f"{self.program.name} {what}. {self._journal.last_words(self.program.name)}"

    async def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        while process is self._process:
            if await self.program.is_ready():
                self._was_ready = True
                self.ready.set()
                self._journal.say(f"{self.program.name} is ready (pid {process.pid})")
                return
            await asyncio.sleep(_READY_POLL_SECONDS)

    async def _pump(self, process: subprocess.Popen[bytes]) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        rest = b""
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._journal.line(self.program.name, line.decode(errors="replace").rstrip())
        finally:
            transport.close()


def describe_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "still running"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
