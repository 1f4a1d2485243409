"""What the command handler is asked, and what it answers (contract.md b.10, l.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

from services.kernel.errors import InvalidInput

Status = Literal[
    "accepted",
    "replay",
    "not_found",
    "forbidden",
    "busy",
    "key_conflict",
    "no_documents",
    "organization_required",
    "limited",
    "clear",
    "failed",
]
"""`clear` is a probe's answer alone: the request would be accepted."""


class InitiationRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One request to generate a course, validated and authenticated."""

    course_id: UUID
    user_id: UUID
    organization_id: UUID | None = None
    """Of the token; needed only to create the course (D3)."""
    title: str | None = None
    has_files: bool | None = None
    """None: derived from the course's documents (D2)."""
    style: str | None = None
    language: str | None = None
    webhook_url: str | None = None
    tier: str = "FREE"
    priority: int = 1
    client_key: str | None = None
    """The caller's own key, already scoped to the user; None derives one (GAP8)."""
    request_id: str | None = None
    traceparent: str | None = None
    """The caller's place in its trace (W3C); it follows the run's jobs as the request id does."""
    initiated_by: str = "API_INITIATE"


class InitiationOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the database decided about one request."""

    status: Status
    course_id: UUID | None = None
    job_id: UUID | None = None
    idempotency_key: str | None = None
    run_number: int | None = None
    entries: int = 0
    running: bool | None = None
    """Whether a run of the course is under way now; None when nobody knows."""
    limit_type: str | None = None
    """Of `limited`: whose limit, `user` or `global`; with it the limit and what was counted."""
    limit: int = 0
    current: int = 0
    error: str | None = None


class Initiation(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request: its first job, and whether this was a repeat."""

    course_id: UUID
    job_id: UUID | None
    run_number: int
    from_cache: bool


class InitializeFSMCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One direct call of `initialize_fsm_with_outbox`, as Layers 2 and 3 make it (an empty job list is legal, TRAP34)."""

    entity_id: UUID
    user_id: UUID
    organization_id: UUID
    idempotency_key: str
    initiated_by: str
    initial_state: str
    job_data: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not 1 <= len(self.idempotency_key) <= 255:
            raise ValueError("idempotency_key has 1 to 255 characters")
        if not self.initiated_by:
            raise ValueError("initiated_by must not be empty")

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> InitializeFSMCommand:
        """The command that `fields` describe.

        Raises:
            InvalidInput: naming the field that is missing or wrong; nothing was written.
        """
        try:
            return msgspec.convert(dict(fields), cls)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"The command is not valid: {error}") from error


class InitializeFSMResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `initialize_fsm_with_outbox` returned, now or (a repeat) when the key was first used."""

    fsm_state: dict[str, Any]
    outbox_entries: list[dict[str, Any]]
    idempotent_hit: bool = False

    @property
    def job_id(self) -> UUID | None:
        """The identifier of the first job, None when the call carried no job."""
        return UUID(self.outbox_entries[0]["outbox_id"]) if self.outbox_entries else None
