"""A Lease as an API server keeps it: compare and swap by resourceVersion, behind a network with the faults that a test wants.

What is under way arrives, also when its sender has given it up, was paused or killed: a write may be done long after the
call for it has failed.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from services.kernel.errors import RetryableError
from services.kernel.lease.api import LeaseConflict, LeaseUnavailable
from services.kernel.lease.record import LeaseRecord
from tests.support.virtual_time import world

T = TypeVar("T")

NEVER: Final = float("inf")
"""Seconds after which a message arrives that is lost."""

Travel = Callable[[str], float]
"""Called with "read" or "write" for each message; returns how long it takes, or raises before anything is sent."""


def quick(_: str) -> float:
    """As it should be."""
    return 0.01


def away(_: str) -> float:
    """The server cannot be reached."""
    raise LeaseUnavailable("the API server does not answer")


def hanging(_: str) -> float:
    """The message is lost."""
    return NEVER


def unreliable(dice: random.Random) -> Travel:
    """Mostly quick, sometimes slow, sometimes later than anybody waits, sometimes never, sometimes refused."""

    def travel(call: str) -> float:
        roll = dice.random()
        if roll < 0.1:
            return away(call)
        if roll < 0.2:
            return NEVER
        if roll < 0.3:
            return dice.uniform(3.0, 60.0)
        return dice.uniform(0.0, 6.0) if roll < 0.5 else dice.uniform(0.0, 0.05)

    return travel


@dataclass
class Network:
    """Carries questions to a server and answers back."""

    to: Travel = quick
    back: Travel = quick
    last_arrival: float = 0.0
    """When, in true time, the last of the messages under way arrives."""

    async def ask(self, call: str, question: Callable[[], T]) -> T:
        """What `question` makes of the server when it has arrived there; it is put also when nobody waits any more."""
        answer: asyncio.Future[T] = world().create_future()

        def refuse(error: Exception) -> None:
            if not answer.done():
                answer.set_exception(error)

        def arrive() -> None:
            try:
                answered = question()
            except Exception as error:
                refusal = error
                come_back(lambda: refuse(refusal))
            else:
                come_back(lambda: answer.done() or answer.set_result(answered))

        def come_back(arrival: Callable[[], object]) -> None:
            try:
                self._send(self.back, call, arrival)
            except RetryableError as error:  # the connection breaks with the answer in it
                refuse(error)

        self._send(self.to, call, arrive)
        return await answer

    def _send(self, travel: Travel, call: str, arrival: Callable[[], object]) -> None:
        seconds = travel(call)
        if seconds == NEVER:
            return
        self.last_arrival = max(self.last_arrival, world().seconds + seconds)
        world().in_world(seconds, arrival)


@dataclass
class LeaseServer:
    """The server's side: one Lease."""

    record: LeaseRecord | None = None
    holders: list[str] = field(default_factory=list)
    """Each holder in its turn; a Lease that was given back and taken again has had two."""
    events: list[str] = field(default_factory=list)
    on_write: Callable[[LeaseRecord | None, LeaseRecord], object] = lambda before, after: None
    """Told of every change."""
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Keep `record` if it was made of the present one."""
        version = self.record.version if self.record is not None else ""
        if record.version != version:
            raise LeaseConflict(f"{record.version or 'a new one'} is not {version or 'none'}")
        before, self.record = self.record, replace(record, version=str(next(self._versions)))
        if record.holder and (before is None or before.holder != record.holder):
            self.holders.append(record.holder)
        self.on_write(before, self.record)
        return self.record

    def touch(self) -> None:
        """Somebody puts a label on it: whoever has read it before may not write."""
        if self.record is not None:
            self.write(self.record)

    def delete(self) -> None:
        """Somebody deletes it."""
        self.record = None


class LeaseClient:
    """One candidate's connection to the server; implements `LeaseApi`."""

    def __init__(self, server: LeaseServer) -> None:
        self.network = Network()
        self._server = server

    async def read(self) -> LeaseRecord | None:
        """As `LeaseApi.read`."""
        return await self.network.ask("read", lambda: self._server.record)

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.create`."""
        return await self.network.ask("write", lambda: self._server.write(replace(record, version="")))

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.update`."""
        return await self.network.ask("write", lambda: self._server.write(record))

    async def announce(self, message: str) -> None:
        """As `LeaseApi.announce`."""
        self._server.events.append(message)
