"""What the tests of a move share: processes of scripts/kafka_migration.py, its steps, and senders that do not give up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable
from tests.support.kafka import REQUIRED
from tests.support.servers import REPOSITORY
from tests.support.stack import Process, Stack
from tests.support.streamed import Ledger, envelope
from tests.support.waiting import eventually

BY_HAND = pytest.mark.skipif(
    not os.environ.get(REQUIRED), reason="a proof that runs by hand, and takes minutes: make prove-kafka"
)
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The client forgets a socket whose connecting was given up."""
SCRIPT = "scripts/kafka_migration.py"
TALKS = 32
_PATIENCE_SECONDS = 240.0


async def start_worker(stack: Stack) -> Process:
    """A persistence-worker that reads each partition from where it is to be read."""
    return await stack.spawn("persistence_worker", program=(SCRIPT, "persist")).ready()


async def step(stack: Stack, *arguments: str, code: int = 0) -> str:
    """Take a step of the move, as an operator does; what it prints."""

    def run() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, SCRIPT, *arguments]
        return subprocess.run(argv, env=stack.environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    done = await asyncio.to_thread(run)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def copying(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A copier that runs beside."""
    with (stack.folder / "copier.log").open("ab") as log:
        copier = subprocess.Popen(
            [sys.executable, SCRIPT, "copy"], env=stack.environment, cwd=REPOSITORY, stdout=log, stderr=log
        )
        try:
            yield copier
        finally:
            copier.terminate()
            copier.wait(30)


async def say(ledger: Ledger, number: int) -> None:
    """One message in each conversation; sent again, the same, until it is accepted."""
    until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    for each in [envelope(f"talk-{talk}", f"m-{number}") for talk in range(TALKS)]:
        while True:
            try:
                await ledger.send(each)
                break
            except BrokerUnavailable:
                assert asyncio.get_running_loop().time() < until
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def load(ledger: Ledger, between: Callable[[int], None] = lambda _: None) -> AsyncIterator[None]:
    """Messages of many conversations, round after round, while the block runs; `between` is told of each round before it."""
    ended = asyncio.Event()

    async def talk() -> None:
        number = ledger.count // TALKS
        while not ended.is_set():
            between(number)
            await say(ledger, number)
            number += 1
            await asyncio.sleep(0.05)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        ended.set()
        await task


async def grown(db: Database, by: int, *, within: float = 60) -> None:
    """Return when so many more rows are there."""
    before = await db.fetchval("SELECT count(*) FROM messages")

    async def more() -> bool:
        there = await db.fetchval("SELECT count(*) FROM messages")
        assert there >= before + by, f"{there} of {before + by} rows"
        return True

    await eventually(more, within=within, every=0.1)
