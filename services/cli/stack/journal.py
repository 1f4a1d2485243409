"""What the processes of the stack say: one file each as they wrote it, and one readable record of all."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

_LARGEST_BYTES = 20_000_000
_KEPT_LINES = 40
_SHOWN_LINES = 12
_OWN = "coursegen"
_SHOWN_APART = frozenset({"timestamp", "level", "event", "process", "logger"})


class Journal:
    """Takes lines by process; writes `logs/<process>.log` and `logs/all.log`, and shows them when asked."""

    def __init__(
        self,
        folder: Path,
        show: Callable[[str], None] | None = None,
        alarm: Callable[[str], None] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            folder: where the files go.
            show: receives every readable line too (the terminal, with `-v`).
            alarm: receives what the caller should know in any case.
        """
        self._folder = folder
        self._show = show
        self._alarm = alarm
        self._last: dict[str, deque[str]] = {}

    def warn(self, text: str) -> None:
        """Record something that the caller should know: a process died."""
        self.say(text)
        if self._alarm is not None:
            self._alarm(text)

    def say(self, text: str) -> None:
        """Record something the supervisor itself did."""
        self._record(_OWN, f"{datetime.now(UTC):%H:%M:%S.%f}"[:12] + f" {text}")

    def line(self, process: str, text: str) -> None:
        """Record one line that a process wrote."""
        self._append(self._folder / f"{process}.log", text)
        self._last.setdefault(process, deque(maxlen=_KEPT_LINES)).append(text)
        self._record(process, readable(text))

    def last_words(self, process: str) -> str:
        """The end of what a process wrote, as the end of an error message."""
        words = "\n".join(readable(line) for line in self._last.get(process, ()))
        lines = words.splitlines()[-_SHOWN_LINES:]
        log = self._folder / f"{process}.log"
        if not lines:
            return f"It wrote nothing; its log is {log}"
        return "It wrote:\n" + "\n".join(f"  {line}" for line in lines) + f"\nThe whole log is {log}"

    def _record(self, process: str, text: str) -> None:
        line = f"{process:<22} | {text}"
        self._append(self._folder / "all.log", line)
        if self._show is not None:
            self._show(line)

    @staticmethod
    def _append(path: Path, text: str) -> None:
        if path.exists() and path.stat().st_size > _LARGEST_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text + "\n")


def readable(line: str) -> str:
    """A JSON log line as people read it; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    facts = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _SHOWN_APART)
    time = str(entry.get("timestamp", ""))[11:23]
    return f"{time} {entry.get('level', ''):<7} {entry.get('event', '')} {facts}".rstrip()
