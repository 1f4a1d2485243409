"""Rules over any other table: found by name, quoted by PostgreSQL, refused when it is not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from services.kernel.database import Database
from tests.integration.retention.rows import count, rule, run


def custom(table: str, column: str = "at", **fields: Any) -> dict[str, Any]:
    """A rule over `table`, five days kept."""
    return rule("Custom", "5d", table=table, timestampColumn=column, **fields)


@pytest.mark.parametrize(
    ("definition", "table", "column"),
    [
        ("visits (at timestamptz)", "visits", "at"),
        ("visits (at timestamp)", "public.visits", "at"),
        ("visits (at date)", "visits", "at"),
        ('"Odd ""Visits"" -- x" ("created At" timestamptz)', 'Odd "Visits" -- x', "created At"),
        ('app."Visits" ("createdAt" timestamptz)', "app.Visits", "createdAt"),
    ],
)
async def test_tables_are_taken_by_their_names(db: Database, definition: str, table: str, column: str) -> None:
    """With capitals, quotes and whatever else a name may have; rows without a time stay."""
    await db.execute("CREATE SCHEMA app")
    await db.execute(f"CREATE TABLE {definition}")
    name = definition.split(" (", maxsplit=1)[0]
    await db.execute(
        f"INSERT INTO {name} VALUES (now() - interval '6 days'), (now() - interval '7 days'), (now()), (NULL)"
    )
    report = await run(db, custom(table, column, batchSize=1))

    assert (report.outcome, report.rules[0].message) == ("succeeded", "")
    assert (report.rules[0].deleted, report.rules[0].remaining) == (2, 2)


async def test_partitions_are_told_apart(db: Database) -> None:
    """Places are numbered anew in each; a young row that shares the number of an old one stays."""
    await db.execute("CREATE TABLE visits (kind int, at timestamptz) PARTITION BY LIST (kind)")
    for kind in (1, 2):
        await db.execute(f"CREATE TABLE visits_{kind} PARTITION OF visits FOR VALUES IN ({kind})")
    await db.execute("INSERT INTO visits SELECT 1, now() - interval '6 days' FROM generate_series(1, 10)")
    await db.execute(
        "INSERT INTO visits SELECT 2, now() - make_interval(days => n % 2 * 9) FROM generate_series(1, 10) AS n"
    )
    first = await run(db, custom("visits", batchSize=3, maxRowsPerRun=3))
    second = await run(db, custom("visits", batchSize=3))

    assert (first.outcome, first.rules[0].deleted) == ("partial", 3)
    assert (second.outcome, second.rules[0].deleted) == ("succeeded", 12)
    assert await count(db, "visits") == 5


@pytest.mark.parametrize(
    ("table", "column", "complaint"),
    [
        ("nothing", "at", "there is no table nothing"),
        ("visits", "when", "public.visits has no column when"),
        ("visits", "id", "public.visits.id is int4, not timestamptz"),
        ("visits; DROP TABLE visits", "at", "there is no table visits; DROP TABLE visits"),
        ('visits"; DROP TABLE visits; --', "at", "there is no table"),
        ("visits", 'at" < now() OR "id', "has no column"),
        ("looking", "at", "public.looking is no table"),
        ("pg_catalog.pg_class", "oid", "schema pg_catalog belongs to the system"),
        ("supabase_migrations.schema_migrations", "executed_at", "schema supabase_migrations belongs to the system"),
        ("job_outbox", "created_at", "use target OutboxPublished or OutboxDead"),
        ("public.fsm_events", "created_at", "use target FsmEvents"),
        ("courses", "created_at", "courses go through the api"),
        ("effect_ledger", "applied_at", "twice"),
    ],
)
async def test_what_cannot_be_cleaned_is_refused_in_words(
    db: Database, table: str, column: str, complaint: str
) -> None:
    """Nothing is removed anywhere, nor is what somebody smuggles into a name ever run."""
    await db.execute("CREATE TABLE visits (id int, at timestamptz)")
    await db.execute("CREATE VIEW looking AS SELECT * FROM visits")
    await db.execute("INSERT INTO visits VALUES (1, now() - interval '6 days')")
    report = await run(db, custom(table, column))

    assert (report.outcome, report.rules[0].deleted) == ("failed", 0)
    assert complaint in report.rules[0].message
    assert await count(db, "visits") == 1


_MESSAGE = """
INSERT INTO messages (id, conversationid, senderid, contenttype, clientmessageid, idempotencykey, payloadkey, createdat)
VALUES ($1::text, 'c', 's', 'text', 'k', $1 || 'key', $1 || '/a', now() - interval '1 day' * $2::int)
"""
_LONG = "INSERT INTO message_payloads VALUES ($1, 'long', now() - interval '1 day' * $2::int)"


async def test_messages_wait_for_their_table(db: Database) -> None:
    """A database from before they were there has none to remove."""
    await db.execute("DROP TABLE messages")
    report = await run(db, rule("Messages", "90d"))

    assert (report.outcome, report.rules[0].message) == ("succeeded", "there is no such table yet: nothing to do")


async def test_messages_go_with_what_is_theirs(db: Database) -> None:
    """Receipts and long contents, also those that another content of the same message has left behind; nothing younger."""
    for days in (1, 91, 92):
        await db.execute(_MESSAGE, f"m{days}", days)
        await db.execute("INSERT INTO message_receipts (messageid, userid, state) VALUES ($1, 'u', 'read')", f"m{days}")
        for digest in "ab":
            await db.execute(_LONG, f"m{days}/{digest}", days)
    report = await run(db, rule("Messages", "90d"))

    assert (report.outcome, report.rules[0].deleted, report.rules[0].remaining) == ("succeeded", 4, 1)
    assert await db.fetchval("SELECT array_agg(messageid) FROM message_receipts") == ["m1"]
    assert await db.fetchval("SELECT array_agg(payloadkey ORDER BY 1) FROM message_payloads") == ["m1/a", "m1/b"]


async def test_long_contents_whose_message_was_never_accepted_go_as_well(db: Database) -> None:
    """Also where there is no message at all; what is younger may be one that waits for its row."""
    for days in (1, 91):
        await db.execute(_LONG, f"never{days}/a", days)
    report = await run(db, rule("Messages", "90d"))

    assert (report.outcome, report.rules[0].deleted) == ("succeeded", 1)
    assert await db.fetchval("SELECT array_agg(payloadkey) FROM message_payloads") == ["never1/a"]


async def test_receipts_whose_message_never_got_a_row_go_as_well(app_db: Database, db: Database) -> None:
    """Of all states, in as many batches as it takes; what is younger may wait for its row, and whose row is there stays."""
    await db.execute(_MESSAGE, "m1", 1)
    receipt = "INSERT INTO message_receipts VALUES ($1, $2, $3, now() - interval '1 day' * $4::int)"
    for days in (1, 91):
        for state in ("delivered", "read"):
            for user in ("u", "v"):
                await db.execute(receipt, f"never{days}", user, state, days)
            await db.execute(receipt, "m1", f"u{days}", state, days)
    report = await run(app_db, rule("Messages", "90d", batchSize=3))

    assert (report.outcome, report.rules[0].deleted) == ("succeeded", 4)
    left = await db.fetch("SELECT messageid, count(*) FROM message_receipts GROUP BY 1 ORDER BY 1")
    assert [tuple(each) for each in left] == [("m1", 4), ("never1", 4)]


async def test_a_table_that_the_role_may_not_touch_says_so(app_db: Database, db: Database) -> None:
    """PostgreSQL's own words."""
    await db.execute("CREATE TABLE secretive (at timestamptz)")
    report = await run(app_db, custom("secretive"))

    assert report.outcome == "failed"
    assert "permission denied for table secretive" in report.rules[0].message
