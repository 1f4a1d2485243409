"""How often faults are injected, and the light engine with which workers run while they are.

A few in `make test`. `PROVE_FAULTS=100` (as `make prove-faults` sets it) injects each fault as often as reliability.md
section 6 asks, 100 kills at each fault point for instance, which by the rule of three bounds the rate of failure below 3 %
with 95 % confidence; another number is a percentage of that.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support import plugin
from tests.support.carriage import Carriage, open_carriage
from tests.support.driver import Driver, Journal
from tests.support.servers import APPLICATION_ROLE, PrivatePostgres, PrivateRedis, server_folder, with_user
from tests.support.stack import Process, Stack, open_stack


class Trials:
    """How many times to inject a fault."""

    def __init__(self, percent: float | None) -> None:
        self._percent = percent

    def __call__(self, few: int, full: int) -> int:
        """`few` in `make test`; `full`, or the percentage of it that PROVE_FAULTS asks for, in a proof."""
        return few if self._percent is None else max(few, math.ceil(full * self._percent / 100))


OpenDriver = Callable[..., Driver]
"""Points a client at an api; all clients of a test share its journal."""


INSTANT = {"ENGINE": "instant", "STAGE_WORKER_PLUGINS": plugin.NAME}
"""Courses in no time."""


@pytest.fixture
def trials() -> Trials:
    """The scale of this run."""
    asked = os.environ.get("PROVE_FAULTS", "").strip()
    return Trials(float(asked) if asked else None)


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """The test's processes; workers write courses in no time."""
    stack.environment |= INSTANT
    return stack


@pytest.fixture
def fragile_stack(tmp_path: Path, private_database_url: str, private_redis: PrivateRedis) -> Iterator[Stack]:
    """The same on servers of the test's own, which it may stop, kill and freeze."""
    url = with_user(private_database_url, APPLICATION_ROLE)
    with open_stack(tmp_path, database_url=url, redis_url=private_redis.url()) as opened:
        opened.environment |= INSTANT
        yield opened


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


@pytest.fixture
def appendfsync() -> str:
    """When the Redis of `carriage` writes its file: before it answers."""
    return "always"


@pytest.fixture
def durable_redis(appendfsync: str) -> Iterator[PrivateRedis]:
    """A Redis that keeps a file, which this test may kill and start again."""
    with server_folder() as folder:
        server = PrivateRedis(folder, options={"appendonly": "yes", "appendfsync": appendfsync})
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def carriage(
    tmp_path: Path, private_postgres: PrivatePostgres, private_database_url: str, durable_redis: PrivateRedis
) -> AsyncIterator[Carriage]:
    """Whatever carries messages, on servers that the test may kill."""
    async with open_carriage(
        tmp_path, database_url=private_database_url, postgres=private_postgres, redis_server=durable_redis
    ) as opened:
        yield opened
