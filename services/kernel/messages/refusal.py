"""Whether PostgreSQL has refused a message for what is in it: then it is the only one, and those beside it can be written."""

from __future__ import annotations

from typing import Final

from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, InvalidInput

_ROWS_FAULT: Final = frozenset({"22", "23", "54", "P0"})
"""Classes of SQLSTATE that speak of a value, a constraint, a size or what a trigger raised; others would refuse every message."""


def is_fault_of_row(error: CoursegenError) -> bool:
    """Whether `error` speaks of what is in a message, and not of the database."""
    if isinstance(error, InvalidInput):
        return True
    return isinstance(error, DatabaseRefused) and str(error.details.get("sqlstate"))[:2] in _ROWS_FAULT
