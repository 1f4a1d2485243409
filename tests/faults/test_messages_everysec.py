"""What `appendfsync everysec` loses: measured, since it may lose (issue 7). Nothing is double, and what is left is in order.

A kill -9 leaves the machine's page cache: Redis has written what it answered for, unless its disk was just busy. A power cut
takes the page cache, too. It cannot be had here; a file cut back to what it was a second before its server died stands in.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.conftest import Trials
from tests.support.carriage import Carriage

CONVERSATIONS = 24
CUT_SECONDS = 1.0
OLDEST_SECONDS = 2.0
"""Redis puts a write off for so long while its disk is busy, and no longer."""
SLACK_SECONDS = 1.0
"""Between the moment that Redis answers and the one in which a sender on a busy machine writes it down."""


@pytest.fixture
def appendfsync() -> str:
    """The one that is measured."""
    return "everysec"


class Tape:
    """How long the file of a Redis was, at any moment of the last seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: list[tuple[float, Path, int]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Note its length while the block runs."""
        task = asyncio.create_task(self._note())
        yield
        task.cancel()

    def cut_back(self, seconds: float) -> int:
        """Cut it to what it was so long before its last change; how many bytes that takes."""
        now, path, size = self._sizes[-1]
        before = max(length for at, where, length in self._sizes if where == path and at <= now - seconds)
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            file.truncate(before)
        return size - before

    async def _note(self) -> None:
        while True:
            path = max(self._folder.rglob("*.aof"), key=lambda each: each.stat().st_mtime_ns)
            self._sizes.append((time.monotonic(), path, path.stat().st_size))
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("persisting", [True, False], ids=["workers-run", "nobody-persists"])
@pytest.mark.parametrize("how", ["kill -9", "power cut"])
async def test_what_is_lost_with_everysec(carriage: Carriage, trials: Trials, how: str, persisting: bool) -> None:
    """At most what was acknowledged in the last seconds before Redis died; by kill -9 as a rule nothing."""
    times = trials(1, full=20)
    await carriage.start(workers=1 if persisting else 0)
    died: list[float] = []
    cut = 0
    tape = Tape(carriage.redis_server.server.folder / "data")
    async with carriage.talking(CONVERSATIONS, pause=0.0, repeats=0.0), tape.running():
        started = time.monotonic()
        for _ in range(times):
            await asyncio.sleep(CUT_SECONDS + carriage.chance.uniform(0.5, 1.5))
            await asyncio.to_thread(carriage.redis_server.kill)
            died.append(time.monotonic())
            cut += tape.cut_back(CUT_SECONDS) if how == "power cut" else 0
            carriage.fired[how] += 1
            await asyncio.to_thread(carriage.redis_server.start)
            await carriage.more_accepted(50)
        seconds = time.monotonic() - started
    if not persisting:
        await carriage.stack.start("persistence_worker")
    verdict = await carriage.judge({how: times}, may_lose=True)

    lost = len(verdict.lost)
    state = "while a worker runs" if persisting else "while nobody persists"
    print(
        f"\neverysec, {how} {state}: {lost} of {verdict.acknowledged} acknowledged messages lost, {lost / times:.1f} a time"
        f" at {verdict.acknowledged / seconds:.0f}/s, {cut / times / 1024:.0f} KiB cut off"
    )
    others = (
        *(verdict.phantom, verdict.duplicate, verdict.disordered, verdict.divergent),
        *(verdict.dead, verdict.stuck, verdict.void),
    )
    assert others == ({},) * len(others), f"{verdict}\n{carriage.stack.logs()}"
    assert verdict.surprises == {}
    ages = [min(abs(each - carriage.said.at[client_id]) for each in died) for client_id in verdict.lost]
    longest = CUT_SECONDS if how == "power cut" else OLDEST_SECONDS
    assert max(ages, default=0) < longest + SLACK_SECONDS
    if how == "power cut" and not persisting:
        assert lost > 0, "nothing was cut off"
