"""The check at start that the database has what this process needs (contract.md TRAP33)."""

from __future__ import annotations

from collections.abc import Sequence

from services.kernel.database import Database
from services.kernel.errors import SchemaMissing
from services.kernel.queries import Queries

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
