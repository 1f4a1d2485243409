"""The bodies of requests and answers. The OpenAPI description is made from these types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

from services.kernel.states import Status
from services.kernel.webhooks.urls import LONGEST_URL

Style = Literal["academic", "practical", "conversational", "concise"]
Language = Annotated[str, Meta(pattern="^[a-z]{2,3}$", description="ISO 639 code, such as `ru` or `en`")]
_VISIBLE_LINE = r"^[^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$"
Title = Annotated[
    str, Meta(min_length=1, max_length=300, pattern=_VISIBLE_LINE, description="what the course is about")
]
WebhookUrl = Annotated[
    str,
    Meta(
        max_length=LONGEST_URL,
        pattern="^https?://.",
        description="https address in the public internet that is told when the run ends; `http` is for development",
    ),
]
Key = Annotated[str, Meta(min_length=1, max_length=255, description="the same key repeats the same request")]


def check_line(text: str | None, name: str) -> None:
    """Refuse text that is more than one line of visible characters.

    Raises:
        ValueError: saying what is wrong.
    """
    if text is not None and any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{name} must not contain line breaks or control characters")


class InitiateBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request to generate a course."""

    course_id: UUID
    title: Title | None = None
    has_files: bool | None = None
    webhook_url: WebhookUrl | None = None
    style: Style | None = None
    language: Language | None = None
    idempotency_key: Key | None = None

    def __post_init__(self) -> None:
        check_line(self.title, "title")
        check_line(self.language, "language")


class InitiateReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An accepted request. A repeat carries `fromCache: true`."""

    success: Literal[True]
    job_id: UUID | None
    course_id: UUID
    from_cache: bool | UnsetType = UNSET


class CreateCourseBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new course."""

    title: Title
    style: Style | None = None
    language: Language | None = None
    webhook_url: WebhookUrl | None = None

    def __post_init__(self) -> None:
        check_line(self.title, "title")
        check_line(self.language, "language")


class DocumentReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An uploaded document."""

    id: UUID
    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    position: int
    status: Literal["uploaded", "processing", "processed", "failed"]
    failure_reason: str | None
    title: str | None
    language: str | None
    created_at: datetime
    processed_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> DocumentReply:
        """The reply for one row."""
        return cls(**dict(row.items()))


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    """The documents of a course, in order."""

    documents: list[DocumentReply]


class CourseSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A course in a list."""

    id: UUID
    title: str
    slug: str
    status: Status
    style: Style
    language: str | None
    run_number: int
    percentage: float | None
    error: str | None
    created_at: datetime
    updated_at: datetime


class CoursePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of courses; `nextCursor` asks for the next one, null at the end."""

    courses: list[CourseSummary]
    next_cursor: str | None


class CourseReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A course, with its progress and documents."""

    id: UUID
    title: str
    slug: str
    status: Status
    style: Style
    language: str | None
    has_files: bool | None
    webhook_url: str | None
    run_number: int
    progress: GenerationProgress
    error: str | None
    documents: list[DocumentReply]
    created_at: datetime
    updated_at: datetime


class ProgressStep(msgspec.Struct, frozen=True, kw_only=True):
    """One of the five steps that the course's owner sees; its name is Russian."""

    id: Annotated[int, Meta(ge=1, le=5)]
    name: str
    status: Literal["pending", "in_progress", "completed", "failed"]
    message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    error: dict[str, Any] | None
    """Why the step failed: `code` for programs, `message` for the owner."""


class GenerationProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come (GAP30). The percentage never falls within a run."""

    steps: Annotated[list[ProgressStep], Meta(min_length=5, max_length=5)]
    percentage: Annotated[float, Meta(ge=0, le=100)]
    current_step: Annotated[int, Meta(ge=1, le=5)]
    message: str | None


class CheckStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State and progress, unchanged in structure (contract.md a.3)."""

    generation_status: Status
    generation_progress: GenerationProgress


def check_status_body(status: str, progress: Any) -> bytes:
    """A `CheckStatus` whose progress is what is stored, whatever that is: nothing is added, dropped or reordered."""
    return orjson.dumps({"generation_status": status, "generation_progress": progress})


class EventReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step of a course's history."""

    position: int
    event_id: UUID
    event_type: str
    old_state: str | None
    new_state: str | None
    triggered_by: str | None
    created_by: Literal["API", "QUEUE", "WORKER"]
    metadata: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> EventReply:
        """The reply for one row."""
        return cls(**dict(row.items()))


class EventPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of events, oldest first; `nextCursor` asks for what came after, null when nothing has yet."""

    events: list[EventReply]
    next_cursor: str | None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in a word for programs and a sentence for people."""

    code: str
    message: str
    details: dict[str, Any]
