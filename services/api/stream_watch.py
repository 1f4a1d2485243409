"""Whether the stream of messages is this installation's: looked at beside the work, and never waited for.

While it is another's, messages are answered 503 and everything else goes on: the process is degraded, and ready. What has to be
set is said on `/readyz` and in the log. A Redis that does not answer changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.errors import CoursegenError, RedisOccupied
from services.kernel.logs import get_logger
from services.kernel.messages.transport import Entrance
from services.kernel.pauses import pause
from services.kernel.reminders import Reminder

LOOK_SECONDS: Final = 5.0
"""How often it is looked at."""

_log = get_logger(__name__)


class StreamWatch:
    """The stream as it was at the last look."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._reminder = Reminder()
        self._fault: str | None = None

    async def watch(self, stopping: asyncio.Event) -> None:
        """Look again and again until `stopping` is set."""
        while not stopping.is_set():
            await self.look()
            await pause(stopping, LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. Never raises for a Redis that is away."""
        try:
            await self._entrance.ping()
        except RedisOccupied as error:
            self._fault = error.message
            if self._reminder.is_due(error.message):
                _log.warning("messages are not accepted", reason=error.message)
        except CoursegenError:
            return  # what was seen last stands
        else:
            if self._reminder.has_said:
                _log.info("messages are accepted")
            self._reminder.forget()
            self._fault = None

    async def require(self) -> None:
        """A readiness check.

        Raises:
            RedisOccupied: it was another installation's at the last look; says what to set.
        """
        if self._fault is not None:
            raise RedisOccupied(self._fault)


async def without_messages() -> None:
    """The substitute of that check: all but messages goes on."""
