"""The period of an objective: whole days or weeks, so that a rule of the schema can count them.

A shorter one than a week is none: alerts look back three days.
"""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.schemas import openapi

DEFAULT: Final = "30d"
LEAST_DAYS: Final = 7
MOST_DAYS: Final = 365
PATTERN: Final = "^[0-9]{1,3}[dw]$"
_LENGTH: Final = 4


def period(doc: str) -> openapi.Schema:
    """A field for a period."""
    within = f"{LEAST_DAYS} <= {days('self')} && {days('self')} <= {MOST_DAYS}"
    rule = openapi.cel(within, f"must be whole days or weeks, from {LEAST_DAYS}d to {MOST_DAYS}d, such as {DEFAULT}")
    return openapi.string(doc, pattern=PATTERN, default=DEFAULT, max_length=_LENGTH, rules=[rule])


def days(field: str) -> str:
    """The days of the period in `field`, in CEL."""
    number = f"int({field}.substring(0, size({field}) - 1))"
    return f"({field}.endsWith('w') ? 7 * {number} : {number})"
