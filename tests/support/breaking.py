"""Parts of a deployment broken by statements, each with what mends it: as the owner, on a database that is in use."""

from __future__ import annotations

from services.kernel.schema import REVISION
from tests.support import tokens

COURSE = "00000000-0000-4000-8000-0000000000cf"
"""The course that a breakage belongs to; nobody initiated it."""

_NEWER = "99990101000000"
_BEGIN = (
    f"INSERT INTO auth.users (id) VALUES ('{tokens.USER}') ON CONFLICT DO NOTHING;"
    "INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status)"
    f" VALUES ('{COURSE}', 'Broken', 'broken', '{tokens.USER}', '{tokens.ORGANIZATION}', 'stage_4_init');"
)
_END = f"DELETE FROM courses WHERE id = '{COURSE}'"


def _events(number: int) -> str:
    return (
        "INSERT INTO fsm_events (entity_id, event_type, new_state, triggered_by, created_by)"
        f" SELECT '{COURSE}', 'FSM_INITIALIZED', 'stage_4_init', 'WORKER_FALLBACK', 'WORKER'"
        f" FROM generate_series(1, {number});"
    )


def _jobs(number: int, job_type: str = "STRUCTURE_ANALYSIS") -> str:
    return (
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, next_attempt_at)"
        f" SELECT '{COURSE}', 'course-generation', '{job_type}', now() + interval '1 hour'"
        f" FROM generate_series(1, {number});"
    )


BREAKAGES: dict[str, tuple[str, str]] = {
    "Migrations": (
        f"UPDATE supabase_migrations.schema_migrations SET version = '{_NEWER}' WHERE version = '{REVISION}'",
        f"UPDATE supabase_migrations.schema_migrations SET version = '{REVISION}' WHERE version = '{_NEWER}'",
    ),
    "Tables": (
        "ALTER TABLE idempotency_keys DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY",
    ),
    "Fallbacks": (_BEGIN + _events(51), _END),
    "Pending Jobs": (_BEGIN + _events(1) + _jobs(1001), _END),
    "Events": (_BEGIN, _END),
}
"""By name of the check that turns red, and no other does: what breaks, what mends."""

ONE_DOCUMENT = (_BEGIN + _events(1) + _jobs(1, "DOCUMENT_PROCESSING"), _END)
"""Nothing is broken: one job of a running course, in the queue of documents, and what takes it back."""

REFUSED_INITIATIONS = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
    "CREATE TRIGGER refuse BEFORE INSERT ON job_outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
    "DROP FUNCTION refuse CASCADE; DELETE FROM system_metrics WHERE event_type = 'job_rollback'",
)
"""The same for FSM, once somebody has tried to initiate a course."""

REFUSED_LOGIN = ("ALTER ROLE coursegen_app NOLOGIN", "ALTER ROLE coursegen_app LOGIN")
"""The same for Database, where the server cannot be stopped; who is signed in stays so."""
