"""The sandbox: a few child processes that read documents and run the offline engine, within memory and time limits.

A document that eats memory, never ends or crashes its parser takes only its child with it: the caller gets
`DocumentRejected`, and the next task a fresh child. Children are started when needed, used again, replaced when they
have grown, and ended when idle for a while, so that heavy libraries never weigh on the worker itself. They die with
their parent, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from services.kernel.errors import DocumentRejected, PermanentError
from services.kernel.logs import get_logger
from services.stage_worker.parsing.messages import HEADER, Outcome, ParseArgument, Request, Response, encode
from services.stage_worker.parsing.model import ParsedDocument

T = TypeVar("T")

_log = get_logger(__name__)

_CHILD = "services.stage_worker.parsing.child"
_ATTEMPTS = 2
"""A child that vanishes may have been killed from outside: the task is tried once more."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the children are allowed."""

    processes: int = 2
    """Tasks that run at the same time; more wait."""
    memory_bytes: int = 1 << 30
    """Address space of one child."""
    parse_seconds: float = 120.0
    """Time to read one document."""
    engine_seconds: float = 600.0
    """Time to plan or write one course."""
    idle_seconds: float = 30.0
    """How long an unused child is kept."""
    tasks: int = 100
    """Tasks after which a child is replaced."""


class _Vanished(Exception):
    """The child ended in the middle of a task."""


class _Ended(PermanentError):
    """The work was stopped: it takes more than one task may use."""

    code = "task_stopped"


class _OutOfTime(_Ended):
    """Making the course takes too long. Use fewer or shorter documents and start it again."""

    code = "task_timed_out"


class _OutOfMemory(_Ended):
    """Making the course takes more memory than one course may use. Use fewer or shorter documents and start it again."""

    code = "task_out_of_memory"


class _Crashed(_Ended):
    """Making the course failed in a way nobody foresaw. Start it again; if it fails again, tell support."""

    code = "task_crashed"


class _Unexpected(_Ended):
    """Making the course failed in a way nobody foresaw. Start it again; if it fails again, tell support."""

    code = "task_failed"


class _Child:
    """One child process and the conversation with it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.tasks = 0
        self.tired = False
        self.idle_since = 0.0

    async def ask(self, request: Request) -> Response:
        """Send one task and wait for what becomes of it."""
        self.tasks += 1
        incoming, outgoing = self.process.stdout, self.process.stdin
        if incoming is None or outgoing is None:
            raise _Vanished
        try:
            outgoing.write(encode(request))
            await outgoing.drain()
            (length,) = HEADER.unpack(await incoming.readexactly(HEADER.size))
            response = msgspec.msgpack.decode(await incoming.readexactly(length), type=Response)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.tired = True
            raise _Vanished from error
        self.tired = response.tired
        return response

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()


class Sandbox:
    """Runs tasks in child processes. One per worker process; close it before the loop ends."""

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._slots = asyncio.Semaphore(self._limits.processes)
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every child at once; a task in progress fails."""
        self._closed = True
        await asyncio.gather(*(child.end() for child in list(self._all)), *self._ending, return_exceptions=True)
        self._all.clear()
        self._idle.clear()

    async def parse(self, content: Path | bytes, media_type: str, filename: str) -> ParsedDocument:
        """Read a document in a child process.

        Raises:
            DocumentRejected: it cannot be read, or not within the limits; the reason says what to do.
        """
        argument = ParseArgument(
            media_type=media_type,
            filename=filename,
            path=str(content) if isinstance(content, Path) else None,
            content=content if isinstance(content, bytes) else None,
        )
        try:
            return await self._run("parse", argument, ParsedDocument, self._limits.parse_seconds, DocumentRejected)
        except _Ended as error:
            raise DocumentRejected(_WHY[type(error)], cause=error.code) from error

    async def call(self, task: str, argument: msgspec.Struct, answer: type[T]) -> T:
        """Run a step of the offline engine in a child process: "analyse" or "generate".

        Raises:
            PermanentError: the engine refuses the material, or needs more than the limits allow.
        """
        return await self._run(task, argument, answer, self._limits.engine_seconds, PermanentError)

    async def _run(
        self, task: str, argument: object, answer: type[T], seconds: float, refusal: type[PermanentError]
    ) -> T:
        encoded = argument if isinstance(argument, bytes) else msgspec.msgpack.encode(argument)
        response = await self._respond(Request(task, encoded), seconds)
        if response.outcome is Outcome.REFUSED:
            if response.trace:
                _log.warning("a task was refused because of an error", task=task, trace=response.trace)
            raise refusal(response.message)
        if response.outcome is Outcome.OUT_OF_MEMORY:
            raise _OutOfMemory
        if response.outcome is Outcome.FAILED:
            _log.error("a task in a child process failed", task=task, trace=response.trace)
            raise _Unexpected
        return msgspec.msgpack.decode(response.answer, type=answer)

    async def _respond(self, request: Request, seconds: float) -> Response:
        for attempt in range(1, _ATTEMPTS + 1):
            async with self._slots, self._child() as child:
                try:
                    async with asyncio.timeout(seconds):
                        return await child.ask(request)
                except TimeoutError as error:
                    raise _OutOfTime from error
                except _Vanished:
                    _log.warning(
                        "a child process ended in the middle of a task", task=request.task, attempt=attempt,
                        tasks=child.tasks,
                    )  # fmt: skip
        raise _Crashed

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        """A child for one task. It is kept only if the task came back from it and it is not tired."""
        child = self._idle.pop() if self._idle else await self._start()
        keep = False
        try:
            yield child
            keep = child.process.returncode is None and not child.tired and child.tasks < self._limits.tasks
        finally:
            if keep and not self._closed:
                self._keep(child)
            else:
                await self._end(child)

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _CHILD, str(self._limits.memory_bytes), str(os.getpid()),
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), start_new_session=True,
        )  # fmt: skip
        child = _Child(process)
        self._all.add(child)
        return child

    def _keep(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        child.idle_since = loop.time()
        self._idle.append(child)
        loop.call_later(self._limits.idle_seconds, self._end_idle)

    def _end_idle(self) -> None:
        """End the children that have had nothing to do for long enough."""
        now = asyncio.get_running_loop().time()
        old = [child for child in self._idle if now - child.idle_since >= self._limits.idle_seconds - 0.01]
        for child in old:
            self._idle.remove(child)
            task = asyncio.ensure_future(self._end(child))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, child: _Child) -> None:
        self._all.discard(child)
        await asyncio.shield(child.end())


_WHY: dict[type[_Ended], str] = {
    _OutOfTime: "Reading the document takes too long. Split it into smaller ones, or save it in a simpler format.",
    _OutOfMemory: (
        "Reading the document takes more memory than one document may use. Split it or remove large pictures."
    ),
    _Crashed: "The document makes its reader fail. Save it again in its program, or in another format.",
    _Unexpected: "The document cannot be read. Save it again in its program, or in another format.",
}


def _environment() -> dict[str, str]:
    """What a child needs to start, and nothing of ours: no address, no password."""
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
