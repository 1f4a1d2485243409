"""Named fault points: a no-op unless a test arms them.

Code calls ``await reach("relay.after_enqueue")`` where a crash would hurt most. Armed by
``COURSEGEN_FAULTS="relay.after_enqueue=kill@1,worker.before_commit=raise@3"``: at the first arrival at the one point
the process kills itself with SIGKILL, at the third arrival at the other an `InjectedFault` is raised. A fault that
fires writes a line to ``COURSEGEN_FAULTS_LOG`` first, so that a test can prove that it fired.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from services.kernel.errors import RetryableError

_ACTIONS = ("kill", "raise", "hang")
_HANG_SECONDS = 3600.0


class InjectedFault(RetryableError):
    """A fault that a test asked for."""

    code = "injected_fault"


@dataclass
class _Fault:
    action: str
    at: int
    arrivals: int = 0


_armed: dict[str, _Fault] = {}
_log: Path | None = None


def arm(text: str, log: Path | None = None) -> None:
    """Arm the points that `text` names; an empty text disarms all.

    Raises:
        ValueError: when the text is not of the form ``point=action@N``.
    """
    global _log  # noqa: PLW0603 - one process, one set of faults
    _armed.clear()
    _log = log
    for part in filter(None, (each.strip() for each in text.split(","))):
        point, _, rest = part.partition("=")
        action, _, at = rest.partition("@")
        if action not in _ACTIONS or not point or not (at or "1").isdigit():
            raise ValueError(f"COURSEGEN_FAULTS: write point=kill|raise|hang@N, not {part!r}")
        _armed[point] = _Fault(action, int(at or "1"))


async def reach(point: str) -> None:
    """Say that execution has come to `point`."""
    if _armed and _fires(point) == "hang":
        await asyncio.sleep(_HANG_SECONDS)


def reach_sync(point: str) -> None:
    """`reach`, for code that is not asynchronous."""
    if _armed and _fires(point) == "hang":
        time.sleep(_HANG_SECONDS)


def _fires(point: str) -> str | None:
    fault = _armed.get(point)
    if fault is None:
        return None
    fault.arrivals += 1
    if fault.arrivals != fault.at:
        return None
    _witness(point, fault.action)
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.action == "raise":
        raise InjectedFault(f"fault point {point} fired")
    return fault.action


def _witness(point: str, action: str) -> None:
    if _log is not None:
        with _log.open("a", encoding="utf-8") as file:
            file.write(f"{point} {action} {os.getpid()}\n")
            file.flush()
            os.fsync(file.fileno())
