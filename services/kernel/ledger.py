"""The effect ledger: every job's outcome is decided exactly once.

A job may be delivered any number of times: queues repeat themselves, workers die between commit and acknowledgement, the
reconciler puts jobs back. The ledger row is written in the same transaction as the effect and its key is the outbox row's
identifier, so the second delivery finds the row and changes nothing. Who is authoritative: this table, not the queue.

Outcomes: `applied` (the effect is in the database), `skipped` (nothing was to be done: the run was over, cancelled or
past this stage), `failed` (it can never be done; `detail` says why).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from services.kernel.database import Connection
from services.kernel.queries import Queries

Outcome = Literal["applied", "skipped", "failed"]

RELATIONS: Final = ("effect_ledger",)
"""What must exist in the database before a ledger can be used (TRAP33)."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One job's outcome, ready to be written down."""

    effect_id: UUID
    """The outbox row's identifier; also the job's key in the queue (D37)."""
    course_id: UUID
    job_type: str
    run_number: int
    outcome: Outcome
    detail: dict[str, Any] = field(default_factory=dict)
    """Machine-readable facts about the outcome; for `failed` at least `code` and `message`."""


class Ledger:
    """Reads and writes outcomes, always in the caller's transaction."""

    def __init__(self) -> None:
        self._sql = Queries.load("services.kernel", "ledger.sql")

    async def apply_once(self, connection: Connection, effect: Effect) -> bool:
        """Record `effect`; True the first time, False when this job was decided before.

        On False the caller must change nothing. A concurrent transaction that records the same job makes this call wait
        until that one ends. The course must exist (foreign key).
        """
        first = await connection.fetchval(
            self._sql["apply_once"],
            effect.effect_id,
            effect.course_id,
            effect.job_type,
            effect.run_number,
            effect.outcome,
            effect.detail,
        )
        return first is not None

    async def outcome_of(self, connection: Connection, effect_id: UUID) -> Outcome | None:
        """How the job ended, or None while it is undecided."""
        outcome: Outcome | None = await connection.fetchval(self._sql["recorded_outcome"], effect_id)
        return outcome
