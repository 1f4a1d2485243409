"""What the leader does for the queues beside filling them: has paused ones stay paused, and says what lies in each."""

from __future__ import annotations

from typing import Final

from services.kernel.queue import Inspector, QueueControls
from services.outbox_relay.figures import Figures

LOOK_SECONDS: Final = 2.0
"""How often Redis is made to agree with what administrators have paused: an emptied one obeys again within 5 s."""


class QueueKeeper:
    """Looks after all queues, for the leader."""

    def __init__(self, inspector: Inspector, controls: QueueControls, figures: Figures) -> None:
        self._inspector = inspector
        self._controls = controls
        self._figures = figures

    async def look(self) -> None:
        """Apply every pause that Redis has forgotten, and publish the queues' figures.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: the look is not complete; the next one makes up for it.
        """
        controls = await self._controls.enforce()
        self._figures.paused({control.queue: control.paused for control in controls})
        self._figures.queues(await self._inspector.overview(await self._inspector.known_queues()))
