"""Stops what is left when the supervisor dies: a process that waits at the end of a pipe.

The supervisor writes `+ GROUP SIGNAL` for each program it starts and `- GROUP` when it has seen it end. The pipe
closes when the supervisor is gone, however it went, SIGKILL included; then every group still listed gets its
signal and, after a few seconds, SIGKILL. It runs in a session of its own, ignores the terminal, imports the
standard library alone, and inherits the state folder's lock, which is thereby held until all have stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

POLITE_SECONDS = 4.0
"""Time for servers to stop safely; with the next two seconds it stays well below ten."""
_FIRM_SECONDS = 2.0


def follow(lines: Iterable[str]) -> dict[int, int]:
    """Read the pipe to its end; returns the groups that are left with the signal each wants."""
    groups: dict[int, int] = {}
    for line in lines:
        match line.split():
            case ["+", group, signal_number]:
                groups[int(group)] = int(signal_number)
            case ["-", group]:
                groups.pop(int(group), None)
    return groups


def stop(groups: dict[int, int]) -> None:
    """Stop every group: its own signal, then SIGQUIT (PostgreSQL ends at once, safely), then SIGKILL."""
    for group, signal_number in groups.items():
        _send(group, signal_number)
    left = _wait(set(groups), POLITE_SECONDS)
    for group in left:
        _send(group, signal.SIGQUIT)
    for group in _wait(left, _FIRM_SECONDS):
        _send(group, signal.SIGKILL)


def _send(group: int, signal_number: int) -> None:
    # PostgreSQL's children misread a signal meant for the postmaster, so only SIGKILL goes to the whole group.
    with contextlib.suppress(OSError):
        if signal_number == signal.SIGKILL:
            os.killpg(group, signal_number)
        else:
            os.kill(group, signal_number)


def _wait(groups: set[int], seconds: float) -> set[int]:
    deadline = time.monotonic() + seconds
    while (left := groups & _living_groups(groups)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _living_groups(wanted: set[int]) -> set[int]:
    """Which groups have a process that is not a zombie."""
    if not Path("/proc/self/stat").exists():
        return {group for group in wanted if _answers(group)}
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, _parent, group = path.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
            if state not in "ZX":
                found.add(int(group))
    return found


def _answers(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def main() -> None:
    """Wait for the end of standard input, then clean up."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    stop(follow(sys.stdin))


if __name__ == "__main__":
    main()
