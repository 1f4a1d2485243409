"""How often faults are injected, and the light engine with which workers run while they are.

A few in `make test`; `PROVE_FAULTS=100` (as in `make prove-faults`) repeats each fault a hundred times, which by the rule
of three bounds the rate of failure below 3 % with 95 % confidence.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support import plugin
from tests.support.driver import Driver, Journal
from tests.support.stack import Process, Stack

Trials = Callable[[int], int]
"""How many times to inject a fault: the number given, or what PROVE_FAULTS says."""

OpenDriver = Callable[..., Driver]
"""Points a client at an api; all clients of a test share its journal."""


@pytest.fixture
def trials() -> Trials:
    """The scale of this run."""
    asked = os.environ.get("PROVE_FAULTS", "").strip()
    return lambda small: int(asked) if asked else small


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """The test's processes; workers write courses in no time."""
    stack.environment |= {"ENGINE": "instant", "STAGE_WORKER_PLUGINS": plugin.NAME}
    return stack


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """What the test's clients asked and were told."""
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
async def drive(journal: Journal) -> AsyncIterator[OpenDriver]:
    """Opens clients, which are closed after the test."""
    opened: list[Driver] = []

    def drive(api: Process, *, keep: bool = True) -> Driver:
        opened.append(Driver(api.url, journal, keep=keep))
        return opened[-1]

    yield drive
    for driver in opened:
        await driver.client.aclose()
