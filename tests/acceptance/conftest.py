"""The real command in a process of its own, on a state folder of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from services.cli.stack.spawn import is_running
from tests.support.servers import REPOSITORY, server_folder
from tests.support.waiting import eventually_sync

START_SECONDS = 60.0
GONE_SECONDS = 10.0
"""How long anything may live on after the command was killed."""


class Home:
    """A state folder, the commands that run on it, and the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.out = folder / "out"
        self._started: list[subprocess.Popen[bytes]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """What a command gets."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COURSEGEN_", "PYTEST_"))}
        return {**kept, "COURSEGEN_HOME": str(self.state), "PYTHONUNBUFFERED": "1", **more}

    def run(self, *arguments: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment(**environment),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> Started:
        """Start a command and return at once."""
        return self._start([sys.executable, "-m", "services.cli", *arguments], environment)

    def types(self, line: str, **environment: str) -> Started:
        """Type a line into a terminal of its own, in the repository's folder, and return at once."""
        return self._start(["/bin/sh", "-ec", line], environment)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> Started:
        log = self.folder / f"command-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self.environment(**environment),
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return Started(process, log)

    def pid(self, name: str) -> int:
        """The process of the running stack with this name."""
        processes: dict[str, int] = json.loads((self.state / "running.json").read_text())["processes"]
        return processes[name]

    def left(self) -> list[str]:
        """The command lines of all living processes that work on this folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (path / "environ").read_bytes()
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                ours = f"COURSEGEN_HOME={self.state}".encode() in environment or str(self.state) in line
                if ours and is_running(int(path.name)):
                    found.append(f"{path.name} {line}")
        return found

    def close(self) -> None:
        """End what is left."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
            process.kill()
            process.wait()
        eventually_sync(lambda: not self.left(), within=GONE_SECONDS + 5)


class Started:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def text(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wrote(self, text: str, *, within: float = START_SECONDS) -> str:
        """Wait until it has written this; returns all it has written.

        Raises:
            AssertionError: it ended before, or did not write it in time.
        """

        def check() -> bool:
            written = text in self.text()
            assert written or self.process.poll() is None or text in self.text(), self.text()
            return written

        assert eventually_sync(check, within=within), self.text()
        return self.text()

    def ended(self, *, within: float = 90) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within:g} s:\n{self.text()}") from None


@contextlib.contextmanager
def open_home() -> Iterator[Home]:
    """A home for a block, with nothing left of it afterwards."""
    with server_folder() as folder:
        home = Home(folder)
        try:
            yield home
        finally:
            home.close()


@pytest.fixture
def home() -> Iterator[Home]:
    """The test's own."""
    with open_home() as made:
        yield made


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A small document that nobody has seen before."""
    path = tmp_path / "keeping-bees.md"
    chapters = ("The hive", "The queen", "The harvest", "The winter")
    path.write_text(
        "# Keeping bees\n\n"
        + "\n\n".join(
            f"## {name}\n\n"
            + " ".join(
                f"{name} asks for care number {n}, and whoever keeps bees learns about {name.lower()} in year {n}."
                for n in range(1, 12)
            )
            for name in chapters
        )
        + "\n"
    )
    return path
