"""What a process needs the database to have: relations, and the migrations of this release (contract.md TRAP33).

It is asked at start, when a process waits for it, and every few seconds while it runs: a database that was restored to an
older state makes the process not ready. A database that is ahead of this release, as after a return to it, is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Database
from services.kernel.errors import RetryableError, SchemaMissing
from services.kernel.health import Check, HealthRegistry
from services.kernel.queries import Queries

REVISION: Final = "20251123100000"
"""The newest migration of phase `expand` in this release: what its code was written against. A test compares it."""
FIRST: Final = "20251001000000"
"""The first migration of every release: no rollback script takes its line out of the list. A test compares it."""

PIPELINE_RELATIONS: tuple[str, ...] = (
    "courses",
    "documents",
    "job_outbox",
    "idempotency_keys",
    "fsm_events",
    "effect_ledger",
    "relay_leadership",
    "metric_values",
    "system_metrics",
)
"""Relations without which no process of the pipeline can work."""

LOOK_SECONDS: Final = 5.0
"""How often a running process looks again."""

_QUERIES = Queries.load("services.kernel", "schema.sql")


async def require_relations(db: Database, names: Sequence[str] = PIPELINE_RELATIONS) -> None:
    """Return when every relation of `names` exists.

    Raises:
        SchemaMissing: naming each relation that does not, and the next command to run.
    """
    missing = [row["name"] for row in await db.fetch(_QUERIES["missing_relations"], list(names))]
    if missing:
        listed = ", ".join(missing)
        raise SchemaMissing(f"relation {listed} does not exist; run `coursegen migrate`", missing=missing)


async def require_revision(db: Database, revision: str = REVISION) -> None:
    """Return when the migration `revision` has been applied.

    Raises:
        SchemaMissing: naming the one the database is at, the one that is needed, and the next command to run.
    """
    standing = await db.fetchrow(_QUERIES["standing"], revision)
    if standing is None or not standing["is_applied"]:
        newest = None if standing is None else standing["newest"]
        raise SchemaMissing(
            f"the schema is at {newest or 'no revision'}, this release needs {revision}; run `coursegen migrate`",
            revision=newest,
            needed=revision,
        )


async def installation_of(db: Database) -> str:
    """The identity of the installation that has this database (see `installation`); empty when the list has no such line.

    Raises:
        SchemaMissing: there is no list of migrations; run `coursegen migrate`.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    return str(await db.fetchval(_QUERIES["installation"], FIRST) or "")


async def hold_schema(
    db: Database,
    names: Sequence[str],
    health: HealthRegistry,
    clock: Clock | None = None,
    *,
    substitute: Check | None = None,
) -> None:
    """Return when the schema has what this process needs, and make readiness depend on its staying so.

    Args:
        db: the database.
        names: the relations.
        health: what readiness is asked of.
        clock: to look every few seconds.
        substitute: what readiness depends on while the database does not say what it has.

    Raises:
        SchemaMissing: a relation of `names` or a migration is missing; says which, and the next command to run.
        DatabaseUnavailable: PostgreSQL does not answer.
    """
    await _require(db, names)
    health.register("schema", _Watch(db, names, clock or SystemClock()).require, substitute=substitute)


async def _require(db: Database, names: Sequence[str]) -> None:
    await require_relations(db, names)
    await require_revision(db)


class _Watch:
    """The schema as it was at the last look."""

    def __init__(self, db: Database, names: Sequence[str], clock: Clock) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._next = clock.monotonic() + LOOK_SECONDS
        self._fault: str | None = None

    async def require(self) -> None:
        """A readiness check.

        Raises:
            SchemaMissing: something was missing at the last look.
        """
        if self._clock.monotonic() >= self._next:
            await self._look()
        if self._fault is not None:
            raise SchemaMissing(self._fault)

    async def _look(self) -> None:
        try:
            await _require(self._db, self._names)
        except RetryableError:
            return  # another check says that PostgreSQL does not answer; what was seen last stands
        except SchemaMissing as missing:
            self._fault = missing.message
        else:
            self._fault = None
        self._next = self._clock.monotonic() + LOOK_SECONDS
