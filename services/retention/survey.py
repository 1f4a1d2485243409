"""Counting what is there before anything goes, at a bounded cost.

Exact, by one pass over the table, as long as that takes no longer than `count_seconds`. A larger table is judged by a
sample of its pages, as many as a pass of that time surely reads; both figures come from the same pages, so that the share
is right even where the planner's statistics are old. A sample is marked as an estimate wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.kernel.database import Database, Row
from services.kernel.errors import DatabaseUnavailable, RetryableError
from services.retention.targets import QUERIES, Statements

SAMPLE_PAGES: Final = 20_000
"""At 8 KiB each 160 MB: a second or two even from a slow disk."""

_SAMPLE_SECONDS: Final = 30.0


class TooLargeToCount(RetryableError):
    """The table could not even be sampled in time."""

    code = "too_large_to_count"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of a rule's rows at one moment."""

    present: int
    matched: int
    """How many of them are old enough to go."""
    oldest: datetime | None
    is_estimate: bool = False


class Surveyor:
    """Counts."""

    def __init__(self, db: Database, *, count_seconds: float) -> None:
        self._db = db
        self._count_seconds = count_seconds

    async def survey(self, statements: Statements, cutoff: datetime) -> Survey:
        """Look at the rows of a rule; removes nothing.

        Raises:
            TooLargeToCount: neither a count nor a sample was possible in time.
            DatabaseUnavailable: PostgreSQL does not answer.
            CoursegenError: it refuses the statement.
        """
        try:
            row = await self._bounded(self._count_seconds, statements.survey, cutoff)
        except DatabaseUnavailable:
            await self._db.ping()  # it was the time limit, unless the server is away
            return await self._sample(statements, cutoff)
        return Survey(row["present"], row["matched"], row["oldest"])

    async def _sample(self, statements: Statements, cutoff: datetime) -> Survey:
        size: Any = await self._db.fetchrow(QUERIES["table_size"], statements.relation)
        percent = min(SAMPLE_PAGES / size["pages"] * 100, 100.0)
        try:
            row = await self._bounded(_SAMPLE_SECONDS, statements.sample, cutoff, percent)
        except DatabaseUnavailable:
            await self._db.ping()
            raise TooLargeToCount(
                f"{statements.relation} could not be counted within {self._count_seconds:g} s, nor a sample of it; "
                "see in pg_stat_activity who holds it"
            ) from None
        times = 100 / percent
        return Survey(round(row["present"] * times), round(row["matched"] * times), row["oldest"], is_estimate=True)

    async def _bounded(self, seconds: float, statement: str, *args: object) -> Row:
        async with self._db.transaction() as session:
            await session.fetchval(QUERIES["limit_statements"], milliseconds(seconds))
            return await session.fetchrow(statement, *args, timeout=seconds + 5)


def milliseconds(seconds: float) -> str:
    """As PostgreSQL reads a time limit; never 0, which would be none."""
    return f"{max(round(seconds * 1000), 1)}ms"
