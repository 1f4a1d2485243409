"""Courses that wait to be initiated, numbered, so that every driver can name one that nobody has touched."""

from __future__ import annotations

from uuid import UUID

from benchmarks.support.grounds import Grounds
from tests.support.tokens import ORGANIZATION, USER

_PREFIX = "00000000-0000-4000-8000-"

_FILL = """
INSERT INTO auth.users (id) VALUES ('{user}') ON CONFLICT DO NOTHING;
INSERT INTO courses (id, title, slug, user_id, organization_id, tier, priority)
SELECT ('{prefix}' || lpad(to_hex(n), 12, '0'))::uuid, 'Course ' || n, 'course-' || n, '{user}', '{organization}', 'STANDARD', 5
  FROM generate_series({first}, {last}) AS n;
"""


def course_id(number: int) -> UUID:
    """The identifier of a numbered course."""
    return UUID(f"{_PREFIX}{number:012x}")


class Courses:
    """Hands out ranges of fresh courses."""

    def __init__(self, grounds: Grounds, count: int) -> None:
        """Write `count` courses, pending and without documents, and tell the planner."""
        self._next = 1
        self._last = count
        grounds.sql(_FILL.format(user=USER, organization=ORGANIZATION, prefix=_PREFIX, first=1, last=count))
        grounds.sql("VACUUM ANALYZE")

    def take(self, count: int) -> int:
        """The number of the first of `count` courses in a row that are yours."""
        first, self._next = self._next, self._next + count
        assert self._next <= self._last + 1, "not enough courses were prepared"
        return first
