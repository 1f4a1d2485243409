"""Which queues are paused: written in PostgreSQL, obeyed in Redis.

PostgreSQL is the truth. Workers ask Redis, which may forget: the relay's leader compares the two every few seconds and applies
what is written (`enforce`). So an administrator's word holds although Redis was away when it was given, or was emptied since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.kernel.database import Connection, Database, Row
from services.kernel.errors import BrokerUnavailable, InvalidInput
from services.kernel.logs import get_logger
from services.kernel.queries import Queries
from services.kernel.queue.inspector import Inspector

_QUERIES = Queries.load("services.kernel", "queue_controls.sql")
_log = get_logger(__name__)

LONGEST_NAME: Final = 200
LONGEST_REASON: Final = 500
MOST_ROUNDS: Final = 3
"""How often one comparison begins anew because it found something to change."""


@dataclass(frozen=True, slots=True)
class QueueControl:
    """What was last said about a queue."""

    queue: str
    paused: bool
    reason: str | None
    changed_by: UUID | None
    changed_at: datetime


class QueueControls:
    """Pauses and resumes queues."""

    def __init__(self, db: Database, inspector: Inspector) -> None:
        self._db = db
        self._inspector = inspector

    async def set(self, queue: str, *, paused: bool, by: UUID | None, reason: str | None = None) -> QueueControl:
        """Pause the queue or resume it, now. When Redis is away it happens within seconds of its return.

        Raises:
            InvalidInput: no queue can have this name, or the reason is too long.
            DatabaseUnavailable: nothing has changed.
        """
        async with self._db.transaction() as connection:
            control = await self.record(connection, queue, paused=paused, by=by, reason=reason)
        await self.apply(control)
        return control

    async def record(
        self, connection: Connection, queue: str, *, paused: bool, by: UUID | None, reason: str | None = None
    ) -> QueueControl:
        """Write it down in the caller's transaction; call `apply` after the commit. Raises as `set`."""
        if not 1 <= len(queue) <= LONGEST_NAME or not queue.isprintable():
            raise InvalidInput(
                f"a queue's name has 1 to {LONGEST_NAME} printable characters", queue=queue[:LONGEST_NAME]
            )
        if reason is not None and (len(reason) > LONGEST_REASON or "\x00" in reason):
            raise InvalidInput(f"the reason must have at most {LONGEST_REASON} characters and no NUL")
        row = await connection.fetchrow(_QUERIES["record_control"], queue, paused, by, reason)
        assert row is not None  # noqa: S101 - an upsert returns its row
        return _control(row)

    async def apply(self, control: QueueControl) -> bool:
        """Have workers obey `control`; whether that is new to them. False, too, while Redis is away: the leader sees to it."""
        try:
            changed = await self._obey(control)
        except BrokerUnavailable as error:
            _log.warning(
                "queue control waits for Redis", queue=control.queue, paused=control.paused, reason=error.message
            )
            return False
        if changed:
            _log.info("queue paused" if control.paused else "queue resumed", queue=control.queue, reason=control.reason)
        return changed

    async def all(self) -> list[QueueControl]:
        """Every queue that was ever paused, by name; one that is not listed is not paused."""
        return [_control(row) for row in await self._db.fetch(_QUERIES["controls"])]

    async def enforce(self) -> list[QueueControl]:
        """Have Redis say what is written, of every queue; for the relay's leader. Returns every control.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: not done; call it again.
        """
        controls = await self.all()
        for _ in range(MOST_ROUNDS):
            wrong = await self._differing(controls)
            if not wrong:
                break
            for queue, paused in wrong.items():
                await (self._inspector.pause(queue) if paused else self._inspector.resume(queue))
                _log.warning("queue control applied again, Redis had another one", queue=queue, paused=paused)
            controls = await self.all()  # somebody may have changed his mind meanwhile
        return controls

    async def _differing(self, controls: list[QueueControl]) -> dict[str, bool]:
        """Queues of which Redis says something else, and what is right."""
        wanted = {control.queue for control in controls if control.paused}
        looked_at = {*(control.queue for control in controls), *await self._inspector.known_queues()}
        actual = await self._inspector.paused(sorted(looked_at))
        return {queue: queue in wanted for queue in sorted(wanted ^ actual)}

    async def _obey(self, control: QueueControl) -> bool:
        if control.paused:
            return await self._inspector.pause(control.queue)
        return await self._inspector.resume(control.queue)


def _control(row: Row) -> QueueControl:
    return QueueControl(*row)
