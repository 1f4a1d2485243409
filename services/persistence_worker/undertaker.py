"""Where entries go that cannot be persisted: among the dead letters, each with its reason (contract.md t)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from services.kernel.messages.consuming import Entry, Lease
from services.kernel.messages.transport import Exit
from services.persistence_worker.figures import Figures
from services.persistence_worker.items import Item, Refusal
from services.persistence_worker.lines import say_buried
from services.persistence_worker.suspects import CRASHES

Reason = Literal["refused", "undecodable", "missing", "crashes"]

_LONGEST_ERROR: Final = 500


class Undertaker:
    """Buries entries, counts them and says so."""

    def __init__(self, stream: Exit, figures: Figures) -> None:
        self._stream = stream
        self._figures = figures

    async def bury_refused(self, refusal: Refusal) -> bool:
        """Bury what PostgreSQL has refused as often as it may; False when the partition is somebody else's.

        Raises:
            BrokerUnavailable: Redis does not answer; it is still to be persisted.
        """
        item = refusal.item
        why = {"errorClass": type(refusal.error).__name__, "sqlstate": refusal.sqlstate, "error": refusal.error.message}
        return await self._bury(item.lease, item.entry, item.envelope.id, "refused", refusal.attempts, why)

    async def bury_unreadable(self, lease: Lease, entry: Entry, error: str) -> bool:
        """Bury an entry that is no message; False when the partition is somebody else's.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        reason: Reason = "missing" if entry.is_missing else "undecodable"
        return await self._bury(lease, entry, "", reason, 1, {"errorClass": "Undecodable", "error": error})

    async def bury_crashing(self, lease: Lease, entry: Entry, message_id: str, crashes: int) -> bool:
        """Bury an entry that no worker has survived; False when the partition is somebody else's.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        error = f"{crashes} workers have died with it in hand."
        return await self._bury(lease, entry, message_id, "crashes", crashes, {"errorClass": "Crash", "error": error})

    async def bury_server_crashing(self, item: Item) -> bool:
        """Bury an entry of which PostgreSQL has crashed again and again; False when the partition is somebody else's.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        why = {
            "errorClass": "Crash",
            "error": f"PostgreSQL has crashed {CRASHES} times when it was given this message alone.",
        }
        return await self._bury(item.lease, item.entry, item.envelope.id, "crashes", CRASHES, why)

    def note_missing(self, partition: int, entry_ids: Iterable[str]) -> None:
        """Redis itself has buried these, of which nothing but the name was left."""
        reason: Reason = "missing"
        for entry_id in entry_ids:
            self._figures.buried()
            say_buried(Entry(partition, entry_id, entry_id, None, is_missing=True), reason, "")

    async def _bury(
        self, lease: Lease, entry: Entry, message_id: str, reason: Reason, attempts: int, why: dict[str, str]
    ) -> bool:
        why["error"] = why["error"].partition("\n")[0][:_LONGEST_ERROR]
        facts = {"reason": reason, "attempts": str(attempts), **why}
        is_buried = await self._stream.bury(lease, entry.entry_id, message_id, facts)
        if is_buried:
            self._figures.buried()
            say_buried(entry, reason, message_id)
        return is_buried is not None
