"""Signals: the first one cancels, the second one hurries, and make's death is a signal too."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import interrupts
from services.cli.stack.local_stack import see_through


async def test_what_must_be_done_is_done_although_cancelled_twice() -> None:
    """Cleaning up cannot be interrupted; the cancellation goes on afterwards."""
    done = asyncio.Event()

    async def clean() -> None:
        await asyncio.sleep(0.05)
        done.set()

    task = asyncio.ensure_future(see_through(clean))
    for _ in range(2):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done.is_set()


def test_a_command_that_ends_by_itself_has_its_own_exit_code() -> None:
    """No signal, no change."""

    async def main(_hurry: asyncio.Event) -> int:
        return 3

    assert interrupts.run(main, {}) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_cancels_and_names_itself_in_the_exit_code(number: signal.Signals) -> None:
    """128 + signal, after the cleanup."""
    cleaned = []

    async def main(hurry: asyncio.Event) -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            cleaned.append(hurry.is_set())
        return 0

    assert interrupts.run(main, {}) == 128 + number
    assert cleaned == [False]


def test_the_second_signal_hurries() -> None:
    """It does not cancel the cleanup."""

    async def main(hurry: asyncio.Event) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(hurry.wait(), 5)
        return 0

    assert interrupts.run(main, {}) == 130


def test_the_death_of_make_ends_the_command(tmp_path: Path) -> None:
    """A killed make cannot pass the signal on; its child notices."""
    code = f"""
import asyncio, os, pathlib
from services.cli import interrupts
async def main(hurry):
    pathlib.Path({str(tmp_path / "up")!r}).touch()
    await asyncio.sleep(60)
raise SystemExit(interrupts.run(main, {{"COURSEGEN_PARENT": "1"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=20)

    assert (tmp_path / "up").exists()
    assert done.returncode == 128 + signal.SIGTERM
