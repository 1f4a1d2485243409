"""The messages that travel from one process to another: frozen, versioned, strictly decoded.

Two of them exist. A *job* is what the relay puts into a queue and a stage worker takes out; its body was written once,
together with the outbox row (contract.md c.5, GAP7). An *announcement* is what the relay publishes after it has queued a
batch, so that Layer 2 may look (contract.md g). Rows may be written by hand through the SQL function, so only what no
stage can do without is required; keys nobody knows are ignored, a version nobody knows is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from services.kernel.errors import PermanentError

JOB_VERSION: Final = 1
"""The version this code writes and the only one it reads; a body without a version is of version 1."""

ANNOUNCEMENT_CHANNEL: Final = "course-generation:added"
"""The Redis channel on which the relay says which jobs it has queued."""

DOCUMENT_PROCESSING: Final = "DOCUMENT_PROCESSING"
STRUCTURE_ANALYSIS: Final = "STRUCTURE_ANALYSIS"
STRUCTURE_GENERATION: Final = "STRUCTURE_GENERATION"


class MalformedMessage(PermanentError):
    """The message cannot be read; it was not written by coursegen or was damaged on the way."""

    code = "malformed_message"


class UnsupportedVersion(PermanentError):
    """The message is of a version that this process does not know; upgrade the stage workers."""

    code = "unsupported_version"


class JobData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a stage is asked to do: the `job_data` of an outbox row."""

    course_id: UUID
    job_type: str
    user_id: UUID | None = None
    organization_id: UUID | None = None
    created_at: str | None = None
    title: str | None = None
    style: str | None = None
    language: str | None = None
    version: int = JOB_VERSION


class Job(JobData, frozen=True, kw_only=True, rename="camel"):
    """One delivery of an outbox row. `outbox_id` is also the queue's key and the effect's identifier (D37)."""

    outbox_id: UUID
    run_number: int | None = None
    """The course's run this job belongs to; None (a row written by hand) means the present one."""
    priority: int = 1
    request_id: str | None = None
    """Of the request that began the run."""
    tier: str | None = None
    """Of the caller who began the run."""


class DocumentJob(Job, frozen=True, kw_only=True, rename="camel"):
    """Read one document of a course."""

    document_id: UUID | None = None
    """None (a row written by hand) means every document of the course."""


class Announcement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One job that the relay has just queued."""

    outbox_id: UUID
    course_id: UUID
    job_type: str | None = None
    queue: str = ""


J = TypeVar("J", bound=Job)

_LOGGED: Final = ("requestId", "userId", "tier", "courseId")

_announcements = msgspec.json.Decoder(list[Announcement])


def decode_job(payload: object, model: type[J]) -> J:
    """The job in a queue's payload.

    Raises:
        UnsupportedVersion: it says a version other than `JOB_VERSION`.
        MalformedMessage: a required key is missing or a value has the wrong type; the message names it.
    """
    if not isinstance(payload, Mapping):
        raise MalformedMessage(f"A job's payload must be an object, not {type(payload).__name__}.")
    version = payload.get("version", JOB_VERSION)
    if version != JOB_VERSION or isinstance(version, bool):
        raise UnsupportedVersion(
            f"This worker reads jobs of version {JOB_VERSION}, not {version!r}; upgrade the stage workers.",
            version=version,
        )
    try:
        return msgspec.convert(dict(payload), model)
    except msgspec.ValidationError as error:
        raise MalformedMessage(f"The job's payload is not valid: {error}") from error


def log_fields(payload: Mapping[str, Any]) -> dict[str, str]:
    """What every line about a job says of the request behind it (contract.md q), as far as its payload tells."""
    return {name: value for name in _LOGGED if isinstance(value := payload.get(name), str)}


def salvage_job(payload: object, job_type: str, error: PermanentError) -> Job:
    """As much of an unreadable job as is needed to settle it, whatever its version.

    Raises:
        PermanentError: `error` itself, when not even the job's and the course's identifiers can be read.
    """
    fields = payload if isinstance(payload, Mapping) else {}
    run_number = fields.get("runNumber")
    try:
        return Job(
            course_id=UUID(str(fields.get("courseId"))),
            outbox_id=UUID(str(fields.get("outboxId"))),
            job_type=job_type,
            run_number=run_number if isinstance(run_number, int) else None,
        )
    except ValueError:
        raise error from None


def encode_job_data(order: JobData) -> dict[str, Any]:
    """The `job_data` to store for `order`, without the keys that have nothing to say."""
    fields: dict[str, Any] = msgspec.to_builtins(order)
    return {key: value for key, value in fields.items() if value is not None}


def decode_announcements(message: bytes) -> list[Announcement]:
    """The jobs that a message on `ANNOUNCEMENT_CHANNEL` names.

    Raises:
        MalformedMessage: it is not a list of announcements.
    """
    try:
        return _announcements.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"The announcement is not valid: {error}") from error
