"""A Lease as an API server keeps it: compare and swap by resourceVersion, with the faults that a test wants."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.outbox_relay.lease.api import LeaseConflict, LeaseUnavailable
from services.outbox_relay.lease.record import LeaseRecord

FOR_EVER = 1e9


@dataclass
class LeaseServer:
    """The server's side: one Lease."""

    record: LeaseRecord | None = None
    holders: list[str] = field(default_factory=list)
    """Each holder in its turn."""
    events: list[str] = field(default_factory=list)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Keep `record` if it was made of the present one."""
        version = self.record.version if self.record is not None else ""
        if record.version != version:
            raise LeaseConflict(f"{record.version or 'a new one'} is not {version or 'none'}")
        self.record = replace(record, version=str(next(self._versions)))
        if record.holder and self.holders[-1:] != [record.holder]:
            self.holders.append(record.holder)
        return self.record


Fault = Callable[[str], float]
"""Called with "read" or "write" before each call; returns how long the answer takes, or raises."""


class LeaseClient:
    """One candidate's connection to the server; implements `LeaseApi`."""

    def __init__(self, server: LeaseServer, *, before: Fault = lambda _: 0.01, after: Fault = lambda _: 0.0) -> None:
        """`before` happens on the way to the server, `after` on the way back: the write is done by then."""
        self._server = server
        self.before = before
        self.after = after

    async def read(self) -> LeaseRecord | None:
        """As `LeaseApi.read`."""
        await asyncio.sleep(self.before("read"))
        seen = self._server.record
        await asyncio.sleep(self.after("read"))
        return seen

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.create`."""
        return await self._write(replace(record, version=""))

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.update`."""
        return await self._write(record)

    async def announce(self, message: str) -> None:
        """As `LeaseApi.announce`."""
        self._server.events.append(message)

    async def _write(self, record: LeaseRecord) -> LeaseRecord:
        await asyncio.sleep(self.before("write"))
        written = self._server.write(record)
        await asyncio.sleep(self.after("write"))
        return written


def away(_: str) -> float:
    """The server cannot be reached."""
    raise LeaseUnavailable("the API server does not answer")


def hanging(_: str) -> float:
    """The answer never comes."""
    return FOR_EVER


def unreliable(dice: random.Random) -> Fault:
    """Mostly quick, sometimes slow, sometimes for ever, sometimes not at all."""

    def fault(_: str) -> float:
        roll = dice.random()
        if roll < 0.1:
            raise LeaseUnavailable("connection reset")
        if roll < 0.2:
            return FOR_EVER
        return dice.uniform(0.0, 6.0) if roll < 0.4 else dice.uniform(0.0, 0.05)

    return fault
