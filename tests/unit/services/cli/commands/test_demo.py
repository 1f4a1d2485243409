"""Two demos on one state folder share one stack, which ends after both."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.cli import output
from services.cli.api_client import ApiUnreachable
from services.cli.commands import demo
from services.cli.errors import StackStopped
from services.cli.stack.state import Running, StateFolder
from tests.support.waiting import eventually

_RUNNING = Running(os.getpid(), "http://api", "m", "d", "r", {"api": 1})


class Stack:
    """Stands in for the processes: holds the folder, and notes whether it runs."""

    def __init__(self, state: StateFolder) -> None:
        self.state = state
        self.runs = 0
        self.starts = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Running]:
        """While the block runs."""
        self.state.open_for_notes()
        lock = self.state.lock()
        assert lock is not None
        self.state.announce(_RUNNING)
        self.runs += 1
        self.starts += 1
        try:
            yield _RUNNING
        finally:
            self.runs -= 1
            os.close(lock)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(output, "say", lines.append)
    return lines


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    made = Stack(StateFolder(tmp_path / "state"))
    monkeypatch.setattr(demo, "local_stack", lambda *_args, **_options: made)
    monkeypatch.setattr(demo, "_POLL_SECONDS", 0.01)
    yield made
    assert made.runs == 0


async def _use(stack: Stack, entered: asyncio.Event, leave: asyncio.Event, error: Exception | None = None) -> None:
    async with demo._stack(stack.state, verbose=False, quiet=False, hurry=asyncio.Event()):
        entered.set()
        await leave.wait()
        if error is not None:
            raise error


async def _two(
    stack: Stack, error: Exception | None = None
) -> tuple[asyncio.Task[None], asyncio.Task[None], asyncio.Event]:
    """An owner who is done, or has failed, and a guest who goes on until the event."""
    entered, leave_owner, leave_guest = asyncio.Event(), asyncio.Event(), asyncio.Event()
    owner = asyncio.create_task(_use(stack, entered, leave_owner, error))
    await entered.wait()
    joined = asyncio.Event()
    guest = asyncio.create_task(_use(stack, joined, leave_guest))
    await joined.wait()
    leave_owner.set()
    return owner, guest, leave_guest


@pytest.mark.parametrize("error", [None, ValueError("the course ended in an error")])
async def test_the_owner_waits_for_his_guests(stack: Stack, said: list[str], error: Exception | None) -> None:
    """Also when his own course failed; he says so once, and nothing is stopped before."""
    owner, guest, leave = await _two(stack, error)
    await eventually(lambda: any("another demo still uses this stack" in line for line in said))
    await asyncio.sleep(0.05)

    assert (stack.runs, owner.done()) == (1, False)
    leave.set()
    await guest
    with pytest.raises(ValueError, match="ended in an error") if error else contextlib.nullcontext():
        await asyncio.wait_for(owner, 10)
    assert (stack.starts, len([line for line in said if "still uses" in line])) == (1, 1)


async def test_an_interrupted_owner_waits_for_nobody(stack: Stack, said: list[str]) -> None:
    """Neither in his own work nor while he waits for guests."""
    owner, guest, leave = await _two(stack)
    await eventually(lambda: any("still uses" in line for line in said))
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(owner, 10)

    assert stack.runs == 0
    leave.set()
    await guest


async def test_a_guest_whose_stack_vanished_is_told_how_to_go_on(stack: Stack, said: list[str]) -> None:
    """The course is kept, and the same command resumes it."""
    with pytest.raises(StackStopped, match="run the same command again"):
        async with contextlib.AsyncExitStack() as owner:
            await owner.enter_async_context(stack.run())
            async with demo._stack(stack.state, verbose=False, quiet=False, hurry=asyncio.Event()):
                await owner.aclose()
                raise ApiUnreachable("http://api does not answer")
    assert said == ["using the stack that runs at http://api"]


async def test_an_outage_of_a_stack_that_runs_is_told_as_such(stack: Stack, said: list[str]) -> None:
    """Nobody stopped it."""
    with pytest.raises(ApiUnreachable):
        async with stack.run(), demo._stack(stack.state, verbose=False, quiet=False, hurry=asyncio.Event()):
            raise ApiUnreachable("http://api does not answer")
    assert len(said) == 1


async def test_nobody_borrows_a_stack_that_is_being_stopped(stack: Stack, said: list[str]) -> None:
    """He who comes then waits, and starts his own."""
    entered, leave = asyncio.Event(), asyncio.Event()
    async with stack.run():
        with stack.state.without_guests() as alone:
            assert alone
            late = asyncio.create_task(_use(stack, entered, leave))
            await asyncio.sleep(0.05)
            assert not entered.is_set()
            assert said == []
            stack.state.announce(Running(os.getpid(), "http://api", "m", "d", "r", {}))  # as good as gone
            # The folder's lock is still ours here; the late one takes it only after this block.
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
    leave.set()
    await _use(stack, entered, leave)

    assert stack.starts == 2
    assert not any("using the stack" in line for line in said)
