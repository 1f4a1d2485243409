"""The eight indexes of the outbox, and that the hot statements use an index when tables are large."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kernel.database import Connection
from services.kernel.queries import parse

_ROOT = Path(__file__).resolve().parents[3]
_ROWS = 50_000
_LARGE = {
    "courses", "documents", "stored_objects", "stored_object_chunks", "document_texts", "document_sections", "course_structures",
    "course_results", "effect_ledger", "job_outbox", "idempotency_keys", "fsm_events", "users",
    "webhook_deliveries", "webhook_secrets", "messages", "message_payloads", "message_receipts",
}  # fmt: skip
_FILL = """
INSERT INTO auth.users (id)
SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid FROM generate_series(0, 4999) AS n;
INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status, created_at)
SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Course', 'course-' || n,
       ('00000000-0000-4000-9000-' || lpad((n % 5000)::text, 12, '0'))::uuid, gen_random_uuid(),
       CASE WHEN n % 50 = 0 THEN 'stage_4_analyzing' ELSE 'completed' END::generation_status_enum, now() - n * interval '1 minute'
FROM generate_series(1, {rows}) AS n;
INSERT INTO job_outbox (entity_id, queue_name, saq_queue, job_type, job_body, run_number, processed_at, created_at, priority)
SELECT id, 'course-generation', (ARRAY['course-generation:analysis', 'course-generation:documents'])[1 + n % 2],
       'STRUCTURE_ANALYSIS', '{{}}', 1, CASE WHEN n > 2000 THEN now() END, created_at, 1 + n % 3
FROM (SELECT id, created_at, row_number() OVER () AS n FROM courses) AS numbered;
INSERT INTO fsm_events (entity_id, event_type, created_by, metadata, created_at)
SELECT id, 'FSM_INITIALIZED', 'API', CASE WHEN n % 1000 = 0 THEN '{{"error": "x"}}' ELSE '{{}}' END::jsonb, created_at
FROM (SELECT id, created_at, row_number() OVER () AS n FROM courses) AS numbered;
INSERT INTO idempotency_keys (idempotency_key, entity_id, created_at, expires_at)
SELECT 'key-' || id, id, created_at, created_at + interval '1 day' FROM courses;
INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)
SELECT outbox_id, entity_id, job_type, 1, 'applied' FROM job_outbox WHERE processed_at IS NOT NULL;
INSERT INTO stored_objects (object_key, course_id, size_bytes, completed_at, created_at)
SELECT id, id, 3, now(), created_at FROM courses;
INSERT INTO stored_object_chunks (object_key, chunk_index, content) SELECT object_key, 0, 'abc' FROM stored_objects;
INSERT INTO documents (id, course_id, filename, media_type, size_bytes, sha256, object_key)
SELECT id, id, 'a.md', 'text/markdown', 3, 'x', id FROM courses;
INSERT INTO document_texts (document_id, content) SELECT id, 'abc' FROM documents;
INSERT INTO document_sections (document_id, run_number, position, start_offset, end_offset) SELECT id, 1, 0, 0, 3 FROM documents;
INSERT INTO course_structures (course_id, run_number, structure) SELECT id, 1, '{{}}' FROM courses;
INSERT INTO course_results (course_id, run_number, result, markdown) SELECT id, 1, '{{}}', '' FROM courses;
INSERT INTO webhook_deliveries (course_id, organization_id, run_number, event_type, url, body, status,
                                outbox_id, next_attempt_at, settled_at)
SELECT id, organization_id, 1, 'course.completed', 'https://example.com/', '{{}}',
       CASE n % 100 WHEN 0 THEN 'dead' WHEN 1 THEN 'pending' WHEN 2 THEN 'pending' ELSE 'delivered' END,
       CASE n % 100 WHEN 1 THEN gen_random_uuid() END, CASE n % 100 WHEN 2 THEN now() + n * interval '1 minute' END,
       CASE WHEN n % 100 NOT IN (1, 2) THEN created_at END
FROM (SELECT id, organization_id, created_at, row_number() OVER () AS n FROM courses) AS numbered;
INSERT INTO webhook_secrets (organization_id, ciphertext) SELECT organization_id, 'x' FROM courses;
INSERT INTO messages (id, conversationid, senderid, content, idempotencykey, recipientids)
SELECT 'msg_' || n, 'c-' || n % 5000, 'u-' || n % 500, 'Hello', 'key-' || n, ARRAY['u-1'] FROM generate_series(1, {rows}) AS n;
INSERT INTO message_payloads (payloadkey, content) SELECT id, 'Hello' FROM messages;
INSERT INTO message_receipts (messageid, userid, state) SELECT id, 'u-1', 'read' FROM messages;
"""
_MAY_READ_ALL = {
    "kernel/sql/objects.sql:abandoned_objects": "the sweep looks at every object, once in a while",
    "retention/sql/retention.sql:remove_beside_messages": "long contents are few, and once a night",
    **{
        f"retention/sql/retention.sql:survey_{each}": "counts what is there, once a night, by a sample where that takes long"
        for each in ("outbox_published", "idempotency_keys", "fsm_events", "messages")
    },
    **{
        f"retention/sql/retention.sql:remove_{each}": "once a night, and stops at a batch: what is old lies first"
        for each in ("outbox_published", "idempotency_keys", "fsm_events", "messages")
    },
}
_UTILITY = ("LISTEN", "UNLISTEN", "NOTIFY", "SET", "CREATE", "ALTER", "DROP", "GRANT")


async def test_the_three_tables_have_exactly_eight_indexes(owner: Connection) -> None:
    """3 + 2 + 3, the five given names among them; primary keys are not counted (D8)."""
    rows = await owner.fetch(
        "SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS table FROM pg_index AS i"
        " WHERE i.indrelid::regclass::text IN ('job_outbox', 'idempotency_keys', 'fsm_events') AND NOT i.indisprimary"
    )

    assert {(row["table"], row["name"]) for row in rows} == {
        ("job_outbox", "idx_job_outbox_pending"),
        ("job_outbox", "idx_job_outbox_unprocessed"),
        ("job_outbox", "idx_job_outbox_entity"),
        ("idempotency_keys", "idx_idempotency_created"),
        ("idempotency_keys", "idx_idempotency_expires"),
        ("fsm_events", "idx_fsm_events_entity"),
        ("fsm_events", "idx_fsm_events_created"),
        ("fsm_events", "idx_fsm_events_failures"),
    }


async def test_every_index_is_valid(owner: Connection) -> None:
    """CONCURRENTLY leaves a broken one behind when it fails."""
    assert await owner.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_every_cascade_has_its_index(owner: Connection) -> None:
    """Else deleting a course would read whole tables. (fsm_events.user_id has none: users are hardly ever deleted.)"""
    rows = await owner.fetch(
        "SELECT c.conrelid::regclass::text AS name, a.attname AS column FROM pg_constraint AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
        " WHERE c.contype = 'f' AND NOT EXISTS"
        " (SELECT FROM pg_index AS i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indpred IS NULL)"
    )

    assert [(row["name"], row["column"]) for row in rows] == [("fsm_events", "user_id")]


@pytest.fixture
async def large(owner: Connection) -> Connection:
    """A session on a database with 50,000 rows in every large table."""
    await owner.execute("SET session_replication_role = replica")  # the rows fit: no trigger need check them
    await owner.execute(_FILL.format(rows=_ROWS))
    await owner.execute("RESET session_replication_role")
    await owner.execute("ANALYZE")
    return owner


async def test_no_statement_reads_a_large_table_from_end_to_end(large: Connection) -> None:
    """With the plan that a prepared statement keeps, whatever its arguments."""
    await large.execute("SET plan_cache_mode = force_generic_plan")
    slow = {}
    for name, statement in _statements():
        scans = _sequential(await _plan(large, statement))
        if scans & _LARGE and name not in _MAY_READ_ALL:
            slow[name] = sorted(scans & _LARGE)

    assert slow == {}


async def test_the_functions_use_indexes_even_with_plans_made_while_tables_were_small(owner: Connection) -> None:
    """A burst after a fresh start must not meet plans that read everything: plans are kept per session."""
    await owner.execute(
        "INSERT INTO auth.users (id)"
        " SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid FROM generate_series(0, 9) AS n;"
        "INSERT INTO courses (id, title, slug, user_id, organization_id)"
        " SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'x', 'x-' || n,"
        " ('00000000-0000-4000-9000-' || lpad((n % 10)::text, 12, '0'))::uuid, gen_random_uuid()"
        " FROM generate_series(1, 100) AS n;"
        "ANALYZE"
    )
    await _initiate(owner, range(1, 20))
    before = await _scans(owner)
    await _initiate(owner, range(20, 60))

    assert await _scans(owner) == before


async def _initiate(session: Connection, numbers: range) -> None:
    for number in numbers:
        request = {
            "courseId": f"00000000-0000-4000-8000-{number:012}",
            "userId": f"00000000-0000-4000-9000-{number % 10:012}",
            "hasFiles": None if number % 2 else False,
        }
        outcomes = await session.fetchval("SELECT initiate_generation_v2($1)", [request])
        assert outcomes[0]["status"] == "accepted"


async def _scans(session: Connection) -> dict[str, int]:
    await session.execute("SELECT pg_stat_force_next_flush()")
    await session.execute("SELECT pg_stat_clear_snapshot()")
    rows = await session.fetch(
        "SELECT relname, seq_scan FROM pg_stat_user_tables"
        " WHERE relname IN ('courses', 'documents', 'job_outbox', 'idempotency_keys', 'fsm_events')"
    )
    return {row["relname"]: row["seq_scan"] for row in rows}


async def test_retention_finds_what_is_old_by_index(large: Connection) -> None:
    """Keys and events. (Outbox rows are read once a day: they have no index by processing time, D8.)"""
    await large.execute("UPDATE fsm_events SET created_at = now() - interval '100 days' WHERE ctid = '(0,1)'")
    before = await _scans(large)
    removed = [
        await large.fetchval("SELECT cleanup_old_fsm_events(p_batch => 10)"),
        await large.fetchval("SELECT cleanup_expired_idempotency_keys(p_batch => 10)"),
    ]

    assert removed == [1, 10]
    after = await _scans(large)
    assert {name: after[name] - before[name] for name in ("fsm_events", "idempotency_keys")} == {
        "fsm_events": 0,
        "idempotency_keys": 0,
    }


def _statements() -> Iterator[tuple[str, str]]:
    for path in sorted((_ROOT / "services").rglob("*.sql")):
        if path.parts[-3] in {"cli", "migrate"}:
            continue
        for name, statement in parse(path.read_text(encoding="utf-8"), path.name).items():
            if statement.split(None, 1)[0].upper() not in _UTILITY:
                yield f"{path.relative_to(_ROOT / 'services')}:{name}", statement


async def _plan(session: Connection, statement: str) -> Any:
    parameters = (await session.prepare(statement)).get_parameters()
    await session.execute(f"PREPARE hot AS {statement}")
    arguments = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    try:
        return await session.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot{arguments}")
    finally:
        await session.execute("DEALLOCATE hot")


def _sequential(plan: Any) -> set[str]:
    """The tables that a plan reads from end to end."""
    if isinstance(plan, list):
        return {table for each in plan for table in _sequential(each)}
    if not isinstance(plan, dict):
        return set()
    own = {plan["Relation Name"]} if plan.get("Node Type") == "Seq Scan" else set()
    return own | {table for value in plan.values() for table in _sequential(value)}
