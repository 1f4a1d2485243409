"""Whether PostgreSQL has refused a message for what is in it: then it is the only one, and those beside it can be written.

Of some errors nobody can say so by their code: a trigger that fails of one content fails with whatever code it likes, and a lock
or a missing table fails every message with the same ones. Then the message must be tried alone, and another one beside it.
"""

from __future__ import annotations

from typing import Final

from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, InvalidInput

LEAST_TRIES: Final = 3
"""A message is not given up before, where its code does not say that it is the message's fault."""

_ROWS_FAULT: Final = frozenset({"22", "23", "54", "P0"})
"""Classes of SQLSTATE that speak of a value, a constraint, a size or what a trigger raised; others may refuse every message."""
_SERVERS_FAULT: Final = frozenset({"08", "25", "28", "3D", "57", "53300"})
"""Classes and codes that speak of the server or of the session, whoever asks: away, read only, no login, shutting down, full."""
_STATEMENT_ENDED: Final = "57014"
"""The one of class 57 that is of a statement: it took too long, which may be for what is in it."""
_PASSES: Final = frozenset({"40", "53", "58", "XX001", "XX002"})
"""Those that pass: a deadlock, no room, a disk that fails, a damaged page of a table or an index until somebody mends it. A long
message may find no room where a short one does."""


def sqlstate_of(error: CoursegenError) -> str:
    """PostgreSQL's five letters, or nothing where it has not answered."""
    known = error.details.get("sqlstate") or getattr(error.__cause__, "sqlstate", None)
    return known if isinstance(known, str) else ""


def is_fault_of_row(error: CoursegenError) -> bool:
    """Whether `error` speaks of what is in a message, and not of the database."""
    if isinstance(error, InvalidInput):
        return True
    return isinstance(error, DatabaseRefused) and sqlstate_of(error)[:2] in _ROWS_FAULT


def may_be_of_row(error: CoursegenError) -> bool:
    """Whether PostgreSQL has answered, and nobody can say whether it speaks of one message or would refuse every other one."""
    code = sqlstate_of(error)
    if not code or is_fault_of_row(error):
        return False
    return code == _STATEMENT_ENDED or not _is_among(code, _SERVERS_FAULT)


def is_statement_ended(error: CoursegenError) -> bool:
    """Whether PostgreSQL has ended the statement because it took too long."""
    return sqlstate_of(error) == _STATEMENT_ENDED


def as_refusal(error: CoursegenError) -> DatabaseRefused:
    """An error that turned out to be of one message alone, in PostgreSQL's words."""
    return DatabaseRefused(str(error.__cause__ or error.message), sqlstate=sqlstate_of(error))


def tries_before_given_up(error: CoursegenError, most: int) -> int | None:
    """How often a message is tried that is refused like this, where `most` is the setting; None: until it gets through."""
    if is_fault_of_row(error):
        return most
    return None if _is_among(sqlstate_of(error), _PASSES) else max(most, LEAST_TRIES)


def _is_among(code: str, codes: frozenset[str]) -> bool:
    """Whether a code, or its class, is among some."""
    return code in codes or code[:2] in codes
