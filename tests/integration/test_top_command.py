"""`coursegen top` against a running api: once on a pipe, a screen of its own on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.database import Database
from tests.integration.test_admin_command import add_dead_rows
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.servers import REPOSITORY
from tests.support.tokens import ADMIN, mint
from tests.support.waiting import eventually

OPEN_SCREEN, CLOSE_SCREEN = "\033[?1049h", "\033[?1049l"


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api without relay and workers."""
    async with running_api(app_database_url, redis_url) as running:
        yield running


class Terminal:
    """A command on a terminal of its own, and all that it has drawn."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *arguments],
            env=environment | {"TERM": "xterm"},
            cwd=REPOSITORY,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._drawn = b""

    def drawn(self) -> str:
        """Everything so far."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                break
            self._drawn += piece
            if not piece:
                break
        return self._drawn.decode(errors="replace")

    def words(self) -> str:
        """The same without what places and colours it."""
        return re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", self.drawn())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _environment(api: RunningApi, home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "API_URL": api.url,
        "API_TOKEN": mint(ADMIN, role="admin"),
        "COURSEGEN_HOME": str(home),
        "COLUMNS": "160",
        "LINES": "40",
    }


async def test_the_screen_follows_the_machine_and_leaves_the_terminal_as_it_was(
    api: RunningApi, db: Database, tmp_path: Path
) -> None:
    """Ctrl-C is exit code 0, and the last thing it does is to give the screen back."""
    terminal = Terminal(["top", "--every", "0.2"], _environment(api, tmp_path))
    try:
        await eventually(lambda: "nobody relays" in terminal.words(), within=30)
        assert OPEN_SCREEN in terminal.drawn()
        await add_dead_rows(db, await add_course(db), 3)
        await eventually(lambda: "3 outbox; next: coursegen admin dead-letters list" in terminal.words())
        terminal.process.send_signal(signal.SIGINT)
        code = await eventually(lambda: None if terminal.process.poll() is None else str(terminal.process.poll()))
        assert code == "0"
        assert CLOSE_SCREEN in terminal.drawn()
        assert "Traceback" not in terminal.words()
    finally:
        terminal.close()


async def test_an_api_that_is_gone_is_said_on_the_screen(app_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """And the last figures stay; SIGTERM ends it as well."""
    async with running_api(app_database_url, redis_url) as api:
        terminal = Terminal(["top", "--every", "0.2"], _environment(api, tmp_path))
        await eventually(lambda: "nobody relays" in terminal.words(), within=30)
    try:
        await eventually(lambda: "not read anew: http" in terminal.words(), within=20)
        terminal.process.terminate()
        code = await eventually(lambda: None if terminal.process.poll() is None else str(terminal.process.poll()))
        assert code == "0"
    finally:
        terminal.close()


async def test_on_a_pipe_it_prints_once(api: RunningApi, tmp_path: Path) -> None:
    """Without a colour; --json is one document; who may not see it is told how to become an administrator."""

    async def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.cli", "top", *arguments]
        given = _environment(api, tmp_path) | environment
        return await asyncio.to_thread(
            subprocess.run,
            command,
            env=given,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    people = await call()
    script = await call("--json")
    stranger = await call(API_TOKEN=mint())

    assert (people.returncode, people.stderr) == (0, "")
    assert people.stdout.count("coursegen top") == 1
    assert "\033" not in people.stdout
    assert json.loads(script.stdout)["outbox"]["depth"] == 0
    assert stranger.returncode == 1
    assert "coursegen token --role admin" in stranger.stderr
