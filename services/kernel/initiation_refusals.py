"""What a caller is told when PostgreSQL decides that a run may not begin (contract.md GAP1, GAP26)."""

from __future__ import annotations

from services.kernel.commands import InitiationOutcome, InitiationRequest
from services.kernel.errors import CourseBusy, CoursegenError, Forbidden, InvalidInput, KeyConflict, NotFound


def refusal(outcome: InitiationOutcome, request: InitiationRequest) -> CoursegenError:
    """The error that stands for a decision not to begin."""
    match outcome.status:
        case "not_found":
            return NotFound(
                "There is no such course. Create it first (POST /api/courses), or send a `title` to create it here.",
                courseId=str(request.course_id),
            )
        case "forbidden":
            return Forbidden("This course belongs to someone else.", courseId=str(request.course_id))
        case "busy":
            return CourseBusy(
                "The course is being generated already; wait for it, cancel it, or repeat the request that began it.",
                courseId=str(request.course_id),
                jobId=None if outcome.job_id is None else str(outcome.job_id),
            )
        case "key_conflict":
            return KeyConflict(courseId=str(request.course_id))
        case "no_documents":
            return InvalidInput(
                "`hasFiles` is true but the course has no documents; upload one, or send `hasFiles: false`.",
                field="hasFiles",
            )
        case _:
            return InvalidInput(
                "To create a course the token must name an organisation: claim `app_metadata.organization_id`.",
                claim="app_metadata.organization_id",
            )
