"""One tree of errors for every process; foreign errors are translated into it at one door each.

::

    CoursegenError
    ├── RetryableError            nothing was decided: the same call may succeed later, nothing is charged
    │   ├── DatabaseUnavailable
    │   ├── BrokerUnavailable
    │   │   └── RedisOccupied     another installation has that database of Redis
    │   └── UpstreamUnavailable   (knows `retry_after`)
    ├── PermanentError            will never succeed as it stands
    │   ├── InvalidInput          400
    │   │   └── DocumentRejected  a document that nobody can read, with a reason its author can act on
    │   ├── Unauthorized          401
    │   ├── Forbidden             403
    │   ├── NotFound              404
    │   ├── Conflict              409
    │   │   ├── CourseBusy
    │   │   ├── KeyConflict
    │   │   └── NotReady
    │   ├── TooLarge              413
    │   ├── UnsupportedMediaType  415
    │   ├── LimitReached          429
    │   └── TransitionRefused     an illegal move of the state machine
    └── OperatorError             a person must change something before the process can run
        ├── SettingsInvalid       exit code 78
        ├── SchemaMissing
        ├── DatabaseDenied
        └── StaleLeader           another leader with a higher epoch is at work

The class decides how a caller reacts; `code` is the word the outside sees (contract.md GAP1); `message` is a
sentence for people that says what to do next; `details` holds machine-readable facts and never a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class CoursegenError(Exception):
    """Something went wrong that coursegen knows how to name. The docstring is the default message."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message: str = message or (type(self).__doc__ or self.code).strip().splitlines()[0]
        self.details: dict[str, Any] = details
        super().__init__(self.message)


class RetryableError(CoursegenError):
    """The service is unavailable for the moment; try again."""

    code = "unavailable"
    http_status = 503


class DatabaseUnavailable(RetryableError):
    """PostgreSQL does not answer; the call may be repeated."""

    code = "database_unavailable"


class BrokerUnavailable(RetryableError):
    """Redis does not answer; the call may be repeated."""

    code = "broker_unavailable"


class RedisOccupied(BrokerUnavailable):
    """This database of Redis belongs to another installation; a person must give this one another."""


class UpstreamUnavailable(RetryableError):
    """A service this one depends on does not answer for the moment."""

    code = "upstream_unavailable"

    def __init__(self, message: str | None = None, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after
        """Seconds the other side asked us to wait, or None."""


class PermanentError(CoursegenError):
    """The request can never succeed as it stands."""

    code = "rejected"
    http_status = 400


class InvalidInput(PermanentError):
    """The request is not valid."""

    code = "invalid_input"


class DocumentRejected(InvalidInput):
    """The document cannot be used."""

    code = "document_rejected"

    @property
    def reason(self) -> str:
        """Why, in words the document's author can act on."""
        return self.message


class Unauthorized(PermanentError):
    """Send a valid token: `Authorization: Bearer <JWT>`."""

    code = "unauthorized"
    http_status = 401


class Forbidden(PermanentError):
    """This belongs to someone else."""

    code = "forbidden"
    http_status = 403


class NotFound(PermanentError):
    """There is no such thing."""

    code = "not_found"
    http_status = 404


class Conflict(PermanentError):
    """The request contradicts the present state."""

    code = "conflict"
    http_status = 409


class CourseBusy(Conflict):
    """The course is being generated already."""

    code = "course_busy"


class KeyConflict(Conflict):
    """This idempotency key belongs to another course; send a new one."""

    code = "idempotency_key_conflict"


class NotReady(Conflict):
    """The course is not finished yet."""

    code = "not_ready"


class TooLarge(PermanentError):
    """The request is too large."""

    code = "payload_too_large"
    http_status = 413


class UnsupportedMediaType(PermanentError):
    """This content type is not accepted here."""

    code = "unsupported_media_type"
    http_status = 415


class LimitReached(PermanentError):
    """A limit is reached; try again later."""

    code = "limit_reached"
    http_status = 429


class TransitionRefused(PermanentError):
    """Invalid generation status transition"""

    code = "invalid_transition"
    http_status = 409


class OperatorError(CoursegenError):
    """A person must change something before this process can run."""

    code = "misconfigured"


class SettingsInvalid(OperatorError):
    """The settings are not valid."""

    code = "settings_invalid"

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("The settings are not valid:\n" + "\n".join(f"  - {fault}" for fault in faults))


class SchemaMissing(OperatorError):
    """The database lacks relations this process needs; run `coursegen migrate`."""

    code = "schema_missing"


class DatabaseDenied(OperatorError):
    """PostgreSQL refuses the login: the role, its password or the database."""

    code = "database_denied"


class StaleLeader(OperatorError):
    """Another leader with a higher epoch is at work; this one steps down."""

    code = "stale_leader"


def causes(error: BaseException) -> Iterator[BaseException]:
    """What has failed: `error` itself, or what its groups hold, however deep; a group's own message says nothing."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from causes(each)
    else:
        yield error
