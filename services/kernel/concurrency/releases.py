"""Giving slots back, whatever happens to Redis meanwhile (contract.md e: released in a finally path, always)."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from services.kernel.concurrency.slots import Slots
from services.kernel.errors import BrokerUnavailable
from services.kernel.logs import get_logger
from services.kernel.pauses import pause

RETRY_SECONDS: Final = 1.0
"""How often what could not be given back is tried again."""
_MOST_REMEMBERED: Final = 10_000
_log = get_logger(__name__)

_Return = tuple[UUID, int, str]


class Releases:
    """Gives slots back; what Redis cannot take now is remembered and tried again until it can.

    What is forgotten when the process ends is found by the relay's leader, within five minutes.
    """

    def __init__(self, slots: Slots) -> None:
        """Nothing is owed yet."""
        self._slots = slots
        self._owed: dict[_Return, None] = {}

    @property
    def owed(self) -> int:
        """Slots that Redis has not taken back yet."""
        return len(self._owed)

    async def release(self, course_id: UUID, run_number: int, holder: str = "") -> None:
        """Give back the slot of this run or an earlier one, now or later; never raises because of Redis."""
        if not await self._try((course_id, run_number, holder)):
            self.owe(course_id, run_number, holder)
            _log.warning("slot not released yet, Redis is away", courseId=str(course_id), runNumber=run_number)

    def owe(self, course_id: UUID, run_number: int, holder: str = "") -> None:
        """Give it back at the next opportunity; for what must not wait."""
        if len(self._owed) < _MOST_REMEMBERED:
            self._owed[course_id, run_number, holder] = None

    async def retry(self) -> None:
        """Try once what is owed; stops at the first that Redis does not take."""
        for each in list(self._owed):
            if not await self._try(each):
                return
            self._owed.pop(each, None)

    async def keep_trying(self, stopping: asyncio.Event) -> None:
        """Try again every second until told to stop, and once more then."""
        while True:
            await pause(stopping, RETRY_SECONDS)
            await self.retry()
            if stopping.is_set():
                return

    async def _try(self, each: _Return) -> bool:
        try:
            freed = await self._slots.release(*each)
        except BrokerUnavailable:
            return False
        if freed:
            _log.debug("slot released", courseId=str(each[0]), runNumber=each[1])
        return True
