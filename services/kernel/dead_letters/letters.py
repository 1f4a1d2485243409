"""A dead letter, whatever it was: something that nothing tries again by itself, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

Kind: TypeAlias = Literal["outbox", "queue", "webhook"]
KINDS: Final[tuple[Kind, ...]] = ("outbox", "queue", "webhook")

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When a dead letter is taken to have died that does not say."""

Place: TypeAlias = tuple[datetime, str]
"""Where a letter stands in the list: when it died, and its name."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    kind: Kind
    key: str
    """Of an outbox row and of its job the row's identifier; of a webhook its delivery's."""
    queue: str | None
    job_type: str | None
    course_id: UUID | None
    run_number: int | None
    priority: int | None
    attempts: int | None
    reason: str
    detail: str | None
    dead_since: datetime | None

    @property
    def id(self) -> str:
        """Its name among all dead letters."""
        return f"queue:{self.queue}/{self.key}" if self.kind == "queue" else f"{self.kind}:{self.key}"

    @property
    def place(self) -> Place:
        """Where it stands in the list, which begins with the latest."""
        return self.dead_since or LONG_AGO, self.id

    @property
    def uuid(self) -> UUID | None:
        """Its key as the identifier that PostgreSQL knows, if it is one."""
        try:
            return UUID(self.key)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; what is None does not matter."""

    kind: Kind | None = None
    queue: str | None = None
    job_type: str | None = None
    course_id: UUID | None = None
    reason: str | None = None
    """Part of the reason or its detail, in any case."""
    before: datetime | None = None

    def asks_for(self, kind: Kind) -> bool:
        """Whether letters of this kind can match at all."""
        return self.kind is None or self.kind == kind

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is one of them."""
        return (
            self.asks_for(letter.kind)
            and self._matches_queue(letter)
            and (self.job_type is None or self.job_type == letter.job_type)
            and (self.course_id is None or self.course_id == letter.course_id)
            and (self.before is None or letter.place[0] < self.before)
            and self._matches_reason(letter)
        )

    def _matches_queue(self, letter: Letter) -> bool:
        if self.queue is None or letter.queue == self.queue:
            return True
        return letter.queue is not None and letter.queue.partition(":")[0] == self.queue

    def _matches_reason(self, letter: Letter) -> bool:
        if self.reason is None:
            return True
        return self.reason.lower() in f"{letter.reason}\n{letter.detail or ''}".lower()
