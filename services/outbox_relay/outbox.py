"""The outbox table as the relay sees it: claim, mark, charge, bury; every write fenced by the leader's epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from services.kernel.database import Database
from services.kernel.errors import StaleLeader
from services.kernel.queries import Queries
from services.outbox_relay.high_water import Lane

_QUERIES = Queries.load("services.outbox_relay", "outbox.sql")


class OutboxRow(NamedTuple):
    """One pending row; the fields are in the order of `claim_batch`."""

    position: int
    outbox_id: UUID
    entity_id: UUID
    saq_queue: str
    job_type: str | None
    job_body: str | None
    """The final saq job; None when it is larger than allowed."""
    priority: int
    size: int
    """Bytes of the body as stored."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that did not get into Redis, and why."""

    row: OutboxRow
    reason: str
    is_transient: bool
    """Whether another try may succeed."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox."""

    depth: int
    dead: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How much one claim may bring."""

    rows: int
    total_bytes: int
    body_bytes: int
    default_room: int
    rooms: Mapping[Lane, int]
    lowest_first: bool = False
    """Whether the least urgent rows are chosen, if not all can be."""


class Outbox:
    """Statements on `job_outbox`, for one relay."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(self, limits: ClaimLimits, in_hand: Iterable[int]) -> list[OutboxRow]:
        """The next rows to put into Redis, without those at the positions `in_hand`. Changes nothing.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        rows = await self._db.fetch(
            _QUERIES["claim_batch"],
            limits.rows,
            [queue for queue, _ in limits.rooms],
            [lane for _, lane in limits.rooms],
            list(limits.rooms.values()),
            limits.default_room,
            multirange(in_hand),
            limits.total_bytes,
            limits.body_bytes,
            limits.lowest_first,
        )
        return [OutboxRow(*row) for row in rows]

    async def mark(self, rows: Sequence[OutboxRow], epoch: int) -> int:
        """Say that `rows` are in Redis; how many this made processed.

        Raises:
            StaleLeader: `epoch` is not the leader's any more; nothing was changed.
            DatabaseUnavailable: PostgreSQL does not answer; the rows may be marked or not.
        """
        return await self._fenced("mark_processed", [row.outbox_id for row in rows], epoch)

    async def charge(self, failures: Sequence[Failure], epoch: int, backoff_seconds: float) -> int:
        """Count a transient failure of each row; how many of them are dead now. Raises as `mark`."""
        ids, reasons = _columns(failures)
        return await self._fenced("charge_rows", ids, epoch, reasons, backoff_seconds)

    async def bury(self, failures: Sequence[Failure], epoch: int) -> int:
        """Make each row dead; how many were pending. Raises as `mark`."""
        ids, reasons = _columns(failures)
        return await self._fenced("bury_rows", ids, epoch, reasons)

    async def has_due_rows(self) -> bool:
        """Whether any row could be tried now."""
        return bool(await self._db.fetchval(_QUERIES["probe_due"]))

    async def backlog(self) -> Backlog:
        """How much waits, dead rows included, and how long the oldest live one has."""
        row = await self._db.fetchrow(_QUERIES["backlog"])
        return Backlog(*row) if row is not None else Backlog(0, 0, 0.0)

    async def _fenced(self, statement: str, ids: Sequence[UUID], epoch: int, *args: object) -> int:
        row = await self._db.fetchrow(_QUERIES[statement], ids, epoch, *args)
        return fenced_change(row, epoch)


def multirange(positions: Iterable[int]) -> str:
    """Exactly these positions, neighbours written together: ``{[1,4),[9,10)}`` for 1, 2, 3 and 9.

    Positions in hand are nearly always neighbours, so thousands of them become a few ranges.
    """
    ranges: list[str] = []
    first = last = None
    for position in sorted(positions):
        if last is not None and position == last + 1:
            last = position
            continue
        if last is not None:
            ranges.append(f"[{first},{last + 1})")
        first = last = position
    if last is not None:
        ranges.append(f"[{first},{last + 1})")
    return "{" + ",".join(ranges) + "}"


def fenced_change(row: Mapping[str, int] | None, epoch: int) -> int:
    """Rows changed by a fenced statement.

    Raises:
        StaleLeader: there is no leader of this epoch.
    """
    if row is None or not row["leaders"]:
        raise StaleLeader(f"epoch {epoch} has been succeeded; nothing was changed")
    return int(row["changed"])


def _columns(failures: Sequence[Failure]) -> tuple[list[UUID], list[str]]:
    return [each.row.outbox_id for each in failures], [each.reason[:2000] for each in failures]
