"""Keeps all programs of one stack alive, and ends all of them.

Who cleans up after whom:

- a program that dies takes what is left of its process group with it, then is started again, at once the first time and
  more slowly while it keeps failing;
- the supervisor that stops ends every program, services before the servers they use;
- the supervisor that is killed leaves the work to the guardian (and, on Linux, to a signal that each program asked the
  kernel for), within ten seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from services.cli.errors import StackError
from services.cli.stack.guard import Guard
from services.cli.stack.journal import Journal
from services.cli.stack.program import Program
from services.cli.stack.supervised import POLL_SECONDS, Supervised, describe_exit


def _nothing() -> None:
    """Nobody wants to know."""


class Supervisor:
    """All programs of one stack."""

    def __init__(self, guard: Guard, journal: Journal, changed: Callable[[], None] = _nothing) -> None:
        """Supervise nothing yet.

        Args:
            guard: who cleans up if this process is killed.
            journal: where the programs' output goes.
            changed: called after every start of a program.
        """
        self.programs: dict[str, Supervised] = {}
        self._guard = guard
        self._journal = journal
        self._changed = changed
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._guard_task = asyncio.ensure_future(guard.stay())

    def processes(self) -> dict[str, int]:
        """The process ids of what runs now, by name."""
        return {name: each.pid for name, each in self.programs.items() if each.pid is not None}

    def start(self, program: Program) -> None:
        """Start the program and keep it alive from now on."""
        supervised = Supervised(program, self._guard, self._journal)
        self.programs[program.name] = supervised
        self._keepers[program.name] = asyncio.ensure_future(supervised.keep_alive(self._changed))

    async def ready(self, *names: str, seconds: float) -> None:
        """Wait until these programs say that they work.

        Raises:
            StackError: one of them cannot start, or is not ready in time; with the end of what it wrote.
        """
        deadline = time.monotonic() + seconds
        for name in names:
            supervised = self.programs[name]
            while not supervised.ready.is_set():
                self._check(supervised, too_late=time.monotonic() > deadline)
                await asyncio.sleep(POLL_SECONDS)

    async def run_once(self, program: Program, *, seconds: float) -> None:
        """Run a program to its end.

        Raises:
            StackError: it failed or took too long; with the end of what it wrote.
        """
        once = Supervised(program, self._guard, self._journal)
        code: int | None = None
        try:
            code = await asyncio.wait_for(once.run_once(), seconds)
            await asyncio.sleep(POLL_SECONDS)  # let its last lines arrive
        except TimeoutError:
            pass
        finally:
            await asyncio.shield(once.stop(asyncio.Event()))
        if code != 0:
            ended = describe_exit(code) if code is not None else f"not done after {seconds:g} s"
            raise StackError(f"{program.name} failed ({ended}). {self._journal.last_words(program.name)}")

    async def stop(self, hurry: asyncio.Event, *last: str) -> None:
        """Stop every program; those named `last` when the others have ended. `hurry` skips the waiting."""
        for keeper in self._keepers.values():
            keeper.cancel()
        self._guard_task.cancel()
        first = [each for name, each in self.programs.items() if name not in last]
        await asyncio.gather(*(each.stop(hurry) for each in first))
        await asyncio.gather(*(each.stop(hurry) for name, each in self.programs.items() if name in last))

    def _check(self, supervised: Supervised, *, too_late: bool) -> None:
        keeper = self._keepers[supervised.program.name]
        if keeper.done() and not keeper.cancelled():
            keeper.result()
        if supervised.hopeless:
            raise StackError(supervised.hopeless)
        if too_late:
            name = supervised.program.name
            raise StackError(f"{name} is not ready in time. {self._journal.last_words(name)}")
