"""What the supervisor needs to know about a program to keep it alive."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.stack.accounts import Account


async def always_ready() -> bool:
    """For a program that has nothing to ask."""
    return True


async def never_ready() -> bool:
    """For a program that runs to its end."""
    return False


def nothing_to_prepare(_failed_starts: int) -> None:
    """For a program that needs nothing before it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of the stack: how to start it, tell that it works, and stop it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    account: Account | None = None
    is_ready: Callable[[], Awaitable[bool]] = always_ready
    prepare: Callable[[int], None] = nothing_to_prepare
    """Called before every start with the number of starts that failed in a row."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 7.0
    """Time between `stop_signal` and SIGKILL."""
    abandoned_signal: signal.Signals = signal.SIGKILL
    """What it receives when the supervisor is killed: a server its safe stop, a service SIGKILL, since services
    lose nothing by it and their draining would take too long."""
