"""Ending what tests have started ends its orphans, and nobody who was given its number since."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.cli.stack.spawn import is_running
from tests.support.stack import Process, Stack, open_stack
from tests.support.waiting import eventually_sync

FOREVER = "import time; time.sleep(600)"
LEAVES_AN_ORPHAN = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid)"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Processes that need no server."""
    with open_stack(tmp_path, database_url="postgresql:///none", redis_url="redis://none/0") as opened:
        yield opened


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's, which leads a group."""
    process = subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_orphans_of_one_that_has_ended_are_ended(stack: Stack) -> None:
    """Though their leader was buried long ago."""
    leader = stack.spawn("stage_worker", program=("-c", LEAVES_AN_ORPHAN))
    leader.wait(30)
    orphan = int(leader.log.read_text(encoding="utf-8"))
    assert (leader.exit_code, is_running(orphan)) == (0, True)
    stack.close()

    eventually_sync(lambda: not is_running(orphan))


def test_nobody_who_was_given_the_number_of_a_buried_one_is_ended(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """Numbers come round: 32,768 processes later, on a machine that others use as well."""
    buried = cast("Any", SimpleNamespace(pid=stranger.pid, returncode=0, wait=lambda: 0))
    Process("api", buried, tmp_path / "log", port=0, metrics_port=0).destroy()

    with pytest.raises(subprocess.TimeoutExpired):
        stranger.wait(0.2)


def test_what_was_ended_once_is_left_alone(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group is gone, so another may have its number, and leave a group of the same."""
    ended: list[int] = []
    process = stack.spawn("api", program=("-c", FOREVER))
    process.destroy()
    monkeypatch.setattr("tests.support.stack.spawn.kill_group", ended.append)
    process.destroy()
    stack.close()

    assert (process.exit_code, ended) == (-9, [])
