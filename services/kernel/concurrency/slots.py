"""Slots in Redis: one per course, from acceptance to the end of its run (contract.md e, GAP9).

Promises: a slot is given and taken by scripts that test and change everything at once; asking twice for one run counts
once; giving back twice frees once and never a later run's slot; no counter goes below zero. Concurrent calls share a
script. Redis is never the truth here: what dies between a reservation and its commit, or between a run's end and the
release, is put right by `services.kernel.concurrency.book`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from services.kernel.batching import Batcher
from services.kernel.concurrency.scripts import Scripts
from services.kernel.errors import BrokerUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

ANY_RUN: Final = 2**31 - 1
"""As the run of a release: whichever run has the slot (the course is gone)."""

_LARGEST_BATCH: Final = 128


class Decision(IntEnum):
    """What became of a request for a slot."""

    TAKEN = 1
    """It is the caller's, who gives it back unless a run begins."""
    HELD = 0
    """The course had its slot already; it is not the caller's to give back."""
    NOT_READY = -1
    """The counters cannot be believed: Redis has lost them, and they have not been rebuilt."""
    USER_LIMIT = -2
    GLOBAL_LIMIT = -3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and the count behind it."""

    decision: Decision
    current: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """One request for a slot."""

    course_id: UUID
    user_id: UUID
    run_number: int
    user_limit: int
    holder: str
    """Names the caller, so that only he can give back what never became a run."""


class Slots:
    """Takes and gives slots back. Safe for concurrent use."""

    def __init__(self, redis: Redis, *, wait_seconds: float = 0.2) -> None:
        """Use `redis`, waiting at most `wait_seconds` for it."""
        self._scripts = Scripts(redis)
        self._wait_seconds = wait_seconds
        self._reservations: Batcher[tuple[int, str], Verdict] = Batcher(
            self._reserve_together, largest=_LARGEST_BATCH, in_flight=2
        )
        self._returns: Batcher[str, bool] = Batcher(self._release_together, largest=_LARGEST_BATCH, in_flight=2)

    async def reserve(self, claim: Claim, global_limit: int) -> Verdict:
        """Ask for a slot.

        Raises:
            BrokerUnavailable: Redis does not answer; a slot may have been taken all the same.
        """
        item = f"{claim.course_id}{claim.user_id}{claim.run_number}:{claim.user_limit}:{claim.holder}"
        return await self._reservations.submit((global_limit, item))

    async def claim(self, course_id: UUID, user_id: UUID, run_number: int) -> None:
        """Note the slot of a run that has begun, whatever the limits are.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        await self._run("claim", f"{course_id}{user_id}{run_number}")

    async def release(self, course_id: UUID, run_number: int, holder: str = "") -> bool:
        """Give back the slot of this run or an earlier one; whether there was one.

        Args:
            course_id: whose slot.
            run_number: the run that has ended, or has not begun.
            holder: of a reservation that no run came of: free it only if it is still this caller's.

        Raises:
            BrokerUnavailable: Redis does not answer; repeating it is safe.
        """
        return await self._returns.submit(f"{course_id}{run_number}:{holder}")

    async def drain(self) -> None:
        """Return when nothing is under way."""
        await self._reservations.drain()
        await self._returns.drain()

    async def _reserve_together(self, claims: Sequence[tuple[int, str]]) -> Sequence[Verdict]:
        limit = min(limit for limit, _ in claims)  # one that has just changed; the stricter holds for this batch
        answer = await self._run("reserve", limit, *(item for _, item in claims))
        return [Verdict(Decision(answer[place]), answer[place + 1]) for place in range(0, len(answer), 2)]

    async def _release_together(self, items: Sequence[str]) -> Sequence[bool]:
        return [bool(freed) for freed in await self._run("release", *items)]

    async def _run(self, name: str, *args: str | int) -> list[int]:
        try:
            async with asyncio.timeout(self._wait_seconds):
                answer: list[int] = await self._scripts.run(name, *args)
        except TimeoutError as error:
            raise BrokerUnavailable("Redis does not answer in time") from error
        return answer
