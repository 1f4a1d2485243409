"""The guardian process as the supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from services.cli.stack import guardian

_LOOK_SECONDS = 0.5


class Guard:
    """Tells the guardian what runs, and replaces it when it dies."""

    def __init__(self, lock: int) -> None:
        """Start the guardian; it shares the descriptor of the state folder's lock."""
        self._lock = lock
        self._groups: dict[int, signal.Signals] = {}
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def watch(self, group: int, signal_number: signal.Signals) -> None:
        """Have the group stopped with this signal if the supervisor dies."""
        self._groups[group] = signal_number
        self._tell(f"+ {group} {int(signal_number)}")

    def forget(self, group: int) -> None:
        """The group has ended."""
        self._groups.pop(group, None)
        self._tell(f"- {group}")

    async def stay(self) -> None:
        """Replace the guardian whenever it dies; returns only by cancellation."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._process.poll() is not None:
                self._replace()

    def close(self) -> None:
        """Dismiss the guardian, which stops whatever is still listed, and wait for it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guardian.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._lock,),
            start_new_session=True,
        )

    def _replace(self) -> None:
        self.close()
        self._process = self._start()
        for group, signal_number in self._groups.items():
            self._tell(f"+ {group} {int(signal_number)}")

    def _tell(self, line: str) -> None:
        if self._process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it has just died; `stay` replaces it and tells it everything
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
