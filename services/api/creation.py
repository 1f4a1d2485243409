"""A new course, made once however often it is asked for.

A request with an `Idempotency-Key` and the row of that key are written in one transaction, so that a repeat finds the course
or waits for it. The key is the caller's own, valid 24 hours, and goes with the course: once that is deleted, it is free again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import msgspec

from services.api.auth import Principal
from services.api.models import CreateCourseBody
from services.kernel.database import Connection, Database, Row
from services.kernel.errors import Conflict, InvalidInput, KeyConflict
from services.kernel.queries import Queries

_COURSES = Queries.load("services.api", "courses.sql")
_QUERIES = Queries.load("services.api", "creation.sql")
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Created:
    """A course, and whether this request has made it."""

    course: Row
    is_new: bool


def require_organization(
    caller: Principal, purpose: str = "To create a course the token must name an organisation"
) -> UUID:
    """The organisation that a new course, or whatever `purpose` names, will belong to.

    Raises:
        InvalidInput: when the token names none (GAP28).
    """
    if caller.organization_id is None:
        raise InvalidInput(
            f"{purpose}: claim `app_metadata.organization_id`.",
            claim="app_metadata.organization_id",
        )
    return caller.organization_id


async def create(db: Database, body: CreateCourseBody, caller: Principal, key: str | None) -> Created:
    """A new course of the caller's, or the one that the key stands for.

    Raises:
        InvalidInput: the token names no organisation.
        KeyConflict: the key stands for a course that was asked for in other words.
        Conflict: the course of the key is being deleted at this moment.
    """
    organization = require_organization(caller)
    if key is None:
        async with db.transaction() as session:
            return Created(await _insert(session, body, caller, organization), is_new=True)
    name, request = _name(key), {"creation": _fingerprint(body)}
    for _ in range(_TRIES):
        async with db.transaction() as session:
            if await session.fetchval(_QUERIES["claim_creation"], name, request):
                course = await _insert(session, body, caller, organization)
                await session.execute(_QUERIES["bind_creation"], name, course["id"])
                return Created(course, is_new=True)
            known = await _known(session, name, request)
            if known is not None:
                return Created(known, is_new=False)
    raise Conflict("The course of this `Idempotency-Key` is being deleted; send the request again.")


async def _insert(session: Connection, body: CreateCourseBody, caller: Principal, organization: UUID) -> Row:
    course_id = uuid4()
    attributes = {
        "style": body.style,
        "language": body.language,
        "webhookUrl": body.webhook_url,
        "tier": caller.tier,
        "priority": caller.priority,
    }
    await session.fetchval(_COURSES["create_course"], course_id, caller.user_id, organization, body.title, attributes)
    return await session.fetchrow(_COURSES["course_by_id"], course_id)


async def _known(session: Connection, name: str, request: dict[str, Any]) -> Row | None:
    """The key's course; None when it has gone meanwhile, and the key with it."""
    row = await session.fetchrow(_QUERIES["creation_of_key"], name)
    if row is None:
        return None
    if row["request"] != request:
        raise KeyConflict(
            "This `Idempotency-Key` stands for a course that was asked for in other words; use a new key."
        )
    return await session.fetchrow(_COURSES["course_by_id"], row["course_id"])


def _name(key: str) -> str:
    """Beside the keys of initiations, so that a client may use one key for both."""
    return f"create:{hashlib.sha256(key.encode()).hexdigest()}"


def _fingerprint(body: CreateCourseBody) -> str:
    return hashlib.sha256(msgspec.json.encode(body)).hexdigest()
