"""The schema as it should be, kept beside the list of what was applied.

It is noted after each run that applies something, and stands for one list on one server: after a run that was killed, after a
rollback script, or on a newer PostgreSQL it says nothing, and the schema is taken as it is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from services.kernel.database import Connection
from services.kernel.queries import Queries
from services.migrate.drift import Drift, Objects, carried, compare
from services.migrate.history import AppliedMigration

SCHEMAS: Final = ("public", "cron")
"""The schemas that are ours. `auth` is Supabase's where there is one."""

Known = Mapping[str, AppliedMigration]
_QUERIES = Queries.load("services.migrate", "drift.sql")


class Reference:
    """Reads and writes it, through one session that holds the runners' lock."""

    def __init__(self, session: Connection) -> None:
        self._session = session

    async def objects(self) -> Objects:
        """The schema as it is."""
        async with self._session.transaction(readonly=True):
            await self._session.fetchval(_QUERIES["empty_search_path"])
            rows = await self._session.fetch(_QUERIES["objects"], list(SCHEMAS))
        return {row["object"]: row["digest"] for row in rows}

    async def expected(self, known: Known) -> Objects | None:
        """The schema as it should be with `known` applied; None when that was never noted."""
        if not await self._session.fetchval(_QUERIES["exists"]):
            return None
        version = await self._session.fetchval(_QUERIES["major_version"])
        objects: Objects | None = await self._session.fetchval(_QUERIES["read"], _digest(known), version)
        return objects

    async def note(self, known: Known, objects: Objects) -> None:
        """With `known` applied, the schema should be `objects`."""
        await self._session.execute(_QUERIES["create_table"])
        version = await self._session.fetchval(_QUERIES["major_version"])
        await self._session.execute(_QUERIES["write"], _digest(known), version, dict(objects))

    async def drift(self, known: Known, ignore: Sequence[str] = (), *, accept: bool = False) -> Drift:
        """How the schema differs from what it should be. Takes it as it is when asked, or when nothing was noted yet."""
        actual, expected = await self.objects(), None if accept else await self.expected(known)
        if expected is None:
            await self.note(known, actual)
            expected = actual
        return compare(expected, actual, ignore)


class Watch:
    """Keeps the reference true through a run: begin before it, end after it."""

    def __init__(self, reference: Reference, stood: Known, expected: Objects | None, before: Objects) -> None:
        self._reference = reference
        self._stood = stood
        self._expected = expected
        self._before = before

    @classmethod
    async def begin(cls, session: Connection, known: Known, *, accept: bool) -> Watch:
        """Look at the schema before anything is done. `accept` takes what was changed by hand for right."""
        reference = Reference(session)
        expected = None if accept else await reference.expected(known)
        return cls(reference, known, expected, await reference.objects())

    async def end(self, known: Known) -> Drift:
        """Note what the schema should be, now that `known` is applied; returns how it differs."""
        if self._expected is not None and known == self._stood:
            return compare(self._expected, self._before)
        after = await self._reference.objects()
        expected = after if self._expected is None else carried(self._expected, self._before, after)
        await self._reference.note(known, expected)
        return compare(expected, after)


def _digest(known: Known) -> str:
    lines = "\n".join(f"{version} {known[version].checksum}" for version in sorted(known))
    return hashlib.sha256(lines.encode()).hexdigest()
